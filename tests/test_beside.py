"""`NMVQAugment` with its default arguments beside what else tsai offers: in all, a row keeps its own target."""
import numpy as np
import pytest
import torch
from fake_generator import SEQ_LEN, FakeGenerator, class_of, is_synthetic
from fastai.callback.core import Callback
from tsai.basics import (
    CutMix1d,
    IntraClassCutMix1d,
    MixUp1d,
    RandAugment,
    TSClassification,
    TSClassifier,
    TSForecaster,
    TSIdentity,
    TSMagAddNoise,
    TSMagScale,
    TSRegression,
    TSRegressor,
    TSStandardize,
    get_ts_dls,
    ts_learner,
)
from tsai.callback.MVP import MVP

from tsai_nmvq.augment.transform import NMVQAugment

N, BS = 80, 20
SPLITS = list(range(0, N, 2)), list(range(1, N, 2))
ROWS = np.arange(N) // 2 % 40
SMALL = dict(arch='FCN', arch_config=dict(layers=[4, 4, 4]), splits=SPLITS, bs=BS)
CLASSES = dict(tfms=[None, TSClassification()])


def series(ids): return (ids[:, None, None] + np.zeros((1, 1, SEQ_LEN))).astype(np.float32) # constant at its id


class Seen(Callback):
    "The training batches that reach the model: x's first step of each row, and targets."
    order = 90 # after what changes batches

    def __init__(self): self.xs, self.ys, self.sizes = [], [], []

    def before_batch(self):
        if not self.training: return
        self.sizes.append(len(self.first_input))
        self.xs.append(self.first_input.detach().clone())
        if self.learn.yb: self.ys.append(self.learn.yb[0].as_subclass(torch.Tensor).detach().clone())

    @property
    def first_input(self): return self.learn.xb[0].as_subclass(torch.Tensor)


def trained(learn): # for an epoch -> (x, y, sizes of its batches)
    seen = Seen()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=seen)
    assert np.isfinite(np.asarray(learn.recorder.values, dtype=float)).all()
    return torch.cat(seen.xs), torch.cat(seen.ys) if seen.ys else None, seen.sizes


def classifier(*batch_tfms, cbs=None, **kwargs):
    y = np.asarray(['a', 'b'])[ROWS % 2]
    return TSClassifier(series(ROWS % 2), y, batch_tfms=[NMVQAugment(FakeGenerator(), seed=0), *batch_tfms], cbs=cbs,
                        **{**SMALL, **CLASSES, **kwargs})


@pytest.mark.parametrize('tfms', [(), (RandAugment([TSIdentity]),), (TSIdentity(magnitude=1),)], ids=str)
def test_a_classifier_sees_every_row_with_its_class(tfms):
    x, y, sizes = trained(classifier(*tfms))
    assert sizes == [2 * BS] * 2 and int(is_synthetic(x).sum()) == len(x) // 2 and torch.equal(class_of(x), y)


def test_randaugment_changes_real_and_added_rows():
    x, y, sizes = trained(classifier(RandAugment([(TSMagScale, 0.1, 0.5), (TSMagAddNoise, 0.1, 0.5)], N=2, M=5),
                                     TSStandardize(by_sample=True)))
    assert sizes == [2 * BS] * 2 and x.isfinite().all()


@pytest.mark.parametrize('mix', [MixUp1d, CutMix1d, IntraClassCutMix1d])
def test_mixes_of_rows_train(mix):
    x, _, sizes = trained(classifier(TSStandardize(by_sample=True), cbs=mix()))
    assert sizes == [2 * BS] * 2 and x.isfinite().all()


def test_mixup_weighs_the_targets_of_the_rows_it_mixes():
    clf, mixed = classifier(cbs=MixUp1d(alpha=1.)), []
    def keep(self): mixed.append((self.x.as_subclass(torch.Tensor), self.learn.yb, self.mix_up1d.lam.flatten()))
    with clf.no_bar(), clf.no_logging(): clf.fit(1, 1e-3, cbs=Callback(before_batch=keep))
    x, targets, lam = mixed[0]
    assert len(x) == 2 * BS and len(lam) in (1, 2 * BS) and all(len(y) == 2 * BS for y in targets)


def test_weights_of_the_loader_reach_added_rows(): # of class 'b', nine times as often
    weights = np.where(ROWS % 2, 9., 1.)
    x, y, sizes = trained(classifier(weights=weights))
    assert sizes == [2 * BS] * 2 and torch.equal(class_of(x), y)
    for part in (y[~is_synthetic(x)], y[is_synthetic(x)]): assert part.float().mean() > 0.7


@pytest.mark.parametrize('partial_n, sizes', [(0.5, [2 * BS]), (10, [20])])
def test_a_part_of_the_rows_an_epoch(partial_n, sizes):
    x, y, seen = trained(classifier(partial_n=partial_n))
    assert seen == sizes and torch.equal(class_of(x), y)


def own_rows(x): # the row that a row is or was made of
    x = x[:, 0, 0]
    return torch.where(x >= 100, x - 100, x)


@pytest.mark.parametrize('y', [ROWS * 2., np.stack([ROWS * 2., ROWS * 3.], 1)], ids=['one', 'two'])
def test_a_regressor_keeps_targets_with_their_rows(y):
    reg = TSRegressor(series(ROWS), y.astype(np.float32), tfms=[None, TSRegression()], arch='TSTPlus', splits=SPLITS,
                      bs=BS, batch_tfms=[NMVQAugment(FakeGenerator())])
    x, y, sizes = trained(reg)
    assert sizes == [2 * BS] * 2 and torch.equal(own_rows(x) * 2, y.reshape(len(x), -1)[:, 0])
    assert sorted(own_rows(x[is_synthetic(x)]).tolist()) == sorted(own_rows(x[~is_synthetic(x)]).tolist()) # each once


@pytest.mark.parametrize('horizon', [(1,), (3,), (1, 3)], ids=str) # one step, steps, steps of a channel
def test_a_forecaster_keeps_series_to_come_with_their_rows(horizon):
    y = (ROWS.reshape(-1, *[1] * len(horizon)) + np.zeros(horizon)).astype(np.float32)
    x, y, sizes = trained(TSForecaster(series(ROWS), y, splits=SPLITS, bs=BS, arch='TSTPlus',
                                       batch_tfms=[NMVQAugment(FakeGenerator())]))
    assert sizes == [2 * BS] * 2 and y.shape == (len(x), *horizon)
    assert (y.flatten(1) == own_rows(x)[:, None]).all() and int(is_synthetic(x).sum()) == len(x) // 2


@pytest.mark.parametrize('labels', [False, True])
def test_self_supervised_learning_fills_in_added_rows_too(labels, tmp_path):
    y, tfms = (np.asarray(['a', 'b'])[ROWS % 2], [None, TSClassification()]) if labels else (None, None)
    dls = get_ts_dls(series(ROWS % 2), y, splits=SPLITS, tfms=tfms, bs=BS, batch_tfms=[NMVQAugment(FakeGenerator())])
    mvp = MVP(target_dir=str(tmp_path), save_best=False)
    x, target, sizes = trained(ts_learner(dls, 'TSTPlus', cbs=mvp, path=tmp_path))
    assert sizes == [2 * BS] * 2 and target.shape == x.shape
    assert int(is_synthetic(target).sum()) == len(x) // 2
    assert ((x == 0) | (x == target)).all() and (x != target).any()        # masked, or as it is
