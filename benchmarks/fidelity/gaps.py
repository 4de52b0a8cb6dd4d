"""What missing values cost: GunPoint complete, with a fifth of its values missing, and cut to a third and more.

    python -m benchmarks.fidelity.gaps FOLDER   # FOLDER keeps what is learnt, and figures; outside the repository"""
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastcore.script import call_parse
from scipy.stats import ks_2samp

from tsai_nmvq.data.files import joined_parts, read_labelled
from tsai_nmvq.data.missing import lengths_of
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.rocket import RocketFeatures

from ..common.records import keep, remembered

DRAWS = 5           # synthetic sets that FID is the mean of
LENGTHS = 1000      # samples whose lengths are compared
MISSING = 0.2
SHORTEST = 50       # of 150 steps


def cases(
    X:np.ndarray, # Series [n, c_in, seq_len]
    seed:int # Of what is missing
) -> dict: # {name: the same with NaN}
    "A set complete, and with values missing."
    rng, steps = np.random.default_rng(seed), np.arange(X.shape[-1])
    gaps = np.where(rng.random(X.shape) < MISSING, np.nan, X)
    ends = rng.integers(SHORTEST, X.shape[-1] + 1, len(X))
    cut = np.where(steps < ends[:, None, None], X, np.nan)
    return {'complete': X, 'a fifth missing': gaps, f'lengths {SHORTEST} to {X.shape[-1]}': cut}


def measure(
    X:np.ndarray, # Series [n, c_in, seq_len], with NaN where values are missing
    whole:np.ndarray, # The same, complete
    y:np.ndarray, # Labels [n]
    splits, # (training rows, test rows)
    seed:int, # Of fit and samples
    file:Path # For the generator
) -> dict: # {column: figure}
    "Learn, and score complete samples against complete test series, and samples with gaps against series with gaps."
    train, test = splits
    gen = NMVQGenerator().fit(X, y, splits, seed=seed, checkpoint=file)
    seeds = range(seed, seed + DRAWS)
    def score(real, missing):
        features = RocketFeatures.fit(real[train], seed=seed)
        made = [gen.sample(len(train), seed=s, missing=missing)[0] for s in seeds]
        return np.mean([fid(real[test], x, features) for x in made]), fid(real[test], real[train], features)
    found = dict(zip(('FID', 'floor'), score(whole, 'complete')))
    found |= dict(zip(('FID with gaps', 'floor with gaps'), score(X, 'like data')))
    lengths = [lengths_of(torch.as_tensor(np.isfinite(x))) for x in (X[train], gen.sample(LENGTHS, seed=seed)[0])]
    return found | {'missing, %': 100 * np.isnan(X[train]).mean(), 'KS of lengths': ks_2samp(*lengths).statistic}


@call_parse
def main(
    work:str, # Folder for what is learnt, and figures; outside the repository
    seed:int=0, # Of what is missing, fit and samples
    threads:int=2 # PyTorch's threads
):
    "Measure what missing values cost."
    torch.set_num_threads(threads)
    Path(work).mkdir(parents=True, exist_ok=True)
    whole, y, splits = joined_parts(*read_labelled('GunPoint'))
    rows = []
    for name, X in cases(whole, seed).items():
        file = Path(work)/f'gaps_{name.replace(" ", "_")}_{seed}'
        found = remembered(file.with_suffix('.json'),
                           lambda: measure(X, whole, y, splits, seed, file.with_suffix('.nmvq'))) # noqa: B023 - at once
        rows.append(dict(series=name, **found))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table['FID, times that of complete series'] = table.FID / table.FID[0]
    keep('gaps', table, 'What missing values cost',
         f'python -m benchmarks.fidelity.gaps FOLDER --seed {seed} --threads {threads}',
         "GunPoint, archive's split. FID compares complete samples with complete test series; FID with gaps compares "
         "samples with gaps like the data's with test series that have gaps.", seeds=str(seed))
