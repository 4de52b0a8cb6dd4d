"""Which option of augmentation suits a data set: cross-validation inside the training split."""
import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback

from ..data.intake import SeriesData
from ..data.labels import shuffled_by_class
from ..metrics.classifier import train_classifier
from ..models.layers import Standardizer
from ..progress import progress
from ..rng import generator_on
from ..sampler import Sampler
from ..train.anchors import starting_from
from .batch_statistics import AugmentedTensor
from .options import FIGURES, NONE, OPTIONS, AugmentationChoice
from .rows import VARIATIONS

__all__ = ['choose_augmentation', 'weighed']

FOLDS = 2                       # each series is held back once
MIN_SERIES = 20                 # that are asked, and
MAX_SERIES = 1000               # of a larger training split
BATCH, PASSES = 16, 12          # series a step, and how often each is seen
STEPS = 100, 450                # of one training, at least and at most: a quarter of the time of a fit, or less
POOL = 2                        # samples for each series, of options that sample


def choose_augmentation(
    sampler:Sampler, # With tokenizer, prior and anchors
    data:SeriesData, # The training split
    seed:int=0 # Seed of folds, networks and draws
) -> AugmentationChoice:
    """Cross-validate a small classifier with each option and without, and weigh what it gains against what is usual.

    On a hundred series a trial is off by three points by chance, more than options differ by. So what is expected is
    the mean of the tried and the usual gain by their precisions [normal with a normal prior]: a small set goes by what
    is usual unless its trial speaks loudly."""
    if data.y is None or data.spec.conditions.kind != 'classes': return AugmentationChoice(reason='it needs classes')
    rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:MAX_SERIES])
    trial = _Trial(sampler, data.subset(rows), seed)
    if trial.asked.sum() < MIN_SERIES: return AugmentationChoice(reason='too few series')
    right = {mode: trial.right(mode)[trial.asked] for mode in progress((NONE, *OPTIONS), leave=False)}
    return AugmentationChoice(weighed(right))


class _Trial:
    "Cross-validation of one data set: the same folds, networks and batches for every option."
    def __init__(self, sampler, data, seed):
        self.sampler, self.data, self.seed = sampler, data, seed
        self.x = data.series(np.arange(len(data))).to(sampler.device)
        self.fold = np.empty(len(data), int)
        self.fold[shuffled_by_class(data.y, seed)] = np.arange(len(data)) % FOLDS # each class alike
        self.asked = np.bincount(data.y)[data.y] >= FOLDS                # a class's only series is always learnt
        self.fold[~self.asked] = FOLDS

    def right(self, mode): # -> whether each series is told that its network has not seen [n], 0 or 1
        found = np.empty(len(self.data), int)
        for fold in range(FOLDS):
            rows = np.flatnonzero(self.fold != fold)
            n_steps = int(np.clip(PASSES * len(rows) // BATCH, *STEPS))
            added = [] if mode == NONE else [_AddedRows(mode, self.sampler, self.data, self.x, rows, self.seed)]
            classifier = train_classifier(self.x[rows], self.data.y[rows], n_steps, BATCH, seed=self.seed, cbs=added)
            found[self.fold == fold] = classifier.predict(self.x[self.fold == fold])
        return (found == self.data.y).astype(float)


class _AddedRows(Callback):
    "Adds rows to each batch, as `NMVQAugment` does."
    run_valid = False

    def __init__(self, mode, sampler, data, x, rows, seed):
        self.mode, self.sampler, self.generator = mode, sampler, generator_on(sampler.device, seed)
        self.standardizer = Standardizer(x.shape[1]).fit(x[rows])
        self.x, self.y = x[rows], torch.as_tensor(data.y[rows], device=x.device)
        if mode in VARIATIONS: return
        self.sampler = starting_from(sampler, data.subset(rows))         # what is held back is not copied
        self.y = self.y.repeat(POOL)
        self.x = self.sampler.sample(self.y, self.generator, missing='filled')

    def before_batch(self):
        x, y = self.xb[0], self.yb[0]
        n = max(1, round(OPTIONS[self.mode].p * len(x)))
        idx = torch.randint(len(self.y), (n,), device=x.device, generator=self.generator)
        made, ids = self.x[idx], self.y[idx]
        if self.mode in VARIATIONS:
            made = VARIATIONS[self.mode](self.sampler, made, 1., ids, self.generator, True)
        apart = self.mode not in VARIATIONS                              # as in `NMVQAugment`
        self.learn.xb = (AugmentedTensor.of(x, self.standardizer(made), apart=apart),)
        self.learn.yb = (torch.cat((y, ids)),)


def weighed(
    right:dict # {option, 'none' among them: whether each series is told [n], 0 or 1}
) -> pd.DataFrame: # A row a mode, columns `FIGURES`
    "Tried gains beside expected ones. Each option is weighed against the one that it is usually compared with."
    found = {NONE: dict.fromkeys(FIGURES, 0.)}
    for mode, option in OPTIONS.items():
        base, gain = found[option.over], _gain(right[mode] - right[option.over])
        expected, deviation = _posterior((option.gain, option.deviation), gain)
        found[mode] = dict(zip(FIGURES, (*_gain(right[mode] - right[NONE]), base['usual'] + option.gain,
                                         base['expected'] + expected, float(np.hypot(base['deviation'], deviation)))))
    return pd.DataFrame.from_dict(found, 'index').drop(index=NONE)


def _gain(differences): # of 0 and 1 [n] -> (points, their standard error, as if one more pair differed)
    return 100 * differences.mean(), 100 * np.sqrt((differences ** 2).sum() + 1) / len(differences)


def _posterior(usual, tried): # (mean, deviation) twice -> both of a normal mean
    precisions = [1 / deviation ** 2 for _, deviation in (usual, tried)]
    return np.average([usual[0], tried[0]], weights=precisions), sum(precisions) ** -0.5
