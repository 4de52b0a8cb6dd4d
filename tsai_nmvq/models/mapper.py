"""Stage 3: the neural mapper, a 1-D U-Net from synthetic to real-looking series."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .layers import ConfigModule, Dropout, SelfAttention, Standardizer, activation, positive_int, resolve_preset
from .tokenizer import MIN_SEQ_LEN

__all__ = ['NeuralMapper', 'MAPPER_PRESETS']

MAPPER_PRESETS = {
    # Starts as the identity and learns a correction: it cannot lose much where the gap is small.
    # Four steps are one position: convolutions on a CPU are fastest with few positions and many channels
    'fast': dict(patch=4, dim=32, mults=(1, 2), n_blocks=1, n_heads=2, snake=False, linear_attention=False, dropout=0., residual=True,
                 noise_channels=1),
    # arXiv 2501.17553: base width 8, two blocks a level, dropout 0.5, no residual
    'paper': dict(patch=1, dim=8, mults=(1, 2, 4, 8), n_blocks=2, n_heads=4, snake=True, linear_attention=True, dropout=0.5, residual=False,
                  noise_channels=0),
}
ATTENTION_HEAD_DIM = 32
MAX_KEYS = 256              # positions at the bottleneck are averaged to no more than these to be attended to: cost stays linear


class WeightStandardizedConv1d(nn.Conv1d):
    "Convolution whose filters have mean 0 and variance 1; goes with GroupNorm. [arXiv 1903.10520]"
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2), keepdim=True)) * torch.rsqrt(w.var((1, 2), unbiased=False, keepdim=True) + 1e-5)
        return F.conv1d(x, w, self.bias, padding=self.padding)


class ResBlock(nn.Module):
    "Two weight-standardised convolutions, each with GroupNorm and an activation, and a skip."
    def __init__(self, dim, out_dim, dropout, snake):
        super().__init__()
        def block(d): return WeightStandardizedConv1d(d, out_dim, 3, padding=1), nn.GroupNorm(4, out_dim), activation(out_dim, snake)
        self.convs = nn.Sequential(*block(dim), Dropout(dropout), *block(out_dim), Dropout(dropout))
        self.skip = nn.Identity() if dim == out_dim else nn.Conv1d(dim, out_dim, 1)

    def forward(self, x): return self.skip(x) + self.convs(x)                # [bs, dim, n] -> [bs, out_dim, n]


class LinearAttention(nn.Module):
    "Attention whose cost is linear in the steps, pre-norm, with a skip. [arXiv 1812.01243]"
    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads, inner = n_heads, n_heads * ATTENTION_HEAD_DIM
        self.norm, self.qkv, self.out = nn.GroupNorm(1, dim), nn.Conv1d(dim, 3 * inner, 1, bias=False), nn.Conv1d(inner, dim, 1)

    def forward(self, x): # [bs, dim, n] -> same
        q, k, v = self.qkv(self.norm(x)).unflatten(1, (3, self.n_heads, -1)).unbind(1)
        context = k.softmax(-1) @ v.transpose(-1, -2)                        # [bs, heads, head_dim, head_dim]
        return x + self.out((context.transpose(-1, -2) @ q.softmax(-2)).flatten(1, 2))


class FullAttention(nn.Module):
    "Softmax attention at the bottleneck, pre-norm, with a skip. Long series are averaged to fewer keys. [after arXiv 2102.12122]"
    def __init__(self, dim, n_heads):
        super().__init__()
        self.norm, self.attn = nn.GroupNorm(1, dim), SelfAttention(dim, n_heads, ATTENTION_HEAD_DIM)

    def forward(self, x): # [bs, dim, n] -> same
        h = self.norm(x)
        attended = self.attn(F.adaptive_avg_pool1d(h, MAX_KEYS).mT, h.mT) if h.shape[-1] > MAX_KEYS else self.attn(h.mT)
        return x + attended.mT


class NeuralMapper(ConfigModule):
    """U-Net with skip connections from synthetic series to ones that look like the real data, same shape in and out.

    Takes and gives series in the data's own units. [arXiv 2501.17553, section 3.2]"""
    def __init__(self,
        c_in:int, # Channels
        c_out:int=None, # Not used: tsai passes it to every architecture
        seq_len:int=None, # Steps the mapper is meant for; the network takes any number
        preset:str='fast', # 'fast' or 'paper', see `MAPPER_PRESETS`
        **settings # Settings that replace the preset's: dim, mults, n_blocks, n_heads, dropout, residual, noise_channels
    ):
        super().__init__()
        self.c_in = positive_int(c_in, 'c_in', 'NeuralMapper')
        self.seq_len = positive_int(seq_len, 'seq_len', 'NeuralMapper', least=MIN_SEQ_LEN)
        self.settings = s = resolve_preset(MAPPER_PRESETS, preset, settings, 'NeuralMapper')
        self.residual, self.noise_channels, self.patch, self.scale = s['residual'], s['noise_channels'], s['patch'], Standardizer(self.c_in)
        dims, n_heads = [s['dim'] * m for m in s['mults']], s['n_heads']
        def blocks(d, out_dim, n=1): return nn.ModuleList(ResBlock(d, out_dim, s['dropout'], s['snake']) for _ in range(n))
        def attention(d): return LinearAttention(d, n_heads) if s['linear_attention'] else nn.Identity()
        self.stride = self.patch * 2 ** (len(dims) - 1)
        self.first = nn.Conv1d((self.c_in + self.noise_channels) * self.patch, dims[0], 7, padding=3)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for i, (d, after) in enumerate(zip(dims, [*dims[1:], None])):
            self.downs.append(nn.ModuleDict(dict(
                blocks=blocks(d, d, s['n_blocks']), attn=attention(d),
                resample=nn.Conv1d(d, after, 4, stride=2, padding=1) if after else nn.Identity())))
            self.ups.insert(0, nn.ModuleDict(dict(
                blocks=blocks(2 * d, d, s['n_blocks']), attn=attention(d),
                resample=nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(d, dims[i - 1], 3, padding=1)) if i else nn.Identity())))
        self.middle = nn.Sequential(*blocks(dims[-1], dims[-1]), FullAttention(dims[-1], n_heads), *blocks(dims[-1], dims[-1]))
        self.last = nn.Sequential(*blocks(2 * dims[0], dims[0]), nn.Conv1d(dims[0], self.c_in * self.patch, 1))
        if self.residual: nn.init.zeros_(self.last[-1].weight), nn.init.zeros_(self.last[-1].bias)

    def forward(self,
        x:Tensor, # Synthetic series [bs, c_in, n], original units, any n
        generator:torch.Generator=None # Source of randomness for the noise channels
    ) -> Tensor: # Mapped series [bs, c_in, n], original units
        "Map synthetic series."
        if x.ndim != 3 or x.shape[1] != self.c_in:
            raise ValueError(f"series have shape {tuple(x.shape)}, this NeuralMapper takes [bs, {self.c_in}, n]")
        x = self.scale(x.as_subclass(Tensor).float())
        h = F.pad(x, (0, -x.shape[-1] % self.stride), mode='replicate')
        if self.noise_channels:
            noise = torch.randn(len(h), self.noise_channels, h.shape[-1], device=h.device, dtype=h.dtype, generator=generator)
            h = torch.cat((h, noise), 1)
        h = first = self.first(_fold(h, self.patch))
        skips = []
        for down in self.downs:
            for block in down['blocks']: skips.append(h := block(h))
            skips[-1] = h = down['attn'](h)
            h = down['resample'](h)
        h = self.middle(h)
        for up in self.ups:
            for block in up['blocks']: h = block(torch.cat((h, skips.pop()), 1))
            h = up['resample'](up['attn'](h))
        h = _unfold(self.last(torch.cat((h, first), 1)), self.patch)[..., :x.shape[-1]]
        return self.scale.inverse(x + h if self.residual else h)


def _fold(x, patch): # [bs, dim, n] -> [bs, dim * patch, n / patch]
    return x.unflatten(-1, (-1, patch)).transpose(-1, -2).flatten(1, 2)


def _unfold(x, patch): # inverse of `_fold`
    return x.unflatten(1, (-1, patch)).transpose(-1, -2).flatten(2)
