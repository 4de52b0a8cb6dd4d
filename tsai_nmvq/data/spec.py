"""What a generator knows of its data."""
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .conditions import Conditions
from .labels import to_python_scalar
from .values import ChannelValues

__all__ = ['SeriesSpec']

NESTED = 'conditions', 'values' # fields that are no plain values
LASTING = 'c_in', 'seq_len', 'n_series', 'mean', 'vocab', 'counts' # fields that older files have, with the same meaning


@dataclass(frozen=True)
class SeriesSpec:
    "Sizes, classes and statistics of a training split. Prints as one line; goes into a file as JSON."
    c_in:int                    # Channels
    seq_len:int                 # Steps, of the longest series
    n_series:int                # Series in the training split
    mean:tuple                  # Per channel, original units
    std:tuple                   # Per channel, original units; 0 for a constant channel
    vocab:tuple = ()            # Classes as plain str, int or float; empty where there are no labels
    counts:tuple = ()           # Training series of each class
    missing:float = 0.          # Share of the values that are missing, after the end of shorter series too
    shortest:int|None = None    # Steps of the shortest series; None where all have as many
    pad_value:float|None = None # What stands after the end of shorter series; None for NaN
    values:tuple[ChannelValues, ...] = ()   # Which values channels take; empty where they may take any
    conditions:Conditions = field(default_factory=Conditions)   # How y becomes a class
    digest:int|None = None      # Of all labels or targets, in order; None in files from before it was

    def __post_init__(self):
        if self.conditions.vocab != self.vocab:                          # of files that know of classes alone
            object.__setattr__(self, 'conditions', Conditions(vocab=self.vocab))

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
        ids = self.conditions.ids(labels)
        if (ids < 0).any():
            labels = np.atleast_1d(np.asarray(labels, dtype=object))
            unknown = sorted({_shown(label) for label, i in zip(labels, ids) if i < 0})
            raise ValueError(f"labels {unknown} are not in the generator's vocab {list(self.vocab)}; "
                             "fit it on data that has them")
        return ids

    def to_labels(self,
        ids # Class ids [n]
    ) -> np.ndarray: # Labels [n], as in the vocab
        "Inverse of `to_ids`."
        return np.asarray(self.vocab)[np.asarray(ids)]

    def plain(self,
        y:np.ndarray|None # Labels [n], as in the data
    ) -> np.ndarray|None: # What a file without pickle holds: names in the place of lists
        "Lists of labels by the names of their sets."
        return self.to_labels(self.to_ids(y)) if y is not None and y.dtype == object else y

    def check(self,
        x, # Series [n, c_in, seq_len], array or tensor
        owner:str='this generator' # Who asks, for the message
    ):
        "ValueError if series do not have this spec's channels and steps."
        if x.ndim != 3 or tuple(x.shape[1:]) != (self.c_in, self.seq_len):
            raise ValueError(f"series have shape {tuple(x.shape)}, {owner} was fitted on "
                             f"[n, {self.c_in}, {self.seq_len}]; fit one on data of this shape")

    def is_of(self,
        data:'SeriesSpec' # Of series that are at hand
    ) -> bool: # As far as it tells: files from before format 7 know less
        "Whether these are the series that it was made of."
        if self.digest is not None: return self == data
        return all(getattr(self, name) == getattr(data, name) for name in LASTING)

    def to_dict(self) -> dict: # Plain lists, numbers and strings
        "What JSON can hold of it."
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls,
        d:dict # From `to_dict`
    ) -> 'SeriesSpec':
        "Inverse of `to_dict`."
        fields:dict[str, Any] = {k: _tuples(v) for k, v in d.items() if k not in NESTED}
        if 'values' in d: fields['values'] = tuple(ChannelValues(**_tuple_values(v)) for v in d['values'])
        if 'conditions' in d: fields['conditions'] = Conditions(**_tuple_values(d['conditions']))
        return cls(**fields)


def _shown(label): return str(to_python_scalar(label) if np.ndim(label) == 0 else label)


def _tuples(v): return tuple(map(_tuples, v)) if isinstance(v, list) else v


def _tuple_values(d): return {k: _tuples(v) for k, v in d.items()}
