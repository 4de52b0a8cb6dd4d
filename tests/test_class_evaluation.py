"""Where classes are lost: the table finds the stage that loses them, by classifiers that learn from what it makes."""
import numpy as np
import pandas as pd
import pytest
import torch
from made_series import easy

from tsai_nmvq.class_evaluation import class_scores, class_sets, score_classes
from tsai_nmvq.evaluation import LabelledSeries
from tsai_nmvq.rng import generator_on


def test_a_set_that_has_lost_its_classes_scores_by_chance_and_is_not_agreed_with():
    train, test = LabelledSeries(*easy(60, 0)), LabelledSeries(*easy(90, 1))
    def sets_of(seed): # the first class looks like the second in 'blurred', labels are drawn anew in 'lost'
        lost = np.random.default_rng(seed).permutation(train.y)
        blurred = train.x.copy()
        blurred[train.y == 'a'] = train.x[train.y == 'b']
        return {'real': train, 'lost': LabelledSeries(train.x, lost), 'blurred': LabelledSeries(blurred, train.y)}
    scores = score_classes(sets_of, test, ('ridge',), (0, 1))
    table, recall = scores.table, scores.recall
    assert table.ridge['real'] > 0.95 and table.agreement['real'] > 0.95
    assert table.ridge['lost'] < 0.6 and table.agreement['lost'] < 0.6
    assert table.agreement['blurred'] == pytest.approx(2 / 3, abs=0.05) and recall.loc['c', 'blurred'] > 0.9
    assert recall.loc[['a', 'b'], 'blurred'].mean() < 0.75 and list(recall.index) == ['a', 'b', 'c']
    assert scores.share_of_real()['real'] == 1 and table.n.tolist() == [60] * 3
    assert table['ridge, deviation']['real'] >= 0 and repr(scores).startswith(' ') and '<table' in scores._repr_html_()


def test_sets_are_what_the_stages_make(gen, data):
    X, y, (train, _) = data
    sets = class_sets(gen, LabelledSeries(X[train], y[train]), seed=3)
    assert list(sets) == ['real', 'reconstructed', 'LF real, HF sampled', 'prior alone', 'before mapper',
                          'after mapper', 'ten times as many']
    assert np.array_equal(sets['reconstructed'].x, gen.sampler.reconstruct(X[train]))
    assert np.array_equal(sets['before mapper'].x, gen.sample(50, seed=3, mapped=False)[0])
    assert len(sets['ten times as many'].x) == 500
    for name in ('reconstructed', 'LF real, HF sampled'): assert np.array_equal(sets[name].y, y[train])


def test_resampled_hf_keeps_the_series_own_lf_tokens(gen, data):
    x, ids = torch.as_tensor(data[0][:9]), torch.as_tensor(gen.spec.to_ids(data[1][:9]))
    decoded = []
    decode = gen.tokenizer.decode
    gen.tokenizer.decode = lambda tokens: decoded.append(tokens) or decode(tokens)
    try: gen.sampler.resample_hf(x, ids, generator_on('cpu', 0))
    finally: del gen.tokenizer.decode
    own = gen.tokenizer.encode(x)
    assert torch.equal(torch.cat([t['lf'] for t in decoded]), own['lf'])
    expected = gen.prior.sample_band('hf', ids, own['lf'], generator=generator_on('cpu', 0))
    assert torch.equal(torch.cat([t['hf'] for t in decoded]), expected)


def test_class_scores_of_a_generator(gen, data):
    X, y, splits = data
    scores = class_scores(gen, X, y, splits, judges=('ridge',), seeds=(0,))
    assert isinstance(scores.table, pd.DataFrame) and list(scores.recall.index) == ['1', '2']
    assert scores.table.ridge['real'] > 0.7 and scores.table.ridge.between(0, 1).all()
    again = class_scores(gen, X, y, splits, judges=('ridge',), seeds=(0,))
    assert again.table.equals(scores.table)


def test_without_classes_it_says_what_it_needs(data):
    from stages import fit
    gen = fit(data[0], None, data[2])
    with pytest.raises(ValueError, match='fit the generator with y'): class_scores(gen, *data)
