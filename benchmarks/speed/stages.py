"""What the sections share: random walks, and the three stages trained for a few steps on them."""
import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException, CancelValidException
from fastai.learner import Learner

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.sampler import Sampler
from tsai_nmvq.train.anchors import fit_anchors
from tsai_nmvq.train.mapper import MapperLearner
from tsai_nmvq.train.prior import PriorLearner
from tsai_nmvq.train.tokenizer import TokenizerLearner

__all__ = ['LENGTHS', 'BS', 'N_CLASSES', 'N_SAMPLES', 'STEPS', 'random_walks', 'random_data', 'sample_labels',
           'train_steps', 'trained_stages', 'decoded_samples', 'anchored_sampler']

LENGTHS = (96, 150, 500, 1639)
BS = 32             # of training steps
N_CLASSES = 2
N_SAMPLES = 64      # sampled at a time
STEPS = 6           # of training that are timed together


def random_walks(
    n:int, # Series
    seq_len:int, # Steps
    c_in:int=1, # Channels
    seed:int=0 # Seed of the walks
) -> np.ndarray: # [n, c_in, seq_len], float32
    "Series to measure on where only their size counts."
    return np.random.default_rng(seed).normal(size=(n, c_in, seq_len)).astype('float32').cumsum(-1)


def random_data(
    n:int, # Series
    seq_len:int # Steps
) -> SeriesData: # Of `N_CLASSES` classes
    "Random walks as a training split."
    return SeriesData.from_arrays(random_walks(n, seq_len), np.arange(n) % N_CLASSES)


def sample_labels(
    device # Where the prior is
) -> torch.Tensor: # Class ids [N_SAMPLES]
    "Classes to sample."
    return torch.arange(N_SAMPLES, device=device) % N_CLASSES


class FewSteps(Callback):
    "An epoch of so many training batches, and no validation."
    def __init__(self,
        n:int # Batches
    ): self.n = n

    def after_batch(self):
        if self.training and self.iter + 1 >= self.n: raise CancelEpochException()

    def before_validate(self): raise CancelValidException()


def train_steps(
    learn:Learner, # Of a stage, or a classifier
    n_steps:int=STEPS # Training steps
):
    "Some training steps as a user takes them: metrics and callbacks run, the progress bar does not."
    with learn.no_bar(), learn.no_logging(), learn.added_cbs(FewSteps(n_steps)): learn.fit(1, 1e-3)


def trained_stages(
    data:SeriesData, # Training split
    preset:str, # 'fast' or 'paper'
    device # Where to train
) -> tuple: # (TokenizerLearner, PriorLearner, MapperLearner)
    "The three learners, each trained for a few steps."
    shared = dict(preset=preset, device=device)
    tok = TokenizerLearner(data, **shared)
    train_steps(tok)
    pri = PriorLearner(data, tok.model, **shared)
    train_steps(pri)
    mapr = MapperLearner(data, tok.model, pri.model, tau=0.1, **shared)
    train_steps(mapr)
    return tok, pri, mapr


@torch.no_grad()
def decoded_samples(
    tok:TokenizerLearner, # Stage 1
    pri:PriorLearner, # Stage 2
    y:torch.Tensor # Class ids [n]
) -> torch.Tensor: # [n, c_in, seq_len]
    "Samples of the prior, decoded."
    return tok.model.decode(pri.model.sample_tokens(y))


def anchored_sampler(
    data:SeriesData, # Training split
    tok:TokenizerLearner, # Stage 1
    pri:PriorLearner # Stage 2
) -> Sampler:
    "What a generator without a mapper samples with by default: anchors of the training split, some tokens drawn anew."
    sampler = Sampler(data.spec, tok.dls.device, tok.model.eval(), pri.model.eval())
    return Sampler(data.spec, sampler.device, tok.model, pri.model, anchors=fit_anchors(sampler, data))
