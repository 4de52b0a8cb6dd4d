"""Synthetic series kept ready for training batches."""
import numpy as np
import torch
from torch import Tensor

__all__ = ['SeriesPool', 'pool_size']

REFILL_ROWS = 64    # series that are replaced at a time
MIN_PER_CLASS = 8
POOL_SIZES = 128, 1024 # by default, at least and at most


def pool_size(
    n_series:int # Training series
) -> int: # Series in the pool
    "Twice the training split, within bounds."
    return int(np.clip(2 * n_series, *POOL_SIZES))


class SeriesPool:
    "Synthetic series by class, on one device; after `reuse` draws a series is replaced by a fresh one."
    def __init__(self,
        gen, # Object with .spec, .prior and .sampler
        size:int, # Series in the pool
        reuse:int, # Draws of a series, on average, before it is replaced
        mapped:bool, # Whether series go through the mapper
        generator:torch.Generator, # Source of randomness on the generator's device
        like:Tensor, # A batch: the pool takes its device and type
        missing:str='like data' # Of data with gaps: 'like data' or 'complete', see `Sampler.finished`
    ):
        self.gen, self.reuse, self.generator = gen, reuse, generator
        self.mapped, self.missing = mapped, missing
        share = np.sqrt(gen.spec.counts if gen.spec.vocab else [1.]) # between training proportions and equal parts
        per_class = np.maximum(MIN_PER_CLASS, np.round(share / share.sum() * size)).astype(int)
        self.ids = torch.as_tensor(np.repeat(np.arange(len(per_class)), per_class), device=generator.device)
        self.first = torch.as_tensor(np.cumsum(per_class) - per_class, device=like.device)
        self.count = torch.as_tensor(per_class, device=like.device)
        self.series, self.targets = self._sample(self.ids, like)
        self.order = torch.randperm(len(self.ids), generator=generator, device=generator.device)
        self.refill_rows = min(REFILL_ROWS, len(self.ids))
        self.draws = self.oldest = 0

    def draw(self,
        ids:Tensor, # Class ids of the generator [n]
        generator:torch.Generator # Source of randomness on the ids' device
    ) -> tuple: # (series of these classes [n, c_in, seq_len], their targets [n] where classes are bins, or None)
        "One series for each id; refills a part of the pool when it is due."
        self.draws += len(ids)
        due = self.draws // (self.reuse * self.refill_rows)
        if due: self._refill(due * self.refill_rows)
        self.draws -= due * self.reuse * self.refill_rows
        u = torch.rand(len(ids), device=ids.device, generator=generator)
        rows = self.first[ids] + (u * self.count[ids]).long()
        return self.series[rows], None if self.targets is None else self.targets[rows]

    def _refill(self, n):
        rows = self.order.roll(-self.oldest)[:n]
        series, targets = self._sample(self.ids[rows], self.series)
        rows_there = rows.to(self.series.device)
        self.series[rows_there] = series
        if self.targets is not None: self.targets[rows_there] = targets
        self.oldest = (self.oldest + len(rows)) % len(self.order)

    def _sample(self, ids, like):
        if not self.gen.spec.vocab: ids = torch.full_like(ids, self.gen.prior.null_class)
        x, targets = self.gen.sampler.sample_with_targets(ids, self.generator, self.mapped, self.missing)
        return x.to(like.device, like.dtype), None if targets is None else targets.to(like.device)
