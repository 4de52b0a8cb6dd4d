"""Section 'growth': how time and memory grow with length, channels and series, each case in a fresh process."""
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import tsai_nmvq.all  # noqa: F401 - a user's imports; else the first step would do some of them, 110 MB
from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.train.mapper import MapperLearner
from tsai_nmvq.train.prior import PriorLearner
from tsai_nmvq.train.tokenizer import TokenizerLearner

from ..common.records import keep
from ..common.timing import PeakMemory
from .stages import BS, N_CLASSES, N_SAMPLES, STEPS, random_walks, train_steps

__all__ = ['measure']

CASES = dict(length=[dict(seq_len=n, c_in=1, n=50) for n in (64, 256, 1024, 4096, 16384)],
             channels=[dict(seq_len=128, c_in=c, n=50) for c in (1, 4, 32)],
             series=[dict(seq_len=128, c_in=1, n=n) for n in (50, 1000, 10_000, 100_000)])
WRITTEN_ROWS = 1000 # series that are written at a time
NOTE = (f"Preset `fast`, batch {BS}. Stages 2 and 3 start by encoding the training split once; stage 1 ends with it, "
        "to mark the codes in use. The first steps of a process are in it. `peak` is memory beyond the imports; X is a "
        "memory-mapped file.")


def measure():
    "Three tables: one for each of what grows."
    for name, cases in CASES.items():
        rows = []
        for case in cases:
            with ProcessPoolExecutor(1, get_context('spawn')) as pool:
                rows.append(pool.submit(cost, case, torch.get_num_threads()).result())
        keep(f'speed_growth_{name}', pd.DataFrame(rows), f'Growing {name}',
             'python -m benchmarks.speed --sections growth', NOTE)


def cost(
    case:dict, # {'seq_len', 'c_in', 'n'}
    threads:int # PyTorch's threads
) -> dict: # {column: figure}
    "A row of the table; in a process of its own."
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        X, y = mapped_walks(Path(folder) / 'X.npy', **case), np.arange(case['n']) % N_CLASSES
        with PeakMemory() as peak: seconds = all_stages(X, y)
        return {**case, **seconds, 'peak, MB': peak.mb, 'X, MB': X.nbytes / 2 ** 20}


def mapped_walks(
    file:Path, # .npy to write
    seq_len:int, # Steps
    c_in:int, # Channels
    n:int # Series
) -> np.ndarray: # [n, c_in, seq_len], a memory map that is only read
    "Random walks that are not in memory."
    X = np.lib.format.open_memmap(file, 'w+', np.float32, (n, c_in, seq_len))
    for i in range(0, n, WRITTEN_ROWS):
        rows = X[i:i + WRITTEN_ROWS]
        rows[:] = random_walks(len(rows), seq_len, c_in, seed=i)
    X.flush()
    return np.load(file, mmap_mode='r')


class Seconds(dict):
    "{what is done: seconds}."
    def timed(self, name, func, *args, **kwargs): # what func gives
        start = time.perf_counter()
        out = func(*args, **kwargs)
        self[name] = time.perf_counter() - start
        return out


def all_stages(
    X, # Series [n, c_in, seq_len]
    y # Class ids [n]
) -> Seconds:
    "From series to samples, with a few steps of each stage."
    seconds = Seconds()
    timed = seconds.timed
    data = timed('read, s', SeriesData.from_arrays, X, y)
    tok = timed('stage 1 starts, s', TokenizerLearner, data, device='cpu')
    timed(f'{STEPS} steps of stage 1 and marking used codes, s', train_steps, tok)
    pri = timed('stage 2 starts, s', PriorLearner, data, tok.model, device='cpu')
    timed(f'{STEPS} steps of stage 2, s', train_steps, pri)
    mapr = timed('stage 3 starts, s', MapperLearner, data, tok.model, pri.model, tau=0.1, device='cpu')
    timed(f'{STEPS} steps of stage 3, s', train_steps, mapr)
    gen = timed('mapper selection, s', NMVQGenerator.from_learners, tok, pri, mapr)
    timed(f'{N_SAMPLES} samples, s', gen.sample, N_SAMPLES, seed=0)
    return seconds
