"""In workers of PyTorch's loader: each draws apart from the others and from its parent, forked or started anew."""
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tsai_nmvq.augment.transform import NMVQAugment

spawn = partial(pytest.param, 'spawn', marks=pytest.mark.slow) # imports everything again in each worker


@pytest.fixture(scope='module')
def warped(gen): # it is hardly trained: without a warp many samples are the same
    from copy import copy
    gen = copy(gen)
    gen.anchors = replace(gen.anchors, strength=0.05)
    return gen


def collate(augment, rows):
    x, y = map(torch.stack, zip(*rows))
    return augment((x, y), split_idx=0)


def loader(data, augment, context, seed=0, **kwargs):
    x = torch.as_tensor(data[0][:32])
    rows = TensorDataset(x, torch.zeros(32, dtype=torch.long))
    return DataLoader(rows, batch_size=8, num_workers=2, multiprocessing_context=context, timeout=120,
                      generator=torch.Generator().manual_seed(seed), collate_fn=partial(collate, augment), **kwargs)


def added(dl): # rows of an epoch that are not real [n, c_in, seq_len]
    batches = [x.as_subclass(torch.Tensor) for x, _ in dl]
    assert all(len(x) == 16 and torch.equal(x[:8], real) for x, real in zip(batches, dl.dataset.tensors[0].split(8)))
    return torch.cat([x[8:] for x in batches])


def n_same(a, b): return (a[:, None] == b).all(-1).all(-1).sum().item()


@pytest.mark.parametrize('context, seed, has_drawn', [('fork', None, False), ('fork', 7, False), ('fork', 7, True),
                                                      spawn(7, True)])
def test_no_two_workers_and_no_two_epochs_draw_the_same(data, warped, context, seed, has_drawn):
    augment = NMVQAugment(warped, mode='warp', seed=seed)
    if has_drawn: collate(augment, [(torch.as_tensor(x), torch.tensor(0)) for x in data[0][:8]])
    dl = loader(data, augment, context)
    rows = torch.cat((added(dl), added(dl)))
    assert n_same(rows, rows) == len(rows)
    again = loader(data, augment, context)
    assert torch.equal(rows, torch.cat((added(again), added(again))))    # the same seed of the loader


@pytest.mark.parametrize('context, is_full', [('fork', False), ('fork', True), spawn(True)])
def test_fresh_samples_of_workers_differ(data, warped, context, is_full):
    augment = NMVQAugment(warped, mode='generate', seed=7, pool_size=16, reuse=1)
    if is_full: augment.fill()
    first, *rest = (added(loader(data, augment, context, seed))[16:] for seed in range(3)) # those of a refilled pool
    for rows in rest: assert n_same(first, rows) == 0


def test_the_parent_draws_on_as_if_there_had_been_no_workers(data, warped):
    def drawn(workers):
        augment = NMVQAugment(warped, mode='warp', seed=7)
        rows = [(torch.as_tensor(x), torch.tensor(0)) for x in data[0][:8]]
        first = collate(augment, rows)[0]
        if workers: added(loader(data, augment, 'fork'))
        return torch.cat((first, collate(augment, rows)[0])).as_subclass(torch.Tensor)
    assert torch.equal(drawn(False), drawn(True))
