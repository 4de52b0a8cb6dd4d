"""Where classes are lost, on UCR data: classifiers that learn from what each stage makes, tested on real series.

    python -m benchmarks.classes DEST FOLDER                    # DEST holds data/UCR, FOLDER keeps what is learnt
    python -m benchmarks.classes DEST FOLDER --data OSULeaf --judges ridge,fcn,small_fcn

It goes on where it was stopped, and on generators that `benchmarks.fidelity` left in FOLDER."""
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from fastcore.script import call_parse

from tsai_nmvq.class_evaluation import class_scores

from ..common.records import keep, remembered
from ..fidelity.cases import CLASS_DATA, SPLITS, Case
from ..fidelity.row import Run

NOTE = ("A classifier learns from each set. `agreement`: share of a set whose class a ridge classifier of the test "
        "series agrees with. Deviations are over seeds of samples and judges, on one fit.")
LOST = {'tokenizer': ('real', 'reconstructed'), 'HF prior': ('reconstructed', 'LF real, HF sampled'),
        'LF prior': ('LF real, HF sampled', 'prior alone'), 'anchors': ('prior alone', 'before mapper'),
        'mapper': ('before mapper', 'after mapper')}


def rows_of(
    run:Run, # How the generator is learnt
    case:Case, # Data set, split and seed of the fit
    judges:tuple, # Of `JUDGES`
    judge_seeds:tuple, # Seeds of samples and judges
    sets:tuple # Names of sets; None for all
) -> list: # A row a set
    "Learn what is not learnt yet, and judge it."
    X, y, splits = case.read(run.path)
    scores = class_scores(run.generator(case, X, y, splits), X, y, splits, judges, judge_seeds, sets)
    table = scores.table.rename_axis('learnt from').reset_index()
    return [{'data': case.name, 'seed': case.seed, **row} for row in table.to_dict('records')]


def losses(
    table:pd.DataFrame, # Rows of all data sets
    judge:str # Column
) -> pd.DataFrame: # A row a data set: points of accuracy that each stage loses; negative is won
    "Which stage loses the class, in points of accuracy on the test series."
    rows = []
    for (data, seed), part in table.groupby(['data', 'seed'], sort=False):
        accuracy = 100 * part.set_index('learnt from')[judge]
        row = {'data': data, 'seed': seed, 'TRTR, %': accuracy['real']}
        for stage, (before, after) in LOST.items():
            row[f'{stage}, points'] = accuracy[before] - accuracy.get(after, accuracy[before])
        row['TRecTR, % of TRTR'] = 100 * accuracy['reconstructed'] / accuracy['real']
        row['TSTR of the prior alone, %'] = 100 * accuracy['prior alone'] / accuracy['real']
        row['TSTR, % of TRTR'] = 100 * accuracy.get('after mapper', accuracy['before mapper']) / accuracy['real']
        row['of ten times as many, % of TRTR'] = 100 * accuracy['ten times as many'] / accuracy['real']
        rows.append(row)
    return pd.DataFrame(rows)


def write(
    table:pd.DataFrame, # Rows of all data sets
    judges:tuple, # Columns
    split:str, # 'paper' or 'original'
    judge_seeds:str, # For the foot of the tables
    command:str # The same
):
    "The accuracies, and what each stage loses of them."
    keep(f'classes_{split}', table, f'Classes: accuracy on real test series, {split} split', command, NOTE,
         seeds=judge_seeds)
    for judge in judges:
        title = f'Which stage loses the class, by {judge}, {split} split'
        keep(f'classes_lost_{judge}_{split}', losses(table, judge), title, command,
             "Points of accuracy that each stage costs; negative ones are won. A mapper that is left out costs none.",
             seeds=judge_seeds)


@call_parse
def main(
    path:str, # Folder that holds data/UCR
    work:str, # Folder for what is learnt and measured; outside the repository
    data:str=','.join(CLASS_DATA), # Data sets, with commas
    seeds:str='0', # Seeds of split and fit, with commas
    judge_seeds:str='0,1', # Seeds of samples and judges, with commas
    judges:str='ridge,fcn', # Of `tsai_nmvq.metrics.judges.JUDGES`, with commas
    preset:str='fast', # 'fast' or 'paper'
    split:str='original', # 'paper': all series split anew 80/20; 'original': the archive's own
    cap:int=2000, # Series in each part at most
    again:bool=False, # Judge again what has been judged
    sets:str='', # Names of sets to learn from beside the real series, with commas; all by default
    name:str='', # Of the table in results/; classes_SPLIT and its losses by default, which need all sets
    device:str='cpu', # Where to train and sample
    threads:int=2 # PyTorch's threads
):
    "Measure where classes are lost."
    torch.set_num_threads(threads)
    if sets and not name: raise SystemExit("a part of the sets has a table of its own: pass --name")
    if split not in SPLITS: raise SystemExit(f"split is {split!r}, expected one of {SPLITS}")
    Path(work).mkdir(parents=True, exist_ok=True)
    run, rows, names = Run(path, Path(work), preset, device=device), [], tuple(judges.split(','))
    for case in [Case(name, seed, split, cap) for seed in map(int, seeds.split(',')) for name in data.split(',')]:
        kept = f"classes_{'+'.join(names)}_{name}_" if name else f"classes_{'+'.join(names)}_"
        judge = partial(rows_of, run, case, names, tuple(map(int, judge_seeds.split(','))),
                        tuple(sets.split(',')) if sets else None)
        rows += remembered(case.file(work, run.stages, '.json', prefix=kept), judge, again)
        print(pd.DataFrame(rows[-6:]).round(3).to_string(index=False), flush=True)
    options = f'--data {data} --judges {judges} --split {split} --seeds {seeds} --judge_seeds {judge_seeds}'
    command = f'python -m benchmarks.classes DEST FOLDER {options}' + (f' --sets "{sets}"' if sets else '')
    if not name: return write(pd.DataFrame(rows), names, split, judge_seeds, command)
    keep(name, pd.DataFrame(rows), f'Classes: accuracy on real test series, {split} split', command, NOTE,
         seeds=judge_seeds)
