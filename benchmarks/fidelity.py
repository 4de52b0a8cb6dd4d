"""How close samples come to real series, on UCR data: one row a data set and seed, with the floor and every stage's share of the gap.

    python benchmarks/fidelity.py DEST FOLDER                       # DEST holds data/UCR, FOLDER keeps what is learnt
    python benchmarks/fidelity.py DEST FOLDER --preset paper --split original --data GunPoint,CBF --seeds 0,1

It goes on where it was stopped: FOLDER keeps finished stages and rows, and a figure of each data set.
"""
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from bench import StageSeconds, keep, remembered
from fastcore.script import call_parse
from sklearn.model_selection import train_test_split

from tsai_nmvq.cli import joined, read_demo
from tsai_nmvq.generator import LEARNERS, NMVQGenerator
from tsai_nmvq.metrics import fit_classifier, inception_score

DATA = ('ItalyPowerDemand', 'GunPoint', 'ECG200', 'CBF', 'SwedishLeaf', 'PhalangesOutlinesCorrect', 'Adiac', 'Crop', 'ECG5000', 'OSULeaf',
        'ElectricDevices', 'FordA')
ROWS = {'real (train)': 'floor', 'reconstructed': 'recon', 'before mapper': 'before', 'after mapper': 'after'}
SHOWN = ['data', 'seed', 'series', 'FID floor', 'FID recon', 'FID before', 'FID after', 'FID improvement, %', 'FID after / floor',
         'cFID before', 'cFID after', 'IS test', 'IS before', 'IS after', 'TSTR floor', 'TSTR before', 'TSTR after',
         'memorization after', 'sharpness before', 'sharpness after', 'tau', 'fit, s']


def parts_of(name, path, split, seed, cap): # -> X, y, (training rows, test rows)
    "The archive's own split, or all series split anew 80/20 by class (the paper's); at most `cap` series in each part."
    X, y, splits = joined(*read_demo(name, path))
    if split == 'paper': splits = train_test_split(np.arange(len(X)), test_size=0.2, stratify=y, random_state=seed)
    return X, y, [_capped(np.asarray(rows), y, cap, seed) for rows in splits]


def _capped(rows, y, cap, seed):
    return rows if len(rows) <= cap else train_test_split(rows, train_size=cap, stratify=y[rows], random_state=seed)[0]


def n_draws(n_series): # synthetic sets to average over: fewer where sets are large
    return 3 if n_series <= 333 else 2


def measure(name, seed, path, stem, preset, mapper, split, cap, device): # -> {column: figure}
    "One row: learn what is not learnt yet, and score it."
    X, y, splits = parts_of(name, path, split, seed, cap)
    train, test = splits
    watch = StageSeconds(stem.with_suffix('.seconds.json'))
    gen = NMVQGenerator(preset, device, mapper=dict(preset=mapper) if mapper else None)
    gen.fit(X, y, splits, seed=seed, checkpoint=stem.with_suffix('.nmvq'), cbs=[watch])
    scores = gen.evaluate(X, y, splits, n_draws=n_draws(len(train)), with_statistics=True, seed=seed)
    before, after = scores.FID['before mapper'], scores.FID['after mapper']
    gen.show(X, y, splits, seed=seed)[0].figure.savefig(stem.with_suffix('.png'), dpi=80)
    plt.close('all')
    return {'data': name, 'seed': seed, 'series': len(train), 'test series': len(test), 'seq_len': X.shape[2], 'classes': len(set(y)),
            'FID improvement, %': (before - after) / after * 100, 'FID after / floor': after / scores.FID['real (train)'],
            'IS test': inception_score(X[test], fit_classifier(X[train], y[train], seed=seed)),
            **{f'{column} {short}': scores.loc[row, column] for column in scores for row, short in ROWS.items()},
            'tau': gen.tau, 'fit, s': sum(watch.seconds.values()), **{f'{stage}, s': s for stage, s in watch.seconds.items()}}


def summary(table): # -> a sentence of Markdown
    "The figures that the rows are judged by."
    improvement = (table['cFID before'] - table['cFID after']) / table['cFID after'] * 100
    share = table['TSTR after'] / table['TSTR floor']
    return (f"Means: FID {table['FID before'].mean():.4f} before and {table['FID after'].mean():.4f} after the mapper, "
            f"improvement (before - after) / after {table['FID improvement, %'].mean():.0f} % for FID, "
            f"{improvement.mean():.0f} % for cFID, {((table['IS after'] / table['IS before'] - 1) * 100).mean():.1f} % more IS. "
            f"Of {len(table)} rows, FID after is at most twice the floor in {(table['FID after / floor'] <= 2).sum()}, "
            f"worse than before in {(table['FID after'] > table['FID before']).sum()}; "
            f"memorization is 0.7 or more in {(table['memorization after'] >= 0.7).sum()}; "
            f"TSTR is 90 % of train-on-real or more in {(share >= 0.9).sum()}.")


def forget(stem, stage): # a stage and those after it are learnt again
    if (checkpoint := stem.with_suffix('.nmvq')).exists():
        gen = NMVQGenerator.load(checkpoint)
        for later in list(LEARNERS)[list(LEARNERS).index(stage):]: setattr(gen, later, None)
        gen.tau = gen.tau_table = None
        if gen.tokenizer is None: checkpoint.unlink()
        else: gen.save(checkpoint)
    stem.with_suffix('.json').unlink(missing_ok=True)


@call_parse
def main(
    path:str, # Folder that holds data/UCR
    work:str, # Folder for what is learnt, rows and figures; outside the repository
    data:str=','.join(DATA), # Data sets, with commas
    seeds:str='0', # Seeds of split, fit and samples, with commas
    preset:str='fast', # 'fast' or 'paper'
    mapper:str='', # Preset of stage 3 where it differs: 'fast' on the paper's stages 1 and 2
    split:str='paper', # 'paper': all series split anew 80/20; 'original': the archive's own
    cap:int=2000, # Series in each part at most
    again:str='', # Learn this stage and those after it again: tokenizer, prior or mapper; or 'score' to score again
    name:str='', # Name of the table in results/; fidelity_PRESET_SPLIT by default, with +MAPPER
    device:str='cpu', # Where to train and sample
    threads:int=2 # PyTorch's threads
):
    "Measure fidelity."
    torch.set_num_threads(threads)
    if split not in ('paper', 'original'): raise SystemExit(f"split is {split!r}, expected 'paper' or 'original'")
    Path(work).mkdir(parents=True, exist_ok=True)
    rows, stages = [], preset + (f'+{mapper}' if mapper else '')
    for seed in map(int, seeds.split(',')):
        for data_set in data.split(','):
            stem = Path(work) / f'{stages}_{split}_{data_set}_{seed}'
            if again in LEARNERS: forget(stem, again)
            row = partial(measure, data_set, seed, path, stem, preset, mapper, split, cap, device)
            rows.append(remembered(stem.with_suffix('.json'), row, again))
            print(pd.Series(rows[-1])[SHOWN].to_frame().T.to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    options = f'--preset {preset} {f"--mapper {mapper} " if mapper else ""}--split {split} --data {data} --seeds {seeds}'
    keep(name or f'fidelity_{stages}_{split}', table, f'Fidelity: preset {stages}, {split} split',
         f'python benchmarks/fidelity.py DEST FOLDER {options}',
         f"At most {cap} series in each part. As many samples as training series, against the test series; the floor is the training "
         f"series themselves. {summary(table)}", SHOWN)
