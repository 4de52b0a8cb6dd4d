"""Beside another loader: a row of series and its row of a table stay together in tsai's `get_mixed_dls`."""
import numpy as np
import pandas as pd
import pytest
import torch
from fake_generator import SEQ_LEN, FakeGenerator, loaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.tabular.core import Categorify
from torch import nn
from tsai.basics import RandAugment, TSClassification, TSStandardize, get_ts_dls
from tsai.data.mixed import get_mixed_dls
from tsai.data.tabular import get_tabular_dls

from tsai_nmvq.augment.randaug import nmvq_randaug
from tsai_nmvq.augment.transform import NMVQAugment

N, N_TRAIN, BS = 80, 64, 16
SPLITS = list(range(N_TRAIN)), list(range(N_TRAIN, N))
ROWS = np.arange(N)


def series(*batch_tfms, of=ROWS): # row i is constant at i/100, of class i % 2
    X = (of / 100)[:, None, None].repeat(SEQ_LEN, 2).astype(np.float32)
    return get_ts_dls(X, np.asarray(['a', 'b'])[of % 2], splits=SPLITS, tfms=[None, TSClassification()], bs=BS,
                      batch_tfms=list(batch_tfms))


def table(): # row i has i/100 in a column
    frame = pd.DataFrame(dict(row=(ROWS / 100).astype(np.float32), kind=ROWS % 3, y=np.asarray(['a', 'b'])[ROWS % 2]))
    return get_tabular_dls(frame, procs=[Categorify], cat_names=['kind'], cont_names=['row'], y_names='y',
                           splits=SPLITS, bs=BS)


def mixed(*batch_tfms): return get_mixed_dls(series(*batch_tfms), table(), bs=BS)


class BothInputs(nn.Module):
    def __init__(self): super().__init__(), setattr(self, 'head', nn.Linear(SEQ_LEN + 1, 2))
    def forward(self, inputs):
        x, (_, row) = inputs
        return self.head(torch.cat((x.flatten(1), row), 1).as_subclass(torch.Tensor))


@pytest.mark.parametrize('p', [0.5, 1.])
@pytest.mark.parametrize('mode', ['warp', 'perturb'])
@pytest.mark.parametrize('entry', [False, True])
def test_varied_rows_stay_beside_their_own(p, mode, entry):
    aug = NMVQAugment(FakeGenerator(), p=p, mode=mode, append=False, seed=0)
    dls, n_varied = mixed(RandAugment([(lambda magnitude: aug, 0., 1.)]) if entry else aug), 0
    assert len(dls.train) == N_TRAIN // BS
    for (x, (_, row)), y in dls.train:
        x, y, row = (value.as_subclass(torch.Tensor) for value in (x[:, 0, 0], y.flatten(), row[:, 0]))
        assert len(x) == len(y) == len(row) == BS
        assert torch.equal((row * 100).round().long() % 2, y)
        moved = (x - row) / (100 if mode == 'warp' else 1)                 # 0, else 1 or between 0.5 and 1, by mode
        varied = moved > 0.4
        assert torch.allclose(moved[~varied], torch.zeros(()), atol=1e-4) and (moved[varied] < 1.01).all()
        n_varied += int(varied.sum())
    assert n_varied == N_TRAIN if p == 1 else 0 < n_varied < N_TRAIN


MOVED = [dict(), dict(append=False, balance=True), dict(balance=True), dict(append=False, mode='generate')]


@pytest.mark.parametrize('settings', MOVED, ids=str)
def test_rows_that_would_part_are_refused(settings):
    with pytest.raises(ValueError, match='^rows of mixed loaders .* and a mode that varies rows: warp'):
        mixed(NMVQAugment(FakeGenerator(), **settings), TSStandardize())


def test_an_entry_of_randaugment_that_adds_rows_is_refused():
    with pytest.raises(ValueError, match='rows of mixed loaders'):
        mixed(RandAugment([nmvq_randaug(FakeGenerator(), append=True)], M=10))
    mixed(RandAugment([nmvq_randaug(FakeGenerator())], M=10))


@pytest.mark.parametrize('settings', MOVED, ids=str)
def test_what_is_refused_only_later_never_parts_rows(settings): # off while the loaders are mixed, on when they are used
    aug = NMVQAugment(FakeGenerator(), **settings)
    with aug.paused(): dls = mixed(aug)
    learn = Learner(dls, BothInputs(), loss_func=CrossEntropyLossFlat())
    with pytest.raises(ValueError, match='rows of mixed loaders'): dls.one_batch()
    with pytest.raises(ValueError, match='rows of mixed loaders'), learn.no_bar(): learn.fit(1)
    (x, _), y = dls.valid.one_batch()
    assert len(x) == len(y) == BS


def test_loaders_made_anew_are_refused_too(): # the transform has never seen them
    dls, rows = series(NMVQAugment(FakeGenerator())), table()
    dls.loaders = [dl.new() for dl in dls.loaders]
    with pytest.raises(ValueError, match='rows of mixed loaders'): get_mixed_dls(dls, rows, bs=BS)
    with torch.no_grad(): dls = get_mixed_dls(dls, rows, bs=BS)
    with pytest.raises(ValueError, match='rows of mixed loaders'): dls.train.new().one_batch()


def test_a_learner_trains_on_mixed_loaders():
    aug = NMVQAugment(FakeGenerator(), p=0.5, append=False)
    learn = Learner(mixed(aug), BothInputs(), loss_func=CrossEntropyLossFlat())
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert np.isfinite(learn.recorder.values[-1]).all()


def test_loaders_of_their_own_are_not_mixed():
    for _ in mixed(): # even while others are
        assert len(loaders(NMVQAugment(FakeGenerator())).one_batch()[0]) == 200
