"""Section 'augment': InceptionTimePlus with and without `NMVQAugment`."""
from functools import partial

import numpy as np
import pandas as pd
import torch

from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.generator import NMVQGenerator

from ..common.records import keep
from ..common.timing import alternate
from .stages import N_CLASSES, random_walks, train_steps, trained_stages

__all__ = ['measure']

LENGTHS = (150, 500)
BS = 64         # of the classifier
STEPS = 8       # of an epoch
N_VALID = 8     # series
ROUNDS = 11
REPLACED = dict(mode='generate', p=0.5, append=False)


def measure(
    device='cpu' # Where to train and sample
):
    "One table: a row a length."
    table = pd.DataFrame([times_at(seq_len, device) for seq_len in LENGTHS])
    keep('speed_augment', table, 'Training with the augmentation', 'python -m benchmarks.speed --sections augment',
         f"A training step of InceptionTimePlus at batch {BS}, means of epochs of {STEPS}, medians of {ROUNDS} in "
         "turn.")


def times_at(
    seq_len:int, # Steps
    device # Where to train and sample
) -> dict[str, float]: # {column: figure}
    "Milliseconds of a step, and how many times longer it is with the augmentation."
    torch.manual_seed(0)
    learners = classifiers(seq_len, device)
    funcs = {name: partial(train_steps, learn, STEPS) for name, learn in learners.items()}
    t = alternate(funcs, rounds=ROUNDS, device=device) / STEPS
    return {'seq_len': seq_len, **{f'{name}, ms': 1000 * seconds for name, seconds in t.items()},
            **{f'{name} / without': t[name] / t['without'] for name in list(learners)[1:]}}


def classifiers(
    seq_len:int, # Steps
    device # Where to train
) -> dict: # {name: tsai Learner}, 'without' first
    "The same classifier without it, with a full pool that stays, one that is refilled, and warped rows added."
    from tsai.data.preprocessing import TSClassification, TSStandardize  # here: other sections do without tsai
    from tsai.models.InceptionTimePlus import InceptionTimePlus
    from tsai.tslearner import TSClassifier
    n_train = STEPS * BS
    n = n_train + N_VALID
    X, y = random_walks(n, seq_len), np.arange(n) % N_CLASSES
    splits = list(range(n_train)), list(range(n_train, n))
    gen = NMVQGenerator.from_learners(*trained_stages(SeriesData.from_arrays(X, y, splits), 'fast', device))
    augments = {
        'without': [],
        'pool full': [NMVQAugment(gen, reuse=10 ** 6, **REPLACED).fill()],
        'pool refilled': [NMVQAugment(gen, **REPLACED).fill()],
        'rows added': [NMVQAugment(gen)],
    }
    shared = dict(splits=splits, arch=InceptionTimePlus, bs=BS, tfms=[None, TSClassification()],
                  device=torch.device(device))
    return {name: TSClassifier(X, y, batch_tfms=[*augment, TSStandardize(by_sample=True)], **shared)
            for name, augment in augments.items()}
