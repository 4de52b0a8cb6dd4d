"""Anchors: the training series' tokens, from which samples start instead of from nothing.

A sample that starts from tokens of its class keeps the class: the prior alone loses it, the more the fewer series it
has learnt (docs/results.md, "Classes")."""
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ['Anchors', 'MAX_REDRAW']

MAX_REDRAW = 0.3 # of an anchor's tokens, at most, that the prior draws anew by default (fidelity_log.md, "Anchors")


@dataclass(frozen=True, eq=False)
class Anchors:
    "Tokens of training series, how much of them is drawn anew, and how far decoded series are warped."
    tokens:dict[str, Tensor]        # {band: token ids [n, n_tokens]}, rows sorted by class
    ids:Tensor                      # Class ids [n], sorted; the null class of the prior where there are no classes
    strength:float = 0.             # Of `smooth_warp`: found by `train.anchors.fit_anchors`
    max_redraw:float = MAX_REDRAW   # Largest share of a sample's tokens that the prior draws anew, 0..1
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
        **settings # strength and max_redraw
    ) -> 'Anchors':
        "Sort rows by class."
        order = ids.argsort(stable=True)
        return cls({band: rows[order] for band, rows in tokens.items()}, ids[order], **settings)

    def __len__(self): return len(self.ids)

    def to(self, device) -> 'Anchors':
        "The same on another device."
        if self.ids.device == torch.device(device): return self
        tokens = {band: rows.to(device) for band, rows in self.tokens.items()}
        return Anchors(tokens, self.ids.to(device), self.strength, self.max_redraw)

    def draw(self,
        ids:Tensor, # Class ids [bs]; one above all anchors', as the null class, takes any of them
        generator:torch.Generator=None # Source of randomness on their device
    ) -> dict: # {band: token ids [bs, n_tokens]}
        "Tokens of a random anchor of each class."
        ids = ids.clamp_max(len(self.counts) - 1)
        u = torch.rand(len(ids), device=ids.device, generator=generator)
        rows = self.first_row[ids] + (u * self.counts[ids]).long()
        return {band: tokens[rows] for band, tokens in self.tokens.items()}
