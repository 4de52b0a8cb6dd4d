"""Class ids of a loader and of a generator, by the classes' names, and the shares that even classes out."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.labels import match_labels, to_python_scalar
from .portable import Portable

__all__ = ['ClassMap', 'are_ids', 'class_shares', 'balancing_weights']


@dataclass(frozen=True, eq=False)
class ClassMap(Portable):
    "Which class of a generator each class of a loader is, and back; -1 where the other has no such class."
    to_gen:Tensor       # Generator's id of each of the loader's [n]
    to_dls:Tensor       # Loader's id of each of the generator's [n_classes]
    is_total:bool = True # Whether the generator has all of the loader's classes

    @classmethod
    def match(cls,
        dls_vocab:Sequence, # Names by the loader's ids
        gen_vocab:Sequence, # Names by the generator's ids
        unknown:str='raise' # Classes that the generator never saw: 'raise' a ValueError, or 'skip' them
    ) -> 'ClassMap':
        "Match classes by name."
        names = [to_python_scalar(name) for name in dls_vocab]
        found = match_labels(names, gen_vocab)
        missing = [name for name, i in zip(names, found) if i < 0]
        if missing and unknown == 'raise':
            raise ValueError(f"labels {missing} are not in the generator's vocab {list(gen_vocab)}; "
                             "fit it on these classes or pass unknown='skip'")
        to_dls = np.full(len(gen_vocab), -1)
        to_dls[found[found >= 0]] = np.flatnonzero(found >= 0)
        return cls(torch.as_tensor(found), torch.as_tensor(to_dls), not missing)

    @classmethod
    def identity(cls,
        n_classes:int # Of the generator
    ) -> 'ClassMap':
        "Ids that are the generator's own: no loader has been set up."
        return cls(torch.arange(n_classes), torch.arange(n_classes))

    def to(self, device) -> 'ClassMap': # The same on a device
        if self.to_gen.device == device: return self
        return ClassMap(self.to_gen.to(device), self.to_dls.to(device), self.is_total)

    def fits(self, y:Tensor) -> bool: return are_ids(y)

    def ids(self, y:Tensor) -> Tensor: return self.to_gen[y] # Class ids of the loader [n] -> of the generator [n]

    def same_as(self, other) -> bool: # Whether both match the same classes
        return isinstance(other, ClassMap) and torch.equal(self.to_gen.cpu(), other.to_gen.cpu())


def are_ids(
    y:Tensor # [n, ...]
) -> bool: # Whether it is one class id a row
    "Class ids, and neither targets nor several labels."
    return y.ndim == 1 and not y.is_floating_point()


def class_shares(
    dl, # Loader
    n_classes:int # Of the loader
) -> np.ndarray|None: # [n_classes], sums to 1; None where rows do not have one class each
    "Which share of its rows each class has, as the loader draws them: with its weights and repeated rows."
    ids, weights = np.asarray(dl.dataset.ptls[-1]), getattr(dl, 'weights', None)
    if ids.size != len(ids): return None                                 # several labels a row
    shares = np.bincount(ids.reshape(-1).astype(int), weights, n_classes)
    return shares / shares.sum()


def balancing_weights(
    proportions:np.ndarray, # π: share of each class in the loader [n_classes]
    real:float, # Share of rows that stay real, over the rows of a batch
    synthetic:float # Share of rows that are synthetic
) -> np.ndarray: # Weights by which synthetic rows draw their class [n_classes], not negative
    "q ∝ (real + synthetic) / C - real π: with it real π + synthetic q is as even as synthetic rows allow."
    weights = ((real + synthetic) / len(proportions) - real * proportions).clip(0)
    return weights if weights.sum() else np.ones_like(weights)
