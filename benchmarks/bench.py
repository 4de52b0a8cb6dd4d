"""What the benchmarks share: alternating timings, peak memory, the machine in words, and result tables as small text files."""
import json
import platform
import re
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback

from tsai_nmvq.files import written_aside

RESULTS = Path(__file__).parent / 'results'
PACKAGES = ('tsai', 'fastai', 'torch', 'numpy', 'timevqvae')


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
    "Context manager: `mb`, by how much memory (not of mapped files) the process grew inside at most, in MB, sampled every 10 ms. Linux."
    def __enter__(self):
        self.mb, self._before, self._done = 0., _held_mb(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._done.set(), self._thread.join()

    def _watch(self):
        while not self._done.wait(0.01): self.mb = max(self.mb, _held_mb() - self._before)


def _held_mb(): return int(re.search(r'RssAnon:\s+(\d+)', Path('/proc/self/status').read_text())[1]) / 1024


class StageSeconds(Callback):
    "`seconds` that each stage of a generator took to learn; kept in a file where one is named: a fit may be done in several runs."
    def __init__(self, file=None): self.file, self.seconds = file, json.loads(file.read_text()) if file and file.exists() else {}

    def before_fit(self): self.start = time.perf_counter()

    def after_fit(self):
        self.seconds[type(self.learn).__name__.removesuffix('Learner').lower()] = time.perf_counter() - self.start
        if self.file: _write(self.file, self.seconds)


def remembered(
    file:Path, # JSON
    measure, # Function without arguments -> what JSON holds
    again:bool=False # Measure although the file is there
): # What was measured
    "Measure once: a benchmark that was stopped goes on from the files it left."
    if again or not file.exists(): _write(file, measure())
    return json.loads(file.read_text())


def _write(file, found):
    with written_aside(file) as aside: aside.write_text(json.dumps(found, default=float))


def machine(
    seed:int=0 # Seed of the run
) -> str: # One line for the foot of a table
    "Versions, threads, processor, date."
    versions = ', '.join(f"{p} {version(p)}" for p in PACKAGES if _installed(p))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ''
    return (f"seed {seed}, {torch.get_num_threads()} threads, {platform.machine()} {_processor()}{gpu}, "
            f"Python {platform.python_version()}, {versions}, {time.strftime('%Y-%m-%d')}")


def _installed(package):
    try: return bool(version(package))
    except ModuleNotFoundError: return False


def _processor():
    found = re.search(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text()) if Path('/proc/cpuinfo').exists() else None
    return found[1] if found else platform.processor()


def markdown(
    table:pd.DataFrame, # Its index is not shown
    digits:int=3 # Significant digits of numbers
) -> str: # A GitHub table
    "A table as Markdown."
    def cell(v): return '' if pd.isna(v) else f'{v:.{digits}g}' if isinstance(v, float) and abs(v) < 10 ** digits else \
        f'{v:,.0f}' if isinstance(v, (float, np.floating)) else str(v)
    rows = [table.columns, ['---'] * table.shape[1], *table.itertuples(index=False)]
    return '\n'.join('| ' + ' | '.join(map(cell, row)) + ' |' for row in rows)


def keep(
    name:str, # results/NAME.csv and results/NAME.md
    table:pd.DataFrame, # What was measured
    title:str, # Heading
    command:str, # What makes it again
    note:str='', # What a reader must know
    shown:list=None # Columns of the Markdown table; all by default
):
    "Print a table and write it down, as CSV and as Markdown with its command and machine."
    RESULTS.mkdir(exist_ok=True)
    text = f"## {title}\n\n{note}{note and chr(10) * 2}{markdown(table if shown is None else table[shown])}\n\n`{command}`: {machine()}\n"
    print(text)
    table.to_csv(RESULTS / f'{name}.csv', index=False, float_format='%.5g')
    (RESULTS / f'{name}.md').write_text(text)
