"""Masking: how many tokens stay hidden, and which."""
import math

import pytest
import torch
from scipy.stats import chisquare, kstest

from tsai_nmvq.models.schedule import mask_ratio, n_masked_after, random_mask, settling_order


def test_mask_ratio_is_the_cosine_from_one_to_zero():
    assert [mask_ratio(r) for r in (0., 1 / 3, 0.5, 2 / 3, 1.)] == pytest.approx([1, 3 ** 0.5 / 2, 0.5 ** 0.5, 0.5, 0], abs=1e-12)
    r = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(mask_ratio(r), torch.tensor([mask_ratio(v) for v in r.tolist()], dtype=torch.float64))


@pytest.mark.parametrize('n_tokens', [1, 2, 9, 74, 1000])
@pytest.mark.parametrize('n_steps', [1, 2, 3, 10, 100])
def test_masked_counts_follow_the_schedule_never_rise_and_end_at_zero(n_steps, n_tokens):
    counts = [n_masked_after(step, n_steps, n_tokens) for step in range(n_steps)]
    assert counts[-1] == 0 and [n_tokens, *counts] == sorted([n_tokens, *counts], reverse=True)
    for step, n in enumerate(counts[:-1]): assert 0 <= math.cos(math.pi / 2 * (step + 1) / n_steps) * n_tokens - n < 1


def test_every_decoding_settles_something_where_tokens_abound():
    counts = [n_masked_after(step, 10, 74) for step in range(10)]
    assert all(before > after for before, after in zip([74, *counts], counts[1:]))


# Training masks

@pytest.mark.parametrize('n_tokens', [1, 2, 9, 74])
def test_training_masks_hide_at_least_one_token(n_tokens):
    mask = random_mask(2000, n_tokens)
    assert mask.shape == (2000, n_tokens) and mask.dtype == torch.bool and mask.any(1).all()


def test_training_masks_hide_a_cosine_share():
    "The number hidden is ⌈γ(r) n⌉ with r uniform: inverting γ gives the uniform back."
    share = (random_mask(3000, 500).sum(1) - torch.rand(3000)) / 500 # somewhere between the steps of ⌈⌉
    assert kstest((2 / math.pi * share.acos()).numpy(), 'uniform').pvalue > 1e-4


def test_training_masks_hide_all_positions_alike():
    mask = random_mask(20_000, 6)
    one = mask[mask.sum(1) == 1]
    assert len(one) > 1000 and chisquare(one.sum(0).numpy()).pvalue > 1e-4


def test_training_masks_come_from_their_generator():
    state = torch.get_rng_state()
    a, b, c = (random_mask(8, 20, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), state)


# Confidence re-masking

def test_the_most_confident_tokens_settle_first():
    confidence = torch.tensor([[-1., -5., -3., -2.], [-9., -1., -2., -8.]])
    assert settling_order(confidence).tolist() == [[0, 3, 2, 1], [1, 2, 3, 0]]


@pytest.mark.parametrize('choice_temp', [0., 4., 1e9])
def test_every_token_has_one_place_in_the_order(choice_temp):
    order = settling_order(torch.randn(500, 12), choice_temp)
    assert torch.equal(order.sort(1).values, torch.arange(12).expand(500, 12))


def test_confidence_noise_is_gumbel():
    "With Gumbel noise of weight 1, the token that settles first of two is drawn with probability softmax(confidence)."
    first = settling_order(torch.tensor([0.3, 0.7]).log().expand(20_000, 2), 1.)[:, 0]
    assert chisquare(torch.bincount(first).numpy(), [6000, 14000]).pvalue > 1e-4


def test_confidence_noise_grows_with_its_temperature():
    confidence = torch.tensor([[-1., -2., -3., -4.]]).expand(4000, 4)
    last = [(settling_order(confidence, t)[:, -1] == 3).float().mean().item() for t in (0., 0.5, 2., 10., 1e9)]
    assert last[0] == 1 and last == sorted(last, reverse=True) and last[-1] == pytest.approx(0.25, abs=0.03)


def test_the_order_comes_from_its_generator():
    confidence, state = torch.zeros(8, 20), torch.get_rng_state()
    a, b, c = (settling_order(confidence, 3., torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), state)
