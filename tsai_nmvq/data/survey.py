"""One look at all training rows: sizes, statistics, what is missing, and which values channels take."""
import warnings

import numpy as np
import torch
from torch import Tensor

from ..models.layers import channel_std
from ..models.tokenizer import MIN_SEQ_LEN
from .missing import lengths_of, padding_to_nan
from .rows import Rows, chunk_indices
from .values import ValueCounts

__all__ = ['survey_rows', 'series_tensor', 'check_series', 'check_no_inf', 'RESOLVED']

RESOLVED = 1e-6     # deviation over the mean, of float64 series, that float32 has a few steps for
ROUNDING = 1e-13    # the same that float64 leaves of a constant
SOME = 64           # series that are looked at for this
PADDED = 0.1        # share of series that end in runs of zeros, where zeros are rare elsewhere: these are padding
ZERO_RUN = 4        # steps of such a run at least


def survey_rows(
    rows:Rows, # Series [n, c_in, seq_len] (array or tensor), original units
    name:str, # What they are, for messages
    pad_value:float|None=None # What stands after the end of a series
) -> dict: # Fields of `SeriesSpec`: c_in, seq_len, mean, std, missing, shortest, values
    "Read the rows once and check them. ValueError for what cannot be learnt from."
    seen, first = _Survey(), None
    for idx in chunk_indices(len(rows)):
        raw = rows(idx)
        x = series_tensor(raw)
        check_series(x, name, int(idx[0]))
        seen.add(padding_to_nan(x, pad_value), int(idx[0]), name)
        if first is None: first = raw[:SOME]
    if seen.looks_padded and pad_value is None:
        warnings.warn(f"{seen.n_padded} of the {len(rows)} series of {name} end in zeros; if they are padding, pass "
                      "pad_value=0", stacklevel=2)
    return seen.fields(first, name, pad_value)


class _Survey:
    def __init__(self): self.n_missing = self.n_padded = self.n_rows = self.n_zeros = 0

    def add(self, x, start, name): # x [n, c_in, seq_len]
        if not self.n_rows: self._begin(x)
        present = x.isfinite()
        complete = bool(present.all())
        if not complete: self._add_missing(present, start, name)
        known = x.double() - self.origin
        if not complete: known = torch.where(present, known, 0.)
        self.n_rows += len(x)
        self.n += present.sum((0, 2))
        self.total += known.sum((0, 2))
        self.square += known.square().sum((0, 2))
        for counts, channel, there in zip(self.values, x.unbind(1), present.unbind(1)):
            counts.add(channel.flatten() if complete else channel[there])
        if complete: self._add_zeros(x)

    def _begin(self, x):
        self.c_in, self.seq_len = x.shape[1:]
        self.shortest, zeros = self.seq_len, torch.zeros(self.c_in).double()
        self.n, self.total, self.square = torch.zeros(self.c_in, dtype=torch.long), zeros, zeros.clone()
        first = x[0].isfinite().long().argmax(-1, keepdim=True)
        self.origin = x[0].gather(-1, first).nan_to_num().double()       # squares of what is far from 0 would cancel
        self.values = [ValueCounts() for _ in range(self.c_in)]

    def _add_missing(self, present, start, name):
        lengths = lengths_of(present)
        if (lengths == 0).any():
            row = start + int((lengths == 0).nonzero()[0])
            raise ValueError(f"series {row} of {name} has no value at all; drop it")
        self.n_missing += int((~present).sum())
        self.shortest = min(self.shortest, int(lengths.min()))

    def _add_zeros(self, x): # runs at the end, and how rare zeros are before them
        zero = (x == 0).all(1)
        run = zero.flip(-1).long().cumprod(-1).sum(-1)
        self.n_padded += int(((run >= ZERO_RUN) & (run < self.seq_len)).sum())
        self.n_zeros += int(zero.sum() - run.sum())

    def fields(self, first, name, pad_value):
        if not self.n.all():
            raise ValueError(f"channel {int((self.n == 0).nonzero()[0])} has no value in {name}; drop it")
        shift = self.total / self.n
        mean = shift + self.origin.flatten()
        deviation = (self.square / self.n - shift ** 2).clamp_min(0).sqrt()
        std = channel_std(deviation, mean)
        _check_resolved(_as_double(first), mean, deviation)
        if not std.any():
            raise ValueError(f"{name} is constant in every channel (channel 0 is {mean[0]:g}), so there is nothing to "
                             "learn; pass series that vary")
        values = tuple(counts.values for counts in self.values)
        return dict(c_in=self.c_in, seq_len=self.seq_len, mean=tuple(mean.tolist()), std=tuple(std.tolist()),
                    missing=self.n_missing / (self.n_rows * self.c_in * self.seq_len), shortest=self.shortest,
                    pad_value=pad_value, values=() if all(v.is_free for v in values) else values)

    @property
    def looks_padded(self): # with zeros, which are not said to be
        steps = self.n_rows * self.seq_len
        return self.n_padded >= PADDED * self.n_rows and self.n_zeros < 0.001 * steps


def _check_resolved(x, mean, deviation): # x: some series, float64 [n, c_in, seq_len], or None
    if x is None: return
    own = (x - x.nanmean((0, 2), keepdim=True)).square().nanmean((0, 2)).sqrt().nan_to_num()
    lost = (own > ROUNDING * mean.abs()) & (torch.maximum(own, deviation) < RESOLVED * mean.abs())
    if not lost.any(): return
    i = int(lost.nonzero()[0])
    raise ValueError(f"channel {i} varies by {own[i]:.2g} around {mean[i]:.6g}, which float32 does not tell apart; "
                     "subtract its mean first: X - X.mean((0, 2), keepdims=True)")


def _as_double(rows): # series that came in float64; None for others, which float32 holds
    if isinstance(rows, np.ndarray): rows = torch.as_tensor(rows)
    return rows if rows.dtype == torch.float64 else None


def series_tensor(
    rows # Series, array or tensor
) -> Tensor: # float32, on its own device
    "Series as models take them."
    if isinstance(rows, Tensor): return rows.detach().as_subclass(Tensor).float()
    return torch.as_tensor(np.asarray(rows)).float()


def check_series(
    x:Tensor, # Series [n, c_in, seq_len]
    name:str='the training split', # What they are, for the message
    start:int=0 # Index of the first one
):
    "ValueError if series are too short, not 3-D or hold inf."
    if x.ndim != 3: raise ValueError(f"series have shape {tuple(x.shape)}, expected [n, c_in, seq_len]")
    if x.shape[2] < MIN_SEQ_LEN:
        raise ValueError(f"series have {x.shape[2]} steps, at least {MIN_SEQ_LEN} are needed; pad or resample them")
    check_no_inf(x, name, start)


def check_no_inf(
    x:Tensor, # Series [n, c_in, seq_len]
    name:str, # What they are, for the message
    start:int=0 # Index of the first one
):
    "ValueError if a series holds inf; NaN is a missing value."
    bad = x.isinf().flatten(1).any(1)
    if bad.any():
        raise ValueError(f"series {start + int(bad.nonzero()[0])} of {name} holds inf ({int(bad.sum())} such series); "
                         "fill or drop it, or put NaN for values that are missing")
