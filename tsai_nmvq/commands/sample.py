"""The command `nmvq_sample`."""
from pathlib import Path

import numpy as np

from ..atomic import atomic_write, check_writable
from .script import command

__all__ = ['sample']


@command
def sample(
    generator:str, # File written by nmvq_fit, nmvq_demo or gen.save
    n:int, # Series to make
    out:str, # .npz, with X [n, c_in, seq_len] and, if the generator has classes, y [n]; or .npy, X alone
    y:str=None, # Class of all series; the training proportions by default
    seed:int=None, # The same seed gives the same series
    no_mapper:bool=False, # Leave the neural mapper out
    missing:str='like data', # Of data with gaps: 'like data' has gaps and lengths like theirs; 'complete' has none
    redraw:float=None # Largest share of a training series' tokens to draw anew; 1 is the prior alone
):
    "Make synthetic series, in the units of the data that the generator was fitted on."
    from ..generator import NMVQGenerator
    file = Path(out)
    if file.suffix not in ('.npz', '.npy'):
        raise ValueError(f"the output is {file.name!r}, expected *.npz (X and y) or *.npy (X alone)")
    check_writable(file)
    gen = NMVQGenerator.load(generator)
    X, labels = gen.sample(n, y, seed, mapped=not no_mapper, missing=missing, redraw=redraw)
    if labels is not None and labels.dtype == object: labels = gen.spec.to_labels(gen.spec.to_ids(labels)) # lists
    with atomic_write(file) as aside, open(aside, 'wb') as f:
        if file.suffix == '.npy': np.save(f, X, allow_pickle=False)
        else: np.savez(f, X=X, **({} if labels is None else {'y': labels}))
    print(f"{len(X)} series of {gen.spec.c_in} x {gen.spec.seq_len} written to {file}")
    return file
