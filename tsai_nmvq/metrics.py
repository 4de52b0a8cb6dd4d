"""How close synthetic series are to real ones: arrays [n, c_in, seq_len] in, numbers out, on the device of the data."""
import hashlib

import fastai.callback.schedule  # noqa: F401 - gives Learner fit_one_cycle
import numpy as np
import torch
import torch.nn.functional as F
from fastai.callback.core import TrainEvalCallback
from fastai.learner import Learner
from torch import Tensor, nn
from tsai.models.FCN import FCN

from .data import stage_dls, usable_std
from .models.layers import Standardizer
from .rng import isolated_rng

__all__ = ['RocketFeatures', 'frechet_distance', 'fid', 'conditional_fid', 'SeriesClassifier', 'fit_classifier', 'inception_score',
           'tstr', 'trtr', 'cas', 'memorization', 'nearest_distance', 'marginal_difference', 'autocorrelation_difference',
           'skewness_difference', 'kurtosis_difference', 'STATISTICS', 'sharpness']

KERNEL_LENGTHS = (7, 9, 11)
FCN_LAYERS = (64, 128, 64)          # half of tsai's widths: a quarter of the time, the same accuracy
CACHED_CLASSIFIERS = 8
CHUNK_VALUES = 2 ** 21              # intermediate values held at once


# Pieces that several metrics share

class Standardize(Standardizer):
    "A `Standardizer` that takes its statistics from series, and series from any device."
    def fit(self,
        x:Tensor # Training series [n, c_in, seq_len], original units
    ): # Itself, on the device of x
        "Take the statistics; a constant channel keeps its scale."
        flat = _double(x.detach().transpose(0, 1).flatten(1))
        mean, std = flat.mean(1, keepdim=True), flat.std(1, correction=0, keepdim=True)
        self.mean, self.std = (v.to(x.device, torch.float32) for v in (mean, usable_std(std, mean)))
        return self

    def forward(self,
        x:Tensor # Series [n, c_in, seq_len], original units
    ) -> Tensor: # Standardised, float32
        "Onto the device of the statistics, and less the mean, over the standard deviation."
        return super().forward(x.to(self.mean.device)).float()


def _series(*arrays, shape=None): # shape: (c_in, seq_len) they must have, by default that of the first
    "Series as float tensors on the device of the first. ValueError unless they are 3-D, finite and of one shape."
    series = [x.detach().as_subclass(Tensor) if isinstance(x, Tensor) else torch.tensor(np.asarray(x)) for x in arrays]
    series = [x.to(series[0].device, x.dtype if x.dtype == torch.float64 else torch.float32) for x in series]
    for x in series:
        if x.ndim != 3 or not len(x):
            raise ValueError(f"series have shape {tuple(x.shape)}, expected [n, c_in, seq_len] with n > 0; "
                             "one channel needs its axis too: x[:, None]")
        expected = tuple(shape or series[0].shape[1:])
        if tuple(x.shape[1:]) != expected:
            raise ValueError(f"series have c_in, seq_len = {tuple(x.shape[1:])}, expected {expected}; compare sets of one shape")
        bad = ~x.isfinite().flatten(1).all(1)
        if bad.any():
            raise ValueError(f"{int(bad.sum())} of {len(x)} series hold NaN or inf, expected finite values; fill or drop them first")
    return series


def _labels(y, x): # x: what is labelled
    y = y.cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if y.shape != (len(x),): raise ValueError(f"labels have shape {y.shape} for {len(x)} series; pass one class label a series [n]")
    return y


def _double(x): return (x.cpu() if x.device.type == 'mps' else x).double() # Apple's GPUs have no float64


def _chunks(x, values): return x.split(max(1, CHUNK_VALUES // values)) # values: intermediate values a row


# ROCKET features and the distances between them

class RocketFeatures(nn.Module):
    """Maxima and shares of positive values (PPV) of random convolutions, each row scaled to unit L2 norm. [arXiv 1910.13051]

    Kernels that share length, dilation (a whole number) and padding are one convolution: about 110 for 1000 kernels at
    150 steps, 390 at 1,000. Rounding dilations to fewer values makes it faster, and FID lower by 3 to 16 % (measured)."""
    def __init__(self,
        c_in:int, # Channels
        seq_len:int, # Steps, at least 7
        n_kernels:int=1000, # Kernels; each gives two features
        seed:int=0 # Seed of the kernels; the global random state is left alone
    ):
        super().__init__()
        if seq_len < min(KERNEL_LENGTHS):
            raise ValueError(f"series have {seq_len} steps, ROCKET needs at least {min(KERNEL_LENGTHS)}; pad or resample them")
        self.shape, self.standardize = (c_in, seq_len), Standardize(c_in)
        weight, bias, settings = _random_kernels(c_in, seq_len, n_kernels, torch.Generator().manual_seed(seed))
        settings, group = settings.unique(dim=0, return_inverse=True)
        order = group.argsort(stable=True)
        self.register_buffer('weight', weight[order])
        self.register_buffer('bias', bias[order])
        self.settings, self.sizes = settings.tolist(), group.bincount().tolist()   # (length, dilation, padding), kernels of each

    @classmethod
    def fit(cls,
        x_train, # Training series [n, c_in, seq_len], array or tensor, original units
        n_kernels:int=1000, # Kernels
        seed:int=0 # Seed of the kernels
    ): # `RocketFeatures` on the device of x_train
        "Kernels for series that look like these, which are standardised by the statistics of these."
        x_train, = _series(x_train)
        features = cls(*x_train.shape[1:], n_kernels, seed).to(x_train.device)
        features.standardize.fit(x_train)
        return features

    @torch.no_grad()
    def forward(self,
        x # Series [n, c_in, seq_len], array or tensor, original units
    ) -> Tensor: # Features [n, 2*n_kernels]: all maxima, then all PPV; on the device of the kernels
        "Features a chunk of series at a time, so that memory is bounded."
        x, = _series(x, shape=self.shape)
        return torch.cat([F.normalize(self._pool(self.standardize(part))) for part in _chunks(x, max(self.sizes) * self.shape[1])])

    def _pool(self, x):
        maxima, ppv = [], []
        for (length, dilation, padding), weight, bias in zip(self.settings, self.weight.split(self.sizes), self.bias.split(self.sizes)):
            out = F.conv1d(x, weight[..., :length], bias, padding=padding, dilation=dilation)
            maxima.append(out.amax(-1)), ppv.append((out > 0).float().mean(-1))
        return torch.cat(maxima + ppv, 1)


def _random_kernels(c_in, seq_len, n_kernels, generator):
    "Weights [n_kernels, c_in, 11], zero outside a kernel's length and channels; biases; (length, dilation, padding) of each."
    def uniform(*shape): return torch.rand(n_kernels, *shape, generator=generator)
    lengths = torch.tensor([length for length in KERNEL_LENGTHS if length <= seq_len])
    length = lengths[(uniform() * len(lengths)).long()]
    n_channels = torch.exp2(uniform() * (length.clamp(max=c_in) + 1).log2()).long()
    inside = (torch.arange(max(KERNEL_LENGTHS)) < length[:, None, None]) & (_ranks(uniform(c_in)) < n_channels[:, None])[..., None]
    weight = torch.randn(inside.shape, generator=generator) * inside
    weight = (weight - weight.sum(-1, keepdim=True) / length[:, None, None]) * inside
    dilation = torch.exp2(uniform() * ((seq_len - 1) / (length - 1)).log2()).long()
    padding = torch.where(uniform() < 0.5, (length - 1) * dilation // 2, 0)
    return weight, uniform() * 2 - 1, torch.stack([length, dilation, padding], 1)


def _ranks(x): return x.argsort(1).argsort(1)


def frechet_distance(
    a:Tensor, # Features [n, d], n > 1
    b:Tensor # Features [m, d], m > 1
) -> float: # >= 0; 0 for equal sets
    """‖μ₁-μ₂‖² + tr(C₁ + C₂ - 2(C₁C₂)^½) of two sets of features, in float64. [arXiv 1706.08500]

    With centred A and B, C₁ = AᵀA and C₂ = BᵀB, the trace of the root is the sum of the singular values of ABᵀ:
    a matrix of n x m, and of d x d at most, as a set with more rows than features is replaced by its R of A = QR."""
    a = _double(torch.as_tensor(a))
    b = _double(torch.as_tensor(b)).to(a.device)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features have shapes {tuple(a.shape)} and {tuple(b.shape)}, expected [n, d] and [m, d]; "
                         "use one extractor for both")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets have {len(a)} and {len(b)} rows; a covariance needs at least 2, pass more series")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("features hold NaN or inf, expected finite values; leave those rows out")
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    shift, traces = (a.mean(0) - b.mean(0)).square().sum(), root_a.square().sum() + root_b.square().sum()
    return (shift + traces - 2 * torch.linalg.matrix_norm(root_a @ root_b.T, 'nuc')).clamp_min(0).item()


def _covariance_root(x): # R with covariance RᵀR
    root = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(root, mode='r').R if len(root) > root.shape[1] else root


def fid(
    real, # Series [n, c_in, seq_len], original units; or ready features [n, d]
    gen, # The same of synthetic series
    features=None # Function series -> features; `RocketFeatures.fit(real)` by default
) -> float: # >= 0, 0 is best
    """Fréchet distance between the features of real and synthetic series. [arXiv 1706.08500, 2303.04743]

    It is biased by sample size: fewer series give a larger FID, even for two halves of one set. Compare at equal n, beside
    the floor FID(test, train) at that n. Pass `features` fitted on the training split to compare over several calls."""
    if features is None and (real.ndim, gen.ndim) != (2, 2): features = RocketFeatures.fit(real)
    return frechet_distance(*(x if x.ndim == 2 else features(x) for x in (real, gen)))


def conditional_fid(
    real, # Series [n, c_in, seq_len], original units; or ready features [n, d]
    y_real, # Their labels [n]
    gen, # Synthetic series or features
    y_gen, # Their labels
    features=None, # Function series -> features; `RocketFeatures.fit(real)` by default
    per_class:bool=False # Return {label: FID} and not the mean
) -> float|dict: # >= 0, 0 is best
    "Mean over the classes of the FID within a class; classes with fewer than two series on either side are left out. [arXiv 2501.17553]"
    y_real, y_gen = _labels(y_real, real), _labels(y_gen, gen)
    if features is None and (real.ndim, gen.ndim) != (2, 2): features = RocketFeatures.fit(real)
    real, gen = (torch.as_tensor(x) if x.ndim == 2 else features(x) for x in (real, gen))
    fids = {c.item(): frechet_distance(real[np.flatnonzero(y_real == c)], gen[np.flatnonzero(y_gen == c)]) for c in np.unique(y_real)
            if min((y_real == c).sum(), (y_gen == c).sum()) > 1}
    if not fids:
        raise ValueError(f"no class has two series on both sides, real {_counts(y_real)} and synthetic {_counts(y_gen)}; "
                         "pass more series a class, or use fid")
    return fids if per_class else float(np.mean(list(fids.values())))


def _counts(y): return dict(zip(*(v.tolist() for v in np.unique(y, return_counts=True))))


# A classifier and the scores that need one

class SeriesClassifier:
    "p(y|x) of a trained network, with the statistics and the labels of its training split."
    def __init__(self,
        model:nn.Module, # Standardised series [n, c_in, seq_len] -> logits [n, n_classes]
        standardize:Standardize, # Statistics of the training split
        shape:tuple, # (c_in, seq_len)
        vocab:np.ndarray # Labels [n_classes], as in the data
    ):
        self.model, self.standardize, self.shape, self.vocab = model.eval().requires_grad_(False), standardize, shape, vocab

    def predict_proba(self,
        x # Series [n, c_in, seq_len], array or tensor, original units
    ) -> Tensor: # [n, n_classes], rows sum to 1, on the device of the classifier
        "Class probabilities, a chunk of series at a time."
        x, = _series(x, shape=self.shape)
        return torch.cat([self.model(self.standardize(part)).softmax(1) for part in _chunks(x, max(FCN_LAYERS) * self.shape[1])])

    def predict(self,
        x # Series [n, c_in, seq_len], array or tensor, original units
    ) -> np.ndarray: # Labels [n], as in the data
        "The most probable label of each series."
        return self.vocab[self.predict_proba(x).argmax(1).cpu().numpy()]


_classifiers = {} # Content hash -> classifier, most recently used last: IS, TSTR and TRTR of one table train it once


def fit_classifier(
    X, # Series [n, c_in, seq_len], array or tensor, original units
    y, # Labels [n]
    n_steps:int=400, # Batches to train on; a pass over the data where that takes more
    bs:int=32, # Batch size
    lr:float=1e-2, # Highest learning rate of the one-cycle schedule
    seed:int=0 # Seed of weights and batches; the global random states are left alone
) -> SeriesClassifier: # The same object for the same data and settings (the last few are kept)
    "Train tsai's FCN, at half its widths, without printing anything."
    x, = _series(X)
    y = _labels(y, x)
    key = hashlib.sha256(x.cpu().numpy().tobytes() + repr((tuple(x.shape), x.device, y.tolist(), n_steps, bs, lr, seed)).encode()).digest()
    _classifiers[key] = _classifiers.pop(key, None) or _train_classifier(x, y, n_steps, bs, lr, seed)
    if len(_classifiers) > CACHED_CLASSIFIERS: del _classifiers[next(iter(_classifiers))]
    return _classifiers[key]


def _train_classifier(x, y, n_steps, bs, lr, seed):
    vocab, ids = np.unique(y, return_inverse=True)
    ids, standardize = torch.as_tensor(ids, device=x.device), Standardize(x.shape[1]).fit(x)
    standardised = standardize(x)
    def rows(idx): return standardised[idx], ids[idx]
    with isolated_rng(seed, x.device):
        model = FCN(x.shape[1], len(vocab), layers=FCN_LAYERS).to(x.device)
        dls = stage_dls(rows, len(x), bs=bs, min_steps=n_steps, device=x.device) # whole batches: batch norm needs more than a row
        learn = Learner(dls, model, loss_func=F.cross_entropy, default_cbs=False, cbs=TrainEvalCallback) # no recorder, no progress bar
        learn.fit_one_cycle(1, lr)
    return SeriesClassifier(model, standardize, tuple(x.shape[1:]), vocab)


def inception_score(
    gen, # Synthetic series [n, c_in, seq_len], original units; or class probabilities [n, n_classes]
    classifier:SeriesClassifier=None # From `fit_classifier` on real data; not needed for probabilities
) -> float: # 1 (no information) to n_classes (sure of each, classes even)
    "exp E KL(p(y|x) ‖ p(y)): high where a classifier is sure of each series, and the series cover all classes. [arXiv 1606.03498]"
    if gen.ndim != 2 and classifier is None:
        raise ValueError(f"gen has shape {tuple(gen.shape)} and there is no classifier; "
                         "pass fit_classifier(X, y), or probabilities [n, n_classes]")
    p = _double(torch.as_tensor(gen) if gen.ndim == 2 else classifier.predict_proba(gen))
    if not len(p) or not (p >= 0).all() or not torch.allclose(p.sum(1), p.new_ones(len(p)), atol=1e-4):
        raise ValueError("rows of probabilities must be at least one, not negative and sum to 1; pass them after softmax")
    return (torch.xlogy(p, p) - torch.xlogy(p, p.mean(0))).sum(1).mean().exp().item()


def tstr(
    gen, # Synthetic series [n, c_in, seq_len], original units
    y_gen, # Their labels [n]
    real_test, # Real series that the generator has not seen [m, c_in, seq_len]
    y_test, # Their labels [m]
    seed:int=0 # Seed of the classifier
) -> float: # Accuracy, 0..1
    "Train on synthetic, test on real: accuracy of a classifier that knows synthetic series alone. [arXiv 1706.02633; as CAS, 1905.10887]"
    gen, real_test = _series(gen, real_test)
    y_test = _labels(y_test, real_test)
    return float((fit_classifier(gen, y_gen, seed=seed).predict(real_test) == y_test).mean())


cas = tstr


def trtr(
    real, # Real series of the training split [n, c_in, seq_len], original units
    y_real, # Their labels [n]
    real_test, # Real series of the test split [m, c_in, seq_len]
    y_test, # Their labels [m]
    seed:int=0 # Seed of the classifier
) -> float: # Accuracy, 0..1
    "Train on real, test on real: the same classifier's accuracy that `tstr` is measured against."
    return tstr(real, y_real, real_test, y_test, seed)


def memorization(
    train, # Series the generator was trained on [n, c_in, seq_len], original units
    test, # Real series it has not seen
    gen # Synthetic series
) -> float: # 0 copies the training set, about 1 is as new as fresh data
    "Mean distance (Euclidean, standardised) of synthetic series to their nearest training series, relative to that of test series."
    train, test, gen = _series(train, test, gen)
    standardize = Standardize(train.shape[1]).fit(train)
    train, test, gen = (standardize(x).flatten(1) for x in (train, test, gen))
    fresh = nearest_distance(test, train).mean()
    if fresh == 0: raise ValueError("every test series is in the training set, so there is no scale for distances; pass series held back")
    return (nearest_distance(gen, train).mean() / fresh).item()


def nearest_distance(
    x:Tensor, # Rows [n, d]
    others:Tensor # Rows [m, d]
) -> Tensor: # [n]
    "Euclidean distance of each row to the nearest of the others; the distance itself without the rounding of the matrix product."
    nearest = torch.cat([torch.cdist(part, others).argmin(1) for part in _chunks(x, len(others))])
    return (x - others[nearest]).norm(dim=1)


# Differences of statistics, after TSGBench

def marginal_difference(
    real, # Series [n, c_in, seq_len], original units
    gen, # Synthetic series
    n_bins:int=50 # Bins of each histogram
) -> float: # >= 0, 0 is best
    """Mean absolute difference of the value densities at each step and channel. [arXiv 2309.03755, MDD]

    As in the benchmark, values count in units of the real range of their channel, the bins of a step span its real values, and
    synthetic values outside them fall in none. A step at which all real series agree has no density and is left out."""
    real, gen = (_double(x) for x in _series(real, gen))
    low, high = real.amin(0), real.amax(0)                                        # [c_in, seq_len]
    varies = high > low
    if not varies.any(): raise ValueError("all real series are the same, so they have no density; pass series that differ")
    span = (high - low) / (high.amax(1, keepdim=True) - low.amin(1, keepdim=True))
    shares = [_histograms(x[:, varies], low[varies], high[varies], n_bins) for x in (real, gen)]
    return ((shares[0] - shares[1]).abs().sum(1) / span[varies]).mean().item()    # a bin is span / n_bins wide


def autocorrelation_difference(
    real, # Series [n, c_in, seq_len], original units
    gen, # Synthetic series
    max_lag:int=64 # Lags 0..max_lag-1, in steps; as many as there are at most
) -> float: # >= 0, 0 is best
    "Euclidean distance over lags of the mean autocorrelations, averaged over channels. [arXiv 2309.03755, ACD]"
    real, gen = (_autocorrelation(_double(x), max_lag) for x in _series(real, gen))
    return (real - gen).norm(dim=1).mean().item()


def skewness_difference(
    real, # Series [n, c_in, seq_len], original units
    gen # Synthetic series
) -> float: # >= 0, 0 is best
    "Absolute difference of the skewness of all values of a channel, averaged over channels. [arXiv 2309.03755, SD]"
    return _moment_difference(real, gen, 3)


def kurtosis_difference(
    real, # Series [n, c_in, seq_len], original units
    gen # Synthetic series
) -> float: # >= 0, 0 is best
    "Absolute difference of the kurtosis of all values of a channel, averaged over channels. [arXiv 2309.03755, KD]"
    return _moment_difference(real, gen, 4)


STATISTICS = dict(MDD=marginal_difference, ACD=autocorrelation_difference, SD=skewness_difference, KD=kurtosis_difference)


def sharpness(
    real, # Series [n, c_in, seq_len], original units
    gen # Synthetic series
) -> float: # 1 is as sharp as real; below it series are blurred, above it noisy
    "High-frequency energy relative to real: ratio of the mean squares of first differences, averaged over channels that move."
    energies = [_double(x).diff(dim=2).square().mean((0, 2)) for x in _series(real, gen)]
    moves = energies[0] > 0
    if not moves.any(): raise ValueError("all real series are constant, so they have no high-frequency energy; pass series that vary")
    return (energies[1][moves] / energies[0][moves]).mean().item()


def _centred(x): # [n, c_in, seq_len] -> values less the channel's mean, and the channel's variance [c_in]
    mean = x.mean((0, 2), keepdim=True)
    x = x - mean
    return x, usable_std(x.square().mean((0, 2)).sqrt(), mean.flatten()).square()


def _moment_difference(real, gen, order):
    real, gen = (_standard_moment(_double(x), order) for x in _series(real, gen))
    return (real - gen).abs().mean().item()


def _standard_moment(x, order): # [n, c_in, seq_len] -> [c_in]
    x, var = _centred(x)
    return x.pow(order).mean((0, 2)) / var ** (order / 2)


def _autocorrelation(x, max_lag): # [n, c_in, seq_len] -> [c_in, lags], by the Wiener-Khinchin theorem
    x, var = _centred(x)
    seq_len = x.shape[2]
    products = torch.fft.irfft(torch.fft.rfft(x, 2 * seq_len).abs().square().mean(0), 2 * seq_len)[:, :min(max_lag, seq_len)]
    return products / (seq_len - torch.arange(products.shape[1], device=x.device)) / var[:, None]


def _histograms(x, low, high, n_bins): # [n, columns] -> share of the values in each bin [columns, n_bins]
    bins = ((x - low) / (high - low) * n_bins).long().clamp(max=n_bins - 1)                     # the last bin holds its right edge
    bins = torch.where((x >= low) & (x <= high), bins, n_bins) + (n_bins + 1) * torch.arange(x.shape[1], device=x.device)
    return bins.flatten().bincount(minlength=(n_bins + 1) * x.shape[1]).view(x.shape[1], -1)[:, :n_bins] / len(x)
