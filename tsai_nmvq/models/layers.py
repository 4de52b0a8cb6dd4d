"""Blocks that the three models share."""
import inspect
from functools import wraps
from numbers import Real
from typing import Any, Generic, TypeVar, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..presets import settings_to_dict

__all__ = ['ConfigModule', 'BandModules', 'positive_int', 'Snake', 'activation', 'Dropout', 'Standardizer',
           'channel_std', 'divisor', 'to_double', 'SelfAttention', 'TransformerBlock', 'take_tokens']

M = TypeVar('M', bound=nn.Module)
MIN_STD = 1e-7 # over the mean: float32 resolves no less


class ConfigModule(nn.Module):
    """A module that keeps its constructor's arguments in `config`: a file can hold it, `cls(**config)` builds it again.

    With a preset it has `settings`, a frozen dataclass, which go there too: a file outlives a change of the preset."""
    config:dict
    settings:Any = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        init, signature = cls.__init__, inspect.signature(cls.__init__)
        @wraps(init)
        def recording_init(self, *args, **kwargs):
            init(self, *args, **kwargs)
            if type(self) is not cls: return
            self.config = _arguments(signature.bind(self, *args, **kwargs).arguments, self.settings)
        cls.__init__ = recording_init # type: ignore[method-assign]

    @property
    def n_params(self) -> int: # Trainable numbers
        "Number of trainable parameters."
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _arguments(bound, settings): # the constructor's own arguments, and all settings in place of the replaced ones
    config = {name: value for name, value in bound.items() if name not in ('self', 'overrides')}
    return config | (bound.get('overrides', {}) if settings is None else settings_to_dict(settings))


class BandModules(nn.ModuleDict, Generic[M]):
    "A module for each band, all of one type."
    def __getitem__(self, band:str) -> M: return cast(M, super().__getitem__(band))

    def values(self) -> list[M]: # type: ignore[override]
        "The modules, in the order of the bands."
        return [self[band] for band in self]


def positive_int(
    value, # What the caller passed
    name:str, # Argument's name
    owner:str, # Class name
    least:int=1 # Smallest value allowed
) -> int: # The value
    "Check a size. ValueError says what came and what was expected."
    if not isinstance(value, Real) or value // 1 != value or value < least:
        missing = value is None and name == 'seq_len'
        hint = "; through build_ts_model pass arch_config=dict(seq_len=...)" if missing else ''
        raise ValueError(f"{owner}: {name} is {value!r}, expected a whole number of at least {least}{hint}")
    return int(float(value))


class Snake(nn.Module):
    "Snake activation x + sin²(ax)/a with one learnt frequency a channel. [arXiv 2006.08195, Eq. 3]"
    def __init__(self,
        dim:int, # Channels
        axis:int=1 # Their axis
    ):
        super().__init__()
        self.axis = axis
        self.a = nn.Parameter(torch.empty(dim).uniform_(0.2, 0.5))

    def forward(self, x:Tensor) -> Tensor: # Any shape with dim channels -> same
        return _Snake.apply(x, self.a.to(x.dtype).view(-1, *[1] * (x.ndim - 1 - self.axis % x.ndim)))


class _Snake(torch.autograd.Function):
    "sin²(ax) = (1 - cos 2ax)/2: one cosine forward, one sine backward, half the kernels that autograd would run."
    @staticmethod
    def forward(ctx, x, a):
        cos = (x * (2 * a)).cos_()
        ctx.save_for_backward(x, a, cos)
        return x + (1 - cos) / (2 * a)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, a, cos = ctx.saved_tensors
        grad_sin = (x * (2 * a)).sin_().mul_(grad)
        others = [i for i in range(x.ndim) if i != x.ndim - a.ndim]
        grad_a = ((x * grad_sin).sum(others) - (grad * (1 - cos)).sum(others) / (2 * a.flatten())) / a.flatten()
        return grad + grad_sin, grad_a.view_as(a)


def activation(
    dim:int, # Channels
    snake:bool, # Snake as in the paper; else SiLU, which takes a quarter of the time on a CPU
    axis:int=1 # Axis of the channels
) -> nn.Module: # Any shape with dim channels -> same
    "The activation of a preset."
    return Snake(dim, axis) if snake else nn.SiLU()


class Dropout(nn.Dropout):
    "Dropout; on a CPU eight elements share one 64-bit draw, and p is rounded to 1/256 (a ninth of PyTorch's time)."
    def forward(self, x:Tensor) -> Tensor: # Any shape -> same
        if not self.training or self.p == 0 or x.device.type != 'cpu': return super().forward(x)
        dropped = min(round(self.p * 256), 255)
        words = torch.randint(-2 ** 63, 2 ** 63 - 1, (-(-x.numel() // 8),), device=x.device)
        kept = words.view(torch.uint8)[:x.numel()] >= dropped
        return x * kept.view(x.shape) * (256 / (256 - dropped))


class Standardizer(nn.Module):
    "Affine map between the data's own units and the training split's zero mean and unit deviation, one pair a channel."
    mean:Tensor
    std:Tensor

    def __init__(self,
        c_in:int # Channels
    ):
        super().__init__()
        self.register_buffer('mean', torch.zeros(c_in, 1))
        self.register_buffer('std', torch.ones(c_in, 1))

    def set(self,
        mean, # [c_in], original units
        std # [c_in], original units; 0 for a constant channel
    ):
        "Take statistics that are known. Returns self."
        for buffer, value in ((self.mean, mean), (self.std, std)):
            buffer.copy_(torch.as_tensor(value, dtype=buffer.dtype).view(-1, 1))
        return self

    def fit(self,
        x:Tensor # Training series [n, c_in, seq_len], original units
    ): # Itself, on the device of x
        "Take the statistics of series."
        values = to_double(x.detach().transpose(0, 1).flatten(1))
        mean = values.mean(1, keepdim=True)
        std = channel_std(values.std(1, correction=0, keepdim=True), mean)
        self.mean, self.std = mean.to(x.device, torch.float32), std.to(x.device, torch.float32)
        return self

    def forward(self,
        x:Tensor # Series [n, c_in, seq_len], original units
    ) -> Tensor: # Standardised, float32, on the device of the statistics
        "Less the mean, over the standard deviation."
        return ((x.to(self.mean.device) - self.mean) / divisor(self.std)).float()

    def inverse(self, x:Tensor) -> Tensor: # Standardised [bs, c_in, seq_len] -> original units; constants as they are
        return x * self.std + self.mean


def channel_std(
    std:Tensor, # Standard deviations of channels
    mean:Tensor # Their means
) -> Tensor: # std; 0 for a channel that is constant but for rounding
    "Deviations of channels that vary."
    return torch.where(std > MIN_STD * mean.abs(), std, 0.)


def divisor(
    std:Tensor # From `channel_std`
) -> Tensor: # std; 1 for a constant channel, which keeps its scale
    "Deviations to divide by."
    return torch.where(std > 0, std, 1.)


def to_double(x:Tensor) -> Tensor: # Any shape and type -> float64
    "Double precision; off Apple's GPUs, which have none."
    return (x.cpu() if x.device.type == 'mps' else x).double()


class SelfAttention(nn.Module):
    "Multi-head self-attention over the tokens, on `F.scaled_dot_product_attention`."
    def __init__(self,
        dim:int, # Width of a token
        n_heads:int, # Heads; divides n_heads * head_dim
        head_dim:int=None # Width of a head; dim // n_heads by default
    ):
        super().__init__()
        self.n_heads = n_heads
        self.inner = n_heads * (head_dim or dim // n_heads)
        self.qkv = nn.Linear(dim, 3 * self.inner, bias=False)
        self.out = nn.Linear(self.inner, dim)

    def forward(self,
        x:Tensor, # [bs, n, dim]
        queries:Tensor=None # Tokens that attend to x [bs, m, dim]; x itself by default
    ) -> Tensor: # [bs, n or m, dim]
        "Each query attends to all tokens."
        if queries is None: q, k, v = self.qkv(x).split(self.inner, -1)
        else:
            to_q, to_kv = self.qkv.weight.tensor_split([self.inner])
            q, (k, v) = F.linear(queries, to_q), F.linear(x, to_kv).split(self.inner, -1)
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def take_tokens(
    x:Tensor, # Tokens [bs, n, dim]
    positions:Tensor # [bs, m], int64
) -> Tensor: # [bs, m, dim]
    "Some tokens of each row."
    return x.gather(1, positions.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


class TransformerBlock(nn.Module):
    "Pre-norm transformer block: attention, then a GELU feed-forward layer."
    def __init__(self,
        dim:int, # Width of a token
        n_heads:int, # Attention heads
        ff_mult:float=2, # Hidden width of the feed-forward layer over dim
        head_dim:int=None, # Width of a head
        dropout:float=0. # Dropout of both branches
    ):
        super().__init__()
        hidden = int(dim * ff_mult)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = SelfAttention(dim, n_heads, head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.ff = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.drop = Dropout(dropout)

    def forward(self,
        x:Tensor, # [bs, n, dim]
        positions:Tensor=None # Of the tokens whose output is needed [bs, m]; all by default
    ) -> Tensor: # [bs, n or m, dim]
        "Tokens after attention and feed-forward."
        normed = self.norm1(x)
        attended = self.attn(normed, None if positions is None else take_tokens(normed, positions))
        x = (x if positions is None else take_tokens(x, positions)) + self.drop(attended)
        return x + self.drop(self.ff(self.norm2(x)))
