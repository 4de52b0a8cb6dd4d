"""Labels by one rule: equal or of the same name; what is no class is refused; shares that add up."""
import datetime
import json
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from tsai_nmvq.data.labels import class_labels, largest_remainder, match_labels, to_python_scalar


@pytest.mark.parametrize('label, plain', [
    (b'a', 'a'), (np.bytes_(b'b'), 'b'), (datetime.date(2020, 1, 2), '2020-01-02'), (Fraction(1, 2), 0.5),
    (np.datetime64('2020-01-02', 'ns'), '2020-01-02'), (pd.Timestamp('2020-01-02 03:04'), '2020-01-02T03:04:00'),
    (np.str_('a'), 'a'), ('a', 'a'), (np.int8(3), 3), (3, 3), (np.float32(0.5), 0.5), (np.bool_(True), True), (2., 2.)])
def test_labels_become_what_json_holds(label, plain):
    value = to_python_scalar(label)
    assert value == plain and type(value) is type(plain) and json.loads(json.dumps(value)) == plain


@pytest.mark.parametrize('label', [('a',), None, object(), 1j])
def test_what_is_no_label_is_refused(label):
    with pytest.raises(TypeError, match='is of type .*, expected text, a number or a date'): to_python_scalar(label)


# Which are classes

@pytest.mark.parametrize('make', [
    list, tuple, np.array, lambda y: np.array(y)[:, None], lambda y: np.array(y, dtype=object)])
@pytest.mark.parametrize('labels', [['b', 'a'], [1, 2], [1., 2.], [True, False]])
def test_labels_of_classes_are_taken(make, labels):
    y = class_labels(make(labels))
    assert y.shape == (2,) and y.tolist() == labels and y.dtype.kind == np.array(labels).dtype.kind


def test_objects_become_one_plain_type():
    y = class_labels(np.array([np.str_('b'), 'a'], dtype=object))
    assert y.dtype.kind == 'U' and y.tolist() == ['b', 'a']


@pytest.mark.parametrize('make', [
    lambda days: np.array(days, 'datetime64[ns]'), lambda days: list(pd.to_datetime(days)),
    lambda days: [datetime.date.fromisoformat(day) for day in days], lambda days: pd.Series(pd.to_datetime(days)),
    lambda days: np.array(days, dtype='S'), lambda days: np.array(days, dtype=object)])
def test_dates_and_bytes_are_text(make):
    days = ['2020-01-02', '2019-05-06']
    assert class_labels(make(days)).tolist() == days and match_labels(make(days), days).tolist() == [0, 1]


def test_text_beside_numbers_is_text(): assert class_labels(['a', 1, 2.]).tolist() == ['a', '1', '2']


@pytest.mark.parametrize('y', [['a', np.nan], ['a', None], [1, pd.NA], np.array([1., np.nan]),
                               np.array(['2020-01-01', 'NaT'], 'datetime64[D]')])
def test_missing_labels_are_named(y):
    with pytest.raises(ValueError, match=r'label 1 is missing \(.*\), and 1 of 2 are; drop'): class_labels(y)


@pytest.mark.parametrize('y', [[0.5, 1.], [np.inf, 1.], np.float32([[0.1], [2]]), torch.tensor([0.5, 2])])
def test_real_numbers_are_refused_with_a_way_out(y):
    what = 'y holds real numbers, which look like regression targets, expected classes; round them, or pass'
    with pytest.raises(ValueError, match=what): class_labels(y)
    assert len(class_labels(y, real=True)) == 2


@pytest.mark.parametrize('y, shape', [
    (np.zeros((2, 3)), r'\(2, 3\)'), (np.zeros((2, 1, 2)), r'\(2, 1, 2\)'), ('a', r'\(\)')])
def test_labels_of_another_shape_are_refused(y, shape):
    what = rf'y has shape {shape}, expected one class label a series \[n\]'
    with pytest.raises(ValueError, match=what): class_labels(y)


# Matching

@pytest.mark.parametrize('kind, vocab', [
    *[(kind, vocab) for kind in (int, np.int8) for vocab in ((1, 2, 10), ('1', '2', '10'), (1., 2., 10.))],
    *[(kind, vocab) for kind in (str, np.str_) for vocab in ((1, 2, 10), ('1', '2', '10'))],
    *[(kind, vocab) for kind in (float, np.float32) for vocab in ((1, 2, 10), (1., 2., 10.), ('1.0', '2.0', '10.0'))]])
def test_labels_match_by_value_or_by_name(kind, vocab):
    ids = match_labels([kind(v) for v in (10, 1, 1)], vocab)
    assert ids.dtype == np.int64 and ids.tolist() == [2, 0, 0]


def test_labels_that_are_not_there_are_minus_one():
    assert match_labels(['b', 'z', 0, None, float('nan')], ('a', 'b')).tolist() == [1, -1, -1, -1, -1]
    assert match_labels([], ('a',)).tolist() == [] and match_labels(['a'], ()).tolist() == [-1]


def test_equal_labels_come_before_equal_names():
    assert match_labels(['1', 1], ('1', 1)).tolist() == [0, 1] and match_labels(['1', 1], (1, '1')).tolist() == [1, 0]


# Shares

def test_shares_keep_the_sum():
    for n in range(40): assert largest_remainder(np.asarray([0.7, 0.2, 0.1]), n).sum() == n


@pytest.mark.parametrize('proportions, n, shares', [
    ([0.5, 0.3, 0.2], 10, [5, 3, 2]), ([0.5, 0.3, 0.2], 1, [1, 0, 0]), ([0.4, 0.35, 0.25], 3, [1, 1, 1]),
    ([0.6, 0.4], 3, [2, 1]), ([0.5, 0.5], 3, [2, 1]), ([1.], 7, [7]), ([0.2, 0.8], 0, [0, 0])])
def test_the_largest_remainders_get_what_is_left(proportions, n, shares):
    assert largest_remainder(proportions, n).tolist() == shares


def test_shares_are_within_one_of_their_proportion():
    rng = np.random.default_rng(0)
    for n in (1, 7, 100, 12345):
        p = rng.dirichlet(np.ones(9))
        assert (np.abs(largest_remainder(p, n) - p * n) < 1).all()


@pytest.mark.parametrize('label', [1, 1., '1', np.int64(1), np.float32(1)])
@pytest.mark.parametrize('vocab', [(0, 1), (0., 1.), ('0', '1')])
def test_whole_numbers_are_one_class_whatever_their_type(label, vocab):
    assert match_labels([label], vocab).tolist() == [1] and match_labels([1.5, 'one'], vocab).tolist() == [-1, -1]
