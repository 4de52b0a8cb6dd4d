"""Masking and decoding: how many tokens stay hidden, which settle, and which ids are drawn."""
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from tsai_nmvq.models import decoding
from tsai_nmvq.models.decoding import confidence_order, decode_masked, draw_ids, mask_ratio, n_masked, random_mask

N_DRAWS = 20_000
P_LEAST = 1e-4 # of a correct draw to be refused; seeds are fixed


def seeded(seed=0): return torch.Generator().manual_seed(seed)


# How many

def test_mask_ratio_is_the_cosine_from_one_to_zero():
    ratios = [mask_ratio(r) for r in (0., 1 / 3, 0.5, 2 / 3, 1.)]
    assert ratios == pytest.approx([1, 3 ** 0.5 / 2, 0.5 ** 0.5, 0.5, 0], abs=1e-12)
    r = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(mask_ratio(r), torch.tensor([mask_ratio(v) for v in r.tolist()], dtype=torch.float64))


@pytest.mark.parametrize('n_tokens', [1, 2, 9, 74, 1000])
@pytest.mark.parametrize('n_steps', [1, 2, 3, 10, 100])
def test_masked_counts_follow_the_schedule_never_rise_and_end_at_zero(n_steps, n_tokens):
    counts = [n_masked(step, n_steps, n_tokens) for step in range(n_steps)]
    assert counts[-1] == 0 and [n_tokens, *counts] == sorted([n_tokens, *counts], reverse=True)
    for step, n in enumerate(counts[:-1]): assert 0 <= math.cos(math.pi / 2 * (step + 1) / n_steps) * n_tokens - n < 1


def test_every_decoding_settles_something_where_tokens_abound():
    counts = [n_masked(step, 10, 74) for step in range(10)]
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


# Draws

def frequencies(tokens, k): return np.bincount(tokens.flatten().numpy(), minlength=k)


@pytest.mark.parametrize('scale', [1., 7.5, 1e-3])
def test_draws_follow_the_probabilities(scale):
    p = torch.tensor([0.05, 0.4, 0., 0.25, 0.3, 0.])
    seen = frequencies(draw_ids((scale * p).expand(N_DRAWS, 6)), 6)
    assert seen[2] == seen[5] == 0
    assert chisquare(seen[p > 0], N_DRAWS * p[p > 0].numpy()).pvalue > P_LEAST


@pytest.mark.parametrize('k', [1, 2, 3, 17, 64, 1000])
def test_draws_follow_the_probabilities_at_any_number_of_codes(k):
    p = torch.rand(k).double() * (torch.rand(k) < 0.7)
    p[k // 2] = 1.
    seen, expected = frequencies(draw_ids(p.expand(N_DRAWS, k)), k), N_DRAWS * (p / p.sum()).numpy()
    assert seen[expected == 0].sum() == 0
    assert k == 1 or chisquare(seen[expected > 0], expected[expected > 0]).pvalue > P_LEAST


def test_no_id_of_probability_zero_is_drawn_whatever_the_sizes_of_the_others(monkeypatch):
    p = torch.zeros(4000, 300)
    p.scatter_(1, torch.randint(300, (4000, 5)), 10. ** -torch.randint(0, 30, (4000, 5)).float())
    for u in (0., 0.5, 1 - 2 ** -24):
        monkeypatch.setattr(torch, 'rand', lambda shape, u=u, **kwargs: torch.full(shape, u))
        assert (p.gather(1, draw_ids(p)[:, None]) > 0).all()


@pytest.mark.parametrize('u, expected', [(0., 1), (0.4999, 1), (0.5, 3), (1 - 2 ** -24, 3)])
def test_extreme_uniforms_never_draw_an_id_of_probability_zero(u, expected, monkeypatch):
    monkeypatch.setattr(torch, 'rand', lambda shape, **kwargs: torch.full(shape, u))
    assert draw_ids(torch.tensor([[0., 0.5, 0., 0.5, 0.]])).item() == expected


def test_rows_are_drawn_independently():
    p = torch.tensor([0.5, 0.5]).expand(N_DRAWS, 2, 2)
    a, b = draw_ids(p).unbind(1)
    assert chisquare(np.bincount((2 * a + b).numpy(), minlength=4)).pvalue > P_LEAST


# Confidence re-masking

def test_the_most_confident_tokens_settle_first():
    confidence = torch.tensor([[-1., -5., -3., -2.], [-9., -1., -2., -8.]])
    assert confidence_order(confidence).tolist() == [[0, 3, 2, 1], [1, 2, 3, 0]]


@pytest.mark.parametrize('choice_temp', [0., 4., 1e9])
def test_every_token_has_one_place_in_the_order(choice_temp):
    order = confidence_order(torch.randn(500, 12), choice_temp)
    assert torch.equal(order.sort(1).values, torch.arange(12).expand(500, 12))


def test_confidence_noise_is_gumbel():
    "With Gumbel noise of weight 1, the token that settles first of two is drawn with probability softmax(confidence)."
    first = confidence_order(torch.tensor([0.3, 0.7]).log().expand(20_000, 2), 1.)[:, 0]
    assert chisquare(torch.bincount(first).numpy(), [6000, 14000]).pvalue > 1e-4


def test_confidence_noise_grows_with_its_temperature():
    confidence = torch.tensor([[-1., -2., -3., -4.]]).expand(4000, 4)
    last = [(confidence_order(confidence, t)[:, -1] == 3).float().mean().item() for t in (0., 0.5, 2., 10., 1e9)]
    assert last[0] == 1 and last == sorted(last, reverse=True) and last[-1] == pytest.approx(0.25, abs=0.03)


def test_the_order_comes_from_its_generator():
    confidence, state = torch.zeros(8, 20), torch.get_rng_state()
    a, b, c = (confidence_order(confidence, 3., torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), state)


# The loop, with logits that are made up

MASK, K = 7, 7 # ids are 0..6


class Logits:
    "Logits [bs, m, K] that depend on the position and on all tokens, and a note of what was asked for."
    def __init__(self, n_tokens, weight=2.):
        generator = seeded(1)
        self.by_position = weight * torch.randn(n_tokens, K, generator=generator)
        self.by_token = 0.3 * torch.randn(MASK + 1, K, generator=generator)
        self.calls = []

    def __call__(self, tokens, positions):
        self.calls.append((tokens.clone(), positions.clone()))
        return self.by_position[positions] + self.by_token[tokens].sum(1, keepdim=True)


def all_masked(bs, n_tokens): return torch.full((bs, n_tokens), MASK)


def counts_of(n_steps, n_tokens):
    "How many of n tokens are masked before each pass and at the end; steps that settle none take no pass."
    n_steps = min(n_steps, n_tokens)
    return sorted({n_tokens, *[n_masked(step, n_steps, n_tokens) for step in range(n_steps)]}, reverse=True)


TEMPS = pytest.mark.parametrize('choice_temp', [0., 4., math.inf])
SIZES = pytest.mark.parametrize('n_steps, n_tokens', [(1, 1), (1, 9), (3, 9), (9, 9), (50, 9), (4, 74), (2, 1)])


@TEMPS
@SIZES
def test_decoding_follows_the_schedule_and_nothing_masked_is_left(n_steps, n_tokens, choice_temp):
    logits = Logits(n_tokens)
    out = decode_masked(logits, all_masked(5, n_tokens), MASK, n_steps, choice_temp, seeded())
    states = [tokens for tokens, _ in logits.calls] + [out]
    assert [set((t == MASK).sum(1).tolist()) for t in states] == [{n} for n in counts_of(n_steps, n_tokens)]
    assert out.shape == (5, n_tokens) and out.dtype == torch.int64 and 0 <= out.min() and out.max() < K


@TEMPS
@SIZES
def test_settled_tokens_never_change(n_steps, n_tokens, choice_temp):
    logits = Logits(n_tokens)
    out = decode_masked(logits, all_masked(5, n_tokens), MASK, n_steps, choice_temp, seeded())
    states = [tokens for tokens, _ in logits.calls] + [out]
    for before, after in zip(states, states[1:]):
        settled = before != MASK
        assert torch.equal(before[settled], after[settled])


@SIZES
def test_in_random_order_only_the_positions_that_settle_are_asked_for(n_steps, n_tokens):
    logits = Logits(n_tokens)
    out = decode_masked(logits, all_masked(5, n_tokens), MASK, n_steps, math.inf, seeded())
    states = [tokens for tokens, _ in logits.calls] + [out]
    for before, after, (_, positions) in zip(states, states[1:], logits.calls):
        settling = (before == MASK) & (after != MASK)
        asked = torch.zeros_like(settling).scatter(1, positions, True)
        assert torch.equal(asked, settling) and positions.shape[1] == settling[0].sum()
    every = torch.cat([positions for _, positions in logits.calls], 1)
    assert torch.equal(every.sort(1).values, torch.arange(n_tokens).expand(5, -1))


@pytest.mark.parametrize('choice_temp', [0., 4.])
@SIZES
def test_by_confidence_all_masked_positions_are_asked_for(n_steps, n_tokens, choice_temp):
    logits = Logits(n_tokens)
    decode_masked(logits, all_masked(5, n_tokens), MASK, n_steps, choice_temp, seeded())
    for tokens, positions in logits.calls:
        assert torch.equal(torch.zeros_like(tokens, dtype=torch.bool).scatter(1, positions, True), tokens == MASK)


def test_random_order_is_another_in_each_row_and_takes_all_positions_alike():
    logits = Logits(6)
    decode_masked(logits, all_masked(6000, 6), MASK, 6, math.inf, seeded())
    first = torch.bincount(logits.calls[0][1][:, 0], minlength=6)
    assert chisquare(first.numpy()).pvalue > P_LEAST


def test_without_noise_the_surest_positions_settle_first():
    n_ids = torch.tensor([4, 1, 7, 2])                                 # as likely as one another at each position
    orders, calls = [], []
    def logits_of(tokens, positions):
        calls.append(tokens)
        return torch.where(torch.arange(K) < n_ids[positions].unsqueeze(-1), 0., -math.inf)
    out = decode_masked(logits_of, all_masked(50, 4), MASK, 4, 0., seeded())
    for before, after in zip(calls, [*calls[1:], out]):
        orders.append(((before == MASK) & (after != MASK)).nonzero()[:, 1])
    assert [set(positions.tolist()) for positions in orders] == [{1}, {3}, {0}, {2}]


def test_noise_of_the_confidence_falls_evenly_to_zero(monkeypatch):
    temps = []
    def watched(confidence, choice_temp, generator):
        temps.append(choice_temp)
        return confidence_order(confidence, choice_temp, generator)
    monkeypatch.setattr(decoding, 'confidence_order', watched)
    decode_masked(Logits(9), all_masked(2, 9), MASK, 4, 8.)
    assert temps == pytest.approx([6, 4, 2, 0])


@TEMPS
def test_one_step_draws_every_token_from_its_logits(choice_temp):
    logits = Logits(3, weight=1.)
    out = decode_masked(logits, all_masked(N_DRAWS, 3), MASK, 1, choice_temp, seeded())
    p = (logits.by_position + 3 * logits.by_token[MASK]).softmax(-1).double()
    for position in range(3):
        expected = N_DRAWS * (p[position] / p[position].sum()).numpy()
        assert expected.min() > 5 and chisquare(frequencies(out[:, position], K), expected).pvalue > P_LEAST


@TEMPS
def test_ids_of_probability_zero_are_never_decoded(choice_temp):
    logits = torch.zeros(K).index_fill(0, torch.tensor([1, 6]), -math.inf)
    def logits_of(tokens, positions): return logits.expand(*positions.shape, K)
    out = decode_masked(logits_of, all_masked(300, 9), MASK, 4, choice_temp, seeded())
    assert set(out.unique().tolist()) == {0, 2, 3, 4, 5}


@TEMPS
def test_decoding_comes_from_its_generator_and_leaves_its_input(choice_temp):
    masked, state = all_masked(20, 9), torch.get_rng_state()
    a, b, c = (decode_masked(Logits(9), masked, MASK, 4, choice_temp, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), state)
    assert (masked == MASK).all()


# Some tokens masked

@TEMPS
def test_what_is_not_masked_stays_and_is_seen_by_every_pass(choice_temp):
    known = torch.randint(K, (200, 9), generator=seeded(5))
    masked = torch.rand(200, 9, generator=seeded(6)) < torch.linspace(0, 1, 200)[:, None]  # 0 to 9 a row
    logits = Logits(9)
    out = decode_masked(logits, known.masked_fill(masked, MASK), MASK, 4, choice_temp, seeded())
    assert torch.equal(out[~masked], known[~masked]) and (out != MASK).all()
    for tokens, _ in logits.calls: assert torch.equal(tokens[~masked], known[~masked])


@TEMPS
def test_masked_tokens_are_drawn_given_the_known_ones(choice_temp):
    known, masked = torch.full((N_DRAWS, 3), 2), torch.tensor([False, True, False])
    logits = Logits(3, weight=1.)
    out = decode_masked(logits, known.masked_fill(masked, MASK), MASK, 4, choice_temp, seeded())
    p = (logits.by_position[1] + logits.by_token[[2, MASK, 2]].sum(0)).softmax(-1).double()
    expected = N_DRAWS * (p / p.sum()).numpy()
    assert chisquare(frequencies(out[:, 1], K), expected).pvalue > P_LEAST


@TEMPS
def test_where_nothing_is_masked_nothing_is_asked_for(choice_temp):
    logits, known = Logits(4), torch.zeros(5, 4, dtype=torch.long)
    assert torch.equal(decode_masked(logits, known, MASK, 4, choice_temp, seeded()), known) and not logits.calls
    assert decode_masked(logits, known[:0], MASK, 4, choice_temp, seeded()).shape == (0, 4)
