"""What the mapper is asked for: differences between mapped series and their real ones, and between batches of both."""
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.missing import fill_gaps, with_gaps
from ..data.spec import SeriesSpec
from ..models.layers import divisor

__all__ = ['MapperLoss', 'stft_loss', 'random_kernel_loss', 'SlicedWasserstein', 'Adversary']

KERNEL_LENGTH = 9


class MapperLoss:
    """A weighted sum of differences between mapped and real series, in standardised units.

    'l1' is the paper's. It asks for the median of all series that fit an input, which is blurred; 'kernels' only asks
    that the same patterns occur as often and as strongly, at any place. 'swd' and 'gan' are unpaired: they compare
    mapped samples of the prior with real series of the same classes. Measured in benchmarks/results/fidelity_log.md."""
    WEIGHTS = {
        'l1': dict(l1=1.),
        'l1+stft': dict(l1=1., stft=1.),
        'l1+stft+kernels': dict(l1=0.1, stft=0.3, kernels=1.),
        'l1+stft+kernels+swd': dict(l1=0.1, stft=0.3, kernels=1., swd=1.),
        'l1+gan': dict(l1=1., gan=0.1),
    }

    def __init__(self,
        std:Tensor, # Deviation of each channel [c_in, 1], original units
        loss:str='l1' # One of `WEIGHTS`
    ):
        if loss not in self.WEIGHTS:
            raise ValueError(f"loss is {loss!r}, expected {' or '.join(map(repr, self.WEIGHTS))}")
        weights = self.WEIGHTS[loss]
        self.std = divisor(std)
        self.paired = {term: weight for term, weight in weights.items() if term in PAIRED}
        self.unpaired = {term: weight for term, weight in weights.items() if term in UNPAIRED}

    def __call__(self,
        x_map:Tensor, # Mapped series [bs, c_in, seq_len], original units
        x:Tensor, # The real ones they are paired with
        present:Tensor=None # Which of their values are there [bs, c_in, seq_len], bool: others are not asked for
    ) -> Tensor: # Scalar
        "The paired terms."
        if present is not None: x = torch.where(present, x, x_map.detach())
        x_map, x = self._standardised(x_map, x)
        return sum((weight * PAIRED[term](x_map, x) for term, weight in self.paired.items()), x.new_zeros(()))

    def start_unpaired(self,
        spec:SeriesSpec, # Of the training split
        device # Where series are
    ):
        "Begin a fit: unpaired terms that learn start anew."
        self.terms = {term: UNPAIRED[term](spec).to(device) for term in self.unpaired}

    def of_unpaired(self,
        x_map:Tensor, # Mapped samples of the prior [bs, c_in, seq_len], original units
        x:Tensor, # Real series of the same classes
        y:Tensor, # Class ids of both [bs]
        present:Tensor=None # Which values of the real ones are there, bool: mapped ones get the same gaps, and fillings
    ) -> Tensor: # Scalar
        "The unpaired terms."
        if present is not None: x_map = fill_gaps(with_gaps(x_map, present), x.mean((0, 2))[:, None])
        x_map, x = self._standardised(x_map, x)
        return sum((weight * self.terms[term](x_map, x, y) for term, weight in self.unpaired.items()), x.new_zeros(()))

    def _standardised(self, *series): return [(x.as_subclass(Tensor) / self.std.to(x.device)).float() for x in series]


# Paired

def stft_loss(
    x_map:Tensor, # [bs, c_in, seq_len], standardised
    x:Tensor, # The same, paired
    n_ffts:tuple=(8, 16, 32, 64) # STFT sizes; those up to half the series are taken
) -> Tensor: # Scalar
    "L1 between magnitudes at several scales. [after arXiv 1910.11480]"
    sizes = [n for n in n_ffts if n <= x.shape[-1] // 2]
    losses = (F.l1_loss(_magnitudes(x_map, n), _magnitudes(x, n)) for n in sizes)
    return sum(losses, x.new_zeros(())) / len(sizes)


def _magnitudes(x, n_fft):
    window = torch.hann_window(n_fft, device=x.device)
    s = torch.stft(x.flatten(0, 1), n_fft, n_fft // 4, window=window, normalized=True, return_complex=True)
    return torch.view_as_real(s).square().sum(-1).add(1e-8).sqrt()           # abs() has no gradient at 0


def random_kernel_loss(
    x_map:Tensor, # [bs, c_in, seq_len], standardised
    x:Tensor # The same, paired
) -> Tensor: # Scalar
    "L1 between pooled responses to fresh random kernels: a pattern may be at any place. [ours, after arXiv 1910.13051]"
    return F.l1_loss(*_kernel_responses(x_map, x))


def _kernel_responses(*series, n_kernels=16, n_dilations=3): # the same kernels for all -> of each [bs, n_features]
    x, responses = series[0], []
    longest = max(1, (x.shape[-1] - 1) / (KERNEL_LENGTH - 1))
    for u in torch.rand(n_dilations).tolist():
        dilation = int(2 ** (u * math.log2(longest)))
        kernels = torch.randn(n_kernels, x.shape[1], KERNEL_LENGTH, device=x.device)
        kernels = kernels - kernels.mean((1, 2), keepdim=True)
        kernels = kernels / kernels.norm(dim=(1, 2), keepdim=True)
        bias = torch.rand(n_kernels, device=x.device) * 2 - 1
        padding = KERNEL_LENGTH // 2 * dilation
        responses.append([_pooled(F.conv1d(v, kernels, bias, padding=padding, dilation=dilation)) for v in series])
    return [torch.cat(parts, 1) for parts in zip(*responses)]


def _pooled(h): # [bs, n_kernels, n] -> share above zero (softly), largest and root mean square response
    return torch.cat(((4 * h).sigmoid().mean(-1), h.logsumexp(-1), h.square().mean(-1).add(1e-4).sqrt()), 1)


PAIRED:dict[str, Callable] = dict(l1=F.l1_loss, stft=stft_loss, kernels=random_kernel_loss)


# Unpaired

class SlicedWasserstein(nn.Module):
    """Sliced Wasserstein distance between the kernel responses of two batches of the same classes: each feature, sorted
    over one batch, is compared with the other's. A random offset a class keeps classes apart. [after 1804.01947]"""
    def __init__(self,
        spec:SeriesSpec, # Of the training split
        spread:float=1. # Deviation of the classes' offsets
    ):
        super().__init__()
        self.n_classes, self.spread = max(1, spec.n_classes), spread

    def forward(self, x_map, x, y): # [bs, c_in, seq_len] twice, standardised; class ids [bs] -> scalar
        responses = _kernel_responses(x_map, x)
        offsets = self.spread * torch.randn(self.n_classes, responses[0].shape[1], device=x.device)[y]
        return F.l1_loss(*((r + offsets).sort(0).values for r in responses))


class Adversary(nn.Module):
    "A discriminator of patches and classes, trained by hinge loss when the mapper asks. [arXiv 1705.02894, 1802.05637]"
    def __init__(self,
        spec:SeriesSpec, # Of the training split
        dim:int=32, # Channels of the first convolution
        lr:float=1e-3 # Its learning rate
    ):
        super().__init__()
        def conv(d, out, size, stride):
            return nn.utils.parametrizations.spectral_norm(nn.Conv1d(d, out, size, stride, size // 2))
        self.body = nn.Sequential(
            conv(spec.c_in, dim, 9, 2), nn.LeakyReLU(0.2),
            conv(dim, 2 * dim, 5, 2), nn.LeakyReLU(0.2),
            conv(2 * dim, 2 * dim, 5, 2), nn.LeakyReLU(0.2))
        self.head = conv(2 * dim, 1, 1, 1)
        self.class_emb = nn.Embedding(max(1, spec.n_classes), 2 * dim)
        self.opt = torch.optim.AdamW(self.parameters(), lr=lr, betas=(0., 0.9))

    def scores(self, x, y): # [bs, c_in, seq_len], [bs] -> [bs, 1, patches]
        h = self.body(x)
        return self.head(h) + (h * self.class_emb(y)[..., None]).mean(1, keepdim=True)

    def forward(self, x_map, x, y): # [bs, c_in, seq_len] twice, standardised; class ids [bs] -> scalar
        self.opt.zero_grad()
        real, mapped = self.scores(x, y), self.scores(x_map.detach(), y)
        (F.relu(1 - real).mean() + F.relu(1 + mapped).mean()).backward()
        self.opt.step()
        return -self.scores(x_map, y).mean()


UNPAIRED:dict[str, Callable] = dict(swd=SlicedWasserstein, gan=Adversary)
