"""imbalanced-learn's interface: its own checks, series of three dimensions, its Pipeline, too few series."""
import copy
import dataclasses
from collections import Counter

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import parametrize_with_checks
from sklearn.base import clone

from tsai_nmvq.oversampler import NMVQOverSampler


@pytest.mark.filterwarnings('ignore')
@parametrize_with_checks([NMVQOverSampler(random_state=0)])
def test_checks_of_imbalanced_learn(estimator, check, monkeypatch): # learning for each takes too long: SMOTE's part
    monkeypatch.setattr('tsai_nmvq.oversampler.MIN_SEQ_LEN', 1000)
    check(estimator)


@pytest.fixture
def warping(gen):
    gen = copy.copy(gen)
    gen.anchors = dataclasses.replace(gen.anchors, strength=0.03)
    return gen


@pytest.fixture
def imbalanced(data): # GunPoint, 24 and 6 series
    X, y, (train, _) = data
    X, y = X[train], y[train]
    rows = np.concatenate((np.flatnonzero(y == '1')[:24], np.flatnonzero(y == '2')[:6]))
    return X[rows], y[rows]


@pytest.mark.parametrize('mode', ['warp', 'redraw', 'perturb', 'generate'])
def test_rare_classes_are_filled_up_behind_the_real_rows(warping, imbalanced, mode):
    X, y = imbalanced
    over = NMVQOverSampler(warping, mode=mode, random_state=0)
    X_res, y_res = over.fit_resample(X, y)
    assert Counter(y_res) == {'1': 24, '2': 24} and X_res.dtype == X.dtype
    assert (X_res[:30] == X).all() and (y_res[:30] == y).all() and np.isfinite(X_res).all()
    nearest = np.abs(X_res[30:, None] - X[None]).mean((2, 3)).min(1)
    assert (nearest > 0).all()
    assert (over.fit_resample(X, y)[0] == X_res).all()


def test_sampling_strategy_is_that_of_imbalanced_learn(gen, imbalanced):
    _, y_res = NMVQOverSampler(gen, sampling_strategy={'2': 10}).fit_resample(*imbalanced)
    assert Counter(y_res) == {'1': 24, '2': 10}
    _, y_res = NMVQOverSampler(gen, sampling_strategy=0.5).fit_resample(*imbalanced)
    assert Counter(y_res) == {'1': 24, '2': 12}


def test_flat_series_come_back_flat(gen, imbalanced):
    X, y = imbalanced
    X_res, _ = NMVQOverSampler(gen, random_state=0).fit_resample(X[:, 0], y)
    assert (X_res == NMVQOverSampler(gen, random_state=0).fit_resample(X, y)[0][:, 0]).all()


@pytest.mark.parametrize('shape, why', [((40, 2, 10), '10 steps, a generator needs 16'),
                                        ((7, 2, 32), '7 series, a generator needs 8')])
def test_where_nothing_can_be_learnt_it_says_so_and_does_what_smote_does(shape, why):
    X = np.random.default_rng(0).normal(size=shape)
    y = np.arange(len(X)) % 3 == 0
    with pytest.warns(UserWarning, match=why): X_res, y_res = NMVQOverSampler(random_state=0).fit_resample(X, y)
    flat, expected = SMOTE(k_neighbors=min(5, y.sum() - 1), random_state=0).fit_resample(X.reshape(len(X), -1), y)
    assert (X_res.reshape(len(X_res), -1) == flat).all() and (y_res == expected).all()


def test_one_series_is_repeated_where_nothing_can_be_learnt():
    X, y = np.random.default_rng(0).normal(size=(6, 1, 8)), [0, 0, 0, 0, 0, 1]
    with pytest.warns(UserWarning): X_res, y_res = NMVQOverSampler(random_state=0).fit_resample(X, y)
    assert (X_res[np.asarray(y_res) == 1] == X[5]).all() and Counter(y_res) == {0: 5, 1: 5}


def test_it_works_in_a_pipeline_and_can_be_cloned(gen, imbalanced):
    class Judge:
        def fit(self, X, y):
            self.seen = Counter(y)
            return self
        def predict(self, X): return np.zeros(len(X))
    pipe = make_pipeline(NMVQOverSampler(gen, random_state=0), Judge()).fit(*imbalanced)
    assert pipe[-1].seen == {'1': 24, '2': 24}
    assert clone(NMVQOverSampler(mode='redraw', random_state=3)).get_params()['mode'] == 'redraw'


def test_bad_settings_are_refused(gen, imbalanced):
    X, y = imbalanced
    with pytest.raises(ValueError, match="mode is 'mix', expected one of"):
        NMVQOverSampler(gen, mode='mix').fit_resample(X, y)
    with pytest.raises(ValueError, match='30 series and y has 29 labels'): NMVQOverSampler(gen).fit_resample(X, y[:-1])
