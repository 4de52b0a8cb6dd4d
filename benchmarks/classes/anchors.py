"""What samples keep that start from training series: by how much of these is drawn anew, and by how new they are made.

    python -m benchmarks.classes.anchors DEST FOLDER            # on the generators of `benchmarks.classes` in FOLDER

Before the mapper. A strength of the warp is found for each share and each newness, by `train.anchors.fit_anchors`."""
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from fastcore.script import call_parse

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.train.anchors import find_strength

from ..common.records import keep, remembered
from ..fidelity.cases import CLASS_DATA, Case
from ..fidelity.row import Run
from .guidance import MAX_SAMPLES, TIMES, Judged

SHARES, NEWNESS = (0., 0.3, 0.6), (0.8, 1.)


def rows_of(run:Run, case:Case, seeds) -> list: # a row a share and newness, the prior alone first
    "Means over seeds of samples."
    X, y, splits = case.read(run.path)
    gen, found = NMVQGenerator.load(case.file(run.folder, run.stages, '.nmvq')), []
    data, n = SeriesData.from_arrays(X, y, splits), min(TIMES * len(splits[0]), MAX_SAMPLES)
    judged = [Judged.of(X, y, splits, seed) for seed in seeds]
    def add(redraw, newness):
        for judge in judged:
            x_gen, y_gen = gen.sample(n, seed=judge.seed, mapped=False, redraw=redraw)
            found.append(dict(redrawn=redraw, newness=newness, strength=gen.anchors.strength if newness else 0.,
                              **judge.scores(x_gen, y_gen)))
    add(1., 0.)
    for share in SHARES:
        gen.anchors = replace(gen.anchors, max_redraw=share)
        for newness in NEWNESS:
            gen.anchors = find_strength(gen.sampler, data, (newness, newness))
            add(share, newness)
    table = pd.DataFrame(found).groupby(['redrawn', 'newness'], sort=False).mean().reset_index()
    return [{'data': case.name, **row} for row in table.to_dict('records')]


@call_parse
def main(
    path:str, # Folder that holds data/UCR
    work:str, # Folder of `benchmarks.classes`
    data:str=','.join(CLASS_DATA), # Data sets, with commas
    seeds:str='0,1', # Seeds of samples and judges, with commas
    split:str='original', # As in `benchmarks.classes`
    cap:int=2000, # As in `benchmarks.classes`
    threads:int=2 # PyTorch's threads
):
    "Measure anchors."
    torch.set_num_threads(threads)
    run, rows = Run(path, Path(work), 'fast'), []
    for case in [Case(name, 0, split, cap) for name in data.split(',')]:
        measure = partial(rows_of, run, case, list(map(int, seeds.split(','))))
        rows += remembered(case.file(work, run.stages, '.json', prefix='anchors_'), measure)
        print(pd.DataFrame(rows).tail(7).round(4).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    means = table.drop(columns='data').groupby(['redrawn', 'newness'], sort=False).mean().reset_index()
    means.insert(0, 'data', 'mean')
    keep(f'classes_anchors_{split}', pd.concat([table, means]), 'Samples that start from training series',
         f'python -m benchmarks.classes.anchors DEST FOLDER --data {data} --seeds {seeds}',
         f"{split} split, one fit (seed 0), means over seeds of samples, before the mapper; ridge classifiers; FID "
         "against test series. `redrawn` 1 is the prior alone; `newness` is the distance to training series that the "
         "warp is fitted to, relative to that of training series from each other.", seeds=seeds)
