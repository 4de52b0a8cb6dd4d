"""Series as users have them, checked and read a bounded number at a time."""
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from ..models.layers import safe_std
from ..models.tokenizer import MIN_SEQ_LEN
from .labels import class_labels, to_python_scalar
from .rows import Rows, chunk_indices
from .spec import SeriesSpec

__all__ = ['SeriesData', 'split_rows', 'check_finite', 'check_series']


@dataclass(frozen=True)
class SeriesData:
    "Series by row index and their class ids, with the `spec` of the training split that they belong to."
    rows:Rows               # Series [n, c_in, seq_len] (array or tensor), original units, read as they are needed
    y:np.ndarray|None       # Class ids [n], of `spec.vocab`; None without labels
    spec:SeriesSpec         # Of these series, or of those that they are a subset of

    @classmethod
    def from_rows(cls,
        rows:Rows, # Series [n, c_in, seq_len] (array or tensor), original units
        y=None, # Labels [n]; None for unconditional
        name:str='the training split' # What the series are, for messages
    ) -> 'SeriesData':
        "Read the rows once, check them, and learn their spec."
        if len(rows) == 0: raise ValueError(f"{name} is empty; pass splits in which it has rows")
        if len(rows) == 1: raise ValueError(f"{name} has one series; at least two are needed to learn from")
        vocab, counts, ids = (), (), None
        if y is not None:
            classes, ids = np.unique(class_labels(y), return_inverse=True)
            vocab, counts = tuple(map(to_python_scalar, classes)), tuple(np.bincount(ids).tolist())
        c_in, seq_len, mean, std = _statistics(rows, name)
        return cls(rows, ids, SeriesSpec(c_in, seq_len, len(rows), mean, std, vocab, counts))

    @classmethod
    def from_any(cls,
        X, # Series [n, c_in, seq_len], or tsai DataLoaders
        y=None, # Labels [n] or None
        splits=None # tsai's splits
    ) -> 'SeriesData':
        "The training rows of whatever `NMVQGenerator.fit` takes."
        return cls.from_dls(X) if hasattr(X, 'loaders') else cls.from_arrays(X, y, splits)

    @classmethod
    def from_arrays(cls,
        X, # Series [n, c_in, seq_len], numpy or memory-mapped; only training rows are read
        y=None, # Labels [n] or None
        splits=None # tsai's splits: (training rows, ...); all rows by default
    ) -> 'SeriesData':
        "The training rows of X and y."
        if not hasattr(X, 'shape') or not hasattr(X, 'ndim') or getattr(X, 'dtype', None) == np.dtype(object):
            raise TypeError("X is ragged or not an array; pass a numeric array [n, c_in, seq_len] "
                            "(pad or cut series to one length)")
        if X.ndim != 3:
            raise ValueError(f"X has shape {tuple(X.shape)}, expected [n, c_in, seq_len]; "
                             "for one channel use X[:, None] or tsai's to3d(X)")
        if y is not None and len(y) != len(X): raise ValueError(f"X has {len(X)} rows and y {len(y)}; they must match")
        if splits is not None and hasattr(X, 'check_splits'): X.check_splits(splits) # windows may overlap
        train = np.arange(len(X)) if splits is None else split_rows(_first_split(splits), len(X))
        return cls.from_rows(Rows(lambda idx: X[train[idx]], len(train)), None if y is None else np.asarray(y)[train])

    @classmethod
    def from_dls(cls,
        dls, # tsai DataLoaders; batch transforms are not applied: series are read in their own units
        split:int=0 # 0 for the training split
    ) -> 'SeriesData':
        "One split of DataLoaders."
        ds, name = dls[split].dataset, 'the training split' if split == 0 else 'the validation split'
        if len(ds) == 0: raise ValueError(f"{name} is empty; pass splits in which it has rows")
        vocab = getattr(dls, 'vocab', None) if getattr(dls, 'cat', False) else None
        y = None
        if vocab is not None and len(ds[[0]]) > 1:
            ids = np.concatenate([np.asarray(ds[idx][1]).reshape(-1) for idx in chunk_indices(len(ds))])
            if len(ids) != len(ds):
                raise ValueError(f"dls has {len(ids)} labels for {len(ds)} series, expected one class label a series")
            y = np.asarray([to_python_scalar(v) for v in vocab], dtype=object)[ids.astype(np.int64)]
        return cls.from_rows(Rows(lambda idx: ds[idx][0], len(ds)), y, name)

    def __len__(self): return len(self.rows)

    def series(self,
        idx # Row indices [n]
    ) -> Tensor: # Series [n, c_in, seq_len], float32, original units
        "Read some rows."
        return _as_series(self.rows(idx))

    def subset(self,
        idx:np.ndarray # Row indices [m]
    ) -> 'SeriesData': # With the spec of all
        "Some of the rows; nothing is read."
        return SeriesData(self.rows.subset(idx), None if self.y is None else self.y[idx], self.spec)

    def chunks(self) -> Iterator[Tensor]: # Series [n, c_in, seq_len] in order
        "All rows, a bounded number at a time."
        for idx in chunk_indices(len(self)): yield self.series(idx)


def split_rows(
    split, # Rows, any sequence of whole numbers, or a boolean mask [n]
    n:int # Series
) -> np.ndarray: # Rows, int64
    "The rows of one part of tsai's splits. ValueError for a mask of another length."
    rows = np.asarray(split)
    if rows.dtype != bool: return rows.astype(np.int64)
    if rows.shape != (n,):
        raise ValueError(f"a mask of shape {rows.shape} in splits, expected one value a series [{n}]")
    return np.flatnonzero(rows)


def check_finite(
    x, # Series [n, c_in, seq_len], array or tensor
    name:str, # What they are, for the message
    start:int=0 # Index of the first one
):
    "ValueError if a series holds NaN or inf."
    is_array = isinstance(x, np.ndarray)
    bad = ~(np.isfinite(x).all(tuple(range(1, x.ndim))) if is_array else x.isfinite().flatten(1).all(1))
    if bad.any():
        first = start + int(bad.nonzero()[0][0])
        raise ValueError(f"series {first} of {name} holds NaN or inf ({int(bad.sum())} such series); "
                         "fill or drop them first, for example with tsai's TSNan2Value")


def check_series(
    x:Tensor, # Series [n, c_in, seq_len]
    name:str='the training split', # What they are, for the message
    start:int=0 # Index of the first one
):
    "ValueError if series are too short, not 3-D or not finite."
    if x.ndim != 3: raise ValueError(f"series have shape {tuple(x.shape)}, expected [n, c_in, seq_len]")
    if x.shape[2] < MIN_SEQ_LEN:
        raise ValueError(f"series have {x.shape[2]} steps, at least {MIN_SEQ_LEN} are needed; pad or resample them")
    check_finite(x, name, start)


def _as_series(rows): # array or tensor -> float32 tensor
    if isinstance(rows, Tensor): return rows.detach().as_subclass(Tensor).float()
    return torch.as_tensor(np.asarray(rows)).float()


def _statistics(rows, name): # -> channels, steps, mean and deviation of each channel
    chunks = (_checked_series(rows, idx, name) for idx in chunk_indices(len(rows)))
    first = next(chunks)
    c_in, seq_len = first.shape[1:]
    origin = first[0, :, :1].double()                                    # squares of what is far from zero would cancel
    n, total, square = 0, torch.zeros(c_in).double(), torch.zeros(c_in).double()
    for x in chain([first], chunks):
        shifted = x.double() - origin
        n += len(x) * seq_len
        total += shifted.sum((0, 2))
        square += shifted.square().sum((0, 2))
    shift = total / n
    mean = shift + origin.flatten()
    std = safe_std((square / n - shift ** 2).clamp_min(0).sqrt(), mean)
    return c_in, seq_len, tuple(mean.tolist()), tuple(std.tolist())


def _checked_series(rows, idx, name):
    x = _as_series(rows(idx))
    check_series(x, name, int(idx[0]))
    return x


def _first_split(splits): return splits[0] if len(splits) and hasattr(splits[0], '__len__') else splits
