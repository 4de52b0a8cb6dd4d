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
        if len(self.grid) == 1: return f'always {self.grid[0]:g}'
        if self.grid: return f"one of {', '.join(f'{v:g}' for v in self.grid)}"
        words = ['whole numbers'] if self.whole else []
        words += [f'{self.low:g} or more'] if self.low is not None else []
        words += [f'{self.high:g} or less'] if self.high is not None else []
        return ', '.join(words) or 'any'


FREE = ChannelValues()


class ValueCounts:
    "What is seen of one channel's values, a chunk at a time."
    few:Tensor|None # All of them, in order, while they are few

    def __init__(self):
        self.n, self.whole, self.few = 0, True, torch.empty(0)
        self.low = self.high = None

    def add(self,
        x:Tensor # Finite values [n]
    ):
        "Look at more of them."
        if not len(x): return
        self.n += len(x)
        self.whole = self.whole and bool((x == x.round()).all())
        self.few = self._still_few(x)
        self.low, self.high = _further(self.low, x, x.amin(), -1), _further(self.high, x, x.amax(), 1)

    def _still_few(self, x):
        if self.few is None or len(x[:4 * FEW].unique()) > FEW: return None # the first tell it, mostly
        few = torch.cat((self.few, x + 0.)).unique()                     # -0. is 0.
        return few if len(few) <= FEW else None

    @property
    def values(self) -> ChannelValues:
        "What they say of the channel."
        if self.low is None or self.high is None: return FREE
        if self.low[0] == self.high[0]: return ChannelValues((self.low[0],))
        (low, n_low), (high, n_high) = self.low, self.high
        if self.few is not None and self.n >= REPEATED * len(self.few) and not self._are_counts(high - low + 1):
            return ChannelValues(tuple(self.few.tolist()))
        least = SATURATED * max(self.n, ENOUGH)
        return ChannelValues((), self.whole, 0. if low >= 0 and n_low < least else low if n_low >= least else None,
                             high if n_high >= least else None)

    def _are_counts(self, n): # few of more: half of the whole numbers between the ends or more, but not all
        return self.whole and self.few is not None and n / 2 < len(self.few) < n


def _further(end, x, new, sign): # (value of the end, how many have it) after more values
    value, count = (float(new), 0) if end is None or sign * float(new) > sign * end[0] else end
    return value, count + int((x == value).sum())


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
