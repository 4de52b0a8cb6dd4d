"""`NMVQAugment`: synthetic series in the training batch, on its device, before normalisation."""
import math
import os
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch
from fastai.vision.augment import RandTransform
from fastcore.foundation import L
from fasttransform import ItemTransform, Transform
from torch import Tensor
from tsai.data.core import TSTensor

from ..rng import generator_on, of_this_process
from .bank import RowBank
from .batch_statistics import AugmentedTensor
from .callers import is_mixed, is_training_step
from .classes import ClassMap, are_ids, balancing_weights, class_shares
from .matching import ConditionMap, gaps_of, has_a_sample_for_each, match_loader
from .options import USUAL, AugmentationChoice
from .pool import SeriesPool, pool_size
from .portable import GeneratorLeftOut
from .rows import MAGNITUDES, MODES, VARIATIONS, ClassDraw, OtherRows, RowKind, SampledRows, VariedRows
from .source import LOST_GENERATOR, NO_GENERATOR, check_stages, given_generator

__all__ = ['NMVQAugment']

EPS = 1e-6


class NMVQAugment(GeneratorLeftOut, ItemTransform, RandTransform):
    """Batch transform that puts synthetic series of the same class into training batches, in the data's units.

    Works on training batches only: it does nothing in validation and inference, wherever gradients are off, and while
    the loaders are set up (a `TSStandardize()` that learns its statistics there must see real data).
    It leaves the global random state alone, and an exported learner does not carry the generator along."""
    order, split_idx = 80, 0                                             # before TSStandardize, which is 90
    instead = ItemTransform                                              # does nothing
    transient:ClassVar[Sequence[str]] = '_pool', '_bank', '_draws', '_process', '_pipeline', '_has_warned'
    _classes:ConditionMap|None          # The loader's classes and the generator's
    _shares:np.ndarray|None             # Of the loader's classes in training; None where there is no one class a row
    _gaps:str                           # What samples have where the loader's series have gaps, see `Sampler.finished`
    _pool:SeriesPool|None               # Series kept ready
    _bank:RowBank|None                  # Real rows by class, where classes are drawn
    _draws:torch.Generator|None         # Source of randomness on the batch's device
    _process:int|None                   # That draws: a forked worker of a loader draws apart
    _pipeline:weakref.ref|None          # The loader's transforms, until they are set up
    _has_warned:bool|None               # That there is no generator

    def __init__(self,
        gen=None, # `NMVQGenerator` or path of its file; None (as in a learner loaded from an export) does nothing
        p:float=None, # Synthetic rows added for each real one; with append=False, the probability that one is replaced.
                      # By default what the generator chose, see `gen.report()`; 1 where mode or balance is named
        mode:str=None, # What a synthetic row is; by default what the generator chose. 'warp': a real row, warped as
                       # strongly as makes it new; 'redraw': with tokens drawn anew too; 'perturb': its stochastic
                       # reconstruction; 'generate': a sample
        magnitude:float=None, # Strength of variations of a row, 0..1; 0 does nothing. 0.5 for 'perturb', else 1
        balance:bool=False, # Even classes out: earlier rows of rare classes replace some of frequent ones, and all are
                            # added to alike; with append=False, synthetic rows alone, as far as p allows
        append:bool=True, # Add rows; False replaces real ones
        apart:bool=None, # BatchNorm normalises added rows apart; by default where they are samples. Variations are like
                         # real rows, and better statistics come of both
        mapped:bool=True, # False leaves the mapper out
        pool_size:int=None, # Series kept ready; twice the training split, in 128..1024, by default
        reuse:int=8, # Draws of a series, on average, before a fresh one replaces it
        unknown:str='raise', # Classes that the generator never saw: 'raise', or 'skip' to leave their rows alone
        seed:int=None, # Seed of all draws; follows torch.manual_seed by default. Processes of one training draw apart
        **kwargs # Passed to fastai's RandTransform
    ):
        gen, self._is_default = given_generator(gen), mode is None
        choice = getattr(gen, 'augmentation', AugmentationChoice())
        if p is None: p = choice.p if self._is_default and not balance else 1.
        if mode is None: mode = choice.mode
        if mode not in MODES: raise ValueError(f"mode is {mode!r}, expected one of {MODES}")
        if not 0 <= p <= (math.inf if append else 1):
            raise ValueError(f"p is {p}, expected " + ("0 or more" if append else "a probability in 0..1"))
        if unknown not in ('raise', 'skip'): raise ValueError(f"unknown is {unknown!r}, expected 'raise' or 'skip'")
        if reuse < 1: raise ValueError(f"reuse is {reuse}, expected 1 draw or more")
        if gen is not None and mode == 'generate': check_stages(gen, gen.prior)
        if balance and gen is not None and not gen.spec.vocab:
            raise ValueError("balance draws other classes: it needs a generator that was fitted with labels")
        super().__init__(p=1., **kwargs)
        if 'before_call' not in kwargs: del self.before_call             # the class's own, kept by fastai: not portable
        self.gen, self.p, self.mode = gen, p, mode
        self.magnitude = MAGNITUDES.get(mode, 1.) if magnitude is None else magnitude
        self.balance, self.append, self.apart, self.mapped = balance, append, apart, mapped
        self.pool_size, self.reuse, self.unknown, self.seed = pool_size, reuse, unknown, seed
        self._paused, self._classes, self._shares, self._gaps = False, None, None, 'like data'
        for name in self.transient: setattr(self, name, None)

    # Set up

    def setups(self, dl):
        "Match the loader's classes with the generator's by name, and stay inert until all transforms are set up."
        pipeline = getattr(dl, 'after_batch', None)
        self._pipeline = weakref.ref(pipeline) if pipeline is not None else None
        if self.gen is None and getattr(getattr(dl, 'dataset', None), 'split_idx', 0) == 0: self._warn(NO_GENERATOR)
        if self.gen is not None and self.mode == 'generate' and self._is_default: # then rows need not be samples
            if not has_a_sample_for_each(dl, self.gen.spec): self.mode = USUAL
        if dl is None and self.gen is not None and self.gen.spec.vocab and (self.mode != 'warp' or self.balance):
            raise ValueError("NMVQAugment matches its generator's classes with the loaders', which add_tfms does not "
                             "tell; pass it in batch_tfms when the loaders are made")
        if self.gen is None or dl is None or len(dl.dataset) == 0: return
        is_training = getattr(dl.dataset, 'split_idx', 0) == 0
        if is_training and self.mode == 'generate' and self.gen.spec.missing: self._gaps = gaps_of(dl, self.gen.spec)
        classes = match_loader(dl, self.gen.spec, self.mode == 'generate', self.balance, self.unknown)
        if self._classes is not None and classes is not None and not self._classes.same_as(classes):
            raise ValueError("this NMVQAugment serves loaders with other classes already; make one for each data set")
        self._classes = classes or self._classes
        if isinstance(classes, ClassMap) and is_training:
            self._shares = class_shares(dl, len(classes.to_gen))

    def _is_set_up(self): # a Pipeline empties `fs`, fills it one transform at a time, keeps each as an attribute too
        pipeline = None if self._pipeline is None else self._pipeline()
        if pipeline is None: return True
        kept = [L(value) for name, value in vars(pipeline).items() if name != 'fs']
        n_tfms = sum(len(tfms) for tfms in kept if len(tfms) and isinstance(tfms[0], Transform))
        if len(pipeline.fs) < n_tfms: return False
        self._pipeline = None
        return True

    def fill(self,
        like:Tensor=None # A batch whose device and type the pool takes; float32 on the generator's device by default
    ):
        "Make the pool now, so that the first training step does not wait for it. Returns self."
        like = torch.empty(0, device=self.gen.device) if like is None else like
        self._draw_here()
        size = self.pool_size or pool_size(self.gen.spec.n_series)
        self._pool = SeriesPool(self.gen, size, self.reuse, self.mapped, self._source_of_pool(), like, self._gaps)
        return self

    @property
    def _seed(self): return of_this_process(torch.initial_seed() if self.seed is None else self.seed)

    # A batch

    def before_call(self, b, split_idx):
        "Decide whether this batch is augmented."
        is_on = self.split_idx in (None, split_idx) and torch.is_grad_enabled() and not self._paused
        self.do = is_on and self.gen is not None and bool(self.magnitude) and self.p > 0 and self._is_set_up()
        if self.do and not self._stays_in_place and is_mixed():
            raise ValueError("rows of mixed loaders (get_mixed_dls) must stay beside their own of the other loaders, "
                             "and this NMVQAugment moves them; pass append=False, balance=False and a mode that varies "
                             f"rows: {', '.join(VARIATIONS)}")
        if is_on and self.gen is None and not self._has_warned and is_training_step(): self._warn(LOST_GENERATOR)

    def _warn(self, message): # once; tsai silences every UserWarning
        if not self._has_warned: warnings.warn(message, RuntimeWarning, stacklevel=3)
        self._has_warned = True

    @torch.no_grad()
    def encodes(self, b):
        is_tuple = isinstance(b, (list, tuple))
        x, *rest = b if is_tuple else (b,)
        y = rest[0] if rest else None
        self.gen.spec.check(x, 'the generator of NMVQAugment')
        if self._draws_from_bank and y is not None and are_ids(y):
            self._fitting_bank(x).add(_plain(x), _plain(y))
        x, y = (self._append if self.append else self._replace)(x, y, self._generator(x.device))
        return (x, *([y] if rest else []), *rest[1:]) if is_tuple else x

    def _replace(self, x, y, generator):
        chosen = torch.rand(len(x), device=x.device, generator=generator) < self.p
        made = self._row_kind(x, generator).draw(_plain(x), _plain(y), chosen, self.magnitude)
        chosen = chosen if made.valid is None else chosen & made.valid
        new = torch.where(chosen.view(-1, 1, 1), made.x, _plain(x))
        return _like(new, x), y if y is None else _like(made.y, y)

    def _append(self, x, y, generator):
        real, y_real = _plain(x), _plain(y)
        if self.balance: real, y_real = self._evened_out(real, y_real, generator)
        n = max(1, round(self.p * len(x)))
        passes = [torch.randperm(len(x), device=x.device, generator=generator) for _ in range(math.ceil(n / len(x)))]
        base = torch.cat(passes)[:n]
        y_base, chosen = None if y is None else y_real[base], torch.ones_like(base, dtype=torch.bool)
        made = self._row_kind(x, generator).draw(real[base], y_base, chosen, self.magnitude)
        new, y_new = (made.x, made.y) if made.valid is None else made.of_valid_rows()
        n_real, apart = getattr(x, 'n_real', None), getattr(x, 'apart', False) # of another NMVQAugment before this one
        apart = apart or (self.mode not in VARIATIONS if self.apart is None else self.apart)
        is_tsais = type(x) in (TSTensor, AugmentedTensor)
        x = AugmentedTensor.of(real, new, n_real, apart) if is_tsais else _like(torch.cat((real, new)), x)
        return x, y if y_new is None else _like(torch.cat((y_real, y_new)), y)

    def _evened_out(self, x, y, generator): # earlier rows of rare classes in the place of rows of frequent ones
        if y is None or not are_ids(y): return x, y
        shares = torch.tensor(self._class_shares, dtype=torch.float, device=x.device)
        even = (shares > 0) / (shares > 0).sum()
        replaced = torch.rand(len(x), device=x.device, generator=generator) * shares[y] >= even[y]
        rare = ClassDraw((even - shares).clamp_min(0) + EPS * even, generator) # all may be even: some weight is needed
        return OtherRows(self._fitting_bank(x), rare).instead_of(x, y, replaced)

    def _draw_here(self): # what a forked process took along from its parent goes on in sources of its own
        if self._process not in (None, os.getpid()):
            self._draws = None
            if self._pool is not None: self._pool.generator = self._source_of_pool()
        self._process = os.getpid()

    def _source_of_pool(self): return generator_on(self.gen.device, self._seed + 1)

    def _generator(self, device): # draws go on from batch to batch
        self._draw_here()
        if self._draws is None or self._draws.device != device: self._draws = generator_on(device, self._seed)
        return self._draws

    def _row_kind(self, x, generator) -> RowKind: # made a batch: p, balance and mapped may change in between
        if self._classes is not None: self._classes = self._classes.to(x.device)
        class_draw = self._class_draw(x.device, generator)
        if self.mode not in VARIATIONS:
            classes = self._classes or ClassMap.identity(self.gen.spec.n_classes).to(x.device)
            return SampledRows(self._fitting_pool(x), classes, generator, class_draw)
        others = None if class_draw is None else OtherRows(self._fitting_bank(x), class_draw)
        return VariedRows(self.gen, VARIATIONS[self.mode], self._classes, generator, self.mapped, others)

    @property
    def _class_shares(self): # of the loader; of the training split where there was no set-up
        return self.gen.spec.proportions if self._shares is None else self._shares

    def _class_draw(self, device, generator) -> ClassDraw|None: # None where rows keep their class
        if not self.balance and not self._draws_classes: return None
        weights, classes = self._class_shares, self._classes
        if self.balance: weights = weights > 0 if self.append else balancing_weights(weights, 1 - self.p, self.p)
        weights = torch.tensor(weights, dtype=torch.float, device=device)
        if self.mode not in VARIATIONS and isinstance(classes, ClassMap) and not classes.is_total:
            known = (classes.to_gen >= 0).float()
            weights = weights * known if (weights * known).any() else known
            if not known.any(): return None
        return ClassDraw(weights, generator)

    @property
    def _stays_in_place(self): # whether a synthetic row is a variation of the row whose place it takes
        return not self.append and not self.balance and self.mode in VARIATIONS

    @property
    def _draws_classes(self): # whether added rows are of any class: a step sees more of them than the batch has
        return self.append and self._shares is not None

    @property
    def _draws_from_bank(self): # samples that replace rows come from the pool alone
        return self.mode in VARIATIONS and (self._draws_classes or self.balance) or (self.balance and self.append)

    def _fitting_bank(self, x) -> RowBank: # on the batch's device and of its type
        bank = self._bank
        if bank is None or (bank.rows.device, bank.rows.dtype) != (x.device, x.dtype):
            bank = self._bank = RowBank(len(self._class_shares), _plain(x))
        return bank

    def _fitting_pool(self, x) -> SeriesPool: # on the batch's device and of its type
        pool = self._pool
        if pool is not None and (pool.series.device, pool.series.dtype) == (x.device, x.dtype): return pool
        return self.fill(x)._pool

    # Around it

    @contextmanager
    def paused(self) -> Iterator['NMVQAugment']:
        "Do nothing inside the block, for example around your own loop over the training loader."
        before, self._paused = self._paused, True
        try: yield self
        finally: self._paused = before

    def to(self, device):
        "Called by `dls.to`. The pool follows the batches by itself."
        return self

    def __repr__(self):
        what = f"magnitude={self.magnitude}, balance={self.balance}"
        gen = 'no generator' if self.gen is None else self.gen
        return f"NMVQAugment({gen}, p={self.p}, mode={self.mode!r}, {what}, append={self.append})"

    @property
    def name(self): return repr(self)


def _plain(t): return None if t is None else t.as_subclass(Tensor)       # fastai's subclasses are slow and mix badly


def _like(t, source): return t.as_subclass(type(source))
