"""Small sets of the UCR archive, and imbalanced ones made of them."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from ..common.data import read_set

__all__ = ['BALANCED', 'IMBALANCED', 'SmallSet']

BALANCED = ('GunPoint', 'ECG200', 'CBF', 'ItalyPowerDemand', 'Lightning7', 'OSULeaf', 'SwedishLeaf', 'Adiac',
            'PhalangesOutlinesCorrect', 'ECG5000', 'ElectricDevices', 'FordA', 'ShapesAll', 'CinCECGTorso')
IMBALANCED = ('ECG200', 'PhalangesOutlinesCorrect', 'ItalyPowerDemand', 'GunPoint', 'ECG5000', 'ElectricDevices',
              'FordA', 'SwedishLeaf')
CAPS = dict(PhalangesOutlinesCorrect=200, ECG5000=200, ElectricDevices=200, FordA=200) # training series; else all
CAPS_THINNED = dict(PhalangesOutlinesCorrect=300, ElectricDevices=300, FordA=300)      # before thinning
TEST_SERIES = 1000                  # of the test split, at most
RATIO, LEAST = 8, 3                 # largest class over a thinned one; series that a thinned class keeps


@dataclass(frozen=True)
class SmallSet:
    "A set with the archive's own split, of which a part is taken: the same for every seed."
    name:str            # Of a UCR set
    thinned:bool=False  # Whether the smaller half of its classes keeps one series for eight of the largest class

    def read(self,
        path # Folder that holds data/UCR
    ) -> tuple: # (X [n, c_in, seq_len], y [n], [training rows, test rows])
        "Series, labels and splits."
        X, y, (train, test) = read_set(self.name, path)
        train = _part(np.asarray(train), y, (CAPS_THINNED if self.thinned else CAPS).get(self.name, len(train)))
        return X, y, [_thinned(train, y) if self.thinned else train, _part(np.asarray(test), y, TEST_SERIES)]

    def file(self,
        folder, # Where it is kept
        *what, # Goes into the name
        suffix:str='.json' # '.nmvq' for the generator
    ) -> Path:
        "A file of this set."
        return Path(folder) / ('_'.join([self.name, *['thinned'] * self.thinned, *map(str, what)]) + suffix)


def _part(rows, y, n): # of each class about its share
    if len(rows) <= n: return rows
    try: return np.sort(train_test_split(rows, train_size=n, stratify=y[rows], random_state=0)[0])
    except ValueError: return np.sort(np.random.default_rng(0).permutation(rows)[:n]) # a class of one series


def _thinned(rows, y):
    names, counts = np.unique(y[rows], return_counts=True)
    least = max(LEAST, round(counts.max() / RATIO))
    rare = names[np.argsort(counts, kind='stable')][:max(1, len(names) // 2)]
    rng = np.random.default_rng(0)
    kept = [rng.permutation(rows[y[rows] == name])[:least if name in rare else None] for name in names]
    return np.sort(np.concatenate(kept))
