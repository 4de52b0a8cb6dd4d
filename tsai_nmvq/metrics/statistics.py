"""Differences of statistics after TSGBench [arXiv 2309.03755], and sharpness."""
import torch

from ..models.layers import channel_std, divisor, to_double
from .inputs import as_series

__all__ = ['marginal_difference', 'autocorrelation_difference', 'skewness_difference', 'kurtosis_difference',
           'STATISTICS', 'sharpness']


def marginal_difference(
    real, # Series [n, c_in, seq_len], original units
    gen, # Synthetic series
    n_bins:int=50 # Bins of each histogram
) -> float: # >= 0, 0 is best; NaN where all real series are the same and have no density
    """Mean absolute difference of the value densities at each step and channel. [arXiv 2309.03755, MDD]

    As in the benchmark, values count in units of the real range of their channel, the bins of a step span its real
    values, and synthetic values outside them fall in none. A step at which all real series agree has no density and is
    left out."""
    real, gen = (to_double(x) for x in as_series(real, gen))
    low, high = real.amin(0), real.amax(0)                                        # [c_in, seq_len]
    varies = high > low
    if not varies.any(): return float('nan')
    span = (high - low) / (high.amax(1, keepdim=True) - low.amin(1, keepdim=True))
    shares = [_histograms(x[:, varies], low[varies], high[varies], n_bins) for x in (real, gen)]
    return ((shares[0] - shares[1]).abs().sum(1) / span[varies]).mean().item()    # a bin is span / n_bins wide


def autocorrelation_difference(
    real, # Series [n, c_in, seq_len], original units
    gen, # Synthetic series
    max_lag:int=64 # Lags 0..max_lag-1, in steps; as many as there are at most
) -> float: # >= 0, 0 is best
    "Euclidean distance over lags of the mean autocorrelations, averaged over channels. [arXiv 2309.03755, ACD]"
    real, gen = (_autocorrelation(to_double(x), max_lag) for x in as_series(real, gen))
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


STATISTICS = dict(MDD=marginal_difference, ACD=autocorrelation_difference, SD=skewness_difference,
                  KD=kurtosis_difference)


def sharpness(
    real, # Series [n, c_in, seq_len], original units
    gen # Synthetic series
) -> float: # 1 is as sharp as real; below it series are blurred, above it noisy; NaN where no real series moves
    "High-frequency energy relative to real: ratio of mean squared first differences, averaged over channels that move."
    energies = [to_double(x).diff(dim=2).square().mean((0, 2)) for x in as_series(real, gen)]
    moves = energies[0] > 0
    if not moves.any(): return float('nan')
    return (energies[1][moves] / energies[0][moves]).mean().item()


def _centred(x): # [n, c_in, seq_len] -> values less the channel's mean, and the channel's variance [c_in]
    mean = x.mean((0, 2), keepdim=True)
    x = x - mean
    return x, divisor(channel_std(x.square().mean((0, 2)).sqrt(), mean.flatten())).square()


def _moment_difference(real, gen, order):
    real, gen = (_standard_moment(to_double(x), order) for x in as_series(real, gen))
    return (real - gen).abs().mean().item()


def _standard_moment(x, order): # [n, c_in, seq_len] -> [c_in]
    x, var = _centred(x)
    return x.pow(order).mean((0, 2)) / var ** (order / 2)


def _autocorrelation(x, max_lag): # [n, c_in, seq_len] -> [c_in, lags], by the Wiener-Khinchin theorem
    x, var = _centred(x)
    seq_len = x.shape[2]
    power = torch.fft.rfft(x, 2 * seq_len).abs().square().mean(0)
    products = torch.fft.irfft(power, 2 * seq_len)[:, :min(max_lag, seq_len)]
    return products / (seq_len - torch.arange(products.shape[1], device=x.device)) / var[:, None]


def _histograms(x, low, high, n_bins): # [n, columns] -> share of the values in each bin [columns, n_bins]
    columns = x.shape[1]
    bins = ((x - low) / (high - low) * n_bins).long().clamp(max=n_bins - 1)      # the last bin holds its right edge
    bins = torch.where((x >= low) & (x <= high), bins, n_bins)                   # one more for what is outside
    bins = bins + (n_bins + 1) * torch.arange(columns, device=x.device)
    counts = bins.flatten().bincount(minlength=(n_bins + 1) * columns).view(columns, -1)
    return counts[:, :n_bins] / len(x)
