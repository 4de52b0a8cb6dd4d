"""Plugins of tsai, good and bad, and what a fresh process finds of them after a star import."""
import json
import os
import subprocess
import sys
from types import SimpleNamespace

DUMMY = '''
from functools import cache
from tsai_nmvq.host.hookspecs import hookimpl

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
from tsai_nmvq.host.hookspecs import hookimpl
@hookimpl
def tsai_archs(): raise RuntimeError("no architectures today")
@hookimpl
def tsai_names(): return dict(survivor=len)
'''

GREEDY = '''
from tsai_nmvq.host.hookspecs import hookimpl
@hookimpl
def tsai_archs(): return dict(InceptionTime=dict)
@hookimpl
def tsai_names(): return dict(TSStandardize=dict)
'''

NO_DICT = '''
from tsai_nmvq.host.hookspecs import hookimpl
@hookimpl
def tsai_batch_tfms(): return 3
'''

PLUGINS = dict(dummy=DUMMY, broken_hook=BROKEN_HOOK, no_dict=NO_DICT, greedy=GREEDY,
               broken_import='raise OSError("broken on import")',
               unlisted=DUMMY.replace('dummy_helper', 'unlisted_helper'))
NAMES = 'DummyTfm', 'DummyNet', 'dummy_helper', 'survivor', 'NMVQAugment', 'unlisted_helper'

REPORT = f'names = {NAMES}' + '''
from tsai.basics import *
import json, sys, tsai.data.transforms
from tsai.data.preprocessing import TSStandardize as own
from tsai.models.utils import build_ts_model, create_model
from tsai.models.multimodal import get_arch as star_imported
from tsai_nmvq.host.manager import load_plugins
load_plugins(), load_plugins()
X, y = np.random.randn(8, 1, 40).astype('float32'), np.array(list('abababab'))
splits = list(range(4)), list(range(4, 8))
dls = get_ts_dls(X, y, splits=splits, bs=4)
json.dump(dict(
    in_scope=[name for name in names if name in globals()],
    transforms='DummyTfm' in tsai.data.transforms.__all__ and tsai.data.transforms.DummyTfm is DummyTfm,
    archs=[get_arch('DummyNet').__name__, star_imported('DummyNet').__name__, get_arch('InceptionTime').__module__],
    counts=[all_arch_names.count('DummyNet'), all_arch_names.count('InceptionTime'),
            all_TS_randaugs.count((DummyTfm, 0.1, 1.))],
    seq_len=[create_model(DummyNet, c_in=1, c_out=2, seq_len=150).seq_len, build_ts_model(DummyNet, 1, 2, 30).seq_len,
             build_ts_model(DummyMLP, dls=dls).seq_len, ts_learner(dls, 'DummyNet').model.seq_len,
             TSClassifier(X, y, splits=splits, arch='DummyNet').model.seq_len],
    kept=TSStandardize is own,
    vocabs=[list(map(str, dls.vocab)), list(map(str, TSClassifier(X, list(y), splits=splits, tfms=None).dls.vocab)),
            *[hasattr(get_ts_dls(X, numbers, splits=splits, bs=4), 'vocab') for numbers in (np.arange(8.), None)]],
    rows=[xb.flatten().tolist() for xb, in get_ts_dls(np.arange(102.)[:, None, None],
                                                      splits=([0, 1], list(range(2, 102)))).valid],
), sys.stdout)
'''


def python(code, cwd, **env):
    "Standard output and error of `code` in a fresh process, outside the source tree."
    env = {**os.environ, **env}
    done = subprocess.run([sys.executable, '-c', code], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def found_in(folder):
    "What a process finds after a star import of tsai, with `PLUGINS` installed and one of them not in `TSAI_PLUGINS`."
    for name, source in PLUGINS.items():
        (folder/f'{name}.py').write_text(source)
        info = folder/f'{name}-0.1.dist-info'
        info.mkdir()
        (info/'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n')
        (info/'entry_points.txt').write_text(f'[tsai]\n{name} = {name}\n')
    listed = ', '.join(['nmvq', *PLUGINS]).replace(', unlisted', '')
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get('PYTHONPATH')]))
    out, err = python(REPORT, folder, PYTHONPATH=path, TSAI_PLUGINS=listed)
    return SimpleNamespace(**json.loads(out), log=err)
