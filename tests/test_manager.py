"""Discovery: plugins are found by a star import of tsai, and a bad one harms nothing."""
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

import pytest
from plugins import python

from tsai_nmvq.host import manager as host
from tsai_nmvq.host.hookspecs import HOOKS, TsaiHooks, hookimpl
from tsai_nmvq.host.star_import import STAR_MODULES


def test_star_import_finds_plugins(found):
    assert found.in_scope == ['DummyTfm', 'DummyNet', 'dummy_helper', 'survivor', 'NMVQAugment']


def test_batch_tfms_are_among_tsai_transforms(found): assert found.transforms


def test_loading_twice_adds_once(found): assert found.counts == [1, 1, 1]


def test_broken_plugins_are_logged(found):
    errors = dict(broken_import='broken on import', broken_hook='no architectures today', no_dict='not iterable')
    for name, error in errors.items(): assert f'{name!r}' in found.log and error in found.log


def test_names_of_tsai_are_kept(found):
    assert found.kept and found.archs[2] == 'tsai.models.InceptionTime'
    assert found.log.count("'InceptionTime'") == found.log.count("'TSStandardize'") == 1


def test_switched_off(tmp_path):
    python('''
import sys, torch
assert not [f for f in sys.meta_path if type(f).__module__.startswith('tsai_nmvq')]
from tsai.basics import *
from tsai_nmvq.host.manager import load_plugins
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


def test_every_hook_says_what_it_gives():
    hooks = {name for name in vars(TsaiHooks) if name.startswith('tsai_')}
    assert hooks == set(HOOKS) == {call for call in vars(host.manager.hook) if call.startswith('tsai_')}


# In this process

@pytest.fixture
def plugin():
    "A plugin registered for one test, its traces in tsai taken away afterwards."
    import tsai.basics
    from tsai import learner
    from tsai.data import transforms
    class Net: pass
    class Plugin:
        @hookimpl
        def tsai_archs(self): return dict(TestNet=Net)
    plugin = Plugin()
    host.manager.register(plugin, 'test')
    names, star_modules = list(learner.all_arch_names), list(host._star_modules)
    try: yield plugin
    finally:
        if host.manager.is_registered(plugin): host.manager.unregister(plugin)
        host._offered.pop('test', None)
        learner.all_arch_names[:], host._star_modules[:] = names, star_modules
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
    host.load_plugins(STAR_MODULES)
    assert 'TestNet' not in tsai.basics.all_arch_names and 'TestNet' not in vars(tsai.basics)


def test_names_go_to_the_star_modules_that_were_named_once(plugin):
    import tsai.basics
    host._star_modules.clear()
    host.load_plugins()
    assert 'TestNet' in tsai.basics.all_arch_names and 'TestNet' not in vars(tsai.basics)
    host.load_plugins(STAR_MODULES)
    assert vars(tsai.basics).pop('TestNet').__name__ == 'Net'
    host.load_plugins()
    assert vars(tsai.basics)['TestNet'].__name__ == 'Net'


def test_the_first_plugin_to_offer_a_name_keeps_it(plugin):
    class Other:
        @hookimpl
        def tsai_archs(self): return dict(TestNet=dict, OtherNet=list)
    host.manager.register(other := Other(), 'other')
    try:
        assert host.plugin_archs()['TestNet'].__name__ == 'Net' and host.plugin_archs()['OtherNet'] is list
    finally:
        host.manager.unregister(other)
        host._offered.pop('other', None)
