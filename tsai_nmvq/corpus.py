"""Corpora that are larger than memory: one folder, written a block at a time by any number of processes.

A block has a fixed number of series and a seed of its own, so that a corpus is the same series whoever draws which of
its blocks, and a run that was killed goes on with the blocks that are missing."""
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from .anchors import ROWS
from .atomic import atomic_write
from .progress import progress
from .rng import check_seed, generator_on

__all__ = ['Corpus', 'write_corpus', 'open_corpus', 'dask_corpus']

FORMAT_VERSION = 1
BLOCK_ROWS, BLOCK_VALUES = 1024, 2 ** 22    # series of a block, at most, and values of all of them
HEADER, DONE = 'corpus.json', 'done.npy'    # what it is; a byte a block: 1 where it is whole
SERIES, LABELS = 'X.npy', 'y.npy'


@dataclass(frozen=True)
class Corpus:
    "What a corpus is, which decides every one of its series."
    generator:str               # Hash of the generator's weights, anchors and data
    n:int                       # Series
    seed:int                    # Of all blocks
    labels:str                  # Hash of the labels that were asked for; '' for the training proportions
    how:dict                    # Keyword arguments of `Sampler.sample_rows`, and missing of `Sampler.finished`
    c_in:int
    seq_len:int
    block:int                   # Series of a block
    version:int = FORMAT_VERSION

    @classmethod
    def of(cls,
        gen, # `NMVQGenerator`
        n:int, # Series
        y=None, # A label for all or one each [n]; the training proportions by default
        seed:int=0, # Of all blocks
        **how # mapped, redraw, missing, ... of `NMVQGenerator.sample`
    ) -> 'Corpus':
        "Of a generator."
        if n < 1: raise ValueError(f"n is {n}, expected 1 series or more")
        if check_seed(seed) is None: raise ValueError("a corpus needs a seed: its blocks are drawn apart")
        spec, block = gen.sampler.spec, BLOCK_VALUES // (gen.spec.c_in * gen.spec.seq_len)
        labels = '' if y is None else _hash([np.asarray(y)])
        return cls(_generator_hash(gen), int(n), int(seed), labels, how, spec.c_in, spec.seq_len,
                   int(np.clip(block, 1, BLOCK_ROWS)))

    @property
    def n_blocks(self) -> int: return -(-self.n // self.block)

    def rows(self, i:int) -> slice: # Of block i
        return slice(i * self.block, min((i + 1) * self.block, self.n))

    def blocks_of(self,
        shard:int|None, # Which part, 0 to shards - 1; None for all
        shards:int # Parts
    ) -> range: # Numbers of blocks
        "Every shard has its share of the blocks. ValueError for a shard that there is not."
        if shards < 1 or not 0 <= (shard or 0) < shards:
            raise ValueError(f"shard is {shard} of {shards} shards, expected 0 to {max(shards, 1) - 1}")
        return range(self.n_blocks) if shard is None else range(shard, self.n_blocks, shards)

    def class_ids(self, gen, y=None): # Class ids of all series [n], on the generator's device
        return gen.sampler.class_ids(self.n, y, generator_on(gen.device, self.seed))

    def draw(self,
        gen, # The generator that it is of
        i:int, # Number of the block
        ids # Class ids of all series [n], from `class_ids`
    ) -> tuple: # (X [block, c_in, seq_len] float32, y [block] as `NMVQGenerator.sample` has it, or None)
        "One block, the same wherever it is drawn."
        return self.draw_part(gen, i, ids[self.rows(i)])

    @torch.no_grad()
    def draw_part(self, gen, i, part): # As in `draw`; the block's own class ids [block]
        how = dict(self.how)
        missing, sampler = how.pop('missing', 'like data'), gen.sampler
        seed = np.random.SeedSequence([self.seed, i]).generate_state(1, np.uint64)[0] >> np.uint64(1)
        x, anchors = sampler.sample_rows(part, generator_on(gen.device, int(seed)), **how)
        return sampler.finished(x, anchors, missing).cpu().numpy(), gen.spec.plain(sampler.labels(part, anchors))


def write_corpus(
    gen, # Fitted `NMVQGenerator`
    path, # Folder, which is made; one that holds a part of the same corpus is gone on with
    n:int, # Series of the whole corpus
    y=None, # A label for all or one each [n]; the training proportions by default
    seed:int=0, # The same seed gives the same corpus, however many shards write it
    shards:int=1, # Parts that it is written in, by processes on one disk
    shard:int|None=None, # Which part this call writes, 0 to shards - 1; None for all of them
    **how # mapped, redraw, missing, ... of `NMVQGenerator.sample`
) -> Path: # The folder, for `open_corpus`
    "Draw a corpus block by block; memory does not grow with n but for the class ids, eight bytes a series."
    corpus, path = Corpus.of(gen, n, y, seed, **how), Path(path)
    blocks, ids = corpus.blocks_of(shard, shards), corpus.class_ids(gen, y)
    _prepare(path, corpus, lambda: corpus.draw(gen, 0, ids))
    files = [_Rows(path/name, corpus.block) for name in (SERIES, LABELS) if (path/name).exists()]
    done = _Rows(path/DONE, 1)
    whole = np.load(path/DONE)
    for i in progress([i for i in blocks if not whole[i]]):
        try:
            for file, rows in zip(files, corpus.draw(gen, i, ids)): file.write(i, rows)
            done.write(i, 1)                                             # after its rows are on the disk
        except OSError as e:
            message = f"{e.strerror}; finished blocks are kept, and the same call goes on"
            raise OSError(e.errno, message, str(path)) from e
    return path


def open_corpus(
    path # Folder of `write_corpus`
) -> tuple: # (X [n, c_in, seq_len] float32, y [n] or None), memory-mapped: only what is looked at is read
    "A whole corpus. ValueError where blocks are missing."
    path = Path(path)
    if not (path/HEADER).exists(): raise FileNotFoundError(f"there is no corpus in {path}")
    done = np.load(path/DONE)
    if not done.all():
        raise ValueError(f"{int((done == 0).sum())} of {len(done)} blocks of {path} are missing; run write_corpus or "
                         "nmvq_sample again, for all shards")
    return np.load(path/SERIES, mmap_mode='r'), np.load(path/LABELS, mmap_mode='r') if (path/LABELS).exists() else None


def dask_corpus(
    generator, # File of a generator, which every worker can read
    n:int, # Series
    y=None, # A label for all or one each [n]
    seed:int=0, # As in `write_corpus`
    **how # The same
) -> tuple: # (dask array [n, c_in, seq_len], labels [n] as an array or None)
    """The series of `write_corpus` as a Dask array, a block a chunk: for a cluster, or for stores that Dask writes.

    Needs `pip install tsai_nmvq[dask]`. Labels are drawn here; of targets, which are their anchors', there are none."""
    import dask.array as da
    from dask.delayed import delayed
    gen = _read_generator(str(generator))
    corpus = Corpus.of(gen, n, y, seed, **how)
    ids, shape = corpus.class_ids(gen, y), (corpus.c_in, corpus.seq_len)
    drawn, blocks = delayed(_draw_block), range(corpus.n_blocks)
    parts = [ids[corpus.rows(i)].cpu().numpy() for i in blocks]
    X = da.concatenate([da.from_delayed(drawn(str(generator), corpus, i, part), (len(part), *shape), np.float32)
                        for i, part in zip(blocks, parts)])
    is_class = gen.spec.vocab and gen.spec.conditions.kind != 'targets'
    return X, gen.sampler.labels(ids, None) if is_class else None


@lru_cache(1)
def _read_generator(file): # once a worker
    from .generator import NMVQGenerator
    return NMVQGenerator.load(file)


def _draw_block(file, corpus, i, ids): # by a worker
    gen = _read_generator(file)
    return corpus.draw_part(gen, i, torch.as_tensor(ids, device=gen.device))[0]


class _Rows:
    "An array on file, of which blocks of rows are written and none is kept in memory."
    def __init__(self, path, block):
        self.path, self.block = path, block
        array = np.load(path, mmap_mode='r')
        self.offset, self.row_bytes, self.dtype = array.offset, array.strides[0], array.dtype

    def write(self, i, rows):
        with open(self.path, 'r+b') as f:
            f.seek(self.offset + i * self.block * self.row_bytes)
            f.write(np.ascontiguousarray(rows, self.dtype).tobytes())
            f.flush()
            os.fsync(f.fileno())


def _prepare(path, corpus, example): # the folder and its files, where no other process has made them
    path.mkdir(parents=True, exist_ok=True)
    header = json.dumps(asdict(corpus))
    if not (path/HEADER).exists():
        if left := sorted(p.name for p in path.iterdir() if p.name not in (SERIES, LABELS, DONE) and p.name[0] != '.'):
            raise ValueError(f"{path} holds other files ({left[0]}, ...); name an empty folder or a new one")
        series, labels = example()
        arrays = {SERIES: (series.dtype, (corpus.n, *series.shape[1:])), DONE: (np.dtype(np.uint8), (corpus.n_blocks,))}
        if labels is not None: arrays[LABELS] = (labels.dtype, (corpus.n, *labels.shape[1:]))
        needed = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in arrays.values())
        free = shutil.disk_usage(path).free
        if needed > free: raise OSError(f"the corpus takes {needed:.2g} bytes and {path} has {free:.2g}; make room")
        for name, (dtype, shape) in arrays.items(): _make_once(path/name, dtype, shape)
        with atomic_write(path/HEADER) as aside: aside.write_text(header)
    there = json.loads((path/HEADER).read_text())
    for name, value in json.loads(header).items():
        if there.get(name) != value:
            raise ValueError(f"{path} holds another corpus, whose {name} is {there.get(name)!r} and not {value!r}; "
                             "name another folder")


def _make_once(path, dtype, shape): # a sparse file; where two processes make it the first one's stays
    aside = path.with_name(f'.{path.name}.{os.getpid()}')
    np.lib.format.open_memmap(aside, 'w+', dtype, shape).flush()
    try: os.link(aside, path)
    except FileExistsError: pass
    finally: aside.unlink()


def _generator_hash(gen):
    stages, anchors = [stage for stage in (gen.tokenizer, gen.prior, gen.mapper) if stage is not None], gen.anchors
    tensors = [t for stage in stages for _, t in sorted(stage.state_dict().items())]
    settings = [] if anchors is None else [anchors.strength, anchors.max_redraw]
    if anchors is not None: tensors += [*anchors.tokens.values(), *(getattr(anchors, name) for name in ROWS)]
    arrays = [t.detach().cpu().numpy() for t in tensors if t is not None]
    return _hash(arrays, repr(settings), repr(gen.mapper_use), repr(gen.spec))


def _hash(arrays, *texts):
    found = hashlib.sha256()
    for array in arrays: found.update(repr(array).encode() if array.dtype == object else array.tobytes())
    for text in texts: found.update(text.encode())
    return found.hexdigest()[:16]
