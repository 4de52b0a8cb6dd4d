"""The table of scores: samples before and after the mapper, beside the floor of real training series."""
import numpy as np
import pytest
import torch
from stages import fit, quick_classifiers

from tsai_nmvq.metrics.classifier import tstr
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.rocket import RocketFeatures


def test_evaluate_scores_before_and_after_beside_the_floor(data, gen, monkeypatch):
    quick_classifiers(monkeypatch)
    X, y, (train, test) = data
    table = gen.evaluate(*data, n_draws=2, seed=5)
    assert table.index.tolist() == ['real (train)', 'reconstructed', 'prior alone', 'before mapper', 'after mapper']
    assert table.columns.tolist() == ['FID', 'cFID', 'IS', 'TSTR', 'sharpness', 'novelty']
    features = RocketFeatures.fit(X[train], seed=5)
    assert table.FID['real (train)'] == pytest.approx(fid(X[test], X[train], features), rel=1e-4)
    reconstructed = gen.tokenizer.decode(gen.tokenizer.encode(torch.as_tensor(X[train]))).detach()
    assert table.FID['reconstructed'] == pytest.approx(fid(X[test], reconstructed, features), rel=1e-4)
    for name, how in {'prior alone': dict(mapped=False, redraw=1.), 'before mapper': dict(mapped=False),
                      'after mapper': {}}.items():
        draws = [fid(X[test], gen.sample(50, seed=5 + i, **how)[0], features) for i in range(2)]
        assert table.FID[name] == pytest.approx(np.mean(draws), rel=1e-4)
    assert table.drop(columns='novelty').notna().all(None)
    assert table.IS.between(1, 2.001).all() and table.TSTR.between(0, 1).all()
    assert table.TSTR['reconstructed'] == tstr(reconstructed, y[train], X[test], y[test], seed=5)


def test_evaluate_without_tstr_or_labels_leaves_columns_out(data, gen, monkeypatch):
    quick_classifiers(monkeypatch)
    X, y, splits = data
    scores = gen.evaluate(X, y, splits, n=20, n_draws=1, with_tstr=False)
    assert scores.columns.tolist() == ['FID', 'cFID', 'IS', 'sharpness', 'novelty']
    scores = gen.evaluate(X, None, splits, n=20, n_draws=1, with_statistics=True)
    assert scores.columns.tolist() == ['FID', 'sharpness', 'MDD', 'ACD', 'SD', 'KD', 'C-FID', 'DS', 'PS', 'novelty']


@pytest.mark.parametrize('splits', [None, ([0, 1],), ([0, 1], [2]), ([True] * 80, [True] + [False] * 79)])
def test_evaluate_without_a_test_split_says_what_it_needs(data, gen, splits):
    with pytest.raises(ValueError, match='splits'): gen.evaluate(data[0], data[1], splits)


def test_evaluate_scores_a_generator_whose_rarest_class_has_one_series(data, monkeypatch):
    quick_classifiers(monkeypatch)
    X, y = data[0], np.asarray(['a'] + ['b'] * 49 + ['b'] * 29 + ['a'])
    table = fit(X, y, data[2]).evaluate(X, y, data[2], n_draws=1)
    assert table.FID.notna().all() and table.cFID.notna().all()
