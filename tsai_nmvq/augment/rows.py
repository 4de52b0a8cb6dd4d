"""Kinds of synthetic row: given the rows of a batch, a series in the place of each."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .bank import RowBank
from .classes import are_ids
from .matching import ConditionMap
from .pool import SeriesPool

__all__ = ['MadeRows', 'RowKind', 'ClassDraw', 'SampledRows', 'OtherRows', 'VariedRows', 'VARIATIONS', 'MODES',
           'MAGNITUDES']


@dataclass(frozen=True)
class MadeRows:
    "A synthetic row for each row of a batch."
    x:Tensor        # [n, c_in, seq_len]
    y:Tensor|None   # As the loader has it [n, ...]; None where the batch has none
    valid:Tensor|None = None # [n], bool: False where there is no synthetic row, and the batch's own stays; None for all

    def of_valid_rows(self) -> tuple: # (x, y)
        "Those that there are: it waits for the device."
        return self.x[self.valid], None if self.y is None else self.y[self.valid]


class RowKind(Protocol):
    "What a kind of synthetic row is."
    def draw(self,
        x:Tensor, # Series [n, c_in, seq_len], original units
        y:Tensor|None, # Class ids of the loader, targets or None
        chosen:Tensor, # Rows that will be used [n], bool: the others' class stays as it is
        magnitude:float # Strength, 0..1, of kinds that have one
    ) -> MadeRows:
        "A synthetic row for each."


@dataclass(frozen=True, eq=False)
class ClassDraw:
    "Classes of synthetic rows, drawn by weights instead of taken from the batch's rows."
    weights:Tensor              # Of the loader's classes [n_classes], not negative, on the batch's device
    generator:torch.Generator   # Source of randomness there

    def ids(self, n:int) -> Tensor: # Class ids of the loader [n]
        return torch.multinomial(self.weights, n, replacement=True, generator=self.generator)


class SampledRows:
    "Series of the same class, bin or set of labels, or of drawn classes, from a pool of samples."
    def __init__(self,
        pool:SeriesPool, # Samples by class
        classes:ConditionMap, # The loader's classes and the generator's
        generator:torch.Generator, # Source of randomness on the batch's device
        class_draw:ClassDraw|None=None # Draws classes that the generator has; None keeps rows' own
    ):
        self.pool, self.classes, self.generator, self.class_draw = pool, classes, generator, class_draw
        self.spec = pool.gen.spec

    def draw(self, x, y, chosen, magnitude): # As in `RowKind`; of no strength
        ids = self._gen_ids(x, y)
        if self.class_draw is not None:
            y_drawn = self.class_draw.ids(len(x))
            ids = torch.where(chosen, self.classes.ids(y_drawn), ids)
            y = y if y is None else torch.where(chosen, y_drawn, y)
        x_gen, targets = self.pool.draw(ids.clamp_min(0), self.generator)
        if y is not None and targets is not None: y = torch.where(_as_columns(chosen, y), targets.view_as(y).to(y), y)
        return MadeRows(x_gen, y, None if self.classes.is_total else ids >= 0)

    def _gen_ids(self, x, y): # -> class ids of the generator [n], -1 where the generator does not know the class
        if self.spec.n_classes == 0: return torch.zeros(len(x), dtype=torch.long, device=x.device)
        if y is None:
            proportions = torch.tensor(self.spec.proportions, dtype=torch.float, device=x.device)
            return ClassDraw(proportions, self.generator).ids(len(x))
        if not self.classes.fits(y):
            raise ValueError(f"NMVQAugment(mode='generate') needs y of the kind that the generator was fitted with "
                             f"({self.spec.conditions.kind}), y has shape {tuple(y.shape)} and type {y.dtype}; use "
                             "another mode")
        return self.classes.ids(y)


def _as_columns(rows, like): return rows.view(-1, *[1] * (like.ndim - 1)) # [n] -> [n, 1, ...]


# {mode: function (sampler, x, magnitude, class ids or None, generator, mapped) -> series in the place of x}
VARIATIONS:dict[str, Callable] = dict(
    warp=lambda sampler, x, magnitude, ids, generator, mapped: sampler.warp(x, magnitude, generator),
    redraw=lambda sampler, x, magnitude, ids, generator, mapped: sampler.redraw(x, magnitude, ids, generator),
    perturb=lambda sampler, x, magnitude, ids, generator, mapped: sampler.perturb(x, magnitude, generator, mapped, ids),
)
MODES = ('generate', *VARIATIONS) # what a synthetic row may be
MAGNITUDES = dict(perturb=0.5) # {mode: usual strength}, of modes in which it is not 1


@dataclass(frozen=True, eq=False)
class OtherRows:
    "Rows of drawn classes from the bank, in the place of the batch's own."
    bank:RowBank                # Rows by the loader's class
    class_draw:ClassDraw        # Which class comes next

    def instead_of(self,
        x:Tensor, # Rows of a batch [n, c_in, seq_len]
        y:Tensor, # Class ids of the loader [n]
        chosen:Tensor # Which may be replaced [n], bool
    ) -> tuple: # (x, y), of the same shape
        "Other rows with their classes, where there are some."
        y_drawn = self.class_draw.ids(len(x))
        rows, held = self.bank.draw(y_drawn, self.class_draw.generator)
        chosen = chosen & held
        return torch.where(chosen[:, None, None], rows, x), torch.where(chosen, y_drawn, y)


class VariedRows:
    "A variation of the row itself, whose label, target or none stays right; or of an earlier row, with its label."
    def __init__(self,
        gen, # Object with .device, .to and .sampler
        vary:Callable, # One of `VARIATIONS`, or another of the kind
        classes:ConditionMap|None, # The loader's classes and the generator's, where the loader has some
        generator:torch.Generator, # Source of randomness on the batch's device
        mapped:bool=True, # Whether series go through the mapper, of variations that have one
        others:OtherRows|None=None # What is varied instead of the batch's own; None for these
    ):
        self.gen, self.vary, self.mapped = gen, vary, mapped
        self.classes, self.generator, self.others = classes, generator, others

    def draw(self, x, y, chosen, magnitude): # As in `RowKind`
        if self.gen.device != x.device: self.gen.to(x.device)
        ids = None
        if self.classes is not None and y is not None and self.classes.fits(y):
            if self.others is not None and are_ids(y): x, y = self.others.instead_of(x, y, chosen)
            ids = self.classes.ids(y)
        x_new = self.vary(self.gen.sampler, x, magnitude, ids, self.generator, self.mapped)
        return MadeRows(x_new, y)
