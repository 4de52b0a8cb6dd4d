"""What a generator knows of its data."""
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .labels import match_labels, to_python_scalar

__all__ = ['SeriesSpec']


@dataclass(frozen=True)
class SeriesSpec:
    "Sizes, classes and statistics of a training split. Prints as one line; goes into a file as JSON."
    c_in:int            # Channels
    seq_len:int         # Steps
    n_series:int        # Series in the training split
    mean:tuple          # Per channel, original units
    std:tuple           # Per channel, original units, > 0
    vocab:tuple = ()    # Classes as plain str, int or float; empty where there are no labels
    counts:tuple = ()   # Training series of each class

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
        labels = np.atleast_1d(np.asarray(labels, dtype=object))
        ids = match_labels(labels, self.vocab)
        unknown = sorted({str(to_python_scalar(label)) for label in labels[ids < 0]})
        if unknown:
            raise ValueError(f"labels {unknown} are not in the generator's vocab {list(self.vocab)}; "
                             "fit it on data that has them")
        return ids

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
            raise ValueError(f"series have shape {tuple(x.shape)}, {owner} was fitted on "
                             f"[n, {self.c_in}, {self.seq_len}]; fit one on data of this shape")

    def to_dict(self) -> dict: # Plain lists, numbers and strings
        "What JSON can hold of it."
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls,
        d:dict # From `to_dict`
    ) -> 'SeriesSpec':
        "Inverse of `to_dict`."
        values:dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
        return cls(**values)
