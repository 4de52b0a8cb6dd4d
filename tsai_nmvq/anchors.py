"""Anchors: the training series as tokens and details, from which samples start instead of from nothing.

A sample that starts from tokens of its class keeps the class: the prior alone loses it, the more the fewer series it
has learnt. What tells classes apart may be finer than tokens: details are what the tokenizer leaves out of a series
(docs/results.md, "Classes")."""
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ['Anchors', 'ROWS', 'MAX_REDRAW']

ROWS = 'ids', 'present', 'targets', 'details' # one of their series each, beside tokens
MAX_REDRAW = 0.15 # of an anchor's tokens, at most, that the prior draws anew by default (fidelity_log.md, "Details")


@dataclass(frozen=True, eq=False)
class Anchors:
    "Tokens and details of training series, how many tokens are drawn anew, and how far decoded series are warped."
    tokens:dict[str, Tensor]        # {band: token ids [n, n_tokens]}, rows sorted by class
    ids:Tensor                      # Class ids [n], sorted; the null class of the prior where there are no classes
    strength:float = 0.             # Of `smooth_warp`: found by `train.anchors.fit_anchors`
    max_redraw:float = MAX_REDRAW   # Largest share of a sample's tokens that the prior draws anew, 0..1
    present:Tensor|None = None      # Which values their series have [n, c_in, seq_len], bool; None where they have all
    targets:Tensor|None = None      # Targets of their series [n], where classes are bins of them
    details:Tensor|None = None      # Standardised series less their reconstruction [n, c_in, seq_len], float16
    first_row:Tensor = field(init=False)    # Of each class, and of all
    counts:Tensor = field(init=False)       # Rows of each class, and of all

    def __post_init__(self):
        counts = torch.bincount(self.ids)
        object.__setattr__(self, 'counts', torch.cat((counts, counts.sum()[None])))
        object.__setattr__(self, 'first_row', torch.cat((counts.cumsum(0) - counts, counts.new_zeros(1))))

    @classmethod
    def of(cls,
        tokens:dict, # {band: token ids [n, n_tokens]} in any order
        ids:Tensor, # Their class ids [n]
        **others # present, targets and details in the same order; strength and max_redraw
    ) -> 'Anchors':
        "Sort rows by class."
        order = ids.argsort(stable=True)
        return cls(tokens, ids, **others)._picked(lambda rows: rows[order])

    def __len__(self): return len(self.ids)

    def to(self, device) -> 'Anchors':
        "The same on another device."
        return self if self.ids.device == torch.device(device) else self._picked(lambda rows: rows.to(device))

    def with_rows_of(self,
        other:'Anchors' # Of the same tokenizer
    ) -> 'Anchors': # With this one's strength and share
        "Samples made the same way, of other series."
        return replace(self, tokens=other.tokens, **{name: getattr(other, name) for name in ROWS})

    def _picked(self, pick): # the same of all that is there
        found = {name: getattr(self, name) for name in ROWS}
        picked:dict[str, Any] = {name: None if rows is None else pick(rows) for name, rows in found.items()}
        return replace(self, tokens={band: pick(tokens) for band, tokens in self.tokens.items()}, **picked)

    @property
    def tell_more(self) -> bool: # Whether a sample's anchor says more than its tokens: gaps, or a target
        return self.present is not None or self.targets is not None

    def draw(self,
        ids:Tensor, # Class ids [bs]; one above all anchors', as the null class, takes any of them
        generator:torch.Generator=None # Source of randomness on their device
    ) -> Tensor: # Rows of anchors [bs]
        "A random anchor of each class."
        ids = ids.clamp_max(len(self.counts) - 1)
        u = torch.rand(len(ids), device=ids.device, generator=generator)
        return self.first_row[ids] + (u * self.counts[ids]).long()

    def tokens_of(self,
        rows:Tensor # Rows of anchors [bs]
    ) -> dict: # {band: token ids [bs, n_tokens]}
        "Their tokens."
        return {band: tokens[rows] for band, tokens in self.tokens.items()}
