"""Codes: stochastic draws with the right probabilities, moving averages in closed form, and who may be drawn."""
import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.models.quantizer import VectorQuantizer, code_spacing, kmeans, perplexity, svq_sample
from tsai_nmvq.train.tokenizer import TokenizerLearner

N_DRAWS = 20_000
P_LEAST = 1e-4 # of a correct draw to be refused; seeds are fixed


def quantizer(dim=6, codebook_size=12, started=True, **settings):
    q = VectorQuantizer(dim, codebook_size, **{'codebook_dim': 4, **settings})
    q.started.fill_(started)
    return q


def frequencies(tokens, k): return np.bincount(tokens.flatten().numpy(), minlength=k)


def softmax_of(z, codebook, tau): # the definition, in float64
    logits = -(z.double()[None] - codebook.double()).square().sum(-1) / tau
    return logits.softmax(-1).numpy()


def assert_drawn_with(p, seen):
    "Chi-square test; ids too rare for it count as one."
    cell = np.where(seen.sum() * p < 5, len(p), np.arange(len(p)))
    seen, p = (np.bincount(cell, weights=w, minlength=len(p) + 1) for w in (seen, p))
    assert (p > 0).sum() > 3 and chisquare(seen[p > 0], seen.sum() * p[p > 0]).pvalue > P_LEAST


# Draws

@pytest.mark.parametrize('tau', [1, 2., torch.tensor(2.), 50.])
def test_svq_draws_follow_the_softmax(tau):
    codebook, z = torch.randn(9, 3), torch.randn(3)
    tokens = svq_sample(z.expand(1, N_DRAWS, 3), codebook, tau)
    assert_drawn_with(softmax_of(z, codebook, float(tau)), frequencies(tokens, 9))


@pytest.mark.parametrize('tau', [None, 0, 0., torch.tensor(0.), 1e-30, 1e-45])
def test_svq_without_temperature_is_the_nearest_code(tau):
    z, codebook = torch.randn(3, 50, 4), torch.randn(30, 4)
    assert torch.equal(svq_sample(z, codebook, tau), torch.cdist(z, codebook.expand(3, -1, -1)).argmin(-1))


def test_svq_goes_to_the_nearest_code_as_tau_falls():
    z, codebook = torch.randn(1, 2000, 4), torch.randn(30, 4)
    nearest = svq_sample(z, codebook)
    agree = [(svq_sample(z, codebook, tau) == nearest).float().mean().item() for tau in (10., 1., 0.1, 1e-2, 1e-7)]
    assert agree == sorted(agree) and agree[0] < 0.3 and agree[-1] == 1


def test_svq_at_infinite_tau_draws_allowed_codes_alike():
    allowed = torch.tensor([True, False, True, True, False])
    seen = frequencies(svq_sample(torch.randn(1, N_DRAWS, 2), torch.randn(5, 2), torch.inf, allowed), 5)
    assert seen[[1, 4]].sum() == 0
    assert chisquare(seen[[0, 2, 3]]).pvalue > P_LEAST


def test_svq_takes_one_tau_a_row():
    codebook, z = torch.randn(9, 3), torch.randn(3)
    tau = torch.tensor([0., 0.5, 5.])
    tokens = svq_sample(z.expand(3, N_DRAWS, 3), codebook, tau)
    assert (tokens[0] == (z - codebook).square().sum(-1).argmin()).all()
    for row in (1, 2): assert_drawn_with(softmax_of(z, codebook, tau[row].item()), frequencies(tokens[row], 9))


def test_svq_takes_one_tau_a_token():
    codebook, z = torch.randn(9, 3), torch.randn(3)
    tau = torch.tensor([0., 0.5, 5.])
    tokens = svq_sample(z.expand(N_DRAWS, 3, 3), codebook, tau.expand(N_DRAWS, 3))
    assert (tokens[:, 0] == (z - codebook).square().sum(-1).argmin()).all()
    for place in (1, 2): assert_drawn_with(softmax_of(z, codebook, tau[place].item()), frequencies(tokens[:, place], 9))


@pytest.mark.parametrize('tau', [None, 0.1, 100., torch.tensor([0., 0.1, 1e6])])
def test_codes_that_are_not_allowed_are_never_drawn(tau):
    allowed = torch.arange(20) % 5 == 3
    codebook = torch.randn(20, 4) * torch.where(allowed, 3., 0.1)[:, None] # the others are nearer to every latent
    tokens = svq_sample(0.1 * torch.randn(3, 500, 4), codebook, tau, allowed)
    assert allowed[tokens].all()


@pytest.mark.parametrize('tau', [-1., torch.tensor([0.1, -0.1]), float('nan')])
def test_negative_or_missing_tau_is_refused(tau):
    with pytest.raises(ValueError, match=r'tau is .*expected 0 or more'):
        svq_sample(torch.randn(2, 3, 4), torch.randn(5, 4), tau)


@pytest.mark.parametrize('tau', [torch.ones(3), torch.ones(3, 2), torch.ones(2, 1), torch.ones(2, 3, 5)])
def test_tau_of_another_shape_is_refused(tau):
    with pytest.raises(ValueError, match=r'tau has shape .* one a row \[2\] or one a token \[2, 3\]'):
        svq_sample(torch.randn(2, 3, 4), torch.randn(5, 4), tau)


def test_distant_codes_and_large_latents_give_valid_ids():
    z, codebook = 1e4 * torch.randn(4, 20, 3), 1e4 * torch.randn(7, 3)
    tokens = svq_sample(z, codebook, 1e-3)
    assert tokens.dtype == torch.int64 and 0 <= tokens.min() and tokens.max() < 7


def test_same_generator_seed_draws_the_same_and_leaves_the_global_state():
    z, codebook, state = torch.randn(2, 100, 4), torch.randn(30, 4), torch.get_rng_state()
    draws = [svq_sample(z, codebook, 1., generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), state)


# The quantizer: draws in train and eval

def used_quantizer():
    q = quantizer(codebook_size=20)
    used = torch.arange(20) % 4 == 1
    q.codebook[~used] *= 0.01
    q.set_used(used.float() * 7)
    return q, used


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('tau', [None, 0.1, 4., torch.tensor([0., 2.])])
def test_tokens_are_codes_in_use_in_train_and_eval_alike(training, tau):
    q, used = used_quantizer()
    tokens = q.train(training).tokens(0.1 * torch.randn(2, 300, 4), tau)
    assert used[tokens].all()


@pytest.mark.parametrize('tau', [None, 0.5, torch.tensor([0.3, 3.])])
def test_stochastic_tokens_are_the_same_in_train_and_eval(tau):
    q, _ = used_quantizer()
    z = torch.randn(2, 100, 4)
    draws = [q.train(training).tokens(z, tau, torch.Generator().manual_seed(1)) for training in (True, False)]
    assert torch.equal(*draws)


@pytest.mark.parametrize('training', [True, False])
def test_only_training_may_bring_unused_codes_back(training):
    q, used = used_quantizer()
    _, tokens, _ = q.train(training)(torch.randn(4, 50, 6) * 1e-3)
    assert used[tokens].all() != training


def test_nearest_neighbours_are_among_the_codes_in_use():
    q = quantizer(codebook_size=4)
    q.codebook.copy_(torch.tensor([[0.], [1.], [1.5], [9.]]).expand(4, 4))
    q.set_used(torch.tensor([1, 0, 1, 1]))
    torch.testing.assert_close(q.neighbour_distance(), 4 * torch.tensor([1.5, 1.5, 7.5]).square())
    q.set_used(torch.tensor([1, 0, 0, 0]))
    assert len(q.neighbour_distance()) == 0


def codes_at(*places): # a quantizer with codes of one number, four times
    q = quantizer(codebook_size=len(places))
    q.codebook.copy_(torch.tensor(places)[:, None].expand(-1, 4))
    return q


def test_code_spacing_is_the_median_of_all_nearest_neighbours():
    one, other = codes_at(0., 1., 1.5, 9.), codes_at(0., 3.)
    assert code_spacing(one) == pytest.approx(4 * 0.5 ** 2)            # distances 1, 0.5, 0.5, 7.5; the lower middle
    assert code_spacing(one, other) == code_spacing(other, one) == pytest.approx(4 * 1.)           # and 3, 3
    one.set_used(torch.tensor([1, 0, 0, 1]))
    assert code_spacing(one) == pytest.approx(4 * 81.)


def test_codes_without_neighbours_have_no_spacing():
    one, other = codes_at(3.), codes_at(0., 2.)
    assert code_spacing(one) == code_spacing(one, one) == 0 and type(code_spacing(one)) is float
    assert code_spacing(one, other) == code_spacing(other) == pytest.approx(16.)


# Forward, backward and the moving averages

def test_eval_output_is_the_lookup_of_its_tokens():
    q, h = quantizer().eval(), torch.randn(3, 7, 6)
    out, tokens, _ = q(h)
    assert torch.equal(out, q.lookup(tokens)) and torch.equal(tokens, q.tokens(q.latents(h)))


def test_straight_through_gradient_is_one():
    q = quantizer().train()
    z, seen = torch.randn(3, 7, 4, requires_grad=True), []
    q.latents = lambda h: h
    q.project_out.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    codebook = q.codebook.clone()
    _, tokens, _ = q(z)
    grad, = torch.autograd.grad(seen[0].sum(), z)
    assert torch.equal(grad, torch.ones_like(z))
    torch.testing.assert_close(seen[0], codebook[tokens]) # yet its value is the code


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('weight', [1., 0.25])
def test_commitment_is_the_weighted_distance_to_the_codes(training, weight):
    q = quantizer(commitment_weight=weight).train(training)
    h = torch.randn(3, 7, 6)
    z, codebook = q.latents(h), q.codebook.clone()
    _, tokens, commitment = q(h)
    torch.testing.assert_close(commitment, weight * (z - codebook[tokens]).square().mean())


def test_commitment_pulls_latents_and_not_codes():
    q = quantizer().train()
    _, _, commitment = q(torch.randn(3, 7, 6))
    commitment.backward()
    assert q.project_in.weight.grad.abs().sum() > 0
    assert not any(buffer.requires_grad for buffer in q.buffers())


@pytest.mark.parametrize('decay', [0.5, 0.8, 0.99])
def test_codebook_after_some_steps_is_the_closed_form(decay):
    q = quantizer(codebook_size=5, ema_decay=decay, dead_code_threshold=0).train()
    size, total, codebook = q.cluster_size.clone().double(), q.code_sum.clone().double(), q.codebook.clone()
    hit = torch.zeros(5, dtype=torch.bool)
    for _ in range(7):
        h = torch.randn(4, 6, 6)
        z = q.latents(h).detach().flatten(0, 1)
        tokens = torch.cdist(z, codebook).argmin(-1)
        one_hot = torch.nn.functional.one_hot(tokens, 5).double()
        size, total = decay * size + (1 - decay) * one_hot.sum(0), decay * total + (1 - decay) * one_hot.T @ z.double()
        now = one_hot.sum(0) > 0
        hit, codebook = hit | now, torch.where(now[:, None], (total / size[:, None]).float(), codebook)
        q(h)
        torch.testing.assert_close(q.codebook, codebook, atol=1e-5, rtol=1e-4)
    assert hit.sum() >= 3


def test_code_without_hits_keeps_its_place():
    q = quantizer(codebook_size=5, dead_code_threshold=0).train()
    q.codebook[2] = 100.
    before = q.codebook[2].clone()
    for _ in range(30): q(torch.randn(4, 6, 6))
    assert torch.equal(q.codebook[2], before)


def test_dead_code_moves_onto_a_latent_after_its_wait():
    q = quantizer(codebook_size=5, dead_code_threshold=3).train()
    q.codebook[2] = q.code_sum[2] = 100.
    for step in range(3):
        assert (q.codebook[2] == 100).all(), step
        h = torch.randn(4, 6, 6)
        q(h)
    assert torch.cdist(q.codebook[2:3], q.latents(h).flatten(0, 1)).min() < 1e-4
    assert q.idle_steps[2] == 0 and q.cluster_size[2] == 1
    torch.testing.assert_close(q.code_sum[2], q.codebook[2])


def test_wait_of_a_code_begins_anew_with_a_hit():
    q = quantizer(codebook_size=2, dead_code_threshold=3, ema_decay=1.).train()
    q.latents = lambda h: h
    q.codebook.copy_(torch.tensor([[0.], [10.]]).expand(2, 4))
    q.code_sum.copy_(q.codebook)
    near = [q.codebook[i].expand(1, 5, 4).clone() for i in (0, 1)]
    for i in (0, 1, 0, 0): q(near[i])
    assert torch.equal(q.codebook[1], near[1][0, 0])
    q(near[0])
    assert torch.equal(q.codebook[1], near[0][0, 0])


def steps_until_a_dead_code_moves(q, most=20):
    q.codebook[2] = q.code_sum[2] = 100.
    for step in range(1, most + 1):
        q.train()(torch.randn(4, 6, 6))
        if not (q.codebook[2] == 100).all(): return step
    return None


@pytest.mark.parametrize('threshold, epoch, wait', [
    (3, None, 3), (3, 7, 3), (3, 1, 3), (0, 4, None), (None, 4, 4), (None, 7, 7), (None, None, None)])
def test_dead_codes_wait_for_the_threshold_or_else_for_an_epoch(threshold, epoch, wait):
    q = quantizer(codebook_size=5, dead_code_threshold=threshold)
    if epoch: q.set_epoch(epoch)
    assert steps_until_a_dead_code_moves(q) == wait and q.config['dead_code_threshold'] == threshold


def test_without_a_threshold_the_wait_follows_the_last_epoch():
    q = quantizer(codebook_size=5)
    for n_steps in (6, 2, 4):
        q.set_epoch(n_steps)
        assert steps_until_a_dead_code_moves(q) == n_steps


@pytest.mark.parametrize('threshold, wait', [(None, 6), (3, 3), (100, 100), (0, 0)])
def test_training_keeps_a_threshold_that_was_given(threshold, wait):
    data = SeriesData.from_arrays(np.random.randn(12, 1, 16).astype(np.float32))
    settings = dict(dim=4, hidden_dim=8, max_dim=8, codebook_size=16, dead_code_threshold=threshold)
    learn = TokenizerLearner(data, settings=settings, bs=4, min_steps=6)
    for _ in range(2):
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
        assert [q.patience for q in learn.model.quantizers.values()] == [wait, wait]
    twin = type(learn.model)(**learn.model.config)
    assert [q.dead_code_threshold for q in twin.quantizers.values()] == [threshold, threshold]


def test_eval_moves_nothing():
    q = quantizer(dead_code_threshold=1, started=False).eval()
    before = {k: v.clone() for k, v in q.state_dict().items()}
    for _ in range(3): q(torch.randn(4, 6, 6))
    assert all(torch.equal(v, before[k]) for k, v in q.state_dict().items())


def test_training_starts_from_clusters_of_the_first_batch_once():
    q = quantizer(codebook_size=3, started=False, ema_decay=1.).train() # the moving average stands still
    h = torch.randn(8, 15, 6)
    torch.manual_seed(1)
    centres, sizes = kmeans(q.latents(h).detach().flatten(0, 1), 3)
    torch.manual_seed(1)
    q(h)
    torch.testing.assert_close(q.codebook, centres)
    torch.testing.assert_close(q.cluster_size, sizes)
    q(h + 3)
    torch.testing.assert_close(q.codebook, centres)


# k-means and perplexity

def test_kmeans_finds_separate_clusters():
    x = torch.cat([torch.randn(50, 2) * 0.1 + c for c in (-10, 0, 10)])
    starts = [kmeans(x, 3) for _ in range(5)]
    found = min(starts, key=lambda r: torch.cdist(x, r[0]).min(1).values.sum())
    torch.testing.assert_close(found[0][:, 0].sort().values, torch.tensor([-10., 0., 10.]), atol=0.1, rtol=0)
    assert found[1].tolist() == [50, 50, 50]


def test_kmeans_centres_are_means_of_their_clusters():
    x = torch.randn(400, 3)
    centres, sizes = kmeans(x, 8, n_iter=200)
    nearest = torch.cdist(x, centres).argmin(1)
    for k in range(8): torch.testing.assert_close(centres[k], x[nearest == k].mean(0), atol=1e-4, rtol=0)
    assert sizes.sum() == 400


@pytest.mark.parametrize('n', [1, 2, 7])
def test_kmeans_with_fewer_vectors_than_codes_stays_among_them(n):
    x = torch.randn(n, 3)
    centres, sizes = kmeans(x, 16)
    assert centres.shape == (16, 3) and sizes.sum() == n
    assert (centres >= x.amin(0) - 1e-6).all() and (centres <= x.amax(0) + 1e-6).all()


@pytest.mark.parametrize('k', [1, 4, 64])
def test_perplexity_of_uniform_use_is_the_number_of_codes(k):
    counts = torch.zeros(64)
    counts[:k] = 5
    assert perplexity(counts).item() == pytest.approx(k, rel=1e-5)


def test_perplexity_of_unequal_use():
    expected = np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    assert perplexity(torch.tensor([3, 1, 0])).item() == pytest.approx(expected, rel=1e-5)


# Precision and configuration

@pytest.mark.parametrize('training', [True, False])
def test_autocast_keeps_the_codebook_and_the_distances_in_float32(training):
    q = quantizer(codebook_size=500).train(training)
    with torch.autocast('cpu', torch.bfloat16):
        out, _, commitment = q(torch.randn(3, 100, 6))
        z = q.latents(torch.randn(3, 100, 6))
        tokens = q.tokens(z)
    assert z.dtype == commitment.dtype == q.codebook.dtype == torch.float32
    assert out.isfinite().all() and q.codebook.isfinite().all()
    assert torch.equal(tokens, torch.cdist(z, q.codebook).argmin(-1))


def test_quantizer_is_rebuilt_from_its_configuration():
    q = quantizer(codebook_size=9, ema_decay=0.7)
    twin = VectorQuantizer(**q.config)
    twin.load_state_dict(q.state_dict())
    h = torch.randn(2, 5, 6)
    assert torch.equal(twin.eval()(h)[0], q.eval()(h)[0]) and twin.ema_decay == 0.7
