"""Rows that are read when they are asked for."""
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ['Rows', 'chunk_indices']

CHUNK_ROWS = 1024 # read at a time


@dataclass(frozen=True)
class Rows:
    "A function of row indices, and how many rows there are."
    read:Callable[[Any], Any]   # Row indices [n] -> what belongs to these rows: a series tensor, or a tuple of tensors
    n:int                       # Rows

    @classmethod
    def of_tensors(cls,
        *tensors:Tensor # All of them with a row for each row
    ) -> 'Rows': # Read as a tuple
        "Rows of tensors in memory."
        return cls(lambda idx: tuple(tensor[idx] for tensor in tensors), len(tensors[0]))

    def __call__(self, idx): return self.read(idx)

    def __len__(self): return self.n

    def subset(self,
        idx:np.ndarray # Row indices [m]
    ) -> 'Rows':
        "Some of the rows; nothing is read."
        return Rows(lambda i: self.read(idx[i]), len(idx))


def chunk_indices(
    n:int # Rows
) -> Iterator[np.ndarray]: # Row indices, at most `CHUNK_ROWS` at a time, in order
    "All row indices, a bounded number at a time."
    for start in range(0, n, CHUNK_ROWS): yield np.arange(start, min(start + CHUNK_ROWS, n))
