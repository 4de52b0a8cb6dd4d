"""The stages' loaders: whole batches over all rows in training, every row once and in order elsewhere."""
import random

import pytest
import torch

from tsai_nmvq.data.loaders import RowsDL, stage_dls
from tsai_nmvq.data.rows import Rows


def rows_of(n): return Rows.of_tensors(torch.arange(n), 10 * torch.arange(n))


@pytest.mark.parametrize('n, bs, min_steps, steps', [
    (100, 10, 0, 10), (105, 10, 0, 10), (7, 10, 0, 1), (7, 10, 32, 32), (1, 4, 3, 3)])
def test_training_epochs_are_whole_batches_over_all_rows_alike(n, bs, min_steps, steps):
    dl = RowsDL(rows_of(n), bs, shuffle=True, min_steps=min_steps)
    epochs = [[x for x, _ in dl] for _ in range(2)]
    assert len(dl) == steps and [[len(x) for x in xs] for xs in epochs] == [[bs] * steps] * 2
    seen = torch.cat(epochs[0])
    counts = torch.bincount(seen, minlength=n)
    assert counts.max() - counts.min() <= 1
    assert n < 7 or not torch.equal(seen, torch.cat(epochs[1]))


def test_labels_go_with_their_series():
    for x, y in RowsDL(rows_of(20), 8, shuffle=True): assert torch.equal(y, 10 * x)


@pytest.mark.parametrize('n', [0, 1, 8, 19])
def test_validation_is_in_order_and_whole(n):
    dl = RowsDL(rows_of(n), 8)
    assert len(dl) == -(-n // 8)
    assert torch.cat([torch.empty(0, dtype=torch.long), *[x for x, _ in dl]]).tolist() == list(range(n))


def test_predictions_get_the_training_rows_in_order():
    dl = RowsDL(rows_of(20), 8, shuffle=True, min_steps=10, n_inp=2).new(shuffle=False, drop_last=False)
    assert torch.cat([x for x, _ in dl]).tolist() == list(range(20)) and dl.bs == 8 and dl.n_inp == 2


def test_order_follows_the_global_seed():
    def order():
        random.seed(3)
        return torch.cat([x for x, _ in RowsDL(rows_of(50), 10, shuffle=True)])
    assert torch.equal(order(), order())


def test_stage_loaders_have_a_training_and_a_validation_part():
    dls = stage_dls(rows_of(20), rows_of(9), bs=4, min_steps=7, n_inp=1, device='cpu')
    assert (len(dls.train), len(dls.valid)) == (7, 3) and dls.train.n_inp == 1
    assert torch.cat([x for x, _ in dls.valid]).tolist() == list(range(9))
    assert len(stage_dls(rows_of(20), bs=4).valid) == 0
