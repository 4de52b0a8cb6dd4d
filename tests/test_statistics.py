"""Differences of statistics against their definitions, scipy and numpy; sharpness."""
import numpy as np
import pytest
import torch
from made_series import noise
from scipy.stats import kurtosis, skew

from tsai_nmvq.metrics.statistics import (
    STATISTICS,
    autocorrelation_difference,
    kurtosis_difference,
    marginal_difference,
    sharpness,
    skewness_difference,
)

DIFFERENCES = [marginal_difference, autocorrelation_difference, skewness_difference, kurtosis_difference]


def test_the_tables_statistics_are_these(): assert list(STATISTICS.values()) == DIFFERENCES


@pytest.mark.parametrize('func', DIFFERENCES)
@pytest.mark.parametrize('c_in', [1, 3])
def test_equal_sets_do_not_differ_and_others_do(func, c_in):
    x = noise(40, c_in)
    assert func(x, x[::-1].copy()) == pytest.approx(0, abs=1e-9)
    assert func(x, np.exp(noise(40, c_in, seed=1)).cumsum(2)) > 0.1


@pytest.mark.parametrize('func', DIFFERENCES)
@pytest.mark.parametrize('scale, offset', [(1e-9, 0.), (1e-6, 0.), (1e5, 0.), (1., 100.)])
def test_differences_hold_in_any_unit(func, scale, offset):
    real, gen = noise(40, 2).astype(np.float64), (noise(40, 2, seed=1) ** 3).astype(np.float64)
    assert func(scale * real + offset, scale * gen + offset) == pytest.approx(func(real, gen), rel=1e-6)


@pytest.mark.parametrize('func, moment', [(skewness_difference, skew), (kurtosis_difference, kurtosis)])
def test_moments_agree_with_scipy(func, moment):
    real, gen = noise(30, 3), np.exp(noise(20, 3, seed=1))
    def of(x): return np.array([moment(x[:, c].ravel().astype(float)) for c in range(3)])
    assert func(real, gen) == pytest.approx(np.abs(of(real) - of(gen)).mean(), rel=1e-6)


@pytest.mark.parametrize('max_lag', [1, 5, 24, 64])
def test_autocorrelation_agrees_with_its_definition(max_lag):
    real, gen = noise(20, 2), noise(15, 2, seed=1).cumsum(2)
    def autocorrelation(x):
        x = x.astype(float) - x.mean((0, 2), keepdims=True, dtype=float)
        lags = [(x[:, :, :24 - k] * x[:, :, k:]).mean((0, 2)) for k in range(min(max_lag, 24))]
        return np.stack(lags, 1) / x.var((0, 2))[:, None]
    expected = np.linalg.norm(autocorrelation(real) - autocorrelation(gen), axis=1).mean()
    assert autocorrelation_difference(real, gen, max_lag) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_marginals_agree_with_numpys_histograms():
    real, gen = (x.astype(np.float64) for x in (noise(60, 2), 1.3 * noise(40, 2, seed=1))) # edges are values
    real[:, 0, 5] = 0.5 # a step without density
    differences = []
    for c in range(2):
        unit = real[:, c].max() - real[:, c].min()
        for t in range(24):
            if (c, t) == (0, 5): continue
            edges = np.linspace(real[:, c, t].min(), real[:, c, t].max(), 11) / unit
            def density(x): return np.histogram(x / unit, edges)[0] / len(x) / (edges[1] - edges[0]) # noqa: B023
            differences.append(np.abs(density(real[:, c, t]) - density(gen[:, c, t])).mean())
    assert marginal_difference(real, gen, n_bins=10) == pytest.approx(np.mean(differences), rel=1e-6)


def test_series_that_are_all_the_same_have_no_marginals(): assert np.isnan(marginal_difference(noise(1), noise()))


@pytest.mark.parametrize('func', DIFFERENCES[1:])
def test_constant_channels_give_numbers(func):
    real = noise(20, 2)
    real[:, 1] = 1000.1
    assert func(real, real) == 0 and np.isfinite(func(real, noise(20, 2)))


# Sharpness

def test_sharpness_is_the_ratio_of_energies_of_first_differences():
    x = torch.randn(20, 2, 60, dtype=torch.float64)
    assert sharpness(x, x) == 1 and sharpness(x, 0.5 * x + 3) == pytest.approx(0.25)
    channels = torch.stack((x[:, 0] * 2, x[:, 1]), 1)
    assert sharpness(x, channels) == pytest.approx((4 + 1) / 2)
    blurred = torch.nn.functional.avg_pool1d(x, 5, 1, 2)
    assert sharpness(x.cumsum(-1), x.cumsum(-1) + x) > 1.5 and sharpness(x, blurred) < 0.2


def test_sharpness_leaves_still_channels_out():
    x = torch.randn(5, 2, 30)
    x[:, 1] = 1.
    assert sharpness(x, 2 * x) == pytest.approx(4)
    assert np.isnan(sharpness(torch.ones(5, 1, 30), x[:, :1]))
