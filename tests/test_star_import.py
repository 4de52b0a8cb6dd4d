"""What `import torch` calls: it watches for tsai, costs next to nothing, and never raises."""
import logging
import statistics
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType

import pytest
from plugins import python

from tsai_nmvq.host import manager, star_import


def test_autoload_costs_import_torch_less_than_5_ms(tmp_path): # from entry point to watching: all that comes on top
    code = '''
import logging, time
from importlib.metadata import entry_points
autoload = next(ep for ep in entry_points(group='torch.backends') if ep.name == 'tsai_nmvq')
start = time.perf_counter()
autoload.load()()
print(time.perf_counter() - start)
'''
    assert statistics.median(float(python(code, tmp_path)[0]) for _ in range(7)) < 0.005


@pytest.fixture
def star_module(monkeypatch):
    "A stand-in for `tsai.basics`, connected, that counts how often plugins are loaded for it."
    module = module_from_spec(ModuleSpec('tsai.basics', None))
    module.loads = []
    def load(star_modules):
        module.loads.append(star_modules)
        vars(module).update(NMVQAugment=1)
    monkeypatch.setattr(manager, 'load_plugins', load)
    star_import.connect(module)
    return module


LOADED_ONCE = [('tsai.basics', 'tsai.all')] # for these modules


def test_plugins_load_when_names_are_asked_for(star_module):
    assert not hasattr(star_module, '__path__') and not star_module.loads
    assert star_module.NMVQAugment == 1 and star_module.loads == LOADED_ONCE
    with pytest.raises(AttributeError, match="'tsai.basics' has no attribute 'nonsense'"): star_module.nonsense
    assert star_module.loads == LOADED_ONCE


def test_half_imported_module_loads_nothing(star_module):
    star_module.__spec__._initializing = True
    assert not hasattr(star_module, '__all__') and not star_module.loads
    star_module.__spec__._initializing = False
    assert not hasattr(star_module, '__all__') and star_module.loads == LOADED_ONCE


def test_failed_load_does_not_break_the_star_import(star_module, monkeypatch, caplog):
    def fail(star_modules): raise RuntimeError('host is ill')
    monkeypatch.setattr(manager, 'load_plugins', fail)
    assert not hasattr(star_module, '__all__') and 'host is ill' in caplog.text


@pytest.fixture
def unwatched(monkeypatch):
    "No finder of ours."
    others = [finder for finder in sys.meta_path if not isinstance(finder, star_import.StarImportFinder)]
    monkeypatch.setattr(sys, 'meta_path', others)


def test_autoload_never_raises(unwatched, monkeypatch, caplog):
    def fail(module): raise RuntimeError('cannot connect')
    monkeypatch.setitem(sys.modules, 'tsai.basics', ModuleType('tsai.basics'))
    monkeypatch.setattr(star_import, 'connect', fail)
    with caplog.at_level(logging.ERROR): star_import.autoload()
    assert 'cannot connect' in caplog.text


def test_autoload_watches_once(unwatched):
    n = len(sys.meta_path)
    star_import.autoload(), star_import.autoload()
    assert len(sys.meta_path) == n + 1
