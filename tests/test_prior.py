"""Iterative decoding: what is known stays, the schedule is kept, and guidance is what its formula says."""
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from tsai.models.utils import build_ts_model

from tsai_nmvq.models.bands import BANDS
from tsai_nmvq.models.decoding import confidence_order, n_masked, random_mask
from tsai_nmvq.models.prior import MaskedPrior
from tsai_nmvq.models.tokenizer import VQTokenizer
from tsai_nmvq.presets import PRIOR_PRESETS

GRID, SIZES = dict(lf=(1, 5), hf=(2, 4)), dict(lf=6, hf=7)
N_TOKENS = dict(lf=5, hf=8)
TINY = dict(lf_dim=16, lf_layers=1, lf_heads=2, hf_dim=16, hf_layers=1, hf_heads=2, head_dim=8, dropout=0.,
            emb_dropout=0.)
CODEBOOKS = {band: torch.randn(k, 4, generator=torch.Generator().manual_seed(k)) * 0.1 + 5 for band, k in SIZES.items()}


def prior(n_classes=3, preset='fast', **settings):
    sizes = dict(grid=GRID, codebook_size=SIZES, codebook_dim=4)
    model = MaskedPrior(1, n_classes, preset=preset, **sizes, **{**TINY, **settings}).eval()
    model.set_codes(CODEBOOKS)
    return model


def sharpen(model, weight=6.):
    "Logits far apart: an untrained prior with opinions, which depend on everything it sees."
    with torch.no_grad():
        for p in model.priors.values():
            p.token_emb.weight *= weight
            p.class_emb.weight *= weight
    return model


def masked_after(n_steps, n):
    "How many of n tokens are masked before each pass and at the end; steps that settle none take no pass."
    n_steps = min(n_steps, n)
    return sorted({n, *[n_masked(step, n_steps, n) for step in range(n_steps)]}, reverse=True)


def seeded(seed=0): return torch.Generator().manual_seed(seed)


def same(a, b): return all(torch.equal(a[band], b[band]) for band in BANDS)


def watch(model, band):
    "Inputs of a band's transformer, call by call: (tokens, y, context)."
    calls = []
    model.priors[band].register_forward_pre_hook(lambda module, args: calls.append(args))
    return calls


# Sampling

@pytest.mark.parametrize('choice_temp', [0., 10., torch.inf])
@pytest.mark.parametrize('n_steps', [1, 2, 3, 50])
def test_decoding_keeps_the_schedule_and_what_is_known(n_steps, choice_temp):
    model = sharpen(prior())
    calls = {band: watch(model, band) for band in BANDS}
    steps, temps = dict(lf=n_steps, hf=n_steps), dict(lf=choice_temp, hf=choice_temp)
    out = model.sample_tokens(torch.arange(4).repeat(5), steps, temps, generator=seeded())
    for band in BANDS:
        mask_id, n = model.mask_id[band], N_TOKENS[band]
        steps = [tokens for tokens, *_ in calls[band]] + [out[band]]
        assert [set((t == mask_id).sum(1).tolist()) for t in steps] == [{left} for left in masked_after(n_steps, n)]
        for before, after in zip(steps, steps[1:]):
            assert torch.equal(before[before != mask_id], after[before != mask_id])
        assert out[band].dtype == torch.int64 and 0 <= out[band].min() and out[band].max() < SIZES[band]


def test_choice_temperature_falls_evenly_to_zero(monkeypatch):
    temps = []
    monkeypatch.setattr('tsai_nmvq.models.decoding.confidence_order',
                        lambda *args: temps.append(args[1]) or confidence_order(*args))
    prior().sample_tokens(torch.tensor([0]), dict(lf=4, hf=2), dict(lf=8., hf=3.))
    assert temps == pytest.approx([6, 4, 2, 0, 1.5, 0])


def test_hf_is_decoded_given_the_finished_lf_tokens():
    model = sharpen(prior())
    calls = watch(model, 'hf')
    out = model.sample_tokens(torch.tensor([0, 1, 2]), generator=seeded())
    assert all(torch.equal(context, out['lf']) for _, _, context, _ in calls)


@pytest.mark.parametrize('bs', [1, 64])
def test_number_of_forward_passes_does_not_depend_on_the_batch(bs):
    model = prior(n_steps=dict(lf=3, hf=4))
    calls = {band: watch(model, band) for band in BANDS}
    model.sample_tokens(torch.zeros(bs, dtype=torch.long))
    assert {band: [len(args[0]) for args in c] for band, c in calls.items()} == dict(lf=[bs] * 3, hf=[bs] * 4)


def test_rows_of_a_batch_differ_and_so_do_seeds():
    model, y = prior(), torch.zeros(50, dtype=torch.long)
    a, b, c = (model.sample_tokens(y, generator=seeded(s)) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)
    assert len(a['lf'].unique(dim=0)) > 40


def test_sampling_with_a_generator_leaves_the_global_state():
    state = torch.get_rng_state()
    prior_ = prior()
    torch.set_rng_state(state)
    prior_.sample_tokens(torch.tensor([0, 1]), cfg_scale=2., generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)


def test_one_step_draws_from_the_logits():
    model = sharpen(prior(), 3.)
    y = torch.ones(8000, dtype=torch.long)
    drawn = model.sample_tokens(y, dict(lf=1, hf=1), generator=seeded())['lf']
    hidden = torch.full((1, 5), model.mask_id['lf'])
    p = model.band_logits('lf', hidden, y[:1]).softmax(-1)[0].detach().double()
    for position in range(5):
        expected = 8000 * (p[position] / p[position].sum()).numpy()
        seen, often = torch.bincount(drawn[:, position], minlength=6).numpy(), expected > 5
        expected *= seen[often].sum() / expected[often].sum()
        assert chisquare(seen[often], expected[often]).pvalue > 1e-4


def test_one_number_serves_both_bands_and_a_band_left_out_keeps_the_presets():
    model, y = prior(n_steps=4), torch.arange(3)
    assert model.n_steps == dict(lf=4, hf=4)
    alike = (2, 1.), (dict(lf=2, hf=2), dict(lf=1., hf=1.))
    assert same(*(model.sample_tokens(y, n, temp, generator=seeded()) for n, temp in alike))
    assert same(*(model.sample_tokens(y, n, generator=seeded()) for n in (dict(lf=2), dict(lf=2, hf=4))))
    with pytest.raises(ValueError, match=r"n_steps is {'low': 3}, expected a number, or one for any of \['lf', 'hf'\]"):
        model.sample_tokens(y, n_steps=dict(low=3))


@pytest.mark.parametrize('n_steps', [0, -1, 2.5, None])
def test_no_decoding_steps_are_refused(n_steps):
    with pytest.raises(ValueError, match=r"n_steps\['lf'\] is .*, expected a whole number of at least 1"):
        prior().sample_tokens(torch.tensor([0]), n_steps=dict(lf=n_steps, hf=3))


# Codes that the data never use

@pytest.mark.parametrize('cfg_scale', [0., 1., 5.])
def test_unused_codes_are_never_sampled(cfg_scale):
    model = prior()
    used = dict(lf=torch.tensor([0, 1, 0, 0, 1, 0]).bool(), hf=torch.tensor([0, 0, 0, 1, 0, 1, 1]).bool())
    model.set_used(used)
    out = model.sample_tokens(torch.arange(3).repeat(100), cfg_scale=cfg_scale, generator=seeded())
    for band in BANDS: assert set(out[band].unique().tolist()) == set(used[band].nonzero().flatten().tolist())


def test_logits_of_unused_codes_are_minus_infinity_and_the_loss_is_finite():
    model = prior()
    used = dict(lf=torch.arange(6) < 4, hf=torch.arange(7) < 2)
    model.set_used(used)
    masked = {band: torch.full((3, N_TOKENS[band]), model.mask_id[band]) for band in BANDS}
    logits = model(masked, torch.tensor([0, 1, 2]), torch.zeros(3, 5, dtype=torch.long))
    for band in BANDS:
        assert torch.equal(logits[band].isinf(), ~used[band].expand_as(logits[band]))
        F.cross_entropy(logits[band], torch.ones_like(masked[band]).flatten()).backward(retain_graph=True)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_codes_in_use_are_kept_in_the_state():
    model, twin = prior(), prior()
    model.set_used(dict(lf=torch.arange(6) < 4, hf=torch.arange(7) < 2))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.used_lf, model.used_lf) and torch.equal(twin.used_hf, model.used_hf)
    assert not twin.used_hf.all()


# Codes are known by their vectors

def test_codes_that_lie_close_start_with_close_embeddings():
    torch.manual_seed(0)
    model = MaskedPrior(1, 2, grid=GRID, codebook_size=dict(lf=64, hf=64))
    codes = torch.randn(32, 8).repeat_interleave(2, 0)
    codes[1::2] += 0.05 * torch.randn(32, 8)
    model.set_codes(dict(lf=codes, hf=codes))
    for emb in (model.priors['lf'].token_emb, model.priors['hf'].token_emb, model.priors['hf'].context_emb):
        d = torch.cdist(emb.table()[:64], emb.table()[:64]).fill_diagonal_(torch.inf)
        assert (d.argmin(1) == torch.arange(64) ^ 1).float().mean() > 0.9          # each one's nearest is its twin


def test_embeddings_know_neither_the_codes_scale_nor_their_place_nor_unused_codes():
    model, twin = prior(), prior()
    twin.load_state_dict(model.state_dict())
    used = dict(lf=torch.arange(6) < 4, hf=torch.arange(7) < 5)
    moved = {band: torch.where(used[band][:, None], 30 * code - 7, 1e6) for band, code in CODEBOOKS.items()}
    for m, codes in ((model, CODEBOOKS), (twin, moved)):
        m.set_used(used)
        m.set_codes(codes)
    for band in BANDS:
        a, b = (m.priors[band].token_emb.table()[:SIZES[band]][used[band]] for m in (model, twin))
        assert torch.allclose(a, b, atol=1e-4)


def test_one_code_in_use_is_enough():
    model = prior()
    model.set_used(dict(lf=torch.arange(6) == 2, hf=torch.arange(7) == 3))
    model.set_codes(CODEBOOKS)
    out = model.sample_tokens(torch.zeros(2, dtype=torch.long))
    assert (out['lf'] == 2).all() and (out['hf'] == 3).all()


def test_the_paper_preset_learns_each_code_alone():
    model = prior(preset='paper')
    assert torch.equal(model.priors['lf'].token_emb.table(), model.priors['lf'].token_emb.weight)


# Guidance

def guided(model, band, cfg_scale, y):
    "Logits as sampling uses them where one step asks for all positions, seen through the draw."
    seen = {}
    def watched(band, tokens, positions, **kwargs):
        seen[band] = logits, positions = original(band, tokens, positions, **kwargs), positions
        return logits
    model.guided_logits, original = watched, model.guided_logits
    model.sample_tokens(y, dict(lf=1, hf=1), cfg_scale=cfg_scale, generator=seeded())
    del model.guided_logits
    logits, positions = seen[band]
    return logits[torch.arange(len(y))[:, None], positions.argsort(-1)]


@pytest.mark.parametrize('cfg_scale', [0.5, 2., 7.])
def test_guidance_goes_from_unconditional_along_the_class(cfg_scale):
    model, y = sharpen(prior()), torch.tensor([0, 1, 2, 3])
    hidden = torch.full((4, 5), model.mask_id['lf'])
    cond, uncond = (model.band_logits('lf', hidden, ids) for ids in (y, torch.full_like(y, model.null_class)))
    assert not torch.allclose(cond[:3], uncond[:3], atol=1e-2) and torch.allclose(cond[3], uncond[3])
    torch.testing.assert_close(guided(model, 'lf', cfg_scale, y), uncond + cfg_scale * (cond - uncond))


def test_scale_one_is_conditional_and_zero_unconditional():
    model, y = sharpen(prior()), torch.arange(3).repeat(20)
    null = torch.full_like(y, model.null_class)
    samples = {s: model.sample_tokens(y, cfg_scale=s, generator=seeded()) for s in (0., 1.)}
    assert same(samples[1.], model.sample_tokens(y, generator=seeded()))
    assert same(samples[0.], model.sample_tokens(null, generator=seeded())) and not same(samples[0.], samples[1.])
    for s, ids in ((0., null), (1., y)):
        hidden = torch.full((60, 5), model.mask_id['lf'])
        torch.testing.assert_close(guided(model, 'lf', s, y), model.band_logits('lf', hidden, ids))


@pytest.mark.parametrize('cfg_scale, doubled', [(0., 1), (1., 1), (1, 1), (3., 2)])
def test_only_other_scales_take_a_second_half_of_the_batch(cfg_scale, doubled):
    model = prior()
    calls = {band: watch(model, band) for band in BANDS}
    model.sample_tokens(torch.tensor([0, 1, 2]), dict(lf=2, hf=2), cfg_scale=cfg_scale)
    sizes = {band: [len(args[0]) for args in c] for band, c in calls.items()}
    assert sizes == dict(lf=[3 * doubled] * 2, hf=[3 * doubled] * 2)


def test_unconditional_data_have_the_null_class_alone():
    model = prior(n_classes=0)
    assert model.null_class == 0
    y = torch.zeros(20, dtype=torch.long)
    samples = [model.sample_tokens(y, cfg_scale=s, generator=seeded()) for s in (0., 1.)]
    assert same(*samples)
    model.sample_tokens(y, cfg_scale=3., generator=seeded())
    with pytest.raises(IndexError): model.sample_tokens(y + 1)


# What the logits depend on

def test_lf_depends_on_tokens_and_class_and_hf_on_lf_too():
    model, y = sharpen(prior()), torch.tensor([0, 0])
    lf, hf = torch.randint(6, (1, 5)).repeat(2, 1), torch.randint(7, (1, 8)).repeat(2, 1)
    def differ(band, **changes):
        args = dict(tokens=dict(lf=lf, hf=hf)[band].clone(), y=y.clone(), lf=lf.clone())
        for name, value in changes.items(): args[name][1] = value
        a, b = model.band_logits(band, **args)
        return not torch.allclose(a, b, atol=1e-3)
    for band in BANDS:
        assert not differ(band) and differ(band, y=1) and differ(band, tokens=(dict(lf=lf, hf=hf)[band][0] + 1) % 6)
    assert differ('hf', lf=(lf[0] + 1) % 6) and not differ('lf', lf=(lf[0] + 1) % 6)


def test_each_hf_position_is_given_the_lf_position_over_it():
    model = MaskedPrior(1, 2, grid=dict(lf=(1, 3), hf=(2, 7)), codebook_size=SIZES, **TINY)
    assert model.priors['hf'].lf_index.tolist() == [0, 0, 0, 1, 1, 2, 2] * 2


def test_positions_are_told_apart():
    model = sharpen(prior())
    logits = model.band_logits('lf', torch.full((1, 5), model.mask_id['lf']), torch.tensor([0]))[0]
    assert (logits[0] - logits[1:]).abs().amax(1).min() > 1e-3


def test_rows_do_not_depend_on_their_batch():
    model, y, tokens = sharpen(prior()), torch.arange(4), torch.randint(7, (4, 5))
    together = model.band_logits('lf', tokens, y)
    for i in range(4):
        torch.testing.assert_close(model.band_logits('lf', tokens[i:i + 1], y[i:i + 1]), together[i:i + 1])


def test_only_masked_tokens_are_predicted_row_by_row():
    model, y, lf = sharpen(prior()), torch.arange(3), torch.randint(6, (3, 5))
    tokens = dict(lf=lf, hf=torch.randint(7, (3, 8)))
    mask = {band: random_mask(*t.shape) for band, t in tokens.items()}
    masked = {band: t.masked_fill(mask[band], model.mask_id[band]) for band, t in tokens.items()}
    logits = model(masked, y, lf)
    for band in BANDS:
        torch.testing.assert_close(logits[band], model.band_logits(band, masked[band], y, lf)[mask[band]])


@pytest.mark.parametrize('n_layers', [1, 2])
@pytest.mark.parametrize('band', BANDS)
def test_asking_for_some_positions_gives_their_logits(band, n_layers):
    model, y = sharpen(prior(lf_layers=n_layers, hf_layers=n_layers)), torch.arange(3)
    tokens, lf = torch.randint(6, (3, N_TOKENS[band])), torch.randint(6, (3, 5))
    positions, every = torch.tensor([[4, 0], [1, 1], [2, 3]]), model.band_logits(band, tokens, y, lf)
    expected = every[torch.arange(3)[:, None], positions]
    torch.testing.assert_close(model.band_logits(band, tokens, y, lf, positions), expected)


# Learning

def random_pairs(n):
    "LF tokens all alike and named after the class; HF tokens named after LF's, one higher or two, together."
    y = torch.randint(3, (n,))
    lf = y[:, None].repeat(1, 5)
    return y, lf, lf[:, :1].repeat(1, 8) + torch.randint(1, 3, (n, 1))


@pytest.fixture(scope='module')
def trained():
    torch.manual_seed(0)
    model = prior(lf_dim=32, hf_dim=32).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(250):
        y, lf, hf = random_pairs(64)
        hidden = {band: random_mask(*t.shape) for band, t in (('lf', lf), ('hf', hf))}
        logits = model({band: t.masked_fill(hidden[band], model.mask_id[band]) for band, t in (('lf', lf), ('hf', hf))},
                       torch.where(torch.rand(64) < 0.2, model.null_class, y), lf)
        loss = sum(F.cross_entropy(logits[band], t[hidden[band]]) for band, t in (('lf', lf), ('hf', hf)))
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    return model.eval()


@pytest.mark.parametrize('cfg_scale', [1., 2.])
def test_samples_are_of_the_class_and_hang_together(trained, cfg_scale):
    y = torch.arange(3).repeat(100)
    out = trained.sample_tokens(y, cfg_scale=cfg_scale, generator=seeded())
    assert (out['lf'] == y[:, None]).float().mean() > 0.97
    higher = out['hf'] - out['lf'][:, :1]
    assert (higher.min(1).values == higher.max(1).values).float().mean() > 0.9       # one draw for the whole series
    assert ((higher == 1) | (higher == 2)).float().mean() > 0.95
    assert 0.3 < (higher == 1).float().mean() < 0.7                                  # both kinds, as in the data


def test_null_class_samples_all_classes(trained):
    lf = trained.sample_tokens(torch.full((600,), trained.null_class), generator=seeded())['lf']
    whole = lf[(lf == lf[:, :1]).all(1)][:, 0]
    assert len(whole) > 540 and torch.bincount(whole, minlength=3).min() > 120


@pytest.mark.parametrize('temp', [0., 20., torch.inf])
def test_samples_keep_to_the_data_at_any_choice_temperature(trained, temp):
    y, temps = torch.zeros(300, dtype=torch.long), dict(lf=temp, hf=temp)
    out = trained.sample_tokens(y, choice_temp=temps, generator=seeded())
    assert (out['lf'] == 0).float().mean() > 0.95 and ((out['hf'] == 1) | (out['hf'] == 2)).float().mean() > 0.95


def test_every_parameter_gets_a_gradient():
    model = prior().train()
    tokens = {band: torch.randint(6, (16, n)) for band, n in N_TOKENS.items()}
    masked = {band: t.masked_fill(random_mask(*t.shape), model.mask_id[band]) for band, t in tokens.items()}
    logits = model(masked, torch.arange(16) % 4, torch.randint(6, (16, 5)))
    sum(logits[band].log_softmax(-1)[..., 0].mean() for band in BANDS).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


# Sizes, precision, configuration

@pytest.mark.parametrize('preset', PRIOR_PRESETS)
@pytest.mark.parametrize('seq_len', [16, 17, 150, 151])
def test_without_sizes_it_takes_those_of_a_default_tokenizer(preset, seq_len):
    tok, model = VQTokenizer(2, 3, seq_len, preset), MaskedPrior(2, 3, seq_len, preset, **TINY)
    assert (model.n_tokens, model.codebook_size, model.mask_id) == (tok.n_tokens, tok.codebook_size, tok.codebook_size)
    tokens = model.eval().sample_tokens(torch.tensor([0, 3]))
    assert {band: t.shape for band, t in tokens.items()} == {band: (2, tok.n_tokens[band]) for band in BANDS}


@pytest.mark.parametrize('preset', PRIOR_PRESETS)
def test_tokens_decode_at_any_grid(preset):
    tok = VQTokenizer(1, 2, 33, preset, dim=4, max_dim=8, hidden_dim=8, codebook_size=16, n_fft=8).eval()
    model = MaskedPrior(1, 2, preset=preset, grid=tok.grid, codebook_size=tok.codebook_size, **TINY).eval()
    assert tok.decode(model.sample_tokens(torch.tensor([0, 1, 2]))).shape == (3, 1, 33)


@pytest.mark.parametrize('preset', PRIOR_PRESETS)
def test_tsai_builds_it(preset):
    settings = dict(seq_len=33, preset=preset, **TINY)
    model = build_ts_model(MaskedPrior, c_in=1, c_out=3, device='cpu', arch_config=settings)
    assert isinstance(model, MaskedPrior) and model.n_classes == 3


@pytest.mark.parametrize('preset', PRIOR_PRESETS)
def test_presets_sample_with_their_own_steps(preset):
    model = MaskedPrior(1, 2, preset=preset, grid=GRID, codebook_size=SIZES).eval()
    calls = {band: watch(model, band) for band in BANDS}
    model.sample_tokens(torch.tensor([0, 1, 2]), generator=seeded())
    for band in BANDS: assert len(calls[band]) == len(masked_after(model.n_steps[band], N_TOKENS[band])) - 1


@pytest.mark.parametrize('c_out', [-1, 1.5, None])
def test_class_counts_that_cannot_be_are_refused(c_out):
    with pytest.raises(ValueError, match='MaskedPrior: c_out is .*, expected a whole number of at least 0'):
        prior(n_classes=c_out)


@pytest.mark.parametrize('cfg_scale', [1., 2.])
def test_it_samples_and_learns_under_bfloat16_autocast(cfg_scale):
    model = sharpen(prior())
    with torch.autocast('cpu', torch.bfloat16):
        out = model.sample_tokens(torch.arange(4), cfg_scale=cfg_scale, generator=seeded())
        hidden = {band: torch.full((4, N_TOKENS[band]), model.mask_id[band]) for band in BANDS}
        logits = model(hidden, torch.arange(4), out['lf'])
        loss = sum(F.cross_entropy(logits[band], out[band].flatten()) for band in BANDS)
    loss.backward()
    assert all(logits[band].dtype == torch.float32 and out[band].max() < SIZES[band] for band in BANDS)
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_rebuilt_from_its_state_it_samples_the_same():
    model = sharpen(prior())
    twin = MaskedPrior(**model.config).eval()
    twin.load_state_dict(model.state_dict())
    y = torch.arange(4)
    assert same(model.sample_tokens(y, generator=seeded()), twin.sample_tokens(y, generator=seeded()))
