"""What a killed fit loses: small fits that are killed again and again, and started again until they end.

    python -m benchmarks.kills FOLDER           # FOLDER is for files that are not kept
    python -m benchmarks.kills FOLDER --n 200 --seed 1

A process learns with a checkpoint and gets SIGKILL at a random moment, now and then while a file is being written."""
import multiprocessing
import os
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partialmethod
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from fastcore.script import call_parse
from safetensors import safe_open

from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.train import resume
from tsai_nmvq.train.mapper import MapperLearner

from .common.data import read_set
from .common.records import keep

SETTINGS = dict(tokenizer=dict(dim=8, hidden_dim=64, max_dim=64),
                prior=dict(lf_dim=64, lf_layers=1, hf_dim=64, hf_layers=1, n_steps=dict(lf=2, hf=2)),
                mapper=dict(dim=8, mults=(1, 2)))
EPOCHS = dict(tokenizer=8, prior=8, mapper=8)
EVERY = 3           # step of a series that is kept: fits are short
IN_A_WRITE = 0.4    # share of kills that wait for a file to be written; half of them come in time
RUNS = 5            # of a fit that is killed at random moments, about


class Journal(Callback):
    "Lines of a file: where a stage begins, and each epoch before it is written."
    order = resume.ResumeStage.order - 1

    def __init__(self,
        file:Path # Is appended to
    ): self.file = file

    def before_fit(self): self._say(self.learn.first_epoch, 'begins')
    def after_epoch(self): self._say(self.epoch + 1, 'done')

    def _say(self, epoch, what):
        with open(self.file, 'a') as f: f.write(f'{self.learn.stage} {what} {epoch}\n')


def learn(
    checkpoint=None, # File
    cbs=None # Callbacks
) -> NMVQGenerator: # Fitted
    "A small fit that keeps each epoch."
    resume.PERIOD, resume.SHARE = 0., float('inf')
    X, y, splits = read_set('GunPoint')
    with redirect_stdout(StringIO()):
        return NMVQGenerator(**SETTINGS).fit(X[..., ::EVERY], y, splits, epochs=EPOCHS, checkpoint=checkpoint, cbs=cbs)


def start(
    folder:Path # For its files
) -> multiprocessing.Process: # That learns
    "A process of its own: forked, so that kills hit the fit and no imports."
    args = folder/'fit.nmvq', [Journal(folder.with_suffix('.txt'))]
    process = multiprocessing.get_context('fork').Process(target=learn, args=args)
    process.start()
    return process


@dataclass
class Count:
    "What kills of a fit did."
    kills:int = 0
    in_a_write:int = 0  # They left a file that was being written
    torn:int = 0        # Files under their own names that were not whole
    lost:list[int] = field(default_factory=list) # Epochs that were done, and done again; not those that were under way


def kill(
    process, # That learns
    folder:Path, # Its files
    wait:float, # Seconds
    in_a_write:bool # Wait until a file is being written, too
) -> bool: # Whether it was killed; it may have ended before
    "SIGKILL after a while."
    process.join(wait)
    while in_a_write and process.is_alive() and not asides(folder, process.pid): pass
    if not process.is_alive(): return False
    process.kill()
    process.join()
    return process.exitcode != 0


def asides(folder, pid): return [name for name in os.listdir(folder) if name[0] == '.' and f'.{pid}.' in name]


def n_torn(
    folder:Path # Of a fit
) -> int: # Of the two files that may be there
    "Files that cannot be read."
    path, torn = folder/'fit.nmvq', 0
    if path.exists():
        try: NMVQGenerator.load(path)
        except ValueError as e: torn += print(path, e) or 1
    part = resume.part_of(path)
    return torn + (part.exists() and resume.read_part(part) is None)


def epochs_lost(
    journal:Path # What `Journal` wrote
) -> list: # One a stage that began again
    "Epochs that were done before a kill, and done again after it."
    done, lost = {}, []
    for stage, what, epoch in map(str.split, journal.read_text().splitlines() if journal.exists() else []):
        if what == 'begins' and stage in done: lost.append(done[stage] - int(epoch))
        done[stage] = int(epoch)
    return lost


def killed_fit(
    folder:Path, # For its files
    rng:np.random.Generator, # Of the moments
    seconds:float, # That a whole fit takes
    most:int # Kills
) -> Count:
    "Learn, kill and start again until the fit ends."
    count = Count()
    while True:
        process = start(folder)
        if count.kills == most:
            process.join()
            break
        if not kill(process, folder, rng.exponential(seconds / RUNS), rng.random() < IN_A_WRITE): break
        count.kills += 1
        count.in_a_write += bool(asides(folder, process.pid))
        count.torn += n_torn(folder)
    if process.exitcode: raise SystemExit(f"a fit ended with exit code {process.exitcode}")
    count.lost = epochs_lost(folder.with_suffix('.txt'))
    return count


def row(
    folder:Path, # For files of the fit
    whole:Path, # File of a fit that was not killed
    rng:np.random.Generator, # Of the moments
    seconds:float, # That a whole fit takes
    most:int # Kills
) -> dict: # {column: figure}
    "Kill one fit, and compare what it learnt."
    folder.mkdir()
    count, file = killed_fit(folder, rng, seconds, most), folder/'fit.nmvq'
    return {'fit': folder.name, 'kills': count.kills, 'in a write': count.in_a_write, 'files torn': count.torn,
            'epochs lost at most': max(count.lost, default=0), 'files left over': len(os.listdir(folder)) - 1,
            'equal samples': bool((samples(file) == samples(whole)).all()),
            'equal files': content(file) == content(whole)}


def samples(file): return NMVQGenerator.load(file).sample(50, seed=0)[0]


def content(file): # safetensors writes metadata in any order
    with safe_open(file, 'pt') as f: return f.metadata(), {name: f.get_tensor(name).tolist() for name in f.keys()} # noqa: SIM118


def summary(
    table:pd.DataFrame, # A row a fit
    seconds:float # That a whole fit takes
) -> str: # Sentences of Markdown
    "The figures that the rows are judged by."
    total = table.sum(numeric_only=True)
    return (f"{total.kills} kills of {len(table)} fits ({EPOCHS['prior']} epochs a stage on GunPoint at every third "
            f"step, a short search for τ, {seconds:.1f} s), {total['in a write']} of them while a file was written: "
            f"{total['files torn']} files torn, at most {table['epochs lost at most'].max()} epoch done again, "
            f"{total['files left over']} files left over, {total['equal samples']} fits of {len(table)} with the "
            "samples of a fit without kills or checkpoint. Each epoch is written here, by default one in two seconds "
            "at most.")


@call_parse
def main(
    work:str, # Folder for files that are not kept
    n:int=50, # Kills
    seed:int=0 # Of the moments
):
    "Kill fits."
    torch.set_num_threads(1)                                             # a process with threads cannot be forked
    MapperLearner.search_tau = partialmethod(MapperLearner.search_tau, (0., 0.1), n=64, n_kernels=50)
    rng, rows = np.random.default_rng(seed), []
    Path(work).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        whole, timed = learn().save(Path(folder)/'whole.nmvq'), Path(folder)/'timed'
        timed.mkdir()
        began = time.perf_counter()
        start(timed).join()
        seconds = time.perf_counter() - began
        while (left := n - sum(found['kills'] for found in rows)) > 0:
            rows.append(row(Path(folder)/str(len(rows) + 1), whole, rng, seconds, left))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    keep('kills', table, 'Fits that were killed', f'python -m benchmarks.kills FOLDER --n {n} --seed {seed}',
         summary(table, seconds), seeds=str(seed))
