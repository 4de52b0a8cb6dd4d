"""Fréchet distances against closed forms and scipy; FID, and FID within classes."""
import numpy as np
import pytest
import torch
from made_series import assert_random_states_do_not_matter, easy, noise
from scipy.linalg import sqrtm

from tsai_nmvq.metrics import inputs
from tsai_nmvq.metrics.frechet import class_fids, conditional_fid, fid, frechet_distance
from tsai_nmvq.metrics.rocket import RocketFeatures

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
    expected = ((mean_a - mean_b) ** 2).sum() + ((std_a - std_b) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


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
    shift = a.mean(0, dtype=float) - b.mean(0, dtype=float)
    expected = (shift ** 2).sum() + 0.25 * a.var(0, ddof=1, dtype=float).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('make', [
    np.asarray, torch.as_tensor, np.float32, lambda x: torch.as_tensor(x).requires_grad_()])
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


# FID

def test_fid_of_series_is_the_distance_of_their_features():
    real, gen = noise(40), 0.8 * noise(30, seed=1)
    features = RocketFeatures.fit(real)
    expected = frechet_distance(features(real), features(gen))
    assert expected > 1e-3
    assert fid(real, gen) == fid(real, gen, features) == fid(features(real), features(gen)) == expected
    values = fid(real, gen, lambda x: torch.as_tensor(x).flatten(1))
    assert values == pytest.approx(frechet_distance(real[:, 0], gen[:, 0]))


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
    monkeypatch.setattr(inputs, 'CHUNK_VALUES', 1)
    assert fid(real, gen) == pytest.approx(expected, rel=1e-4)


def test_conditional_fid_is_the_mean_over_classes():
    (real, y_real), (gen, y_gen) = easy(60, 0), easy(45, 1)
    features = RocketFeatures.fit(real)
    expected = {c: fid(real[y_real == c], gen[y_gen == c], features) for c in 'abc'}
    mean = pytest.approx(np.mean(list(expected.values())), rel=1e-6)
    by_class = class_fids(real, y_real, gen, y_gen)
    assert by_class == pytest.approx(expected, rel=1e-6) and [type(c) for c in by_class] == [str] * 3
    assert class_fids(features(real), y_real, features(gen), y_gen) == by_class
    assert conditional_fid(real, y_real, gen, y_gen) == mean
    assert conditional_fid(features(real), list(y_real), features(gen), list(y_gen)) == mean
    ids = [torch.as_tensor(np.unique(y, return_inverse=True)[1]) for y in (y_real, y_gen)]
    assert conditional_fid(torch.as_tensor(real), ids[0], torch.as_tensor(gen), ids[1]) == mean
    assert list(class_fids(torch.as_tensor(real), ids[0], torch.as_tensor(gen), ids[1])) == [0, 1, 2]


def test_labels_that_have_nothing_in_common_are_refused():
    real, y = easy(30, 0)
    what = r"real series are of classes \['a', 'b', 'c'\] and synthetic ones of \[0, 1, 2\]; name them alike"
    with pytest.raises(ValueError, match=what):
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
    assert list(class_fids(real, y, real, y_gen)) == ['a']
    assert class_fids(real, y, real[:1], y[:1]) == {} and np.isnan(conditional_fid(real, y, real[:1], y[:1]))
    for func in (conditional_fid, class_fids):
        with pytest.raises(ValueError, match=r'labels have shape \(29,\) for 30 series'): func(real, y[1:], real, y)


@pytest.mark.parametrize('func', [conditional_fid, class_fids])
def test_global_random_states_are_left_alone_and_do_not_matter(func):
    assert_random_states_do_not_matter(lambda: func(noise(), [0, 1] * 20, noise(seed=1), [0, 1] * 20))
