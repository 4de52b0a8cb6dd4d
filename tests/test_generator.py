"""`NMVQGenerator`: fitting on the training split alone, going on, learning again, and what it says to bad input."""
import copy
import hashlib
import os
import random
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from stages import (
    STAGES,
    TINY,
    Kill,
    Killed,
    Visited,
    assert_same,
    assert_same_generator,
    fit,
    gunpoint_loaders,
    quick_classifiers,
    random_states,
    state,
    train_shortly,
    with_selection,
)
from tsai.basics import TSClassification, TSStandardize, TSTensor, get_ts_dls

from tsai_nmvq import generator
from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.models.mapper import NeuralMapper
from tsai_nmvq.presets import SCHEDULES, STAGE_PRESETS, StageSchedule
from tsai_nmvq.rng import OwnRandom
from tsai_nmvq.sampler import MapperUse
from tsai_nmvq.train.anchors import starting_from
from tsai_nmvq.train.mapper import MapperLearner
from tsai_nmvq.train.prior import PriorLearner
from tsai_nmvq.train.tokenizer import TokenizerLearner

LEARNERS = dict(tokenizer=TokenizerLearner, prior=PriorLearner, mapper=MapperLearner)


# Fitting

def test_three_stages_are_learnt(gen):
    assert all(getattr(gen, stage) is not None and not getattr(gen, stage).training for stage in STAGES)
    assert gen.tau in gen.tau_table.tau.tolist() and gen.spec.counts == (24, 26)


def test_the_same_seed_gives_the_same_generator_and_another_seed_does_not(data, gen):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    assert_same_generator(fit(*data), gen)
    codebook, other = (g.tokenizer.quantizers['lf'].codebook for g in (gen, fit(*data, seed=1)))
    assert not torch.equal(codebook, other)


def test_loaders_give_the_same_generator_as_arrays(data, gen):
    X, y, splits = data
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(by_sample=True))
    assert_same_generator(fit(dls), gen)


class Guarded:
    "Series of which some rows may not be read."
    def __init__(self, X, allowed):
        self.X, self.allowed = X, set(allowed)
        self.shape, self.ndim, self.dtype = X.shape, X.ndim, X.dtype

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
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()])
    assert_same_generator(fit(X, y, splits) if kind == 'arrays' else fit(dls), gen)


def test_samples_come_in_the_data_s_own_units(data, gen):
    X, y, splits = data
    scaled, shifted = fit(X * 64, y, splits), fit(X + 1000, y, splits) # by a power of two: the same bits
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
    assert gen.evaluate(X, None, splits, n_draws=1).columns.tolist() == ['FID', 'sharpness', 'novelty']


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
    quick_classifiers(monkeypatch)
    X, y, splits = data
    torch.rand(1), np.random.rand(), random.random() # away from what a seed of 0 gives
    before = random_states()
    fit(*data), gen.sample(3), gen.sample(3, seed=1), gen.map(X[:2]), gen.perturb(X[:2])
    gen.sample_like(torch.zeros(2, 1, 50), torch.tensor([0, 1]))
    gen.evaluate(*data, n_draws=1), plt.close(gen.show(*data)[0].figure)
    assert random_states() == before


def test_the_global_random_state_is_untouched_by_a_fit_that_fails(data):
    torch.rand(1), np.random.rand(), random.random() # away from what a seed of 0 gives
    before = random_states()
    with pytest.raises(Killed): fit(*data, cbs=[Kill(TokenizerLearner)])
    assert random_states() == before


def test_a_stage_may_have_a_preset_of_its_own(data, tmp_path):
    tokenizer = dict(TINY['tokenizer'], preset='paper', codebook_size=32)
    gen = fit(*data, gen=NMVQGenerator(**dict(TINY, tokenizer=tokenizer)))
    assert gen.tokenizer.grid['hf'][0] == 2 and gen.mapper.settings.residual # the paper's rows of bins, our mapper
    loaded = NMVQGenerator.load(gen.save(tmp_path/'gen.nmvq'))
    np.testing.assert_array_equal(loaded.sample(4, seed=0)[0], gen.sample(4, seed=0)[0])


# Checkpoints

def test_a_killed_fit_goes_on_from_the_stages_it_finished(data, tmp_path):
    path, visited = tmp_path/'fit.nmvq', Visited()
    with pytest.raises(Killed): fit(*data, checkpoint=path, cbs=[Kill(PriorLearner)])
    assert os.listdir(tmp_path) == ['fit.nmvq']
    first = NMVQGenerator.load(path)
    assert first.prior is None and first.mapper is None
    gen = fit(*data, checkpoint=path, cbs=[visited])
    assert visited.stages == ['PriorLearner', 'MapperLearner'] and os.listdir(tmp_path) == ['fit.nmvq']
    assert_same(state(gen.tokenizer), state(first.tokenizer))
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


def test_fit_schedule_of_each_learner_gives_what_fit_gives(data, monkeypatch):
    for stage, bs in zip(STAGES, (20, 25, 16)):
        monkeypatch.setitem(SCHEDULES['fast'], stage, StageSchedule(epochs=2, max_steps=1000, bs=bs, lr=2e-3))
    train_shortly(monkeypatch)
    series, learners, models = SeriesData.from_arrays(*data), [], []
    for stage, learner in LEARNERS.items():
        with OwnRandom(5): learners.append(learner(series, *models, settings=TINY[stage]).fit_schedule())
        models.append(learners[-1].model)
    gen, by_hand = NMVQGenerator(**TINY).fit(*data, seed=5), NMVQGenerator.from_learners(*learners)
    assert_same_generator(by_hand, gen)
    assert by_hand.tau_table.equals(gen.tau_table) and repr(by_hand.report()) == repr(gen.report())


# Learning again

def spoiled(gen, from_stage):
    "The generator with other weights in this stage and those after it."
    with torch.no_grad():
        for stage in STAGES[STAGES.index(from_stage):]:
            for p in getattr(gen, stage).parameters(): p.add_(1)
    return gen


@pytest.mark.parametrize('kind, from_stage', [*[('arrays', stage) for stage in STAGES], ('loaders', 'prior')])
def test_refit_gives_the_stages_that_fit_gives(data, gen, saved, kind, from_stage):
    again, visited = spoiled(NMVQGenerator.load(saved), from_stage), Visited()
    first = STAGES.index(from_stage)
    kept = [getattr(again, stage) for stage in STAGES[:first]]
    series = data if kind == 'arrays' else [gunpoint_loaders()]
    assert fit(*series, gen=again, method='refit', from_stage=from_stage, cbs=[visited]) is again
    assert visited.stages == [learner.__name__ for learner in LEARNERS.values()][first:]
    assert_same_generator(again, gen)
    assert again.tau_table.equals(gen.tau_table) and repr(again.report()) == repr(gen.report())
    assert all(getattr(again, stage) is model for stage, model in zip(STAGES, kept))


def test_refit_starts_with_the_mapper_and_follows_its_seed(data, gen, saved):
    again, visited = NMVQGenerator.load(saved), Visited()
    fit(*data, gen=again, method='refit', seed=1, cbs=[visited])
    assert visited.stages == ['MapperLearner']
    assert_same(state(again.prior), state(gen.prior))
    assert not torch.equal(again.mapper.first.weight, gen.mapper.first.weight)


def test_refit_of_a_generator_that_has_learnt_nothing_is_a_fit(data, gen):
    assert_same_generator(fit(*data, method='refit'), gen)


def test_refit_learns_with_the_settings_of_now(data, saved):
    gen = NMVQGenerator.load(saved)
    gen.settings['mapper']['dim'] = 8
    fit(*data, gen=gen, method='refit')
    assert gen.mapper.settings.dim == 8


@pytest.mark.parametrize('change', [
    lambda X, y, splits: (X + 1, y, splits), lambda X, y, splits: (X, y, (splits[0][1:], splits[1])),
    lambda X, y, splits: (X, None, splits), lambda X, y, splits: (X, np.where(y == '1', 'a', 'b'), splits),
    lambda X, y, splits: (X, y[::-1], splits)], ids=['series', 'split', 'no labels', 'other classes', 'other counts'])
@pytest.mark.parametrize('from_stage', STAGES)
def test_refit_refuses_other_data(data, saved, tmp_path, change, from_stage):
    gen, path = NMVQGenerator.load(saved), tmp_path/'refit.nmvq'
    with pytest.raises(ValueError, match='these are other series than .*; make a new one and call fit'):
        gen.refit(*change(*data), from_stage=from_stage, checkpoint=path)
    assert_same_generator(gen, NMVQGenerator.load(saved))
    assert not path.exists()


@pytest.mark.parametrize('options, match', [
    (dict(from_stage='sampler'), r"from_stage is 'sampler', expected one of \['tokenizer', 'prior', 'mapper'\]"),
    (dict(from_stage='prior', epochs=dict(mapper=0)), r"epochs has {'mapper': 0}, expected 1 or more"),
    (dict(from_stage='prior', epochs=dict(mappers=1)), r"epochs has {'mappers': 1}, expected .* any of \['tokenizer'"),
])
def test_refit_refuses_what_it_does_not_know(data, gen, saved, options, match):
    again = NMVQGenerator.load(saved)
    with pytest.raises(ValueError, match=match): again.refit(*data, **options)
    assert_same_generator(again, gen)


@pytest.mark.parametrize('from_stage, killed', [
    (from_stage, killed) for i, from_stage in enumerate(STAGES) for killed in STAGES[i:]])
def test_a_killed_refit_goes_on_by_fit(data, gen, saved, tmp_path, from_stage, killed):
    again, path, visited = spoiled(NMVQGenerator.load(saved), from_stage), tmp_path/'refit.nmvq', Visited()
    again.save(path) # an older file, with stages that are to be learnt again
    with pytest.raises(Killed):
        fit(*data, gen=again, method='refit', from_stage=from_stage, checkpoint=path, cbs=[Kill(LEARNERS[killed])])
    done = STAGES[:STAGES.index(killed)]
    assert path.exists() == bool(done)
    if done: assert list(NMVQGenerator.load(path)._stages) == done
    whole = fit(*data, checkpoint=path, cbs=[visited])
    assert visited.stages == [learner.__name__ for learner in LEARNERS.values()][len(done):]
    assert_same_generator(whole, gen)
    assert_same_generator(NMVQGenerator.load(path), gen)


def test_the_global_random_state_is_untouched_by_a_refit(data, saved):
    gen = NMVQGenerator.load(saved)
    torch.rand(1), np.random.rand(), random.random() # away from what a seed of 0 gives
    before = random_states()
    fit(*data, gen=gen, method='refit', from_stage='prior')
    assert random_states() == before


# Another mapper

@pytest.fixture
def harmed(gen):
    "A generator whose mapper skips the first class."
    return with_selection(gen, [2., 1, 2], [1., 2, 1])


def assert_left_alone(gen, change):
    "`change(gen)` does nothing to the generator; gives what it gives."
    before = {name: value for name, value in vars(gen).items()}
    weights, x = state(gen.mapper), gen.sample(8, seed=0)[0]
    other = change(gen)
    assert other is not gen and vars(gen) == before
    assert_same(state(gen.mapper), weights)
    assert (gen.sample(8, seed=0)[0] == x).all()
    assert other.tokenizer is gen.tokenizer and other.prior is gen.prior and other.spec == gen.spec
    return other


def test_with_no_mapper_samples_are_unmapped(harmed):
    other = assert_left_alone(harmed, lambda gen: gen.with_mapper(None))
    assert other.mapper is None and other.tau is None and other.tau_table is None
    unmapped = harmed.sample(8, seed=0, mapped=False)[0]
    assert (other.sample(8, seed=0)[0] == unmapped).all() and (harmed.sample(8, seed=0)[0] != unmapped).any()
    with pytest.raises(RuntimeError, match='no mapper yet'): other.report()


def test_with_a_model_it_is_used_in_all_classes(harmed):
    mapper = NeuralMapper(1, 2, 50, dim=4, mults=(1,))
    mapper.standardizer.set(harmed.spec.mean, harmed.spec.std)
    with torch.no_grad():
        for p in mapper.parameters(): p.add_(0.1)
    other = assert_left_alone(harmed, lambda gen: gen.with_mapper(mapper.train()))
    assert other.mapper is mapper and not mapper.training and other.tau is None
    assert other.mapper_use == MapperUse() and 'was given' in repr(other.report())
    y, rng = torch.tensor([0, 1]), torch.Generator().manual_seed(3)
    with torch.no_grad(): expected = mapper(harmed.sampler.decoded(y, rng)[0], rng)
    assert (other.sample(2, ['1', '2'], seed=3)[0] == expected.numpy()).all()


def test_with_a_learner_come_its_tau_and_its_selection(harmed, tmp_path):
    learn = MapperLearner(gunpoint_loaders(), harmed.tokenizer, harmed.prior, settings=TINY['mapper'], min_steps=4)
    learn.search_tau((0.3, 7.), refine=0, n=32, n_kernels=20)
    learn.fit_one_cycle(1, 1e-3)
    other = assert_left_alone(harmed, lambda gen: gen.with_mapper(learn))
    assert other.mapper is learn.model and not other.mapper.training
    assert other.tau == learn.tau and other.tau in (0.3, 7.) and other.tau_table is learn.tau_table
    expected = generator.select_mapper(starting_from(other.sampler, learn.data), learn.data, learn.holdout)
    assert len(learn.holdout) == 10 and other.mapper_selection.table.equals(expected.table)
    assert other.mapper_use == expected.use_for(other.spec)
    assert_same_generator(NMVQGenerator.load(other.save(tmp_path/'other.nmvq')), other)


def test_a_mapper_needs_a_prior():
    with pytest.raises(RuntimeError, match=r'no prior yet: call fit'): NMVQGenerator().with_mapper(None)


# From learners

def learn_stages(**kwargs):
    "Learners of a few steps, as a user would train them; `kwargs` of a stage by its name."
    dls, models, learners = gunpoint_loaders(), [], []
    for stage, learner in LEARNERS.items():
        options = dict(settings=TINY[stage], min_steps=4) | (dict(tau=0.1) if stage == 'mapper' else {})
        learn = learner(dls, *models, **options | kwargs.get(stage, {}))
        learn.fit_one_cycle(1, 1e-3)
        models.append(learn.model), learners.append(learn)
    return learners


@pytest.fixture(scope='module')
def learners(): return learn_stages()


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


def with_copied_model(learn):
    "As of another run: a learner of a model that no later stage has seen."
    other = copy.copy(learn)
    other.model = copy.deepcopy(learn.model)
    return other


def test_learners_of_two_runs_are_refused(learners):
    tokenizer, prior, mapper = learners
    with pytest.raises(ValueError, match="trained on another run's stages; pass the learners of one run"):
        NMVQGenerator.from_learners(with_copied_model(tokenizer), prior, mapper)


@pytest.mark.parametrize('copied, n', [('tokenizer', 2), ('tokenizer', 3), ('prior', 3)])
def test_mixed_learners_are_refused_before_anything_is_compared(learners, monkeypatch, copied, n):
    def fail(*args): pytest.fail('the mapper was compared')
    monkeypatch.setattr(generator, 'select_mapper', fail)
    mixed = [with_copied_model(learn) if learn.stage == copied else learn for learn in learners[:n]]
    with pytest.raises(ValueError, match="trained on another run's stages"): NMVQGenerator.from_learners(*mixed)


def test_a_mapper_without_a_prior_goes_with_any(learners):
    tokenizer, prior, _ = learners
    mapper = MapperLearner(gunpoint_loaders(), tokenizer.model, settings=TINY['mapper'], tau=0.1, min_steps=4)
    mapper.fit_one_cycle(1, 1e-3)
    assert NMVQGenerator.from_learners(tokenizer, prior, mapper).mapper is mapper.model


def test_settings_of_learners_are_kept_and_learnt_with_again(data, tmp_path):
    settings = dict(TINY, tokenizer=dict(TINY['tokenizer'], codebook_size=64), prior=dict(TINY['prior'], p_uncond=0.3))
    gen = NMVQGenerator.from_learners(*learn_stages(**{stage: dict(settings=settings[stage]) for stage in STAGES}))
    assert gen.preset == 'fast' and gen.settings['tokenizer']['codebook_size'] == 64
    for stage in STAGES: # what differs from the preset, and no more
        standard = STAGE_PRESETS[stage]['fast']
        assert gen.settings[stage] == {k: v for k, v in settings[stage].items() if v != getattr(standard, k)}
    fit(*data, gen=gen, method='refit', from_stage='tokenizer')
    assert gen.tokenizer.codebook_size == dict(lf=64, hf=64) and gen.prior.settings.p_uncond == 0.3
    assert gen.mapper.settings.dim == 4
    assert_same_generator(gen, fit(*data, gen=NMVQGenerator(**settings)))
    assert NMVQGenerator.load(gen.save(tmp_path/'gen.nmvq')).settings['tokenizer']['codebook_size'] == 64


def test_presets_of_learners_are_kept(data):
    tokenizer = dict(preset='paper', settings=dict(TINY['tokenizer'], dim=8, codebook_size=32))
    gen = NMVQGenerator.from_learners(*learn_stages(tokenizer=tokenizer))
    assert gen.preset == 'paper' and gen.settings['tokenizer'] == tokenizer['settings']
    for stage in ('prior', 'mapper'): assert gen.settings[stage]['preset'] == 'fast'
    fit(*data, gen=gen, method='refit', from_stage='prior')
    assert gen.mapper.settings.residual and gen.mapper.settings.dim == 4 and gen.prior.settings.embed_codes


# Samples

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
    if n == 100: assert set(y[:10]) == {'1', '2'} # and in random order


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
        assert x.shape == xb.shape and x.dtype == dtype and x.device == xb.device
        assert x.isfinite().all() and not x.requires_grad


def test_sample_like_takes_a_batch_of_tsai(data, gen):
    X, y, splits = data
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], bs=8)
    xb, yb = dls.one_batch()
    assert isinstance(xb, TSTensor) and gen.sample_like(xb, yb, vocab=dls.vocab).shape == xb.shape
    a, b = (gen.sample_like(xb, yb, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize('shape', [(2, 1, 49), (2, 2, 50), (2, 50)])
@pytest.mark.parametrize('method', ['sample_like', 'map', 'perturb'])
def test_other_shapes_are_refused(gen, method, shape):
    with pytest.raises(ValueError, match=r'this generator was fitted on \[n, 1, 50\]'):
        getattr(gen, method)(torch.zeros(shape))


# Report and figures

def test_fit_holds_a_fifth_out_from_the_mapper_and_reports(gen):
    report = gen.report()
    assert report.table.holdout.iloc[0] == 10 and list(report.table.index) == ['all', '1', '2']
    with pytest.raises(RuntimeError, match='mapper'): NMVQGenerator().report()


def test_samples_of_a_training_split_too_small_to_tell_are_mapped(data):
    gen = fit(data[0][:20], data[1][:20])
    assert gen.report().table is None and 'not known' in repr(gen.report()) and gen.report().use_mapper


def test_show_draws_real_and_synthetic_series_and_their_features(data, gen):
    axs = gen.show(*data, n=5)
    assert len(axs) == 4 and [len(ax.lines) for ax in axs[:3]] == [5, 5, 5] and len(axs[3].collections) == 3
    plt.close(axs[0].figure)


# Bad input

def with_value(value):
    X = np.random.randn(10, 1, 32).astype(np.float32)
    X[3, 0, 5] = value
    return X


BAD = {
    'inf': (with_value(np.inf), None, None, ValueError, 'series 3 .*holds inf'),
    'constant': (np.full((10, 1, 32), 3.), None, None, ValueError, 'is constant in every channel .channel 0 is 3.'),
    'a missing label': (with_value(0), [*'a' * 9, None], None, ValueError, 'label 9 is missing'),
    'folds': (with_value(0), None, [([0, 1], [2]), ([2, 3], [1])], ValueError, 'splits holds 2 folds'),
    'two axes': (np.zeros((10, 32)), None, None, ValueError, r'X has shape \(10, 32\), expected \[n, c_in, seq_len\]'),
    'channels that differ': ([np.zeros((1, 20)), np.zeros((2, 20))], None, None, ValueError, 'channel'),
    'text': ('X.npy', None, None, TypeError, 'X is a str, expected series'),
    'short series': (np.zeros((10, 1, 15)), None, None, ValueError, 'series have 15 steps, at least 16'),
    'labels of another length': (with_value(0), ['a'] * 9, None, ValueError, 'X has 10 rows and y 9'),
    'targets or classes': (np.random.randn(16, 1, 32), np.arange(16), None, ValueError,
                           "16 different numbers in 16 series, which look like targets or counts; pass y_kind"),
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


def test_another_mapper_brings_its_settings_and_leaves_the_generators_own(gen):
    own = dict(gen.settings)
    wider = NeuralMapper(1, 2, 50, dim=8, mults=(1, 2))
    other = gen.with_mapper(wider)
    assert other.settings['mapper'] == dict(dim=8) and gen.settings == own and other.settings is not gen.settings
    assert gen.with_mapper(None).settings['mapper'] == {}
    assert 'was given' in repr(other.report()) and 'too small' not in repr(other.report())


def test_what_is_said_of_a_given_mapper_is_kept_in_the_file(gen, tmp_path):
    path = gen.with_mapper(gen.mapper).save(tmp_path/'given.nmvq')
    assert 'was given' in repr(NMVQGenerator.load(path, 'cpu').report())


def test_a_mapper_of_another_run_is_refused(gen, trained):
    with pytest.raises(ValueError, match="another run's stages"): gen.with_mapper(trained['mapper'])
