"""Synthetic series in the training batch, on its device, before normalisation."""
import weakref
from contextlib import contextmanager
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from fastai.vision.augment import RandTransform
from fastcore.foundation import L
from fasttransform import ItemTransform, Transform
from torch import Tensor

from .data import plain

__all__ = ['NMVQAugment', 'nmvq_randaug']

MODES = ('generate', 'perturb')
REFILL_ROWS = 64


class SeriesPool:
    "Synthetic series by class, on one device; after `reuse` draws a series is replaced by a fresh one."
    def __init__(self,
        gen, # Object with .spec and .sample_ids(ids, generator, mapped)
        size:int, # Series in the pool
        reuse:int, # Draws of a series, on average, before it is replaced
        mapped:bool, # Whether series go through the mapper
        generator:torch.Generator, # Source of randomness on the generator's device
        like:Tensor # A batch: the pool takes its device and type
    ):
        self.gen, self.reuse, self.mapped, self.generator = gen, reuse, mapped, generator
        share = np.sqrt(gen.spec.counts if gen.spec.vocab else [1.])           # between the training proportions and equal parts
        per_class = np.maximum(8, np.round(share / share.sum() * size)).astype(int)
        self.ids = torch.as_tensor(np.repeat(np.arange(len(per_class)), per_class), device=generator.device)
        self.first = torch.as_tensor(np.cumsum(per_class) - per_class, device=like.device)
        self.count = torch.as_tensor(per_class, device=like.device)
        self.series = self._sample(self.ids, like)
        self.order = torch.randperm(len(self.ids), generator=generator, device=generator.device)
        self.block, self.draws, self.oldest = min(REFILL_ROWS, len(self.ids)), 0, 0

    def draw(self,
        ids:Tensor, # Class ids of the generator [n]
        generator:torch.Generator # Source of randomness on the ids' device
    ) -> Tensor: # Series of these classes [n, c_in, seq_len]
        "One series for each id; refills a part of the pool when it is due."
        self.draws += len(ids)
        due = self.draws // (self.reuse * self.block)
        if due: self._refill(due * self.block)
        self.draws -= due * self.reuse * self.block
        u = torch.rand(len(ids), device=ids.device, generator=generator)
        return self.series[self.first[ids] + (u * self.count[ids]).long()]

    def _refill(self, n):
        which = self.order.roll(-self.oldest)[:n]
        self.series[which.to(self.series.device)] = self._sample(self.ids[which], self.series)
        self.oldest = (self.oldest + len(which)) % len(self.order)

    def _sample(self, ids, like):
        if not self.gen.spec.vocab: ids = torch.full_like(ids, self.gen.prior.null_class)
        return self.gen.sample_ids(ids, self.generator, self.mapped).to(like.device, like.dtype)


class NMVQAugment(ItemTransform, RandTransform):
    """Batch transform that puts mapped synthetic series of the same class into training batches, in the data's own units.

    Works on training batches only: it does nothing in validation and inference, wherever gradients are off, and while the
    loaders are set up (a `TSStandardize()` that learns its statistics there must see real data).
    It leaves the global random state alone, and an exported learner does not carry the generator along."""
    order, split_idx = 80, 0                                                  # before TSStandardize, which is 90
    def __init__(self,
        gen=None, # `NMVQGenerator`; None (as in a learner loaded from an export) does nothing
        p:float=0.5, # Probability that a row is replaced, 0..1; with append, the share of rows added
        mode:str='generate', # 'generate': a synthetic series of the same class; 'perturb': the row's own stochastic reconstruction, mapped
        magnitude:float=0.5, # Strength of 'perturb', 0..1, as in tsai's RandAugment; 0 does nothing in either mode
        balance:bool=False, # Draw the classes of synthetic rows so that batches come as near to equal classes as p allows
        append:bool=False, # Add rows instead of replacing them
        mapped:bool=True, # False leaves the mapper out
        pool_size:int=None, # Series kept ready; twice the training split, in 128..1024, by default
        reuse:int=8, # Draws of a series, on average, before a fresh one replaces it
        unknown:str='raise', # Classes that the generator never saw: 'raise', or 'skip' to leave their rows alone
        seed:int=None, # Seed of all draws; follows torch.manual_seed by default
        **kwargs # Passed to fastai's RandTransform
    ):
        if mode not in MODES: raise ValueError(f"mode is {mode!r}, expected one of {MODES}")
        if not 0 <= p <= 1: raise ValueError(f"p is {p}, expected a probability in 0..1")
        if unknown not in ('raise', 'skip'): raise ValueError(f"unknown is {unknown!r}, expected 'raise' or 'skip'")
        if reuse < 1: raise ValueError(f"reuse is {reuse}, expected 1 draw or more")
        if gen is not None and (gen.spec is None or (mode == 'generate' and gen.prior is None)):
            raise RuntimeError("the generator is not fitted: call gen.fit(X, y, splits=splits) before NMVQAugment(gen)")
        if balance and (mode == 'perturb' or (gen is not None and not gen.spec.vocab)):
            raise ValueError("balance draws other classes: it needs mode='generate' and a generator that was fitted with labels")
        super().__init__(p=1., **kwargs)
        self.gen, self.p, self.mode, self.magnitude, self.balance, self.append = gen, p, mode, magnitude, balance, append
        self.mapped, self.pool_size, self.reuse, self.unknown, self.seed = mapped, pool_size, reuse, unknown, seed
        self._paused, self._to_gen, self._pipeline, self._pool, self._draws = False, None, None, None, None

    def setups(self, dl):
        "Match the loader's classes with the generator's by name, and stay inert until all transforms are set up."
        pipeline = getattr(dl, 'after_batch', None)
        self._pipeline = weakref.ref(pipeline) if pipeline is not None else None
        if self.gen is None or self.mode == 'perturb' or len(dl.dataset) == 0: return
        labelled = len(dl.dataset[[0]]) > 1
        if labelled and not getattr(dl, 'cat', False):
            raise ValueError("NMVQAugment(mode='generate') needs class labels, and these loaders have none; for classes pass "
                             "tfms=[None, TSClassification()], for regression targets use mode='perturb', which keeps them right")
        if labelled and not self.gen.spec.vocab:
            raise ValueError("this generator was fitted without labels, its series have no class; use mode='perturb', or fit it with y")
        if not labelled: return
        to_gen = self._match([plain(v) for v in dl.vocab])
        if self._to_gen is not None and not torch.equal(self._to_gen.cpu(), to_gen):
            raise ValueError("this NMVQAugment serves loaders with other classes already; make one for each data set")
        self._to_gen = to_gen

    def _match(self, vocab): # names by class id of the loader -> generator's class id by class id of the loader, -1 for unknown
        known = {str(v): i for i, v in enumerate(self.gen.spec.vocab)}
        missing = [v for v in vocab if str(v) not in known]
        if missing and self.unknown == 'raise':
            raise ValueError(f"labels {missing} are not in the generator's vocab {list(self.gen.spec.vocab)}; "
                             "fit it on these classes or pass unknown='skip'")
        return torch.as_tensor([known.get(str(v), -1) for v in vocab])

    def before_call(self, b, split_idx):
        "Decide whether this batch is augmented."
        self.do = (self.gen is not None and not self._paused and bool(self.magnitude) and self.p > 0
                   and torch.is_grad_enabled() and self._is_set_up())

    def _is_set_up(self): # a Pipeline empties `fs` and fills it again one transform at a time, and keeps each as an attribute too
        pipeline = self._pipeline and self._pipeline()
        if pipeline is None: return True
        named = sum(len(L(v)) for k, v in vars(pipeline).items() if k != 'fs' and isinstance(L(v)[0] if L(v) else None, Transform))
        if len(pipeline.fs) < named: return False
        self._pipeline = None
        return True

    @torch.no_grad()
    def encodes(self, b):
        x, *rest = b if isinstance(b, (list, tuple)) else (b,)
        y = rest[0] if rest else None
        self.gen.spec.check(x, 'the generator of NMVQAugment')
        if self._draws is None or self._draws.device != x.device:
            self._draws = torch.Generator(x.device).manual_seed(torch.initial_seed() if self.seed is None else self.seed)
        rows = (self._append if self.append else self._replace)(x, y)
        if not isinstance(b, (list, tuple)): return rows[0]
        return (*rows[:1 + len(rest[:1])], *rest[1:])

    def _replace(self, x, y):
        chosen = torch.rand(len(x), device=x.device, generator=self._draws) < self.p
        if self.mode == 'perturb': return self._where(chosen, self._perturb(x), x), y
        ids = self._gen_ids(x, y)
        if self.balance: ids, y = self._balanced(ids, y, chosen)
        if (ids < 0).any(): chosen, ids = chosen & (ids >= 0), ids.clamp_min(0)
        return self._where(chosen, self._draw(ids, x), x), y

    def _append(self, x, y):
        n = min(len(x), max(1, round(self.p * len(x))))
        base = torch.randperm(len(x), device=x.device, generator=self._draws)[:n]
        if self.mode == 'perturb': new, new_y = self._perturb(x[base]), None if y is None else y[base]
        else:
            ids, new_y = self._gen_ids(x[base], None if y is None else y[base]), None if y is None else y[base]
            if self.balance: ids, new_y = self._balanced(ids, new_y, torch.ones(n, dtype=torch.bool, device=x.device))
            keep = ids >= 0
            if not keep.all(): ids, new_y = ids[keep], None if new_y is None else new_y[keep]
            new = self._draw(ids, x)
        return _cat(x, new), None if y is None else _cat(y, new_y)

    def _where(self, chosen, new, x): return _like(torch.where(chosen.view(-1, 1, 1), new, _plain_tensor(x)), x)

    def _perturb(self, x):
        if self.gen.device != x.device: self.gen.to(x.device)
        return self.gen.perturb(_plain_tensor(x), self.magnitude, self._draws, self.mapped)

    def _gen_ids(self, x, y): # -> class ids of the generator [n], -1 where the generator does not know the class
        n_classes = self.gen.spec.n_classes
        if n_classes == 0: return torch.zeros(len(x), dtype=torch.long, device=x.device)
        if y is None:
            weights = torch.as_tensor(self.gen.spec.proportions, dtype=torch.float, device=x.device)
            return torch.multinomial(weights, len(x), replacement=True, generator=self._draws)
        if y.is_floating_point() or y.ndim != 1:
            raise ValueError(f"NMVQAugment(mode='generate') needs one class id a row, y has shape {tuple(y.shape)} and type {y.dtype}; "
                             "use mode='perturb'")
        if self._to_gen is None: self._to_gen = torch.arange(n_classes)
        if self._to_gen.device != x.device: self._to_gen = self._to_gen.to(x.device)
        return self._to_gen[_plain_tensor(y)]

    def _balanced(self, ids, y, chosen): # new classes for the chosen rows: q ∝ (real + p) / C - real π makes real π + p q even
        real = 1. if self.append else 1 - self.p
        weights = ((real + self.p) / self.gen.spec.n_classes - real * self.gen.spec.proportions).clip(0)
        weights = torch.as_tensor(weights if weights.sum() else np.ones_like(weights), dtype=torch.float, device=ids.device)
        drawn = torch.multinomial(weights, len(ids), replacement=True, generator=self._draws)
        if y is None: return torch.where(chosen, drawn, ids), y
        to_dls = torch.full((self.gen.spec.n_classes,), -1, device=ids.device)
        known = self._to_gen >= 0
        to_dls[self._to_gen[known]] = torch.arange(len(self._to_gen), device=ids.device)[known]
        chosen = chosen & (to_dls[drawn] >= 0)
        return torch.where(chosen, drawn, ids), _like(torch.where(chosen, to_dls[drawn], _plain_tensor(y)), y)

    def _draw(self, ids, x):
        if self._pool is None or self._pool.series.device != x.device or self._pool.series.dtype != x.dtype: self.fill(x)
        return self._pool.draw(ids, self._draws)

    def fill(self,
        like:Tensor=None # A batch whose device and type the pool takes; float32 on the generator's device by default
    ):
        "Make the pool now, so that the first training step does not wait for it. Returns self."
        like = torch.empty(0, device=self.gen.device) if like is None else like
        size = self.pool_size or int(np.clip(2 * self.gen.spec.n_series, 128, 1024))
        generator = torch.Generator(self.gen.device).manual_seed((torch.initial_seed() if self.seed is None else self.seed) + 1)
        self._pool = SeriesPool(self.gen, size, self.reuse, self.mapped, generator, like)
        return self

    @contextmanager
    def paused(self):
        "Do nothing inside the block, for example around your own loop over the training loader."
        before, self._paused = self._paused, True
        try: yield self
        finally: self._paused = before

    def to(self, device):
        "Called by `dls.to`. The pool follows the batches by itself."
        return self

    def __getstate__(self):
        return {**self.__dict__, 'gen': None, '_pool': None, '_draws': None, '_pipeline': None}

    def __deepcopy__(self, memo): # a copy shares the generator, which only pickling leaves out
        new = memo[id(self)] = type(self).__new__(type(self))
        new.__dict__.update({k: deepcopy(v, memo) for k, v in self.__getstate__().items()}, gen=self.gen)
        return new

    def __repr__(self):
        what = f"magnitude={self.magnitude}" if self.mode == 'perturb' else f"balance={self.balance}"
        gen = 'no generator' if self.gen is None else self.gen
        return f"NMVQAugment({gen}, p={self.p}, mode={self.mode!r}, {what}, append={self.append})"

    @property
    def name(self): return repr(self)


def nmvq_randaug(
    gen, # `NMVQGenerator`
    low:float=0.05, # Magnitude at RandAugment's M = 0
    high:float=1., # Magnitude at RandAugment's M = 10
    **kwargs # Passed to NMVQAugment: mapped, seed, ...
) -> tuple: # Entry for tsai's RandAugment, as in `all_TS_randaugs`
    """`NMVQAugment(mode='perturb')` as one of RandAugment's transforms.

    It works in the data's own units: put RandAugment before TSStandardize in the list, as their order ties."""
    return partial(_with_magnitude, NMVQAugment(gen, mode='perturb', **{'p': 1., **kwargs})), low, high


def _with_magnitude(aug, magnitude): # RandAugment calls its entries for every batch: a new transform each time would repeat its draws
    aug.magnitude = magnitude
    return aug


def _plain_tensor(t): return t.as_subclass(Tensor)


def _like(t, source): return t.as_subclass(type(source))


def _cat(t, more): return _like(torch.cat((_plain_tensor(t), _plain_tensor(more))), t)
