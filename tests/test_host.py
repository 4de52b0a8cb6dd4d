"""Discovery: plugins are found by a star import of tsai, and a bad one harms nothing."""
import json
import logging
import os
import statistics
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType, SimpleNamespace

import pytest

from tsai_nmvq import _autoload, host

DUMMY = '''
from functools import cache
from tsai_nmvq.host import hookimpl

@cache
def parts():
    import torch
    from fastai.vision.augment import RandTransform
    class DummyTfm(RandTransform): order = 90
    class DummyMLP(torch.nn.Module): # tsai passes seq_len to any class with MLP in its name
        def __init__(self, c_in, c_out, seq_len): super().__init__(); self.seq_len = seq_len
    class DummyNet(torch.nn.Module): # not to this one
        def __init__(self, c_in, c_out, seq_len): super().__init__(); self.seq_len = seq_len
    return DummyTfm, DummyMLP, DummyNet

@hookimpl
def tsai_batch_tfms(): return dict(DummyTfm=parts()[0])
@hookimpl
def tsai_archs(): return {cls.__name__: cls for cls in parts()[1:]}
@hookimpl
def tsai_randaugs(): return [(parts()[0], 0.1, 1.)]
@hookimpl
def tsai_names(): return dict(dummy_helper=len)
'''

BROKEN_HOOK = '''
from tsai_nmvq.host import hookimpl
@hookimpl
def tsai_archs(): raise RuntimeError("no architectures today")
@hookimpl
def tsai_names(): return dict(survivor=len)
'''

GREEDY = '''
from tsai_nmvq.host import hookimpl
@hookimpl
def tsai_archs(): return dict(InceptionTime=dict)
@hookimpl
def tsai_names(): return dict(TSStandardize=dict)
'''

NO_DICT = '''
from tsai_nmvq.host import hookimpl
@hookimpl
def tsai_batch_tfms(): return 3
'''

PLUGINS = dict(dummy=DUMMY, broken_hook=BROKEN_HOOK, no_dict=NO_DICT, greedy=GREEDY, broken_import='raise OSError("broken on import")',
               unlisted=DUMMY.replace('dummy_helper', 'unlisted_helper'))

REPORT = '''
from tsai.basics import *
import json, sys, tsai.data.transforms
from tsai.data.preprocessing import TSStandardize as own
from tsai.models.utils import build_ts_model, create_model
from tsai.models.multimodal import get_arch as star_imported
from tsai_nmvq.host import load_plugins
load_plugins(), load_plugins()
X, y, splits = np.random.randn(8, 1, 40).astype('float32'), np.array(list('abababab')), (list(range(4)), list(range(4, 8)))
dls = get_ts_dls(X, y, splits=splits, bs=4)
json.dump(dict(
    in_scope=[name for name in ('DummyTfm', 'DummyNet', 'dummy_helper', 'survivor', 'NMVQAugment', 'unlisted_helper') if name in globals()],
    transforms='DummyTfm' in tsai.data.transforms.__all__ and tsai.data.transforms.DummyTfm is DummyTfm,
    archs=[get_arch('DummyNet').__name__, star_imported('DummyNet').__name__, get_arch('InceptionTime').__module__],
    counts=[all_arch_names.count('DummyNet'), all_arch_names.count('InceptionTime'), all_TS_randaugs.count((DummyTfm, 0.1, 1.))],
    seq_len=[create_model(DummyNet, c_in=1, c_out=2, seq_len=150).seq_len, build_ts_model(DummyNet, 1, 2, 30).seq_len,
             build_ts_model(DummyMLP, dls=dls).seq_len, ts_learner(dls, 'DummyNet').model.seq_len,
             TSClassifier(X, y, splits=splits, arch='DummyNet').model.seq_len],
    kept=TSStandardize is own,
    vocabs=[list(map(str, dls.vocab)), list(map(str, TSClassifier(X, list(y), splits=splits, tfms=None).dls.vocab)),
            *[hasattr(get_ts_dls(X, numbers, splits=splits, bs=4), 'vocab') for numbers in (np.arange(8.), None)]],
), sys.stdout)
'''


def python(code, cwd, **env):
    "Standard output and error of `code` in a fresh process, outside the source tree."
    done = subprocess.run([sys.executable, '-c', code], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    "What a process finds after a star import of tsai, with `PLUGINS` installed and one of them not in `TSAI_PLUGINS`."
    folder = tmp_path_factory.mktemp('plugins')
    for name, source in PLUGINS.items():
        (folder/f'{name}.py').write_text(source)
        info = folder/f'{name}-0.1.dist-info'
        info.mkdir()
        (info/'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n')
        (info/'entry_points.txt').write_text(f'[tsai]\n{name} = {name}\n')
    listed = ', '.join(['nmvq', *PLUGINS]).replace(', unlisted', '')
    out, err = python(REPORT, folder, PYTHONPATH=str(folder), TSAI_PLUGINS=listed)
    return SimpleNamespace(**json.loads(out), log=err)


def test_star_import_finds_plugins(found):
    assert found.in_scope == ['DummyTfm', 'DummyNet', 'dummy_helper', 'survivor', 'NMVQAugment']


def test_batch_tfms_are_among_tsai_transforms(found): assert found.transforms


def test_archs_are_found_by_name(found): assert found.archs[:2] == ['DummyNet', 'DummyNet']


def test_archs_get_seq_len(found): assert found.seq_len == [150, 30, 40, 40, 40]


def test_string_labels_are_classes_without_tfms(found): assert found.vocabs == [['a', 'b'], ['a', 'b'], False, False]


def test_loading_twice_adds_once(found): assert found.counts == [1, 1, 1]


def test_broken_plugins_are_logged(found):
    for name, error in dict(broken_import='broken on import', broken_hook='no architectures today', no_dict='not iterable').items():
        assert f'{name!r}' in found.log and error in found.log


def test_names_of_tsai_are_kept(found):
    assert found.kept and found.archs[2] == 'tsai.models.InceptionTime'
    assert found.log.count("'InceptionTime'") == found.log.count("'TSStandardize'") == 1


def test_switched_off(tmp_path):
    python('''
import sys, torch
assert not [f for f in sys.meta_path if type(f).__module__.startswith('tsai_nmvq')]
from tsai.basics import *
from tsai_nmvq.host import load_plugins
assert not load_plugins().get_plugins() and 'NMVQAugment' not in globals() and not hasattr(get_arch, '__wrapped__')
from tsai_nmvq.all import *
NMVQAugment
''', tmp_path, TSAI_PLUGINS='0')


def test_plugin_module_is_light(tmp_path):
    python('''
import sys, tsai_nmvq.plugin
heavy = {'torch', 'tsai', 'fastai', 'numpy'} & set(sys.modules)
assert not heavy, heavy
''', tmp_path)


def test_autoload_costs_import_torch_less_than_5_ms(tmp_path): # entry point to watching: all that `import torch` does more
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
def plugin():
    "A plugin registered for one test, its traces in tsai taken away afterwards."
    import tsai.basics
    from tsai import learner
    from tsai.data import transforms
    class Net: pass
    class Plugin:
        @host.hookimpl
        def tsai_archs(self): return dict(TestNet=Net)
    host.manager.register(plugin := Plugin(), 'test')
    names = list(learner.all_arch_names)
    try: yield plugin
    finally:
        if host.manager.is_registered(plugin): host.manager.unregister(plugin)
        host._offered.pop('test', None)
        learner.all_arch_names[:] = names
        for module in tsai.basics, transforms: vars(module).pop('TestNet', None)


def test_unregistered_plugin_is_forgotten(plugin):
    host.load_plugins()
    from tsai.learner import get_arch
    assert get_arch('TestNet').__name__ == 'Net'
    host.manager.unregister(plugin)
    with pytest.raises(ValueError, match='TestNet'): get_arch('TestNet')


def test_steps_back_when_tsai_has_a_loader(plugin, monkeypatch):
    import tsai.basics
    monkeypatch.setitem(sys.modules, 'tsai.plugins', module_from_spec(ModuleSpec('tsai.plugins', None)))
    host.load_plugins()
    assert 'TestNet' not in tsai.basics.all_arch_names and 'TestNet' not in vars(tsai.basics)


@pytest.fixture
def star_module(monkeypatch):
    "A stand-in for `tsai.basics`, connected, that counts how often plugins are loaded for it."
    module = module_from_spec(ModuleSpec('tsai.basics', None))
    module.loads = []
    monkeypatch.setattr(host, 'load_plugins', lambda: (module.loads.append(1), vars(module).update(NMVQAugment=1)))
    _autoload.connect(module)
    return module


def test_plugins_load_when_names_are_asked_for(star_module):
    assert not hasattr(star_module, '__path__') and not star_module.loads
    assert star_module.NMVQAugment == 1 and star_module.loads == [1]
    with pytest.raises(AttributeError, match="'tsai.basics' has no attribute 'nonsense'"): star_module.nonsense
    assert star_module.loads == [1]


def test_half_imported_module_loads_nothing(star_module):
    star_module.__spec__._initializing = True
    assert not hasattr(star_module, '__all__') and not star_module.loads
    star_module.__spec__._initializing = False
    assert not hasattr(star_module, '__all__') and star_module.loads == [1]


def test_failed_load_does_not_break_the_star_import(star_module, monkeypatch, caplog):
    def fail(): raise RuntimeError('host is ill')
    monkeypatch.setattr(host, 'load_plugins', fail)
    assert not hasattr(star_module, '__all__') and 'host is ill' in caplog.text


def test_autoload_never_raises(monkeypatch, caplog):
    def fail(module): raise RuntimeError('cannot connect')
    monkeypatch.setattr(sys, 'meta_path', [f for f in sys.meta_path if not isinstance(f, _autoload.StarImportFinder)])
    monkeypatch.setitem(sys.modules, 'tsai.basics', ModuleType('tsai.basics'))
    monkeypatch.setattr(_autoload, 'connect', fail)
    with caplog.at_level(logging.ERROR): _autoload.autoload()
    assert 'cannot connect' in caplog.text


def test_autoload_watches_once(monkeypatch):
    monkeypatch.setattr(sys, 'meta_path', [f for f in sys.meta_path if not isinstance(f, _autoload.StarImportFinder)])
    n = len(sys.meta_path)
    _autoload.autoload(), _autoload.autoload()
    assert len(sys.meta_path) == n + 1
