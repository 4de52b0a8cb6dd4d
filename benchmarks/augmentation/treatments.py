"""What is compared: augmentations of the batch, callbacks, and training splits that were filled up beforehand."""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tsai import all as ts

from tsai_nmvq.augment.transform import NMVQAugment

__all__ = ['Treatment', 'TREATMENTS', 'RIVALS', 'IMBALANCED_RIVALS']

BROKEN = {'TSFreqDenoise', 'TSRandomFreqNoise',  # NameError in tsai 1.0.1, or ImportError without PyWavelets
          'TSRandomConv',                       # hands on a gradient
          'TSRandomLowRes', 'TSRandomSize'}     # change the length


def working_randaugs() -> list: # Entries of `all_TS_randaugs` that run and keep the shape
    "tsai's list without those that are broken in 1.0.1."
    def cls(entry): return entry[0] if isinstance(entry, tuple) else entry
    return [entry for entry in ts.all_TS_randaugs if getattr(cls(entry), 'func', cls(entry)).__name__ not in BROKEN]


@dataclass(frozen=True)
class Treatment:
    "One way to train on a small set."
    batch_tfms:Callable = lambda gen: []    # Generator -> transforms before TSStandardize
    callbacks:Callable = lambda: []         # -> fastai callbacks
    fill_up:Callable|None = None            # (x [n, c_in, seq_len], y [n], seed) -> both, before training
    class_weights:bool = False              # Whether the loss weighs classes by their rarity
    needs_generator:bool = False            # Whether a generator is learnt first


def ours(**how): # NMVQAugment with these settings
    return Treatment(lambda gen: [NMVQAugment(gen, **how)], needs_generator=True)


def sampler_of_imblearn(make): # make(seed=, k=) of an imbalanced-learn sampler -> fill_up
    def fill_up(x, y, seed):
        fewest = np.unique(y, return_counts=True)[1].min()
        flat, y_new = make(seed, max(1, min(5, fewest - 1))).fit_resample(x.reshape(len(x), -1), y)
        return flat.reshape(-1, *x.shape[1:]).astype(np.float32), y_new
    return fill_up


def _oversampler(seed, k):
    from imblearn.over_sampling import RandomOverSampler
    return RandomOverSampler(random_state=seed)


def _smote(seed, k):
    from imblearn.over_sampling import SMOTE
    return SMOTE(k_neighbors=k, random_state=seed)


def _adasyn(seed, k):
    from imblearn.over_sampling import ADASYN
    return ADASYN(n_neighbors=k, random_state=seed)


def _ohit(x, y, seed): # aeon is asked for by this treatment alone
    from aeon.transformations.collection.imbalance import OHIT
    try: x_new, y_new = OHIT(random_state=seed).fit_transform(x, y)
    except ValueError: return x, y                                       # too few neighbours in a class of three
    return np.asarray(x_new, np.float32), y_new


def _weighted_dba(x, y, seed): # as many again: each a DTW average of five of its class, weighted at random
    from aeon.clustering.averaging import elastic_barycenter_average
    rng, made = np.random.default_rng(seed), []
    for row in range(len(x)):
        same = rng.permutation(np.flatnonzero(y == y[row]))[:5]
        made.append(elastic_barycenter_average(x[same].astype(float), distance='dtw', window=0.1, max_iters=5,
                                               weights=rng.dirichlet(np.ones(len(same))), random_state=seed))
    return np.concatenate((x, np.asarray(made, np.float32))), np.concatenate((y, y))


def _new(callback): return lambda: [callback()] # one for each run


TREATMENTS:dict[str, Treatment] = {
    'none': Treatment(),
    'window warp, scaling': Treatment(lambda gen: [ts.TSWindowWarp(0.1), ts.TSMagScale(0.2)]),
    'RandAugment': Treatment(lambda gen: [ts.RandAugment(working_randaugs(), N=2, M=3)]),
    'MixUp1d': Treatment(callbacks=_new(ts.MixUp1d)),
    'CutMix1d': Treatment(callbacks=_new(ts.CutMix1d)),
    'IntraClassCutMix1d': Treatment(callbacks=_new(ts.IntraClassCutMix1d)),
    'weighted DBA': Treatment(fill_up=_weighted_dba),
    'class weights': Treatment(class_weights=True),
    'random oversampling': Treatment(fill_up=sampler_of_imblearn(_oversampler)),
    'SMOTE': Treatment(fill_up=sampler_of_imblearn(_smote)),
    'ADASYN': Treatment(fill_up=sampler_of_imblearn(_adasyn)),
    'OHIT': Treatment(fill_up=_ohit),
    'NMVQAugment': ours(),
    'NMVQAugment, balance': ours(balance=True),
    'random oversampling, NMVQAugment': Treatment(lambda gen: [NMVQAugment(gen)], needs_generator=True,
                                                  fill_up=sampler_of_imblearn(_oversampler)),
}
RIVALS = ('none', 'window warp, scaling', 'RandAugment', 'MixUp1d', 'CutMix1d', 'IntraClassCutMix1d')
IMBALANCED_RIVALS = ('none', 'class weights', 'random oversampling', 'SMOTE', 'ADASYN', 'OHIT')
