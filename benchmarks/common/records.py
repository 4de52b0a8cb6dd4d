"""What a measurement leaves behind: JSON to go on from, and tables as text files with command and machine."""
import json
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

from tsai_nmvq.atomic import atomic_write

from ..tables import RESULTS, markdown

__all__ = ['write_json', 'remembered', 'machine', 'keep']

PACKAGES = ('tsai', 'fastai', 'torch', 'numpy', 'timevqvae')


def write_json(
    file:Path, # Where to
    found # What JSON holds, and numpy's numbers
):
    "A file that is whole or not there."
    with atomic_write(file) as aside: aside.write_text(json.dumps(found, default=float))


def remembered(
    file:Path, # JSON
    measure:Callable, # Function without arguments -> what JSON holds
    again:bool=False # Measure although the file is there
): # What was measured, as JSON gives it back
    "Measure once: a benchmark that was stopped goes on from the files it left."
    if again: file.unlink(missing_ok=True)                               # stopped now, it is measured by the next call
    if not file.exists(): write_json(file, measure())
    return json.loads(file.read_text())


def machine(
    seeds:str='0' # Seeds of the run, with commas
) -> str: # One line for the foot of a table
    "Seeds, threads, processor, versions, date."
    versions = ', '.join(f'{package} {found}' for package in PACKAGES if (found := _version(package)))
    gpu = f', {torch.cuda.get_device_name()}' if torch.cuda.is_available() else ''
    return (f"seed {seeds}, {torch.get_num_threads()} threads, {platform.machine()} {_processor()}{gpu}, "
            f"Python {platform.python_version()}, {versions}, {time.strftime('%Y-%m-%d')}")


def _version(package): # '' where it is not installed
    try: return version(package)
    except PackageNotFoundError: return ''


def _processor():
    cpuinfo = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*:\s*(.+)', cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor()


def keep(
    name:str, # results/NAME.csv and results/NAME.md
    table:pd.DataFrame, # What was measured
    title:str, # Heading
    command:str, # What makes it again
    note:str='', # What a reader must know
    shown:list|None=None, # Columns of the Markdown table; all by default
    seeds:str='0' # Seeds of the run, with commas
):
    "Print a table and write it down, as CSV and as Markdown with its command and machine."
    RESULTS.mkdir(exist_ok=True)
    parts = [f'## {title}', note, markdown(table if shown is None else table[shown]), f'`{command}`: {machine(seeds)}']
    text = '\n\n'.join(part for part in parts if part) + '\n'
    print(text)
    table.to_csv(RESULTS / f'{name}.csv', index=False, float_format='%.5g')
    (RESULTS / f'{name}.md').write_text(text, encoding='utf-8')
