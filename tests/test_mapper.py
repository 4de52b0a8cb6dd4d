"""The mapper's contract: same shape and units out as in, the identity to start from where residual, and it learns."""
import pytest
import torch
import torch.nn.functional as F
from tsai.all import TSTensor
from tsai.models.utils import build_ts_model

from tsai_nmvq.models import mapper as mapper_module
from tsai_nmvq.models.mapper import MAX_KEYS, FullAttention, NeuralMapper
from tsai_nmvq.presets import MAPPER_PRESETS

PRESETS = pytest.mark.parametrize('preset', MAPPER_PRESETS)
LENGTHS = *range(16, 34), 75, 150, 151, 470, 1639


def mapper(c_in=1, seq_len=40, preset='fast', **settings):
    return NeuralMapper(c_in, None, seq_len, preset, **{'dim': 8, 'dropout': 0., **settings}).eval()


def seeded(seed=0): return torch.Generator().manual_seed(seed)


def pairs(n=16, seq_len=40, c_in=1):
    "Sines, and the same with noise on them: what a mapper takes away."
    t = torch.linspace(0, 1, seq_len)
    x = torch.sin(2 * torch.pi * (3 * t + torch.rand(n, c_in, 1)))
    return x + 0.3 * torch.randn_like(x), x


def train(model, n_steps, lr=3e-3, **kwargs):
    x_svq, x = pairs(**kwargs)
    optimizer, losses = torch.optim.Adam(model.train().parameters(), lr), []
    for _ in range(n_steps):
        loss = F.l1_loss(model(x_svq), x)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(loss.item())
    return losses


@PRESETS
@pytest.mark.parametrize('c_in, seq_len', [*[(1, n) for n in LENGTHS], (2, 16), (3, 17), (6, 101)])
def test_shape_is_kept_at_every_length(preset, c_in, seq_len):
    model, x = mapper(c_in, seq_len, preset, residual=False), torch.randn(2, c_in, seq_len)
    out = model(x)
    assert out.shape == x.shape and out.isfinite().all() and not torch.allclose(out, x, atol=1e-2)


@PRESETS
def test_it_takes_other_lengths_than_its_own(preset):
    model = mapper(2, 40, preset)
    for n in (16, 33, 64): assert model(torch.randn(3, 2, n)).shape == (3, 2, n)


@PRESETS
@pytest.mark.parametrize('seq_len', [16, 17, 40, 151])
def test_residual_mapper_starts_as_the_identity(preset, seq_len):
    model, x = mapper(2, seq_len, preset, residual=True), 100 + 20 * torch.randn(4, 2, seq_len)
    model.standardizer.set([100., 90.], [20., 3.])
    for training in (True, False): torch.testing.assert_close(model.train(training)(x), x, rtol=1e-5, atol=1e-3)


@PRESETS
@pytest.mark.parametrize('residual', [True, False])
@pytest.mark.parametrize('c_in', [1, 3])
def test_every_parameter_gets_a_gradient(preset, residual, c_in):
    model = mapper(c_in, preset=preset, residual=residual)
    train(model, 2, c_in=c_in) # off the residual mapper's zeros, behind which gradients are zero too
    x_svq, x = pairs(c_in=c_in)
    model.zero_grad()
    F.l1_loss(model(x_svq), x).backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None or not grad.isfinite().all() or not grad.any()] == []


@PRESETS
@pytest.mark.parametrize('residual', [True, False])
def test_l1_falls_when_overfitting_one_batch(preset, residual):
    losses = train(mapper(preset=preset, residual=residual), dict(fast=65, paper=30)[preset], lr=5e-3, n=8)
    assert losses[-1] < losses[0] / 2


@PRESETS
@pytest.mark.parametrize('c_in', [1, 6])
def test_presets_as_they_are_construct_map_and_learn(preset, c_in):
    model, x = NeuralMapper(c_in, 2, 33, preset), torch.randn(4, c_in, 33)
    assert model.n_params > 0
    F.l1_loss(model.train()(x), torch.zeros_like(x)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad(): assert model.eval()(x).isfinite().all()


@PRESETS
def test_same_generator_seed_gives_the_same_and_leaves_the_global_state(preset):
    model, (x, _) = mapper(preset=preset, residual=False), pairs()
    state = torch.get_rng_state()
    assert torch.equal(model(x, seeded(3)), model(x, seeded(3)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize('noise_channels', [1, 2])
def test_noise_makes_draws_of_the_mapper_differ(noise_channels):
    model, (x, _) = mapper(residual=False, noise_channels=noise_channels), pairs()
    assert (model(x, seeded(1)) - model(x, seeded(2))).abs().max() > 1e-3
    same = model(x[:1].repeat(4, 1, 1), seeded(1))
    assert (same[0] - same[1:]).abs().amax((1, 2)).min() > 1e-3


def test_without_noise_the_mapper_is_a_function_and_rows_are_independent():
    model, (x, _) = mapper(residual=False, noise_channels=0), pairs()
    assert torch.equal(model(x), model(x))
    torch.testing.assert_close(model(x[3:4]), model(x)[3:4], atol=1e-5, rtol=1e-5)


@PRESETS
def test_units_are_the_datas_own(preset):
    model, (x, _) = mapper(2, preset=preset, residual=False), pairs(c_in=2)
    plain = model(x, seeded())
    mean, std = torch.tensor([[50.], [-3.]]), torch.tensor([[10.], [0.1]])
    model.standardizer.set(mean, std)
    torch.testing.assert_close(model(mean + std * x, seeded()), mean + std * plain, rtol=1e-4, atol=1e-4)


@PRESETS
def test_each_step_sees_the_whole_series(preset):
    model = mapper(seq_len=150, preset=preset, residual=False)
    x = torch.randn(1, 1, 150, requires_grad=True)
    model(x, seeded())[0, 0, -1].backward()
    assert (x.grad[0, 0] != 0).float().mean() > 0.95


@PRESETS
def test_attention_of_long_series_is_bounded_and_still_sees_all(preset, monkeypatch):
    model, n_keys = mapper(seq_len=4096, preset=preset, residual=False), []
    attend = F.scaled_dot_product_attention
    def watched(q, k, v):
        n_keys.append((q.shape[-2], k.shape[-2]))
        return attend(q, k, v)
    monkeypatch.setattr(F, 'scaled_dot_product_attention', watched)
    x = torch.randn(1, 1, 4096, requires_grad=True)
    model(x, seeded())[0, 0, -1].backward()
    assert n_keys == [(4096 // model.stride, MAX_KEYS)] and (x.grad[0, 0] != 0).float().mean() > 0.95


def test_averaged_keys_are_exact_where_neighbours_agree(monkeypatch):
    attention, h = FullAttention(8, 2), torch.randn(3, 8, 5).repeat_interleave(4, -1)
    exact = attention(h)
    monkeypatch.setattr(mapper_module, 'MAX_KEYS', 5)
    torch.testing.assert_close(attention(h), exact)
    assert not torch.allclose(attention(h.roll(1, -1)), exact.roll(1, -1), atol=1e-4)


@PRESETS
def test_tsai_builds_it(preset):
    model = build_ts_model(NeuralMapper, c_in=2, c_out=3, device='cpu', arch_config=dict(seq_len=33, preset=preset))
    out = model(TSTensor(torch.randn(2, 2, 33)))
    assert isinstance(model, NeuralMapper) and out.shape == (2, 2, 33) and type(out) is torch.Tensor


@PRESETS
@pytest.mark.parametrize('shape', [(2, 3, 40), (2, 40), (2, 2, 1, 40)])
def test_series_of_another_shape_are_refused(preset, shape):
    with pytest.raises(ValueError, match=r'series have shape .*, this NeuralMapper takes \[bs, 2, '):
        mapper(2, preset=preset)(torch.randn(shape))


@PRESETS
def test_it_maps_and_learns_under_bfloat16_autocast(preset):
    model, (x_svq, x) = mapper(preset=preset, residual=False), pairs()
    expected = model(x_svq, seeded())
    with torch.autocast('cpu', torch.bfloat16):
        x_map = model(x_svq, seeded())
        loss = F.l1_loss(x_map, x)
    loss.backward()
    assert x_map.dtype == torch.float32 and all(p.grad.isfinite().all() for p in model.parameters())
    assert (x_map - expected).abs().mean() < 0.05 * expected.abs().mean() + 0.01


@PRESETS
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_series_of_half_precision_are_taken(preset, dtype):
    model, x = mapper(preset=preset, residual=False), pairs()[0].to(dtype)
    torch.testing.assert_close(model(x, seeded()), model(x.float(), seeded()))
