"""Long recordings as windows, cut when they are read, labelled by their steps, split with no step in two parts."""
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..models.tokenizer import MIN_SEQ_LEN
from .containers import as_labels_array, plain_numbers
from .labels import class_labels, is_single
from .splits import are_parts, split_rows

__all__ = ['Windows', 'from_recording']

NAMED_CLASSES = 5 # in a repr


@dataclass(frozen=True, eq=False, repr=False)
class Windows:
    "Windows of recordings by row index, an array [n, c_in, window] to whoever reads it. Made by `from_recording`."
    recordings:tuple        # Arrays [c_in, n_steps], as they came: a memory-mapped one stays on disk
    window:int              # Steps of a window
    stride:int              # Steps from one window's start to the next one's
    starts:np.ndarray       # First step of each window in its recording [n], rising within a recording
    recording:np.ndarray    # Index of each window's recording [n], rising
    y:np.ndarray|None       # Label of each window [n]; None without labels
    ndim:ClassVar[int] = 3

    @property
    def shape(self) -> tuple[int, int, int]: # n, c_in, window
        "Shape of all windows in one array."
        return len(self.starts), len(self.recordings[0]), self.window

    @cached_property
    def dtype(self) -> np.dtype: # One that holds the numbers of all recordings
        "Type of what is read."
        return np.result_type(*{x.dtype for x in self.recordings})

    def __len__(self): return len(self.starts)

    def __getitem__(self, idx): # int, slice, integers or mask -> a copy [..., c_in, window]; nothing else is read
        starts, recording = np.asarray(self.starts[idx]), np.asarray(self.recording[idx])
        x = np.empty((*starts.shape, *self.shape[1:]), self.dtype)
        for i in np.unique(recording):
            chosen, views = recording == i, sliding_window_view(self.recordings[i], self.window, axis=1)
            x[chosen] = views.swapaxes(0, 1)[starts[chosen]]
        return x

    def __array__(self, dtype=None, copy=None):
        if copy is False: raise ValueError("windows are copied out of a recording; leave copy=False out")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def __repr__(self):
        n, c_in, window = self.shape
        lengths = [x.shape[1] for x in self.recordings]
        source = f"{len(lengths)} recordings, {sum(lengths)} steps" if len(lengths) > 1 else f"{lengths[0]} steps"
        names = [] if self.y is None else [str(label) for label in np.unique(self.y)]
        more = ', ...' if len(names) > NAMED_CLASSES else ''
        classes = f"; classes {', '.join(names[:NAMED_CLASSES])}{more}" if names else ''
        return f"Windows({n} of {c_in} x {window}, {self.dtype}, stride {self.stride}; of {source}{classes})"

    def splits(self,
        test:float=0.2, # Share of the windows to test with
        by:str='time', # 'time': the last windows of each recording; 'recording': whole recordings
        gap:int=0, # Steps to leave out between training and test windows of a recording, where by='time'
        seed:int=None # Seed of the choice, where by='recording'; the last recordings by default
    ) -> tuple: # (training rows, test rows), int64
        "tsai's splits, with no step in both: training windows that reach into test windows are in neither."
        if not 0 < test < 1: raise ValueError(f"test is {test}, expected a share of the windows between 0 and 1")
        if by not in ('time', 'recording'): raise ValueError(f"by is {by!r}, expected 'time' or 'recording'")
        _check_whole('gap', gap, 0)
        counts = np.bincount(self.recording, minlength=len(self.recordings))
        is_test = self._last_in_time(test, counts) if by == 'time' else self._in_recordings(test, counts, seed)
        first_tested = np.full(len(counts), np.iinfo(np.int64).max)
        if by == 'time': np.minimum.at(first_tested, self.recording[is_test], self.starts[is_test])
        is_train = ~is_test & (self.starts + self.window + gap <= first_tested[self.recording])
        parts = np.flatnonzero(is_train), np.flatnonzero(is_test)
        if not all(map(len, parts)):
            raise ValueError(f"of {len(self)} windows {len(parts[0])} are left to train on and {len(parts[1])} to test "
                             "with; take a shorter window or gap, a smaller stride, or another share for test")
        return parts

    def _last_in_time(self, test, counts): # shares are rounded over all recordings, so that short ones add up too
        until = np.cumsum(counts)
        n_test = np.diff(np.round(until * test).astype(np.int64), prepend=0)
        return np.arange(len(self)) >= (until - n_test)[self.recording]

    def _in_recordings(self, test, counts, seed):
        used = np.flatnonzero(counts)
        if len(used) < 2:
            raise ValueError("all windows are of one recording, which cannot be split by recording; use by='time'")
        order = used[::-1] if seed is None else np.random.default_rng(seed).permutation(used)
        n_test = np.cumsum(counts[order])[:-1]
        return np.isin(self.recording, order[:abs(n_test - test * len(self)).argmin() + 1])

    def check_splits(self,
        splits # tsai's splits: (training rows, ...), rows or masks
    ):
        "ValueError if a training window shares a step with a window of another part: it would be tested on itself."
        if not are_parts(splits): return                                 # training rows alone
        train, *others = [self._rows(part) for part in splits if part is not None]
        if not others: return
        at, test = self._positions(), np.concatenate(others)
        test = test[np.argsort(at[test], kind='stable')]
        first = np.searchsorted(at[test], at[train] - self.window, 'right')
        n_shared = np.searchsorted(at[test], at[train] + self.window, 'left') - first
        if not n_shared.any(): return
        leaks = np.flatnonzero(n_shared)
        leak = leaks[at[train[leaks]].argmin()]
        raise ValueError(
            f"{n_shared.sum()} pairs of a training and a test window share steps, the first of them "
            f"{self._where(train[leak])} and {self._where(test[first[leak]])}; use windows.splits(), or a stride of "
            f"{self.window} or more with random splits")

    def _rows(self, part): return np.arange(len(self))[split_rows(part, len(self))] # from 0 on

    def _positions(self): # first steps where recordings stand one behind another: no two share a step across recordings
        return _offsets(self.recordings)[self.recording] + self.starts

    def _where(self, row):
        start = self.starts[row]
        recording = f" of recording {self.recording[row]}" if len(self.recordings) > 1 else ''
        return f"window {row} (steps {start} to {start + self.window - 1}{recording})"


def from_recording(
    x, # [c_in, n_steps] or [n_steps]: array, memmap, tensor, or DataFrame with a column a channel; or a list of these
    window:int, # Steps of a window, at least `MIN_SEQ_LEN`
    stride:int=None, # Steps from one window's start to the next one's; window by default, so that none overlap
    y=None, # Class label of each step [n_steps], or one for a whole recording; a list of these for a list
    how:str='most', # A window's label: 'most' for the one at most of its steps (of a tie the first in order), or 'last'
    pure:bool=False # Drop windows whose steps have different labels
) -> Windows: # n windows, none across two recordings; what is left at a recording's end is in none
    "Windows of a long recording, which learn, sample and score like an array [n, c_in, window]. NaNs are left in."
    stride = window if stride is None else stride
    _check_whole('window', window, MIN_SEQ_LEN)
    _check_whole('stride', stride, 1)
    if how not in ('most', 'last'): raise ValueError(f"how is {how!r}, expected 'most' or 'last'")
    if pure and y is None: raise ValueError("pure=True drops windows by the labels of their steps; pass these as y")
    is_one = hasattr(x, 'shape') or not hasattr(x, '__len__') or isinstance(x, str)
    named = [('x', x)] if is_one else [(f'x[{i}]', each) for i, each in enumerate(x)]
    if not named: raise ValueError("x is an empty list, expected one recording [c_in, n_steps] or more")
    recordings = tuple(_as_recording(each, name, window) for name, each in named)
    if len({len(each) for each in recordings}) > 1:
        raise ValueError(f"recordings have {sorted({len(each) for each in recordings})} channels, expected the same "
                         "in all; leave channels out or pass the others apart")
    starts = [np.arange(0, each.shape[1] - window + 1, stride) for each in recordings]
    recording = np.repeat(np.arange(len(starts)), [len(each) for each in starts])
    windows = Windows(recordings, window, stride, np.concatenate(starts), recording, None)
    return windows if y is None else _labelled(windows, [y] if is_one else y, how, pure)


def _as_recording(x, name, window): # -> array [c_in, n_steps], checked; neither copied nor read where it is an array
    if hasattr(x, 'columns'): x = x.to_numpy(object if any(map(_is_nullable, x.dtypes)) else None).T
    if not hasattr(x, 'shape'):
        raise TypeError(f"{name} is a {type(x).__name__}, expected a recording: array, tensor or DataFrame, "
                        "or a list of these")
    x = plain_numbers(x, name)
    if x.ndim not in (1, 2) or len(x) == 0:
        way_out = ("[n, c_in, seq_len] is a set of series already: pass it on as it is, or list(x) if each one is a "
                   "recording" if x.ndim == 3 else "pass one array a recording")
        raise ValueError(f"{name} has shape {x.shape}, expected a recording [c_in, n_steps] or [n_steps]; {way_out}")
    x = np.atleast_2d(x)
    c_in, n_steps = x.shape
    if n_steps < window <= c_in:
        raise ValueError(f"{name} has shape {x.shape}, which is {c_in} channels of {n_steps} steps, expected "
                         f"[c_in, n_steps] with {window} steps or more; pass {name}.T")
    if n_steps < window:
        raise ValueError(f"{name} has {n_steps} steps, expected at least the window of {window}; "
                         "take a shorter window or leave it out")
    return x


def _is_nullable(dtype): return not isinstance(dtype, np.dtype)


def _labelled(windows, y, how, pure): # the same with labels, without windows of several labels where pure
    n = len(y) if hasattr(y, '__len__') and not isinstance(y, str) else 1
    if n != len(windows.recordings):
        raise ValueError(f"y has labels of {n} recordings, expected those of {len(windows.recordings)}; pass a list "
                         "with one entry a recording")
    steps = [_step_labels(each, x.shape[1]) for each, x in zip(y, windows.recordings)]
    labels, is_pure = _window_labels(class_labels(np.concatenate(steps)), windows._positions(), windows.window, how)
    kept = is_pure if pure else np.ones(len(windows), dtype=bool)
    if not kept.any():
        raise ValueError(f"none of {len(windows)} windows has the same label at all of its {windows.window} steps; "
                         "take a shorter window or leave pure out")
    return Windows(windows.recordings, windows.window, windows.stride, windows.starts[kept], windows.recording[kept],
                   labels[kept])


def _step_labels(y, n_steps): # -> [n_steps]
    y = np.asarray(y, dtype=object) if is_single(y) else as_labels_array(y)
    if y.ndim and y.shape not in ((n_steps,), (n_steps, 1)):
        raise ValueError(f"y has shape {y.shape} for a recording of {n_steps} steps, expected one label a step "
                         f"[{n_steps}], or one for the whole recording")
    return y.reshape(-1) if y.ndim else np.full(n_steps, y)


def _window_labels(y, at, window, how): # labels of all steps, windows' first steps -> their labels, whether steps agree
    classes, ids = np.unique(y, return_inverse=True)
    n_changes = np.cumsum(np.diff(ids, prepend=ids[0]) != 0)
    last = at + window - 1
    is_pure = n_changes[last] == n_changes[at]
    if how == 'last': return y[last], is_pure
    most, most_steps = np.zeros(len(at), dtype=np.int64), np.zeros(len(at), dtype=np.int64)
    for i in range(len(classes)):
        n_until = np.concatenate([[0], np.cumsum(ids == i)])
        n_steps = n_until[last + 1] - n_until[at]
        most[n_steps > most_steps] = i
        most_steps = np.maximum(most_steps, n_steps)
    return classes[most], is_pure


def _offsets(recordings): return np.cumsum([0, *(x.shape[1] for x in recordings[:-1])])


def _check_whole(name, value, least):
    if not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} is {value!r}, expected a whole number of {least} or more")
