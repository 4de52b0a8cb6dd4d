"""A stage's training on file, epoch by epoch: after a kill it goes on bit by bit as if there had been none.

Weights, optimizer and random states as safetensors, all else as JSON in their header. Nothing in it is executed."""
import json
import time
import warnings
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from .. import __version__
from ..atomic import atomic_write, remove
from ..data.intake import SeriesData
from ..presets import STAGES
from ..rng import OwnRandom
from .stage import StageLearner

__all__ = ['ResumeStage', 'training_key', 'part_of', 'read_part', 'drop_part']

FORMAT = 'tsai_nmvq stage 2'
PERIOD = 2.         # seconds between two writes, at least
SHARE = 0.02        # of the time that writing takes, at most
DIGEST_ROWS = 512   # series that tell one data set from another of the same statistics


def part_of(
    checkpoint # File that keeps finished stages
) -> Path: # File that keeps the stage that is being learnt
    "Where a stage is kept until it is finished."
    return Path(f'{checkpoint}.part')


def read_part(
    path # File
) -> tuple|None: # (what JSON holds, tensors); None where there is none, or one that is cut short or of others
    "Read what was kept of a stage."
    if not path.exists(): return None
    try:
        with safe_open(path, 'pt') as f:
            metadata = f.metadata() or {}
            if metadata.get('format') != FORMAT: return None
            header = json.loads(metadata['header'])
            tensors = {name: f.get_tensor(name).clone() for name in f.keys()} # noqa: SIM118 - no mapping
        return (header, tensors) if header['checksum'] == _checksum(tensors) else None # a power cut leaves zeros
    except (SafetensorError, OSError, ValueError, TypeError, KeyError): return None


def drop_part(
    checkpoint # File that keeps finished stages, or None
):
    "Remove what was kept of a stage."
    if checkpoint is not None: remove(part_of(checkpoint))


def training_key(
    learn:StageLearner, # That is to be trained
    data:SeriesData, # The training split
    earlier, # Models of the stages before
    epochs:int, # Epochs
    seed:int # Of the stage
) -> dict: # {name: value}, as JSON holds it
    "What a training goes by. Where all of it is the same, one training goes on with what another has written."
    loss, shapes = learn.loss_func, [[name, list(v.shape)] for name, v in learn.model.state_dict().items()]
    terms = {**getattr(loss, 'paired', {}), **getattr(loss, 'unpaired', {})}
    key = {'stage': learn.stage, 'version': __version__, 'device': _device(learn).type, 'epochs': epochs,
           'bs': [learn.dls.train.bs, len(learn.dls.train)], 'lr': learn.schedule.lr, 'seed': seed,
           'settings': [learn.model.config, shapes, terms], 'data': [data.spec.to_dict(), _digest(data)],
           'earlier stages': [_checksum(model.state_dict()) for model in earlier]}
    return json.loads(json.dumps(key))


class ResumeStage(Callback):
    """Keeps a stage after an epoch, and goes on after the last epoch that a file of the same training has.

    Lost is at most an epoch, two seconds or fifty times what a write takes, whichever is longest: it writes no oftener.
    Not kept are what callbacks of your own hold, and the recorder's values of earlier epochs."""
    order = 100                                                          # what others set up before a fit is replaced

    def __init__(self,
        path, # File
        key:dict, # `training_key`; a file of another training is left unread
        own:OwnRandom, # What the training draws from
        writes:bool=True # False reads only
    ):
        self.path, self.key, self.own, self.writes = Path(path), key, own, writes
        self.found:tuple|None = None                                     # (header, tensors), until they are used
        self.next_write, self.has_warned = time.monotonic() + PERIOD, False

    def prepare(self,
        learn:StageLearner # That is to be trained
    ):
        "Read the file, where it is of the same training, and tell the learner what was known when training began."
        found = read_part(self.path)
        if found is None or not self._is_of(found[0]['key']): return
        self.found = found
        learn.first_epoch = found[0]['epochs_done']
        _take_tau(learn, *found)

    def _is_of(self, key): # says what differs, but for a stage that has been finished
        if STAGES.index(key['stage']) < STAGES.index(self.key['stage']): return False
        other = [name for name in self.key if json.dumps(key.get(name)) != json.dumps(self.key[name])] # NaN is NaN here
        if other and self.writes:                                        # one that reads may lag behind
            warnings.warn(f"{self.path} is of another training (other {', '.join(other)}): the {self.key['stage']} "
                          "starts anew", stacklevel=2)
        return not other

    def before_fit(self):
        if self.found is None: return
        (header, tensors), self.found = self.found, None
        for name, module in _modules(self.learn).items(): module.load_state_dict(_under(f'{name}.', tensors))
        for name, opt in _optimizers(self.learn).items(): _load_optimizer(opt, _under(f'{name}.', tensors))
        _set_random_states(self.own, self.learn, header, tensors)

    def after_epoch(self):
        start = time.monotonic()
        if not self.writes or start < self.next_write: return
        self._write()
        end = time.monotonic()
        self.next_write = end + max(PERIOD, (end - start) / SHARE)

    def _write(self):
        header, tensors = _training_state(self.own, self.learn)
        header |= dict(key=self.key, epochs_done=self.epoch + 1, checksum=_checksum(tensors))
        try:
            with atomic_write(self.path, sync=False) as aside:           # the checksum knows what a power cut left
                aside.write_bytes(safetensors_bytes(tensors, dict(format=FORMAT, header=json.dumps(header))))
        except OSError as e:
            if self.has_warned: return
            warnings.warn(f"{self.path} cannot be written, epochs are not kept: {e}", stacklevel=2)
            self.has_warned = True


# What a training is made of

def _training_state(own, learn): # -> (what JSON holds, tensors)
    header, tensors = _random_states(own, learn)
    for name, module in _modules(learn).items():
        tensors |= {f'{name}.{key}': v for key, v in module.state_dict().items()}
    for name, opt in _optimizers(learn).items(): tensors |= _optimizer_tensors(name, opt)
    if getattr(learn, 'class_tau', None) is not None: tensors['class_tau'] = learn.class_tau
    return header | _tau(learn), {name: v.detach().cpu().contiguous() for name, v in tensors.items()}


def _modules(learn): # {name: module with a state}; terms of a loss may learn too
    terms = getattr(learn.loss_func, 'terms', {})
    return dict(model=learn.model, **{f'term_{name}': term for name, term in terms.items()})


def _optimizers(learn): # {name: of PyTorch}
    terms = getattr(learn.loss_func, 'terms', {})
    own = {f'opt_term_{name}': term.opt for name, term in terms.items() if hasattr(term, 'opt')}
    return dict(opt=learn.opt.opt, **own)


def _optimizer_tensors(name, opt):
    state = opt.state_dict()['state']
    return {f'{name}.{i}.{key}': torch.as_tensor(v) for i, values in state.items() for key, v in values.items()}


def _load_optimizer(opt, tensors): # learning rates and the like are the schedule's
    whole:dict[str, Any] = opt.state_dict()
    whole['state'] = {}
    for name, v in tensors.items():
        i, _, key = name.partition('.')
        whole['state'].setdefault(int(i), {})[key] = v
    opt.load_state_dict(whole)


def _random_states(own, learn): # -> (what JSON holds, tensors)
    tensors = {f'rng.{device}': generator.get_state() for device, generator in own.generators.items()}
    return dict(python_rng=own.python.getstate(), loader_rng=learn.dls.train.order.rng.getstate()), tensors


def _set_random_states(own, learn, header, tensors):
    for device, state in _under('rng.', tensors).items(): own.on(device).set_state(state)
    own.python.setstate(_tuples(header['python_rng']))
    learn.dls.train.order.rng.setstate(_tuples(header['loader_rng']))


def _tau(learn): # of stage 3: what its search has found
    if getattr(learn, 'tau', None) is None: return {}
    table = learn.tau_table
    return dict(tau=learn.tau, tau_table=None if table is None else [table.columns.tolist(), table.values.tolist()])


def _take_tau(learn, header, tensors):
    if 'tau' not in header: return
    learn.tau, table = header['tau'], header['tau_table']
    if 'class_tau' in tensors: learn.class_tau = tensors['class_tau'].to(_device(learn))
    if table is not None: learn.tau_table = pd.DataFrame(table[1], columns=table[0])


# Whether trainings are the same

def _checksum(tensors): # of names and bytes
    crc = 0
    for name, v in sorted(tensors.items()):
        v = v.detach().cpu().flatten().clone(memory_format=torch.contiguous_format) # to be seen as bytes, of any type
        crc = crc32(v.view(torch.uint8).numpy(), crc32(name.encode(), crc))
    return crc


def _digest(data): # of series, evenly over all of them; that of y is in the spec
    rows = np.unique(np.linspace(0, len(data) - 1, DIGEST_ROWS).astype(int))
    x, present = data.series_and_present(rows)
    return _checksum(dict(x=x, present=present))


def _device(learn): return torch.device(learn.dls.device or 'cpu')


def _under(prefix, tensors): # those whose names begin so
    return {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}


def _tuples(v): return tuple(map(_tuples, v)) if isinstance(v, list) else v
