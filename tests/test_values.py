"""Channels keep to the values that they take: few, whole numbers, bounds; what is free stays free."""
import json

import numpy as np
import pytest
import torch

from tsai_nmvq.data.spec import SeriesSpec
from tsai_nmvq.data.values import FREE, ChannelValues, ValueCounts, ValueGrid

RNG = np.random.default_rng(0)


def seen(*chunks):
    counts = ValueCounts()
    for chunk in chunks: counts.add(torch.as_tensor(np.asarray(chunk), dtype=torch.float32))
    return counts.values


@pytest.mark.parametrize('x, values', [
    (RNG.standard_normal(5000), FREE), (np.full(5000, 3.), ChannelValues(grid=(3.,))), ([], FREE),
    (RNG.integers(0, 2, 5000), ChannelValues(grid=(0., 1.))),
    (RNG.choice([-1.5, 0.25, 7], 5000), ChannelValues(grid=(-1.5, 0.25, 7.))),
    (RNG.poisson(3, 5000) * 10, ChannelValues(grid=tuple(np.unique(RNG.poisson(3, 5000) * 10.)))),
    (RNG.poisson(200, 5000), ChannelValues(whole=True, low=0.)),
    (RNG.integers(-500, 500, 5000), ChannelValues(whole=True)),
    (RNG.exponential(size=5000), ChannelValues(low=0.)),
    (np.maximum(RNG.standard_normal(5000), -1), ChannelValues(low=-1.)),
    (np.clip(RNG.standard_normal(5000), -1, 1), ChannelValues(low=-1., high=1.)),
    (RNG.integers(0, 2, 60), ChannelValues(whole=True, low=0., high=1.)), # too few for a grid
], ids=range(12))
def test_values_are_recognised(x, values):
    found = seen(x)
    if values.grid and len(values.grid) > 5: assert found.grid and set(found.grid) <= {10. * i for i in range(20)}
    else: assert found == values
    assert seen(*np.array_split(np.asarray(x), 7)) == found              # whatever the chunks


def test_a_gappy_range_of_counts_is_no_grid():
    x = np.r_[RNG.integers(0, 20, 5000), 24]
    assert seen(x) == ChannelValues(whole=True, low=0.)


def test_series_are_put_onto_the_values():
    values = ChannelValues(grid=(0., 1.)), ChannelValues(whole=True, low=0.), ChannelValues(high=1.), FREE
    x = 3 * torch.randn(50, 4, 30)
    made = ValueGrid(values, 'cpu')(x.clone())
    assert set(made[:, 0].unique().tolist()) == {0., 1.} and torch.equal(made[:, 0] == 1, x[:, 0] > 0.5)
    assert torch.equal(made[:, 1], x[:, 1].round().clamp_min(0)) and torch.equal(made[:, 2], x[:, 2].clamp_max(1))
    assert torch.equal(made[:, 3], x[:, 3])


def test_free_channels_and_gaps_are_left_alone():
    x = torch.randn(3, 2, 8)
    assert ValueGrid((), 'cpu')(x) is x and ValueGrid((FREE, FREE), 'cpu')(x) is x
    x[0, 0, 0] = torch.nan
    assert ValueGrid((ChannelValues(grid=(0., 1.)), FREE), 'cpu')(x)[0, 0, 0].isnan()


def test_values_print_as_words_and_go_through_json():
    values = ChannelValues(grid=(0., 1.)), ChannelValues(whole=True, low=0.), FREE
    assert [str(v) for v in values] == ['one of 0, 1', 'whole numbers, 0 or more', 'any']
    spec = SeriesSpec(3, 16, 20, (0.,) * 3, (1.,) * 3, values=values)
    assert SeriesSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
