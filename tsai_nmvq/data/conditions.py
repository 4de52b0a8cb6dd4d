"""What series are conditioned on: a class, the bin of a target, or a set of labels; each is a class of the prior."""
from dataclasses import dataclass, field

import numpy as np

from .labels import check_no_missing, class_labels, match_labels, to_python_scalar

__all__ = ['Conditions', 'KINDS']

KINDS = 'classes', 'targets', 'labels'
MANY, MOST = 16, 0.5    # numbers of at least as many series that differ in more than this share look like targets
SERIES_A_BIN = 25       # of a target, at least
MAX_BINS = 10
ROWS = list, tuple, set, frozenset, np.ndarray # of several labels


@dataclass(frozen=True)
class Conditions:
    """The classes that a prior knows, and how y becomes one.

    Targets are binned by quantiles; several labels a series are one class a set of labels."""
    kind:str = 'classes'                    # One of `KINDS`
    vocab:tuple = ()                        # Names, plain str, int or float
    edges:tuple[float, ...] = ()            # Of targets: where the next bin begins
    labels:tuple = ()                       # Of sets: the single labels
    sets:tuple[tuple[int, ...], ...] = ()   # Of sets: which of the labels each class has
    multi_hot:bool = field(default=False)   # Of sets: whether y is a matrix of 0 and 1, or lists of labels

    @classmethod
    def learn(cls,
        y, # Labels or targets [n], or sets of labels: [n, n_labels] of 0 and 1, or lists
        kind:str=None # One of `KINDS`; guessed by default
    ) -> tuple: # (`Conditions`, class ids [n])
        "Classes of a training split. ValueError for labels that are missing, and for numbers that may be either."
        if kind not in (None, *KINDS): raise ValueError(f"y_kind is {kind!r}, expected one of {KINDS}")
        kind = kind or _guess(y)
        if kind == 'targets': return cls._of_targets(_targets(y))
        if kind == 'labels': return cls._of_sets(*_sets(y))
        names, ids = np.unique(class_labels(y), return_inverse=True)
        return cls(vocab=tuple(map(to_python_scalar, names))), ids

    @classmethod
    def _of_targets(cls, y):
        n_bins = int(np.clip(len(y) // SERIES_A_BIN, 1, MAX_BINS))
        edges = np.unique(np.quantile(y, np.arange(1, n_bins) / n_bins))
        edges = edges[edges > y.min()]                                   # below the others there is no series
        ends = [y.min(), *edges, y.max()]
        vocab = tuple(f'{low:.4g} to {high:.4g} ({i})' for i, (low, high) in enumerate(zip(ends, ends[1:])))
        made = cls('targets', vocab, tuple(edges.tolist()))
        return made, made.ids(y)

    @classmethod
    def _of_sets(cls, labels, sets, multi_hot):
        found = sorted(set(sets))
        ids = {members: i for i, members in enumerate(found)}
        vocab = tuple(' + '.join(str(labels[i]) for i in members) or 'none' for members in found)
        made = cls('labels', vocab, labels=labels, sets=tuple(found), multi_hot=multi_hot)
        return made, np.asarray([ids[members] for members in sets])

    def ids(self,
        y # One or many of what `learn` takes, or names of the vocab
    ) -> np.ndarray: # Class ids [n], int64; -1 where there is no such class
        "Class ids by name, by bin or by set."
        if self.kind == 'labels' and not _are_names(y): return self._set_ids(y)
        y = np.atleast_1d(np.asarray(y, dtype=object))
        if y.ndim == 2 and y.shape[1] == 1: y = y[:, 0]
        check_no_missing(y)
        ids = match_labels(y, self.vocab) if self.kind != 'targets' or _are_names(y) else np.full(len(y), -1)
        if self.kind != 'targets' or (ids >= 0).all(): return ids
        return np.searchsorted(self.edges, _targets(y), side='right')    # of text too: numbers of a command line

    def _set_ids(self, y):
        labels, sets, _ = _sets(y)
        own = range(len(labels)) if self.multi_hot else match_labels(labels, self.labels)
        where = dict(zip(labels, own))
        known, found = {members: i for i, members in enumerate(self.sets)}, []
        for members in sets: found.append(known.get(tuple(sorted(where[labels[i]] for i in members)), -1))
        return np.asarray(found, dtype=np.int64)

    def values(self,
        ids:np.ndarray # Class ids [n]
    ) -> np.ndarray: # [n] or, of sets as a matrix, [n, n_labels]; of targets the names of bins
        "What y has for these classes."
        if self.kind != 'labels': return np.asarray(self.vocab)[ids]
        if self.multi_hot: return self.matrix[ids].astype(int)
        y = np.empty(len(ids), dtype=object)
        for row, i in enumerate(ids): y[row] = [self.labels[j] for j in self.sets[i]]
        return y

    @property
    def matrix(self) -> np.ndarray: # [n_classes, n_labels], bool
        "Of sets: which labels each class has."
        return np.asarray([np.isin(np.arange(len(self.labels)), members) for members in self.sets])


def _guess(y): # -> kind
    if _is_nested(y): return 'labels'
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        if y.dtype.kind in 'biuf' and np.isin(y, (0, 1)).all(): return 'labels'
        raise ValueError(f"y has shape {y.shape}, expected one class label a series [n], one target a series, or a "
                         "matrix of 0 and 1 with a column a label")
    if y.dtype.kind not in 'iuf': return 'classes'
    values = y.reshape(-1)
    check_no_missing(values)
    if y.dtype.kind == 'f' and not (values == values.round()).all(): return 'targets'
    n, distinct = len(values), len(np.unique(values))
    if n >= MANY and distinct > MOST * n:
        raise ValueError(f"y holds {distinct} different numbers in {n} series, which look like targets or counts; "
                         "pass y_kind='targets', or y_kind='classes' if each is a class")
    return 'classes'


def _is_nested(y): # lists of labels, of any length; a column of single labels is none
    rows = y if isinstance(y, (list, tuple)) or getattr(y, 'dtype', None) == np.dtype(object) else ()
    if not len(rows) or not all(isinstance(row, ROWS) for row in rows): return False
    return any(isinstance(v, str) for row in rows for v in row) and any(len(row) != 1 for row in rows)


def _are_names(y):
    if isinstance(y, str): return True
    return not _is_nested(y) and all(isinstance(v, str) for v in np.asarray(y, dtype=object).reshape(-1))


def _targets(y): # -> float64 [n]
    y = np.asarray(y)
    if y.ndim > 1 and y.shape[-1] == 1: y = y.reshape(-1)
    if y.ndim != 1: raise ValueError(f"y has shape {y.shape}, expected one target a series [n]")
    check_no_missing(y)
    try: y = y.astype(np.float64)
    except ValueError as e: raise ValueError(f"y holds text that is no number ({e}), expected targets") from e
    if not np.isfinite(y).all(): raise ValueError("y holds inf, expected finite targets; drop these rows")
    return y


def _sets(y): # -> (labels, members of each row's set, whether y is a matrix)
    if not _is_nested(y):
        y = np.atleast_2d(np.asarray(y))
        check_no_missing(y)
        return tuple(range(y.shape[1])), [tuple(np.flatnonzero(row).tolist()) for row in y], True
    rows = [[to_python_scalar(v) for v in row] for row in y]
    labels = tuple(sorted({v for row in rows for v in row}))
    place = {label: i for i, label in enumerate(labels)}
    return labels, [tuple(sorted({place[v] for v in row})) for row in rows], False
