"""The package as it is installed: public names, what other files repeat of it, the wheel outside the source tree."""
import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

import tsai_nmvq

SOURCE = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def settings():
    config = ConfigParser(delimiters=['='])
    config.read(SOURCE/'settings.ini', encoding='utf-8')
    return config['DEFAULT']


def test_version_is_the_same_everywhere(settings):
    assert settings['version'] == tsai_nmvq.__version__
    assert f'\nversion: {tsai_nmvq.__version__}\n' in (SOURCE/'CITATION.cff').read_text(encoding='utf-8')
    assert f'## [{tsai_nmvq.__version__}]' in (SOURCE/'CHANGELOG.md').read_text(encoding='utf-8')


def test_nbdev_2_and_3_read_the_same_settings(settings):
    nbdev_3 = tomllib.loads((SOURCE/'pyproject.toml').read_text(encoding='utf-8'))['tool']['nbdev']
    assert {name: str(value) for name, value in nbdev_3.items()} == {name: settings[name] for name in nbdev_3}


def imported_packages():
    "What modules of the package import, at the top or in functions."
    trees = [ast.parse(file.read_text(encoding='utf-8')) for file in (SOURCE/'tsai_nmvq').rglob('*.py')]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition('.')[0] for name in names} - sys.stdlib_module_names - {'tsai_nmvq'}


def asked_for(settings, name='requirements'): # {package as it is named on an index: whether it has a lowest version}
    lines = [re.split('#', line)[0].strip() for line in settings[name].splitlines()]
    return {re.split(r'[<>=\[]', line)[0]: '>=' in line for line in lines if line}


def test_what_is_imported_is_asked_for(settings):
    named = {'sklearn': 'scikit-learn', 'imblearn': 'imbalanced-learn'}
    imported = {named.get(name, name) for name in imported_packages()} - {'dask'} # of an extra
    assert imported <= set(asked_for(settings)) and 'pandas' in imported


@pytest.mark.parametrize('group', ['requirements', 'dev_requirements', 'dask_requirements'])
def test_what_is_asked_for_has_a_lowest_version(settings, group):
    assert [name for name, has_lowest in asked_for(settings, group).items() if not has_lowest] == []


def test_the_table_of_licences_has_what_is_asked_for(settings):
    rows = re.findall(r'^\| ([\w.-]+) \| yes \|', (SOURCE/'docs'/'licences.md').read_text(encoding='utf-8'), re.M)
    assert set(rows) == {name.lower().replace('_', '-') for name in asked_for(settings)}


def test_public_names():
    from tsai_nmvq import all
    assert set(tsai_nmvq.__all__) <= set(dir(tsai_nmvq)) and all.__all__ == tsai_nmvq.__all__
    assert [name for name in tsai_nmvq.__all__ if getattr(all, name) is not getattr(tsai_nmvq, name)] == []
    with pytest.raises(AttributeError, match="'tsai_nmvq' has no attribute 'nonsense'"): tsai_nmvq.nonsense


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel, built from a copy: a build leaves folders in its source."
    source, dist = tmp_path_factory.mktemp('source')/'main', tmp_path_factory.mktemp('dist')
    left_out = shutil.ignore_patterns('.*', 'build', 'dist', '*.egg-info', '__pycache__', 'nbs')
    shutil.copytree(SOURCE, source, ignore=left_out)
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


def test_wheel_holds_every_module_and_says_that_it_has_types(wheel):
    names = ZipFile(wheel).namelist()
    modules = {path.relative_to(SOURCE).as_posix() for path in (SOURCE/'tsai_nmvq').rglob('*.py')}
    assert {name for name in names if name.endswith('.py')} == modules and 'tsai_nmvq/py.typed' in names


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
''', cwd=tmp_path)


def test_wheel_outside_the_source_tree(python, tmp_path): _run(python, SOURCE/'.ci'/'outside.py', cwd=tmp_path)


def _run(*command, cwd=None):
    env = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'TSAI_PLUGINS')}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
