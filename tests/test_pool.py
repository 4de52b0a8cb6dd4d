"""Synthetic series kept ready: how many of each class, how long they serve, and of which type they are."""
import numpy as np
import pytest
import torch
from fake_generator import SEQ_LEN, FakeGenerator, class_of, loaders, sampled

from tsai_nmvq.augment.pool import REFILL_ROWS, SeriesPool, pool_size


def test_the_pool_takes_the_type_of_the_batch():
    aug = sampled(FakeGenerator(), p=1.)
    for dtype in (torch.float32, torch.float16):
        x, _ = aug((torch.zeros(4, 1, SEQ_LEN, dtype=dtype), torch.tensor([0, 1, 0, 1])), split_idx=0)
        assert x.dtype == dtype and (x[:, 0, 0] == torch.tensor([100, 101, 100, 101])).all()


def test_the_pool_is_refilled_after_reuse_draws_and_not_every_batch():
    gen = FakeGenerator()
    aug = sampled(gen, p=1., pool_size=128, reuse=8).fill()
    dls = loaders(aug, bs=64)
    assert gen.asked == [128]
    serials = [dls.one_batch()[0][:, 0, -1].min().item() for _ in range(24)] # 8 x 64 draws for 64 new series
    assert gen.asked == [128] + [REFILL_ROWS] * 3
    assert min(serials[:7]) < 64 and min(serials[15:23]) >= 128 - 1 # two refills replace all of the first 128


@pytest.mark.parametrize('bs, size', [(10, 128), (64, 100), (200, 128), (10, 16)])
def test_a_series_is_drawn_reuse_times_on_average(bs, size):
    gen = FakeGenerator()
    dls = loaders(sampled(gen, pool_size=size, reuse=4), counts=(500, 500), bs=bs)
    for _ in range(2000 // bs): dls.one_batch()
    refill = min(REFILL_ROWS, size)
    assert gen.asked[0] == size and sum(gen.asked[1:]) == 2000 // (4 * refill) * refill


def test_the_pool_holds_eight_series_of_a_rare_class():
    gen = FakeGenerator(counts=(9999, 1))
    aug = sampled(gen, p=1., pool_size=128).fill()
    x, _ = aug((torch.zeros(1000, 1, SEQ_LEN), torch.ones(1000, dtype=torch.long)), split_idx=0)
    assert (class_of(x) == 1).all() and len(x[:, 0, -1].unique()) >= 8


def test_a_filled_pool_does_not_make_the_first_batch_wait():
    gen = FakeGenerator()
    dls = loaders(sampled(gen).fill(), bs=8)
    dls.one_batch()
    assert len(gen.asked) == 1


@pytest.mark.parametrize('n_series, size', [(2, 128), (64, 128), (65, 130), (512, 1024), (10 ** 6, 1024)])
def test_it_has_twice_the_training_split_within_bounds(n_series, size):
    gen = FakeGenerator(counts=(n_series // 2, n_series - n_series // 2))
    assert pool_size(n_series) == size
    sampled(gen).fill()
    assert abs(gen.asked[0] - size) <= 1


def new_pool(gen, size=128, mapped=True):
    return SeriesPool(gen, size, 8, mapped, torch.Generator().manual_seed(0), torch.empty(0))


def test_classes_have_places_between_their_proportions_and_equal_parts():
    pool = new_pool(FakeGenerator(('a', 'b', 'c'), (1600, 400, 100)), size=700)
    assert pool.count.tolist() == [400, 200, 100] and pool.first.tolist() == [0, 400, 600]
    assert (class_of(pool.series) == torch.as_tensor(np.repeat([0, 1, 2], [400, 200, 100]))).all()


def test_series_are_drawn_of_the_classes_that_are_asked_for():
    pool, ids = new_pool(FakeGenerator(), mapped=False), torch.tensor([1, 0, 0, 1] * 50)
    x, _ = pool.draw(ids, torch.Generator().manual_seed(1))
    assert (x[:, 0, 0] == 1100 + ids).all() # not mapped
    assert len(x[:, 0, -1].unique()) > 90 # from all of the 128
