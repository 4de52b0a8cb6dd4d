"""Gaps are filled by straight lines, ends are held, and what was missing stays missing."""
import numpy as np
import pytest
import torch

from tsai_nmvq.data.missing import Gaps, fill_gaps, hold_last, is_complete, lengths_of, padding_to_nan, with_gaps

NAN = float('nan')


def holey(n=20, c_in=2, seq_len=40, share=0.3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c_in, seq_len, generator=rng)
    return torch.where(torch.rand(x.shape, generator=rng) < share, torch.nan, x)


def test_gaps_are_filled_as_numpy_interpolates():
    x = holey()
    filled, steps = fill_gaps(x), np.arange(40)
    for series, made in zip(x.flatten(0, 1).numpy(), filled.flatten(0, 1).numpy()):
        there = np.isfinite(series)
        np.testing.assert_allclose(made, np.interp(steps, steps[there], series[there]), atol=1e-6)
    assert torch.equal(filled[x.isfinite()], x[x.isfinite()])


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_missing(value):
    x = torch.arange(6.).repeat(1, 1, 1)
    x[..., 2:4] = value
    assert fill_gaps(x).tolist() == [[[0, 1, 2, 3, 4, 5]]]


def test_an_empty_channel_is_filled_with_what_it_is_told():
    x = torch.full((3, 2, 5), torch.nan)
    x[:, 0] = 7
    assert (fill_gaps(x, torch.tensor([[1.], [-2.]]))[:, 1] == -2).all() and (fill_gaps(x)[:, 1] == 0).all()


def test_complete_series_stay_bit_by_bit():
    x = torch.randn(5, 2, 30)
    assert torch.equal(fill_gaps(x), x) and is_complete(x) and not is_complete(holey())
    gaps = Gaps(x)
    assert gaps.filled is x and gaps.put_back(2 * x).equal(2 * x) and gaps.lengths is None


def test_gradients_pass_to_what_is_there_alone():
    x = holey(4).requires_grad_()
    fill_gaps(x).square().sum().backward()
    assert x.grad.isfinite().all() and (x.grad[~x.isfinite()] == 0).all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_types_are_kept(dtype): assert fill_gaps(holey().to(dtype)).dtype == dtype


# Lengths

def test_a_series_ends_where_its_last_channel_does():
    x = torch.tensor([[[1, 2, NAN, NAN], [1, NAN, 3, NAN]], [[1, NAN, NAN, NAN]] * 2, [[NAN] * 4] * 2])
    assert lengths_of(x.isfinite()).tolist() == [3, 1, 0]


def test_padding_is_the_run_at_the_end_in_all_channels():
    x = torch.tensor([[[0., 1, 0, 0], [0, 1, 2, 0]], [[0, 0, 0, 0], [0, 0, 0, 5]]])
    marked = padding_to_nan(x, 0.)
    assert marked.isnan().tolist() == [[[False, False, False, True]] * 2, [[False] * 4] * 2]
    assert padding_to_nan(x, None) is x


def test_the_last_value_is_held():
    x = torch.arange(8.).view(2, 1, 4)
    assert hold_last(x, torch.tensor([2, 4])).tolist() == [[[0, 1, 1, 1]], [[4, 5, 6, 7]]]


@pytest.mark.parametrize('pad_value, ends', [(None, NAN), (0., 0.)])
def test_series_take_the_gaps_and_the_ends_of_others(pad_value, ends):
    present = torch.tensor([[[True, False, True, False]]])
    made = with_gaps(torch.full((1, 1, 4), 9.), present, pad_value)
    np.testing.assert_equal(made.numpy(), [[[9, NAN, 9, ends]]])


def test_gaps_are_put_back_as_they_came():
    x = holey()
    x[0, 0, 1] = torch.inf
    gaps = Gaps(x)
    assert gaps.filled.isfinite().all() and gaps.lengths.tolist() == lengths_of(x.isfinite()).tolist()
    back = gaps.put_back(gaps.filled + 1)
    there = x.isfinite()
    assert torch.equal(back[there], x[there] + 1) and torch.equal(back[~there].isnan(), x[~there].isnan())
    assert back[0, 0, 1] == torch.inf
