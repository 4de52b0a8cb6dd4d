"""How close samples come to real series, on UCR data: a row a data set and seed, with the floor and each stage's share.

    python -m benchmarks.fidelity DEST FOLDER                   # DEST holds data/UCR, FOLDER keeps what is learnt
    python -m benchmarks.fidelity DEST FOLDER --preset paper --split original --data GunPoint,CBF --seeds 0,1

It goes on where it was stopped: FOLDER keeps finished stages and rows, and a figure of each data set."""
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from fastcore.script import call_parse

from tsai_nmvq.presets import STAGES

from ..common.records import keep, remembered
from ..tables import fidelity_figures
from .cases import DATA, SPLITS, Case
from .row import SHOWN, Run

AGAIN = (*STAGES, 'score')


def summary(
    table:pd.DataFrame # A row a data set and seed
) -> str: # A sentence of Markdown or two
    "The figures that the rows are judged by."
    found = fidelity_figures(table)
    return (f"Means: FID {found['FID before']:.4f} before and {found['FID after']:.4f} after the mapper, "
            f"improvement (before - after) / after {found['FID, % better']:.0f} % for FID, "
            f"{found['cFID, % better']:.0f} % for cFID, {found['IS, % more']:.1f} % more IS. "
            f"Of {found['sets']} rows, FID after is at most twice the floor in {found['FID at most twice the floor']}, "
            f"worse than before in {found['FID worse after the mapper']}; "
            f"novelty is 0.7 or more in {found['novelty 0.7 or more']}; "
            f"TSTR is 90 % of train-on-real or more in {found['TSTR 90 % of TRTR or more']}.")


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
    if split not in SPLITS: raise SystemExit(f"split is {split!r}, expected one of {SPLITS}")
    if again not in ('', *AGAIN): raise SystemExit(f"again is {again!r}, expected one of {AGAIN}")
    Path(work).mkdir(parents=True, exist_ok=True)
    run, rows = Run(path, Path(work), preset, mapper, device), []
    for seed in map(int, seeds.split(',')):
        for case in [Case(data_set, seed, split, cap) for data_set in data.split(',')]:
            file = case.file(work, run.stages, '.json')
            rows.append(remembered(file, partial(run.row, case, again), bool(again)))
            print(pd.Series(rows[-1])[SHOWN].to_frame().T.to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    presets = f'--preset {preset}' + (f' --mapper {mapper}' if mapper else '')
    keep(name or f'fidelity_{run.stages}_{split}', table, f'Fidelity: preset {run.stages}, {split} split',
         f'python -m benchmarks.fidelity DEST FOLDER {presets} --split {split} --data {data} --seeds {seeds}',
         f"At most {cap} series in each part. As many samples as training series, against the test series; "
         f"the floor is the training series themselves. {summary(table)}", SHOWN, seeds)
