"""Kinds of synthetic row: given the rows of a batch, a series in the place of each."""
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .classes import ClassMap, balancing_weights
from .pool import SeriesPool

__all__ = ['MadeRows', 'RowKind', 'SampledRows', 'PerturbedRows']


@dataclass(frozen=True)
class MadeRows:
    "A synthetic row for each row of a batch."
    x:Tensor        # [n, c_in, seq_len]
    y:Tensor|None   # As the loader has it [n, ...]; None where the batch has none
    valid:Tensor    # [n], bool: False where there is no synthetic row, and the batch's own stays


class RowKind(Protocol):
    "What a kind of synthetic row is."
    def draw(self,
        x:Tensor, # Series [n, c_in, seq_len], original units
        y:Tensor|None, # Class ids of the loader, targets or None
        chosen:Tensor, # Rows that will be used [n], bool: the others' class stays as it is
        magnitude:float # Strength, 0..1, of kinds that have one
    ) -> MadeRows:
        "A synthetic row for each."


class SampledRows:
    "Series of the same class, or of classes that even the batch out, from a pool of samples."
    def __init__(self,
        pool:SeriesPool, # Samples by class
        classes:ClassMap, # The loader's classes and the generator's
        generator:torch.Generator, # Source of randomness on the batch's device
        shares:tuple=None # (real, synthetic) shares of a batch whose classes are evened out; None keeps rows' classes
    ):
        self.pool, self.classes, self.generator, self.shares = pool, classes, generator, shares
        self.spec = pool.gen.spec

    def draw(self, x, y, chosen, magnitude): # As in `RowKind`; of no strength
        ids = self._gen_ids(x, y)
        if self.shares is not None: ids, y = self._evened_out(ids, y, chosen, self.shares)
        return MadeRows(self.pool.draw(ids.clamp_min(0), self.generator), y, ids >= 0)

    def _gen_ids(self, x, y): # -> class ids of the generator [n], -1 where the generator does not know the class
        if self.spec.n_classes == 0: return torch.zeros(len(x), dtype=torch.long, device=x.device)
        if y is None: return self._drawn_classes(self.spec.proportions, x)
        if y.is_floating_point() or y.ndim != 1:
            raise ValueError(f"NMVQAugment(mode='generate') needs one class id a row, y has shape {tuple(y.shape)} "
                             f"and type {y.dtype}; use mode='perturb'")
        return self.classes.to_gen[y]

    def _drawn_classes(self, weights, like): # [n_classes] -> class ids of the generator [len(like)]
        weights = torch.as_tensor(weights, dtype=torch.float, device=like.device)
        return torch.multinomial(weights, len(like), replacement=True, generator=self.generator)

    def _evened_out(self, ids, y, chosen, shares):
        drawn = self._drawn_classes(balancing_weights(self.spec.proportions, *shares), ids)
        if y is None: return torch.where(chosen, drawn, ids), y
        y_drawn = self.classes.to_dls[drawn]
        chosen = chosen & (y_drawn >= 0)
        return torch.where(chosen, drawn, ids), torch.where(chosen, y_drawn, y)


class PerturbedRows:
    "The row's own stochastic reconstruction, mapped: labels, targets or none stay right."
    def __init__(self,
        gen, # Object with .device, .to and .sampler
        classes:ClassMap|None, # The loader's classes and the generator's, where the loader has some
        generator:torch.Generator, # Source of randomness on the batch's device
        mapped:bool # Whether series go through the mapper
    ):
        self.gen, self.classes, self.generator, self.mapped = gen, classes, generator, mapped

    def draw(self, x, y, chosen, magnitude): # As in `RowKind`
        if self.gen.device != x.device: self.gen.to(x.device)
        ids = None                                                       # of targets and of several labels a row
        if self.classes is not None and y is not None and y.ndim == 1 and not y.is_floating_point():
            ids = self.classes.to_gen[y]
        x_map = self.gen.sampler.perturb(x, magnitude, self.generator, self.mapped, ids)
        return MadeRows(x_map, y, torch.ones(len(x), dtype=torch.bool, device=x.device))
