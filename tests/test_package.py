"""The package as it is installed: public names, what other files repeat of it, the wheel outside the source tree."""
import os
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
