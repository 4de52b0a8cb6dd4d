"""Classes of a prior: names, bins of targets, sets of labels; from y to ids and back."""
import json

import numpy as np
import pandas as pd
import pytest
import torch

from tsai_nmvq.data.conditions import Conditions
from tsai_nmvq.data.spec import SeriesSpec

RNG = np.random.default_rng(0)
SETS = [['a'], ['a', 'b'], [], ['b'], ['b', 'a']]
MATRIX = np.array([[1, 0], [1, 1], [0, 0], [0, 1], [1, 1]])


def through_json(conditions, counts=(1,)):
    spec = SeriesSpec(1, 16, 20, (0.,), (1.,), conditions.vocab, tuple(counts), conditions=conditions)
    return SeriesSpec.from_dict(json.loads(json.dumps(spec.to_dict()))).conditions


@pytest.mark.parametrize('y, kind', [
    (['a', 'b', 'a'], 'classes'), ([1, 2, 1], 'classes'), (np.arange(30) % 3, 'classes'), (np.arange(10), 'classes'),
    ([True, False], 'classes'), ([0.5, 1, 2], 'targets'), (RNG.random((20, 1)), 'targets'), (SETS, 'labels'),
    (MATRIX, 'labels'), (MATRIX.astype(float), 'labels'), (MATRIX.astype(bool), 'labels'), ([['a'], ['b']], 'classes')])
def test_kinds_are_guessed(y, kind): assert Conditions.learn(y)[0].kind == kind


@pytest.mark.parametrize('y', [np.arange(48), np.arange(48.), RNG.permutation(1000)[:20]])
def test_numbers_that_may_be_either_are_asked_about(y):
    what = r"\d+ different numbers in \d+ series, which look like targets or counts; pass y_kind="
    with pytest.raises(ValueError, match=what): Conditions.learn(y)
    assert Conditions.learn(y, 'targets')[0].kind == 'targets'
    assert len(Conditions.learn(y, 'classes')[0].vocab) == len(y)


def test_a_kind_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="y_kind is 'bins', expected one of"): Conditions.learn([1, 2], 'bins')


@pytest.mark.parametrize('y', [np.arange(60).reshape(20, 3), RNG.random((20, 2))])
def test_other_matrices_are_refused(y):
    with pytest.raises(ValueError, match=r'y has shape \(20, \d\), expected one class label a series'):
        Conditions.learn(y)


# Targets

def test_bins_of_targets_are_of_about_one_size_and_in_order():
    y = RNG.standard_normal(200)
    made, ids = Conditions.learn(y)
    counts = np.bincount(ids)
    assert len(made.vocab) == 8 and counts.min() >= 24 and counts.sum() == 200
    assert all(y[ids == i].max() < y[ids == i + 1].min() for i in range(7))
    assert made.ids(y).tolist() == ids.tolist() == through_json(made).ids(torch.as_tensor(y)).tolist()


def test_targets_beyond_the_ends_go_to_the_outer_bins():
    made, _ = Conditions.learn(np.linspace(0, 1, 100))
    assert made.ids([-9, 9., '0.5']).tolist() == [0, 3, 2] and made.ids(made.vocab[1]).tolist() == [1]
    assert made.ids(0.1).tolist() == made.ids([[0.1]]).tolist() == [0]


def test_few_targets_and_equal_ones_have_one_bin():
    assert len(Conditions.learn([0.5, 1.5, 2.5])[0].vocab) == 1
    assert len(Conditions.learn(np.full(200, 0.5))[0].vocab) == 1
    y = np.r_[np.zeros(150), RNG.random(50)]
    made, ids = Conditions.learn(y)
    assert np.bincount(ids, minlength=len(made.vocab)).min() > 0


@pytest.mark.parametrize('bad', [np.nan, None, pd.NA])
def test_missing_targets_are_named(bad):
    with pytest.raises(ValueError, match='label 2 is missing'): Conditions.learn([0.5, 1.5, bad], 'targets')


def test_text_is_no_target():
    with pytest.raises(ValueError, match='y holds text that is no number'): Conditions.learn(['a', 'b'], 'targets')


# Sets of labels

@pytest.mark.parametrize('y', [SETS, [tuple(s) for s in SETS], [set(s) for s in SETS], np.asarray(SETS, dtype=object)])
def test_sets_of_labels_are_classes_whatever_their_order(y):
    made, ids = Conditions.learn(y)
    assert made.vocab == ('none', 'a', 'a + b', 'b') and ids.tolist() == [1, 2, 0, 3, 2]
    assert made.ids(y).tolist() == through_json(made).ids(y).tolist() == ids.tolist()
    assert [sorted(v) for v in made.values(ids)] == [sorted(s) for s in SETS]


@pytest.mark.parametrize('dtype', [int, float, bool])
def test_a_matrix_comes_back_as_a_matrix(dtype):
    made, ids = Conditions.learn(MATRIX.astype(dtype))
    assert np.array_equal(made.values(ids), MATRIX) and made.vocab == ('none', '0', '0 + 1', '1')
    assert through_json(made).ids(MATRIX[1]).tolist() == [2]


def test_sets_never_seen_are_minus_one_and_named():
    made, _ = Conditions.learn([['a'], ['a', 'b'], ['a']])
    assert made.ids([['b'], ['a', 'b'], ['a', 'c']]).tolist() == [-1, 1, -1] and made.ids('a + b').tolist() == [1]
    spec = SeriesSpec(1, 16, 3, (0.,), (1.,), made.vocab, (2, 1), conditions=made)
    with pytest.raises(ValueError, match="not in the generator's vocab"): spec.to_ids([['b'], ['a', 'b']])
