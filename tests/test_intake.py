"""What is read from a training split, and what is refused with a sentence that helps."""
import json

import numpy as np
import pytest
import torch
from fastcore.foundation import L
from tsai.all import TSClassification, TSMultiLabelClassification, TSRegression, TSStandardize, TSTensor, get_ts_dls

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.data.rows import CHUNK_ROWS, Rows
from tsai_nmvq.data.spec import SeriesSpec
from tsai_nmvq.data.splits import split_rows
from tsai_nmvq.data.survey import check_no_inf, check_series

SPLITS = (list(range(0, 20, 2)), list(range(1, 20, 2)))


def series(n=20, c_in=2, seq_len=16):
    return np.random.default_rng(0).normal(3, 2, (n, c_in, seq_len)).astype(np.float32)


def labels(*names, n=20): return [names[i * len(names) // n] for i in range(n)]


class Watched:
    "An array that notes which rows are read, and refuses to be read whole."
    dtype = np.dtype(np.float32)
    def __init__(self, X): self.X, self.shape, self.ndim, self.reads = X, X.shape, X.ndim, []
    def __len__(self): return len(self.X)
    def __array__(self, *args, **kwargs): raise AssertionError("read whole")

    def __getitem__(self, idx):
        assert isinstance(idx, np.ndarray) and idx.ndim == 1
        self.reads.append(idx.tolist())
        return self.X[idx]


# Statistics and labels

def test_spec_holds_sizes_statistics_and_classes_of_the_training_rows():
    X, y = series(), np.array(labels('b', 'a', 'c'))
    spec = SeriesData.from_arrays(X, y, SPLITS).spec
    train = X[SPLITS[0]].astype(np.float64)
    assert (spec.c_in, spec.seq_len, spec.n_series, spec.n_classes) == (2, 16, 10, 3)
    np.testing.assert_allclose(spec.mean, train.mean((0, 2)), rtol=1e-10)
    np.testing.assert_allclose(spec.std, train.std((0, 2)), rtol=1e-10)
    assert spec.vocab == ('a', 'b', 'c') and spec.counts == tuple((y[SPLITS[0]] == c).sum() for c in 'abc')
    np.testing.assert_allclose(spec.proportions, np.array(spec.counts) / 10)


def test_other_rows_change_nothing():
    X, y = series(), np.array(labels('a', 'b'))
    data = SeriesData.from_arrays(X, y, SPLITS)
    X2, y2 = X.copy(), y.copy()
    X2[SPLITS[1]], y2[SPLITS[1]] = np.nan, 'z'
    other = SeriesData.from_arrays(X2, y2, SPLITS)
    assert other.spec == data.spec and torch.equal(other.series(range(10)), data.series(range(10)))


@pytest.mark.parametrize('n', [1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 7])
def test_chunks_are_all_rows_in_order(n):
    X = series(max(n, 2), 1)
    data = SeriesData.from_arrays(X)
    chunks = list(data.chunks())
    assert max(map(len, chunks)) <= CHUNK_ROWS and np.array_equal(torch.cat(chunks).numpy(), X)
    np.testing.assert_allclose(data.spec.std[0], X.astype(np.float64).std(), rtol=1e-10)


def test_only_training_rows_are_read_a_bounded_number_at_a_time():
    X = Watched(series(2 * CHUNK_ROWS + 100, 1))
    train = list(range(50, 50 + CHUNK_ROWS + 10))
    data = SeriesData.from_arrays(X, splits=(train, list(range(50))))
    assert sum(X.reads, []) == train and max(map(len, X.reads)) <= CHUNK_ROWS
    X.reads.clear()
    assert np.array_equal(data.series([3, 1]), X.X[[53, 51]]) and X.reads == [[51, 53]]


def test_memory_mapped_series_work(tmp_path):
    X = series()
    np.save(tmp_path/'X.npy', X)
    mapped = np.load(tmp_path/'X.npy', mmap_mode='r')
    data = SeriesData.from_arrays(mapped, labels('a', 'b'), SPLITS)
    assert isinstance(mapped, np.memmap)
    assert data.spec == SeriesData.from_arrays(X, labels('a', 'b'), SPLITS).spec
    assert np.array_equal(data.series([2, 0]).numpy(), X[[4, 0]])


@pytest.mark.parametrize('scale', [1e-9, 1e-3, 1., 1e6])
@pytest.mark.parametrize('offset', [0., 1e4, 1e6])
def test_statistics_hold_in_any_unit(scale, offset):
    X = scale * (series().astype(np.float64) + offset)
    spec = SeriesData.from_arrays(X).spec
    float32 = X.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(spec.std, float32.std((0, 2)), rtol=1e-6)
    np.testing.assert_allclose(spec.mean, float32.mean((0, 2)), rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize('value', [0., 0.1, 1000.1, -3.3e8])
def test_constant_channel_has_no_deviation(value):
    X = series(500)
    X[:, 1] = value
    spec = SeriesData.from_arrays(X).spec
    assert spec.std[1] == 0 and spec.mean[1] == np.float32(value) and spec.std[0] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize('dtype', [np.float16, np.float64, np.int32, np.uint8])
def test_numbers_of_any_type_become_float32(dtype):
    X = (10 * np.abs(series())).astype(dtype)
    data = SeriesData.from_arrays(X)
    x = data.series([0, 3])
    assert x.dtype == torch.float32 and type(x) is torch.Tensor
    assert np.array_equal(x.numpy(), X[[0, 3]].astype(np.float32))


@pytest.mark.parametrize('make', [
    torch.Tensor.clone, torch.Tensor.requires_grad_, torch.Tensor.bfloat16, torch.Tensor.half, TSTensor])
def test_tensors_are_series_too(make):
    X = series()
    data = SeriesData.from_arrays(make(torch.as_tensor(X)), splits=SPLITS)
    x = data.series([1, 0])
    assert x.dtype == torch.float32 and type(x) is torch.Tensor and not x.requires_grad
    np.testing.assert_allclose(x.numpy(), X[[2, 0]], rtol=1e-2)


@pytest.mark.parametrize('make', [
    list, tuple, L, np.array, lambda y: np.array(y, dtype=object), lambda y: np.array(y)[:, None],
    lambda y: [np.str_(v) for v in y]])
def test_labels_may_be_any_sequence(make):
    spec = SeriesData.from_arrays(series(), make(labels('b', 'a')), SPLITS).spec
    assert spec.vocab == ('a', 'b') and spec.counts == (5, 5) and [type(v) for v in spec.vocab] == [str, str]


@pytest.mark.parametrize('y, vocab', [([3, 1], (1, 3)), ([1., 2.], (1., 2.)), ([True, False], (False, True)),
                                      ([np.int8(4), np.int8(2)], (2, 4)), (torch.tensor([1, 0]), (0, 1))])
def test_labels_keep_their_kind(y, vocab):
    y = y.repeat(10) if isinstance(y, torch.Tensor) else y * 10
    spec = SeriesData.from_arrays(series(), y).spec
    assert spec.vocab == vocab and [type(v) for v in spec.vocab] == [type(v) for v in vocab]
    assert SeriesSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize('make', [list, tuple, np.array, L, torch.tensor])
def test_splits_may_be_any_sequence(make):
    data = SeriesData.from_arrays(series(), splits=(make(SPLITS[0]), make(SPLITS[1])))
    assert len(data) == 10 and np.array_equal(data.series([1]).numpy(), series()[[2]])


def test_splits_may_be_masks():
    X, y = series(), labels('a', 'b')
    masks = [np.isin(np.arange(20), rows) for rows in SPLITS]
    masked, rows = (SeriesData.from_arrays(X, y, splits) for splits in (masks, SPLITS))
    assert torch.equal(masked.series(range(10)), rows.series(range(10))) and masked.spec.n_series == 10
    with pytest.raises(ValueError, match=r'a mask of shape \(19,\) in splits, expected one value a series \[20\]'):
        SeriesData.from_arrays(X, y, [mask[1:] for mask in masks])


@pytest.mark.parametrize('splits, n', [
    (None, 20), (SPLITS, 10), (L(map(L, SPLITS)), 10), ((SPLITS[0],), 10), (SPLITS[0], 10), (np.array(SPLITS), 10),
    ((range(3), range(3, 20)), 3), (([0, 1], [2], [3, 4]), 2), ((slice(0, 4), slice(4, 20)), 4), (slice(2, 9), 7)])
def test_training_split_is_the_first_part(splits, n):
    assert SeriesData.from_arrays(series(), labels('a', 'b'), splits).spec.n_series == n


def test_one_class_and_one_series_in_a_class_work():
    assert SeriesData.from_arrays(series(), labels('a')).spec.counts == (20,)
    spec = SeriesData.from_arrays(series(), ['rare', *['often'] * 19]).spec
    assert spec.vocab == ('often', 'rare') and spec.counts == (19, 1)


def test_labels_of_the_data_come_back(gunpoint):
    X, y, splits = gunpoint
    data = SeriesData.from_arrays(X, y, splits)
    assert np.array_equal(data.spec.to_labels(data.y), y[splits[0]])
    assert np.array_equal(data.spec.to_ids(y[splits[0]]), data.y)


def test_without_labels_there_are_no_classes():
    data = SeriesData.from_arrays(series())
    assert data.y is None and data.spec.vocab == data.spec.counts == () and data.spec.n_classes == 0


# Bad input

@pytest.mark.parametrize('value', [np.inf, -np.inf])
def test_values_that_are_not_finite_are_found(value):
    X = series(2 * CHUNK_ROWS, 1)
    X[[CHUNK_ROWS + 5, CHUNK_ROWS + 9], 0, 3] = value
    what = rf'series {CHUNK_ROWS + 5} of the training split holds inf \(2 such series\); fill or drop'
    with pytest.raises(ValueError, match=what): SeriesData.from_arrays(X)


def test_values_that_are_not_finite_in_the_other_splits_do_not_matter():
    X = series()
    X[SPLITS[1]] = np.inf
    assert len(SeriesData.from_arrays(X, splits=SPLITS)) == 10


@pytest.mark.parametrize('shape', [(20,), (20, 16), (20, 1, 2, 16)])
def test_other_ranks_are_refused_with_a_way_out(shape):
    with pytest.raises(ValueError, match=r'X has shape .*, expected \[n, c_in, seq_len\]; .*to3d'):
        SeriesData.from_arrays(np.zeros(shape))


RAGGED = np.empty(20, dtype=object)
for i in range(20): RAGGED[i] = np.arange(16. + i)[None]


@pytest.mark.parametrize('X', [RAGGED, list(RAGGED), L(*RAGGED), [[row[0].tolist()] for row in RAGGED]])
def test_ragged_series_are_padded(X):
    data = SeriesData.from_arrays(X)
    assert (data.spec.seq_len, data.spec.shortest) == (35, 16) and data.spec.missing == pytest.approx(190 / 700)
    x, present = data.series_and_present([0, 19])
    assert (x[0, 0, 15:] == 15).all() and present.sum((1, 2)).tolist() == [16, 35]
    assert data.spec.mean[0] == pytest.approx(np.concatenate([row[0] for row in RAGGED]).mean())


@pytest.mark.parametrize('X', ['X.npy', None, {}, 3])
def test_what_is_no_container_is_refused(X):
    with pytest.raises(TypeError, match='expected series'): SeriesData.from_arrays(X)


@pytest.mark.parametrize('seq_len', [1, 15])
def test_short_series_are_refused(seq_len):
    with pytest.raises(ValueError, match=f'series have {seq_len} steps, at least 16 are needed; pad or resample'):
        SeriesData.from_arrays(series(seq_len=seq_len))


@pytest.mark.parametrize('splits', [([], [1, 2]), (), [], (np.array([]), np.arange(5))])
def test_empty_training_split_is_refused(splits):
    with pytest.raises(ValueError, match='the training split is empty; pass splits'):
        SeriesData.from_arrays(series(), splits=splits)


def test_one_series_is_refused():
    with pytest.raises(ValueError, match='the training split has one series; at least two'):
        SeriesData.from_arrays(series(), splits=([4], [5]))


@pytest.mark.parametrize('n, what', [(0, 'the last part is empty; pass splits'),
                                     (1, 'the last part has one series; at least two are needed')])
def test_too_few_rows_are_refused_by_name(n, what):
    X = series(n) if n else series()[:0]
    with pytest.raises(ValueError, match=what): SeriesData.from_rows(Rows(lambda idx: X[idx], n), name='the last part')


def test_rows_that_are_not_there_are_refused():
    with pytest.raises(IndexError): SeriesData.from_arrays(series(), splits=([0, 1, 20], [2]))


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match='X has 20 rows and y 19'): SeriesData.from_arrays(series(), labels('a', n=19))


@pytest.mark.parametrize('y', [np.full(20, np.nan), [*'a' * 19, None], np.r_[np.zeros(19), np.nan]])
def test_labels_that_are_missing_are_named(y):
    with pytest.raises(ValueError, match=r'label \d+ is missing \((nan|None)\), and \d+ of 20 are; drop these rows'):
        SeriesData.from_arrays(series(), y)


def test_labels_of_several_columns_are_refused():
    with pytest.raises(ValueError, match=r'y has shape \(20, 3\), expected one class label a series'):
        SeriesData.from_arrays(series(), np.arange(60).reshape(20, 3))


@pytest.mark.parametrize('x', [torch.zeros(3, 16), torch.zeros(16)])
def test_check_wants_three_dimensions(x):
    with pytest.raises(ValueError, match='expected .n, c_in, seq_len.'): check_series(x)


@pytest.mark.parametrize('bad, what', [([0], 'series 100 of these .* .1 such'), ([2, 5], 'series 102 .* .2 such')])
def test_series_with_inf_are_counted_and_the_first_is_named(bad, what):
    x = torch.randn(7, 2, 16)
    x[1, 0, 3] = torch.nan
    check_no_inf(x, 'these')
    for row, value in zip(bad, (np.inf, -np.inf)): x[row, 1, row] = value
    with pytest.raises(ValueError, match=f"{what} series.; fill or drop it, or put NaN"): check_no_inf(x, 'these', 100)


@pytest.mark.parametrize('split, rows', [([3, 1], [3, 1]), (L(0), [0]), (range(2), [0, 1]), ([], []),
                                         (np.array([True, False, True, False]), [0, 2]), ([False] * 4, [])])
def test_rows_of_a_split_are_whole_numbers(split, rows):
    found = split_rows(split, 4)
    assert found.dtype == np.int64 and found.tolist() == rows


def test_a_part_keeps_the_spec_of_all_and_reads_nothing():
    X, y = Watched(series()), np.array(labels('a', 'b'))
    data = SeriesData.from_arrays(X, y, SPLITS)
    X.reads.clear()
    part = data.subset(np.array([7, 2])).subset(np.array([1, 0]))
    assert X.reads == [] and part.spec is data.spec and len(part) == 2 and part.y.tolist() == data.y[[2, 7]].tolist()
    assert np.array_equal(part.series([1, 0]).numpy(), series()[[14, 4]]) and X.reads == [[4, 14]]
    assert [len(chunk) for chunk in part.chunks()] == [2]


# tsai's loaders

def loaders(X, y=None, tfm=TSClassification, **kwargs):
    return get_ts_dls(X, y, splits=SPLITS, tfms=[None, tfm()] if y is not None else None, bs=4, **kwargs)


@pytest.mark.parametrize('inplace', [True, False])
def test_loaders_give_the_same_as_their_arrays(inplace):
    X, y = series(), np.array(labels('b', 'a', 'c'))
    dls = loaders(X, y, batch_tfms=TSStandardize(), inplace=inplace) # batch transforms don't count
    data, expected = SeriesData.from_dls(dls), SeriesData.from_arrays(X, y, SPLITS)
    assert data.spec == expected.spec and np.array_equal(data.y, expected.y)
    assert torch.equal(data.series([3, 1]), expected.series([3, 1])) and type(data.series([1])) is torch.Tensor
    valid, expected = SeriesData.from_dls(dls, 1), SeriesData.from_arrays(X, y, SPLITS[::-1])
    assert valid.spec == expected.spec and np.array_equal(valid.y, expected.y)


def test_loaders_of_multivariate_data(basic_motions):
    X, y, splits = basic_motions
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], bs=8)
    assert SeriesData.from_dls(dls).spec == SeriesData.from_arrays(X, y, splits).spec


def test_loaders_without_labels_have_no_classes(): assert SeriesData.from_dls(loaders(series())).spec.vocab == ()


def test_regression_loaders_have_targets():
    data = SeriesData.from_dls(loaders(series(), np.arange(20.), TSRegression))
    assert data.spec.conditions.kind == 'targets' and data.targets.tolist() == list(range(0, 20, 2))


def test_loaders_with_several_labels_a_series_have_sets():
    y = np.array([['a'], ['a', 'b'], ['b'], ['a', 'b'], ['a', 'b']] * 4, dtype=object)
    data = SeriesData.from_dls(loaders(series(), y, TSMultiLabelClassification))
    assert data.spec.vocab == ('a', 'a + b', 'b') and data.spec.counts == (2, 6, 2)
    assert data.y.tolist() == data.spec.to_ids(y[SPLITS[0]].tolist()).tolist()


def test_selected_channels_and_steps_are_what_the_loaders_give():
    spec = SeriesData.from_dls(loaders(series(c_in=3, seq_len=40), sel_vars=[0, 2], sel_steps=slice(0, 20))).spec
    assert (spec.c_in, spec.seq_len) == (2, 20)


@pytest.mark.parametrize('split, name', [(0, 'training'), (1, 'validation')])
def test_errors_say_which_split_of_the_loaders_it_is(split, name):
    X = series()
    X[SPLITS[split][3], 0, 1] = np.inf
    what = f'series 3 of the {name} split holds inf .1 such series.; fill or drop'
    with pytest.raises(ValueError, match=what): SeriesData.from_dls(loaders(X), split)
    dls = get_ts_dls(series(), splits=((SPLITS[0], [1]), ([0], SPLITS[1]))[1 - split], bs=4)
    with pytest.raises(ValueError, match=f'the {name} split has one series; at least two are needed'):
        SeriesData.from_dls(dls, split)
    SeriesData.from_dls(dls, 1 - split)
