"""Whether and where the mapper is used: samples before and after it against series that it has not learnt."""
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .data.intake import SeriesData
from .data.labels import shuffled_by_class, to_python_scalar
from .data.spec import SeriesSpec
from .metrics.distance import is_nearer
from .metrics.frechet import class_fids, fid
from .metrics.judges import RocketRidge
from .metrics.rocket import RocketFeatures
from .metrics.statistics import sharpness
from .rng import generator_on
from .sampler import MapperUse, Sampler

__all__ = ['MapperSelection', 'select_mapper', 'compare_mapper', 'holdout_rows']

# Why these bounds: benchmarks/results/fidelity_log.md, "The trial on held-back series"
MIN_HOLDOUT = 5                 # series of all classes
MIN_CLASS_HOLDOUT = 10          # series of a class: with fewer its FID says more about chance than about the mapper
MIN_GAIN = 0.02                 # of the FID: less is within chance, which is larger on few series:
CHANCE_OF_ONE = 0.25            # share of the FID, over the root of their number
STANDARD_ERRORS = 2             # of the accuracy's difference: less is within chance
MIN_LEARNT_GAIN = 0.1           # of the FID against series that the mapper has learnt, where few are held out
SAMPLES = 640, 2048             # compared: as many as training series, between these
SAMPLE_VALUES = 2 ** 20         # of them at most, where that many are 128 samples or more
MAX_LEARNT = 2048               # learnt series that are looked at


@dataclass(frozen=True, eq=False)
class MapperSelection:
    "Where the mapper is used, and the figures that decided it. Without a table nothing is known: it is used."
    table:pd.DataFrame|None = None  # From `compare_mapper`: of all series, then of each class
    use_mapper:bool = True          # Whether the mapper is used at all
    skipped_classes:tuple = ()      # Labels of the classes that are left as they are
    evidence:str = 'none'           # What speaks for it: 'holdout', 'learnt' series where few are held out, 'classes',
                                    # 'none', 'given' where nothing was asked, or 'failed' where nothing was found out
    failure:str = ''                # Why nothing was

    @classmethod
    def from_table(cls,
        table:pd.DataFrame # From `compare_mapper`
    ) -> 'MapperSelection':
        """Use the mapper where FID falls by more than chance, and classes are not harder to tell by more than chance.

        Where few series are held out the gain may be within chance, if FID against learnt series falls by
        `MIN_LEARNT_GAIN`. A mapper that makes classes easier to tell is used too, unless FID rises by more than chance.
        A class goes by the whole unless it is worse by more than chance on enough series."""
        whole, classes = table.iloc[0], table.iloc[1:]
        easier = _easier_classes(whole)
        if easier < 0: evidence = 'none'
        elif whole.FID_after <= (1 - _min_gain(whole.holdout)) * whole.FID_before: evidence = 'holdout'
        elif _gains_on_learnt(whole): evidence = 'learnt'
        elif easier > 0 and whole.FID_after <= (1 + chance(whole.holdout)) * whole.FID_before: evidence = 'classes'
        else: evidence = 'none'
        harmed = classes.FID_after > (1 + chance(classes.holdout)) * classes.FID_before
        skipped = classes.index[harmed & (classes.holdout >= MIN_CLASS_HOLDOUT)]
        return cls(table, evidence != 'none', tuple(skipped), evidence)

    def use_for(self,
        spec:SeriesSpec # Of the training split
    ) -> MapperUse:
        "The decision by class ids."
        skipped = spec.to_ids(self.skipped_classes).tolist() if self.use_mapper and self.skipped_classes else ()
        return MapperUse(self.use_mapper, tuple(skipped))

    def to_dict(self) -> dict|None: # Plain lists, numbers and strings
        "What JSON can hold of it: the table, from which the decision follows."
        if self.evidence == 'failed': return dict(evidence=self.evidence, use_mapper=False, failure=self.failure)
        if self.table is None: return None if self.evidence == 'none' else dict(evidence=self.evidence)
        index = [to_python_scalar(label) for label in self.table.index]
        return dict(index=index, columns={name: values.tolist() for name, values in self.table.items()})

    @classmethod
    def from_dict(cls,
        d:dict|None # From `to_dict`
    ) -> 'MapperSelection':
        "Inverse of `to_dict`."
        if d is None: return cls()
        return cls.from_table(pd.DataFrame(d['columns'], d['index'])) if 'columns' in d else cls(**d)


@torch.no_grad()
def select_mapper(
    sampler:Sampler, # With all three stages
    learnt:SeriesData, # Series that the mapper has learnt
    holdout:SeriesData, # Training series that it has not
    seed:int=0 # Seed of samples, kernels and choice of learnt series
) -> MapperSelection:
    "Compare samples before and after the mapper, and decide. Where that cannot be done the mapper is left out."
    if not len(holdout): return MapperSelection()
    try: return MapperSelection.from_table(_trial(sampler, learnt, holdout, seed))
    except (ValueError, RuntimeError) as e: # what took minutes to learn is worth more than its trial
        return MapperSelection(use_mapper=False, evidence='failed', failure=str(e))


def _trial(sampler, learnt, holdout, seed): # -> table of `compare_mapper`
    spec, generator = sampler.spec, generator_on(sampler.device, seed)
    n = min(int(np.clip(spec.n_series, *SAMPLES)), max(128, SAMPLE_VALUES // (spec.c_in * spec.seq_len)))
    ids = sampler.class_ids(n, None, generator)
    made, rows = sampler.sample_rows(ids, generator, mapped=False)
    before, after = (sampler.finished(x, rows, 'filled') for x in (made, sampler.map(made, generator)))
    x_learnt = learnt.series(np.random.default_rng(seed).permutation(len(learnt))[:MAX_LEARNT]).to(sampler.device)
    x_holdout = holdout.series(np.arange(len(holdout))).to(sampler.device)
    fresh = torch.ones_like(ids, dtype=torch.bool)
    if len(learnt) <= MAX_LEARNT: # the prior has seen the holdout and may copy it, the mapper has not
        not_copies = ~is_nearer(before, to=x_holdout, than=x_learnt)
        if 2 * not_copies.sum() >= n: fresh = not_copies                 # else a crowd in one place, no copies
    y_holdout, y_gen = (spec.to_labels(v) if spec.vocab else None for v in (holdout.y, ids[fresh].cpu().numpy()))
    features = RocketFeatures.fit(x_learnt[:n], seed=seed).to(sampler.device)
    return compare_mapper(x_holdout, y_holdout, before[fresh], after[fresh], y_gen, features, x_learnt)


def compare_mapper(
    holdout:Tensor, # Series held out from the mapper [n, c_in, seq_len], original units
    y_holdout, # Their labels [n]; None without classes
    before:Tensor, # Samples of the prior [m, c_in, seq_len]
    after:Tensor, # The same samples, mapped
    y_gen, # Their labels [m]
    features, # Function series -> features, fitted on the mapper's training series
    learnt:Tensor=None # Series that the mapper has learnt [k, c_in, seq_len]: looked at where few are held out
) -> pd.DataFrame: # Rows: 'all', then classes; columns: holdout, FID_*, sharpness_*, maybe FID_learnt_* and accuracy_*
    """FID against the holdout. FID falls as n grows and rows differ in n: compare before and after, not rows.

    accuracy_before and accuracy_after are those of a ridge classifier of the samples on the holdout, accuracy_chance is
    the standard error of their difference."""
    sets = dict(before=before, after=after)
    holdout_features, gen_features = features(holdout), {name: features(x) for name, x in sets.items()}
    whole:dict = dict(holdout=len(holdout))
    for name, f in gen_features.items(): whole[f'FID_{name}'] = fid(holdout_features, f)
    for name, x in sets.items(): whole[f'sharpness_{name}'] = sharpness(holdout, x)
    if learnt is not None and _min_gain(len(holdout)) > MIN_GAIN:
        learnt_features = features(learnt)
        for name, f in gen_features.items(): whole[f'FID_learnt_{name}'] = _mean_fid(learnt_features, f)
    rows, index = [whole], ['all']
    if y_holdout is not None:
        whole |= _accuracies(holdout, y_holdout, sets, y_gen)
        by_class = {name: class_fids(holdout_features, y_holdout, f, y_gen) for name, f in gen_features.items()}
        for label in by_class['before']:
            index.append(label)
            fids = {f'FID_{name}': found[label] for name, found in by_class.items()}
            rows.append(dict(holdout=int((y_holdout == label).sum()), **fids))
    return pd.DataFrame(rows, index)


def holdout_rows(
    y:np.ndarray, # Class ids [n]
    share:float, # Share to hold out, 0..1
    most:int=512, # Held out at most
    seed:int=0 # Seed of the choice
) -> np.ndarray: # Rows [m], sorted; of each class about the same share, never its only series; none below `MIN_HOLDOUT`
    "A part of the training split, stratified by class, that the mapper does not see."
    m = min(most, int(share * len(y)))
    if m < MIN_HOLDOUT: return np.empty(0, dtype=np.int64)
    rows = shuffled_by_class(y, seed)[(np.arange(m) * len(y) + len(y) // 2) // m]
    return np.sort(rows[np.bincount(y)[y[rows]] > 1])


def chance(
    n # Series held out
): # Share of the FID by which they may be wrong
    "Drawing eight sets of 6 to 180 series anew moved the gain by 0.03 to 0.19 over the root of their number."
    return CHANCE_OF_ONE / n ** 0.5


def _min_gain(n): return max(MIN_GAIN, chance(n))


def _gains_on_learnt(whole):
    if 'FID_learnt_after' not in whole or whole.FID_after > whole.FID_before: return False
    return whole.FID_learnt_after <= (1 - MIN_LEARNT_GAIN) * whole.FID_learnt_before


def _accuracies(holdout, y_holdout, sets, y_gen): # of classifiers of the samples; none where they are of one class
    if len(np.unique(y_gen)) < 2: return {}
    right = {name: RocketRidge.fit(x, y_gen).predict(holdout) == y_holdout for name, x in sets.items()}
    differs = (right['before'] != right['after']).sum()
    return {**{f'accuracy_{name}': float(hits.mean()) for name, hits in right.items()},
            'accuracy_chance': float(differs ** 0.5 / len(y_holdout))}


def _easier_classes(whole): # 1 or -1 where classes are easier or harder to tell after the mapper, by more than chance
    if 'accuracy_after' not in whole or np.isnan(whole.accuracy_after): return 0
    gain = whole.accuracy_after - whole.accuracy_before
    return int(np.sign(gain)) if abs(gain) > STANDARD_ERRORS * whole.accuracy_chance else 0


def _mean_fid(real, gen): # features [k, n_features] and of more series -> mean FID of as many at a time
    n = min(len(real), len(gen))
    return float(np.mean([fid(real, part) for part in gen.split(n) if len(part) == n]))
