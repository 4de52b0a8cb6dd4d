"""How new samples are: their distance to the nearest training series."""
import torch
from torch import Tensor

from ..models.layers import Standardizer
from .inputs import as_series, split_chunks

__all__ = ['novelty', 'nearest_distance', 'is_nearer']


def novelty(
    train, # Series the generator was trained on [n, c_in, seq_len], original units
    test, # Real series it has not seen
    gen # Synthetic series
) -> float: # 0 copies the training set, about 1 is as new as fresh data; NaN where every test series is a training one
    "Mean Euclidean distance of standardised samples to their nearest training series, relative to that of test series."
    train, test, gen = as_series(train, test, gen)
    standardizer = Standardizer(train.shape[1]).fit(train)
    train, test, gen = (standardizer(x).flatten(1) for x in (train, test, gen))
    fresh = nearest_distance(test, train).mean()
    if fresh == 0: return float('nan')
    return (nearest_distance(gen, train).mean() / fresh).item()


def nearest_distance(
    x:Tensor, # Rows [n, d]
    others:Tensor # Rows [m, d]
) -> Tensor: # [n]
    "Euclidean distance of each row to the nearest of the others; itself without the rounding of the matrix product."
    nearest = torch.cat([torch.cdist(part, others).argmin(1) for part in split_chunks(x, len(others))])
    return (x - others[nearest]).norm(dim=1)


def is_nearer(
    x:Tensor, # Series [n, c_in, seq_len]
    to:Tensor, # Series [m, c_in, seq_len]
    than:Tensor # Series [k, c_in, seq_len]
) -> Tensor: # [n], bool: the nearest of `to` is nearer than all of `than`
    "Which series are nearer to one set than to another."
    x, to, than = (v.flatten(1) for v in (x, to, than))
    return nearest_distance(x, to) < nearest_distance(x, than)
