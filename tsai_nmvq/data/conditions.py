"""What series are conditioned on: a class, the bin of a target, or a set of labels; each is a class of the prior."""
from dataclasses import dataclass, field

import numpy as np

from .containers import as_labels_array
from .labels import check_no_missing, class_labels, is_single, match_labels

__all__ = ['Conditions', 'KINDS']

KINDS = 'classes', 'targets', 'labels'
MANY, MOST = 16, 0.5    # numbers of at least as many series that differ in more than this share look like targets
SERIES_A_BIN = 25       # of a target, at least
MAX_BINS = 10
ROWS = list, tuple, set, frozenset, np.ndarray # of several labels
ONE_SET = tuple, set, frozenset
JOINT = ' + '           # between the labels of a set


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
        are_told, y = kind is not None, as_labels_array(y)
        kind = kind or _guess(y)
        if kind == 'targets': return cls._of_targets(_targets(y))
        if kind == 'labels': return cls._of_sets(*_sets(y))
        names, ids = np.unique(class_labels(y, real=are_told), return_inverse=True)
        return cls(vocab=tuple(names.tolist())), ids

    @classmethod
    def _of_targets(cls, y):
        n_bins = int(np.clip(len(y) // SERIES_A_BIN, 1, MAX_BINS))
        edges = np.unique(np.quantile(y, np.arange(1, n_bins) / n_bins))
        edges = edges[np.unique(np.searchsorted(edges, y, side='right'))[1:] - 1] # some bins may have no series
        ends = [y.min(), *edges, y.max()]
        vocab = tuple(f'{low:.4g} to {high:.4g} ({i})' for i, (low, high) in enumerate(zip(ends, ends[1:])))
        made = cls('targets', vocab, tuple(edges.tolist()))
        return made, made.ids(y)

    @classmethod
    def _of_sets(cls, labels, sets, multi_hot):
        found = sorted(set(sets))
        ids = {members: i for i, members in enumerate(found)}
        names = [JOINT.join(str(labels[i]) for i in members) or 'none' for members in found]
        vocab = tuple(name if names.count(name) == 1 else f'{name} ({i})' for i, name in enumerate(names))
        made = cls('labels', vocab, labels=labels, sets=tuple(found), multi_hot=multi_hot)
        return made, np.asarray([ids[members] for members in sets])

    def ids(self,
        y # One or many of what `learn` takes, or names of the vocab
    ) -> np.ndarray: # Class ids [n], int64; -1 where there is no such class
        "Class ids by name, by bin or by set."
        if self.kind == 'labels' and isinstance(y, ONE_SET) and not any(isinstance(v, ROWS) for v in y): y = [list(y)]
        if self.kind == 'labels' and not self.multi_hot and isinstance(y, list) and y and isinstance(y[0], ROWS):
            return self._set_ids(_as_lists(y))
        y = np.atleast_1d(np.asarray(y, dtype=object)) if is_single(y) else as_labels_array(y)
        check_no_missing(y)
        are_names = y.ndim == 1 and all(isinstance(v, str) for v in y)
        if self.kind == 'classes': return match_labels(y.reshape(-1) if y.shape[1:] == (1,) else y, self.vocab)
        if self.kind == 'labels': return self._named_sets(y) if are_names else self._set_ids(y)
        ids = match_labels(y, self.vocab) if are_names else np.full(1, -1)
        return ids if (ids >= 0).all() else np.searchsorted(self.edges, _targets(y), side='right')

    def _set_ids(self, y):
        if y.ndim == 2 and not self.multi_hot: y = _as_lists(y.tolist())
        if y.ndim == 1 and y.dtype.kind in 'biuf': y = y[None] if self.multi_hot else _as_lists([y.tolist()])
        labels, sets, is_matrix = _sets(y)
        if is_matrix and len(labels) != len(self.labels):
            raise ValueError(f"y has {len(labels)} columns, expected one for each of the {len(self.labels)} labels")
        own, known = match_labels(labels, self.labels), {members: i for i, members in enumerate(self.sets)}
        return np.asarray([known.get(tuple(sorted(own[list(members)])), -1) for members in sets], dtype=np.int64)

    def _named_sets(self, names): # in any order of their labels
        ids, parts = match_labels(names, self.vocab), {frozenset(v.split(JOINT)): i for i, v in enumerate(self.vocab)}
        return np.asarray([parts.get(frozenset(v.split(JOINT)), -1) if i < 0 else i for v, i in zip(names, ids)])

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


def _as_lists(y): # -> [n] of lists, however alike they are
    rows = np.empty(len(y), dtype=object)
    for i, row in enumerate(y): rows[i] = list(row)
    return rows


def _guess(y): # array from `as_labels_array` -> kind
    if y.dtype == np.dtype(object) and any(isinstance(v, ROWS) for v in y.flat): return 'labels'
    if y.ndim > 1 and y.shape[1:] != (1,):
        if y.dtype.kind not in 'biuf' and y.ndim == 2: return 'labels'
        if y.ndim == 2 and np.isin(y, (0, 1)).all(): return 'labels'
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


def _sets(y): # array from `as_labels_array` -> (labels, members of each row's set, whether y is a matrix)
    if y.ndim == 2 and y.dtype.kind in 'biuf':
        if not np.isin(y, (0, 1)).all():
            raise ValueError("y is a matrix of other numbers than 0 and 1, expected a column a label; or pass lists of "
                             "labels")
        return tuple(range(y.shape[1])), [tuple(np.flatnonzero(row).tolist()) for row in y], True
    rows = [list(row) if isinstance(row, ROWS) else [row] for row in y.tolist()]
    if not any(rows): return (), [()] * len(rows), False
    flat = np.empty(sum(map(len, rows)), dtype=object)
    flat[:] = [v for row in rows for v in row]
    labels, places = np.unique(class_labels(flat, real=True), return_inverse=True)
    parts = np.split(places, np.cumsum(list(map(len, rows)))[:-1])
    return tuple(labels.tolist()), [tuple(sorted(set(part.tolist()))) for part in parts], False


def _targets(y): # -> float64 [n]
    y = np.asarray(y)
    if y.ndim > 1 and y.shape[-1] == 1: y = y.reshape(-1)
    if y.ndim != 1: raise ValueError(f"y has shape {y.shape}, expected one target a series [n]")
    check_no_missing(y)
    try: y = y.astype(np.float64)
    except ValueError as e: raise ValueError(f"y holds text that is no number ({e}), expected targets") from e
    if not np.isfinite(y).all(): raise ValueError("y holds inf, expected finite targets; drop these rows")
    return y
