"""What users did to the intake, and what they get: a right result, or a sentence before anything is learnt."""
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from stages import TINY, assert_same_generator, fit, quick_classifiers, train_shortly
from tsai.basics import (
    TSClassification,
    TSRegression,
    TSStandardize,
    get_ts_dls,
)

from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.class_evaluation import class_scores
from tsai_nmvq.commands.fit import fit as fit_command
from tsai_nmvq.commands.sample import sample as sample_command
from tsai_nmvq.data.frames import series_from_frame
from tsai_nmvq.data.recording import from_recording
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.oversampler import NMVQOverSampler
from tsai_nmvq.train.prior import PriorLearner
from tsai_nmvq.train.tokenizer import TokenizerLearner

NAN = float('nan')


@pytest.fixture(scope='module')
def gaps(data): return np.where(np.random.default_rng(0).random(data[0].shape) < 0.2, NAN, data[0]).astype(np.float32)


@pytest.fixture(scope='module')
def uneven(data):
    ends = 20 + np.arange(80) % 31
    return np.where(np.arange(50) < ends[:, None, None], data[0], NAN).astype(np.float32)


@pytest.fixture(scope='module')
def gappy_gen(data, gaps): return fit(gaps, *data[1:])


@pytest.fixture(scope='module')
def uneven_gen(data, uneven): return fit(uneven, *data[1:])


@pytest.fixture(scope='module')
def target_gen(data): return fit(data[0], data[0][:, 0].max(-1), data[2])


def loaders(X, y, splits, *batch_tfms, tfm=TSClassification, bs=16):
    return get_ts_dls(X, y, splits=splits, tfms=[None, tfm()], bs=bs, batch_tfms=list(batch_tfms))


# Gaps where there are some, and none where there are none

def test_samples_of_gappy_data_are_complete_in_complete_batches(data, gaps, gappy_gen):
    X, y, splits = data
    augment = NMVQAugment(gappy_gen, mode='generate', seed=0)
    assert loaders(X, y, splits, augment, TSStandardize(by_sample=True)).train.one_batch()[0].isfinite().all()
    augment = NMVQAugment(gappy_gen, mode='generate', seed=0)
    assert loaders(gaps, y, splits, augment).train.one_batch()[0][16:].isnan().any()


def test_oversampled_rows_have_gaps_where_the_data_have(data, gaps, gappy_gen):
    X, y = data[0][:50], np.asarray(['a'] * 40 + ['b'] * 10)
    gen = fit(gaps[:50], y)
    for mode in ('generate', 'warp'):
        assert np.isfinite(NMVQOverSampler(gen, mode=mode, random_state=0).fit_resample(X, y)[0]).all()
        assert np.isnan(NMVQOverSampler(gen, mode=mode, random_state=0).fit_resample(gaps[:50], y)[0][50:]).any()


def test_a_pad_value_is_no_value_to_scores(data, uneven, uneven_gen, monkeypatch):
    quick_classifiers(monkeypatch)
    padded = np.nan_to_num(uneven, nan=-9.)
    gen = fit(padded, *data[1:], pad_value=-9.)
    how = dict(n_draws=1, with_tstr=False)
    pd.testing.assert_frame_equal(gen.evaluate(padded, *data[1:], **how), uneven_gen.evaluate(uneven, *data[1:], **how))
    both = (gen, padded), (uneven_gen, uneven)
    scores = [class_scores(g, x, *data[1:], judges=('ridge',), seeds=(0,)).table for g, x in both]
    pd.testing.assert_frame_equal(*scores)


@pytest.mark.parametrize('value', [np.float32(-9), np.int64(-9), -9])
def test_pad_values_of_any_type_go_into_files(data, uneven, value, tmp_path):
    gen = fit(np.nan_to_num(uneven, nan=-9.), *data[1:], pad_value=value, checkpoint=tmp_path/'padded.nmvq')
    assert NMVQGenerator.load(tmp_path/'padded.nmvq').spec == gen.spec and gen.spec.pad_value == -9.


def test_a_pad_value_of_nan_is_none(data, uneven, uneven_gen, tmp_path):
    for _ in range(2): gen = fit(uneven, *data[1:], pad_value=NAN, checkpoint=tmp_path/'nan.nmvq')
    assert_same_generator(gen, uneven_gen)


@pytest.mark.parametrize('value', ['0', [0.], True, np.inf])
def test_other_pad_values_are_refused(data, value):
    with pytest.raises(TypeError, match='pad_value is .*, expected the number'): fit(*data, pad_value=value)


@pytest.mark.parametrize('func', ['perturb', 'map'])
def test_shorter_series_are_padded_where_lengths_differ(data, uneven_gen, func):
    made = getattr(uneven_gen, func)([x[:, :30] for x in data[0][:4]])
    assert made.shape == (4, 1, 50) and np.isnan(made[:, :, 30:]).all() and np.isfinite(made[:, :, :30]).all()


def test_the_longest_test_series_is_not_learnt(data):
    X, y, splits = data
    rows = [x[:, :30] for x in X[:50]] + list(X[50:])
    gen = fit(rows, y, splits)
    assert (gen.spec.seq_len, gen.spec.missing) == (30, 0)
    with pytest.raises(ValueError, match=r'this generator was fitted on \[n, 1, 30\]'): gen.evaluate(rows, y, splits)


def test_gaps_are_shown(data, gaps, gappy_gen):
    axs = gappy_gen.show(gaps, *data[1:])
    assert all(np.isfinite(ax.get_ylim()).all() for ax in axs)
    plt.close('all')


def test_a_gap_does_not_hide_what_float32_cannot_tell_apart(data):
    wave = data[0][:20].astype(np.float64)
    X = np.concatenate([1e9 + 0.1 * wave, wave], 1)
    X[0, 0, 3] = NAN
    with pytest.raises(ValueError, match='channel 0 varies by .* which float32 does not tell apart'): fit(X)


# y

def test_balance_needs_the_loaders_classes_alone(data, target_gen):
    X, _, splits = data
    y = np.where(np.arange(80) % 10 == 0, 'rare', 'often')
    shares = []
    for seed in range(12):
        dls = loaders(X, y, splits, NMVQAugment(target_gen, balance=True, seed=seed), bs=48)
        for _ in range(3): _, yb = dls.train.one_batch()                 # the bank fills
        shares.append((yb == 1).float().mean())
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)
    y = np.asarray(['a', 'b', 'c', 'd'])[np.arange(80) % 4]
    assert len(loaders(X, y, splits, NMVQAugment(target_gen, balance=True)).train.one_batch()[0]) == 32


def test_sets_of_labels_with_one_name_stay_apart(data):
    X, _, splits = data
    gen = fit(X, [['a', 'b'], ['a + b'], ['b'], []] * 20, splits)
    assert len(set(gen.spec.vocab)) == 4 and gen.anchors.counts[:-1].tolist() == list(gen.spec.counts)
    asked = [['b', 'a'], ['a + b'], ['b']]
    assert [sorted(v) for v in gen.sample(3, y=asked, seed=0)[1]] == [sorted(v) for v in asked]


@pytest.mark.parametrize('y, vocab', [
    ([['a', 'x'], ['b', 'y'], ['a', 'y'], ['b', 'x']] * 20, ('a + x', 'a + y', 'b + x', 'b + y')),
    ([['a'], ['b']] * 40, ('a', 'b')), ([[1, 2], [3], [1], []] * 20, ('none', '1', '1 + 2', '3')),
    (['a', 'b'] * 40, ('a', 'b')), ([1, 0] * 40, ('0', '1'))])
def test_labels_told_to_be_sets_are(data, y, vocab):
    gen = fit(data[0], y, data[2], y_kind='labels')
    assert gen.spec.vocab == vocab and sum(gen.spec.counts) == 50 and min(gen.spec.counts) > 0


def test_a_matrix_of_other_numbers_is_refused(data):
    with pytest.raises(ValueError, match='matrix of other numbers than 0 and 1'):
        fit(data[0], np.random.rand(80, 3), data[2], y_kind='labels')


@pytest.mark.parametrize('ask', [('one', 'high'), {'one', 'high'}, 'high + one', 'one + high'])
def test_one_set_can_be_asked_for_in_any_form(data, ask):
    X, y, splits = data
    gen = fit(X, [['one', 'high'] if v == '1' else ['one'] for v in y], splits)
    assert all(sorted(v) == ['high', 'one'] for v in gen.sample(3, y=ask, seed=0)[1])


@pytest.mark.parametrize('ask, what', [([1, 1, 0], 'y has 3 columns, expected one for each of the 2'),
                                       ([2, 0], 'other numbers than 0 and 1'), ([0.5, 0], 'other numbers')])
def test_rows_of_a_matrix_are_checked(data, ask, what):
    X, y, splits = data
    gen = fit(X, np.stack([y == '1', y != '1'], 1).astype(int), splits)
    with pytest.raises(ValueError, match=what): gen.sample(2, y=ask)


def test_loaders_say_what_their_y_is(data):
    X, y, splits = data
    dls = loaders(X, (np.arange(80) % 5).astype(float), splits, tfm=TSRegression)
    assert fit(dls).spec.conditions.kind == 'targets'
    dls = loaders(X, np.where(y == '1', 1.5, 2.5), splits)
    assert fit(dls).spec.vocab == (1.5, 2.5)
    with pytest.warns(UserWarning, match=r'targets of shape \(2,\) a series, which are no condition'):
        assert fit(loaders(X, np.random.rand(80, 2), splits, tfm=TSRegression)).spec.vocab == ()


def test_stages_learn_and_watch_targets_one_by_one(data):
    X, _, splits = data
    dls = loaders(X, X[:, 0].max(-1), splits, tfm=TSRegression)
    tokenizer = TokenizerLearner(dls, settings=TINY['tokenizer'], min_steps=2)
    with tokenizer.no_bar(), tokenizer.no_logging(): tokenizer.fit_one_cycle(1)
    prior = PriorLearner(dls, tokenizer.model, settings=TINY['prior'], min_steps=2)
    with prior.no_bar(), prior.no_logging(): prior.fit_one_cycle(1)
    assert np.isfinite(prior.recorder.values[0]).all()


def test_bins_have_series():
    y = np.r_[np.zeros(80), np.full(80, 10.)]
    spec = fit(np.random.default_rng(0).standard_normal((160, 1, 32)), y, y_kind='targets').spec
    assert spec.counts == (80, 80) and spec.to_ids([0, 10]).tolist() == [0, 1]


@pytest.mark.parametrize('y', [np.ma.masked_array([1, 2, 1], [0, 1, 0]), [1, None, 1]])
def test_a_label_that_is_masked_is_missing(data, y):
    gen = fit(data[0], data[1], data[2])
    with pytest.raises(ValueError, match='label 1 is missing'): gen.sample(3, y=y)


def test_a_masked_recording_has_gaps():
    x = np.random.default_rng(0).standard_normal((2, 3000))
    windows = from_recording(np.ma.masked_array(np.where(x > 1, -999, x), x > 1), 50)
    assert np.isnan(np.asarray(windows)).mean() == pytest.approx((x > 1).mean(), abs=1e-3)
    with pytest.raises(ValueError, match='label 5 is missing'):
        from_recording(x, 50, y=np.ma.masked_array(np.zeros(3000), np.arange(3000) == 5))


def test_missing_labels_are_named_by_their_own_row(data):
    y = data[1].astype(object)
    y[9] = None
    with pytest.raises(ValueError, match='label 9 is missing'): fit(data[0], y, (np.arange(49, -1, -1), [60, 61]))


@pytest.mark.parametrize('kind', ['targets', 'sets'])
def test_scores_of_classes_take_targets_and_sets(data, target_gen, kind):
    X, y, splits = data
    y = X[:, 0].max(-1) if kind == 'targets' else [['one'] if v == '1' else ['two', 'b'] for v in y]
    gen = target_gen if kind == 'targets' else fit(X, y, splits)
    assert class_scores(gen, X, y, splits, judges=('ridge',), seeds=(0,)).table.ridge.notna().all()


def test_batches_of_targets_have_samples_like_them(data, target_gen):
    X = torch.as_tensor(data[0][:6])
    edges = torch.tensor(target_gen.spec.conditions.edges)
    ids = target_gen.sampler.matched_ids(torch.tensor([0.1, 9., 9.]))
    assert ids.tolist() == [0, len(edges), len(edges)] and target_gen.sample_like(X, X[:, 0].amax(-1)).shape == X.shape


# Generators that do not fit

def test_an_oversampler_checks_its_generator(data, target_gen):
    X, y = data[0][:50], np.asarray(['1'] * 40 + ['2'] * 10)
    gen = fit(*data)
    with pytest.raises(ValueError, match=r'fitted on \[n, 1, 50\]'): NMVQOverSampler(gen).fit_resample(X[..., :30], y)
    with pytest.raises(ValueError, match='fitted with targets, and its samples have no class'):
        NMVQOverSampler(target_gen, mode='generate').fit_resample(X, y)


def test_an_oversampler_takes_the_path_of_a_generator(data, saved):
    X, y = data[0][:50], np.asarray(['1'] * 40 + ['2'] * 10)
    assert len(NMVQOverSampler(str(saved), random_state=0).fit_resample(X, y)[0]) == 80


# Arrays, splits, seeds

def test_views_of_arrays_are_taken(data):
    gen = fit(*data)
    turned = np.ascontiguousarray(data[0][:4, :, ::-1])
    assert np.array_equal(gen.perturb(data[0][:4, :, ::-1], 0.), gen.perturb(turned, 0.))
    turned.flags.writeable = False
    assert gen.map(turned).shape == turned.shape


@pytest.mark.parametrize('splits, error, what', [
    (([0, 99], [1]), IndexError, 'splits holds row 99, and X has 80 rows'),
    (([0.5, 1.7], [2]), TypeError, 'splits holds .*, expected .training rows, test rows.'),
    ('train', TypeError, 'splits holds train, expected'), (5, TypeError, 'splits holds 5, expected'),
    ((['a'], [1]), TypeError, "splits holds .'a'., expected"), ((None, None), TypeError, 'splits holds')])
def test_splits_of_another_kind_are_refused(data, splits, error, what):
    with pytest.raises(error, match=what): fit(data[0], data[1], splits)


@pytest.mark.parametrize('splits', [None, slice(0, 9), range(9), 'train', 5, [([0, 1], [2, 3])] * 2])
def test_splits_without_a_test_part_are_refused_by_scores(data, splits):
    gen = fit(*data)
    with pytest.raises(ValueError, match='pass splits'): gen.evaluate(data[0], data[1], splits)


@pytest.mark.parametrize('n', [79, 81])
def test_scores_need_a_label_each(data, n):
    gen = fit(*data)
    with pytest.raises(ValueError, match=f'X has 80 rows and y {n}'): gen.evaluate(data[0], ['1'] * n, data[2])


@pytest.mark.parametrize('seed', [-1, 2 ** 40, 1.5, 'a', True])
def test_seeds_that_are_none_are_refused(data, gen, seed):
    with pytest.raises(ValueError, match='seed is .*, expected a whole number from 0'): fit(*data, seed=seed)
    with pytest.raises(ValueError, match='seed is .*, expected a whole number from 0'): gen.sample(2, seed=seed)
    assert np.array_equal(gen.sample(2, seed=np.int64(3))[0], gen.sample(2, seed=3)[0])


def test_a_file_in_a_folder_that_is_not_there_is_named(gen, tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no folder .* make it first'): gen.save(tmp_path/'no'/'x.nmvq')


# Commands

def test_commands_take_and_give_sets_of_labels(data, tmp_path, monkeypatch):
    X, y, (train, _) = data
    fit(X, [['one', 'b'] if v == '1' else ['two'] for v in y], data[2]).save(tmp_path/'lists.nmvq')
    train_shortly(monkeypatch)
    np.savez(tmp_path/'sets.npz', X=X[train].astype('>f4'), y=np.stack([y == '1', y != '1'], 1)[train])
    epochs = dict(epochs_tokenizer=1, epochs_prior=1, epochs_mapper=1)
    made = fit_command(str(tmp_path/'sets.npz'), str(tmp_path/'sets.nmvq'), **epochs)
    assert set(made.spec.vocab) == {'0', '1'} and made.spec.conditions.kind == 'labels'
    file = sample_command(str(tmp_path/'lists.nmvq'), 6, str(tmp_path/'lists.npz'), seed=0)
    assert set(np.load(file, allow_pickle=False)['y']) == {'b + one', 'two'}


# A second look

def test_the_training_loader_decides_on_gaps(data, gaps, gappy_gen):
    X, y, splits = data
    for train, valid in ((X, gaps), (gaps, X)):
        both = np.concatenate([train[:50], valid[50:]])
        augment = NMVQAugment(gappy_gen, mode='generate', seed=0)
        made = loaders(both, y, splits, augment).train.one_batch()[0][16:]
        assert made.isnan().any() == np.isnan(train[:50]).any()


def test_gaps_of_any_row_count(gappy_gen, data):
    X = np.resize(data[0], (1300, 1, 50)).copy()
    X[1250:] = np.nan_to_num(X[1250:]) + np.where(np.arange(50) == 7, NAN, 0)
    y, rows = np.resize(data[1], 1300), list(range(1300))
    augment = NMVQAugment(gappy_gen, mode='generate', seed=0)
    assert loaders(X, y, (rows, rows[:10]), augment).train.one_batch()[0][16:].isnan().any()


def test_samples_have_the_pads_of_the_loader(data, uneven):
    padded = np.nan_to_num(uneven, nan=-9.)
    gen = fit(padded, *data[1:], pad_value=-9.)
    for X, has_pads in ((padded, True), (uneven, False)):
        augment = NMVQAugment(gen, mode='generate', seed=0)
        made = loaders(X, *data[1:], augment).train.one_batch()[0][16:].as_subclass(torch.Tensor)
        assert (made == -9).any() == has_pads and made.isnan().any() != has_pads
    y = np.asarray(['a'] * 40 + ['b'] * 10)
    over = NMVQOverSampler(fit(padded[:50], y, pad_value=-9.), mode='generate', random_state=0)
    assert (over.fit_resample(padded[:50], y)[0][50:] == -9).mean() > 0.1


@pytest.mark.parametrize('func', ['map', 'perturb'])
def test_masks_are_kept_by_variations(gaps, gappy_gen, func):
    masked = np.ma.masked_array(np.nan_to_num(gaps[:5], nan=-999), np.isnan(gaps[:5]))
    how = {} if func == 'map' else dict(magnitude=0., mapped=False)
    np.testing.assert_array_equal(getattr(gappy_gen, func)(masked, **how), getattr(gappy_gen, func)(gaps[:5], **how))


@pytest.mark.parametrize('value', [0.1, 12345.678])
def test_a_constant_channel_stays_so_in_a_warp(data, value):
    X = np.concatenate([data[0], np.full_like(data[0], value)], 1)
    gen = fit(X, *data[1:])
    gen.anchors = replace(gen.anchors, strength=0.05)
    made = loaders(X, *data[1:], NMVQAugment(gen, seed=0)).train.one_batch()[0]
    assert (made[:, 1] == np.float32(value)).all() and f'channel 1: always {value:g}' in repr(gen)


def test_commands_see_what_float32_cannot_tell_apart(data, tmp_path):
    X = np.concatenate([1e6 + 0.01 * data[0].astype(float), data[0]], 1)
    np.savez(tmp_path/'far.npz', X=X[:50], y=data[1][:50])
    with pytest.raises(ValueError, match='which float32 does not tell apart'):
        fit_command(str(tmp_path/'far.npz'), str(tmp_path/'far.nmvq'))


def test_leaks_are_refused_in_splits_of_any_kind():
    windows = from_recording(np.sin(np.arange(4000) / 9), 128, 32)
    what = 'pairs of a training and a test window share steps'
    for splits in ((slice(0, 60), slice(60, None)), (slice(0, 60), list(range(60, 100))), (range(60), slice(60, None))):
        with pytest.raises(ValueError, match=what): fit(windows, None, splits)


def test_a_missing_row_of_a_channel_is_missing_at_its_time():
    rows = [(i, f, t, 100 * (f == 'b') + t) for i in range(3) for f in 'ab' for t in range(20)]
    rows.remove((1, 'b', 3, 103))
    df = pd.DataFrame(rows, columns=['id', 'feat', 't', 'v'])
    X, _ = series_from_frame(df, 'id', feat_col='feat', sort_by='t', data_cols=['v'], steps_in_rows=True)
    b = 100. + np.arange(20)
    b[3] = NAN
    np.testing.assert_array_equal(X[1], [np.arange(20), b])
    with pytest.raises(ValueError, match='channels of series 1 have different numbers of rows'):
        series_from_frame(df.drop(columns='t'), 'id', feat_col='feat', data_cols=['v'], steps_in_rows=True)


def test_lists_of_whole_number_labels_are_lists(data):
    gen = fit(data[0], [[0, 1], [0], [1], []] * 20, data[2])
    assert gen.sample(3, y=[[0, 1]] * 3, seed=0)[1].tolist() == [[0, 1]] * 3
    assert gen.spec.to_ids([[0, 1], [0, 1]]).tolist() == [gen.spec.to_ids([[0, 1], [0]])[0]] * 2
    assert gen.spec.to_ids([[], []]).tolist() == [gen.spec.to_ids([[], [0]])[0]] * 2


@pytest.mark.parametrize('ask', [{'a'}, ['a'], 'a'])
def test_a_set_of_one_label_can_be_asked_for(data, ask):
    gen = fit(data[0], [['a'], ['a', 'b']] * 40, data[2])
    assert gen.sample(3, y=ask, seed=0)[1].tolist() == [['a']] * 3


def test_small_integers_are_clipped(data):
    phase = np.random.default_rng(0).uniform(0, 6, (50, 1)) + np.linspace(0, 9, 64)
    X, y = (127.5 + 127 * np.sin(phase)).round().astype(np.uint8)[:, None], np.asarray(['a'] * 40 + ['b'] * 10)
    gen = fit(X, y)
    gen.anchors = replace(gen.anchors, strength=0.08)
    made = [NMVQOverSampler(gen, random_state=0).fit_resample(kind, y)[0][50:] for kind in (X, X.astype(np.float32))]
    assert np.array_equal(made[0], np.clip(made[1].round(), 0, 255)) and made[0].dtype == np.uint8


def test_two_transforms_mark_their_rows_alike(data):
    gen = fit(*data)
    xb, _ = loaders(*data, NMVQAugment(gen, seed=0), NMVQAugment(gen, mode='generate', seed=1)).train.one_batch()
    assert (xb.n_real, xb.n_rows, len(xb)) == (16, 64, 64)


def test_balance_without_a_known_rare_class_goes_on(data):
    X, y, splits = data
    gen = fit(X, np.where(np.arange(80) % 2, 'q', '1'), splits)
    for names in (['z', '1'], ['z', 'x']):
        y = np.asarray(names)[(np.arange(80) % 5 > 0).astype(int)]
        how = dict(mode='generate', balance=True, append=False, unknown='skip', p=0.3)
        assert len(loaders(X, y, splits, NMVQAugment(gen, **how)).train.one_batch()[0]) == 16


def test_an_oversampler_warps_by_any_generator(data, target_gen):
    X, y = data[0][:50], np.asarray(['a'] * 40 + ['b'] * 10)
    for gen in (target_gen, fit(X)): assert len(NMVQOverSampler(gen, random_state=0).fit_resample(X, y)[0]) == 80


def test_missing_labels_are_named_by_their_row_in_scores(data):
    gen, y = fit(*data), data[1].astype(object)
    y[60] = None
    for func in (gen.evaluate, gen.show):
        with pytest.raises(ValueError, match='label 60 is missing'): func(data[0], y, data[2])


@pytest.mark.parametrize('func', ['evaluate', 'show'])
def test_seeds_are_checked_everywhere(data, gen, func):
    with pytest.raises(ValueError, match='seed is -1'): getattr(gen, func)(*data, seed=-1)


def test_a_checkpoint_of_other_labels_is_refused(data, tmp_path):
    X, y, splits = data
    gen = fit(X, y, splits, checkpoint=tmp_path/'gen.nmvq')
    other = y.copy()
    other[:50] = np.random.default_rng(0).permutation(y[:50])            # the same number of each
    with pytest.raises(ValueError, match='made from other data'): fit(X, other, splits, checkpoint=tmp_path/'gen.nmvq')
    with pytest.raises(ValueError, match='these are other series than'): fit(X, other, splits, gen=gen, method='refit')


def test_an_older_file_of_bounded_channels_goes_on(tmp_path):
    X = (np.random.default_rng(0).random((40, 1, 32)) > 0.5).astype(float)
    gen = fit(X)
    assert gen.spec.values
    gen.spec = replace(gen.spec, values=(), digest=None)                 # what a file of format 6 knows
    gen.save(tmp_path/'older.nmvq')
    again = fit(X, checkpoint=tmp_path/'older.nmvq')
    assert set(np.unique(again.sample(9, seed=0)[0])) <= {0, 1} and again.spec.digest is not None
    assert fit(X, gen=NMVQGenerator.load(tmp_path/'older.nmvq'), method='refit').spec.values


def test_sets_that_only_the_test_split_has_are_scored_and_left_out_of_shows(data, monkeypatch):
    quick_classifiers(monkeypatch)
    X, y, splits = data
    sets = [['a', 'b'] if v == '1' else ['a'] for v in y]
    gen = fit(X, sets, splits)
    sets[60], sets[61] = ['b'], []
    assert gen.evaluate(X, sets, splits, n_draws=1).drop(columns='novelty').notna().all(None)
    assert len(gen.show(X, sets, splits)) == 4
    plt.close('all')
