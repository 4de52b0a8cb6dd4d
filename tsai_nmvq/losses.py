"""What the mapper is asked for: differences between mapped series and their own real ones, and between whole batches of both."""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['MapperLoss']


class MapperLoss:
    """A weighted sum of differences between mapped and real series, in standardised units.

    'l1' is the paper's. It asks for the median of all series that fit an input, which is blurred: on 2000 series of FordA a mapper
    trained with L1 and 'stft' keeps 0.54 of the real energy of first differences, with 'texture' too 0.86 (FID 0.0063 and 0.0045,
    before the mapper 0.0074). 'texture' only asks that the same patterns occur as often and as strongly, at any place.
    'match' and 'gan' are unpaired: they compare mapped samples of the prior with real series of the same classes."""
    WEIGHTS = {'l1': dict(l1=1.), 'l1+stft': dict(l1=1., stft=1.), 'l1+stft+texture': dict(l1=0.1, stft=0.3, texture=1.),
               'l1+stft+texture+match': dict(l1=0.1, stft=0.3, texture=1., match=1.), 'l1+gan': dict(l1=1., gan=0.1)}

    def __init__(self,
        std, # Deviation of each channel [c_in, 1], original units
        loss:str='l1' # One of `WEIGHTS`
    ):
        if loss not in self.WEIGHTS: raise ValueError(f"loss is {loss!r}, expected {' or '.join(map(repr, self.WEIGHTS))}")
        self.std = std
        self.paired, self.unpaired = ({k: w for k, w in self.WEIGHTS[loss].items() if k in terms} for terms in (PAIRED, UNPAIRED))

    def __call__(self, x_map, x): # [bs, c_in, seq_len] twice, original units -> scalar
        x_map, x = self._standardised(x_map, x)
        return sum(weight * PAIRED[term](x_map, x) for term, weight in self.paired.items())

    def start(self, spec, device): # a new fit: terms that learn start anew
        self.terms = {term: UNPAIRED[term](spec).to(device) for term in self.unpaired}

    def of_unpaired(self, x_map, x, y): # [bs, c_in, seq_len] twice, original units, and the classes of both [bs] -> scalar
        x_map, x = self._standardised(x_map, x)
        return sum(weight * self.terms[term](x_map, x, y) for term, weight in self.unpaired.items())

    def _standardised(self, *series): return ((x.as_subclass(Tensor) / self.std.to(x.device)).float() for x in series)


# Paired

def stft_loss(x_map, x, n_ffts=(8, 16, 32, 64)): # L1 between magnitudes, at every scale up to half the series
    sizes = [n for n in n_ffts if n <= x.shape[-1] // 2]
    return sum(F.l1_loss(_magnitudes(x_map, n), _magnitudes(x, n)) for n in sizes) / len(sizes)


def _magnitudes(x, n_fft):
    window = torch.hann_window(n_fft, device=x.device)
    s = torch.stft(x.flatten(0, 1), n_fft, n_fft // 4, window=window, normalized=True, return_complex=True)
    return torch.view_as_real(s).square().sum(-1).add(1e-8).sqrt()            # abs() has no gradient at 0


def texture_loss(x_map, x): # L1 between the textures of each pair
    return F.l1_loss(*_textures(x_map, x))


def _textures(*series, n_kernels=16, length=9, n_dilations=3): # pooled responses to fresh random kernels, of each [bs, n_features]
    x, out = series[0], []
    for u in torch.rand(n_dilations).tolist():
        dilation = int(2 ** (u * math.log2(max(1, (x.shape[-1] - 1) / (length - 1)))))
        kernels = torch.randn(n_kernels, x.shape[1], length, device=x.device)
        kernels = kernels - kernels.mean((1, 2), keepdim=True)
        kernels, bias = kernels / kernels.norm(dim=(1, 2), keepdim=True), torch.rand(n_kernels, device=x.device) * 2 - 1
        out.append([_pooled(F.conv1d(v, kernels, bias, padding=length // 2 * dilation, dilation=dilation)) for v in series])
    return [torch.cat(parts, 1) for parts in zip(*out)]


def _pooled(h): # [bs, n_kernels, n] -> share above zero (softly), largest and root mean square response
    return torch.cat(((4 * h).sigmoid().mean(-1), h.logsumexp(-1), h.square().mean(-1).add(1e-4).sqrt()), 1)


PAIRED = dict(l1=F.l1_loss, stft=stft_loss, texture=texture_loss)


# Unpaired

class Matching(nn.Module):
    """Sliced Wasserstein distance between the textures of two batches of the same classes: each feature, sorted over one batch, is
    compared with the other's. A random offset a class keeps classes apart. [after arXiv 1804.01947]"""
    def __init__(self, spec, spread=1.):
        super().__init__()
        self.n_classes, self.spread = max(1, spec.n_classes), spread

    def forward(self, x_map, x, y):
        textures = _textures(x_map, x)
        offsets = self.spread * torch.randn(self.n_classes, textures[0].shape[1], device=x.device)[y]
        return F.l1_loss(*((t + offsets).sort(0).values for t in textures))


class Adversary(nn.Module):
    "A discriminator of patches and classes, trained by hinge loss whenever the mapper asks for its own. [arXiv 1705.02894, 1802.05637]"
    def __init__(self, spec, dim=32, lr=1e-3):
        super().__init__()
        def conv(d, out, size, stride): return nn.utils.parametrizations.spectral_norm(nn.Conv1d(d, out, size, stride, size // 2))
        self.body = nn.Sequential(conv(spec.c_in, dim, 9, 2), nn.LeakyReLU(0.2), conv(dim, 2 * dim, 5, 2), nn.LeakyReLU(0.2),
                                  conv(2 * dim, 2 * dim, 5, 2), nn.LeakyReLU(0.2))
        self.head, self.class_emb = conv(2 * dim, 1, 1, 1), nn.Embedding(max(1, spec.n_classes), 2 * dim)
        self.opt = torch.optim.AdamW(self.parameters(), lr=lr, betas=(0., 0.9))

    def scores(self, x, y): # [bs, c_in, seq_len], [bs] -> [bs, 1, patches]
        h = self.body(x)
        return self.head(h) + (h * self.class_emb(y)[..., None]).mean(1, keepdim=True)

    def forward(self, x_map, x, y):
        self.opt.zero_grad()
        (F.relu(1 - self.scores(x, y)).mean() + F.relu(1 + self.scores(x_map.detach(), y)).mean()).backward()
        self.opt.step()
        return -self.scores(x_map, y).mean()


UNPAIRED = dict(match=Matching, gan=Adversary)
