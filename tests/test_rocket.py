"""ROCKET features against plain numpy and the published kernels; any unit, any chunk."""
import numpy as np
import pytest
import torch
from made_series import noise

from tsai_nmvq.metrics import inputs
from tsai_nmvq.metrics.rocket import RocketFeatures


@pytest.mark.parametrize('c_in, seq_len', [(1, 7), (1, 8), (1, 24), (3, 51)])
def test_rocket_is_maxima_and_shares_of_positive_values_of_its_convolutions(c_in, seq_len):
    "One kernel and one step at a time, in plain numpy."
    features, x = RocketFeatures(c_in, seq_len, n_kernels=12, seed=3), noise(3, c_in, seq_len)
    kernels = [s for s, size in zip(features.settings, features.sizes) for _ in range(size)]
    expected = np.zeros((3, 24))
    for k, (length, dilation, padding) in enumerate(kernels):
        weight, bias = features.weight[k, :, :length].double().numpy(), features.bias[k].item()
        padded = np.pad(x.astype(float), ((0, 0), (0, 0), (padding, padding)))
        out = np.stack([(padded[:, :, i:i + dilation * length:dilation] * weight).sum((1, 2)) + bias
                        for i in range(padded.shape[2] - dilation * (length - 1))], 1)
        expected[:, k], expected[:, 12 + k] = out.max(1), (out > 0).mean(1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features(x).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize('c_in, seq_len', [(1, 7), (1, 150), (6, 100)])
def test_rocket_kernels_are_as_published(c_in, seq_len):
    features = RocketFeatures(c_in, seq_len, n_kernels=500)
    assert sum(features.sizes) == len(features.weight) == 500
    for (length, dilation, padding), weight in zip(features.settings, features.weight.split(features.sizes)):
        assert length in (7, 9, 11) and dilation >= 1 and dilation * (length - 1) < seq_len
        assert padding in (0, dilation * (length - 1) // 2)
        assert not weight[..., length:].any()
        torch.testing.assert_close(weight.sum(-1), torch.zeros(weight.shape[:2]), atol=1e-5, rtol=0)
    channels = (features.weight != 0).any(-1).sum(1)
    assert 1 <= channels.min() and channels.max() <= c_in and (c_in == 1 or channels.min() < channels.max())
    assert (-1 <= features.bias).all() and (features.bias <= 1).all()


def test_rocket_rows_have_unit_norm_and_do_not_depend_on_chunks(monkeypatch):
    x, features = noise(50, 2), RocketFeatures.fit(noise(50, 2), 100)
    expected = features(x)
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(50))
    monkeypatch.setattr(inputs, 'CHUNK_VALUES', 1)
    torch.testing.assert_close(features(x), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(features(x[7:8]), expected[7:8], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('scale, offset', [(1e-9, 0.), (1e-6, 0.), (1e6, 0.), (10., 1000.)])
def test_rocket_features_hold_in_any_unit(scale, offset):
    x = noise(30, 2).astype(np.float64)
    other = scale * x + offset
    torch.testing.assert_close(RocketFeatures.fit(other, 100)(other), RocketFeatures.fit(x, 100)(x), atol=1e-5, rtol=0)


def test_rocket_leaves_a_constant_channel_as_it_is():
    x = noise(200, 2)
    x[:, 1] = 1000.1
    standardizer = RocketFeatures.fit(x, 10).standardizer
    assert standardizer.std[1] == 0 and standardizer(torch.as_tensor(x))[:, 1].abs().max() == 0
    assert standardizer(torch.as_tensor(x))[:, 0].std() == pytest.approx(1, rel=1e-3)


def test_rocket_seed_chooses_the_kernels():
    x = noise()
    a, b, c = (RocketFeatures.fit(x, 50, seed=seed)(x) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.allclose(a, c, atol=1e-2)


def test_rocket_refuses_short_series():
    with pytest.raises(ValueError, match='series have 6 steps, ROCKET needs at least 7'): RocketFeatures(1, 6)
