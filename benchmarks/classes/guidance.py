"""What the guidance scale, and the rejection of samples, do to classes and to fidelity: samples before the mapper.

    python -m benchmarks.classes.guidance DEST FOLDER           # on the generators of `benchmarks.classes` in FOLDER

Rejected are samples whose class a ridge classifier of the training series does not agree with."""
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from fastcore.script import call_parse

from tsai_nmvq.metrics.distance import novelty
from tsai_nmvq.metrics.frechet import conditional_fid, fid
from tsai_nmvq.metrics.judges import RocketRidge
from tsai_nmvq.metrics.rocket import RocketFeatures

from ..common.records import keep, remembered
from ..fidelity.cases import CLASS_DATA, Case
from ..fidelity.row import Run

TIMES, MAX_SAMPLES = 10, 3000


def scored(gen, X, y, splits, cfg_scale, reject, seed) -> dict: # a set of n samples and one of ten times as many
    "Accuracy of classifiers that learn from them, the share that a classifier of the test series agrees with, FIDs."
    train, test = ((X[rows], y[rows]) for rows in splits)
    n, features = len(train[0]), RocketFeatures.fit(train[0], seed=seed)
    made = gen.sample(min(TIMES * n, MAX_SAMPLES), seed=seed, mapped=False, cfg_scale=cfg_scale)
    if reject:
        agreed = RocketRidge.fit(*train, seed=seed).predict(made[0]) == made[1]
        made = made[0][agreed], made[1][agreed]
    few = made[0][:n], made[1][:n]
    def accuracy(x, labels): return float((RocketRidge.fit(x, labels, seed=seed).predict(test[0]) == test[1]).mean())
    f_test, f_few = features(test[0]), features(few[0])
    return {'TSTR': accuracy(*few), 'TSTR of ten times as many': accuracy(*made),
            'agreement': float((RocketRidge.fit(*test, seed=seed).predict(made[0]) == made[1]).mean()),
            'FID': fid(f_test, f_few), 'cFID': conditional_fid(f_test, test[1], f_few, few[1]),
            'novelty': novelty(train[0], test[0], few[0])}


def rows_of(run:Run, case:Case, scales, seeds) -> list: # a row a scale, with and without rejection
    "Means over seeds of samples."
    X, y, splits = case.read(run.path)
    gen, rows = run.generator(case, X, y, splits), []
    for cfg_scale in scales:
        for reject in (False, True):
            scores = pd.DataFrame([scored(gen, X, y, splits, cfg_scale, reject, seed) for seed in seeds])
            spread = {'TSTR, deviation': scores.TSTR.std(), 'FID, deviation': scores.FID.std()}
            rows.append({'data': case.name, 'guidance': cfg_scale, 'rejected': 'yes' if reject else 'no',
                         **scores.mean().to_dict(), **spread})
    return rows


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
