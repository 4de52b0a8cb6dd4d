"""What all metrics take: series and labels of one shape, as tensors and arrays."""
import numpy as np
import torch
from torch import Tensor

from ..data.missing import fill_gaps, is_complete
from ..data.survey import check_no_inf

__all__ = ['as_series', 'as_unit_range', 'as_labels', 'split_chunks']

CHUNK_VALUES = 2 ** 21 # intermediate values held at once


def as_series(
    *arrays, # Sets of series [n, c_in, seq_len], arrays or tensors
    shape:tuple=None # (c_in, seq_len) that they must have; that of the first by default
) -> list[Tensor]: # float32 or float64, on the device of the first
    """Sets of series that can be compared. ValueError unless they are 3-D, without inf and of one shape.

    Gaps are filled by straight lines: what is compared is what is there, where both sides have gaps alike."""
    series = [x.detach().as_subclass(Tensor) if isinstance(x, Tensor) else torch.tensor(np.ascontiguousarray(x))
              for x in arrays]                                           # torch knows no views that go backwards
    series = [x.to(series[0].device, x.dtype if x.dtype == torch.float64 else torch.float32) for x in series]
    for x in series:
        if x.ndim != 3 or not len(x):
            raise ValueError(f"series have shape {tuple(x.shape)}, expected [n, c_in, seq_len] with n > 0; "
                             "one channel needs its axis too: x[:, None]")
        expected = tuple(shape or series[0].shape[1:])
        if tuple(x.shape[1:]) != expected:
            raise ValueError(f"series have c_in, seq_len = {tuple(x.shape[1:])}, expected {expected}; "
                             "compare sets of one shape")
        check_no_inf(x, f"a set of {len(x)}")
    return [x if is_complete(x) else fill_gaps(x) for x in series]


def as_unit_range(
    real, # Real series [n, c_in, seq_len], original units
    *others # Sets of the same shape
) -> list[Tensor]: # All of them, float32
    "In units of the range of each real channel: real values lie in 0..1. A constant channel keeps its unit."
    sets = as_series(real, *others)
    low, high = (values.unsqueeze(-1) for values in (sets[0].amin((0, 2)), sets[0].amax((0, 2))))
    return [((x - low) / torch.where(high > low, high - low, 1.)).float() for x in sets]


def as_labels(
    y, # Labels [n], array or tensor
    x # What is labelled [n, ...]
) -> np.ndarray: # [n]
    "Labels on the host. ValueError unless there is one for each."
    y = y.cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if y.shape != (len(x),):
        raise ValueError(f"labels have shape {y.shape} for {len(x)} series; pass one class label a series [n]")
    return y


def split_chunks(
    x:Tensor, # Rows [n, ...]
    values:int # Intermediate values that a row takes
) -> tuple: # Parts of x
    "Rows a bounded number of intermediate values at a time."
    return x.split(max(1, CHUNK_VALUES // values))
