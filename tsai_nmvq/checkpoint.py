"""Generator files: weights as safetensors, all else as JSON in their header. Nothing in them is executed on load.

Format 8 is written, 3 and later are read: each version has a function that brings it to the next."""
import json
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import nn

from .anchors import Anchors
from .atomic import atomic_write, check_writable
from .augment.options import AugmentationChoice
from .data.spec import SeriesSpec
from .file_checks import (
    MAX_HEADER,
    MAX_LISTS,
    MAX_TENSORS,
    Outline,
    check_anchors,
    check_config,
    check_names,
    check_outputs,
    check_spec,
    check_stages,
    check_weights,
)
from .header_rules import check_header
from .mapper_selection import MapperSelection
from .models.bands import BANDS
from .models.mapper import NeuralMapper
from .models.prior import MaskedPrior
from .models.tokenizer import VQTokenizer

__all__ = ['Checkpoint', 'write_checkpoint', 'read_checkpoint', 'resume_checkpoint', 'FORMAT_VERSION', 'FOUND']

FORMAT, FORMAT_VERSION = 'tsai_nmvq', 8
FOUND = 'spec', 'tau', 'tau_table', 'anchors', 'mapper_selection', 'augmentation' # beside a generator's stages
ANCHOR_SETTINGS = 'strength', 'max_redraw'
MODELS = dict(tokenizer=VQTokenizer, prior=MaskedPrior, mapper=NeuralMapper)


@dataclass
class Checkpoint:
    "What a generator is, once it is written down."
    preset:str
    settings:dict                                       # {stage: settings that replace the preset's}
    spec:SeriesSpec
    stages:dict[str, nn.Module]                         # {stage: model}; those that have been learnt
    tau:float|None = None
    tau_table:pd.DataFrame|None = None
    mapper_selection:MapperSelection = field(default_factory=MapperSelection)
    anchors:Anchors|None = None                         # None for the prior alone
    augmentation:AugmentationChoice = field(default_factory=AugmentationChoice)


def write_checkpoint(
    path, # File, usually *.nmvq
    checkpoint:Checkpoint # What to write
) -> Path: # Where it is
    "Write one file, aside and renamed."
    tensors = {f'{stage}.{name}': tensor.contiguous() for stage, model in checkpoint.stages.items()
               for name, tensor in model.state_dict().items()}
    table, anchors = checkpoint.tau_table, checkpoint.anchors
    if anchors is not None: tensors |= _anchor_tensors(anchors)
    header = dict(preset=checkpoint.preset, settings=checkpoint.settings, spec=checkpoint.spec.to_dict(),
                  config={stage: model.config for stage, model in checkpoint.stages.items()},
                  tau=checkpoint.tau, tau_table=None if table is None else table.to_dict('list'),
                  mapper_selection=checkpoint.mapper_selection.to_dict(),
                  augmentation=checkpoint.augmentation.to_dict(),
                  anchors=None if anchors is None else {name: getattr(anchors, name) for name in ANCHOR_SETTINGS})
    metadata = dict(format=FORMAT, format_version=str(FORMAT_VERSION), generator=json.dumps(header))
    path = Path(path)
    check_writable(path)
    with atomic_write(path) as aside: # not save_file, which leaves a file that only its owner can read
        aside.write_bytes(safetensors_bytes(tensors, metadata))
    return path


def read_checkpoint(
    path, # File written by `write_checkpoint`
    device # Where to put the models
) -> Checkpoint:
    "Read a file. ValueError if it is foreign, damaged, too old or newer than this version."
    path = Path(path)
    header, tensors = _read_current(path)
    try:
        check_header(header)
        return _checkpoint(header, tensors, device)
    except ValueError as e: raise _damaged(path, e) from e
    except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as e:
        raise _damaged(path, f"its parts do not fit: {type(e).__name__}, {e}") from e


def _checkpoint(header, tensors, device): # each part is checked before the next is made of it
    spec = SeriesSpec.from_dict(header['spec'])
    check_spec(header, spec)
    check_config(header, spec)
    check_names(header, tensors)
    stages = {stage: _build(stage, config, tensors) for stage, config in header['config'].items()}
    check_stages(stages, spec)
    anchors = _read_anchors(header['anchors'], _part(tensors, 'anchors'), stages, spec, device)
    check_outputs(stages, spec)
    table, selection = header['tau_table'], MapperSelection.from_dict(header['mapper_selection'])
    augmentation = AugmentationChoice.from_dict(header['augmentation'])
    if table is not None: # JSON has no keys but strings: labels are put back
        table = pd.DataFrame(table).rename(columns={str(label): label for label in spec.vocab})
    for model in stages.values(): model.to(device)
    return Checkpoint(header['preset'], header['settings'], spec, stages, header['tau'], table, selection, anchors,
                      augmentation)


def resume_checkpoint(
    path, # File written by `write_checkpoint`
    device, # Where to put the models
    spec:SeriesSpec, # Of the series that are to be learnt
    preset:str, # Of the generator that goes on
    settings:dict # The same: {stage: settings that replace the preset's}
) -> Checkpoint:
    "Read a file to go on with it. ValueError if it was made from other data or with other settings."
    saved = read_checkpoint(path, device)
    same_settings = (saved.preset, json.dumps(saved.settings)) == (preset, json.dumps(settings))
    if not (same_settings and saved.spec.is_of(spec)):
        raise ValueError(f"{path} was made from other data or with other settings; "
                         "delete it or choose another checkpoint file")
    saved.spec = spec                                                    # which may know more
    return saved


def _read_current(path): # -> (header, tensors), as the current format has them
    metadata, tensors = _read_file(path)
    if metadata.get('format') != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but not one of tsai_nmvq; load one written by gen.save()")
    try:
        version = int(metadata.get('format_version', 0))
        if min(UPGRADES) <= version <= FORMAT_VERSION:
            header = _from_json(metadata['generator'])
            for older in range(version, FORMAT_VERSION): header, tensors = UPGRADES[older](header, tensors)
            return header, tensors
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as e:
        reason = f'{e} is missing' if isinstance(e, KeyError) else e
        raise _damaged(path, f"its header cannot be read ({reason})") from e
    if version < min(UPGRADES):
        raise ValueError(f"{path} has format version {version}, from before version {min(UPGRADES)}; "
                         "fit the generator again")
    raise ValueError(f"{path} has format version {version}, this tsai_nmvq reads up to {FORMAT_VERSION}; "
                     "update tsai_nmvq")


def _from_json(text):
    n_lists = text.count('[') + text.count('{')
    if n_lists > MAX_LISTS: raise ValueError(f"it has {n_lists} lists, at most {MAX_LISTS} are read")
    return json.loads(text)


def _read_file(path): # -> (metadata, tensors); of files of others no tensors
    if not path.exists(): raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir(): raise IsADirectoryError(f"{path} is a folder; name a file that gen.save wrote")
    try:
        with path.open('rb') as f: n_header = int.from_bytes(f.read(8), 'little')
        if n_header > min(MAX_HEADER, path.stat().st_size): raise ValueError(f"its header has {n_header} bytes")
        with safe_open(path, 'pt') as f:
            metadata, names = f.metadata() or {}, f.keys()
            if metadata.get('format') != FORMAT: return metadata, {}
            if len(names) > MAX_TENSORS: raise ValueError(f"it has {len(names)} tensors, of {MAX_TENSORS}")
            return metadata, {name: f.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as e:
        raise ValueError(f"{path} is not a generator file, or it is cut short ({_in_short(e)}); "
                         "save it again with gen.save()") from e


def _damaged(path, reason): return ValueError(f"{path} is damaged: {_in_short(reason)}; save it again with gen.save()")


def _in_short(error): return shorten(str(error), 200, placeholder=' ...') # one line


def _part(tensors, part): # those of one stage, or of anchors, by their names in it
    prefix = f'{part}.'
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _build(stage, config, tensors): # a model in eval mode, with its weights
    with Outline(tensors): model = MODELS[stage](**config)
    own = _part(tensors, stage)
    check_weights(stage, model, own)
    model.load_state_dict(own, assign=True)
    return model.eval()


def _anchor_tensors(anchors): # ids are small: half the size of int64; what is there takes a bit a value
    tensors = {name: rows.int() for name, rows in (*anchors.tokens.items(), ('ids', anchors.ids))}
    if anchors.present is not None:
        tensors['present'] = torch.as_tensor(np.packbits(anchors.present.cpu().numpy().reshape(len(anchors), -1), 1))
    tensors |= {name: rows for name in ('targets', 'details') if (rows := getattr(anchors, name)) is not None}
    return {f'anchors.{name}': rows for name, rows in tensors.items()}


def _read_anchors(settings, tensors, stages, spec, device):
    if settings is None: return None
    check_anchors(tensors, stages, spec)
    rows = {name: tensors[name].long().to(device) for name in (*BANDS, 'ids')}
    present, others = tensors.get('present'), {name: tensors[name].to(device) for name in ('targets', 'details')
                                               if name in tensors}
    if present is not None:
        bits = np.unpackbits(present.numpy(), axis=1, count=spec.c_in * spec.seq_len)
        present = torch.as_tensor(bits.reshape(-1, spec.c_in, spec.seq_len).astype(bool), device=device)
    return Anchors({band: rows[band] for band in BANDS}, rows['ids'], **settings, present=present, **others)


# Older formats

def _from_3(header, tensors): # the prior's embeddings did not know the codes
    if 'prior' in header['config']: header['config']['prior'] = {'code_emb': False, **header['config']['prior']}
    return header, tensors


def _from_4(header, tensors): # names of before
    settings = dict(hf_share='hf_batch_fraction', lf_tau='lf_token_noise', code_emb='embed_codes')
    for stages in (header['config'], header['settings']):
        for stage, values in stages.items(): stages[stage] = {settings.get(name, name): v for name, v in values.items()}
    trial = header.pop('trial')
    if trial is not None:
        trial['columns'] = {'holdout' if name == 'held_back' else name: v for name, v in trial['columns'].items()}
    header['mapper_selection'] = trial
    return header, {name.replace('.scale.', '.standardizer.'): t for name, t in tensors.items()}


def _from_5(header, tensors): return header | dict(anchors=None), tensors # samples started from nothing


def _from_6(header, tensors): return header, tensors # all values were there, and any could be


def _from_7(header, tensors): return header | dict(augmentation=None), tensors # nor had anchors details


UPGRADES = {3: _from_3, 4: _from_4, 5: _from_5, 6: _from_6, 7: _from_7}
