"""Long tables as series: tsai's column names, series of any lengths."""
import numpy as np
import pandas as pd

from .containers import LISTS, as_labels_array, frame_values, laid_out

__all__ = ['series_from_frame']


def series_from_frame(
    df, # DataFrame; it is left as it is
    sample_col, # Column(s) that name the series; None if each row is one
    feat_col=None, # Column that names the channel, where channels have their own rows
    steps_in_rows:bool=None, # A row a step, a column a channel, or a row a series; None: if samples repeat
    data_cols=None, # Columns of values; by default all that are not named here
    target_col=None, # Column(s) of the target, the same in all rows of a series
    sort_by=None # Column(s) that sort the steps; by default they are in order
) -> tuple: # (X [n, c_in, seq_len] sorted by sample_col, NaN after a series' end; y [n] or [n, k], or None)
    "tsai's `df2xy` for series of any lengths, with one target each."
    samples, features, targets, order = map(_columns, (sample_col, feat_col, target_col, sort_by))
    data = _columns(data_cols) or [col for col in df.columns if col not in {*samples, *features, *targets, *order}]
    absent = [col for col in (*samples, *features, *targets, *order, *data) if col not in df.columns]
    if not data: raise ValueError(f"df has no columns of values beside {list(df.columns)}; name them as data_cols")
    if absent: raise ValueError(f"df has no columns {absent}, it has {list(df.columns)}; name some of these")
    if order: df = df.sort_values(order, kind='stable')
    sample = _group_ids(df, samples) if samples else np.arange(len(df))
    feature = _group_ids(df, features) if features else np.zeros(len(df), int)
    values = frame_values(df[data], 'df', 'choose data_cols of numbers')
    X = laid_out(sample, feature, values, _steps(df, sample, feature, order))
    n, n_features, n_rows, _ = X.shape
    if steps_in_rows is None: steps_in_rows = n_rows > 1
    by_row = steps_in_rows and not features
    X = X[:, 0].swapaxes(1, 2) if by_row else X.reshape(n, n_features, n_rows * len(data))
    return np.ascontiguousarray(X), _targets(df, samples, sample, targets) if targets else None


def _columns(names): # one name or several -> list
    return [] if names is None else list(names) if isinstance(names, (*LISTS, pd.Index, np.ndarray)) else [names]


def _group_ids(df, columns): # of each row, in the order of their values
    missing = df[columns].isna().to_numpy().any(1)
    if missing.any():
        raise ValueError(f"df has no {columns} in row {int(missing.argmax())}; fill or drop such rows first")
    return df.groupby(columns, sort=True, observed=True).ngroup().to_numpy()


def _targets(df, samples, sample, columns): # -> [n] or [n, k]
    first = np.unique(sample, return_index=True)[1]
    for col in columns:
        ids = pd.factorize(df[col])[0]
        differs = ids != ids[first][sample]
        if differs.any():
            name = df[samples].iloc[int(differs.argmax())].tolist()
            raise ValueError(f"{col!r} differs between the rows of series {name}, expected one target a series; "
                             "make it one in another column first")
    return as_labels_array(df[columns[0] if len(columns) == 1 else columns].iloc[first])


def _steps(df, sample, feature, order): # of each row in its series; None where rows stand in order
    if order: # a time at which a channel has no row is missing there
        time = pd.Series(df.groupby(order, sort=True).ngroup().to_numpy())
        return time.groupby(sample).rank('dense').to_numpy().astype(int) - 1 if feature.any() else None
    counts = pd.crosstab(sample, feature).replace(0, np.nan)
    uneven = (counts.max(axis=1) != counts.min(axis=1)).to_numpy()
    if uneven.any():
        raise ValueError(f"channels of series {int(uneven.argmax())} have different numbers of rows, so that steps do "
                         "not stand side by side; name the column of time as sort_by")
    return None
