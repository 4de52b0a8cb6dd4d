"""Tables of README.md and docs/, made from the CSV files in results/.

    python -m benchmarks.tables            # write what stands between `<!-- table: NAME -->` and `<!-- end -->`
    python -m benchmarks.tables --check    # write nothing; exit code 1 and the names of files that are out of date

A new table is an entry of `TABLES` and a pair of markers. Needs pandas alone."""
import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ['RESULTS', 'TABLES', 'Column', 'Table', 'markdown', 'fidelity_figures', 'filled', 'out_of_date', 'main']

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'
MARKER = re.compile(r'^<!-- table:', re.MULTILINE)
BLOCK = re.compile(r'^(?P<start><!-- table: (?P<name>\S+) -->\n)(?P<body>.*?)^(?P<end><!-- end -->)$',
                   re.MULTILINE | re.DOTALL)


# What a table is

def markdown(
    table:pd.DataFrame, # Its index is not shown
    digits:int=3 # Significant digits of numbers
) -> str: # A GitHub table
    "A table as Markdown."
    def cell(v):
        if pd.isna(v): return ''
        if not isinstance(v, float | np.floating): return str(v)
        return f'{v:.{digits}g}' if abs(v) < 10 ** digits else f'{v:,.0f}'
    rows = [list(table.columns), ['---'] * table.shape[1], *table.itertuples(index=False)]
    return '\n'.join('| ' + ' | '.join(cell(v) for v in row) + ' |' for row in rows)


@dataclass(frozen=True)
class Column:
    "One column of a document's table."
    name: str           # Column of the CSV file
    header: str = ''    # What a reader sees; the name by default
    digits: str = ''    # Format of its numbers, such as '.4f' or ','; three significant digits by default


@dataclass(frozen=True)
class Table:
    "A table of a document. Calling it gives its Markdown."
    source: str | Callable[[], pd.DataFrame]    # NAME of results/NAME.csv, or a function that makes the table
    columns: tuple[Column, ...] = ()            # What is shown, in this order; all by default
    where: dict = field(default_factory=dict)   # {column: value}: rows that are shown; all by default
    say: dict = field(default_factory=dict)     # {text in the CSV file: text in the document}

    def __call__(self) -> str: # A GitHub table
        "Read, choose, rename, format. ValueError for a column that is not there."
        table = read(self.source) if isinstance(self.source, str) else self.source()
        columns = self.columns or tuple(map(Column, table.columns))
        missing = sorted({*self.where, *(c.name for c in columns)} - set(table.columns))
        if missing: raise ValueError(f"{self.source} has no columns {missing}; it has {list(table.columns)}")
        for column, value in self.where.items(): table = table[table[column] == value]
        return markdown(pd.DataFrame({c.header or c.name: _shown(table[c.name], c.digits, self.say) for c in columns}))


def read(
    name:str # NAME of results/NAME.csv
) -> pd.DataFrame: # As it was written
    "A table of measurements."
    return pd.read_csv(RESULTS / f'{name}.csv')


def named(
    *names:str, # Columns of the CSV file
    digits:str='' # Format of their numbers
) -> tuple[Column, ...]: # One each
    "Columns that keep their names."
    return tuple(Column(name, digits=digits) for name in names)


def _shown(values, digits, say): # a column of the CSV file -> a column of the document
    values = values.replace(say)
    return values.map(lambda v: '' if pd.isna(v) else format(v, digits)) if digits else values


# Tables that are more than columns of one CSV file

FIDELITY = {
    '`fast` (default), original split': 'fidelity_fast_original',
    '`fast` before anchors, paper split': 'fidelity_fast_paper',
    '`paper`, paper split': 'fidelity_paper+fast_paper',
}


def fidelity_figures(
    table:pd.DataFrame # Of benchmarks.fidelity: a row a data set and seed
) -> dict: # {figure: number}
    "The figures that the rows are judged by."
    c_fid = table['cFID before'] / table['cFID after'] - 1
    inception_score = table['IS after'] / table['IS before'] - 1
    return {
        'sets': len(table),
        'FID before': table['FID before'].mean(),
        'FID after': table['FID after'].mean(),
        'FID, % better': table['FID improvement, %'].mean(),
        'cFID, % better': c_fid.mean() * 100,
        'IS, % more': inception_score.mean() * 100,
        'FID at most twice the floor': int((table['FID after / floor'] <= 2).sum()),
        'FID worse after the mapper': int((table['FID after'] > table['FID before']).sum()),
        'novelty 0.7 or more': int((table['novelty after'] >= 0.7).sum()),
        **{f'TSTR {share} % of TRTR or more': int((100 * table['TSTR after'] / table['TSTR floor'] >= share).sum())
           for share in (90, 95)},
    }


def fidelity_summary() -> pd.DataFrame: # One row a setting
    "The figures of all sets, for each split and for the paper's stages."
    return pd.DataFrame([{'stages 1 and 2': name, **fidelity_figures(read(csv))} for name, csv in FIDELITY.items()])


def twelve_sets() -> str: # A GitHub table and two lines
    "The default on the archive's own splits: its scores, and the figures that they are judged by."
    return f"{Table('fidelity_fast_original', ANCHORED)()}\n\n{in_words()}"


def in_words() -> str: # Two lines
    "The figures that the default's scores on the archive's own splits are judged by."
    found = fidelity_figures(read('fidelity_fast_original'))
    return (f"Of {found['sets']} sets, FID is at most twice the floor on {found['FID at most twice the floor']}, "
            f"TSTR at least 95 % of TRTR on {found['TSTR 95 % of TRTR or more']} "
            f"and 90 % on {found['TSTR 90 % of TRTR or more']}, "
            f"and novelty at least 0.7 on {found['novelty 0.7 or more']}.\n"
            f"FID after the mapper is above that before it on {found['FID worse after the mapper'] or 'none'}; "
            f"its mean is {found['FID before']:.5f} before and {found['FID after']:.5f} after.")


def tstr_over_seeds() -> pd.DataFrame: # A row a data set
    "Accuracy of classifiers that learnt from real series and from samples, over seeds of both."
    rows = read('classes_tstr').set_index(['data', 'learnt from'])
    real, made = (rows.xs(name, level='learnt from') for name in ('real', 'before mapper'))
    return pd.DataFrame({'TRTR': real.fcn, 'deviation': real['fcn, deviation'], 'TSTR': made.fcn,
                         'its deviation': made['fcn, deviation'],
                         'TSTR, % of TRTR': 100 * made.fcn / real.fcn}).reset_index()


def by_set(
    csv:str, # Name of a CSV file with columns data and variant
    value:str # Column whose numbers are shown
) -> pd.DataFrame: # One row a variant, one column a data set
    "Variants over data sets, both in the file's order."
    table = read(csv)
    wide = table.pivot(index='variant', columns='data', values=value)
    return wide.loc[table.variant.unique(), table.data.unique()].reset_index()


# The tables, by the names in their markers

SCORES = (
    Column('data'), Column('series', 'training series'),
    Column('FID floor', 'floor', '.4f'), Column('FID recon', 'reconstructed', '.4f'),
    Column('FID before', 'before mapper', '.4f'), Column('FID after', 'after mapper', '.4f'),
    Column('FID after / floor', 'after / floor', '.2f'),
    Column('TSTR floor', 'TRTR', '.3f'), Column('TSTR after', 'TSTR', '.3f'),
    Column('novelty after', 'novelty', '.2f'),
)
ANCHORED = (
    Column('data'), Column('series', 'training series'),
    Column('FID floor', 'floor', '.4f'), Column('FID prior', 'prior alone', '.4f'),
    Column('FID before', 'before mapper', '.4f'), Column('FID after', 'after mapper', '.4f'),
    Column('TSTR floor', 'TRTR', '.3f'), Column('TSTR recon', 'TRecTR', '.3f'),
    Column('TSTR prior', 'TSTR, prior alone', '.3f'), Column('TSTR after', 'TSTR', '.3f'),
    Column('novelty prior', 'novelty, prior alone', '.2f'), Column('novelty after', 'novelty', '.2f'),
)
MORE_SCORES = (
    Column('data'), *named('cFID floor', 'cFID before', 'cFID after', digits='.4f'),
    Column('IS test', 'IS real', '.2f'), *named('IS before', 'IS after', digits='.2f'),
    *named('sharpness floor', 'sharpness before', 'sharpness after', digits='.2f'),
    Column('tau', 'τ'), Column('FID improvement, %', digits='.0f'),
)
SIZES = (
    Column('tokenizer', '`VQTokenizer`', ','), Column('prior', '`MaskedPrior`', ','),
    Column('mapper', '`NeuralMapper`', ','),
    Column('lf_tokens', 'LF tokens'), Column('hf_tokens', 'HF tokens'),
    Column('lf_codes', 'LF codes'), Column('hf_codes', 'HF codes'),
)
GROWTH = (
    Column('stage 1 starts, s'), Column('6 steps of stage 1 and marking used codes, s', '6 steps of stage 1, s'),
    *named('stage 2 starts, s', '6 steps of stage 2, s', 'stage 3 starts, s', '6 steps of stage 3, s'),
    *named('mapper selection, s', '64 samples, s'),
    Column('peak, MB', digits=',.0f'), Column('X, MB'),
)
LOST = (
    Column('data'), Column('TRTR, %', digits='.1f'),
    *named('tokenizer, points', 'HF prior, points', 'LF prior, points', 'mapper, points', digits='.1f'),
    *named('TSTR, % of TRTR', 'of ten times as many, % of TRTR', digits='.0f'),
)
AUGMENTED = (
    Column('treatment', ' '), Column('accuracy, %', digits='.1f'), *named('gain', 'worst', digits='+.1f'),
    *named('won', 'drawn', 'lost'), Column('p', digits='.2f'), Column('mean rank', digits='.1f'),
)
STEPS = Column('seq_len', 'steps')
MODELS = {'fast': '`fast`', 'paper': '`paper`'}
DEFAULT_LOSS = 'l1+stft+kernels+swd (default)'
LOSSES = {  # names of the measurement, and those it would have now
    'l1+stft+texture': 'l1+stft+kernels',
    'l1+stft+texture+match': DEFAULT_LOSS,
    'l1+stft+kernels+swd': DEFAULT_LOSS,
}
ANNEALED = {'falling': 'annealed'}
PIPELINE = {
    'tsai_nmvq, three stages': 'tsai_nmvq, an earlier default (prior of 160 epochs)',
    "tsai_nmvq, three stages, epochs {'tokenizer': 20, 'prior': 24, 'mapper': 5}":
        'tsai_nmvq, `epochs=dict(tokenizer=20, prior=24, mapper=5)`',
}
IMPORTS = {line: f'`{line}`' for line in ('import torch', 'from tsai.basics import *')}

TABLES: dict[str, Callable[[], str]] = { # {name in the marker: Markdown}
    'demo_scores': Table('demo_scores', (
        Column('series', ' '), *named('FID', 'cFID', 'IS', 'TSTR', 'sharpness', 'novelty', digits='.4f'))),
    'demo_accuracy': Table('demo_accuracy', (
        Column('batch_tfms', '`batch_tfms`'), *named('seed 0', 'seed 1', 'seed 2', 'mean', 'std', digits='.4f'))),

    'fidelity': twelve_sets,
    'fidelity_in_words': in_words,
    'fidelity_summary': Table(fidelity_summary, (
        *named('stages 1 and 2', 'sets'), *named('FID before', 'FID after', digits='.4f'),
        *named('FID, % better', 'cFID, % better', 'IS, % more', digits='.0f'),
        *named('FID at most twice the floor', 'FID worse after the mapper', 'novelty 0.7 or more'),
        Column('TSTR 90 % of TRTR or more'))),
    'fidelity_more': Table('fidelity_fast_paper', MORE_SCORES),
    'fidelity_paper': Table('fidelity_fast_paper', SCORES),
    'classes_lost_ridge': Table('classes_lost_ridge_original', LOST),
    'classes_guidance': Table('classes_guidance_original', (
        *named('guidance', 'rejected'), *named('TSTR', 'TSTR of ten times as many', 'agreement', digits='.3f'),
        *named('FID', 'cFID', digits='.4f'), Column('novelty', digits='.2f')), where={'data': 'mean'}),
    'classes_tstr': Table(tstr_over_seeds, (
        Column('data'), *named('TRTR', 'deviation', 'TSTR', 'its deviation', digits='.3f'),
        Column('TSTR, % of TRTR', digits='.0f'))),
    'standards': Table('standards', (*named('data', 'series', 'what'),
                                     *named('DS', 'PS', digits='.3f'), Column('C-FID', digits='.4f'),
                                     *named('MDD', 'ACD', 'SD', 'KD', digits='.3f'), Column('FID', digits='.4f'))),
    'fidelity_original_more': Table('fidelity_fast_original', MORE_SCORES),
    'fidelity_paper_stages': Table('fidelity_paper+fast_paper', SCORES),
    'fidelity_paper_stages_more': Table('fidelity_paper+fast_paper', MORE_SCORES),

    'gaps': Table('gaps', (Column('series'), Column('missing, %', digits='.0f'), *named('FID', 'floor', digits='.4f'),
                           Column('FID, times that of complete series', 'times that of complete series', '.2f'),
                           *named('FID with gaps', 'floor with gaps', digits='.4f'),
                           Column('KS of lengths', digits='.3f'))),
    'tau': Table(partial(by_set, 'stage3_tau', 'FID'), say=ANNEALED),
    'tau_chosen': Table(partial(by_set, 'stage3_tau', 'tau'), say=ANNEALED),
    'mapper': Table('stage3_mapper', named('variant', 'FID', 'cFID', 'IS', 'TSTR', 'sharpness', 'novelty'),
                    where={'data': 'mean'}, say=LOSSES),
    'mapper_by_set': Table(partial(by_set, 'stage3_mapper', 'FID'), say=LOSSES),

    'sizes': Table('speed_sizes', (Column('model', 'preset'), *SIZES), where={'seq_len': 150}, say=MODELS),
    'sizes_by_length': Table('speed_sizes', (STEPS, Column('model', 'preset'), *SIZES), say=MODELS),
    'speed_reference': Table('speed_reference', (
        STEPS, *named('what', 'reference, ms'), Column('paper, ms', '`paper`, ms'), Column('fast, ms', '`fast`, ms'),
        Column('reference / paper', 'reference / `paper`', '.1f'),
        Column('reference / fast', 'reference / `fast`', '.1f'))),
    'speed_fit': Table('speed_fit', (
        *named('data', 'series'), STEPS, *named('fit, s', 'tokenizer, s', 'prior, s', 'mapper, s', digits='.0f'),
        Column('FID of as many samples', 'FID', '.4f'), Column('floor', digits='.4f'))),
    'speed_pipeline': Table('speed_pipeline', (
        Column('model'), Column('seconds', digits='.0f'), Column('FID', digits='.4f'),
        Column('reference seconds / seconds', 'times as fast', '.1f')), say=PIPELINE),
    'speed_own': Table('speed_own'),
    **{f'augmentation_{name}': Table(f'augmentation_{name}', AUGMENTED) for name in ('fcn', 'seeds', 'inception')},
    'augmentation_thinned': Table('augmentation_thinned', (Column('treatment', ' '), Column('G-mean, %', digits='.1f'),
                                                           *AUGMENTED[2:])),

    'corpus': Table('corpus', (Column('series', digits=','), Column('seconds', digits='.0f'),
                               *named('series a second', 'resident, MB', digits=',.0f'))),
    'soak': Table('soak', (*named('batches', 'refills', digits=',.0f'), Column('memory, MB', digits='.0f'),
                           Column('ms a batch', digits='.2f'), Column('share of the rarer class, %', digits='.1f'))),
    'kills': Table('kills'),
    'speed_augment': Table('speed_augment', (
        STEPS, *named('without, ms', 'pool full, ms', 'pool refilled, ms'),
        *named('pool full / without', 'pool refilled / without', digits='.2f'))),
    'speed_import': Table('speed_import', say=IMPORTS),
    'growth_length': Table('speed_growth_length', (STEPS, *GROWTH)),
    'growth_series': Table('speed_growth_series', (Column('n', 'series', ','), *GROWTH)),
    'growth_channels': Table('speed_growth_channels', (Column('c_in', 'channels'), *GROWTH)),
}


# The command

def documents() -> list[Path]: # README.md and the pages, in order
    "Files that may hold tables."
    return [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def filled(
    text:str, # A document
    name:str='the document' # For messages
) -> str: # The same with its tables as they should be
    "Put each table between its markers. ValueError for an unknown table, or a marker without its end."
    found = list(BLOCK.finditer(text))
    if len(found) != len(MARKER.findall(text)) or any(MARKER.search(block['body']) for block in found):
        raise ValueError(f"{name}: a marker is not <!-- table: NAME -->, or has no <!-- end --> on a line of its own")
    unknown = sorted({block['name'] for block in found} - set(TABLES))
    if unknown: raise ValueError(f"{name} asks for tables {unknown}; benchmarks/tables.py has {list(TABLES)}")
    return BLOCK.sub(lambda block: f"{block['start']}\n{TABLES[block['name']]()}\n\n{block['end']}", text)


def out_of_date() -> dict[Path, str]: # {file: what it should hold}
    "Documents whose tables are not what the CSV files say."
    now = {file: file.read_text(encoding='utf-8') for file in documents()}
    new = {file: filled(text, str(file.relative_to(ROOT))) for file, text in now.items()}
    return {file: text for file, text in new.items() if text != now[file]}


def main(
    argv:list[str]|None=None # Arguments; those of the process by default
) -> int: # Exit code
    "Write the tables of README.md and docs/, or check them."
    parser = argparse.ArgumentParser(prog='python -m benchmarks.tables', description=main.__doc__)
    parser.add_argument('--check', action='store_true', help="write nothing; exit code 1 where a file is out of date")
    check = parser.parse_args(argv).check
    stale = out_of_date()
    for file, text in stale.items():
        print(f"{file.relative_to(ROOT)}", 'is out of date: run python -m benchmarks.tables' if check else 'written')
        if not check: file.write_text(text, encoding='utf-8')
    return int(check and bool(stale))


if __name__ == '__main__': sys.exit(main())
