"""Features of random convolutional kernels (ROCKET)."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.layers import Standardizer
from .inputs import as_series, split_chunks

__all__ = ['RocketFeatures']

KERNEL_LENGTHS = (7, 9, 11)


class RocketFeatures(nn.Module):
    """Maxima and shares of positive values (PPV) of random convolutions, each row of unit L2 norm. [arXiv 1910.13051]

    Kernels that share length, dilation (a whole number) and padding are one convolution: about 110 for 1000 kernels at
    150 steps, 390 at 1,000. Rounding dilations to fewer values is faster, and lowers FID by 3 to 16 % (measured)."""
    weight:Tensor
    bias:Tensor

    def __init__(self,
        c_in:int, # Channels
        seq_len:int, # Steps, at least 7
        n_kernels:int=1000, # Kernels; each gives two features
        seed:int=0 # Seed of the kernels; the global random state is left alone
    ):
        super().__init__()
        if seq_len < min(KERNEL_LENGTHS):
            raise ValueError(f"series have {seq_len} steps, ROCKET needs at least {min(KERNEL_LENGTHS)}; "
                             "pad or resample them")
        self.shape = c_in, seq_len
        self.standardizer = Standardizer(c_in)
        weight, bias, settings = _random_kernels(c_in, seq_len, n_kernels, torch.Generator().manual_seed(seed))
        settings, group = settings.unique(dim=0, return_inverse=True)
        order = group.argsort(stable=True)
        self.register_buffer('weight', weight[order])
        self.register_buffer('bias', bias[order])
        self.settings = settings.tolist()                                # (length, dilation, padding) a convolution
        self.sizes = group.bincount().tolist()                           # and its number of kernels

    @classmethod
    def fit(cls,
        x_train, # Training series [n, c_in, seq_len], array or tensor, original units
        n_kernels:int=1000, # Kernels
        seed:int=0 # Seed of the kernels
    ): # `RocketFeatures` on the device of x_train
        "Kernels for series that look like these, which are standardised by the statistics of these."
        x_train, = as_series(x_train)
        c_in, seq_len = x_train.shape[1:]
        features = cls(c_in, seq_len, n_kernels, seed).to(x_train.device)
        features.standardizer.fit(x_train)
        return features

    @torch.no_grad()
    def forward(self,
        x # Series [n, c_in, seq_len], array or tensor, original units
    ) -> Tensor: # Features [n, 2*n_kernels]: all maxima, then all PPV; on the device of the kernels
        "Features a chunk of series at a time, so that memory is bounded."
        x, = as_series(x, shape=self.shape)
        parts = split_chunks(x, max(self.sizes) * self.shape[1])
        return torch.cat([F.normalize(self._pool(self.standardizer(part))) for part in parts])

    def _pool(self, x):
        maxima, ppv = [], []
        weights, biases = self.weight.split(self.sizes), self.bias.split(self.sizes)
        for (length, dilation, padding), weight, bias in zip(self.settings, weights, biases):
            out = F.conv1d(x, weight[..., :length], bias, padding=padding, dilation=dilation)
            maxima.append(out.amax(-1))
            ppv.append((out > 0).float().mean(-1))
        return torch.cat(maxima + ppv, 1)


def _random_kernels(c_in, seq_len, n_kernels, generator):
    "Weights [n_kernels, c_in, 11], zero outside a kernel's length and channels; biases; (length, dilation, padding)."
    def uniform(*shape): return torch.rand(n_kernels, *shape, generator=generator)
    lengths = torch.tensor([length for length in KERNEL_LENGTHS if length <= seq_len])
    length = lengths[(uniform() * len(lengths)).long()]
    n_channels = torch.exp2(uniform() * (length.clamp(max=c_in) + 1).log2()).long()
    in_length = torch.arange(max(KERNEL_LENGTHS)) < length[:, None, None]
    in_channels = (_ranks(uniform(c_in)) < n_channels[:, None])[..., None]
    inside = in_length & in_channels
    weight = torch.randn(inside.shape, generator=generator) * inside
    weight = (weight - weight.sum(-1, keepdim=True) / length[:, None, None]) * inside
    dilation = torch.exp2(uniform() * ((seq_len - 1) / (length - 1)).log2()).long()
    padding = torch.where(uniform() < 0.5, (length - 1) * dilation // 2, 0)
    return weight, uniform() * 2 - 1, torch.stack([length, dilation, padding], 1)


def _ranks(x): return x.argsort(1).argsort(1)
