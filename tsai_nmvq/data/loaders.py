"""The loaders of a stage: batches of tensors by one index a batch."""
import math

import numpy as np
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader

from .rows import Rows

__all__ = ['RowsDL', 'stage_dls']


class RowsDL(DataLoader):
    "Batches of `Rows`. A training epoch has at least `min_steps` batches: a small split is passed over several times."
    def __init__(self,
        rows:Rows, # Read as tuples of tensors
        bs:int=64, # Batch size
        shuffle:bool=False, # Random order, whole batches, at least min_steps of them
        min_steps:int=0, # Least number of batches an epoch where shuffle
        n_inp:int=1, # Leading tensors that are the model's input
        device=None # Where batches go
    ):
        self.rows, self.n_inp, self._shuffled = rows, n_inp, shuffle
        n = max(len(rows) // bs, min_steps, 1) * bs if shuffle else len(rows)
        super().__init__(range(n), bs=min(bs, max(n, 1)), n=n, drop_last=shuffle, device=device)

    def get_idxs(self):
        if not self._shuffled: return list(range(self.n))
        rng, n_rows = np.random.default_rng(self.rng.getrandbits(64)), len(self.rows)
        passes = [rng.permutation(n_rows) for _ in range(math.ceil(self.n / n_rows))]
        return np.concatenate(passes)[:self.n].tolist()

    def new(self,
        dataset=None, # Not used: rows are the function's
        shuffle:bool=None, # As in the constructor; this loader's by default
        **kwargs # bs or device; others of fastai's DataLoader are not needed
    ) -> 'RowsDL':
        "The same rows in another loader: `get_preds` asks for one in order."
        shuffle = self._shuffled if shuffle is None else shuffle
        return RowsDL(self.rows, kwargs.get('bs') or self.bs, shuffle, n_inp=self.n_inp,
                      device=kwargs.get('device', self.device))

    def create_item(self, i): return i
    def create_batch(self, idx): return self.rows(np.asarray(idx))
    def do_batch(self, idx): return self.create_batch(idx)


def stage_dls(
    train:Rows, # Read as tuples of tensors
    valid:Rows=None, # The same of the validation split
    bs:int=64, # Batch size
    min_steps:int=32, # Least number of batches a training epoch
    n_inp:int=1, # Leading tensors that are the model's input
    device=None # Where batches go
) -> DataLoaders: # train and valid loaders
    "Loaders of one stage."
    train_dl = RowsDL(train, bs, shuffle=True, min_steps=min_steps, n_inp=n_inp, device=device)
    valid_dl = RowsDL(Rows(train.read, 0) if valid is None else valid, bs, n_inp=n_inp, device=device)
    return DataLoaders(train_dl, valid_dl, device=device)
