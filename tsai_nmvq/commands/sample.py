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
    out:str, # .npz, with X [n, c_in, seq_len] and, if the generator has classes, y [n]; or .npy, X alone; or a folder,
             # whose name has no dot, for more series than memory holds: it is written block by block, and gone on with
    y:str=None, # Class of all series; the training proportions by default
    seed:int=None, # The same seed gives the same series
    no_mapper:bool=False, # Leave the neural mapper out
    missing:str='like data', # Of data with gaps: 'like data' has gaps and lengths like theirs; 'complete' has none
    redraw:float=None, # Largest share of a training series' tokens to draw anew; 1 is the prior alone
    shards:int=1, # Of a folder: parts that as many processes write, each with the same seed
    shard:int=None # The part that this process writes, 0 to shards - 1; all of them by default
):
    "Make synthetic series, in the units of the data that the generator was fitted on."
    from ..generator import NMVQGenerator
    file, how = Path(out), dict(mapped=not no_mapper, missing=missing, redraw=redraw)
    if not file.suffix: return _in_blocks(NMVQGenerator.load(generator), file, n, y, seed, shards, shard, how)
    if shard is not None or shards != 1:
        raise ValueError(f"shards are of a folder, and the output is {file.name!r}; name one without a dot")
    if file.suffix not in ('.npz', '.npy'):
        raise ValueError(f"the output is {file.name!r}, expected *.npz (X and y), *.npy (X alone) or a folder")
    check_writable(file)
    gen = NMVQGenerator.load(generator)
    X, labels = gen.sample(n, y, seed, **how)
    labels = gen.spec.plain(labels)
    with atomic_write(file) as aside, open(aside, 'wb') as f:
        if file.suffix == '.npy': np.save(f, X, allow_pickle=False)
        else: np.savez(f, X=X, **({} if labels is None else {'y': labels}))
    print(f"{len(X)} series of {gen.spec.c_in} x {gen.spec.seq_len} written to {file}")
    return file


def _in_blocks(gen, path, n, y, seed, shards, shard, how):
    from ..corpus import write_corpus
    if seed is None: raise ValueError("a folder of series needs a seed: pass --seed")
    write_corpus(gen, path, n, y, seed, shards, shard, **how)
    part = 'the corpus' if shard is None else f'shard {shard} of {shards}'
    print(f"{part} of {n} series of {gen.spec.c_in} x {gen.spec.seq_len} written to {path}")
    return path
