"""Section 'import': fresh processes with and without the plugin."""
import os
import subprocess
import sys
from functools import partial

import pandas as pd

from ..common.records import keep
from ..common.timing import alternate

__all__ = ['measure']

LINES = ('import torch', 'from tsai.basics import *')
VARIANTS = {'without': dict(TSAI_PLUGINS='0', TORCH_DEVICE_BACKEND_AUTOLOAD='0'), 'with': {}} # environment variables


def measure():
    "One table: a row a line."
    t = alternate({(line, name): partial(run, line, env) for line in LINES for name, env in VARIANTS.items()}, rounds=5)
    rows = [{'what': line, **{f'{name} the plugin, s': t[line, name] for name in VARIANTS}} for line in LINES]
    keep('speed_import', pd.DataFrame(rows), 'Import', 'python -m benchmarks.speed --sections import',
         "A fresh process each time.")


def run(
    line:str, # Of Python
    env:dict[str, str] # Environment variables besides this process's
):
    "One line in a process of its own."
    subprocess.run([sys.executable, '-c', line], check=True, env={**os.environ, **env}, capture_output=True)
