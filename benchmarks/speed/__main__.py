"""How fast: against the authors' TimeVQVAE in one process, and how our own cost grows. A section writes its own tables.

    python -m benchmarks.speed                              # every section that the machine has the means for
    python -m benchmarks.speed --sections reference,augment"""
from functools import partial

import torch
from fastcore.script import call_parse

from . import augment, checkpoint, fit, growth, imports, own, pipeline, precision, reference

SECTIONS = ('reference', 'own', 'precision', 'augment', 'import', 'growth', 'fit', 'checkpoint', 'pipeline')


@call_parse
def main(
    sections:str=','.join(SECTIONS), # Which, with commas
    path:str=None, # Folder that holds data/UCR; without it, fit takes GunPoint alone and pipeline is skipped
    data:str='GunPoint,ECG5000,FordA', # Which data sets fit takes
    device:str='cpu', # Where to train and sample
    threads:int=2 # PyTorch's threads
):
    "Measure speed."
    torch.set_num_threads(threads)
    todo = {
        'reference': partial(reference.measure, device),
        'own': partial(own.measure, device),
        'precision': partial(precision.measure, device),
        'augment': partial(augment.measure, device),
        'import': imports.measure,
        'growth': growth.measure,
        'fit': partial(fit.measure, data.split(','), path, device),
        'checkpoint': partial(checkpoint.measure, device=device),
        'pipeline': partial(pipeline.measure, path, device),
    }
    chosen = sections.split(',')
    unknown = [section for section in chosen if section not in todo]
    if unknown: raise SystemExit(f"sections {unknown} are unknown; choose from {', '.join(todo)}")
    for section in chosen: todo[section]()
