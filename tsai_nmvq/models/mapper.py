"""Stage 3: the neural mapper, a 1-D U-Net from synthetic to real-looking series."""
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..presets import MAPPER_PRESETS, resolve_settings
from .layers import ConfigModule, Dropout, SelfAttention, Standardizer, activation, positive_int
from .tokenizer import MIN_SEQ_LEN

__all__ = ['NeuralMapper']

ATTENTION_HEAD_DIM = 32
MAX_KEYS = 256 # the bottleneck's positions are averaged to no more than these to be attended to: cost stays linear


class WeightStandardizedConv1d(nn.Conv1d):
    "Convolution whose filters have mean 0 and variance 1; goes with GroupNorm. [arXiv 1903.10520]"
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2), keepdim=True)) * torch.rsqrt(w.var((1, 2), unbiased=False, keepdim=True) + 1e-5)
        return F.conv1d(x, w, self.bias, padding=self.padding)


class UNetBlock(nn.Module):
    "Two weight-standardised convolutions, each with GroupNorm and an activation, and a skip."
    def __init__(self, dim, out_dim, dropout, snake):
        super().__init__()
        def conv(d):
            weights = WeightStandardizedConv1d(d, out_dim, 3, padding=1)
            return weights, nn.GroupNorm(4, out_dim), activation(out_dim, snake)
        self.convs = nn.Sequential(*conv(dim), Dropout(dropout), *conv(out_dim), Dropout(dropout))
        self.skip = nn.Identity() if dim == out_dim else nn.Conv1d(dim, out_dim, 1)

    def forward(self, x): return self.skip(x) + self.convs(x)                # [bs, dim, n] -> [bs, out_dim, n]


class LinearAttention(nn.Module):
    "Attention whose cost is linear in the steps, pre-norm, with a skip. [arXiv 1812.01243]"
    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads, inner = n_heads, n_heads * ATTENTION_HEAD_DIM
        self.norm = nn.GroupNorm(1, dim)
        self.qkv = nn.Conv1d(dim, 3 * inner, 1, bias=False)
        self.out = nn.Conv1d(inner, dim, 1)

    def forward(self, x): # [bs, dim, n] -> same
        q, k, v = self.qkv(self.norm(x)).unflatten(1, (3, self.n_heads, -1)).unbind(1)
        context = k.softmax(-1) @ v.transpose(-1, -2)                        # [bs, heads, head_dim, head_dim]
        return x + self.out((context.transpose(-1, -2) @ q.softmax(-2)).flatten(1, 2))


class FullAttention(nn.Module):
    "Softmax attention at the bottleneck, pre-norm, with a skip. Long series have averaged keys. [after 2102.12122]"
    def __init__(self, dim, n_heads):
        super().__init__()
        self.norm = nn.GroupNorm(1, dim)
        self.attn = SelfAttention(dim, n_heads, ATTENTION_HEAD_DIM)

    def forward(self, x): # [bs, dim, n] -> same
        h = self.norm(x)
        if h.shape[-1] <= MAX_KEYS: return x + self.attn(h.mT).mT
        return x + self.attn(F.adaptive_avg_pool1d(h, MAX_KEYS).mT, h.mT).mT


class Level(nn.Module):
    "What a level of the U-Net has on its way down and up: blocks and attention, then other positions."
    resample:nn.Module

    def __init__(self, dim_in, dim, settings): # dim_in: of each block's input
        super().__init__()
        self.blocks = nn.ModuleList(
            UNetBlock(dim_in, dim, settings.dropout, settings.snake) for _ in range(settings.n_blocks))
        self.attn = LinearAttention(dim, settings.n_heads) if settings.linear_attention else nn.Identity()


class DownLevel(Level):
    "Half the positions; the last level keeps them."
    def __init__(self, level, dims, settings):
        dim, is_last = dims[level], level == len(dims) - 1
        super().__init__(dim, dim, settings)
        self.resample = nn.Identity() if is_last else nn.Conv1d(dim, dims[level + 1], 4, stride=2, padding=1)

    def forward(self, h, skips): # [bs, dim, n] -> the next level's; puts the outputs of its blocks on `skips`
        for block in self.blocks:
            h = block(h)
            skips.append(h)
        skips[-1] = self.attn(h)
        return self.resample(skips[-1])


class UpLevel(Level):
    "Blocks over the skips, twice the positions; the first level has them all."
    def __init__(self, level, dims, settings):
        dim = dims[level]
        super().__init__(2 * dim, dim, settings)
        self.resample = nn.Identity()
        if level == 0: return
        self.resample = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(dim, dims[level - 1], 3, padding=1))

    def forward(self, h, skips): # [bs, dim, n] -> the level's above; takes its skips off
        for block in self.blocks: h = block(torch.cat((h, skips.pop()), 1))
        return self.resample(self.attn(h))


class NeuralMapper(ConfigModule):
    """U-Net with skip connections from synthetic series to ones that look like the real data, same shape in and out.

    Takes and gives series in the data's own units. [arXiv 2501.17553, section 3.2]"""
    def __init__(self,
        c_in:int, # Channels
        c_out:int=None, # Not used: tsai passes it to every architecture
        seq_len:int=None, # Steps the mapper is meant for; the network takes any number
        preset:str='fast', # 'fast' or 'paper'
        **overrides # Settings that replace the preset's, see `MapperSettings`
    ):
        super().__init__()
        self.c_in = positive_int(c_in, 'c_in', 'NeuralMapper')
        self.seq_len = positive_int(seq_len, 'seq_len', 'NeuralMapper', least=MIN_SEQ_LEN)
        self.settings = s = resolve_settings(MAPPER_PRESETS, preset, overrides, 'NeuralMapper')
        self.standardizer = Standardizer(self.c_in)
        dims = [s.dim * m for m in s.mults]
        self.stride = s.patch * 2 ** (len(dims) - 1)
        self.first = nn.Conv1d((self.c_in + s.noise_channels) * s.patch, dims[0], 7, padding=3)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in range(len(dims)):
            self.downs.append(DownLevel(level, dims, s))
            self.ups.insert(0, UpLevel(level, dims, s))
        bottleneck = dims[-1]
        def block(dim, out_dim): return UNetBlock(dim, out_dim, s.dropout, s.snake)
        self.middle = nn.Sequential(block(bottleneck, bottleneck), FullAttention(bottleneck, s.n_heads),
                                    block(bottleneck, bottleneck))
        block_out, out = block(2 * dims[0], dims[0]), nn.Conv1d(dims[0], self.c_in * s.patch, 1)
        self.last = nn.Sequential(block_out, out)
        if s.residual:
            nn.init.zeros_(out.weight)
            nn.init.zeros_(cast(Tensor, out.bias))

    def forward(self,
        x:Tensor, # Synthetic series [bs, c_in, n], original units, any n
        generator:torch.Generator=None # Source of randomness for the noise channels
    ) -> Tensor: # Mapped series [bs, c_in, n], original units
        "Map synthetic series."
        if x.ndim != 3 or x.shape[1] != self.c_in:
            raise ValueError(f"series have shape {tuple(x.shape)}, this NeuralMapper takes [bs, {self.c_in}, n]")
        x = self.standardizer(x.as_subclass(Tensor).float())
        h = first = self.first(_fold(self._with_noise(x, generator), self.settings.patch))
        skips:list[Tensor] = []
        for down in self.downs: h = down(h, skips)
        h = self.middle(h)
        for up in self.ups: h = up(h, skips)
        h = _unfold(self.last(torch.cat((h, first), 1)), self.settings.patch)[..., :x.shape[-1]]
        return self.standardizer.inverse(x + h if self.settings.residual else h)

    def _with_noise(self, x, generator): # [bs, c_in, n] -> [bs, c_in + noise_channels, n padded to the strides]
        h = F.pad(x, (0, -x.shape[-1] % self.stride), mode='replicate')
        n_noise = self.settings.noise_channels
        if not n_noise: return h
        noise = torch.randn(len(h), n_noise, h.shape[-1], device=h.device, dtype=h.dtype, generator=generator)
        return torch.cat((h, noise), 1)


def _fold(x, patch): # [bs, dim, n] -> [bs, dim * patch, n / patch]
    return x.unflatten(-1, (-1, patch)).transpose(-1, -2).flatten(1, 2)


def _unfold(x, patch): # inverse of `_fold`
    return x.unflatten(1, (-1, patch)).transpose(-1, -2).flatten(2)
