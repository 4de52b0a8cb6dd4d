"""Pictures of series: side by side, one over another, and as points in the plane of their features."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor

__all__ = ['plot_series', 'plot_pairs', 'plot_features', 'plot_sets', 'plot_tau']

SHOWN_SERIES = 200 # of each set, as points of `plot_sets`


def plot_series(
    x, # Series [n, c_in, seq_len], array or tensor
    y=None, # Labels [n]: a colour each; one colour without
    channel:int=0, # Channel that is drawn
    ax=None, # matplotlib axes; made by default
    **kwargs # Passed to `ax.set`: title, ylim, ...
): # matplotlib axes
    "Series over one another, coloured by class."
    ax = ax or plt.subplots(figsize=(4, 3))[1]
    x, classes = _array(x)[:, channel], [None] if y is None else np.unique(y)
    for i, label in enumerate(classes):
        rows = x if label is None else x[np.asarray(y) == label]
        lines = ax.plot(rows.T, color=f'C{i % 10}', lw=0.8, alpha=0.5)
        if label is not None and lines: lines[0].set_label(str(label))
    if 1 < len(classes) <= 10: ax.legend(fontsize='small')
    ax.set(**kwargs)
    return ax


def plot_pairs(
    first, # Series [n, c_in, seq_len], array or tensor
    second=None, # Series drawn dashed over them, or None
    labels:tuple=('', ''), # Names of the two
    titles=None, # One a series
    axs=None # matplotlib axes [n]; made by default
): # matplotlib axes [n]
    "Each series in axes of its own, with its counterpart."
    first = _array(first)
    if axs is None: axs = plt.subplots(1, len(first), figsize=(4 * len(first), 3), squeeze=False)[1][0]
    for i, ax in enumerate(axs):
        ax.plot(first[i].T, lw=1.2, color='C0')
        if second is not None: ax.plot(_array(second[i]).T, lw=1.2, ls='--', color='C1')
        if titles is not None: ax.set_title(titles[i])
    if second is not None: axs[0].legend([axs[0].lines[0], axs[0].lines[-1]], labels)
    return axs


def plot_features(
    sets:dict, # {name: features [n, d]}; the plane is that of the first set's two largest principal components
    ax=None # matplotlib axes; made by default
): # matplotlib axes
    "Sets of features as points in one plane."
    ax = ax or plt.subplots(figsize=(4, 3))[1]
    sets = {name: torch.as_tensor(f).detach().cpu().double() for name, f in sets.items()}
    first = next(iter(sets.values()))
    plane = torch.linalg.svd(first - first.mean(0), full_matrices=False).Vh[:2].T
    for (name, f), marker in zip(sets.items(), 'ox^sv'):
        x, y = ((f - first.mean(0)) @ plane).T.numpy()
        ax.scatter(x, y, s=12, marker=marker, alpha=0.6, lw=1 if marker == 'x' else 0, label=name)
    ax.legend(fontsize='small')
    ax.set(title='PCA of ROCKET features', xticks=[], yticks=[])
    return ax


def plot_sets(
    sets:dict, # {name: series [n, c_in, seq_len]}, three at most; the first set's range is shown
    features:dict, # {name: features [n, d]}
    y=None, # Labels of each set [n]: a colour each
    n:int=20, # Series of each set
    channel:int=0, # Channel that is drawn
    axs=None # Four matplotlib axes; made by default
): # matplotlib axes [4]
    "Sets of series side by side, and all of them as points in the plane of their features."
    if axs is None: axs = plt.subplots(1, 4, figsize=(17, 3.2), layout='constrained')[1]
    first = _array(next(iter(sets.values())))[:n, channel]
    low, high = np.nanmin(first), np.nanmax(first)
    ylim = low - 0.2 * (high - low), high + 0.2 * (high - low)
    for ax, (name, x) in zip(axs, sets.items()):
        plot_series(x[:n], None if y is None else y[:n], channel, ax, title=name, ylim=ylim)
    plot_features(features, axs[3])
    return axs


def plot_tau(
    table:pd.DataFrame, # Columns tau, fid
    tau:float, # The one chosen
    ax=None # matplotlib axes; made by default
): # matplotlib axes
    "FID against τ, the choice marked."
    ax = ax or plt.subplots(figsize=(5, 3))[1]
    table = table.sort_values('tau')
    ax.plot(table.tau, table.fid, 'o-')
    ax.axvline(tau, ls=':', color='grey')
    ax.set_xscale('symlog', linthresh=max(table.tau[table.tau > 0].min(), 1e-6))
    ax.set_xlim(0, 1.3 * table.tau.max())
    ax.set(xlabel='τ (squared latent distance)', ylabel="FID(X̂, X̃'τ)", title=f'τ* = {tau:.3g}')
    return ax


def _array(x): return x.detach().float().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
