"""The package as it is installed: import order, public names, and the wheel in an environment outside the source tree."""
import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

import tsai_nmvq

SOURCE = Path(__file__).parents[1]
ORDER = [ # a module imports only modules above it
    'models.bands', 'models.layers', 'models.quantizer', 'models.tokenizer', 'models.schedule', 'models.prior', 'models.mapper',
    'rng', 'files', 'data', 'metrics', 'plots', 'trial', 'losses', 'learners', 'generator', 'augment', '_autoload', 'host', 'plugin', 'cli',
    'all', '__main__']
LAZY = {('_autoload', 'host')} # once tsai is asked for names
MODULES = {'.'.join(path.relative_to(SOURCE/'tsai_nmvq').with_suffix('').parts): path
           for path in (SOURCE/'tsai_nmvq').rglob('*.py') if path.stem != '__init__'}


def imports(module):
    "Absolute names of what a module of ours imports, at the top or inside a function."
    package = ['tsai_nmvq', *module.split('.')[:-1]]
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            above = package[:len(package) + 1 - node.level] if node.level else []
            source = '.'.join([*above, *filter(None, [node.module])])
            yield from (f'{source}.{alias.name}' for alias in node.names)


def imported_modules(module):
    names = {name.removeprefix('tsai_nmvq.') for name in imports(module) if name.startswith('tsai_nmvq.')}
    return {known for known in ORDER for name in names if name == known or name.startswith(f'{known}.')}


def test_order_names_every_module(): assert sorted(MODULES) == sorted(ORDER)


@pytest.mark.parametrize('module', ORDER)
def test_imports_only_go_up(module):
    below = {name for name in imported_modules(module) if ORDER.index(name) >= ORDER.index(module) and (module, name) not in LAZY}
    assert not below, f"{module} imports {below}"


@pytest.mark.parametrize('module', ORDER[:ORDER.index('cli')])
def test_nothing_a_plugin_needs_star_imports_tsai(module): # tsai.basics and tsai.all load the plugins
    assert not [name for name in imports(module) if name.startswith(('tsai.basics', 'tsai.all'))]


def test_augment_needs_no_generator(): assert 'generator' not in imported_modules('augment')


def test_version_is_the_same_everywhere():
    config = ConfigParser(delimiters=['='])
    config.read(SOURCE/'settings.ini')
    assert config['DEFAULT']['version'] == tsai_nmvq.__version__


def test_public_names():
    from tsai_nmvq import all
    assert set(tsai_nmvq.__all__) <= set(dir(tsai_nmvq)) and all.__all__ == tsai_nmvq.__all__
    assert [name for name in tsai_nmvq.__all__ if getattr(all, name) is not getattr(tsai_nmvq, name)] == []
    with pytest.raises(AttributeError, match="'tsai_nmvq' has no attribute 'nonsense'"): tsai_nmvq.nonsense


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel, built from a copy: a build leaves folders in its source."
    source, dist = tmp_path_factory.mktemp('source')/'main', tmp_path_factory.mktemp('dist')
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns('.*', 'build', 'dist', '*.egg-info', '__pycache__', 'nbs'))
    _run(sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', dist, source)
    return next(dist.glob('*.whl'))


@pytest.fixture(scope='module')
def python(wheel, tmp_path_factory):
    "An interpreter with the wheel installed, and everything else from the environment of the tests."
    env = tmp_path_factory.mktemp('env')
    venv.create(env)
    site = sysconfig.get_path('purelib', 'venv', dict(base=env, platbase=env))
    (Path(site)/'everything_else.pth').write_text(sysconfig.get_path('purelib'))
    python = Path(sysconfig.get_path('scripts', 'venv', dict(base=env)))/Path(sys.executable).name
    _run(sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', wheel)
    return python


def test_wheel_holds_every_module(wheel):
    packed = {name for name in ZipFile(wheel).namelist() if name.endswith('.py')}
    assert packed == {path.relative_to(SOURCE).as_posix() for path in (SOURCE/'tsai_nmvq').rglob('*.py')}


def test_wheel_in_a_fresh_process(python, tmp_path): # the star import is what imports torch
    _run(python, '-c', '''
from tsai.all import *
NMVQAugment, NMVQGenerator, TokenizerLearner
assert 'VQTokenizer' in all_arch_names
assert get_arch('VQTokenizer').__module__ == 'tsai_nmvq.models.tokenizer'
assert build_ts_model(get_arch('VQTokenizer'), c_in=1, c_out=2, seq_len=150).seq_len == 150
''', cwd=tmp_path)


def test_wheel_after_torch(python, tmp_path): # tsai is imported after torch has called us
    _run(python, '-c', '''
import torch
from tsai.basics import *
assert get_arch('VQTokenizer') is VQTokenizer
from tsai.data.transforms import NMVQAugment as placed
assert placed is NMVQAugment

import importlib, pkgutil, sys, tsai_nmvq
for module in pkgutil.walk_packages(tsai_nmvq.__path__, 'tsai_nmvq.'):
    if not module.name.endswith('__main__'):
        assert importlib.import_module(module.name).__file__.startswith(sys.prefix), module.name
''', cwd=tmp_path)


def _run(*command, cwd=None):
    env = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'TSAI_PLUGINS')}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
