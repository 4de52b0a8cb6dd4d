"""A batch that knows which of its rows were added: BatchNorm statistics of real rows alone, marks in `show_batch`."""
import copyreg

import torch
import torch.nn.functional as F
from torch import Tensor
from tsai.data.core import TSTensor

from .callers import is_cast_for_the_network
from .portable import ByName

__all__ = ['AugmentedTensor']


class _PortableType(type(TSTensor)): # type: ignore[misc] # pickled by `copyreg`: loaders keep the types of a batch
    pass


class AugmentedTensor(TSTensor, metaclass=_PortableType):
    """A batch whose last rows are synthetic. BatchNorm layers in training may normalise real and synthetic rows apart.

    Running statistics, which validation and inference use, are then of real rows: synthetic ones cannot shift them.
    In any network whose first axis stays the batch, without a change of it. [after arXiv 1911.09665 and 2312.02253]"""
    n_real:int  # Rows that come first
    n_rows:int  # All: where a network has made another first axis of them, BatchNorm is as usual; 0 in a row
    apart:bool  # Whether BatchNorm normalises the two kinds apart

    @classmethod
    def of(cls,
        real:Tensor, # [n, c_in, seq_len]
        synthetic:Tensor, # [m, c_in, seq_len]
        n_real:int=None, # Rows that are real, where an earlier transform has added some; n by default
        apart:bool=True # Whether BatchNorm normalises the two kinds apart
    ) -> 'AugmentedTensor': # [n + m, c_in, seq_len]
        "Real rows, then synthetic ones."
        x = torch.cat((real, synthetic)).as_subclass(cls)
        x.n_real, x.n_rows, x.apart = len(real) if n_real is None else n_real, len(x), apart
        return x

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is F.batch_norm and _is_apart(args[0]) and (kwargs or {}).get('training'):
            return _apart(*args, **kwargs)
        return super().__torch_function__(func, types, args, kwargs)

    def as_subclass(self, typ): # fastai's Learner casts batches to plain tensors; BatchNorm has to see the marks
        is_kept = typ is Tensor and self.__dict__.get('apart') and is_cast_for_the_network()
        return self if is_kept else super().as_subclass(typ)

    def clone(self, *, memory_format=torch.preserve_format): # fastai's loses the marks
        return _marked(super().clone(memory_format=memory_format), self)

    def __getitem__(self, idx): # some of the rows are such a batch too, and a row knows whether it is real
        out = super().__getitem__(idx)
        if not self._has_rows or not isinstance(idx, (int, slice)): return out
        rows = range(len(self))[idx]
        if isinstance(rows, int): out.n_real, out.n_rows = int(rows < self.n_real), 0
        elif rows.step > 0:
            real = range(rows.start, min(rows.stop, self.n_real), rows.step)
            out.n_real, out.n_rows = len(real), len(rows)
        return out

    def __iter__(self): return (self[row] for row in range(len(self))) if self._has_rows else super().__iter__()

    @property
    def _has_rows(self): return self.ndim > 0 and self.__dict__.get('n_rows') == len(self)

    def show(self, ax=None, ctx=None, title=None, **kwargs): # as tsai's
        "Draw a series; a synthetic one says so in its title."
        is_synthetic = self.__dict__.get('n_rows') == 0 and not self.n_real
        return super().show(ax, ctx, f'{title} (synthetic)' if is_synthetic else title, **kwargs)


copyreg.pickle(_PortableType, lambda cls: ByName(cls, TSTensor).__reduce__())


def _is_apart(x): # of a batch, or of what a network made of it row by row
    return x.__dict__.get('apart') and x.__dict__.get('n_rows') == len(x)


def _apart(x, running_mean, running_var, **settings):
    n_real, values = x.n_real, x[0, 0].numel() if x.ndim > 2 else 1
    plain = x.as_subclass(Tensor)
    if min(n_real, len(x) - n_real) * values < 2: # too few values for statistics of their own
        return _marked(F.batch_norm(plain, running_mean, running_var, **settings), x)
    real = F.batch_norm(plain[:n_real], running_mean, running_var, **settings)
    return _marked(torch.cat((real, F.batch_norm(plain[n_real:], None, None, **settings))), x)


def _marked(out, x): # as another batch of the same rows
    out = out.as_subclass(type(x))
    out.set_meta(x, as_copy=True)
    return out
