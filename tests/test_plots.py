"""What is drawn is what was given."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from tsai_nmvq.plots import plot_features, plot_pairs, plot_series, plot_sets, plot_tau


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')


def test_series_are_drawn_by_class_in_one_channel():
    x, y = np.random.randn(5, 2, 30), np.array(list('abbab'))
    ax = plot_series(x, y, channel=1, title='real')
    drawn = np.stack([line.get_ydata() for line in ax.lines])
    assert np.array_equal(drawn, x[np.argsort(y, kind='stable'), 1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ['a', 'b'] and ax.get_title() == 'real'
    assert len({line.get_color() for line in ax.lines[:2]} | {line.get_color() for line in ax.lines[2:]}) == 2


def test_pairs_lie_over_one_another():
    first, second = torch.randn(3, 1, 20), torch.randn(3, 1, 20)
    axs = plot_pairs(first, second, ('real', 'mapped'))
    assert [len(ax.lines) for ax in axs] == [2, 2, 2]
    assert np.array_equal(axs[1].lines[1].get_ydata(), second[1, 0].numpy())


def test_plane_of_features_is_that_of_the_first_set():
    first = torch.cat((torch.tensor([[9., 0.], [-9., 0.], [0., 4.], [0., -4.]]), torch.zeros(4, 6)), 1)
    ax = plot_features({'real': first, 'shifted': first + torch.tensor([30., 0, 0, 0, 0, 0, 0, 0])})
    real, shifted = (points.get_offsets().data for points in ax.collections)
    assert np.allclose(np.abs(shifted - real).mean(0), [30, 0])
    assert np.allclose(real.mean(0), 0, atol=1e-6)


@pytest.mark.parametrize('y', [None, np.array(list('aabbab'))])
def test_sets_are_drawn_side_by_side_in_the_range_of_the_first(y):
    sets = {name: scale * np.random.randn(6, 2, 20) for name, scale in dict(real=1, decoded=9, mapped=0.5).items()}
    axs = plot_sets(sets, {name: torch.as_tensor(x).flatten(1) for name, x in sets.items()}, y, n=5, channel=1)
    assert len(axs) == 4 and [ax.get_title() for ax in axs[:3]] == list(sets)
    first = sets['real'][:5, 1]
    margin = 0.2 * (first.max() - first.min())
    for ax, x in zip(axs, sets.values()):
        rows = x[:5, 1] if y is None else x[:5, 1][np.argsort(y[:5], kind='stable')]
        assert np.array_equal(np.stack([line.get_ydata() for line in ax.lines]), rows)
        assert ax.get_ylim() == pytest.approx((first.min() - margin, first.max() + margin))
        assert len({line.get_color() for line in ax.lines}) == (1 if y is None else 2)
    assert [len(points.get_offsets()) for points in axs[3].collections] == [6, 6, 6]
    assert [text.get_text() for text in axs[3].get_legend().get_texts()] == list(sets)


def test_sets_go_into_the_axes_that_are_given():
    axs = plt.subplots(1, 4)[1]
    x = np.random.randn(3, 1, 20)
    assert plot_sets({'real': x, 'decoded': x}, {'real': torch.as_tensor(x).flatten(1)}, axs=axs) is axs
    assert [len(ax.lines) for ax in axs] == [3, 3, 0, 0]


def test_tau_and_its_choice_are_in_view():
    table = pd.DataFrame(dict(tau=[2., 0., 0.1], fid=[0.3, 0.2, 0.1]))
    ax = plot_tau(table, 0.1)
    assert ax.lines[0].get_xdata().tolist() == [0., 0.1, 2.] and ax.lines[1].get_xdata()[0] == 0.1
    assert ax.get_xlim()[0] == 0 and ax.get_xlim()[1] > 2
