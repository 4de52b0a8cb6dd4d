"""Readers of .npy and .npz files and of UCR folders: every form gives the same series, and a bad file is named."""
import numpy as np
import pytest
from wave_files import TEST, TRAIN, same_data, write_waves

from tsai_nmvq.data.files import joined_parts, read_labelled, read_parts, read_windows


@pytest.fixture(scope='module')
def files(tmp_path_factory): return write_waves(tmp_path_factory.mktemp('data'))


@pytest.mark.parametrize('data, labels, parts', [
    ('parts.npz', None, (TRAIN, TEST)),
    ('parts_test.npz', None, (TRAIN, TEST)),
    ('train.npz', None, (TRAIN,)),
    ('bytes.npz', None, (TRAIN,)),
    ('unlabelled.npz', None, ((TRAIN[0], None),)),
    ('series.npy', 'labels.npy', (TRAIN,)),
    ('rows.npy', 'labels.npy', (TRAIN,)),
    ('rows.npy', None, ((TRAIN[0], None),)),
])
def test_every_kind_of_file_gives_the_same_series(files, data, labels, parts):
    found = read_parts(files/data, labels=labels and files/labels)
    assert len(found) == len(parts) and all(map(same_data, found, parts))


@pytest.mark.parametrize('name', ['ECG200', 'ecg200'])
def test_ucr_set_comes_from_tsais_cache(files, name):
    found = read_parts(name, files)
    assert len(found) == 2 and all(map(same_data, found, (TRAIN, TEST)))


def test_gunpoint_comes_with_the_archives_split(gunpoint):
    X, y, splits = gunpoint
    assert all(map(same_data, read_labelled('GunPoint', None), [(X[split], y[split]) for split in splits]))


def test_gunpoint_in_a_folder_is_read_from_there(files, tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no UCR set GunPoint'): read_labelled('GunPoint', files)
    (tmp_path/'data').symlink_to(files/'data')
    (files/'data/UCR/GunPoint').symlink_to(files/'data/UCR/ECG200')
    try: assert all(map(same_data, read_labelled('GunPoint', tmp_path), (TRAIN, TEST)))
    finally: (files/'data/UCR/GunPoint').unlink()


@pytest.mark.parametrize('data', ['parts.npz', 'parts_test.npz'])
def test_labelled_series_are_those_of_both_parts(files, data):
    assert all(map(same_data, read_labelled(files/data), (TRAIN, TEST)))


def test_parts_are_joined_with_their_splits():
    X, y, (train, test) = joined_parts(TRAIN, TEST)
    assert same_data((X[train], y[train]), TRAIN) and same_data((X[test], y[test]), TEST)
    assert len(X) == len(train) + len(test)
    X, y, _ = joined_parts((TRAIN[0], None), (TEST[0], None))
    assert len(X) == len(train) + len(test) and y is None


# One long recording

def test_a_recording_stays_on_disk_and_its_last_fifth_is_for_tests(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(2, 1000)), np.repeat([b'a', b'b'], 500)
    np.save(tmp_path/'long.npy', x)
    np.save(tmp_path/'steps.npy', y)
    windows, labels, (train, test) = read_windows(tmp_path/'long.npy', 50, labels=tmp_path/'steps.npy')
    assert isinstance(windows.recordings[0].base, np.memmap) and np.array_equal(windows[3], x[:, 150:200])
    assert labels.tolist() == ['a'] * 10 + ['b'] * 10 and windows.starts[test].tolist() == [800, 850, 900, 950]
    assert train.tolist() == list(range(16))
    np.save(tmp_path/'long.npy', x[0])
    windows, labels, _ = read_windows(tmp_path/'long.npy', 50, 10)
    assert windows.shape == (96, 1, 50) and labels is None


@pytest.mark.parametrize('data, window, error, match', [
    ('parts.npz', 16, ValueError, 'windows are cut out of an .npy of one recording, not of .*parts.npz'),
    ('ECG200', 16, ValueError, 'windows are cut out of an .npy of one recording'),
    ('rows.npy', None, ValueError, 'a stride alone came, expected the steps of a window too; add --window'),
    ('none.npy', 16, FileNotFoundError, 'there is no file .*none.npy'),
    ('labels.npy', 16, TypeError, 'of <U1, expected real numbers'),
    ('series.npy', 16, ValueError, r'x has shape \(16, 1, 32\), expected a recording .* a set of series already')])
def test_what_is_no_recording_is_refused(files, data, window, error, match):
    with pytest.raises(error, match=match): read_windows(files/data, window, 8)


# Mistakes

@pytest.mark.parametrize('X, y, error, match', [
    (TRAIN[0].astype(str), None, TypeError, 'X in .*bad.npz has type <U.*, expected numbers'),
    (TRAIN[0] * [np.inf], None, ValueError, r'series 0 of X in .*bad.npz holds inf \(16 such series\); fill or'),
    (TRAIN[0], TRAIN[1][:3], ValueError, r'X in .*bad.npz has shape \(16, 1, 32\) and y \(3,\), expected one label'),
    (TRAIN[0], np.zeros((16, 2, 2)), ValueError, r'y \(16, 2, 2\), expected one label a series, or a row of labels'),
], ids=['words', 'inf', 'labels', 'two labels'])
def test_bad_arrays_are_named(tmp_path, X, y, error, match):
    np.savez(tmp_path/'bad.npz', **dict(X=X) | ({} if y is None else dict(y=y)))
    with pytest.raises(error, match=match): read_parts(tmp_path/'bad.npz')


@pytest.mark.parametrize('name', ['bad.npz', 'bad.npy'])
def test_nothing_in_a_file_is_executed(tmp_path, name):
    class Bomb:
        def __reduce__(self): return (tmp_path/'executed').touch, ()
    bomb = np.asarray([Bomb()], dtype=object)
    if name == 'bad.npy': np.save(tmp_path/name, bomb, allow_pickle=True)
    else: np.savez(tmp_path/name, X=bomb)
    with pytest.raises(ValueError, match=f'{name} holds objects'): read_parts(tmp_path/name)
    assert not (tmp_path/'executed').exists()


@pytest.mark.parametrize('train, test, match', [
    (TRAIN, (TEST[0][..., :20], TEST[1]), r'training series have shape \(16, 1, 32\) and test series \(12, 1, 20\)'),
    ((TRAIN[0], None), TEST, 'only one of training and test series has labels'),
    (TRAIN, (TEST[0], None), 'only one of training and test series has labels'),
], ids=['steps', 'no training labels', 'no test labels'])
def test_parts_that_do_not_match_are_not_joined(train, test, match):
    with pytest.raises(ValueError, match=match): joined_parts(train, test)
