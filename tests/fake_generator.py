"""A generator whose series show what they are, and loaders of real series that do too, for the tests of augmentation.

Real rows hold their class id, series of the fake generator hold 100 + its own class id."""
from types import SimpleNamespace

import numpy as np
import torch
from tsai.basics import TSClassification, get_ts_dls

from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.data.spec import SeriesSpec

SEQ_LEN = 16


class FakeGenerator:
    "Every step of a series is 100 + its class id, but for the last one: its serial number."
    device = torch.device('cpu')

    def __init__(self, vocab=('a', 'b'), counts=(50, 50), c_in=1, seq_len=SEQ_LEN):
        self.spec = SeriesSpec(c_in, seq_len, sum(counts) or 100, (0.,) * c_in, (1.,) * c_in, vocab, counts)
        self.prior = SimpleNamespace(null_class=len(vocab))
        self.sampler = SimpleNamespace(sample_with_targets=self._sample, perturb=self._perturb, warp=self._warp,
                                       redraw=self._redraw)
        self.asked, self.broken = [], False

    def _sample(self, ids, generator, mapped=True, missing='like data'):
        if self.broken: raise RuntimeError('the generator is ill')
        x = (100. + ids + 1000 * (not mapped)).view(-1, 1, 1).repeat(1, self.spec.c_in, self.spec.seq_len)
        x[..., -1] = (sum(self.asked) + torch.arange(len(ids)))[:, None]
        self.asked.append(len(ids))
        return x, None

    def _perturb(self, x, magnitude, generator, mapped=True, ids=None):
        return x + magnitude * (1 + torch.rand(len(x), 1, 1, generator=generator))

    def _warp(self, x, magnitude, generator): return x + 100 * magnitude # a row shows the class of the row it was

    def _redraw(self, x, magnitude, ids, generator): return 100 + 0 * x + ids[:, None, None] # or the generator's class


def sampled(gen, **how):
    "Samples in the place of half of the rows, unless told otherwise."
    return NMVQAugment(gen, **{'mode': 'generate', 'append': False, 'p': 0.5, **how})


def real_rows(counts=(50, 50), names='abcdefgh', seq_len=SEQ_LEN):
    "Series that are constant at their class id, and labels."
    ids = np.repeat(np.arange(len(counts)), counts)
    X = np.broadcast_to(ids[:, None, None], (len(ids), 1, seq_len)).astype(np.float32).copy()
    return X, np.asarray(list(names))[ids]


def loaders(*batch_tfms, counts=(50, 50), bs=100, tfms='class', X=None, y=None):
    "tsai's loaders, shuffled alike in each call; every second row is a validation row too."
    if X is None: X, y = real_rows(counts)
    if tfms == 'class': tfms = [None, TSClassification()]
    np.random.seed(0)
    splits = list(range(len(X))), list(range(0, len(X), 2))
    return get_ts_dls(X, y, splits=splits, tfms=tfms, bs=bs, batch_tfms=list(batch_tfms))


def batch(dl): # plain tensors: those of tsai and fastai do not mix
    return [v.as_subclass(torch.Tensor) for v in dl.one_batch()]


def is_synthetic(x): return x[:, 0, 0] >= 100


def class_of(x): # class id a row shows: of the generator where synthetic, else of the loaders
    return torch.where(is_synthetic(x), x[:, 0, 0] - 100, x[:, 0, 0]).long()
