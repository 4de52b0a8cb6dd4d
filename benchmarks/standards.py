"""TSGBench's scores on the data that others publish them for: Sines, and ECG5000 of the archive.

    python -m benchmarks.standards DEST FOLDER              # DEST holds data/UCR, FOLDER keeps generators and scores
    python -m benchmarks.standards DEST FOLDER --seeds 0,1,2

It goes on where it was stopped. The floor compares other real series with the same ones."""
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastcore.script import call_parse

from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.metrics.context import ContextEncoder, context_fid
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.post_hoc import discriminative_score, predictive_score
from tsai_nmvq.metrics.statistics import STATISTICS

from .common.data import read_set
from .common.records import keep, remembered

HIDDEN = dict(sines=2, ECG5000=None)    # TimeGAN's half of five channels; of one channel it would have none
PREDICTOR_STEPS = 5000                  # TimeGAN's
DATA = 'sines', 'ECG5000'


def sines(
    n:int, # Series
    c_in:int=5, # Channels
    seq_len:int=24, # Steps
    seed:int=0 # Of frequencies and phases
) -> np.ndarray: # [n, c_in, seq_len], 0..1
    "Sines of TimeGAN: frequency and phase of each channel are uniform in 0..0.1. [NeurIPS 2019, section 5.1]"
    freq, phase = np.random.default_rng(seed).uniform(0, 0.1, (2, n, c_in, 1))
    return ((np.sin(freq * np.arange(seq_len) + phase) + 1) / 2).astype(np.float32)


def read(
    name:str, # Of `DATA`
    path, # Folder that holds data/UCR
    n:int # Sines on either side
) -> tuple: # (training series, their labels or None, other real series)
    "What is learnt from, and as many others as a floor."
    if name == 'sines': return sines(n), None, sines(n, seed=1)
    X, y, (train, test) = read_set(name, path)
    others = np.random.default_rng(0).permutation(test)[:len(train)]
    return X[train], np.asarray(y)[train], X[others]


def scores(
    name:str, # Of `DATA`
    real, # Series that samples are compared with: those of the training split, as in the papers
    made, # As many others
    encoder:ContextEncoder, # Of the real series
    seed:int # Of networks and the split
) -> dict: # {score: value}
    "All of them, by TimeGAN's and Diffusion-TS's protocols."
    networks = dict(hidden=HIDDEN[name], seed=seed)
    return {'DS': discriminative_score(real, made, **networks),
            'PS': predictive_score(real, made, PREDICTOR_STEPS, **networks),
            'C-FID': context_fid(real, made, encoder),
            **{score: difference(real, made) for score, difference in STATISTICS.items()}, 'FID': fid(real, made)}


def measure(name, path, work, n, seed) -> list: # Rows of the table
    "The floor, samples by default, and the prior alone."
    x, y, others = read(name, path, n)
    gen = NMVQGenerator(device='cpu').fit(x, y, checkpoint=Path(work)/f'{name}_{len(x)}.nmvq')
    def drawn(**how): return gen.sample(len(x), y, seed=seed, **how)[0]
    encoder = ContextEncoder(x, seed=seed)
    sets = {'other real series': others, 'samples': drawn(), 'the prior alone': drawn(redraw=1.)}
    return [{'data': name, 'series': len(x), 'what': what, 'seed': seed, **scores(name, x, made, encoder, seed)}
            for what, made in sets.items()]


@call_parse
def main(
    path:str, # Folder that holds data/UCR
    work:str, # Folder for generators and scores; outside the repository
    data:str=','.join(DATA), # Sets, with commas
    n:int=3000, # Sines to learn from; 10,000 in TimeGAN
    seeds:str='0', # Of samples and scores, with commas
    name:str='standards', # Of the table in results/
    threads:int=2 # PyTorch's threads
):
    "Measure TSGBench's scores."
    torch.set_num_threads(threads)
    Path(work).mkdir(parents=True, exist_ok=True)
    rows = []
    for data_set in data.split(','):
        for seed in map(int, seeds.split(',')):
            file = Path(work)/f'{data_set}_{n}_{seed}.json'
            rows += remembered(file, partial(measure, data_set, path, work, n, seed))
            print(pd.DataFrame(rows[-3:]).to_string(index=False), flush=True)
    table = pd.DataFrame(rows).groupby(['data', 'series', 'what'], sort=False).mean().drop(columns='seed').reset_index()
    command = f'python -m benchmarks.standards DEST FOLDER --data {data} --n {n} --seeds {seeds}'
    keep(name, table, "TSGBench's scores", command,
         "Against the series that were learnt from, as many on both sides, in units of their range. DS and PS as "
         "in TimeGAN (2000 and 5000 steps), with 2 units for Sines and 8 for ECG5000; C-FID as in Diffusion-TS.",
         seeds=seeds)
