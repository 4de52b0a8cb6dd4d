"""Class labels: plain values for files, ids by name, and numbers of series by proportion."""
import datetime
from collections.abc import Iterable, Sequence
from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd

__all__ = ['to_python_scalar', 'class_labels', 'match_labels', 'largest_remainder', 'check_no_missing', 'is_single',
           'shuffled_by_class']

MIDNIGHT = 'T00:00:00'


def to_python_scalar(
    v # A label: text, bytes, a number or a date, of Python, numpy or pandas
): # The same as a plain str, int, float or bool; dates as ISO text, days without a time
    "A label that JSON can hold. TypeError for anything else."
    if isinstance(v, (np.datetime64, datetime.date)): return pd.Timestamp(v).isoformat().removesuffix(MIDNIGHT)
    if isinstance(v, np.generic): v = v.item()
    if isinstance(v, bytes): return v.decode('utf-8', 'replace')
    if isinstance(v, (str, int, float)): return v
    if isinstance(v, (Real, Decimal)): return float(v)
    if isinstance(v, (pd.Interval, pd.Period)): return str(v)
    raise TypeError(f"label {v!r} is of type {type(v).__name__}, expected text, a number or a date; pass its name")


def is_single(
    y # A label, or many
) -> bool:
    "Whether it is one label: text, a number, a date."
    return isinstance(y, (str, bytes)) or not hasattr(y, '__len__') or getattr(y, 'ndim', 1) == 0


def class_labels(
    y, # Labels [n] or [n, 1], as in the data
    real:bool=False # Whether real numbers stand for classes too
) -> np.ndarray: # Labels [n]: of text, or of numbers of one type
    "Labels that stand for classes. ValueError for real numbers, for a label that is missing, and for other shapes."
    y = np.asarray(y, None if hasattr(y, 'dtype') else object)           # of a list numpy would make 'nan' a text
    if y.ndim > 1 and y.shape[-1] == 1: y = y.reshape(-1)
    if y.ndim != 1: raise ValueError(f"y has shape {y.shape}, expected one class label a series [n]")
    check_no_missing(y)
    if y.dtype.kind not in 'biufU': y = _of_one_kind([to_python_scalar(label) for label in y])
    if not real and y.dtype.kind == 'f' and not (np.isfinite(y).all() and (y == y.round()).all()):
        raise ValueError("y holds real numbers, which look like regression targets, expected classes; round them, or "
                         "pass them as text")
    return y


def check_no_missing(
    y:np.ndarray, # Labels or targets [n, ...]
    rows:np.ndarray=None # Their row numbers, for the message [n]; 0, 1, ... by default
):
    "ValueError that names the first row whose label is missing."
    missing = np.flatnonzero(pd.isna(y).any(tuple(range(1, y.ndim))))
    if not len(missing): return
    first = missing[0] if rows is None else rows[missing[0]]
    raise ValueError(f"label {first} is missing ({y[missing[0]]}), and {len(missing)} of {len(y)} are; "
                     "drop these rows, or give them a class")


def _of_one_kind(labels): # text beside numbers has no order: all become names
    is_text = {isinstance(label, str) for label in labels}
    return np.asarray([_names(label)[-1] for label in labels] if len(is_text) > 1 else labels)


def match_labels(
    labels:Iterable, # Labels of any type
    vocab:Sequence # Classes, plain str, int or float
) -> np.ndarray: # Index into vocab of each label, int64; -1 where it is not there
    "Labels are the same class if they are equal or have the same name: 1, 1. and '1' in files of different types."
    ids = {name: i for i, label in enumerate(vocab) for name in _names(label)}
    ids |= {label: i for i, label in enumerate(vocab)}
    found = []
    for label in labels:
        plain = None if pd.isna(label) else to_python_scalar(label)
        names = () if plain is None else (plain, *_names(plain))
        found.append(next((ids[name] for name in names if name in ids), -1))
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


def shuffled_by_class(
    ids:np.ndarray, # Class ids [n]
    seed:int # Of the order within a class
) -> np.ndarray: # Rows [n]: any evenly spaced part of them has about the same share of each class
    "Rows class after class, in random order within each."
    order = np.random.default_rng(seed).permutation(len(ids))
    return order[np.argsort(ids[order], kind='stable')]
