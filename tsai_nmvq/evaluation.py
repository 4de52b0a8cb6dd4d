"""The table of scores: samples, reconstructions and real training series against a test split."""
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .data.containers import as_labels_array
from .data.intake import n_series, read_series
from .data.labels import check_no_missing
from .data.missing import kind_of_gaps
from .data.spec import SeriesSpec
from .data.splits import both_parts, split_rows
from .metrics.classifier import SeriesClassifier, fit_classifier, inception_score, trtr, tstr
from .metrics.context import ContextEncoder, context_fid
from .metrics.distance import novelty
from .metrics.frechet import conditional_fid, fid
from .metrics.post_hoc import MIN_SERIES, discriminative_score, predictive_score
from .metrics.rocket import RocketFeatures
from .metrics.statistics import STATISTICS, sharpness
from .plots import SHOWN_SERIES
from .rng import generator_on

__all__ = ['LabelledSeries', 'split_series', 'sample_variants', 'named_samples', 'shown_sets',
           'generator_scores', 'score_table']
OTHER_SET = 'another set'   # of labels, which a generator never saw
POST_HOC_STEPS = 300        # of the networks of DS and PS: a quick look (docs/results.md)


@dataclass(frozen=True)
class LabelledSeries:
    "Series and, where there are classes, their labels."
    x:np.ndarray            # [n, c_in, seq_len], original units
    y:np.ndarray|None = None # [n]


def split_series(
    X, # Series [n, c_in, seq_len] in any container, original units
    y, # Labels [n] as in the data, or None
    splits, # tsai's splits: (training rows, test rows, ...)
    spec:SeriesSpec # Of the generator that is judged: labels become its classes' names
) -> list[LabelledSeries]: # Training and test series
    "The two sides of a table of scores. ValueError where there is no test split."
    n, y = n_series(X), as_labels_array(y) if spec.vocab else None
    if y is not None and len(y) != n: raise ValueError(f"X has {n} rows and y {len(y)}; they must match")
    parts = both_parts(splits, n)
    if hasattr(X, 'check_splits'): X.check_splits(splits)                # windows may overlap
    names = [None if y is None else class_names(y, rows, spec) for rows in parts]
    return [LabelledSeries(read_series(X, spec, rows), labels) for rows, labels in zip(parts, names)]


def class_names(
    y:np.ndarray, # Labels, targets or sets of labels of all series
    rows:np.ndarray, # Those that are asked for [m]
    spec:SeriesSpec # Of the generator
) -> np.ndarray: # [m]
    """Names of the generator's classes. ValueError for a label that is missing, or that the training split never had.

    A set of labels that it never had is another set: seldom are all of them in a training split."""
    check_no_missing(y[rows], rows)
    if spec.conditions.kind != 'labels': return spec.to_labels(spec.to_ids(y[rows]))
    ids = spec.conditions.ids(y[rows])
    return np.where(ids < 0, OTHER_SET, spec.to_labels(ids))


def sample_variants(
    sampler # `Sampler`
) -> dict: # {name of the samples there are: keyword arguments of `NMVQGenerator.sample`}
    "What a generator's samples are compared with themselves by."
    variants:dict = {'prior alone': dict(mapped=False, redraw=1.)} if sampler.anchors else {}
    variants['before mapper'] = dict(mapped=False)
    return variants | ({'after mapper': {}} if sampler.mapper else {})


def named_samples(
    gen, # `NMVQGenerator`
    n:int, # Series
    seed:int, # Of the draws
    **how # mapped, redraw and missing of `Sampler.sample`
) -> LabelledSeries: # Labels are names of the generator's classes, of bins of targets and sets of labels too
    "Samples as scores compare them."
    sampler, generator = gen.sampler, generator_on(gen.device, seed)
    ids = sampler.class_ids(n, None, generator)
    x = sampler.sample(ids, generator, **how).cpu().numpy()
    return LabelledSeries(x, gen.spec.to_labels(ids.cpu().numpy()) if gen.spec.vocab else None)


def shown_sets(
    gen, # `NMVQGenerator`
    X, # Series [n, c_in, seq_len] in any container, original units
    y, # Labels [n] or None
    splits, # tsai's splits: the last part is shown, else all series
    seed:int # Of the samples, and of the choice of series
) -> tuple: # ({name: series [n, c_in, seq_len]}, names of their classes [n] or None)
    "Some real series, and samples of the same classes before and after the mapper."
    rows = np.arange(n_series(X)) if splits is None else split_rows(splits[-1], n_series(X))
    rows = np.random.default_rng(seed).permutation(rows)[:SHOWN_SERIES]
    names = class_names(as_labels_array(y), rows, gen.spec) if gen.spec.vocab and y is not None else None
    if names is not None: rows, names = rows[names != OTHER_SET], names[names != OTHER_SET]
    sets = {'real': read_series(X, gen.spec, rows)}
    variants = {name: how for name, how in sample_variants(gen.sampler).items() if name != 'prior alone'}
    sets |= {name: gen.sample(len(rows), names, seed, missing='nan', **how)[0] for name, how in variants.items()}
    return sets, names


def generator_scores(
    gen, # `NMVQGenerator`
    train:LabelledSeries, # The training split
    test:LabelledSeries, # The test split
    n:int, # Series in each synthetic set
    seed:int, # Of samples, features and classifiers
    **options # n_draws, with_tstr and with_statistics of `score_table`
) -> pd.DataFrame: # As `score_table` makes it
    "Score a generator's samples, with gaps like the data's where the test series have some."
    missing = kind_of_gaps(torch.as_tensor(test.x)) # both are filled alike
    def drawn(how): return lambda seed: named_samples(gen, n, seed, missing=missing, **how)
    samplers = {name: drawn(how) for name, how in sample_variants(gen.sampler).items()}
    if gen.mapper is not None and not gen.mapper_use.use_mapper: samplers['after mapper'] = None # the same
    return score_table(train, test, gen.sampler.reconstruct, samplers, seed=seed, **options)


@dataclass(frozen=True)
class Judge:
    "What every row of the table is compared with."
    test:LabelledSeries
    features:RocketFeatures             # Fitted on the training split
    test_features:Tensor                # Those of the test series
    classifier:SeriesClassifier|None    # Of the training split; None without labels
    encoder:ContextEncoder|None         # Of the test series, where statistics are asked for
    with_tstr:bool
    seed:int

    def scores(self,
        made:LabelledSeries, # Series to score
        accuracy=None # `tstr` or `trtr`; None leaves out what trains a network: TSTR, DS and PS
    ) -> dict[str, float]: # {column: figure}
        "Everything but novelty."
        test, test_features, made_features = self.test, self.test_features, self.features(made.x)
        row = dict(FID=fid(test_features, made_features))
        if self.classifier is not None:
            row['cFID'] = conditional_fid(test_features, test.y, made_features, made.y)
            row['IS'] = inception_score(made.x, self.classifier)
            if self.with_tstr and accuracy: row['TSTR'] = accuracy(made.x, made.y, test.x, test.y, seed=self.seed)
        row['sharpness'] = sharpness(test.x, made.x)
        return row | (self._statistics(made.x, accuracy is not None) if self.encoder else {})

    def _statistics(self, x, with_networks): # of the synthetic series
        real, row = self.test.x, {name: difference(self.test.x, x) for name, difference in STATISTICS.items()}
        row['C-FID'] = context_fid(real, x, self.encoder) if min(len(real), len(x)) > 1 else np.nan
        if not with_networks: return row
        how = dict(n_steps=POST_HOC_STEPS, seed=self.seed)
        row['DS'] = discriminative_score(real, x, **how) if min(len(real), len(x)) >= MIN_SERIES else np.nan
        return row | dict(PS=predictive_score(real, x, **how))


def score_table(
    train:LabelledSeries, # The training split
    test:LabelledSeries, # The test split
    reconstruct:Callable, # Function series -> series: what the tokenizer keeps
    samplers:dict, # {name: function seed -> `LabelledSeries`}; None repeats the row before
    n_draws:int=3, # Synthetic sets to average over; TSTR is of the first alone, as it trains a classifier on each
    with_tstr:bool=True, # Train classifiers on synthetic data too
    with_statistics:bool=False, # Add TSGBench's: MDD, ACD, SD, KD, C-FID, and of the first set DS and PS
    seed:int=0 # Seed of samples, features and classifiers
) -> pd.DataFrame: # Rows: 'real (train)', 'reconstructed', and the samplers' names
    "Score what a generator makes, at equal n, beside the floor that real training series set."
    classifier = None if train.y is None else fit_classifier(train.x, train.y, seed=seed)
    if test.y is not None and np.unique(test.y, return_counts=True)[1].max() < 2:
        warnings.warn("cFID is left out: no class has two test series", stacklevel=2)
    features = RocketFeatures.fit(train.x, seed=seed)
    encoder = ContextEncoder(test.x, seed=seed) if with_statistics else None
    judge = Judge(test, features, features(test.x), classifier, encoder, with_tstr, seed)
    rows = {'real (train)': judge.scores(train, trtr),
            'reconstructed': judge.scores(LabelledSeries(reconstruct(train.x), train.y), tstr)}
    latest:dict = {}
    for name, sampler in samplers.items():
        if sampler is not None: latest = _mean_scores(judge, train, sampler, n_draws)
        rows[name] = latest
    return pd.DataFrame.from_dict(rows, orient='index')


def _mean_scores(judge, train, sampler, n_draws):
    draws = []
    for i in range(n_draws):
        made = sampler(judge.seed + i)
        scores = judge.scores(made, None if i else tstr)
        draws.append({**scores, 'novelty': novelty(train.x, judge.test.x, made.x)})
    return pd.DataFrame(draws).mean().to_dict()
