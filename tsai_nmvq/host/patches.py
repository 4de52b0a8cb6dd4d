"""What is mended in tsai 1.0, and why: four of its functions are replaced, once, wherever tsai has them.

- `get_arch` knows its own architectures only: plugins' are looked up when it finds none.
- `build_ts_model` passes `seq_len` to classes that it knows by name only: plugins' classes that take it get it too.
- `get_ts_dls` raises a TypeError for string labels without `tfms`: strings can only be classes, and become classes.
- `NumpyDataLoader.create_batch` reads a batch without shuffling as the first row and those that follow it. It adds the
  batch size to a row number of the smallest type: since NumPy 2, 64 + 64 is -128 where there are up to 127 rows, and
  those that are left over are lost. And where a process of several has a part of the rows (fastai's `DistributedDL`),
  its last batch is filled with rows of the next part."""
import sys
from collections.abc import Callable
from functools import partial, wraps
from inspect import signature

__all__ = ['patch_tsai']

_patched:list = [] # functions of tsai that know the plugins


def patch_tsai(
    plugin_archs:Callable # Function without arguments: {name: class} of all plugins
):
    "Replace them; again after more of tsai has been imported."
    from tsai import learner
    from tsai.data import core
    from tsai.models import utils
    _replace(learner, 'get_arch', partial(_with_plugin_archs, plugin_archs))
    _replace(utils, 'build_ts_model', partial(_with_seq_len, plugin_archs))
    _replace(core, 'get_ts_dls', _with_string_labels)
    _replace(core.NumpyDataLoader, 'create_batch', _with_the_rows_asked_for)


def _replace(owner, name, extend): # in its module or class, and in each of tsai's modules that has it, under any name
    if (function := getattr(owner, name)) in _patched: return
    extended = extend(function)
    _patched.append(extended)
    for place in [owner, *(m for key, m in list(sys.modules.items()) if key.startswith('tsai.'))]:
        aliases = [alias for alias, value in vars(place).items() if value is function]
        for alias in aliases: setattr(place, alias, extended)


def _with_plugin_archs(plugin_archs, tsai_get_arch):
    @wraps(tsai_get_arch)
    def get_arch(arch_name):
        try: return tsai_get_arch(arch_name)
        except ValueError:
            if arch_name in (archs := plugin_archs()): return archs[arch_name]
            raise
    return get_arch


def _with_seq_len(plugin_archs, tsai_build_ts_model):
    @wraps(tsai_build_ts_model)
    def build_ts_model(arch, *args, **kwargs):
        cls = getattr(arch, 'func', arch)
        if cls in plugin_archs().values() and 'seq_len' in signature(cls).parameters:
            given = signature(tsai_build_ts_model).bind(arch, *args, **kwargs).arguments
            seq_len, dls = given.get('seq_len'), given.get('dls')
            if seq_len is None and dls is not None: seq_len = dls.len
            if seq_len is not None: # a partial's gives way where tsai does
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
            call.arguments['tfms'] = [None, TSClassification()]
        return tsai_get_ts_dls(*call.args, **call.kwargs)
    return get_ts_dls


def _with_the_rows_asked_for(tsai_create_batch):
    from fastcore.foundation import L
    @wraps(tsai_create_batch)
    def create_batch(self, b):
        if self.shuffle or self.sampler is not None: return tsai_create_batch(self, b)
        rows = [int(row) for row in b]                                   # of which tsai reads the first alone
        read = range(rows[0], min(self.n, rows[0] + self.bs)) if self.n is not None else rows
        if rows == list(read): return tsai_create_batch(self, rows)
        self.idxs = L(rows)
        self.input_idxs = self.split_idxs[rows] if hasattr(self, 'split_idxs') else self.idxs
        return self.dataset[rows]
    return create_batch
