"""Data sets by name, split and seed, and the files that keep what was learnt of them."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from ..common.data import read_set

__all__ = ['CLASS_DATA', 'DATA', 'SPLITS', 'Case', 'n_draws']

DATA = ('ItalyPowerDemand', 'GunPoint', 'ECG200', 'CBF', 'SwedishLeaf', 'PhalangesOutlinesCorrect', 'Adiac', 'Crop',
        'ECG5000', 'OSULeaf', 'ElectricDevices', 'FordA')
SPLITS = ('paper', 'original')
CLASS_DATA = ('OSULeaf', 'Adiac', 'SwedishLeaf', 'ElectricDevices', 'Lightning7', 'ECG200') # where classes are lost
FEW_SERIES = 333 # up to here a third synthetic set is affordable


@dataclass(frozen=True)
class Case:
    "A data set, how it is split, and the seed of all that is done with it."
    name:str            # Of a UCR set
    seed:int = 0        # Of split, fit and samples
    split:str = 'paper' # 'paper': all series split anew 80/20 by class; 'original': the archive's own
    cap:int = 2000      # Series in each part at most

    def read(self,
        path # Folder that holds data/UCR
    ) -> tuple: # (X [n, c_in, seq_len], y [n], [training rows, test rows])
        "Series, labels and splits."
        X, y, splits = read_set(self.name, path)
        if self.split == 'paper':
            splits = train_test_split(np.arange(len(X)), test_size=0.2, stratify=y, random_state=self.seed)
        return X, y, [self._capped(np.asarray(rows), y) for rows in splits]

    def _capped(self, rows, y): # of each class about the same share
        if len(rows) <= self.cap: return rows
        return train_test_split(rows, train_size=self.cap, stratify=y[rows], random_state=self.seed)[0]

    def file(self,
        folder, # Where what is learnt is kept
        stages:str, # Presets: 'fast', 'paper' or 'paper+fast'
        suffix:str, # '.nmvq' for the generator, '.json' for its row, ...
        prefix:str='' # Goes before the name
    ) -> Path:
        "A file of this case and these stages."
        return Path(folder) / f'{prefix}{stages}_{self.split}_{self.name}_{self.seed}{suffix}'


def n_draws(
    n_series:int # In each synthetic set
) -> int: # Synthetic sets to average over
    "Fewer where sets are large."
    return 3 if n_series <= FEW_SERIES else 2
