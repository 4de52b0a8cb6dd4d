"""The benchmark of the augmentation: its sets, its treatments and how it sums up."""
import numpy as np
import pandas as pd
import pytest

from benchmarks.augmentation.cases import RATIO, SmallSet
from benchmarks.augmentation.ranks import gains, plot_ranks, summary
from benchmarks.augmentation.training import train
from benchmarks.augmentation.treatments import IMBALANCED_RIVALS, RIVALS, TREATMENTS, working_randaugs


@pytest.fixture
def runs(): # 'a' wins one set of three by two points, draws one, loses one by one; 'b' is as none
    scores = dict(none=(0.80, 0.90, 0.70), a=(0.82, 0.902, 0.69), b=(0.80, 0.90, 0.70))
    return pd.DataFrame([{'data': data, 'network': 'FCN', 'treatment': name, 'seed': seed, 'accuracy': score}
                         for name, values in scores.items() for data, score in zip('xyz', values) for seed in (0, 1)])


def test_a_summary_counts_gains_ranks_and_sets(runs, tmp_path):
    table = summary(runs).set_index('treatment')
    assert table.loc['a', ['won', 'drawn', 'lost']].tolist() == [1, 1, 1]
    assert table.gain.round(6).to_dict() == {'none': 0, 'a': 0.4, 'b': 0} and round(table.worst['a'], 6) == -1
    assert table['mean rank'].round(3).to_dict() == {'none': 2.167, 'a': 1.667, 'b': 2.167}
    assert table.p['b'] == 1 and 0 < table.p['a'] < 1
    assert gains(runs).loc[('a', 'FCN')].round(6).to_dict() == {'x': 2, 'y': 0.2, 'z': -1}
    plot_ranks(table.reset_index(), tmp_path / 'ranks.png')
    assert (tmp_path / 'ranks.png').stat().st_size > 1000


def test_sets_without_every_treatment_are_left_out(runs):
    table = summary(runs[(runs.treatment != 'b') | (runs.data != 'x')])
    assert (table.sets == 2).all()


def test_thinned_sets_keep_some_of_every_class_and_the_test_split():
    X, y, (train_rows, test_rows) = SmallSet('GunPoint', thinned=True).read(None)
    counts = np.unique(y[train_rows], return_counts=True)[1]
    assert counts.max() == 26 and counts.min() == max(3, round(26 / RATIO)) and len(test_rows) == 150
    assert not set(train_rows) & set(test_rows)


def test_every_rival_is_there_and_broken_randaugs_are_not():
    assert {*RIVALS, *IMBALANCED_RIVALS} <= set(TREATMENTS)
    assert 25 < len(working_randaugs()) < 42


@pytest.mark.parametrize('name', ['none', 'window warp, scaling', 'MixUp1d', 'class weights', 'SMOTE'])
def test_a_run_scores_every_treatment_alike(name):
    X, y, splits = SmallSet('GunPoint', thinned=True).read(None)
    a, b = (train(X, y, splits, TREATMENTS[name], 'FCN', 0, steps=2) for _ in range(2))
    assert {k: v for k, v in a.items() if k != 'training, s'} == {k: v for k, v in b.items() if k != 'training, s'}
    assert all(0 <= a[score] <= 1 for score in ('accuracy', 'balanced accuracy', 'macro F1', 'G-mean'))
