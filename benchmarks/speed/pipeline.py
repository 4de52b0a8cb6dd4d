"""Section 'pipeline': ECG5000 from arrays to samples, by the authors' stages 1 and 2 and by all of ours."""
import time
from functools import partial

import numpy as np
import pandas as pd
import torch
from fastai.torch_core import set_seed
from torch import Tensor

from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.rocket import RocketFeatures

from ..common.data import read_set
from ..common.records import keep
from .authors import Reference, is_installed
from .stages import BS, N_SAMPLES

__all__ = ['measure']

DATA = 'ECG5000'
N_SERIES = 1024                 # sampled, and test series that they are compared with
REFERENCE_STEPS = 1500, 3000    # of its stages 1 and 2
SHORT = dict(tokenizer=20, prior=24, mapper=5) # epochs; enough for a lower FID than the reference's


def measure(
    path=None, # Folder that holds data/UCR
    device='cpu' # Where to train and sample
):
    "One table: a row a model."
    if not is_installed() or path is None: return print("pipeline: skipped, it needs timevqvae and --path")
    X, y, splits = read_set(DATA, path)
    train, labels = splits[0], np.unique(y[splits[0]], return_inverse=True)[1]
    test = np.random.default_rng(0).permutation(splits[1])[:N_SERIES]
    features = RocketFeatures.fit(X[train])
    real = features(X[test])
    models = {
        'tsai_nmvq, default schedule': partial(own_samples, X, y, splits, None, device),
        f'tsai_nmvq, three stages, epochs {SHORT}': partial(own_samples, X, y, splits, SHORT, device),
        'reference, stages 1 and 2': partial(reference_samples, torch.as_tensor(X[train], device=device),
                                             torch.as_tensor(labels, device=device), device),
    }
    table = pd.DataFrame([_row(name, samples, real, features) for name, samples in models.items()])
    table['reference seconds / seconds'] = table.seconds.iloc[-1] / table.seconds
    steps = ' and '.join(map(str, REFERENCE_STEPS))
    keep('speed_pipeline', table, f'{DATA} from arrays to {N_SERIES} samples',
         'python -m benchmarks.speed --sections pipeline --path DEST',
         f"Reference: {steps} steps of batch {BS}. FID against {N_SERIES} test series, classes in the training "
         "proportions.")


def _row(name, samples, real, features):
    start = time.perf_counter()
    x_gen = samples()
    seconds = time.perf_counter() - start
    return {'model': name, 'seconds': seconds, 'FID': fid(real, features(x_gen))}


def own_samples(
    X, # Series [n, c_in, seq_len]
    y, # Labels [n]
    splits, # tsai's splits (train, test)
    epochs, # {stage: epochs}; None for the preset's schedule
    device # Where to train and sample
) -> np.ndarray: # [N_SERIES, c_in, seq_len]
    "All three stages."
    return NMVQGenerator('fast', device).fit(X, y, splits, epochs=epochs, seed=0).sample(N_SERIES, seed=0)[0]


def reference_samples(
    x:Tensor, # Training series [n, c_in, seq_len]
    y:Tensor, # Their class ids [n]
    device # Where to train and sample
) -> Tensor: # [N_SERIES, c_in, seq_len] on the CPU
    "The authors' stages 1 and 2."
    mean, std = x.mean(), x.std()
    z = (x - mean) / std
    y_gen = y[torch.arange(N_SERIES, device=device) % len(y)]
    set_seed(0)
    ref = Reference(x.shape[2], len(y.unique()), device=device)
    for idx in _batches(len(x), REFERENCE_STEPS[0], device): ref.tokenizer_step(z[idx])
    ref.vqvae.eval()
    with torch.no_grad(): ref.vqvae(z[:BS])                          # stage 2 takes its token counts from this pass
    ref.start_prior()
    for idx in _batches(len(x), REFERENCE_STEPS[1], device): ref.prior_step(z[idx], y[idx])
    x_gen = torch.cat([ref.sample(chunk) for chunk in y_gen.split(N_SAMPLES)])
    return (x_gen * std + mean).cpu()


def _batches(n, n_steps, device): # indices [BS] of n series, so many times
    for _ in range(n_steps): yield torch.randint(n, (BS,), device=device)
