"""Whether the mapper helps: samples before and after it against series held back from it, overall and for each class."""
from html import escape

import numpy as np
import pandas as pd
from torch import Tensor

from .data import plain
from .metrics import conditional_fid, fid, nearest_distance, sharpness

__all__ = ['MapperTrial', 'held_back_rows', 'nearest_is']

MIN_HELD_BACK = 5           # series of all classes
MIN_OF_CLASS = 10           # series of a class: with fewer its FID says more about chance than about the mapper
LEAST_GAIN = 0.02           # of the FID: less is within the trial's noise, which is larger on few series:
NOISE_OF_ONE = 0.25         # over the root of their number; drawing eight sets of 6 to 180 anew moved the gain by 0.03 to 0.19 over it
LEARNT_GAIN = 0.1           # of the FID against series that the mapper has learnt, where few are held back: it has been up to 0.1
                            # above the gain against test series (benchmarks/results/fidelity_log.md)
BLURRED = 0.7               # of the high-frequency energy of real series


def held_back_rows(
    y:np.ndarray, # Class ids [n]
    share:float, # Share to hold back, 0..1
    most:int=512, # Held back at most
    seed:int=0 # Seed of the choice
) -> np.ndarray: # Rows [m], sorted; of each class about the same share, never its only series; none where `MIN_HELD_BACK` are not reached
    "A part of the training split, stratified by class, that the mapper does not see."
    m = min(most, int(share * len(y)))
    if m < MIN_HELD_BACK: return np.empty(0, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(y))
    order = order[np.argsort(y[order], kind='stable')]
    rows = order[(np.arange(m) * len(y) + len(y) // 2) // m]
    return np.sort(rows[np.bincount(y)[y[rows]] > 1])


def nearest_is(
    x:Tensor, # Samples [n, c_in, seq_len]
    others:Tensor, # Series [m, c_in, seq_len]
    ones:Tensor # Series [k, c_in, seq_len]
) -> Tensor: # True where one of `ones` is nearer than all of `others` [n]
    "Which samples are nearest to one of a set: those that may be copies of it."
    x, others, ones = (v.flatten(1) for v in (x, others, ones))
    return nearest_distance(x, ones) < nearest_distance(x, others)


class MapperTrial:
    """FID against held-back series before and after the mapper, and where the mapper is used for it.

    Samples that may be the prior's copies of held-back series should be left out: the prior has seen these series, the mapper has not.
    FID falls as n grows and rows differ in n: compare before and after, not rows."""
    def __init__(self,
        table:pd.DataFrame=None # Of all series, then of each class: held_back, FID_*, sharpness_*, where few are held back FID_learnt_*
    ):
        self.table = table      # None where there were too few series to hold any back

    @classmethod
    def run(cls,
        held:Tensor, # Series held back from the mapper [n, c_in, seq_len], original units
        y_held, # Their labels [n]; None without classes
        before:Tensor, # Samples of the prior [m, c_in, seq_len]
        after:Tensor, # The same samples, mapped
        y_gen, # Their labels [m]
        features, # Function series -> features, fitted on the mapper's training series
        learnt:Tensor=None # Series that the mapper has learnt [k, c_in, seq_len]: looked at where few are held back
    ):
        "Measure."
        sets, held_features = dict(before=before, after=after), features(held)
        gen_features = {name: features(x) for name, x in sets.items()}
        rows, index = [dict(held_back=len(held), **{f'FID_{name}': fid(held_features, f) for name, f in gen_features.items()},
                            **{f'sharpness_{name}': sharpness(held, x) for name, x in sets.items()})], ['all']
        if learnt is not None and _least_gain(len(held)) > LEAST_GAIN:
            real = features(learnt)
            rows[0].update({f'FID_learnt_{name}': _mean_fid(real, f) for name, f in gen_features.items()})
        if y_held is not None:
            by_class = {name: conditional_fid(held_features, y_held, f, y_gen, per_class=True) for name, f in gen_features.items()}
            index += list(by_class['before'])
            rows += [dict(held_back=int((y_held == label).sum()), **{f'FID_{name}': fids[label] for name, fids in by_class.items()})
                     for label in by_class['before']]
        return cls(pd.DataFrame(rows, index))

    @property
    def helps(self) -> bool: # Whether the mapper is used at all; True where nothing is known
        """FID of all mapped samples is below that of the same samples unmapped, by more than the trial's noise.

        Where few series are held back it may be within the noise, if FID against learnt series falls by `LEARNT_GAIN`."""
        return self.table is None or self._helps_on_held_back or self._helps_on_learnt

    @property
    def _helps_on_held_back(self):
        whole = self.table.iloc[0]
        return bool(whole.FID_after <= (1 - _least_gain(whole.held_back)) * whole.FID_before)

    @property
    def _helps_on_learnt(self):
        whole = self.table.iloc[0]
        if 'FID_learnt_after' not in whole or whole.FID_after > whole.FID_before: return False
        return bool(whole.FID_learnt_after <= (1 - LEARNT_GAIN) * whole.FID_learnt_before)

    @property
    def left_out(self) -> list: # Labels
        "Classes that the mapper makes worse by more than the trial's noise, of those with enough held-back series to tell."
        if self.table is None: return []
        classes = self.table.iloc[1:]
        harmed = classes.FID_after > (1 + _noise(classes.held_back)) * classes.FID_before
        return list(classes.index[harmed & (classes.held_back >= MIN_OF_CLASS)])

    @property
    def warnings(self) -> list: # Sentences
        "What a user should know."
        if self.table is None:
            return [f"The training split is too small to hold {MIN_HELD_BACK} series back: whether the mapper helps is not known."]
        whole, classes, out = self.table.iloc[0], self.table.iloc[1:], []
        if not self.helps:
            harm = ('makes samples worse' if whole.FID_after > whole.FID_before else
                    f'changes the samples by no more than chance, on {whole.held_back:.0f} series held back from it')
            return [f"The mapper {harm} (FID {whole.FID_before:.3g} before, {whole.FID_after:.3g} after it): it is left out."]
        if not self._helps_on_held_back:
            out.append(f"{whole.held_back:.0f} held-back series alone cannot tell (FID {whole.FID_before:.3g} before, "
                       f"{whole.FID_after:.3g} after it): the mapper is used for what it gains on series that it has learnt "
                       f"({whole.FID_learnt_before:.3g} before, {whole.FID_learnt_after:.3g} after it).")
        for label, row in classes[classes.index.isin(self.left_out)].iterrows():
            out.append(f"The mapper makes class {label!r} worse (FID {row.FID_before:.3g} before, {row.FID_after:.3g} after it): "
                       "it is left out there.")
        few = [repr(label) for label in classes.index[classes.held_back < MIN_OF_CLASS]]
        if few:
            names = ', '.join(few[:5]) + (f' and {len(few) - 5} more' if len(few) > 5 else '')
            out.append(f"Fewer than {MIN_OF_CLASS} series are held back of {names}: these classes go by the whole.")
        if whole.sharpness_after < BLURRED:
            out.append(f"Samples are blurred: {whole.sharpness_after:.2f} of the high-frequency energy of real series, "
                       f"{whole.sharpness_before:.2f} before the mapper.")
        return out

    def to_dict(self) -> dict|None: # Plain lists, numbers and strings
        "For JSON."
        if self.table is None: return None
        return dict(index=[plain(v) for v in self.table.index], columns={k: v.tolist() for k, v in self.table.items()})

    @classmethod
    def from_dict(cls,
        d:dict|None # From `to_dict`
    ):
        "Inverse of `to_dict`."
        return cls(None if d is None else pd.DataFrame(d['columns'], d['index']))

    def __repr__(self): return '\n'.join([*([] if self.table is None else [self.table.round(4).to_string()]), *self.warnings])

    def _repr_html_(self):
        table = '' if self.table is None else self.table.round(4).to_html()
        return table + ''.join(f'<p>{escape(sentence)}</p>' for sentence in self.warnings)


def _noise(n): # share of the FID by which n held-back series may be wrong
    return NOISE_OF_ONE / n ** 0.5


def _least_gain(n): # of the FID on n held-back series
    return max(LEAST_GAIN, _noise(n))


def _mean_fid(real, gen): # features [k, n_features] and of more series -> mean FID of as many at a time
    n = min(len(real), len(gen))
    return float(np.mean([fid(real, part) for part in gen.split(n) if len(part) == n]))
