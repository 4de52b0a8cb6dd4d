"""One run: a network of tsai, trained as a user would, for a number of steps; its scores on the test split."""
import time
from functools import partial

import fastai.callback.schedule  # noqa: F401 - gives Learner fit_one_cycle
import numpy as np
import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import set_seed
from imblearn.metrics import geometric_mean_score
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from tsai.data.core import TSClassification
from tsai.data.preprocessing import TSStandardize
from tsai.models.FCN import FCN
from tsai.models.InceptionTimePlus import InceptionTimePlus
from tsai.models.ResNet import ResNet
from tsai.tslearner import TSClassifier

from tsai_nmvq.metrics.classifier import FCN_LAYERS

from .treatments import Treatment

__all__ = ['NETWORKS', 'STEPS', 'LEARNING_RATE', 'train']

NETWORKS = {'FCN': partial(FCN, layers=list(FCN_LAYERS)), 'InceptionTimePlus': partial(InceptionTimePlus, nf=16),
            'ResNet': ResNet}
STEPS, LEARNING_RATE = 600, 5e-3    # the same for every network and treatment
SMALL = 100                         # training series, up to which batches are half as large
BATCH_ROWS = 16, 32


class _NoValidation(Callback): # nothing looks at the test split in training, and it would take most of the time
    def before_validate(self): raise CancelValidException


def train(
    X, # Series [n, c_in, seq_len]
    y, # Labels [n]
    splits, # Training and test rows
    treatment:Treatment, # How
    network:str, # A name of `NETWORKS`
    seed:int, # Of weights, batches and draws
    gen=None, # `NMVQGenerator` of the training split, where the treatment needs one
    steps:int=STEPS # Batches
) -> dict: # {score: value}, and the seconds of training
    "Train once and score."
    size = BATCH_ROWS[len(splits[0]) > SMALL]
    set_seed(seed)
    X, y, splits = _filled_up(X, y, splits, treatment, seed)
    clf = TSClassifier(X, y, splits=splits, tfms=[None, TSClassification()], bs=min(size, len(splits[0])),
                       arch=_named(network), loss_func=CrossEntropyLossFlat(weight=_weights(treatment, y, splits)),
                       batch_tfms=[*treatment.batch_tfms(gen), TSStandardize(by_sample=True)],
                       cbs=treatment.callbacks())
    start = time.perf_counter()
    with clf.no_bar(), clf.no_logging():
        clf.fit_one_cycle(max(1, round(steps / len(clf.dls.train))), LEARNING_RATE, cbs=_NoValidation())
    seconds = time.perf_counter() - start
    with clf.no_bar(): proba, target = clf.get_preds(dl=clf.dls.valid)
    return {**_scores(target.numpy(), proba.argmax(1).numpy()), 'training, s': seconds}


def _named(network): # tsai asks an architecture for its name
    arch = NETWORKS[network]
    if isinstance(arch, partial): arch.__name__ = arch.func.__name__
    return arch


def _filled_up(X, y, splits, treatment, seed): # test rows stay as they are
    if treatment.fill_up is None: return X, y, splits
    train, test = splits
    x_more, y_more = treatment.fill_up(X[train], y[train], seed)
    n = len(x_more)
    return np.concatenate((x_more, X[test])), np.concatenate((y_more, y[test])), [list(range(n)),
                                                                                  list(range(n, n + len(test)))]


def _weights(treatment, y, splits): # inverse class shares with mean 1 over rows
    if not treatment.class_weights: return None
    counts = np.asarray([(y[splits[0]] == name).sum() for name in np.unique(y)])
    return torch.tensor(len(splits[0]) / (len(counts) * counts.clip(1)), dtype=torch.float)


def _scores(target, predicted):
    return {'accuracy': accuracy_score(target, predicted),
            'balanced accuracy': balanced_accuracy_score(target, predicted),
            'macro F1': f1_score(target, predicted, average='macro'),
            'G-mean': geometric_mean_score(target, predicted, average='multiclass', correction=0.)}
