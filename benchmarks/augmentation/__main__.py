"""Accuracy of tsai's networks on small sets, with `NMVQAugment` and with its rivals.

    python -m benchmarks.augmentation DEST FOLDER               # DEST holds data/UCR, FOLDER keeps what is learnt
    python -m benchmarks.augmentation DEST FOLDER --thinned     # imbalanced sets
    python -m benchmarks.augmentation DEST FOLDER --treatments "none;NMVQAugment" --networks FCN --seeds 0

It goes on where it was stopped: FOLDER keeps generators and finished runs. Several at once share the runs among them,
by --data. Nothing is chosen on a test split."""
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from fastcore.script import call_parse, store_true

from tsai_nmvq.generator import NMVQGenerator

from ..common.records import keep, remembered
from ..tables import RESULTS
from .cases import BALANCED, IMBALANCED, SmallSet
from .ranks import plot_ranks, summary
from .training import LEARNING_RATE, STEPS, train
from .treatments import IMBALANCED_RIVALS, RIVALS, TREATMENTS

SCORES = {False: 'accuracy', True: 'G-mean'}
OURS = {False: ('NMVQAugment',), True: ('NMVQAugment, balance',)}


def run(case, path, work, treatment, network, seed) -> dict: # One row
    "Train and score once; the set's generator has default settings and seed 0, and is learnt once."
    X, y, splits = case.read(path)
    how, gen = TREATMENTS[treatment], None
    if how.needs_generator:
        gen = NMVQGenerator(device='cpu').fit(X, y, splits=splits, checkpoint=case.file(work, suffix='.nmvq'))
    return {'data': case.name, 'series': len(splits[0]), 'treatment': treatment, 'network': network, 'seed': seed,
            **train(X, y, splits, how, network, seed, gen)}


@call_parse
def main(
    path:str, # Folder that holds data/UCR
    work:str, # Folder for generators and runs; outside the repository
    data:str='', # Sets, with commas; all of the panel by default
    treatments:str='', # Names of `TREATMENTS`, with commas; rivals and NMVQAugment by default
    networks:str='FCN,InceptionTimePlus', # Names of `NETWORKS`, with commas
    seeds:str='0,1,2', # Of weights, batches and draws, with commas
    thinned:store_true=False, # Imbalanced sets: half of the classes are thinned to an eighth of the largest
    score:str='', # Column that is compared: accuracy, or G-mean of thinned sets, by default
    name:str='', # Name of the tables in results/; none are written without one
    threads:int=2 # PyTorch's threads
):
    "Measure what augmentation gives."
    torch.set_num_threads(threads)
    Path(work).mkdir(parents=True, exist_ok=True)
    data = data or ','.join(IMBALANCED if thinned else BALANCED)
    treatments = treatments or ';'.join((*(IMBALANCED_RIVALS if thinned else RIVALS), *OURS[thinned]))
    score, rows = score or SCORES[thinned], []
    for seed in map(int, seeds.split(',')):
        for case in [SmallSet(data_set, thinned) for data_set in data.split(',')]:
            for treatment in treatments.split(';'):
                for network in networks.split(','):
                    file = case.file(work, treatment, network, seed)
                    rows.append(remembered(file, partial(run, case, path, work, treatment, network, seed)))
                    print({k: v if isinstance(v, str) else round(v, 3) for k, v in rows[-1].items()}, flush=True)
    runs = pd.DataFrame(rows)
    if not name: return print(summary(runs, score).round(2).to_string(index=False))
    command = (f'python -m benchmarks.augmentation DEST FOLDER{" --thinned" * thinned} --data {data} '
               f'--treatments "{treatments}" --networks {networks} --seeds {seeds}')
    recipe = f"{STEPS} steps of one cycle up to {LEARNING_RATE:g}, `TSStandardize(by_sample=True)`"
    table = summary(runs, score)
    keep(name, table, f'Augmentation: {score}', command, f"{recipe}; {table.sets.min()} sets.", seeds=seeds)
    runs.to_csv(RESULTS / f'{name}_runs.csv', index=False, float_format='%.5g')
    plot_ranks(table, Path(work) / f'{name}.png')
