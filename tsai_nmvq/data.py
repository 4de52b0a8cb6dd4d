"""What a generator knows of its data, read from the training split alone, and the loaders of the three stages."""
import math
from copy import copy
from dataclasses import asdict, dataclass

import numpy as np
import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from torch import Tensor

from .models.tokenizer import MIN_SEQ_LEN

__all__ = ['SeriesSpec', 'SeriesData', 'RowsDL', 'stage_dls', 'check_series', 'split_rows', 'apportion', 'plain']

CHUNK_ROWS = 1024
MIN_STD = 1e-7      # over the mean: float32 resolves no less


@dataclass(frozen=True)
class SeriesSpec:
    "Sizes, classes and statistics of a training split. Prints as one line; goes into a file as JSON."
    c_in: int            # Channels
    seq_len: int         # Steps
    n_series: int        # Series in the training split
    mean: tuple          # Per channel, original units
    std: tuple           # Per channel, original units, > 0
    vocab: tuple = ()    # Classes as plain str, int or float; empty where there are no labels
    counts: tuple = ()   # Training series of each class

    @property
    def n_classes(self) -> int: # 0 without labels
        "Number of classes."
        return len(self.vocab)

    @property
    def proportions(self) -> np.ndarray: # [n_classes], sums to 1
        "Share of each class in the training split."
        return np.asarray(self.counts, dtype=float) / sum(self.counts)

    def to_ids(self,
        labels # One label or many, as in the data
    ) -> np.ndarray: # Class ids [n], int64
        "Class ids by name. ValueError for labels that the training split never had."
        if not self.vocab: raise ValueError("this generator was fitted without labels: leave y out")
        labels = [plain(v) for v in np.atleast_1d(np.asarray(labels, dtype=object))]
        ids = {v: i for i, v in enumerate(self.vocab)}
        names = {str(v): i for v, i in ids.items()}
        found = [ids.get(v, names.get(str(v))) for v in labels]
        unknown = sorted({str(v) for v, i in zip(labels, found) if i is None})
        if unknown: raise ValueError(f"labels {unknown} are not in the generator's vocab {list(self.vocab)}; fit it on data that has them")
        return np.asarray(found, dtype=np.int64)

    def to_labels(self,
        ids # Class ids [n]
    ) -> np.ndarray: # Labels [n], as in the vocab
        "Inverse of `to_ids`."
        return np.asarray(self.vocab)[np.asarray(ids)]

    def check(self,
        x, # Series [n, c_in, seq_len], array or tensor
        owner:str='this generator' # Who asks, for the message
    ):
        "ValueError if series do not have this spec's channels and steps."
        if x.ndim != 3 or tuple(x.shape[1:]) != (self.c_in, self.seq_len):
            raise ValueError(f"series have shape {tuple(x.shape)}, {owner} was fitted on [n, {self.c_in}, {self.seq_len}]; "
                             "fit one on data of this shape")

    def to_dict(self) -> dict: # Plain lists, numbers and strings
        "For JSON."
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls,
        d:dict # From `to_dict`
    ):
        "Inverse of `to_dict`."
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in d.items()})


class SeriesData:
    "The training split: series by row index (read as they are needed) and class ids, with its `spec`."
    def __init__(self,
        rows, # Function: row indices -> series [n, c_in, seq_len] (array or tensor), original units
        n_series:int, # Training series
        y=None # Labels [n_series]; None for unconditional
    ):
        if n_series == 0: raise ValueError("the training split is empty; pass splits whose first part has rows")
        if n_series == 1: raise ValueError("the training split has one series; at least two are needed to learn from")
        self._rows, self.n_series = rows, n_series
        vocab, self.y = ((), None) if y is None else np.unique(_class_labels(y), return_inverse=True)
        counts = () if y is None else tuple(np.bincount(self.y).tolist())
        c_in, seq_len, mean, std = self._statistics()
        self.spec = SeriesSpec(c_in, seq_len, n_series, mean, std, tuple(plain(v) for v in vocab), counts)

    @classmethod
    def from_arrays(cls,
        X, # Series [n, c_in, seq_len], numpy or memory-mapped; only training rows are read
        y=None, # Labels [n] or None
        splits=None # tsai's splits: (training rows, ...); all rows by default
    ):
        "The training rows of X and y."
        if not hasattr(X, 'shape') or not hasattr(X, 'ndim') or getattr(X, 'dtype', None) == np.dtype(object):
            raise TypeError("X is ragged or not an array; pass a numeric array [n, c_in, seq_len] (pad or cut series to one length)")
        if X.ndim != 3:
            raise ValueError(f"X has shape {tuple(X.shape)}, expected [n, c_in, seq_len]; for one channel use X[:, None] or tsai's to3d(X)")
        if y is not None and len(y) != len(X): raise ValueError(f"X has {len(X)} rows and y {len(y)}; they must match")
        train = np.arange(len(X)) if splits is None else split_rows(_first_split(splits), len(X))
        return cls(lambda idx: X[train[idx]], len(train), None if y is None else np.asarray(y)[train])

    @classmethod
    def from_dls(cls,
        dls, # tsai DataLoaders; batch transforms are not applied: series are read in their own units
        split:int=0 # 0 for the training split
    ):
        "One split of DataLoaders."
        ds = dls[split].dataset
        if len(ds) == 0: raise ValueError("the training split is empty; pass splits whose first part has rows")
        vocab = getattr(dls, 'vocab', None) if getattr(dls, 'cat', False) else None
        y = None
        if vocab is not None and len(ds[[0]]) > 1:
            ids = np.concatenate([np.asarray(ds[idx][1]).reshape(-1) for idx in _chunks(len(ds))])
            if len(ids) != len(ds): raise ValueError(f"dls has {len(ids)} labels for {len(ds)} series, expected one class label a series")
            y = np.asarray([plain(v) for v in vocab], dtype=object)[ids.astype(np.int64)]
        return cls(lambda idx: ds[idx][0], len(ds), y)

    def __len__(self): return self.n_series

    def series(self,
        idx # Row indices [n]
    ) -> Tensor: # Series [n, c_in, seq_len], float32, original units
        "Read some rows."
        rows = self._rows(idx)
        return (rows.detach().as_subclass(Tensor) if isinstance(rows, Tensor) else torch.as_tensor(np.asarray(rows))).float()

    def subset(self,
        idx # Row indices [m]
    ): # `SeriesData` of these rows, with the spec of all
        "Some of the rows; nothing is read."
        part = copy(self)
        part._rows, part.n_series, part.y = lambda i: self._rows(idx[i]), len(idx), None if self.y is None else self.y[idx]
        return part

    def chunks(self): # Yields series [<= CHUNK_ROWS, c_in, seq_len] in order
        "All rows, a bounded number at a time."
        for idx in _chunks(self.n_series): yield self.series(idx)

    def _statistics(self):
        n = total = square = 0
        for start, x in zip(range(0, self.n_series, CHUNK_ROWS), self.chunks()):
            check_series(x, start)
            x = x.double()
            if start == 0: first = x[0, :, :1]                               # squares of what is far from zero would cancel
            x = x - first
            n, total, square = n + x.shape[0] * x.shape[2], total + x.sum((0, 2)), square + x.square().sum((0, 2))
        shifted = total / n
        mean = shifted + first.flatten()
        std = usable_std((square / n - shifted ** 2).clamp_min(0).sqrt(), mean)
        return x.shape[1], x.shape[2], tuple(mean.tolist()), tuple(std.tolist())


class RowsDL(DataLoader):
    """Batches of tensors by one index a batch, from tensors in memory or a function of row indices.

    A training epoch has at least `min_steps` batches: a small split is passed over several times."""
    def __init__(self,
        rows, # Function: row indices [n] -> tuple of tensors
        n_rows:int, # Rows there are
        bs:int=64, # Batch size
        shuffle:bool=False, # Random order, whole batches, at least min_steps of them
        min_steps:int=0, # Least number of batches an epoch where shuffle
        n_inp:int=1, # Leading tensors that are the model's input
        device=None # Where batches go
    ):
        self.rows, self.n_rows, self.n_inp, self._shuffled = rows, n_rows, n_inp, shuffle
        n = max(n_rows // bs, min_steps, 1) * bs if shuffle else n_rows
        super().__init__(range(n), bs=min(bs, max(n, 1)), n=n, drop_last=shuffle, device=device)

    def get_idxs(self):
        if not self._shuffled: return list(range(self.n))
        rng = np.random.default_rng(self.rng.getrandbits(64))
        return np.concatenate([rng.permutation(self.n_rows) for _ in range(math.ceil(self.n / self.n_rows))])[:self.n].tolist()

    def new(self,
        dataset=None, # Not used: rows are the function's
        shuffle:bool=None, # As in the constructor; this loader's by default
        **kwargs # bs or device; others of fastai's DataLoader are not needed
    ):
        "The same rows in another loader: `get_preds` asks for one in order."
        shuffle = self._shuffled if shuffle is None else shuffle
        kept = dict(bs=kwargs.get('bs', self.bs), device=kwargs.get('device', self.device), n_inp=self.n_inp)
        return RowsDL(self.rows, self.n_rows, shuffle=shuffle, **kept)

    def create_item(self, i): return i
    def create_batch(self, idx): return self.rows(np.asarray(idx))
    def do_batch(self, idx): return self.create_batch(idx)


def stage_dls(
    train, # Function: row indices -> tuple of tensors
    n_train:int, # Training rows
    valid=None, # The same for the validation split; None for none
    n_valid:int=0, # Validation rows
    bs:int=64, # Batch size
    min_steps:int=32, # Least number of batches a training epoch
    n_inp:int=1, # Leading tensors that are the model's input
    device=None # Where batches go
) -> DataLoaders: # train and valid loaders
    "Loaders of one stage."
    shared = dict(bs=bs, n_inp=n_inp, device=device)
    return DataLoaders(RowsDL(train, n_train, shuffle=True, min_steps=min_steps, **shared),
                       RowsDL(valid or train, n_valid, **shared), device=device)


def check_series(
    x:Tensor, # Series [n, c_in, seq_len]
    start:int=0 # Index of the first one, for the message
):
    "ValueError if series are too short, not 3-D or not finite."
    if x.ndim != 3: raise ValueError(f"series have shape {tuple(x.shape)}, expected [n, c_in, seq_len]")
    if x.shape[2] < MIN_SEQ_LEN:
        raise ValueError(f"series have {x.shape[2]} steps, at least {MIN_SEQ_LEN} are needed; pad or resample them")
    bad = ~torch.isfinite(x).flatten(1).all(1)
    if bad.any():
        raise ValueError(f"series {start + int(bad.nonzero()[0])} of the training split holds NaN or inf ({int(bad.sum())} such series); "
                         "fill or drop them first, for example with tsai's TSNan2Value")


def usable_std(
    std:Tensor, # Standard deviations of channels
    mean:Tensor # Their means
) -> Tensor: # std; 1 for a constant channel, which keeps its scale
    "Deviations to divide by."
    return torch.where(std > MIN_STD * mean.abs(), std, 1.)


def apportion(
    proportions:np.ndarray, # Shares, sum to 1
    n:int # Things to share out
) -> np.ndarray: # Whole numbers that sum to n
    "Share n things out by proportion, largest remainders first."
    exact = np.asarray(proportions) * n
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind='stable')[:n - whole.sum()]] += 1
    return whole


def _class_labels(y):
    y = np.asarray(y)
    if y.ndim > 1 and y.shape[-1] == 1: y = y.reshape(-1)
    if y.ndim != 1: raise ValueError(f"y has shape {y.shape}, expected one class label a series [n]")
    if y.dtype.kind == 'f' and not (np.isfinite(y).all() and (y == y.round()).all()):
        raise ValueError("y holds real numbers, which look like regression targets; pass y=None to learn without classes "
                         "and augment with NMVQAugment(gen, mode='perturb'), which keeps targets right")
    if y.dtype == object: y = np.asarray([plain(v) for v in y])
    return y


def split_rows(
    split, # Rows, any sequence of whole numbers, or a boolean mask [n]
    n:int # Series
) -> np.ndarray: # Rows, int64
    "The rows of one part of tsai's splits. ValueError for a mask of another length."
    rows = np.asarray(split)
    if rows.dtype != bool: return rows.astype(np.int64)
    if rows.shape != (n,): raise ValueError(f"a mask of shape {rows.shape} in splits, expected one value a series [{n}]")
    return np.flatnonzero(rows)


def plain(
    v # A label: numpy's or Python's own
): # The same as a plain str, int or float
    "A label that JSON can hold."
    return v.item() if isinstance(v, np.generic) else v


def _first_split(splits): return splits[0] if len(splits) and hasattr(splits[0], '__len__') else splits


def _chunks(n): return (np.arange(i, min(i + CHUNK_ROWS, n)) for i in range(0, n, CHUNK_ROWS))
