"""Section 'own': what has no counterpart in the reference."""
import tempfile
from pathlib import Path

import pandas as pd
import torch

from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.rocket import RocketFeatures

from ..common.records import keep
from ..common.timing import alternate
from .stages import LENGTHS, STEPS, random_data, random_walks, train_steps, trained_stages

__all__ = ['measure']

N_SERIES = 512      # to learn
N_SCORED = 1024     # on each side of the FID


def measure(
    device='cpu' # Where to train and sample
):
    "One table: a row for each thing that is done, a column a length."
    table = pd.concat([times_at(seq_len, device) for seq_len in LENGTHS], axis=1)
    keep('speed_own', table.rename_axis('what').reset_index(), 'The rest of the pipeline',
         'python -m benchmarks.speed --sections own', "Preset `fast`, random walks.")


def times_at(
    seq_len:int, # Steps
    device # Where to train and sample
) -> pd.Series: # Milliseconds by what is done
    "One column."
    torch.manual_seed(0)
    tok, pri, mapr = trained_stages(random_data(N_SERIES, seq_len), 'fast', device)
    gen = NMVQGenerator.from_learners(tok, pri, mapr)
    x, x_gen = (torch.as_tensor(random_walks(N_SCORED, seq_len, seed=seed), device=device) for seed in (1, 2))
    rocket = RocketFeatures.fit(x).to(device)
    features = rocket(x), rocket(x_gen)
    with tempfile.TemporaryDirectory() as folder:
        file = gen.save(Path(folder) / 'gen.nmvq')
        t = alternate({
            'stage 3, step': lambda: train_steps(mapr),
            f'τ search, {N_SERIES} series': mapr.search_tau,
            '1000 mapped samples': lambda: gen.sample(1000, seed=0),
            f'ROCKET features of {N_SCORED} series': lambda: rocket(x),
            f'FID of {N_SCORED} and {N_SCORED}, {features[0].shape[1]} features': lambda: fid(*features),
            'save': lambda: gen.save(file),
            'load': lambda: NMVQGenerator.load(file, device=device)}, rounds=3, device=device)
    t['stage 3, step'] /= STEPS
    return (1000 * t).rename(f'L = {seq_len}, ms')
