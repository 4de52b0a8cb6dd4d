"""Missing values: where they are, how long a series is, and what stands in their place while models look."""
import torch
from torch import Tensor

__all__ = ['is_complete', 'fill_gaps', 'lengths_of', 'padding_to_nan', 'with_gaps', 'hold_last', 'kind_of_gaps',
           'Gaps']


def is_complete(
    x:Tensor # Series [n, c_in, seq_len]
) -> bool: # False on other devices than a CPU: to look would make them wait
    "Whether nothing is known to be missing."
    return not x.is_floating_point() or (x.device.type == 'cpu' and bool(x.isfinite().all()))


def fill_gaps(
    x:Tensor, # Series [n, c_in, seq_len]; what is not finite is missing
    empty:Tensor|float=0. # For channels of which nothing is there, broadcast over series, such as means [c_in, 1]
) -> Tensor: # [n, c_in, seq_len], finite
    "Straight lines over gaps; before the first and after the last value that one is held."
    present, seq_len = x.isfinite(), x.shape[-1]
    steps = torch.arange(seq_len, device=x.device)
    before = torch.where(present, steps, -1).cummax(-1).values
    after = torch.where(present, steps, seq_len).flip(-1).cummin(-1).values.flip(-1)
    first, last = torch.where(before < 0, after, before), torch.where(after == seq_len, before, after)
    known = torch.where(present, x, 0.)
    left, right = (known.gather(-1, places.clamp(0, seq_len - 1)) for places in (first, last))
    u = (steps - first) / (last - first).clamp_min(1)
    filled = torch.where(present, x, left + (right - left) * u.to(x.dtype))
    return torch.where(present.any(-1, keepdim=True), filled, torch.as_tensor(empty, dtype=x.dtype, device=x.device))


def lengths_of(
    present:Tensor # Which values are there [n, c_in, seq_len], bool
) -> Tensor: # [n], int64: steps up to the last one at which a channel has a value
    "How long series are."
    steps = torch.arange(1, present.shape[-1] + 1, device=present.device)
    return (present.any(1) * steps).amax(-1)


def padding_to_nan(
    x:Tensor, # Series [n, c_in, seq_len]
    pad_value:float|None # What stands after the end of a series, in all channels; None: nothing does
) -> Tensor: # The same, with NaN there
    "Ends that are padded are missing."
    if pad_value is None: return x
    padded = ((x == pad_value) | x.isnan()).all(1).flip(-1).long().cummin(-1).values.flip(-1).bool()
    return torch.where(padded[:, None], torch.nan, x)


def hold_last(
    x:Tensor, # Series [n, c_in, seq_len]
    lengths:Tensor # Steps of each [n], at least 1
) -> Tensor: # [n, c_in, seq_len]
    "Series whose last value is held after their end."
    steps = torch.arange(x.shape[-1], device=x.device)
    return x.gather(-1, torch.minimum(steps, lengths[:, None, None] - 1).expand_as(x))


def with_gaps(
    x:Tensor, # Series [n, c_in, seq_len], complete
    present:Tensor, # Which values are to be there [n, c_in, seq_len], bool
    pad_value:float|None=None # What stands after the end of a series; NaN by default, as in gaps
) -> Tensor: # [n, c_in, seq_len]
    "Series with the gaps and the lengths of others."
    made = torch.where(present, x, torch.nan)
    if pad_value is None: return made
    ended = torch.arange(x.shape[-1], device=x.device) >= lengths_of(present)[:, None, None]
    return torch.where(ended, pad_value, made)


def kind_of_gaps(
    x:Tensor, # Real series that samples go beside [n, c_in, seq_len]
    pad_value:float|None=None # What stands after the end of the generator's series
) -> str: # `missing` of `Sampler.finished`
    "What samples have where these have gaps: the pad value at their ends, NaN alone, or none."
    x = x.as_subclass(Tensor).float()
    if (padding_to_nan(x, pad_value).isnan() & ~x.isnan()).any(): return 'like data'
    return 'complete' if x.isfinite().all() else 'nan'


class Gaps:
    "What is missing in some series: what to show a model in their place, and how to put it back."
    def __init__(self,
        x:Tensor, # Series [n, c_in, seq_len]
        empty:Tensor|float=0., # For channels of which nothing is there
        pad_value:float|None=None # What stands after the end of series
    ):
        self.x, marked = x, padding_to_nan(x, pad_value)
        self.present = None if is_complete(marked) else marked.isfinite()
        self.filled = x if self.present is None else fill_gaps(marked, empty)

    @property
    def lengths(self) -> Tensor|None: # [n]; None where nothing is missing
        return None if self.present is None else lengths_of(self.present).clamp_min(1)

    def put_back(self,
        made:Tensor # What was made of `filled`
    ) -> Tensor: # With the values of x where they were missing
        "Missing values stay as they came."
        return made if self.present is None else torch.where(self.present, made, self.x.to(made.dtype))
