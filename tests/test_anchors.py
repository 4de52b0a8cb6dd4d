"""Anchors: tokens by class, and warps as strong as makes samples as new as fresh series."""
from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from stages import fit

from tsai_nmvq.anchors import Anchors
from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.metrics.distance import nearest_distance
from tsai_nmvq.rng import generator_on
from tsai_nmvq.train import anchors as train_anchors
from tsai_nmvq.train.anchors import NEWNESS, anchors_of, find_strength, starting_from


def numbered(ids): # each row's tokens are its number
    rows = torch.arange(len(ids))[:, None]
    return Anchors.of(dict(lf=rows, hf=rows.repeat(1, 3)), torch.as_tensor(ids))


def test_draws_are_of_the_class_that_is_asked_for_and_take_its_rows_alike():
    ids = torch.tensor([2, 0, 1, 0, 2, 0])
    anchors, asked = numbered(ids), torch.tensor([0, 1, 2] * 2000)
    drawn = anchors.tokens_of(anchors.draw(asked, generator_on('cpu', 0)))
    assert torch.equal(ids[drawn['lf'][:, 0]], asked) and torch.equal(drawn['hf'], drawn['lf'].repeat(1, 3))
    counts = Counter(drawn['lf'][asked == 0].flatten().tolist())
    assert set(counts) == {1, 3, 5} and min(counts.values()) > 550
    of_any = anchors.tokens_of(anchors.draw(torch.full((600,), 3), generator_on('cpu', 0)))['lf'] # the null class
    assert set(of_any.flatten().tolist()) == set(range(6))


def test_anchors_are_the_training_split_s_tokens(gen, data):
    X, y, (train, _) = data
    tokens = gen.tokenizer.encode(torch.as_tensor(X[train]))
    order = torch.as_tensor(gen.spec.to_ids(y[train])).argsort(stable=True)
    assert len(gen.anchors) == len(train)
    for band, rows in tokens.items(): assert torch.equal(gen.anchors.tokens[band], rows[order])


def test_tokens_and_details_together_are_the_series(gen, data):
    X, y, (train, _) = data
    order = torch.as_tensor(gen.spec.to_ids(y[train])).argsort(stable=True)
    x, tokenizer = torch.as_tensor(X[train])[order], gen.tokenizer
    restored = tokenizer.decode(gen.anchors.tokens) + gen.anchors.details * tokenizer.standardizer.std
    lost = (tokenizer.decode(gen.anchors.tokens) - x).abs().max()
    torch.testing.assert_close(restored, x, atol=1e-3 * float(lost), rtol=0)


def test_samples_have_what_the_tokenizer_leaves_out(gen, data):
    X, y, (train, _) = data
    plain = gen.with_mapper(None)
    plain.anchors = replace(gen.anchors, strength=0.)
    x_gen, y_gen = plain.sample(20, seed=0, redraw=0.)                 # nothing is drawn anew, nothing is warped
    distance, of = torch.cdist(torch.as_tensor(x_gen).flatten(1), torch.as_tensor(X[train]).flatten(1)).min(1)
    assert distance.max() < 1e-2 and list(y_gen) == list(y[train][of])


def test_fewer_long_series_are_kept(gen, data, monkeypatch):
    X, y, (train, _) = data
    monkeypatch.setattr(train_anchors, 'MAX_ANCHORS', (2, 40))
    monkeypatch.setattr(train_anchors, 'MAX_DETAILS', 20 * X.shape[2])
    assert 20 <= len(anchors_of(gen.sampler, SeriesData.from_arrays(*data))) < 25


def test_of_many_series_a_part_of_each_class_is_kept(gen, data, monkeypatch):
    monkeypatch.setattr(train_anchors, 'MAX_ANCHORS', (2, 10))
    X, y, (train, _) = data
    y = np.array(['rare' if i == 7 else label for i, label in enumerate(y)])
    other = fit(X, y, (train, train))
    counts = other.anchors.counts.tolist()
    assert 10 <= len(other.anchors) <= 12 and counts[other.spec.vocab.index('rare')] == 1 and min(counts) >= 1


def test_samples_are_as_new_as_the_bounds_say(gen, data):
    X, y, (train, _) = data
    x = gen.tokenizer.standardizer(torch.as_tensor(X[train])).flatten(1)
    fresh = torch.cdist(x, x).fill_diagonal_(torch.inf).amin(1).mean()
    made = torch.as_tensor(gen.sample(400, seed=1, mapped=False)[0])
    newness = nearest_distance(gen.tokenizer.standardizer(made).flatten(1), x).mean() / fresh
    assert NEWNESS[0] - 0.1 < newness < NEWNESS[1] + 0.1 or gen.anchors.strength == 0


def test_a_tokenizer_that_blurs_needs_no_warp(gen, data): # samples are far from real series as they are
    assert find_strength(gen.sampler, SeriesData.from_arrays(*data), (1e-3, 1e-3)).strength == 0


def test_the_farther_the_stronger(gen, data):
    training = SeriesData.from_arrays(*data)
    strengths = [find_strength(gen.sampler, training, (far, far)).strength for far in (3., 6., 12.)]
    assert strengths == sorted(strengths) and strengths[0] < strengths[2]


def test_the_mapper_is_chosen_by_samples_that_start_from_what_it_learnt(gen, data):
    part = SeriesData.from_arrays(*data).subset(np.arange(0, 50, 2))
    sampler = starting_from(gen.sampler, part)
    assert len(sampler.anchors) == 25 and sampler.anchors.strength == gen.anchors.strength
    assert torch.equal(sampler.anchors.tokens['lf'], anchors_of(gen.sampler, part).tokens['lf'])


def test_a_file_keeps_them(gen, tmp_path):
    kept = NMVQGenerator.load(gen.save(tmp_path/'gen.nmvq')).anchors
    assert torch.equal(kept.ids, gen.anchors.ids) and (kept.strength, kept.max_redraw) == (
        gen.anchors.strength, gen.anchors.max_redraw)
    for band, rows in gen.anchors.tokens.items(): assert torch.equal(kept.tokens[band], rows)
    assert torch.equal(kept.details, gen.anchors.details)


def test_without_anchors_the_prior_makes_samples_alone(gen):
    sampler = gen.sampler
    sampler.anchors = None
    ids = torch.tensor([0, 1, 1])
    alone = gen.sampler.sample(ids, generator_on('cpu', 0), redraw=1.)
    assert torch.equal(sampler.sample(ids, generator_on('cpu', 0)), alone)

