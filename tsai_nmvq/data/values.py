"""Which values a channel takes: few, whole numbers, or any between bounds; samples keep to them."""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ['ChannelValues', 'ValueCounts', 'ValueGrid']

FEW = 32            # distinct values at most that are a grid
REPEATED = 50       # values for each of them at least: fewer may be chance
SATURATED = 0.01    # share of the values at the largest or smallest that makes it a bound
ENOUGH = 1000       # values for that share to mean something


@dataclass(frozen=True)
class ChannelValues:
    "Values that a channel of the training split takes. Prints as words."
    grid:tuple[float, ...] = () # All of them, in order, where they are few; empty otherwise
    whole:bool = False          # Whether they are whole numbers
    low:float|None = None       # None where nothing speaks for a bound
    high:float|None = None      # The same

    @property
    def is_free(self) -> bool: return self == FREE

    def __str__(self):
        if self.grid: return f"one of {', '.join(f'{v:g}' for v in self.grid)}"
        words = ['whole numbers'] if self.whole else []
        words += [f'{self.low:g} or more'] if self.low is not None else []
        words += [f'{self.high:g} or less'] if self.high is not None else []
        return ', '.join(words) or 'any'


FREE = ChannelValues()


class ValueCounts:
    "What is seen of one channel's values, a chunk at a time."
    def __init__(self): self.n, self.whole, self.few, self.ends = 0, True, torch.empty(0), {}

    def add(self,
        x:Tensor # Finite values [n]
    ):
        "Look at more of them."
        if not len(x): return
        self.n += len(x)
        self.whole = self.whole and bool((x == x.round()).all())
        if self.few is not None and len(x[:4 * FEW].unique()) <= FEW: self.few = torch.cat((self.few, x)).unique()
        else: self.few = None
        if self.few is not None and len(self.few) > FEW: self.few = None
        for name, end in (('low', x.amin()), ('high', x.amax())):
            value, count = self.ends.get(name, (end, 0))
            further = end < value if name == 'low' else end > value
            if further: value, count = end, 0
            self.ends[name] = value, count + int((x == value).sum())

    @property
    def values(self) -> ChannelValues:
        "What they say of the channel."
        if self.few is not None and len(self.few) < 2: return FREE       # constant: its deviation is 0
        low, high = (float(self.ends[name][0]) for name in ('low', 'high'))
        if self.few is not None and self.n >= REPEATED * len(self.few):
            gappy = not self.whole or 2 * len(self.few) <= high - low + 1
            if gappy or len(self.few) == high - low + 1: return ChannelValues(tuple(self.few.tolist()))
        bounds = {name: float(value) for name, (value, count) in self.ends.items()
                  if self.n >= ENOUGH and count >= SATURATED * self.n}
        if low >= 0: bounds['low'] = bounds.get('low', 0.)
        return ChannelValues(whole=self.whole, **bounds)


class ValueGrid:
    "Puts series onto the values that their channels take."
    def __init__(self,
        values:Sequence[ChannelValues], # One a channel; empty where all are free
        device # Where series are
    ):
        def column(of, missing):
            numbers = [missing if of(v) is None else of(v) for v in values]
            return torch.tensor(numbers, device=device)[:, None]
        self.is_free = all(v.is_free for v in values)
        if self.is_free: return
        self.low, self.high = column(lambda v: v.low, -torch.inf), column(lambda v: v.high, torch.inf)
        self.whole = column(lambda v: v.whole, False)
        self.grids = {i: torch.tensor(v.grid, device=device) for i, v in enumerate(values) if v.grid}

    def __call__(self,
        x:Tensor # Series [n, c_in, seq_len], original units
    ) -> Tensor: # The same, the nearest values that there are
        "Round and clip."
        if self.is_free: return x
        x = torch.where(self.whole, x.round(), x).clamp(self.low, self.high)
        for i, grid in self.grids.items():
            nearest = grid[torch.bucketize(x[:, i].contiguous(), (grid[1:] + grid[:-1]) / 2)]
            x[:, i] = torch.where(x[:, i].isnan(), x[:, i], nearest)
        return x
