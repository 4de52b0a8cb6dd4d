"""What all metrics share: arrays or tensors of any precision in, floats out, and global random states left alone."""
import numpy as np
import pytest
import torch
from made_series import assert_random_states_do_not_matter, noise
from tsai.all import TSTensor

from tsai_nmvq.metrics import inputs
from tsai_nmvq.metrics.distance import novelty
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.inputs import as_labels, as_series, split_chunks
from tsai_nmvq.metrics.statistics import STATISTICS

PAIRS = [fid, novelty, *STATISTICS.values()]


def call(func, real, gen): return func(real, real[::-1] + 1, gen) if func is novelty else func(real, gen)


@pytest.mark.parametrize('func', PAIRS)
@pytest.mark.parametrize('make', [np.float64, np.float16, torch.as_tensor, lambda x: torch.as_tensor(x).bfloat16()])
def test_series_may_be_arrays_or_tensors_of_any_precision(func, make):
    real, gen = noise(), 2 * noise(seed=1)
    sets = (real, noise(seed=3), gen) if func is novelty else (real, gen)
    value, expected = func(*map(make, sets)), func(*sets)
    assert type(value) is float and value == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize('func', PAIRS)
@pytest.mark.parametrize('gen, what', [
    (noise(40, 2), r'c_in, seq_len = \(2, 24\), expected \(1, 24\)'),
    (noise(seq_len=25), r'\(1, 25\), expected \(1, 24\)'),
    (noise()[:0], 'with n > 0'), (noise()[None], r'expected \[n, c_in, seq_len\]'),
    (np.where(noise() > 2, np.inf, noise()), r'series 3 of a set of 40 holds inf \(14 such series\); fill')])
def test_sets_that_cannot_be_compared_are_refused(func, gen, what):
    with pytest.raises(ValueError, match=what): call(func, noise(), gen)


@pytest.mark.parametrize('func', PAIRS)
def test_global_random_states_are_left_alone_and_do_not_matter(func):
    assert_random_states_do_not_matter(lambda: call(func, noise(), noise(seed=1)))


# Their pieces

@pytest.mark.parametrize('make, dtype', [
    (np.float64, torch.float64), (np.float32, torch.float32), (np.float16, torch.float32), (np.int64, torch.float32),
    (torch.as_tensor, torch.float32), (lambda x: torch.as_tensor(x).bfloat16(), torch.float32),
    (lambda x: torch.as_tensor(x).double().requires_grad_(), torch.float64), (TSTensor, torch.float32)])
def test_series_become_plain_float_tensors(make, dtype):
    x, = as_series(make(noise()))
    assert x.dtype == dtype and type(x) is torch.Tensor and not x.requires_grad and x.shape == (40, 1, 24)


def test_all_sets_have_the_shape_of_the_first_or_the_one_asked_for():
    assert [len(x) for x in as_series(noise(3), noise(5), shape=(1, 24))] == [3, 5]
    with pytest.raises(ValueError, match=r'c_in, seq_len = \(1, 24\), expected \(2, 24\); compare sets of one shape'):
        as_series(noise(), shape=(2, 24))


def test_gaps_are_filled_by_straight_lines():
    x = noise(2)
    x[0, 0, 3:6] = np.nan
    filled, other = as_series(x, noise(2))
    np.testing.assert_allclose(filled[0, 0, 2:7], np.linspace(x[0, 0, 2], x[0, 0, 6], 5), rtol=1e-5)
    assert np.array_equal(filled[1], x[1]) and np.array_equal(other, noise(2))


@pytest.mark.parametrize('value', [np.inf, -np.inf])
def test_the_first_series_that_is_not_finite_is_named_with_its_set(value):
    gen = noise(25)
    gen[[7, 9], 0, 3] = value
    what = r'series 7 of a set of 25 holds inf \(2 such series\); fill or drop'
    with pytest.raises(ValueError, match=what): as_series(noise(), gen)


@pytest.mark.parametrize('y', [['a', 'b', 'a'], np.array([0, 1, 0]), torch.tensor([0, 1, 0])])
def test_labels_become_an_array(y):
    labels = as_labels(y, noise(3))
    assert isinstance(labels, np.ndarray) and labels.tolist() == list(y)


@pytest.mark.parametrize('y', [[0, 1], [[0], [1], [0]], 1])
def test_another_number_of_labels_is_refused(y):
    with pytest.raises(ValueError, match=r'labels have shape .* for 3 series; pass one class label a series'):
        as_labels(y, noise(3))


@pytest.mark.parametrize('values, sizes', [(1, [10]), (4, [5, 5]), (7, [2, 2, 2, 2, 2]), (8, [2] * 5), (21, [1] * 10)])
def test_chunks_hold_no_more_than_the_bound_or_one_row(values, sizes, monkeypatch):
    monkeypatch.setattr(inputs, 'CHUNK_VALUES', 20)
    x = torch.arange(10)
    parts = split_chunks(x, values)
    assert [len(part) for part in parts] == sizes and torch.equal(torch.cat(parts), x)
