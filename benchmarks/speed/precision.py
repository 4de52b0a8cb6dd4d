"""Section 'precision': bf16 and `torch.compile` of the default preset, on a GPU."""
from functools import partial

import pandas as pd
import torch

from ..common.records import keep
from ..common.timing import alternate
from .stages import BS, N_SAMPLES, STEPS, decoded_samples, random_data, sample_labels, train_steps, trained_stages

__all__ = ['measure']

LENGTHS = (150, 1639)
VARIANTS = {'float32': (False, False), 'bf16': (True, False), 'compiled': (False, True), 'bf16, compiled': (True, True)}
COMPILED_PARTS = ('encoders', 'decoders', 'priors') # module dicts whose values are called as modules


def measure(
    device='cpu' # Where to train and sample
):
    "One table, on a GPU alone."
    if torch.device(device).type != 'cuda':
        return print("precision: skipped, bf16 and torch.compile pay on a GPU alone (benchmarks/results/speed_log.md); "
                     "pass --device cuda")
    keep('speed_precision', pd.concat([times_at(seq_len, device) for seq_len in LENGTHS]), 'bf16 and torch.compile',
         f'python -m benchmarks.speed --sections precision --device {device}',
         f"Preset `fast`, batch {BS}, random walks, medians of rounds in turn; compiling is done before the clock "
         "starts.")


def times_at(
    seq_len:int, # Steps
    device # Where to train and sample
) -> pd.DataFrame: # A row for each thing that is done, a column for each variant
    "Milliseconds, and how many times longer float32 takes."
    torch.manual_seed(0)
    data, y, todo = random_data(2 * BS, seq_len), sample_labels(device), {}
    for name, (bf16, compiled) in VARIANTS.items():
        learners = trained_stages(data, 'fast', device)
        for learn in learners:
            if bf16: learn.to_bf16()
            if compiled: compile_parts(learn.model)
        autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16)
        funcs = {f'stage {i}, step': partial(train_steps, learn) for i, learn in enumerate(learners, 1)}
        funcs[f'{N_SAMPLES} series'] = partial(mapped_samples, learners, y, autocast)
        for what, func in funcs.items(): todo.setdefault(what, {})[name] = func
    return pd.DataFrame([_row(seq_len, what, funcs, device) for what, funcs in todo.items()])


def _row(seq_len, what, funcs, device):
    t = alternate(funcs, rounds=7, warm_up=3, device=device) / (STEPS if 'step' in what else 1)
    return {'seq_len': seq_len, 'what': what, **{f'{name}, ms': 1000 * seconds for name, seconds in t.items()},
            **{f'float32 / {name}': t['float32'] / seconds for name, seconds in t.iloc[1:].items()}}


def compile_parts(
    model:torch.nn.Module # Of a stage
):
    "Compile what is called as a module: encoders, decoders, a band's prior; the mapper whole."
    parts = [part for kind in COMPILED_PARTS for part in getattr(model, kind, {}).values()]
    for part in parts or [model]: part.compile()


@torch.no_grad()
def mapped_samples(
    learners:tuple, # Of the three stages
    y:torch.Tensor, # Class ids [n]
    autocast # Context manager of the precision
) -> torch.Tensor: # [n, c_in, seq_len]
    "Samples of the prior, decoded and mapped."
    for learn in learners: learn.model.eval()
    tok, pri, mapr = learners
    with autocast: return mapr.model(decoded_samples(tok, pri, y))
