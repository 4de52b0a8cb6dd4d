"""Scores that need a classifier: inception score, train on synthetic and test on real, and its real counterpart."""
import hashlib

import fastai.callback.schedule  # noqa: F401 - gives Learner fit_one_cycle
import numpy as np
import torch
import torch.nn.functional as F
from fastai.callback.core import TrainEvalCallback
from fastai.learner import Learner
from torch import Tensor, nn
from tsai.models.FCN import FCN

from ..data.loaders import stage_dls
from ..data.rows import Rows
from ..models.layers import Standardizer, to_double
from ..rng import OwnRandom
from .inputs import as_labels, as_series, split_chunks

__all__ = ['SeriesClassifier', 'fit_classifier', 'train_classifier', 'inception_score', 'tstr', 'trtr', 'cas']

FCN_LAYERS = (64, 128, 64) # half of tsai's widths: a quarter of the time, the same accuracy
CACHED_CLASSIFIERS = 8


def half_fcn(
    c_in:int, # Channels
    c_out:int # Classes
) -> nn.Module: # Series [bs, c_in, seq_len] -> logits [bs, c_out]
    "tsai's FCN at half its widths."
    return FCN(c_in, c_out, layers=FCN_LAYERS)


class SeriesClassifier:
    "p(y|x) of a trained network, with the statistics and the labels of its training split."
    def __init__(self,
        model:nn.Module, # Standardised series [n, c_in, seq_len] -> logits [n, n_classes]
        standardizer:Standardizer, # Statistics of the training split
        shape:tuple, # (c_in, seq_len)
        vocab:np.ndarray # Labels [n_classes], as in the data
    ):
        self.model = model.eval().requires_grad_(False)
        self.standardizer = standardizer
        self.shape, self.vocab = shape, vocab

    def predict_proba(self,
        x # Series [n, c_in, seq_len], array or tensor, original units
    ) -> Tensor: # [n, n_classes], rows sum to 1, on the device of the classifier
        "Class probabilities, a chunk of series at a time."
        x, = as_series(x, shape=self.shape)
        parts = split_chunks(x, max(FCN_LAYERS) * self.shape[1])
        return torch.cat([self.model(self.standardizer(part)).softmax(1) for part in parts])

    def predict(self,
        x # Series [n, c_in, seq_len], array or tensor, original units
    ) -> np.ndarray: # Labels [n], as in the data
        "The most probable label of each series."
        return self.vocab[self.predict_proba(x).argmax(1).cpu().numpy()]


_classifiers:dict = {} # {content hash: classifier}, latest last: IS, TSTR and TRTR of one table train it once


def fit_classifier(
    X, # Series [n, c_in, seq_len], array or tensor, original units
    y, # Labels [n]
    n_steps:int=400, # Batches to train on; a pass over the data where that takes more
    bs:int=32, # Batch size
    lr:float=1e-2, # Highest learning rate of the one-cycle schedule
    seed:int=0, # Seed of weights and batches; the global random states are left alone
    network=half_fcn # Function: c_in, c_out -> network; tsai's FCN at half its widths by default
) -> SeriesClassifier: # The same object for the same data and settings (the last few are kept)
    "Train a classifier without printing anything."
    x, = as_series(X)
    y = as_labels(y, x)
    settings = repr((tuple(x.shape), x.device, y.tolist(), n_steps, bs, lr, seed, network.__name__))
    key = hashlib.sha256(x.cpu().numpy().tobytes() + settings.encode()).digest()
    _classifiers[key] = _classifiers.pop(key, None) or train_classifier(x, y, n_steps, bs, lr, seed, network)
    if len(_classifiers) > CACHED_CLASSIFIERS: del _classifiers[next(iter(_classifiers))]
    return _classifiers[key]


def train_classifier(
    x:Tensor, # Series [n, c_in, seq_len], original units
    y:np.ndarray, # Labels [n]
    n_steps:int=400, # As in `fit_classifier`, as the others
    bs:int=32,
    lr:float=1e-2,
    seed:int=0,
    network=half_fcn,
    cbs=() # fastai callbacks, such as one that changes batches
) -> SeriesClassifier: # Which is not kept
    "`fit_classifier` without a look at what came."
    vocab, ids = np.unique(y, return_inverse=True)
    standardizer = Standardizer(x.shape[1]).fit(x)
    rows = Rows.of_tensors(standardizer(x), torch.as_tensor(ids, device=x.device))
    with OwnRandom(seed):
        model = network(x.shape[1], len(vocab)).to(x.device)
        dls = stage_dls(rows, bs=bs, min_steps=n_steps, device=x.device) # whole batches: BatchNorm needs some rows
        learn = Learner(dls, model, loss_func=F.cross_entropy, default_cbs=False,
                        cbs=[TrainEvalCallback, *cbs]) # silent
        learn.fit_one_cycle(1, lr)
    return SeriesClassifier(model, standardizer, tuple(x.shape[1:]), vocab)


def inception_score(
    gen, # Synthetic series [n, c_in, seq_len], original units; or class probabilities [n, n_classes]
    classifier:SeriesClassifier=None # From `fit_classifier` on real data; not needed for probabilities
) -> float: # 1 (no information) to n_classes (sure of each, classes even)
    "exp E KL(p(y|x) ‖ p(y)): high where a classifier is sure of each series, and they cover all classes. [1606.03498]"
    if gen.ndim == 2: p = to_double(torch.as_tensor(gen))
    elif classifier is not None: p = to_double(classifier.predict_proba(gen))
    else:
        raise ValueError(f"gen has shape {tuple(gen.shape)} and there is no classifier; "
                         "pass fit_classifier(X, y), or probabilities [n, n_classes]")
    if not len(p) or not (p >= 0).all() or not torch.allclose(p.sum(1), p.new_ones(len(p)), atol=1e-4):
        raise ValueError("rows of probabilities must be at least one, not negative and sum to 1; "
                         "pass them after softmax")
    return (torch.xlogy(p, p) - torch.xlogy(p, p.mean(0))).sum(1).mean().exp().item()


def tstr(
    gen, # Synthetic series [n, c_in, seq_len], original units
    y_gen, # Their labels [n]
    real_test, # Real series that the generator has not seen [m, c_in, seq_len]
    y_test, # Their labels [m]
    seed:int=0 # Seed of the classifier
) -> float: # Accuracy, 0..1
    "Train on synthetic, test on real: accuracy of a classifier of synthetic series. [1706.02633; as CAS, 1905.10887]"
    gen, real_test = as_series(gen, real_test)
    y_test = as_labels(y_test, real_test)
    return float((fit_classifier(gen, y_gen, seed=seed).predict(real_test) == y_test).mean())


cas = tstr


def trtr(
    real, # Real series of the training split [n, c_in, seq_len], original units
    y_real, # Their labels [n]
    real_test, # Real series of the test split [m, c_in, seq_len]
    y_test, # Their labels [m]
    seed:int=0 # Seed of the classifier
) -> float: # Accuracy, 0..1
    "Train on real, test on real: the same classifier's accuracy that `tstr` is measured against."
    return tstr(real, y_real, real_test, y_test, seed)
