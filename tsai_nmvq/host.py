"""The plugin host that tsai 1.0 lacks: hook specifications, discovery, and what plugins offer put into tsai.

A plugin is an object with `hookimpl`s, named by an entry point of the group `tsai`; it imports tsai inside its hooks.
`TSAI_PLUGINS` limits loading to the entry points it names, separated by commas; `0` names none."""
import logging
import os
import sys
from contextlib import contextmanager
from functools import cache, partial, wraps
from importlib.metadata import entry_points
from importlib.util import find_spec
from inspect import signature

from pluggy import HookimplMarker, HookspecMarker, PluginManager

from ._autoload import STAR_MODULES

__all__ = ['hookimpl', 'manager', 'load_plugins']

log = logging.getLogger(__name__)
hookspec, hookimpl = HookspecMarker('tsai'), HookimplMarker('tsai')


class TsaiHooks:
    "What a plugin may offer; every hook is optional, and called once."
    @hookspec
    def tsai_batch_tfms(self) -> dict: # {name: transform class}
        "Transforms for `batch_tfms`; a star import of tsai brings them along."

    @hookspec
    def tsai_archs(self) -> dict: # {name: class that takes c_in, c_out and, where it needs it, seq_len}
        "Architectures for `get_arch`, `all_arch_names`, `build_ts_model` and whatever takes `arch='name'`."

    @hookspec
    def tsai_randaugs(self) -> list: # Transforms, or (transform, lowest magnitude, highest magnitude)
        "Entries for `all_TS_randaugs`, from which `RandAugment` draws."

    @hookspec
    def tsai_names(self) -> dict: # {name: object}
        "Learners, callbacks and whatever else a star import of tsai should bring along."


HOOKS = dict(tsai_batch_tfms=dict, tsai_archs=dict, tsai_randaugs=list, tsai_names=dict)
manager = PluginManager('tsai')
manager.add_hookspecs(TsaiHooks)
_tried = set() # Entry points, the broken ones too
_offered = {} # {plugin name: {hook: what it gave}}
_extended = [] # Functions of tsai that know the plugins


def load_plugins() -> PluginManager:
    "Load each plugin once, and put what it offers into the tsai modules imported so far; call it as often as you like."
    if _tsai_has_a_loader(): return manager
    for ep in entry_points(group='tsai'):
        if ep in _tried or not _wanted(ep.name): continue
        _tried.add(ep)
        with _harmless(f"tsai plugin {ep.name!r} ({ep.value}) could not be loaded"): manager.register(ep.load(), ep.name)
    plugins = _plugins()
    if plugins: _extend_tsai()
    for name, plugin in plugins:
        with _harmless(f"what tsai plugin {name!r} offers could not be placed"): _place(**_offers(name, plugin))
    return manager


def plugin_archs() -> dict: # {name: class}
    "Architectures of all plugins; the first plugin to offer a name keeps it."
    return {arch: cls for name, plugin in reversed(_plugins()) for arch, cls in _offers(name, plugin)['tsai_archs'].items()}


def _plugins(): return [(name, plugin) for name, plugin in manager.list_name_plugin() if plugin is not None]


def _wanted(name):
    only = os.environ.get('TSAI_PLUGINS')
    return only is None or name in [o.strip() for o in only.split(',')]


def _tsai_has_a_loader(): # A later tsai may; this one then steps back
    return any(map(find_spec, ('tsai.plugins', 'tsai.plugin'))) or hasattr(sys.modules['tsai'], 'load_plugins')


@contextmanager
def _harmless(what):
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
    for module in filter(None, map(sys.modules.get, STAR_MODULES)): _add_names(module, tsai_batch_tfms | archs | tsai_names)


def _add_names(module, names):
    "Add names to a module and its `__all__`; what the module has already stays."
    for name, value in names.items():
        if vars(module).setdefault(name, value) is not value: _left_out(module.__name__, name)
        elif name not in vars(module).get('__all__', [name]): module.__all__.append(name)


@cache # Say it once
def _left_out(where, name): log.warning("%s has a %r already: the plugin's is left out", where, name)


def _extend_tsai():
    from tsai import learner
    from tsai.data import core
    from tsai.models import utils
    _extend(learner, 'get_arch', _with_plugin_archs)
    _extend(utils, 'build_ts_model', _with_seq_len)
    _extend(core, 'get_ts_dls', _with_string_labels)


def _extend(module, name, extend):
    "Replace a function of tsai, once, in each of tsai's modules that has it, under any name."
    if (function := getattr(module, name)) in _extended: return
    _extended.append(extend(function))
    for tsai_module in [m for key, m in list(sys.modules.items()) if key.startswith('tsai.')]:
        for alias in [a for a, value in vars(tsai_module).items() if value is function]: setattr(tsai_module, alias, _extended[-1])


def _with_plugin_archs(tsai_get_arch):
    @wraps(tsai_get_arch)
    def get_arch(arch_name):
        try: return tsai_get_arch(arch_name)
        except ValueError:
            if arch_name in (archs := plugin_archs()): return archs[arch_name]
            raise
    return get_arch


def _with_seq_len(tsai_build_ts_model):
    @wraps(tsai_build_ts_model)
    def build_ts_model(arch, *args, **kwargs):
        cls = getattr(arch, 'func', arch)
        if cls in plugin_archs().values() and 'seq_len' in signature(cls).parameters:
            given = signature(tsai_build_ts_model).bind(arch, *args, **kwargs).arguments
            seq_len, dls = given.get('seq_len'), given.get('dls')
            if seq_len is None and dls is not None: seq_len = dls.len
            if seq_len is not None: # tsai passes it to classes it knows by name only; a partial's gives way where tsai does
                arch = partial(arch, seq_len=seq_len)
                arch.__name__ = cls.__name__
        return tsai_build_ts_model(arch, *args, **kwargs)
    return build_ts_model


def _with_string_labels(tsai_get_ts_dls):
    @wraps(tsai_get_ts_dls)
    def get_ts_dls(*args, **kwargs):
        call = signature(tsai_get_ts_dls).bind(*args, **kwargs)
        y = call.arguments.get('y')
        if call.arguments.get('tfms') is None and y is not None and len(y) and isinstance(y[0], str):
            from tsai.data.core import TSClassification
            call.arguments['tfms'] = [None, TSClassification()] # strings can only be classes, and without it tsai raises a TypeError
        return tsai_get_ts_dls(*call.args, **call.kwargs)
    return get_ts_dls
