"""What the guidance scale, and the rejection of samples, do to classes and to fidelity: samples of the prior alone.

    python -m benchmarks.classes.guidance DEST FOLDER           # on the generators of `benchmarks.classes` in FOLDER

Rejected are samples whose class a ridge classifier of the training series does not agree with."""
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from fastcore.script import call_parse
from torch import Tensor

from tsai_nmvq.metrics.distance import novelty
from tsai_nmvq.metrics.frechet import conditional_fid, fid
from tsai_nmvq.metrics.judges import RocketRidge
from tsai_nmvq.metrics.rocket import RocketFeatures

from ..common.records import keep, remembered
from ..fidelity.cases import CLASS_DATA, Case
from ..fidelity.row import Run

TIMES, MAX_SAMPLES = 10, 3000


@dataclass(frozen=True)
class Judged:
    "What the samples of one seed are compared with: made once for all scales."
    train:tuple             # (X, y) of the training series
    test:tuple              # The same of the test series
    features:RocketFeatures # Fitted on the training series
    f_test:Tensor           # Features of the test series
    insider:RocketRidge     # Knows the training series: it rejects
    outsider:RocketRidge    # Knows the test series: it agrees or not
    seed:int

    @classmethod
    def of(cls, X, y, splits, seed): # a data set, its labels, (training rows, test rows)
        train, test = ((X[rows], y[rows]) for rows in splits)
        features = RocketFeatures.fit(train[0], seed=seed)
        insider, outsider = (RocketRidge.fit(*part, seed=seed) for part in (train, test))
        return cls(train, test, features, features(test[0]), insider, outsider, seed)

    def scores(self, x, y) -> dict: # of samples and their classes: all of them, and as many as training series
        n, (x_test, y_test) = len(self.train[0]), self.test
        f_few = self.features(x[:n])
        return {'TSTR': self._accuracy(x[:n], y[:n]), 'TSTR of ten times as many': self._accuracy(x, y),
                'agreement': float((self.outsider.predict(x) == y).mean()),
                'FID': fid(self.f_test, f_few), 'cFID': conditional_fid(self.f_test, y_test, f_few, y[:n]),
                'novelty': novelty(self.train[0], x_test, x[:n])}

    def _accuracy(self, x, y): # of a classifier that learns from samples, on test series
        x_test, y_test = self.test
        return float((RocketRidge.fit(x, y, seed=self.seed).predict(x_test) == y_test).mean())


def rows_of(run:Run, case:Case, scales, seeds) -> list: # a row a scale, with and without rejection
    "Means over seeds of samples."
    X, y, splits = case.read(run.path)
    gen, found = run.generator(case, X, y, splits), []
    n = min(TIMES * len(splits[0]), MAX_SAMPLES)
    for judged in [Judged.of(X, y, splits, seed) for seed in seeds]:
        for scale in scales:
            x_gen, y_gen = gen.sample(n, seed=judged.seed, mapped=False, redraw=1., cfg_scale=scale)
            agreed = judged.insider.predict(x_gen) == y_gen
            for rejected, kept in (('no', slice(None)), ('yes', agreed)):
                found.append(dict(guidance=scale, rejected=rejected, **judged.scores(x_gen[kept], y_gen[kept])))
    scores = pd.DataFrame(found).groupby(['guidance', 'rejected'], sort=False)
    spread = scores[['TSTR', 'FID']].std().add_suffix(', deviation')
    table = scores.mean().join(spread).reset_index()
    return [{'data': case.name, **row} for row in table.to_dict('records')]


@call_parse
def main(
    path:str, # Folder that holds data/UCR
    work:str, # Folder of `benchmarks.classes`
    data:str=','.join(CLASS_DATA), # Data sets, with commas
    scales:str='1,1.25,1.5', # Guidance scales, with commas
    seeds:str='0,1', # Seeds of samples and judges, with commas
    split:str='original', # As in `benchmarks.classes`
    cap:int=2000, # As in `benchmarks.classes`
    threads:int=2 # PyTorch's threads
):
    "Measure guidance and rejection."
    torch.set_num_threads(threads)
    run, rows = Run(path, Path(work), 'fast'), []
    for case in [Case(name, 0, split, cap) for name in data.split(',')]:
        measure = partial(rows_of, run, case, list(map(float, scales.split(','))), list(map(int, seeds.split(','))))
        rows += remembered(case.file(work, run.stages, '.json', prefix='guidance_'), measure)
        print(pd.DataFrame(rows).tail(2 * len(scales.split(','))).round(4).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    means = table.drop(columns='data').groupby(['guidance', 'rejected'], sort=False).mean().reset_index()
    means.insert(0, 'data', 'mean')
    keep(f'classes_guidance_{split}', pd.concat([table, means]), 'Guidance and rejection, before the mapper',
         f'python -m benchmarks.classes.guidance DEST FOLDER --data {data} --scales {scales} --seeds {seeds}',
         f"{split} split, one fit (seed 0), means over seeds of samples; ridge classifiers; FID against test series.",
         seeds=seeds)
