"""Which class of a generator each row of a loader is: by its own class, its target or its set of labels."""
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..data.labels import match_labels
from ..data.missing import kind_of_gaps
from ..data.rows import chunk_indices
from ..data.spec import SeriesSpec
from .classes import ClassMap
from .portable import Portable

__all__ = ['ConditionMap', 'TargetMap', 'SetMap', 'gaps_of', 'match_loader', 'has_a_sample_for_each']


class ConditionMap(Protocol):
    "What `ClassMap`, `TargetMap` and `SetMap` are."
    @property
    def is_total(self) -> bool: # Whether every row of the loader has a class that the generator knows
        "Known beforehand: asking a batch would wait for the device."

    def fits(self, y:Tensor) -> bool: # Whether a batch's y [n, ...] is what was matched
        "Whether these are the loader's classes, targets or sets."

    def ids(self, y:Tensor) -> Tensor: # Class ids of the generator [n]; -1 where it has no such class
        "The class of each row."

    def to(self, device) -> 'ConditionMap': # The same on a device
        "Move."

    def same_as(self, other) -> bool: # Whether both match the same
        "Compare."


@dataclass(frozen=True, eq=False)
class TargetMap(Portable):
    "Bins of a target."
    edges:Tensor        # Where the next bin begins [n_bins - 1]
    is_total = True     # the outer bins are open

    def fits(self, y): return y.is_floating_point() and y.numel() == len(y)

    def ids(self, y): return torch.bucketize(y.reshape(-1).to(self.edges.dtype), self.edges, right=True)

    def to(self, device): return TargetMap(self.edges.to(device))

    def same_as(self, other): return isinstance(other, TargetMap) and torch.equal(self.edges.cpu(), other.edges.cpu())


@dataclass(frozen=True, eq=False)
class SetMap(Portable):
    "Sets of labels."
    sets:Tensor         # Which of the loader's labels each class of the generator has [n_classes, n_labels], bool
    is_total = False    # a loader may have other sets

    @classmethod
    def match(cls,
        dls_vocab, # Labels, by the loader's columns
        spec:SeriesSpec # Of the generator
    ) -> 'SetMap':
        "Match labels by name. ValueError where the generator never saw one."
        conditions = spec.conditions
        found = match_labels(dls_vocab, conditions.labels)
        if (found < 0).any() or len(found) != len(conditions.labels):
            raise ValueError(f"these loaders have labels {list(dls_vocab)}, the generator {list(conditions.labels)}; "
                             "fit it on these, or use mode='warp'")
        return cls(torch.as_tensor(conditions.matrix[:, found]))

    def fits(self, y): return y.ndim == 2 and y.shape[1] == self.sets.shape[1]

    def ids(self, y):
        same = (y.bool()[:, None] == self.sets).all(-1)
        return torch.where(same.any(-1), same.long().argmax(-1), -1)

    def to(self, device): return SetMap(self.sets.to(device))

    def same_as(self, other): return isinstance(other, SetMap) and torch.equal(self.sets.cpu(), other.sets.cpu())


def gaps_of(
    dl, # tsai's loader
    spec:SeriesSpec # Of the generator
) -> str: # `missing` of `Sampler.finished`
    "What samples have where the loader's series have gaps: NaN, the generator's pad value too, or none."
    found = {kind_of_gaps(dl.dataset[idx][0], spec.pad_value) for idx in chunk_indices(len(dl.dataset))}
    return next(how for how in ('like data', 'nan', 'complete') if how in found)


def match_loader(
    dl, # tsai's loader
    spec:SeriesSpec, # Of the generator
    samples:bool, # Whether rows are sampled by class: then there must be one
    balance:bool, # Whether classes are evened out
    unknown:str # Classes that the generator never saw, where rows are sampled: 'raise' or 'skip'
) -> ConditionMap|None: # None where rows have no class that the generator knows
    "How the loader's y becomes a class of the generator."
    labelled, kind = len(dl.dataset[[0]]) > 1, spec.conditions.kind
    has_classes = labelled and getattr(dl, 'cat', False)
    is_set = has_classes and dl.dataset[[0]][1].ndim > 1
    if balance and (not has_classes or is_set):
        raise ValueError("balance evens classes out, and these loaders have none, or several a row; leave it out, or "
                         "pass tfms=[None, TSClassification()]")
    if labelled and not has_classes and kind == 'targets': return TargetMap(torch.tensor(spec.conditions.edges))
    if is_set and kind == 'labels': return SetMap.match(dl.vocab, spec)
    if has_classes and not is_set and (kind == 'classes' or not samples):
        if samples and not spec.vocab:
            raise ValueError("this generator was fitted without labels, its series have no class; use another mode, "
                             "or fit it with y")
        return ClassMap.match(dl.vocab, spec.vocab if kind == 'classes' else (), unknown if samples else 'skip')
    if labelled and samples:
        came = 'several labels a row' if is_set else 'classes' if has_classes else 'targets'
        raise ValueError(f"these loaders have {came}, and the generator was fitted with "
                         f"{kind if spec.vocab else 'no labels'}: no sample has a y for them; fit it with their y, or "
                         "use another mode, which keeps y right")
    return None


def has_a_sample_for_each(
    dl, # tsai's loader, or None
    spec:SeriesSpec # Of the generator
) -> bool:
    "Whether the generator has learnt the class, target or set of labels of the loader's rows."
    if dl is None or len(dl.dataset) == 0: return False
    try: return match_loader(dl, spec, samples=True, balance=False, unknown='raise') is not None
    except ValueError: return False
