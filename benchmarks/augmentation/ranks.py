"""Treatments over sets: gains over none, mean ranks, wins and losses, a test, and a plot."""
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, wilcoxon

__all__ = ['summary', 'gains', 'plot_ranks']

DRAW = 0.5 # points: closer means are a draw


def gains(
    runs:pd.DataFrame, # A row a run: data, network, treatment, seed and scores
    score:str='accuracy' # Column
) -> pd.DataFrame: # Rows: treatment and network; columns: sets. Points over none, means over seeds
    "What each treatment adds, set by set."
    means = runs.groupby(['treatment', 'network', 'data'], sort=False)[score].mean() * 100
    wide = means.unstack('data')
    return (wide - wide.loc['none']).drop(index='none', level='treatment')


def summary(
    runs:pd.DataFrame, # A row a run: data, network, treatment, seed and scores
    score:str='accuracy' # Column
) -> pd.DataFrame: # A row a network and treatment
    "Mean score, mean rank, gain over none with wins, draws and losses, the worst set, and Wilcoxon's p over sets."
    rows = []
    for network, part in runs.groupby('network', sort=False):
        means = part.pivot_table(index='data', columns='treatment', values=score, sort=False) * 100
        means = means.dropna()                                           # sets on which every treatment ran
        ranks = pd.DataFrame(rankdata(-means.round(6), axis=1), means.index, means.columns).mean()
        for treatment in means:
            gain = means[treatment] - means['none']
            rows.append({'network': network, 'treatment': treatment, 'sets': len(means),
                         f'{score}, %': means[treatment].mean(), 'gain': gain.mean(), 'worst': gain.min(),
                         'won': int((gain > DRAW).sum()), 'drawn': int((gain.abs() <= DRAW).sum()),
                         'lost': int((gain < -DRAW).sum()), 'p': _p_value(gain), 'mean rank': ranks[treatment]})
    return pd.DataFrame(rows)


def plot_ranks(
    table:pd.DataFrame, # From `summary`
    file:Path # PNG
):
    "Mean ranks, one row a network; further left is better."
    from matplotlib.figure import Figure
    networks = table.network.unique()
    fig = Figure(figsize=(8, 0.8 + 1.1 * len(networks)), layout='constrained')
    for ax, network in zip(fig.subplots(len(networks), 1, squeeze=False)[:, 0], networks):
        part = table[table.network == network].sort_values('mean rank')
        ax.scatter(part['mean rank'], np.zeros(len(part)), s=20, color='black')
        for i, row in enumerate(part.itertuples()):
            ax.annotate(row.treatment, (part['mean rank'].iloc[i], 0), rotation=35, fontsize=7, xytext=(0, 5),
                        textcoords='offset points')
        ax.set(title=network, yticks=[], ylim=(-0.2, 1), xlabel='mean rank')
        ax.spines[['left', 'top', 'right']].set_visible(False)
    fig.savefig(file, dpi=110)


def _p_value(gain): # two-sided; 1 where there is no difference
    return float(wilcoxon(gain).pvalue) if gain.abs().max() > 0 else 1.
