"""Where classes are kept and where lost: classifiers trained on what each stage makes, tested on real series."""
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from .data.missing import kind_of_gaps
from .evaluation import LabelledSeries, named_samples, split_series
from .metrics.judges import JUDGES, RocketRidge
from .progress import progress
from .rng import generator_on

__all__ = ['ClassScores', 'class_scores', 'class_sets', 'score_classes']

TIMES = 10              # as many samples as training series in the largest set
MAX_SAMPLES = 4000      # of it


@dataclass(frozen=True, eq=False)
class ClassScores:
    "Accuracy on real test series of classifiers that learnt from what each stage makes; prints as its table."
    table:pd.DataFrame      # A row a set: n, accuracy of each judge (mean and deviation over seeds), agreement
    recall:pd.DataFrame     # A row a class, a column a set: the first judge's recall, mean over seeds

    def __repr__(self): return self.table.round(3).to_string()

    def _repr_html_(self): return self.table.round(3).to_html()

    def share_of_real(self,
        judge:str='ridge' # One of the judges
    ) -> pd.Series: # A number a set: 1 is as good as training on real series
        "Accuracy relative to that of a classifier that learnt from real series (TRTR)."
        return self.table[judge] / self.table[judge].iloc[0]


def class_scores(
    gen, # `NMVQGenerator`, fitted with labels
    X, # Series [n, c_in, seq_len], original units
    y, # Labels [n]
    splits, # tsai's splits (train, test)
    judges:tuple=('ridge', 'fcn'), # Of `JUDGES`; 'small_fcn' is that of TimeVQVAE's authors, and takes minutes
    seeds:tuple=(0, 1), # Of samples and judges
    sets:tuple=None # Names of the sets to learn from, such as 'before mapper'; real series come first. All by default
) -> ClassScores:
    """Train on each stage's series, test on real: TRTR, TRecTR, TSTR before and after the mapper, of ten times as many.

    A classifier that learnt from reconstructions (TRecTR) is the ceiling of everything sampled from those tokens. What
    'LF real, HF sampled' has under it HF's prior loses, what 'prior alone' has under that LF's. [arXiv 1706.02633]"""
    if not gen.spec.vocab: raise ValueError("class_scores needs classes: fit the generator with y")
    train, test = split_series(X, y, splits, gen.spec)
    return score_classes(lambda seed: class_sets(gen, train, seed, sets), test, judges, seeds)


def class_sets(
    gen, # `NMVQGenerator`
    train:LabelledSeries, # The training split
    seed:int=0, # Seed of all draws
    names:tuple=None # Of the sets to make, beside the real series; all by default
) -> dict: # {name: `LabelledSeries`}, the real series first
    "What each stage makes of the training split, or in its place. ValueError for a name that there is not."
    sampler, n = gen.sampler, len(train.x)
    ids, generator = torch.as_tensor(gen.spec.to_ids(train.y), device=gen.device), generator_on(gen.device, seed)
    missing = kind_of_gaps(torch.as_tensor(train.x))
    def samples(n, **how): return lambda: named_samples(gen, n, seed, missing=missing, **how)
    def of_real(func): return lambda: LabelledSeries(func(train.x), train.y)
    makers = {'reconstructed': of_real(sampler.reconstruct),
              'LF real, HF sampled': of_real(lambda x: sampler.resample_hf(x, ids, generator)),
              'prior alone': samples(n, mapped=False, redraw=1.), 'before mapper': samples(n, mapped=False)}
    if gen.mapper is not None: makers['after mapper'] = samples(n)
    makers['ten times as many'] = samples(min(TIMES * n, MAX_SAMPLES))
    if unknown := set(names or ()) - makers.keys():
        raise ValueError(f"there is no set {sorted(unknown)[0]!r}, expected some of {list(makers)}")
    return {'real': train} | {name: make() for name, make in makers.items() if names is None or name in names}


def score_classes(
    sets_of, # Function: seed -> {name: `LabelledSeries`} to learn from, the real series first
    test:LabelledSeries, # Real series that nothing has seen
    judges:tuple, # Of `JUDGES`
    seeds:tuple # Of sets and judges
) -> ClassScores:
    "Train every judge on every set, once a seed."
    rows, recalls = [], []
    outsider = RocketRidge.fit(test.x, test.y, seed=seeds[0]) # knows what the generator does not
    for seed in progress(seeds, leave=False):
        for name, made in sets_of(seed).items():
            row = dict(set=name, n=len(made.x), agreement=_accuracy(made.y, outsider.predict(made.x)))
            for judge in judges:
                found = JUDGES[judge](made.x, made.y, seed=seed).predict(test.x)
                row[judge] = _accuracy(test.y, found)
                if judge == judges[0]: recalls.append(dict(set=name, **_recall(test.y, found)))
            rows.append(row)
    scores, by_class = pd.DataFrame(rows).groupby('set', sort=False), pd.DataFrame(recalls).groupby('set', sort=False)
    spread = scores[list(judges)].std().add_suffix(', deviation')
    order = ['n', *[column for judge in judges for column in (judge, f'{judge}, deviation')], 'agreement']
    return ClassScores(scores.mean().join(spread)[order], by_class.mean().T)


def _accuracy(y, found): return float((y == found).mean())


def _recall(y, found): # {class: share of its series that are found}
    return {str(label): _accuracy(y[y == label], found[y == label]) for label in np.unique(y)}
