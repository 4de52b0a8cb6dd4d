"""Which temperature and which mapper: variants of stage 3 on stages 1 and 2 that `benchmarks.fidelity` has learnt.

    python -m benchmarks.fidelity.stage3 DEST FOLDER --what tau     # which τ brings reconstructions nearest to samples
    python -m benchmarks.fidelity.stage3 DEST FOLDER --what mapper  # losses and networks"""
from functools import partial

import numpy as np
import pandas as pd
import torch
from fastcore.script import call_parse

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.metrics.frechet import conditional_fid, fid
from tsai_nmvq.metrics.rocket import RocketFeatures
from tsai_nmvq.models.bands import BANDS
from tsai_nmvq.presets import MAPPER_PRESETS, settings_to_dict
from tsai_nmvq.rng import OwnRandom, generator_on
from tsai_nmvq.train.losses import MapperLoss
from tsai_nmvq.train.mapper import MapperLearner

from ..common.records import keep, remembered
from .cases import Case, n_draws

DATA = 'GunPoint,OSULeaf,SwedishLeaf,ItalyPowerDemand,ECG200,CBF'
PAPER_GRID = (0.1, 0.5, 1., 2., 4.)
SERIES = 512 # that are compared
TAUS = { # {way: (options of `MapperLearner`, options of its `search_tau`)}
    "paper's grid": ({}, dict(tau_grid=PAPER_GRID, refine=0)),
    'grid': ({}, dict(refine=0)),
    'grid, refined twice': ({}, dict(refine=2)),
    'a τ a class': (dict(per_class=True), dict(refine=0)),
    'annealed': (dict(anneal=True), dict(refine=0)),
}
MAPPERS = { # {variant: options of `MapperLearner`}
    **{loss: dict(loss=loss) for loss in MapperLoss.WEIGHTS},
    'default loss, no noise': dict(settings=dict(noise_channels=0)),
    'default loss, not residual': dict(settings=dict(residual=False)),
    "l1, the paper's network": dict(loss='l1', settings=settings_to_dict(MAPPER_PRESETS['paper'])),
}


def mapper_learner(
    gen:NMVQGenerator, # With stages 1 and 2
    data:SeriesData, # Its training split
    **options # Of `MapperLearner`
) -> MapperLearner: # Not trained
    "Stage 3 on a generator's stages 1 and 2."
    return MapperLearner(data, gen.tokenizer, gen.prior, preset=gen.preset, device=gen.device, **options)


def temperatures(
    gen:NMVQGenerator, # With stages 1 and 2
    X, # Series [n, c_in, seq_len]
    y, # Labels [n]
    splits, # tsai's splits (train, test)
    seed:int # Of the search; scores take the next one
) -> dict: # {way: {'FID', 'cFID', 'tau'}} between fresh samples and fresh reconstructions
    """Search with one seed, score with another.

    More temperatures always find a smaller FID on the draws that they were chosen by."""
    data, out = SeriesData.from_arrays(X, y, splits), {}
    idx = np.random.default_rng(seed + 1).permutation(len(data))[:SERIES]
    for way, (options, search) in TAUS.items():
        learn = mapper_learner(gen, data, holdout=0., **options)
        learn.search_tau(**search, seed=seed)
        generator = generator_on(gen.device, seed + 1)
        *latents, ids, x = learn.dls.train.rows(idx)
        features = RocketFeatures.fit(x, seed=seed + 1)
        x_gen = features(gen.sampler.sample(ids, generator, mapped=False))
        with torch.no_grad():
            x_svq = features(learn.reconstruct(dict(zip(BANDS, latents)), learn.tau_of(ids), generator))
        out[way] = dict(FID=fid(x_gen, x_svq), cFID=conditional_fid(x_gen, ids, x_svq, ids), tau=learn.tau)
    return out


def mappers(
    gen:NMVQGenerator, # With stages 1 and 2
    X, # Series [n, c_in, seq_len]
    y, # Labels [n]
    splits, # tsai's splits (train, test)
    seed:int # Of training, samples and scores
) -> dict: # {variant: scores after the mapper}; 'none' before it
    "Train each for the same number of steps and score it in all classes, whether it helps or not."
    data, out, tau = SeriesData.from_arrays(X, y, splits), {}, None
    for name, options in MAPPERS.items():
        with OwnRandom(seed):
            learn = mapper_learner(gen, data, tau=tau, **options)
            learn.fit_schedule()
        tau = learn.tau                                                  # the first one has searched for it
        scores = gen.with_mapper(learn.model).evaluate(X, y, splits, n_draws=n_draws(len(data)), seed=seed)
        out.setdefault('none', scores.loc['before mapper'].to_dict())
        out[name] = scores.loc['after mapper'].to_dict()
    return out


WHAT = dict(tau=(temperatures, 'Temperatures: distance of reconstructions to samples of the prior'),
            mapper=(mappers, 'Mappers'))


def compared(
    measure, # `temperatures` or `mappers`
    generator, # File of a generator
    case:Case, # What it was learnt on
    path # Folder that holds data/UCR
) -> dict: # {variant: figures}
    "Variants on one data set."
    return measure(NMVQGenerator.load(generator, 'cpu'), *case.read(path), case.seed)


@call_parse
def main(
    path:str, # Folder that holds data/UCR
    work:str, # Folder of `python -m benchmarks.fidelity`
    what:str='tau', # 'tau' or 'mapper'
    data:str=DATA, # Data sets, with commas
    stages:str='fast', # Stages 1 and 2 by their presets: 'fast', 'paper' or 'paper+fast'
    split:str='paper', # As they were learnt: 'paper' or 'original'
    seed:int=0, # Seed of everything
    cap:int=2000, # Series in each part at most
    threads:int=2 # PyTorch's threads
):
    "Compare variants of stage 3."
    torch.set_num_threads(threads)
    if what not in WHAT: raise SystemExit(f"what is {what!r}, expected one of {list(WHAT)}")
    measure, title = WHAT[what]
    rows = []
    for case in [Case(name, seed, split, cap) for name in data.split(',')]:
        measure_case = partial(compared, measure, case.file(work, stages, '.nmvq'), case, path)
        found = remembered(case.file(work, stages, '.json', f'{what}_'), measure_case)
        rows += [dict(data=case.name, variant=variant, **scores) for variant, scores in found.items()]
        print(case.name, pd.DataFrame(found).T.round(4).to_string(), sep='\n', flush=True)
    table = pd.DataFrame(rows)
    means = table.drop(columns='data').groupby('variant', sort=False).mean().reset_index()
    means.insert(0, 'data', 'mean')
    options = f'--what {what} --data {data} --stages {stages} --split {split} --seed {seed}'
    keep(f'stage3_{what}' + ('' if stages == 'fast' else f'_{stages}'), pd.concat([table, means]), title,
         f'python -m benchmarks.fidelity.stage3 DEST FOLDER {options}',
         f"Stages 1 and 2: {stages}; {split} split, seed {seed}.", seeds=str(seed))
