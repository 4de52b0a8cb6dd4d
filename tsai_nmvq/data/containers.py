"""Any container of series, or of labels, as rows that can be read."""
from collections.abc import Iterator, Mapping
from decimal import Decimal
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastcore.foundation import L
from torch import Tensor

from ..models.tokenizer import MIN_SEQ_LEN
from .rows import Rows

__all__ = ['as_rows', 'as_array', 'plain_numbers', 'as_labels_array', 'frame_values', 'laid_out']

LISTS = list, tuple, L
NUMBERS = Real, np.bool_, Decimal, type(None), type(pd.NA) # None and NA become NaN
PANDAS = pd.Series, pd.Index, pd.DataFrame, pd.api.extensions.ExtensionArray
DENSE = 2 # a slice of at most so many times the rows is read in their place: in h5py up to 20 times as fast (measured)
FRAME_ADVICE = ("a DataFrame has a row a series and a column a step; for a row a step use "
                "series_from_frame(df, sample_col=...)")
HINTS = (
    (lambda X: isinstance(X, (str, bytes, Path)), "read the file first, for example with np.load(file, mmap_mode='r')"),
    (lambda X: isinstance(X, Mapping), "pass one of its arrays"),
    (lambda X: isinstance(X, Iterator), "make a list of it"),
    (lambda X: hasattr(X, 'toarray'), "X.toarray() makes an array of it"),
    (lambda X: hasattr(X, 'dls') or hasattr(X, 'loaders'), "pass the arrays that its loaders were made of"),
    (lambda X: hasattr(X, 'to_pandas'), "X.to_pandas() makes a DataFrame of it"))


def as_rows(
    X # Array, tensor, list of series [c_in, L] or [L], DataFrame, or a store on disk (h5py, zarr)
) -> Rows: # Series [n, c_in, seq_len], float32 or float64; arrays, tensors where X is one
    "Series that are read as they are needed, NaN where masked, missing or after the end. TypeError or ValueError."
    X = _collection(X)
    every = np.arange(X.shape[0])
    return Rows(lambda idx: _to_floats(_take(X, every[idx])), len(every))


def as_array(
    X # As for `as_rows`
): # Series [n, c_in, seq_len], float32 or float64: array or tensor, X's own memory where nothing is to be changed
    "All series at once."
    X = _collection(X)
    return _to_floats(X if isinstance(X, (np.ndarray, Tensor)) else _take(X, np.arange(X.shape[0])))


def plain_numbers(
    x, # One array, tensor, column or store, of any shape
    name:str # What it is, for messages
) -> np.ndarray: # Real numbers, NaN where masked or missing; x itself where it holds such numbers
    "An array of numbers. TypeError for complex numbers, text and other objects."
    kind = _check_dtype(x, name)
    if isinstance(x, Tensor): x = _tensor_array(x)
    if isinstance(x, np.ma.MaskedArray): return _to_floats(x)
    x = np.asarray(x)
    if kind == 'O': return _from_objects(x, name)
    return x.astype(np.float32 if kind == 'b' else x.dtype.newbyteorder('='), copy=False)


def as_labels_array(
    y # Labels: sequence, array, tensor, column or columns of a DataFrame, store on disk; None
): # Array [n] or [n, k] in the order of the rows, of objects where some are missing; None for None
    "Labels as they are: bytes are decoded, categories become their values, nothing is checked."
    if y is None: return None
    is_sized = getattr(y, 'ndim', 0) > 0 or (hasattr(y, '__len__') and not hasattr(y, 'ndim')) # zarr has no len
    if not is_sized or isinstance(y, (str, bytes, Mapping, set, frozenset)):
        raise TypeError(f"y is a {type(y).__name__}, expected one label a series; pass a list, an array or a column")
    if isinstance(y, Tensor): y = _tensor_array(y)
    elif isinstance(y, np.ma.MaskedArray):
        masked, y = np.ma.getmaskarray(y), y.data.astype(object)
        y[masked] = None
    elif isinstance(y, PANDAS):
        dtypes = y.dtypes if isinstance(y, pd.DataFrame) else [y.dtype]
        y = y if all(isinstance(dtype, np.dtype) for dtype in dtypes) else y.astype(object)
    elif not hasattr(y, 'dtype'): y = _objects(list(y))
    y = np.asarray(y)
    if y.dtype.kind == 'S': return np.char.decode(y, 'utf-8', 'replace')
    return _plain_labels(y.astype(object)) if y.dtype.kind in 'OT' else y


def _collection(X): # any container -> array, tensor, store or series list, [n, c_in, seq_len] of numbers or masked ones
    if isinstance(X, pd.Series): X = list(X) if X.index.nlevels == 1 else X.to_frame()
    if isinstance(X, pd.DataFrame): X = _from_frame(X)
    if isinstance(X, LISTS): return _SeriesList(X)
    if not all(hasattr(X, name) for name in ('shape', 'dtype', '__getitem__')) or hasattr(X, 'toarray'):
        hint = next((hint for fits, hint in HINTS if fits(X)), "pass one of these")
        raise TypeError(f"X is a {type(X).__name__}, expected series [n, c_in, seq_len] as an array, a tensor, a list "
                        f"of series or a DataFrame; {hint}")
    is_object = _check_dtype(X, 'X') == 'O'
    if is_object:
        X = np.asarray(X)
        if X.size and X.ndim < 3 and _is_sequence(X.flat[0]): return _SeriesList(list(X))
    if len(X.shape) != 3:
        raise ValueError(f"X has shape {tuple(X.shape)}, expected [n, c_in, seq_len]; "
                         "for one channel use X[:, None] or tsai's to3d(X)")
    if isinstance(X, Tensor): return X.detach().as_subclass(Tensor)
    return _from_objects(X, 'X') if is_object else X


class _SeriesList:
    "Series [c_in, L] of several lengths: rows of them are padded with NaN at the end when they are read."
    def __init__(self, items, name='X', part='series'):
        if not len(items):
            raise ValueError(f"{name} is an empty {type(items).__name__}, which has neither channels nor steps; "
                             "pass at least one series, or an array [0, c_in, seq_len]")
        self.items = [_one_series(x, f'{part} {i} of {name}') for i, x in enumerate(items)]
        n_channels = [x.shape[0] for x in self.items]
        other = next((i for i, n in enumerate(n_channels) if n != n_channels[0]), None)
        if other is not None:
            raise ValueError(f"{part} 0 of {name} has {n_channels[0]} channels and {part} {other} has "
                             f"{n_channels[other]}, expected the same number; pass each as [c_in, L]")
        self.shape = len(items), n_channels[0], max(x.shape[1] for x in self.items)
        self.dtype = np.result_type(*{_float_type(x.dtype) for x in self.items})

    def __getitem__(self, idx):
        x = np.full((len(idx), *self.shape[1:]), np.nan, self.dtype)
        for row, i in zip(x, idx): row[:, :self.items[i].shape[1]] = _to_floats(np.asanyarray(self.items[i][...]))
        return x


def _one_series(x, name): # -> [c_in, L], array or store
    if isinstance(x, np.ndarray) and x.dtype == object and x.ndim == 1: x = list(x)
    if isinstance(x, LISTS) and len(x) and _is_sequence(x[0]):
        x = _SeriesList(x, name, 'channel')
        if x.shape[1] == 1: return x[range(x.shape[0])][:, 0]
    elif isinstance(x, Tensor):
        _check_dtype(x, name)
        x = _tensor_array(x)
    elif isinstance(x, (*LISTS, *PANDAS)) or not hasattr(x, 'dtype'): x = _array(x)
    if len(x.shape) not in (1, 2):
        what = f"has shape {tuple(x.shape)}" if x.shape else f"is a {type(x[()]).__name__}"
        raise ValueError(f"{name} {what}, expected [c_in, L] or [L]; pass an array of numbers for each series")
    if _check_dtype(x, name) == 'O': x = _from_objects(x, name)
    return x if len(x.shape) == 2 else np.asanyarray(x[...])[None]


def _take(X, idx): # rows idx, not negative, of what `_collection` gives
    if isinstance(X, Tensor): return X[torch.as_tensor(idx, device=X.device)]
    if isinstance(X, _SeriesList) or (isinstance(X, np.ndarray) and not isinstance(X, np.memmap)): return X[idx]
    rows, back = np.unique(idx, return_inverse=True) # h5py wants them so, and a disk is read in one direction
    if not len(rows): return np.empty((0, *X.shape[1:]), X.dtype)
    start, stop = rows[0], rows[-1] + 1
    if hasattr(X, 'chunks') and stop - start <= DENSE * len(rows):
        x = np.asanyarray(X[int(start):int(stop)])
        x = x if len(x) == len(rows) else x[rows - start]
    else: x = np.asanyarray(X[rows])
    return x if np.array_equal(rows, idx) else x[back]


def _to_floats(x): # array or tensor -> float32 or float64, NaN where masked
    if isinstance(x, Tensor): return x if x.dtype in (torch.float32, torch.float64) else x.float()
    dtype = _float_type(x.dtype)
    if isinstance(x, np.ma.MaskedArray): return np.ma.filled(x.astype(dtype), np.nan)
    return np.asarray(x).astype(dtype, copy=False)


def _float_type(dtype): # float64 for what is as wide, float32 for all else
    return np.dtype(np.float64 if dtype.kind == 'f' and getattr(dtype, 'itemsize', 8) >= 8 else np.float32)


def _check_dtype(x, name): # -> numpy's letter of the kind: numbers, or O for objects
    try: kind = ('c' if x.dtype.is_complex else 'f') if isinstance(x.dtype, torch.dtype) else np.dtype(x.dtype).kind
    except TypeError: kind = '?'
    if kind == 'c':
        raise TypeError(f"{name} holds complex numbers, expected real ones; "
                        "pass real and imaginary parts as channels")
    if kind not in 'fiubO' or (isinstance(x, Tensor) and x.layout != torch.strided):
        raise TypeError(f"{name} is a {type(x).__name__} of {x.dtype}, expected real numbers in a dense array; "
                        "convert it first")
    return kind


def _from_objects(x, name, dtype=np.float32): # array of Python numbers, None and NA -> floats
    if not all(issubclass(kind, NUMBERS) for kind in set(map(type, x.flat))):
        where, value = next((where, v) for where, v in np.ndenumerate(x) if not isinstance(v, NUMBERS))
        raise TypeError(f"{name} holds {value!r} at index {list(where)}, expected numbers; convert or drop it first")
    return np.where(pd.isna(x), np.nan, x).astype(dtype)


def _is_sequence(v): return isinstance(v, LISTS) or getattr(v, 'ndim', 0) > 0


def _tensor_array(x):
    x = x.detach().as_subclass(Tensor).cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def _array(x): # of objects where it is ragged
    try: return np.asarray(x)
    except ValueError: return _objects(x)


def _objects(values): # [n], however alike the values are
    x = np.empty(len(values), dtype=object)
    for i, v in enumerate(values): x[i] = v
    return x


def _plain_labels(y): # array of objects -> of one plain type, where all labels are texts or all are numbers
    values = [v.item() if isinstance(v, np.generic) or getattr(v, 'ndim', 1) == 0 else v for v in y.flat]
    values = [v.decode('utf-8', 'replace') if isinstance(v, bytes) else v for v in values]
    if values and y.ndim == 1 and all(map(_is_sequence, values)): # several labels a series
        rows = [as_labels_array(v) for v in values]
        is_matrix = len({row.shape for row in rows}) == 1 and (len(rows[0]) == 1 or rows[0].dtype.kind in 'biuf')
        return np.stack(rows) if is_matrix and len({row.dtype.kind for row in rows}) == 1 else y
    is_plain = any(all(isinstance(v, kind) for v in values) for kind in (str, Real))
    return (np.asarray(values) if is_plain else _objects(values)).reshape(y.shape)


def _from_frame(df): # -> array [n, c_in, seq_len], or list of series by channel
    if df.index.nlevels > 2:
        raise ValueError(f"X has an index of {df.index.nlevels} levels, expected two (series, time); drop the others")
    if df.index.nlevels == 2: return _from_long(df)
    if len(df) and any(map(_is_sequence, df.iloc[0])): return list(map(list, df.itertuples(index=False, name=None)))
    x = frame_values(df, 'X', FRAME_ADVICE)
    if x.shape[1] < MIN_SEQ_LEN:
        raise ValueError(f"X has {x.shape[1]} columns, at least {MIN_SEQ_LEN} steps are needed; {FRAME_ADVICE}")
    return x[:, None]


def _from_long(df): # rows indexed by (series, time) -> [n, c_in, seq_len], series in order of appearance
    if df.index.has_duplicates: raise ValueError("X has several rows of one series and time; drop all but one")
    sample = pd.factorize(df.index.get_level_values(0))[0]
    if (sample < 0).any(): raise ValueError("X has rows without a series in its index; fill or drop them first")
    order = np.argsort(pd.factorize(df.index.get_level_values(1), sort=True)[0], kind='stable')
    values = frame_values(df, 'X', 'with an index (series, time) all columns are channels')[order]
    return laid_out(sample[order], np.zeros(len(df), int), values)[:, 0].swapaxes(1, 2)


def frame_values(
    df:pd.DataFrame, # Columns of numbers
    name:str, # What it is, for messages
    advice:str # What to do where a column holds none
) -> np.ndarray: # float32, or float64 where a column is
    "Numbers of a table. TypeError that names a column which holds none."
    are_objects = [pd.api.types.is_object_dtype(dtype) for dtype in df.dtypes]
    for i, (col, dtype) in enumerate(df.dtypes.items()): # by number: names may come twice
        bad = [v for v in df.iloc[:, i] if not isinstance(v, NUMBERS)] if are_objects[i] else []
        if bad or not (are_objects[i] or (pd.api.types.is_numeric_dtype(dtype) and dtype.kind != 'c')):
            raise TypeError(f"column {col!r} of {name} holds {repr(bad[0]) if bad else dtype}, expected real numbers; "
                            f"{advice}")
    dtype = np.result_type(np.float32, *{_float_type(dtype) for dtype in df.dtypes})
    if any(are_objects): return _from_objects(df.to_numpy(object), name, dtype)
    return df.to_numpy(dtype)


def laid_out(
    sample:np.ndarray, # Series of each row [n_rows], 0, 1, ...
    feature:np.ndarray, # Channel of each row [n_rows], 0, 1, ...
    values:np.ndarray, # [n_rows, k]
    step:np.ndarray=None # Step of each row in its series [n_rows]; in order by default
) -> np.ndarray: # [samples, features, longest, k], NaN where there is no row
    "Rows of a long table at their places."
    n, n_features = int(sample.max(initial=-1)) + 1, int(feature.max(initial=0)) + 1
    group = sample * n_features + feature
    if step is None: step = pd.Series(group).groupby(group).cumcount().to_numpy()
    x = np.full((n, n_features, int(step.max(initial=-1)) + 1, values.shape[1]), np.nan, values.dtype)
    x[sample, feature, step] = values
    return x
