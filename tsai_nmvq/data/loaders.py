"""The loaders of a stage: batches of tensors by one index a batch."""
import math
import random
from collections.abc import Iterator

import numpy as np
from fastai.data.core import DataLoaders
from fastai.torch_core import to_device
from torch.utils.data import DataLoader, Dataset

from ..rng import python_random
from .rows import Rows

__all__ = ['RowsDL', 'stage_dls']


class RowsDL(DataLoader):
    """Batches of `Rows`. A training epoch has at least `min_steps` batches: a small split is passed over several times.

    PyTorch's loader and not fastai's, which draws from the global random state of Python wherever one is made."""
    def __init__(self,
        rows:Rows, # Read as tuples of tensors
        bs:int=64, # Batch size
        shuffle:bool=False, # Random order, whole batches, at least min_steps of them
        min_steps:int=0, # Least number of batches an epoch where shuffle
        n_inp:int=1, # Leading tensors that are the model's input
        device=None # Where batches go
    ):
        order = RowOrder(len(rows), bs, shuffle, min_steps)
        super().__init__(BatchReader(rows), batch_size=None, sampler=order, collate_fn=tuple)
        self.rows, self.order, self.bs = rows, order, order.bs
        self.n_inp, self.device = n_inp, device

    def __iter__(self):
        for batch in super().__iter__(): yield batch if self.device is None else to_device(batch, self.device)

    def one_batch(self): return next(iter(self)) # As fastai's

    def to(self, device): self.device = device

    def new(self,
        shuffle:bool=None, # As in the constructor; this loader's by default
        **kwargs # bs or device; others of fastai's loaders are not needed
    ) -> 'RowsDL':
        "The same rows in another loader: `get_preds` asks for one in order."
        shuffle = self.order.shuffle if shuffle is None else shuffle
        return RowsDL(self.rows, kwargs.get('bs') or self.bs, shuffle, n_inp=self.n_inp,
                      device=kwargs.get('device', self.device))


class BatchReader(Dataset):
    "What PyTorch's loader asks for a batch, by the indices of its rows."
    def __init__(self,
        rows:Rows # Read as tuples of tensors
    ):
        self.rows = rows

    def __len__(self): return len(self.rows)

    def __getitem__(self, idx): return self.rows(np.asarray(idx))


class RowOrder:
    "The rows of each batch of an epoch."
    def __init__(self,
        n_rows:int, # Rows there are
        bs:int, # Batch size
        shuffle:bool, # Random order and whole batches
        min_steps:int # Least number of batches where shuffle
    ):
        self.n_rows, self.shuffle = n_rows, shuffle
        self.n = max(n_rows // bs, min_steps, 1) * bs if shuffle else n_rows
        self.bs = min(bs, max(self.n, 1))
        self.rng = random.Random(python_random().randint(0, 2 ** 32 - 1)) # as fastai's

    def __len__(self): return math.ceil(self.n / self.bs)

    def __iter__(self) -> Iterator[list]:
        self.rng = random.Random(self.rng.randint(0, 2 ** 32 - 1))
        rows = self._shuffled() if self.shuffle else np.arange(self.n)
        return (rows[start:start + self.bs].tolist() for start in range(0, self.n, self.bs))

    def _shuffled(self):
        rng = np.random.default_rng(self.rng.getrandbits(64))
        passes = [rng.permutation(self.n_rows) for _ in range(math.ceil(self.n / self.n_rows))]
        return np.concatenate(passes)[:self.n]


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
