"""Which temperature and which mapper: variants of stage 3 on stages 1 and 2 that `fidelity.py` has learnt.

    python benchmarks/stage3.py DEST FOLDER --what tau        # how near each way to choose τ brings reconstructions to the prior's samples
    python benchmarks/stage3.py DEST FOLDER --what mapper     # losses and networks
"""
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench import keep, remembered
from fastcore.script import call_parse
from fidelity import n_draws, parts_of

from tsai_nmvq.data import SeriesData
from tsai_nmvq.generator import SCHEDULES, NMVQGenerator, scheduled_epochs
from tsai_nmvq.learners import MapperLearner
from tsai_nmvq.losses import MapperLoss
from tsai_nmvq.metrics import RocketFeatures, conditional_fid, fid
from tsai_nmvq.models.bands import BANDS
from tsai_nmvq.models.mapper import MAPPER_PRESETS
from tsai_nmvq.rng import isolated_rng
from tsai_nmvq.trial import MapperTrial

DATA = 'GunPoint,OSULeaf,SwedishLeaf,ItalyPowerDemand,ECG200,CBF'
TAUS = {"paper's grid": dict(tau_grid=(0.1, 0.5, 1., 2., 4.), refine=0), 'grid': dict(refine=0), 'grid, refined twice': dict(refine=2),
        'a τ a class': dict(per_class=True, refine=0), 'falling': dict(falling=True, refine=0)}
MAPPERS = {**{loss: dict(loss=loss) for loss in MapperLoss.WEIGHTS}, 'default loss, no noise': dict(settings=dict(noise_channels=0)),
           'default loss, not residual': dict(settings=dict(residual=False)),
           "l1, the paper's network": dict(loss='l1', settings=MAPPER_PRESETS['paper'])}


def temperatures(gen, X, y, splits, seed, n=512): # -> {way: FID between fresh samples and fresh reconstructions}
    "Search with one seed, score with another: more temperatures always find a smaller FID on the draws that they were chosen by."
    data, out = SeriesData.from_arrays(X, y, splits), {}
    for way, options in TAUS.items():
        search = {k: v for k, v in options.items() if k in ('tau_grid', 'refine')}
        learn = MapperLearner(data, gen.tokenizer, gen.prior, preset=gen.preset, device=gen.device, held_back=0.,
                              **{k: v for k, v in options.items() if k not in search})
        with learn.no_bar(): learn.search_tau(**search, seed=seed)
        generator = torch.Generator(gen.device).manual_seed(seed + 1)
        *latents, ids, x = learn.dls.train.rows(np.random.default_rng(seed + 1).permutation(len(data))[:n])
        features = RocketFeatures.fit(x, seed=seed + 1)
        x_gen = features(gen.sample_ids(ids, generator, mapped=False))
        with torch.no_grad(): x_svq = features(learn.reconstruct(dict(zip(BANDS, latents)), learn.tau_of(ids), generator))
        out[way] = dict(FID=fid(x_gen, x_svq), cFID=conditional_fid(x_gen, ids, x_svq, ids), tau=learn.tau)
    return out


def mappers(gen, X, y, splits, seed): # -> {name: scores after the mapper}
    "Train each for the same number of steps and score it everywhere, its trial notwithstanding."
    data, out = SeriesData.from_arrays(X, y, splits), {}
    schedule, tau = SCHEDULES[gen.preset]['mapper'], None
    for name, options in MAPPERS.items():
        with isolated_rng(seed, gen.device):
            learn = MapperLearner(data, gen.tokenizer, gen.prior, preset=gen.preset, device=gen.device, tau=tau, **options)
            with learn.no_bar(), learn.no_logging():
                learn.fit_one_cycle(scheduled_epochs(learn.dls.train, len(data), **schedule), schedule['lr'])
        gen.mapper, gen.trial, tau = learn.model.eval(), MapperTrial(), learn.tau
        scores = gen.evaluate(X, y, splits, n_draws=n_draws(len(data)), seed=seed)
        out.setdefault('none', scores.loc['before mapper'].to_dict())
        out[name] = scores.loc['after mapper'].to_dict()
    return out


def compared(measure, fitted, name, path, split, seed, cap):
    return measure(NMVQGenerator.load(fitted, 'cpu'), *parts_of(name, path, split, seed, cap), seed)


WHAT = dict(tau=(temperatures, 'Temperatures: distance of reconstructions to samples of the prior'), mapper=(mappers, 'Mappers'))


@call_parse
def main(
    path:str, # Folder that holds data/UCR
    work:str, # Folder of `fidelity.py`
    what:str='tau', # 'tau' or 'mapper'
    data:str=DATA, # Data sets, with commas
    stages:str='fast', # Stages 1 and 2: 'fast', 'paper' or 'paper+fast', as `fidelity.py` names them
    split:str='paper', # As in `fidelity.py`
    seed:int=0, # Seed of everything
    cap:int=2000, # Series in each part at most
    threads:int=2 # PyTorch's threads
):
    "Compare variants of stage 3."
    torch.set_num_threads(threads)
    measure, title = WHAT[what]
    rows = []
    for name in data.split(','):
        row = f'{stages}_{split}_{name}_{seed}'
        found = remembered(Path(work) / f'{what}_{row}.json',
                           partial(compared, measure, Path(work) / f'{row}.nmvq', name, path, split, seed, cap))
        rows += [dict(data=name, variant=variant, **scores) for variant, scores in found.items()]
        print(name, pd.DataFrame(found).T.round(4).to_string(), sep='\n', flush=True)
    table = pd.DataFrame(rows)
    means = table.drop(columns='data').groupby('variant', sort=False).mean().reset_index()
    means.insert(0, 'data', 'mean')
    keep(f'stage3_{what}' + ('' if stages == 'fast' else f'_{stages}'), pd.concat([table, means]), title,
         f'python benchmarks/stage3.py DEST FOLDER --what {what} --data {data} --stages {stages}',
         f"Stages 1 and 2: {stages}; {split} split, seed {seed}.")
