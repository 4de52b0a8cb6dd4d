"""Series as users have them, checked and read a bounded number at a time."""
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .conditions import Conditions
from .containers import LISTS, as_array, as_labels_array, as_rows
from .labels import check_no_missing, to_python_scalar
from .missing import fill_gaps, is_complete, padding_to_nan
from .rows import Rows, chunk_indices
from .spec import SeriesSpec
from .splits import training_rows
from .survey import series_tensor, survey_rows

PLAIN = np.float16, np.float32, np.float64

__all__ = ['SeriesData', 'read_series', 'n_series', 'longer']


@dataclass(frozen=True)
class SeriesData:
    "Series by row index and their class ids, with the `spec` of the training split that they belong to."
    rows:Rows                       # Series [n, c_in, seq_len] (array or tensor), original units, read when needed
    y:np.ndarray|None               # Class ids [n], of `spec.vocab`; None without labels
    spec:SeriesSpec                 # Of these series, or of those that they are a subset of
    targets:np.ndarray|None = None  # Targets [n], where the classes are bins of them

    @classmethod
    def from_rows(cls,
        rows:Rows, # Series [n, c_in, seq_len] (array or tensor), original units
        y=None, # Labels or targets [n], or sets of labels; None for unconditional
        name:str='the training split', # What the series are, for messages
        y_kind:str=None, # 'classes', 'targets' or 'labels'; guessed by default
        pad_value:float=None # What stands after the end of series, in all channels, where it is not NaN
    ) -> 'SeriesData':
        "Read the rows once, check them, and learn their spec."
        pad_value = _pad_value(pad_value)
        if y is None and y_kind is not None:
            raise ValueError(f"y_kind is {y_kind!r}, and there is no y; pass both or none")
        if len(rows) == 0: raise ValueError(f"{name} is empty; pass splits in which it has rows")
        if len(rows) == 1: raise ValueError(f"{name} has one series; at least two are needed to learn from")
        conditions, ids = (Conditions(), None) if y is None else Conditions.learn(y, y_kind)
        counts = () if ids is None else tuple(np.bincount(ids, minlength=len(conditions.vocab)).tolist())
        targets = np.asarray(y, dtype=np.float64).reshape(-1) if conditions.kind == 'targets' else None
        digest = crc32(b''.join(np.asarray(v, '<f8').tobytes() for v in (ids, targets) if v is not None))
        spec = SeriesSpec(n_series=len(rows), vocab=conditions.vocab, counts=counts, conditions=conditions,
                          digest=digest, **survey_rows(rows, name, pad_value))
        return cls(rows, ids, spec, targets)

    @classmethod
    def from_any(cls,
        X, # Series [n, c_in, seq_len] in any container, or tsai DataLoaders
        y=None, # Labels or targets [n], sets of labels, or None
        splits=None, # tsai's splits
        **kinds # y_kind and pad_value of `from_rows`
    ) -> 'SeriesData':
        "The training rows of whatever `NMVQGenerator.fit` takes."
        if hasattr(X, 'dls'):
            raise TypeError(f"X is a {type(X).__name__}, expected series or DataLoaders; pass learn.dls")
        if not hasattr(X, 'loaders'):
            if hasattr(X, 'after_batch'):
                raise TypeError("X is one loader, expected series or the DataLoaders that it is of; pass dls")
            return cls.from_arrays(X, y, splits, **kinds)
        if y is not None or splits is not None:
            raise ValueError("y and splits come with the DataLoaders, which have their own; leave them out")
        return cls.from_dls(X, **kinds)

    @classmethod
    def from_arrays(cls,
        X, # Series [n, c_in, seq_len] in any container, see `containers.as_rows`; only training rows are read
        y=None, # Labels or targets [n], sets of labels, or None
        splits=None, # tsai's splits: (training rows, ...); all rows by default
        **kinds # y_kind and pad_value of `from_rows`
    ) -> 'SeriesData':
        "The training rows of X and y."
        n, y = n_series(X), as_labels_array(y)
        if y is not None and len(y) != n: raise ValueError(f"X has {n} rows and y {len(y)}; they must match")
        train = np.arange(n) if splits is None else training_rows(splits, n)
        if splits is not None and hasattr(X, 'check_splits'): X.check_splits(splits) # windows may overlap
        if y is not None: check_no_missing(y[train], train)
        is_list = splits is not None and len(train) > 0 and isinstance(X, LISTS) # the longest of these alone counts
        rows = as_rows([X[i] for i in train]) if is_list else as_rows(X).subset(train)
        return cls.from_rows(rows, None if y is None else y[train], **kinds)

    @classmethod
    def from_dls(cls,
        dls, # tsai DataLoaders; batch transforms are not applied: series are read in their own units
        split:int=0, # 0 for the training split
        **kinds # y_kind and pad_value of `from_rows`
    ) -> 'SeriesData':
        "One split of DataLoaders."
        ds, name = dls[split].dataset, 'the training split' if split == 0 else 'the validation split'
        if len(ds) == 0: raise ValueError(f"{name} is empty; pass splits in which it has rows")
        y, kind = _loaded_labels(dls, ds)
        how = dict(y_kind=kind) | {name: value for name, value in kinds.items() if value is not None}
        return cls.from_rows(Rows(lambda idx: ds[idx][0], len(ds)), y, name, **how)

    def watched(self,
        dls # The DataLoaders that these are the training split of
    ) -> 'SeriesData': # With the spec of the training split; nothing is read or checked
        "Their validation split, whose classes are those of the training split; -1 where it has others."
        ds = dls[1].dataset
        y, kind = _loaded_labels(dls, ds)
        ids = None if y is None or kind is None or not self.spec.vocab else self.spec.conditions.ids(y)
        return SeriesData(Rows(lambda idx: ds[idx][0], len(ds)), ids, self.spec)

    def __len__(self): return len(self.rows)

    def series(self,
        idx # Row indices [n]
    ) -> Tensor: # Series [n, c_in, seq_len], float32, original units; gaps are filled
        "Read some rows."
        x = self._marked(idx)
        return x if not self.spec.missing and is_complete(x) else fill_gaps(x, self._means(x))

    def series_and_present(self,
        idx # Row indices [n]
    ) -> tuple: # (series as `series` gives them, which of their values are there [n, c_in, seq_len], bool)
        "Read some rows, and what of them is there."
        x = self._marked(idx)
        return fill_gaps(x, self._means(x)), x.isfinite()

    def _marked(self, idx): return padding_to_nan(series_tensor(self.rows(idx)), self.spec.pad_value)

    def _means(self, x): return torch.tensor(self.spec.mean, device=x.device)[:, None]

    def subset(self,
        idx:np.ndarray # Row indices [m]
    ) -> 'SeriesData': # With the spec of all
        "Some of the rows; nothing is read."
        y, targets = (None if v is None else v[idx] for v in (self.y, self.targets))
        return SeriesData(self.rows.subset(idx), y, self.spec, targets)

    def chunks(self) -> Iterator[Tensor]: # Series [n, c_in, seq_len] in order
        "All rows, a bounded number at a time."
        for idx in chunk_indices(len(self)): yield self.series(idx)

    def chunks_and_present(self) -> Iterator[tuple]: # (series, which of their values are there), in order
        "All rows and what of them is there, a bounded number at a time."
        for idx in chunk_indices(len(self)): yield self.series_and_present(idx)


def read_series(
    X, # Series [n, c_in, seq_len] in any container, see `containers.as_rows`
    spec:SeriesSpec, # What a generator knows of them
    idx:np.ndarray=None # Row indices [m]; all by default
) -> np.ndarray: # Series [m, c_in, seq_len], float32; NaN where a value is missing, after the end of a series too
    "Series as a generator's own are."
    rows = as_rows(X)
    x = series_tensor(rows(np.arange(len(rows)) if idx is None else idx))
    x = longer(padding_to_nan(x, spec.pad_value), spec)
    spec.check(x)
    return x.cpu().numpy()


def longer(
    x:Tensor, # Series [n, c_in, L]
    spec:SeriesSpec # Of a generator
) -> Tensor: # [n, c_in, seq_len] where series may be shorter than its longest: missing after their end
    "As many steps as the generator knows."
    if x.ndim != 3 or (spec.shortest or spec.seq_len) == spec.seq_len: return x
    return F.pad(x, (0, max(0, spec.seq_len - x.shape[-1])), value=torch.nan)


def ready_array(
    X, # Series in any container but a tensor
    spec:SeriesSpec # Of a generator
) -> np.ndarray: # [n, c_in, seq_len] of floating point, as torch takes it; shorter series of a list are padded
    "All series at once."
    is_ready = type(X) in (np.ndarray, np.memmap) and X.dtype in PLAIN and X.dtype.isnative
    x = X if is_ready else as_array(X)
    if isinstance(X, LISTS): x = longer(torch.as_tensor(x), spec).numpy()
    return x if x.flags.writeable and min(x.strides, default=0) >= 0 else x.copy()


def n_series(
    X # Series in any container
) -> int:
    "How many there are."
    return X.shape[0] if hasattr(X, 'shape') and not hasattr(X, 'columns') else len(as_rows(X))


def _pad_value(value): # -> float, None for NaN
    if value is None: return None
    if isinstance(value, bool) or not isinstance(value, (Real, np.number)) or np.isinf(float(value)):
        raise TypeError(f"pad_value is {value!r}, expected the number that stands after the end of series")
    return None if np.isnan(float(value)) else float(value)


def _loaded_labels(dls, ds): # -> (labels, targets or sets of a split, or None; their kind)
    if len(ds[[0]]) < 2: return None, None
    y = np.concatenate([np.asarray(ds[idx][1]) for idx in chunk_indices(len(ds))])
    vocab = getattr(dls, 'vocab', None) if getattr(dls, 'cat', False) else None
    if vocab is None and y.size == len(ds): return y.reshape(-1), 'targets'
    if vocab is None:
        warnings.warn(f"the loaders have targets of shape {y.shape[1:]} a series, which are no condition: series are "
                      "learnt without them", stacklevel=5)
        return None, None
    names = np.asarray([to_python_scalar(v) for v in vocab], dtype=object)
    if y.ndim == 1 or y.shape[1:] == (1,): return names[y.reshape(-1).astype(np.int64)], 'classes'
    sets = np.empty(len(ds), dtype=object)
    for row, members in enumerate(y.astype(bool)): sets[row] = names[members].tolist()
    return sets, 'labels'
