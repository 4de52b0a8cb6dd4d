"""Time and memory: functions that take turns, the peak of a block, and the seconds of a generator's stages."""
import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback

from .records import write_json

__all__ = ['alternate', 'PeakMemory', 'StageSeconds']

MEMORY_PERIOD = 0.01 # seconds between two looks at the process


def alternate(
    funcs:dict, # {name: function without arguments}: compared with each other
    rounds:int=7, # Times each is run, in turn: the machine's moods then hit all of them
    warm_up:int=1, # Rounds that do not count
    device='cpu' # On CUDA the clock waits for the kernels
) -> pd.Series: # {name: median seconds}
    "Median times of functions that take turns."
    times = {name: [] for name in funcs}
    for _ in range(warm_up + rounds):
        for name, func in funcs.items():
            _wait(device)
            start = time.perf_counter()
            func()
            _wait(device)
            times[name].append(time.perf_counter() - start)
    return pd.Series({name: np.median(t[warm_up:]) for name, t in times.items()})


def _wait(device):
    if torch.device(device).type == 'cuda': torch.cuda.synchronize()


class PeakMemory:
    """Context manager: `mb`, by how much memory (not of mapped files) the process grew inside at most, in MB.

    Sampled every 10 ms, and when the block ends. Linux."""
    def __enter__(self):
        self.mb, self._before = 0., _held_mb()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self):
        while not self._done.wait(MEMORY_PERIOD): self._look()

    def _look(self): self.mb = max(self.mb, _held_mb() - self._before)


def _held_mb(): return int(re.search(r'RssAnon:\s+(\d+)', Path('/proc/self/status').read_text())[1]) / 1024


class StageSeconds(Callback):
    "`seconds` that each stage of a generator took to learn, for `fit(cbs=...)`."
    def __init__(self,
        file:Path|None=None # JSON that keeps them: a fit may be done in several runs
    ):
        self.file = file
        self.seconds = json.loads(file.read_text()) if file and file.exists() else {}

    def before_fit(self): self.start = time.perf_counter()

    def after_fit(self):
        self.seconds[self.learn.stage] = time.perf_counter() - self.start
        if self.file: write_json(self.file, self.seconds)
