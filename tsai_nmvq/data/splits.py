"""tsai's splits: row numbers, masks or slices of each part, in one fold."""
import numpy as np

__all__ = ['split_rows', 'training_rows', 'both_parts', 'are_parts']

NO_TEST = "evaluate compares with a test split: pass splits=(train, test) with two series or more in each"
EXPECTED = "expected (training rows, test rows), each of them row numbers, a slice or a mask"


def split_rows(
    split, # Rows, any sequence of whole numbers, a slice, or a boolean mask [n]
    n:int # Series
) -> np.ndarray: # Rows, int64
    "The rows of one part. ValueError for a mask of another length, IndexError for rows that are not there."
    if isinstance(split, slice): return np.arange(n)[split]
    rows = np.asarray(split)
    if rows.dtype == bool:
        if rows.shape == (n,): return np.flatnonzero(rows)
        raise ValueError(f"a mask of shape {rows.shape} in splits, expected one value a series [{n}]")
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in 'iu'):
        raise TypeError(f"splits holds {_shown(split)}, {EXPECTED}")
    outside = rows[(rows < -n) | (rows >= n)] if len(rows) else rows
    if len(outside): raise IndexError(f"splits holds row {outside[0]}, and X has {n} rows; make splits of this X")
    return rows.astype(np.int64)


def training_rows(
    splits, # (training rows, ...), or training rows alone
    n:int # Series
) -> np.ndarray: # Rows, int64
    "The first part. ValueError for several folds."
    is_alone = isinstance(splits, slice) or not _is_sized(splits) or not len(splits) or not _is_part(splits[0])
    if is_alone: return split_rows(splits, n)
    _check_one_fold(splits)
    return split_rows(splits[0], n)


def both_parts(
    splits, # (training rows, test rows, ...)
    n:int # Series
) -> list[np.ndarray]: # Rows of both, int64
    "Training and test rows, two or more of each. ValueError where there is no test split."
    if not are_parts(splits): raise ValueError(NO_TEST)
    _check_one_fold(splits)
    parts = [split_rows(split, n) for split in splits[:2]]
    if min(map(len, parts)) < 2: raise ValueError(NO_TEST)
    return parts


def are_parts(
    splits # tsai's splits, or training rows alone
) -> bool: # Whether there are two parts or more
    "Training rows and others."
    return _is_sized(splits) and len(splits) > 1 and all(map(_is_part, splits[:2]))


def _check_one_fold(splits):
    first = splits[0]
    if not isinstance(first, slice) and len(first) and np.ndim(first[0]):
        raise ValueError(f"splits holds {len(splits)} folds, expected one (training rows, test rows); pass splits[0], "
                         "and fit a generator for each fold")


def _is_sized(v): return hasattr(v, '__len__') and not isinstance(v, (str, dict, set)) and getattr(v, 'ndim', 1) > 0


def _is_part(v): return isinstance(v, slice) or _is_sized(v)


def _shown(v): return str(v) if len(str(v)) < 40 else f'{str(v)[:40]} ...'
