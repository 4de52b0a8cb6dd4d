"""Properties of the mapper's loss terms: zero for what they should not see, not for what they should."""
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tsai_nmvq.models.mapper import NeuralMapper
from tsai_nmvq.train.losses import PAIRED, Adversary, MapperLoss, SlicedWasserstein

SPEC = SimpleNamespace(c_in=2, n_classes=3)


def seeded(func, *args):
    torch.manual_seed(1)
    return float(func(*args))


@pytest.mark.parametrize('loss', MapperLoss.WEIGHTS)
def test_paired_terms_are_zero_for_the_series_themselves(loss):
    x, other, loss_func = torch.randn(4, 2, 50), torch.randn(4, 2, 50), MapperLoss(torch.ones(2, 1), loss)
    assert float(loss_func(x, x)) == pytest.approx(0, abs=1e-6) and float(loss_func(other, x)) > 0.05


def test_a_weight_of_every_loss_is_of_a_term_there_is():
    for weights in MapperLoss.WEIGHTS.values():
        loss = MapperLoss(torch.ones(1, 1), '+'.join(weights))
        assert {**loss.paired, **loss.unpaired} == weights


def test_kernels_see_the_same_anywhere_but_not_blurred():
    x = torch.randn(16, 1, 200)
    kernels = PAIRED['kernels']
    moved, blurred = seeded(kernels, x.roll(50, -1), x), seeded(kernels, F.avg_pool1d(x, 3, 1, 1), x)
    assert moved < 0.25 * blurred and blurred > 0.1 and float((x.roll(50, -1) - x).abs().mean()) > 1


def test_sliced_wasserstein_asks_for_the_set_and_not_for_pairs():
    x, y = torch.randn(32, 2, 60).cumsum(-1), torch.arange(32) % 3
    order = torch.cat([(y == c).nonzero()[:, 0].flip(0) for c in range(3)])
    shuffled = x[order][torch.argsort(y, stable=True).argsort()]              # within each class
    swd = SlicedWasserstein(SPEC)
    assert seeded(swd, shuffled, x, y) == pytest.approx(0, abs=1e-5) and seeded(swd, 2 * x, x, y) > 0.02
    assert seeded(PAIRED['kernels'], shuffled, x) > 0.02


def test_sliced_wasserstein_alone_brings_samples_to_the_real_set():
    mapper, y, swd = NeuralMapper(2, seq_len=64, dim=16), torch.arange(32) % 3, SlicedWasserstein(SPEC)
    opt = torch.optim.Adam(mapper.parameters(), 5e-3)
    def real(): return torch.randn(32, 2, 64)
    def made(): return 2 * torch.randn(32, 2, 64) + 0.5
    for _ in range(60):
        opt.zero_grad()
        swd(mapper(made()), real(), y).backward()
        opt.step()
    with torch.no_grad(): x_map = mapper(made())
    assert 0.8 < x_map.std() < 1.2 and x_map.mean().abs() < 0.2


def test_sliced_wasserstein_keeps_classes_apart():
    y = torch.arange(64) % 2
    x = torch.randn(64, 2, 60) * (1 + 3 * y)[:, None, None]
    swapped = x.view(32, 2, 2, 60).flip(1).flatten(0, 1)                      # the same set, in the other class
    assert seeded(SlicedWasserstein(SPEC, spread=0.), swapped, x, y) == pytest.approx(0, abs=1e-5)
    assert seeded(SlicedWasserstein(SPEC), swapped, x, y) > 0.05


def test_the_adversary_learns_to_tell_blurred_series_and_says_where_to_go():
    adversary, y = Adversary(SPEC), torch.arange(32) % 3
    for _ in range(60):
        x = torch.randn(32, 2, 60)
        blurred = F.avg_pool1d(torch.randn(32, 2, 60), 5, 1, 2).requires_grad_()
        asked = adversary(blurred, x, y)
    fresh = torch.randn(32, 2, 60)
    assert adversary.scores(fresh, y).mean() > adversary.scores(F.avg_pool1d(fresh, 5, 1, 2), y).mean() + 0.2
    asked.backward()
    assert blurred.grad.abs().sum() > 0


def test_the_adversary_learns_which_class_a_series_is_of():
    adversary, y = Adversary(SPEC), torch.arange(48) % 3
    def of(y): return torch.randn(48, 2, 60) * 0.1 + y[:, None, None]
    for _ in range(100): adversary(of((y + 1) % 3), of(y), y)
    assert adversary.scores(of(y), y).mean() > adversary.scores(of((y + 1) % 3), y).mean() + 0.2
