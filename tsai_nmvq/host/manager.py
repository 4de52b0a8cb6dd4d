"""Discovery of tsai's plugins, and placing of what they offer.

`TSAI_PLUGINS` limits loading to the entry points it names, separated by commas; `0` names none."""
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec

from pluggy import PluginManager

from .hookspecs import HOOKS, TsaiHooks
from .patches import patch_tsai

__all__ = ['manager', 'load_plugins', 'plugin_archs']

log = logging.getLogger(__name__)
manager = PluginManager('tsai')
manager.add_hookspecs(TsaiHooks)
_tried:set = set() # entry points, the broken ones too
_offered:dict = {} # {plugin name: {hook: what it gave}}
_star_modules:list = [] # names of modules whose star import brings plugins' names along


def load_plugins(
    star_modules:tuple=() # Names of modules whose star import brings plugins' names along; kept for later calls
) -> PluginManager:
    "Load each plugin once, and put what it offers into the tsai modules imported so far; call it as often as you like."
    if _tsai_has_a_loader(): return manager
    for entry_point in entry_points(group='tsai'):
        if entry_point in _tried or not _wanted(entry_point.name): continue
        _tried.add(entry_point)
        with _harmless(f"tsai plugin {entry_point.name!r} ({entry_point.value}) could not be loaded"):
            manager.register(entry_point.load(), entry_point.name)
    _star_modules.extend(name for name in star_modules if name not in _star_modules)
    plugins = _plugins()
    if plugins: patch_tsai(plugin_archs)
    for name, plugin in plugins:
        with _harmless(f"what tsai plugin {name!r} offers could not be placed"):
            _place(**_offers(name, plugin))
    return manager


def plugin_archs() -> dict: # {name: class}
    "Architectures of all plugins; the first plugin to offer a name keeps it."
    archs:dict = {}
    for name, plugin in _plugins():
        for arch, cls in _offers(name, plugin)['tsai_archs'].items(): archs.setdefault(arch, cls)
    return archs


def _plugins(): return [(name, plugin) for name, plugin in manager.list_name_plugin() if plugin is not None]


def _wanted(name):
    only = os.environ.get('TSAI_PLUGINS')
    return only is None or name in [wanted.strip() for wanted in only.split(',')]


def _tsai_has_a_loader(): # a later tsai may; this one then steps back
    return any(map(find_spec, ('tsai.plugins', 'tsai.plugin'))) or hasattr(sys.modules['tsai'], 'load_plugins')


@contextmanager
def _harmless(what) -> Iterator[None]:
    "Log an error of a plugin, and go on."
    try: yield
    except Exception: log.exception(what)


def _offers(name, plugin):
    "What one plugin gives for each hook, asked once."
    if name not in _offered:
        _offered[name] = offers = {hook: kind() for hook, kind in HOOKS.items()}
        for hook, kind in HOOKS.items():
            ask = manager.subset_hook_caller(hook, manager.get_plugins() - {plugin})
            with _harmless(f"{hook} of tsai plugin {name!r} failed"): offers[hook] = kind(next(iter(ask()), ()))
    return _offered[name]


def _place(tsai_batch_tfms, tsai_archs, tsai_randaugs, tsai_names):
    "Put one plugin's offers where users of tsai look for them."
    from tsai import learner
    from tsai.data import transforms
    archs = {arch: cls for arch, cls in tsai_archs.items() if learner.get_arch(arch) is cls}
    for arch in tsai_archs.keys() - archs: _left_out('get_arch', arch)
    learner.all_arch_names += [arch for arch in archs if arch not in learner.all_arch_names]
    transforms.all_TS_randaugs += [tfm for tfm in tsai_randaugs if tfm not in transforms.all_TS_randaugs]
    _add_names(transforms, tsai_batch_tfms)
    for module in filter(None, map(sys.modules.get, _star_modules)):
        _add_names(module, tsai_batch_tfms | archs | tsai_names)


def _add_names(module, names):
    "Add names to a module and its `__all__`; what the module has already stays."
    for name, value in names.items():
        if vars(module).setdefault(name, value) is not value: _left_out(module.__name__, name)
        elif name not in vars(module).get('__all__', [name]): module.__all__.append(name)


@cache # said once
def _left_out(where, name): log.warning("%s has a %r already: the plugin's is left out", where, name)
