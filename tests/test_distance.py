"""How new samples are: distances to the nearest training series, against their definition."""
import numpy as np
import pytest
import torch
from made_series import noise

from tsai_nmvq.metrics import inputs
from tsai_nmvq.metrics.distance import is_nearer, nearest_distance, novelty


def test_copies_are_not_new_and_fresh_series_are():
    train, test, fresh = noise(100), noise(100, seed=1), noise(100, seed=2)
    assert novelty(train, test, train[:30]) == 0
    assert novelty(train, test, fresh) == pytest.approx(1, abs=0.05)
    scores = [novelty(train, test, train + s * noise(100, seed=3)) for s in (0.01, 0.1, 0.5)]
    assert 0 < scores[0] < scores[1] < scores[2] < 1 < novelty(train, test, 3 * fresh)


def test_novelty_is_the_ratio_of_nearest_distances():
    train, test, gen = noise(30, 2), noise(20, 2, seed=1), 1.2 * noise(25, 2, seed=2)
    std = train.std((0, 2), keepdims=True)
    def nearest(x): return np.sqrt((((x[:, None] - train[None]) / std) ** 2).sum((2, 3))).min(1).mean()
    assert novelty(train, test, gen) == pytest.approx(nearest(gen) / nearest(test), rel=1e-4)


def test_novelty_needs_series_held_out():
    assert np.isnan(novelty(noise(), noise()[:5], noise(seed=1)))


def test_nearest_distance_is_exact_and_does_not_depend_on_chunks(monkeypatch):
    others = torch.randn(30, 5)
    x = torch.cat((torch.randn(20, 5), others[3:5], others[7:8] + torch.tensor([1e-3, 0, 0, 0, 0])))
    expected = (x[:, None].double() - others.double()).norm(dim=-1).amin(1).float()
    torch.testing.assert_close(nearest_distance(x, others), expected)
    assert nearest_distance(x, others)[20:22].tolist() == [0, 0]
    monkeypatch.setattr(inputs, 'CHUNK_VALUES', 1)
    torch.testing.assert_close(nearest_distance(x, others), expected)


def test_nearest_distance_of_a_copy_is_zero_without_the_rounding_of_a_matrix_product():
    x = 3 + torch.randn(40, 30)
    assert torch.cdist(x, x).amin(1).any() and not nearest_distance(x, x).any()


def test_series_are_nearer_to_the_set_that_holds_one_like_them():
    to, than = torch.randn(10, 2, 16), torch.randn(12, 2, 16)
    x = torch.cat((to[:3] + 1e-3, than[:4] + 1e-3))
    assert is_nearer(x, to=to, than=than).tolist() == [True] * 3 + [False] * 4
    assert is_nearer(x, to=than, than=to).tolist() == [False] * 3 + [True] * 4
    assert not is_nearer(x, to=to, than=to).any()                           # a tie is not nearer
