"""Series as users have them, end to end: gaps, lengths, targets, sets of labels, and channels of few values."""
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from stages import STAGES, TINY, Visited, assert_same_generator, fit, quick_classifiers, train_shortly
from tsai.basics import (
    TSClassification,
    TSMultiLabelClassification,
    TSNan2Value,
    TSRegression,
    TSRegressor,
    TSStandardize,
    get_ts_dls,
    ts_learner,
)

from tsai_nmvq import mapper_selection
from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.commands.evaluate import evaluate as evaluate_command
from tsai_nmvq.commands.fit import fit as fit_command
from tsai_nmvq.commands.sample import sample as sample_command
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.sampler import MISSING

SHORTEST = 20


def lengths(x): return (np.isfinite(x).any(1) * np.arange(1, x.shape[-1] + 1)).max(-1)


def reloaded(gen, folder): return NMVQGenerator.load(gen.save(folder/'hard.nmvq'))


@pytest.fixture(scope='module')
def gappy(data):
    "X with a fifth of its values missing, y, splits."
    X, y, splits = data
    return np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X), y, splits


@pytest.fixture(scope='module')
def uneven(data):
    "X of lengths from 20 to 50, y, splits."
    X, y, splits = data
    ends = np.random.default_rng(0).integers(SHORTEST, 51, len(X))
    ends[0], ends[1] = SHORTEST, 50
    return np.where(np.arange(50) < ends[:, None, None], X, np.nan), y, splits


@pytest.fixture(scope='module')
def gappy_gen(gappy): return fit(*gappy)


@pytest.fixture(scope='module')
def uneven_gen(uneven): return fit(*uneven)


# Gaps

def test_samples_are_complete_or_have_the_datas_gaps(gappy, gappy_gen):
    X, y, (train, _) = gappy
    patterns = {row.tobytes() for row in np.isfinite(X[train])}
    like_data, complete = (gappy_gen.sample(60, seed=1, missing=missing)[0] for missing in MISSING[:2])
    assert {row.tobytes() for row in np.isfinite(like_data)} <= patterns
    assert np.isfinite(complete).all() and np.isnan(like_data).mean() == pytest.approx(0.2, abs=0.03)
    there = np.isfinite(like_data)
    assert np.array_equal(like_data[there], complete[there])
    assert gappy_gen.spec.missing == pytest.approx(np.isnan(X[train]).mean()) and gappy_gen.spec.shortest >= 45


@pytest.mark.parametrize('how', [dict(redraw=1.), dict(redraw=0.), dict(mapped=False)])
def test_all_ways_of_sampling_have_gaps(gappy_gen, how): assert np.isnan(gappy_gen.sample(20, seed=0, **how)[0]).any()


def test_an_unknown_kind_of_gap_is_refused(gappy_gen):
    with pytest.raises(ValueError, match="missing is 'none', expected one of"): gappy_gen.sample(2, missing='none')


def test_gaps_survive_a_file(gappy_gen, tmp_path):
    again = reloaded(gappy_gen, tmp_path)
    assert_same_generator(again, gappy_gen)
    np.testing.assert_equal(again.sample(9, seed=2)[0], gappy_gen.sample(9, seed=2)[0])


@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('func', [
    lambda gen, x: gen.perturb(x, 0., mapped=False), lambda gen, x: gen.map(x),
    lambda gen, x: gen.sampler.reconstruct(x)])
def test_a_missing_value_stays_missing_and_touches_what_is_near_alone(gen, data, func, bad):
    X = data[0][:4].copy()
    whole = func(gen, X)
    X[1, 0, 10] = bad
    made = func(gen, X)
    there = np.isfinite(X)
    np.testing.assert_equal(made[~there], X[~there])
    assert np.abs(made - whole)[there].max() < 0.5 * X[there].std()
    assert np.array_equal(made[[0, 2, 3]], whole[[0, 2, 3]])


@pytest.mark.parametrize('mode', ['warp', 'redraw', 'perturb', 'generate'])
def test_batches_with_gaps_are_augmented(gappy, gappy_gen, mode):
    X, y, splits = gappy
    tfms = [NMVQAugment(gappy_gen, mode=mode, seed=0), TSNan2Value(), TSStandardize(by_sample=True)]
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=tfms[:1], bs=16)
    xb, _ = dls.train.one_batch()
    assert len(xb) == 32 and xb[16:].isnan().float().mean() == pytest.approx(0.2, abs=0.05)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=tfms, bs=16)
    assert dls.train.one_batch()[0].isfinite().all()


def test_scores_are_of_what_is_there(gappy, gappy_gen, data, monkeypatch):
    quick_classifiers(monkeypatch)
    X, y, splits = gappy
    table = gappy_gen.evaluate(X, y, splits, n_draws=1, with_statistics=True)
    assert table.drop(columns='novelty').notna().all(None)
    complete = gappy_gen.evaluate(data[0], y, splits, n_draws=1, with_tstr=False)
    assert complete.sharpness['before mapper'] != pytest.approx(table.sharpness['before mapper'], rel=0.01)


def test_a_fit_with_gaps_goes_on_after_a_kill(gappy, gappy_gen, tmp_path):
    first = NMVQGenerator(**TINY)
    first.spec, first.tokenizer = gappy_gen.spec, gappy_gen.tokenizer
    first.save(tmp_path/'gaps.nmvq')
    assert_same_generator(fit(*gappy, checkpoint=tmp_path/'gaps.nmvq'), gappy_gen)


def test_two_fits_in_threads_give_what_one_gives(gappy):
    X, y, _ = gappy
    with pytest.MonkeyPatch.context() as patch:
        train_shortly(patch)
        def learn(_): return NMVQGenerator(**TINY).fit(X[:20], y[:20], epochs=dict.fromkeys(STAGES, 1))
        alone = learn(0)
        with ThreadPoolExecutor(2) as pool: both = list(pool.map(learn, range(2)))
    for gen in both: assert_same_generator(gen, alone)


# Lengths

def test_lengths_are_drawn_like_the_datas(uneven, uneven_gen):
    X, y, (train, _) = uneven
    real, made = lengths(X[train]), lengths(uneven_gen.sample(400, seed=0)[0])
    shares = [(v[:, None] <= np.arange(51)).mean(0) for v in (real, made)]
    assert np.abs(shares[0] - shares[1]).max() < 0.05
    assert (uneven_gen.spec.shortest, uneven_gen.spec.seq_len) == (SHORTEST, 50)


def test_complete_samples_hold_their_last_value(uneven_gen):
    cut, whole = (uneven_gen.sample(50, seed=0, missing=missing)[0] for missing in MISSING[:2])
    for x, held, n in zip(cut[:, 0], whole[:, 0], lengths(cut)): assert (held[n:] == x[n - 1]).all()


def test_series_may_be_a_list_or_padded_with_a_value(uneven, uneven_gen, tmp_path):
    X, y, splits = uneven
    rows = [x[:, :n] for x, n in zip(X, lengths(X))]
    assert_same_generator(fit(rows, y, splits), uneven_gen)
    padded = np.nan_to_num(X, nan=-9.)
    gen = fit(padded, y, splits, pad_value=-9.)
    samples = gen.sample(20, seed=0)[0]
    np.testing.assert_equal(samples, np.nan_to_num(uneven_gen.sample(20, seed=0)[0], nan=-9.))
    varied = reloaded(gen, tmp_path).perturb(padded[:5], 0.)
    assert np.array_equal(varied == -9, padded[:5] == -9)


def test_series_that_end_in_zeros_are_asked_about(uneven):
    X, y, splits = uneven
    what = r'\d+ of the 50 series of the training split end in zeros; if they are padding, pass pad_value=0'
    with pytest.warns(UserWarning, match=what): fit(np.nan_to_num(X), y, splits)


def test_warped_series_keep_their_end(uneven, uneven_gen):
    X = torch.as_tensor(uneven[0][:8], dtype=torch.float32)
    sampler = uneven_gen.sampler
    sampler.anchors = replace(sampler.anchors, strength=0.05)
    made = sampler.warp(X, 1., torch.Generator().manual_seed(0))
    assert torch.equal(made.isnan(), X.isnan()) and not torch.equal(made.nan_to_num(), X.nan_to_num())


@pytest.mark.parametrize('rows, what', [
    (slice(None, 1), 'series 3 of the training split has no value at all; drop it'),
    (slice(None), 'channel 1 has no value in the training split; drop it')])
def test_what_is_missing_altogether_is_refused(rows, what):
    X = np.random.default_rng(0).standard_normal((8, 2, 32))
    if rows == slice(None): X[:, 1] = np.nan
    else: X[3] = np.nan
    with pytest.raises(ValueError, match=what): fit(X)


# Targets and sets of labels

def test_samples_have_targets_like_the_datas(data, tmp_path):
    X, _, (train, test) = data
    y = X[:, 0].max(-1).astype(float)                                    # which a series shows
    gen = fit(X, y, (train, test), epochs=(60, 1, 1))
    made, targets = gen.sample(100, seed=0, redraw=0.)
    assert set(targets) <= set(y[train]) and np.corrcoef(made[:, 0].max(-1), targets)[0, 1] > 0.8
    low = gen.sample(40, y=y[train].min(), seed=0)[1]
    assert low.max() < np.median(y[train]) + 1e-6
    again = reloaded(gen, tmp_path)
    np.testing.assert_equal(again.sample(9, seed=1), gen.sample(9, seed=1))
    assert gen.evaluate(X, y, (train, test), n_draws=1, with_tstr=False).cFID.notna().all()
    assert gen.perturb(X[:3], 0.1, y=y[:3]).shape == (3, 1, 50)


@pytest.mark.parametrize('as_matrix', [True, False])
def test_samples_have_sets_of_labels(data, tmp_path, as_matrix):
    X, y, (train, test) = data
    high = X[:, 0].max(-1) > np.median(X[:, 0].max(-1))
    sets = [[*(['one'] if label == '1' else []), *(['high'] if h else [])] for label, h in zip(y, high)]
    labels = np.stack([y == '1', high], 1).astype(int) if as_matrix else sets
    gen = reloaded(fit(X, labels, (train, test)), tmp_path)
    _, made = gen.sample(60, seed=0)
    assert gen.spec.conditions.kind == 'labels' and gen.spec.n_classes == 4
    if as_matrix:
        assert made.shape == (60, 2) and np.abs(made.mean(0) - labels[train].mean(0)).max() < 0.05
        assert (gen.sample(5, y=[1, 0], seed=0)[1] == [1, 0]).all()
    else:
        assert {tuple(sorted(s)) for s in made} <= {tuple(sorted(s)) for s in sets}
        assert all(sorted(s) == ['high', 'one'] for s in gen.sample(5, y='high + one', seed=0)[1])


def augmented(gen, X, y, splits, tfm, **how): # a training batch with rows added
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, tfm()], bs=16, batch_tfms=[NMVQAugment(gen, seed=0, **how)])
    return [v.as_subclass(torch.Tensor) for v in dls.train.one_batch()]


def test_regression_batches_get_sampled_rows_with_their_targets(data):
    X, _, splits = data
    y = X[:, 0].max(-1)
    gen = fit(X, y, splits)
    xb, yb = augmented(gen, X, y, splits, TSRegression, mode='generate')
    assert len(xb) == len(yb) == 32 and yb.dtype == torch.float32
    assert torch.isin(yb, torch.as_tensor(y[splits[0]])).all()
    edges = torch.tensor(gen.spec.conditions.edges)
    assert torch.equal(*[torch.bucketize(part, edges, right=True).sort().values for part in yb.chunk(2)])
    xb, yb = augmented(gen, X, y, splits, TSRegression, mode='perturb')
    assert torch.equal(yb[:16].sort().values, yb[16:].sort().values)     # targets of the rows themselves
    with pytest.raises(ValueError, match='balance evens classes out'):
        augmented(gen, X, y, splits, TSRegression, mode='generate', balance=True)


def test_batches_with_several_labels_a_row_get_sampled_rows_with_theirs(data):
    X, y, splits = data
    high = X[:, 0].max(-1) > np.median(X[:, 0].max(-1))
    sets = np.empty(len(y), dtype=object)
    for i in range(len(y)): sets[i] = [*(['one'] if y[i] == '1' else []), *(['high'] if high[i] else [])]
    gen = fit(X, sets, splits)
    xb, yb = augmented(gen, X, sets, splits, TSMultiLabelClassification, mode='generate')
    assert len(xb) == 32 and torch.equal(yb[:16].sum(0), yb[16:].sum(0))
    assert augmented(gen, X, sets, splits, TSMultiLabelClassification, mode='redraw')[1].shape == (32, 2)
    other = fit(X, [['one', 'more'] if v else ['more'] for v in high], splits)
    what = r"these loaders have labels \['high', 'one'\], the generator \['more', 'one'\]"
    with pytest.raises(ValueError, match=what):
        augmented(other, X, sets, splits, TSMultiLabelClassification, mode='generate')


def test_loaders_are_learnt_from_with_their_targets_and_sets(data):
    X, _, splits = data
    y = X[:, 0].max(-1)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSRegression()], bs=16)
    assert_same_generator(fit(dls), fit(X, y, splits))


def test_a_regressor_trains_with_sampled_rows(data):
    X, _, splits = data
    y = X[:, 0].max(-1)
    reg = TSRegressor(X, y, splits=splits, arch='FCN', bs=16, train_metrics=True,
                      batch_tfms=[NMVQAugment(fit(X, y, splits), mode='generate'), TSStandardize()])
    with reg.no_bar(), reg.no_logging(): reg.fit_one_cycle(1)
    assert np.isfinite(reg.recorder.values[0]).all()


# Values

@pytest.fixture(scope='module')
def mixed_data():
    "Channels: a wave, on and off, a count, a constant, a voltage of 1e-5."
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, (60, 1)) + np.linspace(0, 9, 64)
    wave = np.sin(phase)
    count = rng.poisson(2 + 2 * (wave > 0))
    return np.stack([wave, wave > 0, count, np.full_like(wave, 7.25), 1e-5 * np.cos(phase)], 1)


def test_samples_keep_to_the_values_that_channels_take(mixed_data, tmp_path):
    gen = reloaded(fit(mixed_data), tmp_path)
    assert [str(v) for v in gen.spec.values[:2]] == ['any', 'one of 0, 1'] and str(gen.spec.values[3]) == 'always 7.25'
    x = torch.as_tensor(mixed_data[:5], dtype=torch.float32)
    warped = gen.sampler.warp(x, 2., torch.Generator().manual_seed(0)).numpy()
    for made in (gen.sample(40, seed=0)[0], gen.sample(40, seed=0, mapped=False)[0], gen.perturb(x.numpy()), warped):
        assert set(np.unique(made[:, 1])) <= {0, 1} and (made[:, 3] == 7.25).all()
        assert (made[:, 2] == made[:, 2].round()).all() and made[:, 2].min() >= 0
        assert 1e-8 < np.abs(made[:, 4]).max() < 1e-4
    assert 'channel 1: one of 0, 1, channel 2: ' in repr(gen)


# Commands

def test_commands_take_gaps(gappy, gappy_gen, tmp_path):
    X, y, (train, _) = gappy
    np.savez(tmp_path/'gaps.npz', X=X[train], y=y[train])
    gappy_gen.save(tmp_path/'gaps.nmvq')
    file = sample_command(str(tmp_path/'gaps.nmvq'), 5, str(tmp_path/'complete.npz'), seed=0, missing='complete')
    assert np.isfinite(np.load(file)['X']).all()
    file = sample_command(str(tmp_path/'gaps.nmvq'), 5, str(tmp_path/'gappy.npz'), seed=0)
    np.testing.assert_equal(np.load(file)['X'], gappy_gen.sample(5, seed=0)[0])
    with pytest.MonkeyPatch.context() as patch:
        train_shortly(patch)
        made = fit_command(str(tmp_path/'gaps.npz'), str(tmp_path/'made.nmvq'), epochs_tokenizer=1, epochs_prior=1,
                           epochs_mapper=1)
    assert made.spec.missing == gappy_gen.spec.missing


# Reports, which end no fit

def toy(n, k): return np.random.default_rng(0).standard_normal((n, 1, 32)), np.arange(n) % k


@pytest.mark.parametrize('n, k', [(25, 5), (50, 10), (300, 150), (24, 24)])
def test_few_series_a_class_end_no_fit(n, k, tmp_path):
    X, y = toy(n, k)
    gen = reloaded(fit(X, y.astype(str), checkpoint=tmp_path/'toy.nmvq'), tmp_path)
    assert gen.sample(4, seed=0)[0].shape == (4, 1, 32) and repr(gen.report())


def test_one_test_series_a_class_has_no_conditional_fid(monkeypatch):
    quick_classifiers(monkeypatch)
    X, y = toy(60, 20)
    splits = list(range(40)), list(range(40, 60))
    gen = fit(X, y.astype(str), splits)
    with pytest.warns(UserWarning, match='cFID is left out: no class has two test series'):
        table = gen.evaluate(X, y.astype(str), splits, n_draws=1)
    assert table.cFID.isna().all() and table[['FID', 'IS', 'TSTR']].notna().all(None)


def test_series_that_are_each_constant_can_be_learnt(tmp_path):
    X = np.repeat(np.random.default_rng(0).standard_normal((60, 1, 1)), 32, 2)
    gen = reloaded(fit(X, splits=(list(range(30)), list(range(30, 60)))), tmp_path)
    with np.errstate(all='raise'): table = gen.evaluate(X, splits=(list(range(30)), list(range(30, 60))), n_draws=1)
    assert table.FID.notna().all() and table.sharpness.isna().all()


def test_a_trial_that_fails_leaves_the_mapper_out_and_says_so(data, tmp_path, monkeypatch):
    def fail(*args, **kwargs): raise RuntimeError('no convergence')
    monkeypatch.setattr(mapper_selection, 'compare_mapper', fail)
    gen = reloaded(fit(*data), tmp_path)
    assert not gen.mapper_use.use_mapper
    assert gen.report().warnings == ['The mapper could not be compared with series held out from it (no convergence): '
                                     'it is left out.']


def test_a_folder_that_is_not_there_is_named_before_anything_is_learnt(tmp_path):
    visited = Visited()
    with pytest.raises(FileNotFoundError, match='there is no folder .*; make it first'):
        fit(*toy(24, 2), checkpoint=tmp_path/'nowhere'/'gen.nmvq', cbs=[visited])
    assert visited.stages == []


@pytest.mark.parametrize('X, what', [
    (1e6 + 1e-2 * np.sin(np.arange(32.) + np.arange(24.)[:, None, None]), 'which float32 does not tell apart'),
    (1e6 + np.zeros((24, 1, 32)), 'is constant in every channel .channel 0 is 1e.06.')])
def test_what_float32_cannot_tell_apart_is_refused(X, what):
    with pytest.raises(ValueError, match=what): fit(X)
    with pytest.raises(ValueError, match='is constant in every channel'): fit(X.astype(np.float32))
    near = X - X.mean((0, 2), keepdims=True)
    if near.std() > 1e-3: assert np.abs(fit(near).sample(5, seed=0)[0]).max() < 0.1


# Wrong kinds of argument

def test_wrong_kinds_are_named(data):
    X, y, splits = data
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], bs=16)
    for args, what in [((ts_learner(dls, 'FCN'),), 'X is a Learner, .*; pass learn.dls'),
                       ((dls.train,), 'X is one loader, .*; pass dls')]:
        with pytest.raises(TypeError, match=what): fit(*args)
    with pytest.raises(ValueError, match='y and splits come with the DataLoaders'): fit(dls, y, splits)
    with pytest.raises(TypeError, match="epochs is 1, expected a number for each stage"):
        NMVQGenerator(**TINY).fit(X, y, epochs=1)


def test_labels_are_one_class_in_all_types(data):
    X, y, splits = data
    gen = fit(X, y.astype(float), splits)
    for kind in (str, int, float, np.int8, bytes):
        labels = np.asarray([kind(v) if kind is not bytes else v.encode() for v in y])
        with pytest.MonkeyPatch.context() as patch:
            quick_classifiers(patch)
            table = gen.evaluate(X, labels, splits, n_draws=1, with_tstr=False)
        assert table.cFID.notna().all() and gen.sample(2, y=labels[0], seed=0)[1].tolist() == [float(y[0])] * 2


# Several channels

def test_gaps_and_lengths_of_several_channels(basic_motions, tmp_path, monkeypatch):
    quick_classifiers(monkeypatch)
    X, y, splits = basic_motions
    rng = np.random.default_rng(0)
    ends = np.arange(100) >= rng.integers(40, 101, len(X))[:, None, None]
    X = np.where((rng.random(X.shape) < 0.2) | ends, np.nan, X)
    X[3, 2] = np.nan                                                     # a sensor that was off
    gen = reloaded(fit(X, y, splits), tmp_path)
    samples, labels = gen.sample(200, seed=0)
    assert np.isnan(samples).mean() == pytest.approx(np.isnan(X[splits[0]]).mean(), abs=0.03)
    assert set(labels) == set(y) and np.isfinite(gen.sample(9, seed=0, missing='complete')[0]).all()
    assert gen.evaluate(X, y, splits, n_draws=1, with_tstr=False).FID.notna().all()
    xb, _ = augmented(gen, X, y, splits, TSClassification)
    assert xb.shape[1:] == (6, 100) and len(xb) == 32 and xb[16:].isnan().any()
    (X_train, y_train), (X_valid, y_valid) = [(X[rows], y[rows]) for rows in splits]
    np.savez(tmp_path/'motions.npz', X_train=X_train, y_train=y_train, X_valid=X_valid, y_valid=y_valid)
    table = evaluate_command(str(tmp_path/'hard.nmvq'), str(tmp_path/'motions.npz'), n_draws=1, no_tstr=True)
    assert table.FID.notna().all()


# Containers

def stored(kind, X, folder):
    if kind == 'memmap':
        np.save(folder/'X.npy', X)
        return np.load(folder/'X.npy', mmap_mode='r')
    if kind == 'h5py':
        file = pytest.importorskip('h5py').File(folder/'X.h5', 'w')
        return file.create_dataset('X', data=X, chunks=(7, 1, 50))
    if kind == 'zarr':
        store = pytest.importorskip('zarr').create_array(str(folder/'X.zarr'), shape=X.shape, dtype=X.dtype)
        store[:] = X
        return store
    return IN_MEMORY[kind](X)


IN_MEMORY = dict(list=list, tensor=torch.as_tensor, big_endian=lambda X: X.astype('>f4'), masked=np.ma.masked_array,
                 objects=lambda X: X.astype(object), wide=lambda X: pd.DataFrame(X[:, 0]))


@pytest.mark.parametrize('kind', ['memmap', 'h5py', 'zarr', *IN_MEMORY])
def test_every_container_is_taken_everywhere(data, gen, kind, tmp_path, monkeypatch):
    quick_classifiers(monkeypatch)
    X, y, splits = data
    held = stored(kind, X, tmp_path)
    assert_same_generator(fit(held, pd.Series(y), splits), gen)
    table = gen.evaluate(held, pd.Series(y), splits, n_draws=1, with_tstr=False)
    pd.testing.assert_frame_equal(table, gen.evaluate(X, y, splits, n_draws=1, with_tstr=False))
    assert len(gen.show(held, y, splits)) == 4
    assert np.array_equal(gen.map(held), gen.map(X))
    assert np.array_equal(gen.perturb(held, 0., mapped=False), gen.perturb(X, 0., mapped=False))
