"""`NMVQOverSampler`: imbalanced-learn's interface, for series."""
import warnings
from os import PathLike

import numpy as np
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.utils import check_target_type
from scipy.sparse import issparse
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from .augment.rows import MAGNITUDES, MODES, VARIATIONS
from .augment.source import given_generator
from .data.missing import kind_of_gaps
from .generator import NMVQGenerator
from .models.tokenizer import MIN_SEQ_LEN
from .rng import generator_on

__all__ = ['NMVQOverSampler', 'MIN_SERIES']

MIN_SERIES = 8      # of all classes together, below which nothing is learnt
NEIGHBOURS = 5      # of SMOTE, where it is used instead


class NMVQOverSampler(BaseOverSampler):
    """Fills rare classes up with variations of their series, as strong as a generator of the data says.

    `X_res, y_res = NMVQOverSampler().fit_resample(X, y)`, as with imbalanced-learn's SMOTE, and in its Pipeline.
    Where nothing can be learnt it says so and does what SMOTE would, or repeats rows of a class of one series."""
    _parameter_constraints = {**BaseOverSampler._parameter_constraints, 'gen': [NMVQGenerator, str, PathLike, None],
                              'mode': [str], 'random_state': ['random_state']}

    def __init__(self,
        gen=None, # `NMVQGenerator` of these series, or the path of its file; one is learnt from X and y without it
        *,
        sampling_strategy='auto', # Which classes, and how far: as in imbalanced-learn
        mode='warp', # 'warp', 'redraw', 'perturb' or 'generate', as in `NMVQAugment`
        random_state=None # Seed of learning and of draws
    ):
        super().__init__(sampling_strategy=sampling_strategy)
        self.gen, self.mode, self.random_state = gen, mode, random_state

    def _check_X_y(self, X, y):
        y, binarize_y = check_target_type(y, indicate_one_vs_all=True)
        if np.ndim(X) == 3:
            if isinstance(X, np.ma.MaskedArray): X = np.ma.filled(X.astype(float), np.nan)
            X = check_array(X, allow_nd=True, estimator=self, ensure_all_finite='allow-nan') # generators know gaps
            if len(X) != len(y): raise ValueError(f"X has {len(X)} series and y has {len(y)} labels; pass one each")
        else: X, y = validate_data(self, X=X, y=y, reset=True, accept_sparse=['csr', 'csc'])
        return X, y, binarize_y

    def _fit_resample(self, X, y):
        if self.mode not in MODES: raise ValueError(f"mode is {self.mode!r}, expected one of {MODES}")
        if why := self._why_nothing_is_learnt(X):
            warnings.warn(f"NMVQOverSampler: {why}; SMOTE fills the classes up instead", stacklevel=3)
            return self._by_smote(X, y)
        x = X if X.ndim == 3 else X[:, None]
        seed = check_random_state(self.random_state).randint(2 ** 31 - 1)
        self.gen_ = given_generator(self.gen) or NMVQGenerator().fit(x, y, seed=seed, y_kind='classes')
        self._check_generator(x)
        rng, made, labels = np.random.default_rng(seed), [X], [y]
        for name, n in self.sampling_strategy_.items():
            if not n: continue
            base = x[rng.choice(np.flatnonzero(y == name), n)]
            new = self._made(base, name, int(rng.integers(2 ** 31 - 1))).reshape(n, *X.shape[1:])
            made.append(_of_type(new, X.dtype))
            labels.append(np.full(n, name, y.dtype))
        return np.concatenate(made), np.concatenate(labels)

    def _check_generator(self, x):
        spec = self.gen_.spec
        spec.check(x)
        if self.mode == 'generate' and spec.conditions.kind != 'classes':
            raise ValueError(f"the generator was fitted with {spec.conditions.kind}, and its samples have no class; "
                             "fit it on X and y, or use another mode")

    def _why_nothing_is_learnt(self, x): # -> '' where it can be
        if issparse(x): return "X is a sparse matrix, which series are not"
        if self.gen is not None: return ''
        if x.shape[-1] < MIN_SEQ_LEN: return f"series have {x.shape[-1]} steps, a generator needs {MIN_SEQ_LEN}"
        if x.shape[0] < MIN_SERIES: return f"there are {x.shape[0]} series, a generator needs {MIN_SERIES}"
        return ''

    def _made(self, base, name, seed): # base [n, c_in, seq_len], all of one class -> as many synthetic series
        if self.mode == 'generate':
            missing = kind_of_gaps(torch.as_tensor(base), self.gen_.spec.pad_value)
            return self.gen_.sample(len(base), y=name, seed=seed, missing=missing)[0]
        sampler = self.gen_.sampler
        ids = None                                                       # a warp needs no class
        if self.gen_.spec.vocab and self.gen_.spec.conditions.kind == 'classes':
            ids = torch.as_tensor(self.gen_.spec.to_ids(np.full(len(base), name)))
        base, rng = base.astype(np.float32), generator_on(sampler.device, seed)
        return VARIATIONS[self.mode](sampler, base, MAGNITUDES.get(self.mode, 1.), ids, rng, True)

    def _by_smote(self, X, y):
        counts = dict(zip(*np.unique(y, return_counts=True)))
        fewest = min((counts[name] for name, n in self.sampling_strategy_.items() if n), default=NEIGHBOURS + 1)
        how = dict(sampling_strategy=self._filled(counts), random_state=self.random_state)
        by = RandomOverSampler(**how) if fewest < 2 else SMOTE(k_neighbors=min(NEIGHBOURS, fewest - 1), **how)
        if X.ndim == 2: return by.fit_resample(X, y)
        flat, y_new = by.fit_resample(X.reshape(len(X), -1), y)
        return flat.reshape(-1, *X.shape[1:]), y_new

    def _filled(self, counts): # {class: series} -> the same after filling up
        return {name: counts[name] + n for name, n in self.sampling_strategy_.items()}


def _of_type(x, dtype): # rounded and clipped where the type holds whole numbers of a range
    if dtype.kind not in 'iu': return x.astype(dtype)
    return np.clip(x.round(), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
