"""Context-FID: 0 for the same series, more for others, most for noise; the contrast as the paper writes it."""
import numpy as np
import pytest
import torch
from stages import gunpoint_few, random_states

from tsai_nmvq.metrics.context import ContextEncoder, context_fid, contrast, hierarchical_contrast


@pytest.fixture(scope='module')
def series(): return gunpoint_few()[0]


@pytest.fixture(scope='module')
def encoder(series): return ContextEncoder(series[:50], n_steps=20)


def test_the_same_series_are_nearest_noise_is_farthest(series, encoder):
    noise = np.random.default_rng(0).standard_normal(series.shape).astype(np.float32)
    near, same = (context_fid(series[:30], x, encoder) for x in (series[50:], series[:30][::-1]))
    far = context_fid(series[:30], noise[:30], encoder)
    assert same < 1e-6 < near < far / 5


def test_features_know_order_that_values_alone_do_not(series, encoder):
    shuffled = series[..., np.random.default_rng(0).permutation(series.shape[-1])]
    assert context_fid(series[:30], shuffled[:30], encoder) > 3 * context_fid(series[:30], series[50:], encoder)


def test_a_seed_gives_the_same_and_the_global_state_is_untouched(series):
    before = random_states()
    encoders = [ContextEncoder(series[:30], 3, seed) for seed in (1, 1, 2)]
    a, again, other = (context_fid(series[:30], series[50:], encoder) for encoder in encoders)
    assert a == again != other and random_states() == before


def test_units_do_not_matter(series):
    def found(real, gen): return context_fid(real, gen, ContextEncoder(real, 5))
    a, b = found(series[:30], series[50:]), found(100 * series[:30] + 7, 100 * series[50:] + 7)
    assert a == pytest.approx(b, rel=0.02)


@pytest.mark.parametrize('shape', [(8, 1, 8), (9, 3, 17), (3, 2, 2)])
def test_what_series_may_be(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x[:, -1] = 4. # a constant channel
    found = ContextEncoder(x, 3)(torch.as_tensor(x))
    assert found.shape == (len(x), 320) and found.isfinite().all()


# The contrast

def written_out(a, b): # [n, d] of one group: mean over both sides of -log softmax of the counterpart, itself left out
    both, n, losses = torch.cat((a, b)), len(a), []
    for i in range(2 * n):
        others = [j for j in range(2 * n) if j != i]
        similar = torch.stack([both[i] @ both[j] for j in others])
        losses.append(-similar.log_softmax(0)[others.index((i + n) % (2 * n))])
    return torch.stack(losses).mean()


def test_the_contrast_is_the_papers():
    a, b = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    assert contrast(a, b) == pytest.approx(torch.stack([written_out(*pair) for pair in zip(a, b)]).mean().item())
    assert contrast(a[:, :1], b[:, :1]) == 0


def test_every_halving_counts_alike():
    a, b = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).unbind() # 5 steps, 2, 1
    def level(a, b): return contrast(a.permute(2, 0, 1), b.permute(2, 0, 1)), contrast(a.mT, b.mT)
    levels, pool = [], torch.nn.functional.max_pool1d
    for _ in range(3):
        levels.append(sum(level(a, b)) / 2)
        a, b = (pool(x, 2) if x.shape[2] > 1 else x for x in (a, b))
    a, b = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).unbind()
    assert hierarchical_contrast(a, b) == pytest.approx((sum(levels) / 3).item())


def test_trained_features_tell_series_apart(series):
    "Crops of one series lie nearer to each other than to those of others, more so than before training."
    def found(n_steps):
        encoder = ContextEncoder(series[:50], n_steps)
        left, right = (torch.nn.functional.normalize(encoder(np.roll(series[:50], shift, -1))) for shift in (0, 2))
        return (torch.cdist(left, right).argmin(1) == torch.arange(50)).float().mean().item()
    assert found(60) > found(1)
