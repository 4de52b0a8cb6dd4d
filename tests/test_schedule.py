"""Masking: how many tokens stay hidden, and which."""
import math

import pytest
import torch
from scipy.stats import chisquare, kstest

from tsai_nmvq.models.schedule import mask_ratio, n_masked_after, random_mask, remask


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

def test_least_confident_tokens_go_back():
    confidence = torch.tensor([[-1., -5., -3., -2.], [-9., -1., -2., -8.]])
    masked = torch.ones(2, 4, dtype=torch.bool)
    assert remask(confidence, masked, 2).tolist() == [[False, True, True, False], [True, False, False, True]]


@pytest.mark.parametrize('choice_temp', [0., 4., torch.inf])
@pytest.mark.parametrize('n_masked', [0, 1, 3, 5])
def test_exactly_so_many_go_back_and_none_that_was_known(n_masked, choice_temp):
    confidence, masked = torch.randn(500, 12), torch.rand(500, 12).argsort(1) < 5 # five a row are open
    confidence[~masked] = -100. # known tokens are the least confident of all
    back = remask(confidence, masked, n_masked, choice_temp)
    assert (back.sum(1) == n_masked).all() and not (back & ~masked).any()


def test_more_than_there_are_masked_keeps_known_tokens():
    masked = torch.tensor([[True, False, False, True]])
    assert torch.equal(remask(torch.zeros(1, 4), masked, 3, 1.), masked)


def test_confidence_noise_is_gumbel():
    "With Gumbel noise of weight 1, the token kept of two is drawn with probability softmax(confidence)."
    confidence = torch.tensor([0.3, 0.7]).log().expand(20_000, 2)
    back = remask(confidence, torch.ones(20_000, 2, dtype=torch.bool), 1, 1.)
    assert chisquare((~back).sum(0).numpy(), [6000, 14000]).pvalue > 1e-4


def test_confidence_noise_grows_with_its_temperature():
    confidence, masked = torch.tensor([[-1., -2., -3., -4.]]).expand(4000, 4), torch.ones(4000, 4, dtype=torch.bool)
    back = [remask(confidence, masked, 1, t)[:, 3].float().mean().item() for t in (0., 0.5, 2., 10., torch.inf)]
    assert back[0] == 1 and back == sorted(back, reverse=True) and back[-1] == pytest.approx(0.25, abs=0.03)


def test_remasking_comes_from_its_generator():
    confidence, masked, state = torch.zeros(8, 20), torch.ones(8, 20, dtype=torch.bool), torch.get_rng_state()
    a, b, c = (remask(confidence, masked, 7, 3., torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), state)
