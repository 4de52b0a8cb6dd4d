"""The same series and labels out of every container, only the rows that are asked for, and what is refused."""
from collections import deque
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from fastcore.foundation import L
from scipy.sparse import csr_matrix
from tsai.all import TSTensor, get_ts_dls, ts_learner
from tsai.data.preparation import df2xy

from tsai_nmvq.data.containers import as_array, as_labels_array, as_rows
from tsai_nmvq.data.frames import series_from_frame

LENGTHS = 18, 20, 16, 20, 17


def series(n=5, c_in=2, seq_len=20, dtype=np.float32):
    return np.random.default_rng(0).normal(3, 2, (n, c_in, seq_len)).astype(dtype)


def ragged(c_in=2): # -> series of several lengths, and the same padded
    padded = series(len(LENGTHS), c_in, max(LENGTHS))
    for x, length in zip(padded, LENGTHS): x[:, length:] = np.nan
    return [x[:, :length] for x, length in zip(padded, LENGTHS)], padded


def objects(items):
    x = np.empty(len(items), dtype=object)
    for i, item in enumerate(items): x[i] = item
    return x


def long(X, ids=None): # -> frame with a row a step, indexed by (series, time)
    rows = [((i, t), *x[:, t]) for i, x in zip(ids or range(len(X)), X) for t in range(x.shape[1])]
    index = pd.MultiIndex.from_tuples([row[0] for row in rows], names=['case', 'time'])
    columns = [f'dim_{c}' for c in range(X[0].shape[0])]
    return pd.DataFrame([row[1:] for row in rows], index=index, columns=columns).astype(X[0].dtype)


def nested(X, cell): return pd.DataFrame({f'dim_{c}': objects([cell(x[c]) for x in X]) for c in range(X[0].shape[0])})


def memmap(X, folder):
    file = folder/f'{len(list(folder.iterdir()))}.npy'
    np.save(file, X)
    return np.load(file, mmap_mode='r')


def in_h5py(X, folder, **kwargs):
    h5py = pytest.importorskip('h5py')
    return h5py.File(folder/f'{len(list(folder.iterdir()))}.h5', 'w').create_dataset('X', data=X, **kwargs)


def in_zarr(X, folder):
    zarr = pytest.importorskip('zarr')
    store = zarr.create_array(str(folder/'X.zarr'), shape=X.shape, chunks=(3, *X.shape[1:]), dtype=X.dtype)
    store[:] = X
    return store


class Watched:
    "A store that notes which rows are read, and refuses to be read whole, out of order or twice."
    def __init__(self, X): self.X, self.shape, self.dtype, self.ndim, self.reads = X, X.shape, X.dtype, X.ndim, []
    def __array__(self, *args, **kwargs): raise AssertionError("read whole")

    def __getitem__(self, idx):
        rows = np.arange(len(self.X))[idx]
        assert (np.diff(rows) > 0).all()
        self.reads.append(rows.tolist())
        return self.X[idx]


class Chunked(Watched):
    "A store in chunks, where slices are cheap."
    chunks = None


EVEN = {
    'array': lambda X, folder: X,
    'objects': lambda X, folder: X.astype(object),
    'masked': lambda X, folder: np.ma.masked_array(X),
    'big-endian': lambda X, folder: X.astype('>f4'),
    'not contiguous': lambda X, folder: np.ascontiguousarray(X.transpose(2, 1, 0)).transpose(2, 1, 0),
    'memmap': memmap,
    'h5py': in_h5py,
    'h5py, chunks': lambda X, folder: in_h5py(X, folder, chunks=(2, 1, 7), compression='gzip'),
    'zarr': in_zarr,
    'store': lambda X, folder: Watched(X),
    'store in chunks': lambda X, folder: Chunked(X),
    'tensor': lambda X, folder: torch.as_tensor(X),
    'leaf': lambda X, folder: torch.as_tensor(X).requires_grad_(),
    'TSTensor': lambda X, folder: TSTensor(X),
    'frame': lambda X, folder: pd.DataFrame(X[:, 0]) if X.shape[1] == 1 else nested(X, pd.Series)}
LISTS = {
    'list': lambda X, folder: list(X),
    'tuple': lambda X, folder: tuple(X),
    'L': lambda X, folder: L(*X),
    'array of arrays': lambda X, folder: objects(X),
    'Series of arrays': lambda X, folder: pd.Series(objects(X), index=range(7, 7 + len(X))),
    'tensors': lambda X, folder: [torch.as_tensor(x) for x in X],
    'leaves': lambda X, folder: [torch.as_tensor(x).requires_grad_() for x in X],
    'frames': lambda X, folder: [pd.DataFrame(x) for x in X],
    'numbers': lambda X, folder: [x.tolist() for x in X],
    'lists of arrays': lambda X, folder: [list(x) for x in X],
    'lists of tensors': lambda X, folder: [list(torch.as_tensor(x)) for x in X],
    'memmaps': lambda X, folder: [memmap(x, folder) for x in X],
    'h5py datasets': lambda X, folder: [in_h5py(x, folder) for x in X],
    'nested frame of Series': lambda X, folder: nested(X, pd.Series),
    'nested frame of arrays': lambda X, folder: nested(X, np.array),
    'nested frame of lists': lambda X, folder: nested(X, list),
    'nested array': lambda X, folder: nested(X, np.array).to_numpy(),
    'long frame': lambda X, folder: long(X),
    'long frame, its own ids': lambda X, folder: long(X, ids=['s10', 's9', 'b', 'a', 's1'][:len(X)]),
    'long frame, unsorted steps': lambda X, folder: long(X).sort_index(level=1, ascending=False).sort_index(
        level=0, sort_remaining=False, kind='stable')}


# The same out of all of them

@pytest.mark.parametrize('make', [pytest.param(make, id=name) for name, make in (EVEN | LISTS).items()])
@pytest.mark.parametrize('c_in', [1, 3])
def test_rows_are_those_asked_for_in_any_container(make, c_in, tmp_path):
    X = series(c_in=c_in)
    rows = as_rows(make(X, tmp_path))
    assert len(rows) == 5
    for idx in ([0], [3, 1], [4, 4, 0, 2, 4], [-1, 0], range(5), []):
        x = rows(np.array(idx, dtype=int))
        assert type(x) in (np.ndarray, torch.Tensor) and not getattr(x, 'requires_grad', False)
        np.testing.assert_array_equal(np.asarray(x, np.float32), X[np.array(idx, dtype=int)])
    with pytest.raises(IndexError): rows(np.array([5]))


@pytest.mark.parametrize('make', [pytest.param(make, id=name) for name, make in LISTS.items()])
@pytest.mark.parametrize('c_in', [1, 2])
def test_series_of_several_lengths_are_padded_at_the_end(make, c_in, tmp_path):
    X, padded = ragged(c_in)
    rows = as_rows(make(X, tmp_path))
    np.testing.assert_array_equal(rows(np.array([2, 0, 2])), padded[[2, 0, 2]])
    np.testing.assert_array_equal(as_array(make(X, tmp_path)), padded)


@pytest.mark.parametrize('make', [pytest.param(make, id=name) for name, make in (EVEN | LISTS).items()])
def test_everything_at_once(make, tmp_path):
    X = make(series(), tmp_path)
    if isinstance(X, Watched): X = Chunked(X.X)
    x = as_array(X)
    assert isinstance(x, torch.Tensor if isinstance(X, torch.Tensor) else np.ndarray)
    np.testing.assert_array_equal(np.asarray(x), series())


@pytest.mark.parametrize('make', [list, lambda X: [torch.as_tensor(x) for x in X], lambda X: [x.tolist() for x in X],
                                  lambda X: list(map(pd.Series, X)), objects, lambda X: pd.Series(objects(X)),
                                  lambda X: [X[0], *(x[None] for x in X[1:])]])
def test_series_without_channels_have_one(make):
    X, padded = ragged(1)
    np.testing.assert_array_equal(as_array(make([x[0] for x in X])), padded)


def test_channels_of_a_series_may_have_several_lengths():
    x = as_array([[np.arange(3.), np.arange(5.)], np.ones((2, 4))])
    np.testing.assert_array_equal(x[0], [[0, 1, 2, np.nan, np.nan], [0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(x[1], [[1, 1, 1, 1, np.nan]] * 2)


@pytest.mark.parametrize('make', [np.asarray, torch.as_tensor, Watched])
def test_no_rows_are_no_series(make): assert as_rows(make(series()[:0]))(np.arange(0)).shape == (0, 2, 20)


# Only what is asked for is read

@pytest.mark.parametrize('kind, idx, read', [
    (Watched, [7, 3, 7, 40], [3, 7, 40]), (Watched, [5, 4, 6], [4, 5, 6]), (Chunked, [7, 3, 7, 40], [3, 7, 40]),
    (Chunked, [6, 4, 5], [4, 5, 6]), (Chunked, [6, 4, 7], [4, 5, 6, 7])])
def test_stores_are_read_in_order_and_once(kind, idx, read):
    X = series(50)
    store = kind(X)
    rows = as_rows(store)
    assert store.reads == []
    np.testing.assert_array_equal(rows(np.array(idx)), X[idx])
    assert store.reads == [read]


@pytest.mark.parametrize('make', [memmap, in_h5py, lambda X, folder: in_h5py(X, folder, chunks=(3, 2, 20)), in_zarr])
@pytest.mark.parametrize('span', [10, 60, 200])
def test_files_give_the_rows_asked_for(make, span, tmp_path):
    X, idx = series(200), np.random.default_rng(1).integers(0, span, 30)
    np.testing.assert_array_equal(as_rows(make(X, tmp_path))(idx), X[idx])


def test_arrays_and_tensors_are_not_copied():
    X = series()
    assert np.shares_memory(as_array(X), X) and as_array(torch.as_tensor(X)).data_ptr() == X.ctypes.data
    assert all(np.shares_memory(x, X) for x in as_rows(list(X)).read.__closure__[0].cell_contents.items)


@pytest.mark.parametrize('idx', [[3, 1], slice(1, 4), np.array([True, False, True, False, True]), torch.tensor([2, 0])])
def test_rows_may_be_named_in_any_way(idx):
    X = series()
    np.testing.assert_array_equal(as_rows(X)(idx), X[np.asarray(idx) if isinstance(idx, torch.Tensor) else idx])


# Types of numbers

@pytest.mark.parametrize('dtype, expected', [
    *[(dtype, np.float32) for dtype in ('f4', '>f4', 'f2', 'i1', 'u1', 'i2', '>i2', 'i4', 'i8', '>i8', 'u8', '?', 'O')],
    ('f8', np.float64), ('>f8', np.float64), (np.longdouble, np.float64)])
@pytest.mark.parametrize('make', [lambda X, folder: X, memmap, lambda X, folder: list(X), in_h5py, in_zarr])
def test_numbers_become_floats_of_this_machine(make, dtype, expected, tmp_path):
    X = (10 * np.abs(series())).astype(dtype)
    if X.dtype.kind == 'O' and make in (memmap, in_h5py, in_zarr): pytest.skip('files hold no objects')
    if X.dtype.itemsize > 8 and make is in_zarr: pytest.skip('zarr has no long doubles')
    X = make(X, tmp_path)
    for x in (as_array(X), as_rows(X)(np.array([1, 0, 2, 3, 4]))[[1, 0, 2, 3, 4]]):
        assert x.dtype == expected and x.dtype.isnative
        np.testing.assert_array_equal(x, (10 * np.abs(series())).astype(dtype).astype(expected))


@pytest.mark.parametrize('dtype', ['float32', 'float64', 'float16', 'bfloat16', 'int64', 'uint8', 'bool'])
def test_tensors_stay_tensors(dtype):
    X = torch.as_tensor(series()).to(getattr(torch, dtype))
    expected = torch.float64 if dtype == 'float64' else torch.float32
    for x in (as_array(X), as_rows(X)(np.arange(5))):
        assert x.dtype == expected and torch.equal(x, X.to(expected))
    np.testing.assert_array_equal(as_array(list(X)), X.to(expected).numpy())


def test_one_wide_series_makes_a_list_wide():
    assert as_array([np.ones((1, 3), 'f4'), np.ones((1, 4))]).dtype == np.float64


@pytest.mark.parametrize('dtype', ['f4', 'f8', 'i4', 'u1', '?'])
def test_masked_is_nan(dtype):
    X = np.ma.masked_array(np.ones((5, 2, 20), dtype), mask=False)
    X[1, 0, 3:] = np.ma.masked
    for made in (X, list(X), Watched(X), [Watched(x) for x in X]):
        x = as_rows(made)(np.array([2, 1]))
        assert type(x) is np.ndarray and np.isnan(x[1, 0, 3:]).all() and np.isnan(x).sum() == 17


def test_missing_objects_are_nan():
    X = np.ones((2, 1, 4), dtype=object)
    X[0, 0], X[1, 0] = [None, pd.NA, np.nan, Decimal('1.5')], [True, np.float32(2), 3, np.bool_(False)]
    np.testing.assert_array_equal(as_array(X), [[[np.nan] * 3 + [1.5]], [[1, 2, 3, 0]]])
    np.testing.assert_array_equal(as_array([[1, None], [pd.NA, 2.]]), [[[1, np.nan]], [[np.nan, 2]]])


# Frames

@pytest.mark.parametrize('dtype, expected', [('float32', 'f4'), ('float64', 'f8'), ('int32', 'f4'), ('bool', 'f4'),
                                             ('Int64', 'f4'), ('Float64', 'f8'), ('object', 'f4')])
def test_wide_frames(dtype, expected):
    df = pd.DataFrame(np.arange(34).reshape(2, 17) % 2, index=[9, 3]).astype(dtype).rename(columns={4: 3})
    x = as_array(df)
    assert x.shape == (2, 1, 17) and x.dtype == expected
    np.testing.assert_array_equal(x[:, 0], np.arange(34).reshape(2, 17) % 2)


@pytest.mark.parametrize('dtype', ['Float32', 'object'])
def test_missing_cells_are_nan(dtype):
    df = pd.DataFrame(np.arange(32).reshape(2, 16)).astype('Int64').astype({3: 'float64', 4: dtype})
    df.iloc[0, 0], df.iloc[1, 3], df.iloc[1, 4] = pd.NA, np.nan, pd.NA
    x = as_array(df)
    assert x.dtype == np.float64 and np.argwhere(np.isnan(x)).tolist() == [[0, 0, 0], [1, 0, 3], [1, 0, 4]]


def test_long_frames_keep_the_order_of_their_series():
    X, padded = ragged()
    df = long(X, ids=['b', 'c', 'a', 'e', 'd']).sample(frac=1, random_state=0)
    order = [['b', 'c', 'a', 'e', 'd'].index(name) for name in df.index.get_level_values(0).unique()]
    assert order != sorted(order)
    np.testing.assert_array_equal(as_array(df), padded[order])
    np.testing.assert_array_equal(as_array(long(X)['dim_0']), padded[:, :1]) # a Series
    assert as_array(long(X)[:0]).shape[:2] == (0, 2)


def table(X, **columns): # -> frame with a row a step and columns id, t
    df = long(X, ids=['s9', 's10', 'b', 'a', 's1'][:len(X)]).reset_index().rename(columns=dict(case='id', time='t'))
    return df.assign(**{name: df['id'].map(values) for name, values in columns.items()})


ORDER = [3, 2, 4, 1, 0] # a, b, s1, s10, s9


def test_frames_with_a_row_a_step_agree_with_tsai():
    df = table(series(), label={'s9': 'p', 's10': 'q', 'b': 'p', 'a': 'r', 's1': 'q'})
    X, y = series_from_frame(df, 'id', target_col='label', sort_by='t')
    X_tsai, y_tsai = df2xy(df.copy(), 'id', data_cols=['dim_0', 'dim_1'], target_col='label', steps_in_rows=True,
                           sort_by='t')
    np.testing.assert_array_equal(X, X_tsai)
    np.testing.assert_array_equal(X, series()[ORDER])
    assert y.tolist() == y_tsai[:, 0].tolist() == ['r', 'p', 'q', 'q', 'p'] and X.dtype == np.float32


def test_frames_of_several_lengths_in_any_order():
    X, padded = ragged()
    df = table(X, label={'s9': 0, 's10': 1, 'b': 2, 'a': 3, 's1': 4}).sample(frac=1, random_state=1)
    before = df.copy()
    x, y = series_from_frame(df, 'id', target_col='label', sort_by='t')
    np.testing.assert_array_equal(x, padded[ORDER])
    assert y.tolist() == ORDER and df.equals(before)
    x, y = series_from_frame(df, 'id', data_cols='dim_1', sort_by=['t'])
    np.testing.assert_array_equal(x, padded[ORDER][:, 1:])
    assert y is None


@pytest.mark.parametrize('steps_in_rows', [True, False])
def test_frames_with_channels_in_rows_agree_with_tsai(steps_in_rows):
    X, ids = series(), list('cabed')
    df = pd.DataFrame([dict(zip(range(20), x[c]), id=i, channel='yx'[c]) for c in (0, 1) for i, x in zip(ids, X)])
    if steps_in_rows: df = df.melt(['id', 'channel'], var_name='t', value_name='v')
    sort_by = 't' if steps_in_rows else None
    x, _ = series_from_frame(df, 'id', 'channel', data_cols=['v'] if steps_in_rows else None, sort_by=sort_by)
    X_tsai, _ = df2xy(df.copy(), 'id', 'channel', data_cols=['v'] if steps_in_rows else None, sort_by=sort_by)
    np.testing.assert_array_equal(x, X_tsai.astype(np.float32))
    np.testing.assert_array_equal(x, X[np.argsort(ids)][:, ::-1])


def test_a_channel_that_a_series_lacks_is_nan():
    df = pd.DataFrame(dict(id=[1, 1, 0], channel=['a', 'b', 'b'], s0=[1., 2, 3], s1=[4., 5, 6]))
    np.testing.assert_array_equal(series_from_frame(df, 'id', 'channel')[0], [[[np.nan] * 2, [3, 6]], [[1, 4], [2, 5]]])


@pytest.mark.parametrize('sample_col, order', [('id', [1, 0]), (None, [0, 1]), (['group', 'id'], [0, 1])])
def test_frames_with_a_row_a_series(sample_col, order):
    df = pd.DataFrame(dict(id=['b', 'a'], group=[0, 1], s0=[1, 2], s1=[3., 4], y=['p', 'q'], z=[0, 1]))
    X, y = series_from_frame(df, sample_col, data_cols=['s0', 's1'], target_col=['y', 'z'])
    np.testing.assert_array_equal(X, np.array([[[1, 3]], [[2, 4]]])[order])
    assert y.tolist() == np.array([['p', 0], ['q', 1]], dtype=object)[order].tolist()
    assert series_from_frame(df, 'id', data_cols=['s0', 's1'], steps_in_rows=True)[0].shape == (2, 2, 1)


@pytest.mark.parametrize('change, kwargs, error, what', [
    (dict(), dict(sample_col='name'), ValueError, r"df has no columns \['name'\], it has \['id', 't'.*name some"),
    (dict(), dict(target_col='t'), ValueError, r"'t' differs between the rows of series \['s9'\], expected one target"),
    (dict(id=np.nan), dict(), ValueError, r"df has no \['id'\] in row 0; fill or drop"),
    (dict(dim_0='x'), dict(), TypeError, "column 'dim_0' of df holds .*, expected real numbers; choose data_cols"),
    (dict(dim_0=1j), dict(), TypeError, "column 'dim_0' of df holds complex128, expected real numbers"),
    (dict(), dict(target_col=['t', 'dim_0'], feat_col='dim_1'), ValueError, 'df has no columns of values beside')])
def test_frames_that_say_too_little_are_refused(change, kwargs, error, what):
    df = table(series()).assign(**change)
    with pytest.raises(error, match=what): series_from_frame(df, **dict(sample_col='id') | kwargs)


@pytest.mark.parametrize('df', [table(series()), table(series()).drop(columns='t'), table(series())[['t', 'dim_0']],
                                table(series()).assign(id=0)])
def test_long_frames_without_an_index_are_refused_with_a_way_out(df):
    with pytest.raises((TypeError, ValueError), match=r'for a row a step use series_from_frame\(df, sample_col=...\)'):
        as_rows(df)


@pytest.mark.parametrize('df, what', [
    (long(series()).set_index('dim_0', append=True), 'an index of 3 levels, expected two'),
    (pd.concat([long(series())] * 2), 'X has several rows of one series and time; drop'),
    (long(series(), [None, *'abcd']), 'X has rows without a series in its index')])
def test_indices_that_are_not_series_and_time_are_refused(df, what):
    with pytest.raises(ValueError, match=what): as_rows(df)


@pytest.mark.parametrize('kind', ['numpy3D', 'np-list', 'df-list', 'pd-multiindex', 'pd-wide'])
@pytest.mark.parametrize('is_ragged', [False, True])
def test_collections_of_aeon(kind, is_ragged):
    convert = pytest.importorskip('aeon.utils.conversion').convert_collection
    c_in = 1 if kind == 'pd-wide' else 2
    if is_ragged and kind in ('numpy3D', 'pd-wide'): pytest.skip('holds one length')
    X, padded = ragged(c_in) if is_ragged else (series(c_in=c_in), series(c_in=c_in))
    np.testing.assert_array_equal(as_array(convert(X, kind)), padded)


# What is refused

@pytest.mark.parametrize('shape', [(20,), (20, 16), (20, 1, 2, 16), ()])
@pytest.mark.parametrize('make', [np.asarray, torch.as_tensor, Watched, lambda X: X.astype(object)])
def test_other_ranks_are_refused_with_a_way_out(make, shape):
    what = (rf'X has shape {str(shape)}, expected [n, c_in, seq_len]; for one channel use X[:, None] or '
            "tsai's to3d(X)")
    with pytest.raises(ValueError) as e: as_rows(make(np.zeros(shape)))
    assert str(e.value) == what


@pytest.mark.parametrize('make', [np.asarray, torch.as_tensor, Watched, list])
def test_complex_numbers_are_refused_with_a_way_out(make):
    with pytest.raises(TypeError, match='complex numbers, expected real ones; pass real and imaginary parts as ch'):
        as_rows(make(series().astype(np.complex64)))


@pytest.mark.parametrize('dtype', ['U3', 'S3', 'M8[s]', 'm8[s]', [('a', 'f4')]])
@pytest.mark.parametrize('make', [np.asarray, list])
def test_what_is_no_number_is_refused(make, dtype):
    X = make(np.zeros((2, 1, 3), dtype))
    with pytest.raises(TypeError, match='X is a ndarray of .*, expected real numbers'): as_rows(X)


@pytest.mark.parametrize('value', ['a', 1j, pd.NaT, np.datetime64('2020'), object()])
def test_the_first_object_that_is_no_number_is_named(value):
    X = series().astype(object)
    X[3, 1, 7] = X[4, 0, 0] = value
    with pytest.raises(TypeError, match=r'X holds .* at index \[3, 1, 7\], expected numbers'): as_rows(X)
    with pytest.raises(TypeError, match=r'series 3 of X holds .* at index \[1, 7\], expected numbers'): as_rows(list(X))


def test_sparse_tensors_are_refused():
    with pytest.raises(TypeError, match='expected real numbers in a dense array'):
        as_rows(torch.as_tensor(series()).to_sparse())


@pytest.mark.parametrize('X, what', [
    ([np.zeros((2, 9)), np.zeros((2, 8)), np.zeros((3, 9)), np.zeros((1, 9))],
     'series 0 of X has 2 channels and series 2 has 3, expected the same number'),
    ([], 'X is an empty list'), ((), 'X is an empty tuple'), (np.array([[], []], object)[:0].tolist(), 'an empty list'),
    ([1., 2.], r'series 0 of X is a float64, expected \[c_in, L\] or \[L\]'),
    ([np.zeros(3), np.zeros((1, 2, 3))], r'series 1 of X has shape \(1, 2, 3\), expected \[c_in, L\] or \[L\]'),
    ([np.zeros(3), None], 'series 1 of X is a NoneType'), ([{}], 'series 0 of X is a dict'), (['abc'], 'is a str'),
    ([[[[0., 1.], [0., 1.]]]], r'series 0 of X has shape \(1, 2, 2\), expected'),
    ([[np.zeros((2, 3)), np.zeros((2, 3))]], r'\(2, 2, 3\)')])
def test_lists_of_something_else_are_refused(X, what):
    with pytest.raises(ValueError, match=what): as_rows(X)


def learner(): return ts_learner(get_ts_dls(series(), splits=([0, 1, 2], [3, 4])), 'InceptionTime', c_out=2)


@pytest.mark.parametrize('make, what', [
    (lambda: None, 'X is a NoneType'), (lambda: 'X.npy', 'X is a str.*read the file first'), (lambda: 3, 'X is a int'),
    (lambda: dict(X=series()), 'X is a dict.*pass one of its arrays'), (lambda: iter(series()), 'make a list of it'),
    (lambda: (x for x in series()), 'X is a generator.*make a list'), (learner, 'X is a Learner.*pass the arrays'),
    (lambda: csr_matrix(np.eye(16)), r'X is a csr_matrix.*X.toarray\(\) makes'),
    (lambda: deque(series()), 'X is a deque')])
def test_what_is_no_container_is_named(make, what):
    with pytest.raises(TypeError, match=what) as e: as_rows(make())
    assert 'expected series [n, c_in, seq_len]' in str(e.value)


def test_a_file_is_not_a_dataset(tmp_path):
    file = in_h5py(series(), tmp_path).parent
    with pytest.raises(TypeError, match='X is a Group.*pass one of its arrays'): as_rows(file)


def test_ragged_datasets_are_series(tmp_path):
    h5py = pytest.importorskip('h5py')
    X, padded = ragged(1)
    dataset = h5py.File(tmp_path/'X.h5', 'w').create_dataset('X', len(X), h5py.vlen_dtype(np.float32))
    for i, x in enumerate(X): dataset[i] = x[0]
    np.testing.assert_array_equal(as_array(dataset), padded)


# Labels

@pytest.mark.parametrize('make', [
    list, tuple, L, deque, np.array, objects, lambda y: np.array(y, 'S1'), lambda y: [v.encode() for v in y],
    lambda y: pd.Series(y, index=[3, 2, 1, 0]), pd.Index, pd.Categorical, lambda y: pd.Series(y, dtype='category'),
    lambda y: pd.Series(y, dtype='string'), lambda y: [np.str_(v) for v in y], lambda y: np.ma.masked_array(y)])
def test_texts_are_the_same_out_of_any_container(make):
    y = as_labels_array(make(['b', 'a', 'c', 'a']))
    assert y.dtype.kind == 'U' and y.tolist() == ['b', 'a', 'c', 'a']


@pytest.mark.parametrize('make', [
    list, np.array, objects, torch.tensor, pd.Series, pd.Categorical, lambda y: pd.Series(y, dtype='Int8'),
    lambda y: list(torch.tensor(y)), lambda y: [np.int8(v) for v in y], TSTensor, pd.array])
def test_numbers_are_the_same_out_of_any_container(make):
    y = as_labels_array(make([3, 1, 2]))
    assert y.dtype.kind == 'i' and y.tolist() == [3, 1, 2]


@pytest.mark.parametrize('text', [True, False])
def test_labels_in_files(text, tmp_path):
    h5py, zarr = pytest.importorskip('h5py'), pytest.importorskip('zarr')
    y = ['bär', 'a', 'c'] if text else [3, 1, 2]
    assert as_labels_array(h5py.File(tmp_path/'y.h5', 'w').create_dataset('y', data=y)).tolist() == y
    store = zarr.create_array(str(tmp_path/'y.zarr'), data=np.array(y))
    assert as_labels_array(store).tolist() == y and as_labels_array(store).dtype == np.array(y).dtype


@pytest.mark.parametrize('y, missing', [
    (['a', None, 'b'], None), (['a', np.nan, 'b'], np.nan), (pd.Series(['a', None, 'b'], dtype=object), None),
    (pd.Series(['a', pd.NA, 'b'], dtype='string'), pd.NA), (pd.Categorical(['a', None, 'b']), np.nan),
    (pd.Series([1, None, 2], dtype='Int64'), pd.NA), (np.ma.masked_array([1, 5, 2], [0, 1, 0]), None),
    (['a', pd.NA, 'b'], pd.NA), ([1, None, 2], None), (np.array([1, None, 2], dtype=object), None)])
def test_missing_labels_stay_missing(y, missing):
    found = as_labels_array(y)
    assert found.dtype == object and found.shape == (3,)
    assert found[1] is missing or (isinstance(missing, float) and np.isnan(found[1]))
    assert found[[0, 2]].tolist() in (['a', 'b'], [1, 2])


@pytest.mark.parametrize('y, expected', [
    (np.zeros((3, 1)), np.zeros((3, 1))), ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
    (pd.DataFrame(dict(a=[1, 2], b=[3, 4])), np.array([[1, 3], [2, 4]])), ([True, False], np.array([True, False])),
    ([1, 2.5], np.array([1, 2.5])), ([0.5, np.nan], np.array([0.5, np.nan])), (torch.ones(2).bfloat16(), np.ones(2)),
    (np.array([b'a', 'b'], dtype=object), np.array(['a', 'b'])), ([1, 'a'], np.array([1, 'a'], dtype=object)),
    (pd.DataFrame(dict(a=['x', 'y'])), np.array([['x'], ['y']])), ([['a'], ['b']], np.array([['a'], ['b']]))])
def test_labels_keep_their_shape_and_kind(y, expected):
    found = as_labels_array(y)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype.kind == expected.dtype.kind


def test_several_labels_a_series_are_kept(): assert as_labels_array([['a'], ['a', 'b']]).tolist() == [['a'], ['a', 'b']]


def test_no_labels_stay_none(): assert as_labels_array(None) is None


@pytest.mark.parametrize('y', ['ab', 3, dict(a=1), {'a', 'b'}, (v for v in 'ab'), np.array(3), torch.tensor(3)])
def test_what_is_no_sequence_of_labels_is_refused(y):
    with pytest.raises(TypeError, match=rf'y is a {type(y).__name__}, expected one label a series'): as_labels_array(y)
