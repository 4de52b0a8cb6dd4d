"""Scores that need a classifier: closed forms, an easy set, and no training twice."""
from functools import partial

import numpy as np
import pytest
import torch
from made_series import assert_random_states_do_not_matter, easy, noise

from tsai_nmvq.metrics import classifier as classifier_module
from tsai_nmvq.metrics import inputs
from tsai_nmvq.metrics.classifier import cas, fit_classifier, inception_score, trtr, tstr


@pytest.fixture
def quick(monkeypatch):
    "Classifiers of the scores trained for a few steps, none from another test."
    monkeypatch.setattr(classifier_module, '_classifiers', {})
    monkeypatch.setattr(classifier_module, 'fit_classifier', partial(fit_classifier, n_steps=60))


@pytest.mark.parametrize('p, expected', [
    (np.eye(4)[[0] * 8], 1.), (np.eye(4)[[0, 1, 2, 3] * 5], 4.), (np.eye(4)[[0, 1] * 5], 2.),
    (np.full((7, 4), 0.25), 1.), (np.eye(1)[[0] * 3], 1.)])
@pytest.mark.parametrize('make', [np.asarray, torch.as_tensor, lambda p: torch.as_tensor(p).float()])
def test_inception_score_is_one_for_one_class_and_n_classes_for_even_ones(p, expected, make):
    assert inception_score(make(p)) == pytest.approx(expected, rel=1e-9)


def test_inception_score_is_the_exponential_of_the_information():
    p = np.random.default_rng(0).dirichlet([0.3] * 5, 200)
    def entropy(q): return -(q * np.log(q)).sum(-1)
    assert inception_score(p) == pytest.approx(np.exp(entropy(p.mean(0)) - entropy(p).mean()), rel=1e-9)


@pytest.mark.parametrize('p', [
    np.zeros((0, 3)), np.array([[0.5, 0.6]]), np.array([[1.5, -0.5]]), np.array([[np.nan, 1.]])])
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
    monkeypatch.setattr(inputs, 'CHUNK_VALUES', 1)
    torch.testing.assert_close(classifier.predict_proba(x), p, atol=1e-5, rtol=1e-4)


def test_same_data_and_settings_train_once_and_others_again(quick):
    (x, y), few = easy(12, 0), dict(n_steps=2)
    first = fit_classifier(x, y, **few)
    assert fit_classifier(x.copy(), list(y), **few) is first and fit_classifier(torch.as_tensor(x), y, **few) is first
    others = [fit_classifier(x, y, n_steps=3), fit_classifier(x, y, seed=1, **few), fit_classifier(x + 1, y, **few),
              fit_classifier(x, y[::-1].copy(), **few), fit_classifier(x[:, :, :12], y, **few)]
    assert len({id(c) for c in (first, *others)}) == 6
    for seed in range(10, 30): fit_classifier(x, y, seed=seed, n_steps=1)
    assert len(classifier_module._classifiers) == classifier_module.CACHED_CLASSIFIERS
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


@pytest.mark.parametrize('func', [
    partial(inception_score, np.eye(3)), partial(tstr, *easy(12, 0), *easy(12, 1)),
    partial(trtr, *easy(12, 0), *easy(12, 1))])
def test_global_random_states_are_left_alone_and_do_not_matter(func, quick):
    assert_random_states_do_not_matter(func, forget=lambda: classifier_module._classifiers.clear())
