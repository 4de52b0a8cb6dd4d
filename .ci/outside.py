"""The installed package, seen from outside its source tree: tsai finds it, and every module of it imports.

Run with the interpreter it is installed for, from any other folder. `.ci/run` and the tests both do."""
import importlib
import pkgutil
import sys
from pathlib import Path

from tsai.all import *  # before anything of ours: this is what a user does, and what imports torch

import tsai_nmvq

assert NMVQAugment is tsai_nmvq.NMVQAugment
names = [module.name for module in pkgutil.walk_packages(tsai_nmvq.__path__, 'tsai_nmvq.')]
for name in ['tsai_nmvq', *names]:
    file = importlib.import_module(name).__file__
    assert Path(file).is_relative_to(sys.prefix), f"{name} was imported from {file}, not from {sys.prefix}"
print(f"{len(names)} modules of the installed tsai_nmvq import, and tsai finds NMVQAugment")
