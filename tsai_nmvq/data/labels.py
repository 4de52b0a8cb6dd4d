"""Class labels: plain values for files, ids by name, and numbers of series by proportion."""
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ['to_python_scalar', 'class_labels', 'match_labels', 'largest_remainder']


def to_python_scalar(
    v # A label: numpy's or Python's own
): # The same as a plain str, int or float
    "A label that JSON can hold."
    return v.item() if isinstance(v, np.generic) else v


def class_labels(
    y # Labels [n] or [n, 1], as in the data
) -> np.ndarray: # Labels [n]
    "Labels that stand for classes. ValueError for real numbers, which look like regression targets, and other shapes."
    y = np.asarray(y)
    if y.ndim > 1 and y.shape[-1] == 1: y = y.reshape(-1)
    if y.ndim != 1: raise ValueError(f"y has shape {y.shape}, expected one class label a series [n]")
    if y.dtype.kind == 'f' and not (np.isfinite(y).all() and (y == y.round()).all()):
        raise ValueError("y holds real numbers, which look like regression targets; pass y=None to learn without "
                         "classes and augment with NMVQAugment(gen, mode='perturb'), which keeps targets right")
    if y.dtype == object: y = np.asarray([to_python_scalar(v) for v in y])
    return y


def match_labels(
    labels:Iterable, # Labels of any type
    vocab:Sequence # Classes, plain str, int or float
) -> np.ndarray: # Index into vocab of each label, int64; -1 where it is not there
    "Labels are the same class if they are equal or have the same name: 1, 1. and '1' in files of different types."
    ids = {name: i for i, label in enumerate(vocab) for name in _names(label)}
    ids |= {label: i for i, label in enumerate(vocab)}
    found = []
    for label in map(to_python_scalar, labels):
        candidates = [ids[name] for name in (label, *_names(label)) if name in ids]
        found.append(candidates[0] if candidates else -1)
    return np.asarray(found, dtype=np.int64)


def _names(label): # as it prints, and a whole number as an int prints
    is_whole = isinstance(label, float) and label.is_integer()
    return (str(label), str(int(label))) if is_whole else (str(label),)


def largest_remainder(
    proportions:np.ndarray, # Shares, sum to 1
    n:int # Things to share out
) -> np.ndarray: # Whole numbers that sum to n
    "Share n things out by proportion, largest remainders first."
    exact = np.asarray(proportions) * n
    whole = np.floor(exact).astype(int)
    first = np.argsort(whole - exact, kind='stable')[:n - whole.sum()]
    whole[first] += 1
    return whole
