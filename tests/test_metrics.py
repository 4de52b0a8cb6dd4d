"""Metrics against closed forms and independent computations."""
import random
from functools import partial

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import kurtosis, skew

from tsai_nmvq import metrics
from tsai_nmvq.metrics import (
    RocketFeatures,
    autocorrelation_difference,
    cas,
    conditional_fid,
    fid,
    fit_classifier,
    frechet_distance,
    inception_score,
    kurtosis_difference,
    marginal_difference,
    memorization,
    sharpness,
    skewness_difference,
    trtr,
    tstr,
)

DIFFERENCES = [marginal_difference, autocorrelation_difference, skewness_difference, kurtosis_difference]


def noise(n=40, c_in=1, seq_len=24, seed=0): return np.random.default_rng(seed).standard_normal((n, c_in, seq_len)).astype(np.float32)


def easy(n, seed, c_in=1):
    "Three classes that a glance tells apart: slow, fast and no waves, at random phases."
    rng, y = np.random.default_rng(seed), np.arange(n) % 3
    t, phase = np.linspace(0, 2 * np.pi, 24), rng.uniform(0, 2 * np.pi, (n, c_in, 1))
    x = np.array([1, 5, 0])[y][:, None, None] * t + phase
    x = 5 + 2 * np.sin(x) * (y != 2)[:, None, None] + 0.3 * rng.standard_normal(x.shape)
    return x.astype(np.float32), np.array(['a', 'b', 'c'])[y]


def states(): return random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.get_rng_state().tolist()


@pytest.fixture
def quick(monkeypatch):
    "Classifiers of the scores trained for a few steps, none from another test."
    monkeypatch.setattr(metrics, '_classifiers', {})
    monkeypatch.setattr(metrics, 'fit_classifier', partial(fit_classifier, n_steps=60))


# Fréchet distance

def gaussian(n, mean, root, seed=0):
    "Vectors [n, d] with exactly this mean and the covariance rootᵀ·root."
    z = np.random.default_rng(seed).standard_normal((n, len(root)))
    z = np.linalg.qr(z - z.mean(0))[0] * (n - 1) ** 0.5
    return z @ root + mean


@pytest.mark.parametrize('n, m', [(50, 50), (50, 300)])
def test_distance_of_gaussians_is_the_closed_form(n, m):
    rng = np.random.default_rng(1)
    std_a, std_b, mean_a, mean_b = rng.uniform(0.1, 3, (4, 6))
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0] # commuting covariances: ‖μ₁-μ₂‖² + ∑(σ₁-σ₂)²
    a, b = gaussian(n, mean_a, np.diag(std_a) @ rotation), gaussian(m, mean_b, np.diag(std_b) @ rotation, seed=2)
    assert frechet_distance(a, b) == pytest.approx(((mean_a - mean_b) ** 2).sum() + ((std_a - std_b) ** 2).sum(), rel=1e-9)


@pytest.mark.parametrize('n, m', [(200, 150), (12, 15), (12, 200), (21, 20)])
def test_distance_agrees_with_scipys_square_root(n, m):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((k, 20)) @ rng.standard_normal((20, 20)) for k in (n, m))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = sqrtm(cov_a) # of the symmetric product: scipy's root of a singular, lopsided one is inexact
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(root @ cov_b @ root)).real
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('n, m, d', [(30, 30, 5), (30, 50, 100), (200, 20, 40)])
def test_distance_is_symmetric_and_zero_for_equal_sets(n, m, d):
    a, b = torch.randn(n, d), 1.3 * torch.randn(m, d) + 0.2
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9) and frechet_distance(a, b) > 0.1
    assert frechet_distance(a, a[torch.randperm(n)]) == pytest.approx(0, abs=1e-6 * d)


@pytest.mark.parametrize('n, d', [(30, 8), (8, 30)])
def test_distance_does_not_see_rotations_shifts_or_order_and_grows_with_the_square(n, d):
    a, b = torch.randn(n, d, dtype=torch.float64), torch.randn(n, d, dtype=torch.float64) * 2
    expected, rotation = frechet_distance(a, b), torch.linalg.qr(torch.randn(d, d, dtype=torch.float64)).Q
    assert frechet_distance(a @ rotation + 5, b[torch.randperm(n)] @ rotation + 5) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * expected, rel=1e-9)
    shift = torch.arange(d) / d
    assert frechet_distance(a, a + shift) == pytest.approx(shift.square().sum().item(), rel=1e-6)


def test_distance_of_1024_series_at_2000_features_is_right():
    "Covariances C and s²C: ‖μ₁-μ₂‖² + (1-s)² tr C."
    a = np.random.default_rng(0).standard_normal((1024, 2000)).astype(np.float32)
    b = np.random.default_rng(1).permutation(1.5 * a + 0.01)
    expected = ((a.mean(0, dtype=float) - b.mean(0, dtype=float)) ** 2).sum() + 0.25 * a.var(0, ddof=1, dtype=float).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('make', [np.asarray, torch.as_tensor, np.float32, lambda x: torch.as_tensor(x).requires_grad_()])
def test_features_of_any_kind_give_a_float(make):
    a, b = np.random.default_rng(0).standard_normal((2, 20, 5))
    d = frechet_distance(make(a), make(b))
    assert type(d) is float and d == pytest.approx(frechet_distance(a, b), rel=1e-5)


@pytest.mark.parametrize('a, b, what', [
    (torch.zeros(5, 3), torch.zeros(5, 4), 'features have shapes .*one extractor for both'),
    (torch.zeros(5), torch.zeros(5), r'features have shapes .*expected \[n, d\]'),
    (torch.zeros(1, 3), torch.zeros(5, 3), 'sets have 1 and 5 rows; a covariance needs at least 2'),
    (torch.tensor([[0.], [torch.nan]]), torch.zeros(5, 1), 'features hold NaN or inf')])
def test_distance_refuses_what_has_none(a, b, what):
    with pytest.raises(ValueError, match=what): frechet_distance(a, b)


# ROCKET features

@pytest.mark.parametrize('c_in, seq_len', [(1, 7), (1, 8), (1, 24), (3, 51)])
def test_rocket_is_maxima_and_shares_of_positive_values_of_its_convolutions(c_in, seq_len):
    "One kernel and one step at a time, in plain numpy."
    features, x = RocketFeatures(c_in, seq_len, n_kernels=12, seed=3), noise(3, c_in, seq_len)
    kernels = [s for s, size in zip(features.settings, features.sizes) for _ in range(size)]
    expected = np.zeros((3, 24))
    for k, (length, dilation, padding) in enumerate(kernels):
        weight, bias = features.weight[k, :, :length].double().numpy(), features.bias[k].item()
        padded = np.pad(x.astype(float), ((0, 0), (0, 0), (padding, padding)))
        out = np.stack([(padded[:, :, i:i + dilation * length:dilation] * weight).sum((1, 2)) + bias
                        for i in range(padded.shape[2] - dilation * (length - 1))], 1)
        expected[:, k], expected[:, 12 + k] = out.max(1), (out > 0).mean(1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features(x).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize('c_in, seq_len', [(1, 7), (1, 150), (6, 100)])
def test_rocket_kernels_are_as_published(c_in, seq_len):
    features = RocketFeatures(c_in, seq_len, n_kernels=500)
    assert sum(features.sizes) == len(features.weight) == 500
    for (length, dilation, padding), weight in zip(features.settings, features.weight.split(features.sizes)):
        assert length in (7, 9, 11) and dilation >= 1 and dilation * (length - 1) < seq_len and padding in (0, dilation * (length - 1) // 2)
        assert not weight[..., length:].any()
        torch.testing.assert_close(weight.sum(-1), torch.zeros(weight.shape[:2]), atol=1e-5, rtol=0)
    channels = (features.weight != 0).any(-1).sum(1)
    assert 1 <= channels.min() and channels.max() <= c_in and (c_in == 1 or channels.min() < channels.max())
    assert (-1 <= features.bias).all() and (features.bias <= 1).all()


def test_rocket_rows_have_unit_norm_and_do_not_depend_on_chunks(monkeypatch):
    x, features = noise(50, 2), RocketFeatures.fit(noise(50, 2), 100)
    expected = features(x)
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(50))
    monkeypatch.setattr(metrics, 'CHUNK_VALUES', 1)
    torch.testing.assert_close(features(x), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(features(x[7:8]), expected[7:8], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('scale, offset', [(1e-9, 0.), (1e-6, 0.), (1e6, 0.), (10., 1000.)])
def test_rocket_features_hold_in_any_unit(scale, offset):
    x = noise(30, 2).astype(np.float64)
    other = scale * x + offset
    torch.testing.assert_close(RocketFeatures.fit(other, 100)(other), RocketFeatures.fit(x, 100)(x), atol=1e-5, rtol=0)


def test_rocket_leaves_a_constant_channel_as_it_is():
    x = noise(200, 2)
    x[:, 1] = 1000.1
    standardize = RocketFeatures.fit(x, 10).standardize
    assert standardize.std[1] == 1 and standardize(torch.as_tensor(x))[:, 1].abs().max() == 0
    assert standardize(torch.as_tensor(x))[:, 0].std() == pytest.approx(1, rel=1e-3)


def test_rocket_seed_chooses_the_kernels():
    x = noise()
    a, b, c = (RocketFeatures.fit(x, 50, seed=seed)(x) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.allclose(a, c, atol=1e-2)


def test_rocket_refuses_short_series():
    with pytest.raises(ValueError, match='series have 6 steps, ROCKET needs at least 7'): RocketFeatures(1, 6)


# FID

def test_fid_of_series_is_the_distance_of_their_features():
    real, gen = noise(40), 0.8 * noise(30, seed=1)
    features = RocketFeatures.fit(real)
    expected = frechet_distance(features(real), features(gen))
    assert expected > 1e-3
    assert fid(real, gen) == fid(real, gen, features) == fid(features(real), features(gen)) == expected
    assert fid(real, gen, lambda x: torch.as_tensor(x).flatten(1)) == pytest.approx(frechet_distance(real[:, 0], gen[:, 0]))


def test_fid_is_zero_for_equal_sets_symmetric_and_grows_with_the_change():
    real, features = noise(40), RocketFeatures.fit(noise(40))
    assert fid(real, real[::-1].copy()) == pytest.approx(0, abs=1e-6)
    gen = 1.5 * noise(40, seed=1) + 0.2
    assert fid(real, gen, features) == pytest.approx(fid(gen, real, features), rel=1e-6)
    fids = [fid(real, real + shift, features) for shift in (0., 0.1, 0.3, 1.)]
    assert fids == sorted(fids) and fids[1] > 1e-4


def test_fid_does_not_depend_on_chunks(monkeypatch):
    real, gen = noise(40), noise(30, seed=1)
    expected = fid(real, gen)
    monkeypatch.setattr(metrics, 'CHUNK_VALUES', 1)
    assert fid(real, gen) == pytest.approx(expected, rel=1e-4)


def test_conditional_fid_is_the_mean_over_classes():
    (real, y_real), (gen, y_gen) = easy(60, 0), easy(45, 1)
    features = RocketFeatures.fit(real)
    expected = {c: fid(real[y_real == c], gen[y_gen == c], features) for c in 'abc'}
    mean = pytest.approx(np.mean(list(expected.values())), rel=1e-6)
    per_class = conditional_fid(real, y_real, gen, y_gen, per_class=True)
    assert per_class == pytest.approx(expected, rel=1e-6) and [type(c) for c in per_class] == [str] * 3
    assert conditional_fid(real, y_real, gen, y_gen) == mean
    assert conditional_fid(features(real), list(y_real), features(gen), list(y_gen)) == mean
    ids = [torch.as_tensor(np.unique(y, return_inverse=True)[1]) for y in (y_real, y_gen)]
    assert conditional_fid(torch.as_tensor(real), ids[0], torch.as_tensor(gen), ids[1]) == mean


def test_labels_that_have_nothing_in_common_are_refused():
    real, y = easy(30, 0)
    with pytest.raises(ValueError, match="no class has two series on both sides, real {'a': 10"):
        conditional_fid(real, y, real, [0, 1, 2] * 10)


def test_conditional_fid_sees_swapped_labels_where_fid_cannot():
    (real, y_real), (gen, y_gen) = easy(60, 0), easy(60, 1)
    swapped = np.array(['b', 'c', 'a'])[np.unique(y_gen, return_inverse=True)[1]]
    assert conditional_fid(real, y_real, gen, swapped) > 5 * conditional_fid(real, y_real, gen, y_gen)


def test_conditional_fid_is_zero_for_equal_sets():
    real, y = easy(30, 0)
    assert conditional_fid(real, y, real, y) == pytest.approx(0, abs=1e-6)


def test_classes_with_one_series_are_left_out():
    real, y = easy(30, 0)
    y_gen = np.array(['a'] * 29 + ['b'])
    assert list(conditional_fid(real, y, real, y_gen, per_class=True)) == ['a']
    with pytest.raises(ValueError, match='pass more series a class, or use fid'): conditional_fid(real, y, real[:1], y[:1])
    with pytest.raises(ValueError, match=r'labels have shape \(29,\) for 30 series'): conditional_fid(real, y[1:], real, y)


# Classifier, IS, TSTR

@pytest.mark.parametrize('p, expected', [(np.eye(4)[[0] * 8], 1.), (np.eye(4)[[0, 1, 2, 3] * 5], 4.), (np.eye(4)[[0, 1] * 5], 2.),
                                         (np.full((7, 4), 0.25), 1.), (np.eye(1)[[0] * 3], 1.)])
@pytest.mark.parametrize('make', [np.asarray, torch.as_tensor, lambda p: torch.as_tensor(p).float()])
def test_inception_score_is_one_for_one_class_and_n_classes_for_even_ones(p, expected, make):
    assert inception_score(make(p)) == pytest.approx(expected, rel=1e-9)


def test_inception_score_is_the_exponential_of_the_information():
    p = np.random.default_rng(0).dirichlet([0.3] * 5, 200)
    entropy = lambda q: -(q * np.log(q)).sum(-1) # noqa: E731
    assert inception_score(p) == pytest.approx(np.exp(entropy(p.mean(0)) - entropy(p).mean()), rel=1e-9)


@pytest.mark.parametrize('p', [np.zeros((0, 3)), np.array([[0.5, 0.6]]), np.array([[1.5, -0.5]]), np.array([[np.nan, 1.]])])
def test_inception_score_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match='rows of probabilities must'): inception_score(p)


def test_inception_score_of_series_needs_a_classifier():
    with pytest.raises(ValueError, match='there is no classifier; pass fit_classifier'): inception_score(noise())


@pytest.fixture(scope='module')
def classifier():
    torch.manual_seed(0)
    return fit_classifier(*easy(60, 0), n_steps=60)


def test_classifier_learns_an_easy_set_and_answers_with_its_labels(classifier):
    x, y = easy(90, 1)
    p = classifier.predict_proba(x)
    torch.testing.assert_close(p.sum(1), torch.ones(90))
    assert (classifier.predict(x) == y).mean() > 0.95 and classifier.predict(x).dtype == y.dtype
    assert inception_score(x, classifier) > 2.5 and inception_score(x[y == 'b'], classifier) < 1.2
    assert inception_score(x, classifier) == pytest.approx(inception_score(p), rel=1e-6)


def test_predictions_do_not_depend_on_chunks(classifier, monkeypatch):
    x, _ = easy(30, 1)
    p = classifier.predict_proba(x)
    monkeypatch.setattr(metrics, 'CHUNK_VALUES', 1)
    torch.testing.assert_close(classifier.predict_proba(x), p, atol=1e-5, rtol=1e-4)


def test_same_data_and_settings_train_once_and_others_again(quick):
    (x, y), few = easy(12, 0), dict(n_steps=2)
    first = fit_classifier(x, y, **few)
    assert fit_classifier(x.copy(), list(y), **few) is first and fit_classifier(torch.as_tensor(x), y, **few) is first
    others = [fit_classifier(x, y, n_steps=3), fit_classifier(x, y, seed=1, **few), fit_classifier(x + 1, y, **few),
              fit_classifier(x, y[::-1].copy(), **few), fit_classifier(x[:, :, :12], y, **few)]
    assert len({id(c) for c in (first, *others)}) == 6
    for seed in range(10, 30): fit_classifier(x, y, seed=seed, n_steps=1)
    assert len(metrics._classifiers) == metrics.CACHED_CLASSIFIERS
    again = fit_classifier(x, y, **few)
    assert again is not first and torch.equal(again.predict_proba(x), first.predict_proba(x))


@pytest.mark.parametrize('n, names', [(1, 'a'), (5, 'a'), (3, 'abc')])
def test_tiny_sets_train_a_classifier(quick, n, names):
    y = np.array([names[i % len(names)] for i in range(n)])
    assert set(fit_classifier(noise(n), y, n_steps=2).predict(noise(4))) <= set(names)


def test_training_on_synthetic_series_is_measured_beside_real_ones(quick):
    (real, y), (gen, y_gen), (test, y_test) = easy(60, 0), easy(60, 1), easy(90, 2)
    assert tstr(gen, y_gen, test, y_test) > 0.95 and trtr(real, y, test, y_test) > 0.95
    assert cas is tstr and tstr(real, y, test, y_test) == trtr(real, y, test, y_test)


def test_bad_synthetic_labels_or_series_are_seen_on_real_data(quick):
    (gen, y_gen), (test, y_test) = easy(60, 1), easy(90, 2)
    swapped = np.array(['b', 'c', 'a'])[np.unique(y_gen, return_inverse=True)[1]]
    assert tstr(gen, swapped, test, y_test) < 0.1
    assert tstr(noise(60), y_gen, test, y_test) < 0.75


# Memorization

def test_copies_are_memorized_and_fresh_series_are_not():
    train, test, fresh = noise(100), noise(100, seed=1), noise(100, seed=2)
    assert memorization(train, test, train[:30]) == 0
    assert memorization(train, test, fresh) == pytest.approx(1, abs=0.05)
    scores = [memorization(train, test, train + s * noise(100, seed=3)) for s in (0.01, 0.1, 0.5)]
    assert 0 < scores[0] < scores[1] < scores[2] < 1 < memorization(train, test, 3 * fresh)


def test_memorization_is_the_ratio_of_nearest_distances():
    train, test, gen = noise(30, 2), noise(20, 2, seed=1), 1.2 * noise(25, 2, seed=2)
    std = train.std((0, 2), keepdims=True)
    def nearest(x): return np.sqrt((((x[:, None] - train[None]) / std) ** 2).sum((2, 3))).min(1).mean()
    assert memorization(train, test, gen) == pytest.approx(nearest(gen) / nearest(test), rel=1e-4)


def test_memorization_needs_series_held_back():
    with pytest.raises(ValueError, match='every test series is in the training set'): memorization(noise(), noise()[:5], noise(seed=1))


# Differences of statistics

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
    of = lambda x: np.array([moment(x[:, c].ravel().astype(float)) for c in range(3)]) # noqa: E731
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
    real, gen = noise(60, 2), 1.3 * noise(40, 2, seed=1)
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


def test_marginals_of_equal_series_are_refused():
    with pytest.raises(ValueError, match='all real series are the same'): marginal_difference(noise(1), noise())


@pytest.mark.parametrize('func', DIFFERENCES[1:])
def test_constant_channels_give_numbers(func):
    real = noise(20, 2)
    real[:, 1] = 1000.1
    assert func(real, real) == 0 and np.isfinite(func(real, noise(20, 2)))


# What all of them share

PAIRS = [fid, memorization, *DIFFERENCES]


def call(func, real, gen): return func(real, real[::-1] + 1, gen) if func is memorization else func(real, gen)


@pytest.mark.parametrize('func', PAIRS)
@pytest.mark.parametrize('make', [np.float64, np.float16, torch.as_tensor, lambda x: torch.as_tensor(x).bfloat16()])
def test_series_may_be_arrays_or_tensors_of_any_precision(func, make):
    real, gen = noise(), 2 * noise(seed=1)
    value = func(make(real), make(noise(seed=3)), make(gen)) if func is memorization else func(make(real), make(gen))
    expected = func(real, noise(seed=3), gen) if func is memorization else func(real, gen)
    assert type(value) is float and value == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize('func', PAIRS)
@pytest.mark.parametrize('gen, what', [
    (noise(40, 2), r'c_in, seq_len = \(2, 24\), expected \(1, 24\)'), (noise(seq_len=25), r'\(1, 25\), expected \(1, 24\)'),
    (noise()[:0], 'with n > 0'), (noise()[None], r'expected \[n, c_in, seq_len\]'),
    (np.where(noise() > 2, np.nan, noise()), 'series hold NaN or inf')])
def test_sets_that_cannot_be_compared_are_refused(func, gen, what):
    with pytest.raises(ValueError, match=what): call(func, noise(), gen)


@pytest.mark.parametrize('func', [
    *[partial(call, func, noise(), noise(seed=1)) for func in PAIRS],
    partial(conditional_fid, noise(), [0, 1] * 20, noise(seed=1), [0, 1] * 20),
    partial(inception_score, np.eye(3)), partial(tstr, *easy(12, 0), *easy(12, 1)), partial(trtr, *easy(12, 0), *easy(12, 1))])
def test_global_random_states_are_left_alone_and_do_not_matter(func, quick):
    before = states()
    value = func()
    assert states() == before
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    metrics._classifiers.clear()
    assert func() == value


def test_sharpness_is_the_ratio_of_energies_of_first_differences():
    x = torch.randn(20, 2, 60, dtype=torch.float64)
    assert sharpness(x, x) == 1 and sharpness(x, 0.5 * x + 3) == pytest.approx(0.25)
    channels = torch.stack((x[:, 0] * 2, x[:, 1]), 1)
    assert sharpness(x, channels) == pytest.approx((4 + 1) / 2)
    assert sharpness(x.cumsum(-1), x.cumsum(-1) + x) > 1.5 and sharpness(x, torch.nn.functional.avg_pool1d(x, 5, 1, 2)) < 0.2


def test_sharpness_leaves_still_channels_out():
    x = torch.randn(5, 2, 30)
    x[:, 1] = 1.
    assert sharpness(x, 2 * x) == pytest.approx(4)
    with pytest.raises(ValueError, match='constant'): sharpness(torch.ones(5, 1, 30), x[:, :1])
