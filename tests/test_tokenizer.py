"""Series to tokens and back: sizes known beforehand, units kept, and what training moves."""
import math

import pytest
import torch
import torch.nn.functional as F
from tsai.all import TSClassification, TSTensor, get_ts_dls
from tsai.models.utils import build_ts_model

from tsai_nmvq.models.bands import BANDS, band_series, n_bins, split_bands
from tsai_nmvq.models.tokenizer import VQTokenizer, adaptive_codebook_size, token_grid
from tsai_nmvq.presets import TOKENIZER_PRESETS

TINY = dict(dim=4, max_dim=8, hidden_dim=8, codebook_size=16, codebook_dim=4)
LENGTHS = [*range(16, 34), 75, 99, 150, 151, 470, 1639]


def tokenizer(c_in=1, seq_len=40, preset='fast', **settings):
    return VQTokenizer(c_in, None, seq_len, preset, **{**TINY, **settings}).eval()


def train(tok, x, n_steps, lr=3e-3):
    optimizer = torch.optim.Adam(tok.train().parameters(), lr)
    for _ in range(n_steps):
        out = tok(x)
        series, target = out['series'], out['target']
        loss = F.mse_loss(series['lf'], target['lf']) + F.l1_loss(series['hf'], target['hf']) + out['commitment']
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    return tok.eval()


def waves(n, seq_len, c_in=1):
    "Sines of several frequencies, phases and amplitudes: no two alike."
    t = torch.linspace(0, 1, seq_len)
    amplitude, frequency, phase = torch.rand(3, n, c_in, 1)
    return (0.5 + amplitude) * torch.sin(2 * torch.pi * ((1 + 5 * frequency) * t + phase))


# Sizes

@pytest.mark.parametrize('preset', TOKENIZER_PRESETS)
@pytest.mark.parametrize('c_in, seq_len', [*[(1, n) for n in LENGTHS], (3, 16), (3, 17), (6, 99), (2, 150)])
def test_token_counts_and_shapes_hold_at_every_length(preset, c_in, seq_len):
    tok = tokenizer(c_in, seq_len, preset)
    sizes = dict(tok.n_tokens), dict(tok.codebook_size)
    x = torch.randn(2, c_in, seq_len)
    tokens = tok.encode(x)
    assert {band: tuple(t.shape) for band, t in tokens.items()} == {band: (2, tok.n_tokens[band]) for band in BANDS}
    assert tok.decode(tokens).shape == tok(x)['x'].shape == x.shape
    assert (tok.n_tokens, tok.codebook_size) == sizes
    assert all(rows * positions == tok.n_tokens[band] for band, (rows, positions) in tok.grid.items())


@pytest.mark.parametrize('n_fft', [6, 8, 16, 30])
@pytest.mark.parametrize('mix_bins', [True, False])
def test_other_transform_sizes_work_up_to_the_length(n_fft, mix_bins):
    tok = tokenizer(2, 17, n_fft=n_fft, mix_bins=mix_bins)
    x = torch.randn(2, 2, 17)
    tokens = tok.encode(x)
    assert tok.decode(tokens).shape == x.shape and all(tokens[band].shape == (2, tok.n_tokens[band]) for band in BANDS)


@pytest.mark.parametrize('n_fft', [2, 5, 34, 64, 4.5, None])
def test_transform_sizes_that_cannot_be_are_refused(n_fft):
    with pytest.raises(ValueError, match=r'n_fft is .*, expected'): tokenizer(1, 17, n_fft=n_fft)


@pytest.mark.parametrize('band', BANDS)
@pytest.mark.parametrize('width', [8, 32])
@pytest.mark.parametrize('seq_len', [150, 500, 1639, 10_000])
def test_positions_come_close_to_the_width_aimed_at(band, width, seq_len):
    rows, positions, halvings = token_grid(seq_len, band, 4, width, mix_bins=False)
    assert rows == n_bins(band) and width / 2 ** 0.5 - 1 <= positions <= width * 2 ** 0.5 + 1
    assert positions == -(-(seq_len + 1) // 2 ** halvings)


@pytest.mark.parametrize('stride', [2, 4, 8])
@pytest.mark.parametrize('seq_len', [16, 17, 150, 151, 1000])
def test_any_stride_leads_to_the_same_grid(seq_len, stride):
    tok, twos = tokenizer(1, seq_len, stride=stride), tokenizer(1, seq_len, stride=2)
    x = torch.randn(2, 1, seq_len)
    assert tok.grid == twos.grid and tok(x)['x'].shape == x.shape
    strides, twos_strides = ([m[0].stride[1] for m in t.encoders['lf'] if isinstance(m, torch.nn.Sequential)]
                             for t in (tok, twos))
    assert math.prod(strides) == math.prod(twos_strides)
    assert max(strides) <= stride and set(strides[1:]) <= {stride}


@pytest.mark.parametrize('stride', [1, 3, 6, 0, 2.5])
def test_strides_that_are_no_power_of_two_are_refused(stride):
    with pytest.raises(ValueError, match='VQTokenizer: stride is .*, expected a power of two'):
        tokenizer(1, 32, stride=stride)


def test_codebook_follows_the_amount_of_data():
    sizes = [adaptive_codebook_size(n, 20) for n in (1, 5, 20, 50, 200, 1000, 10 ** 6)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[3] < sizes[-1]
    assert all(size & (size - 1) == 0 for size in sizes)
    for n, size in zip((50, 200), sizes[3:5]): assert 8 <= n * 20 / size <= 32 # latents that a code stands for


def test_codebook_adapts_unless_its_size_is_given():
    def sizes(n_series, size):
        return VQTokenizer(1, None, 150, n_series=n_series, **{**TINY, 'codebook_size': size}).codebook_size
    few, many = sizes(50, None), sizes(5000, None)
    assert all(few[band] < many[band] for band in BANDS) and few['lf'] < few['hf'] < 1024
    assert sizes(50, 24) == sizes(5000, 24) == dict(lf=24, hf=24)


@pytest.mark.parametrize('band', BANDS)
def test_codebook_size_is_that_of_the_codebook(band):
    tok = VQTokenizer(1, None, 40, n_series=30, **{**TINY, 'codebook_size': None})
    size = adaptive_codebook_size(30, tok.n_tokens[band])
    assert len(tok.quantizers[band].codebook) == tok.codebook_size[band] == size


@pytest.mark.parametrize('preset', TOKENIZER_PRESETS)
def test_tsai_builds_it(preset):
    tok = build_ts_model(VQTokenizer, c_in=2, c_out=3, arch_config=dict(seq_len=33, preset=preset, **TINY))
    assert isinstance(tok, VQTokenizer) and (tok.c_in, tok.seq_len) == (2, 33)


def test_tsai_builds_it_for_its_loaders(basic_motions):
    X, y, splits = basic_motions
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], bs=8)
    tok = build_ts_model(VQTokenizer, dls=dls, device='cpu', arch_config=dict(seq_len=dls.len, **TINY))
    x = dls.train.one_batch()[0].cpu()
    assert isinstance(x, TSTensor)
    out = tok.eval()(x)['x']
    assert out.shape == x.shape and type(out) is torch.Tensor


@pytest.mark.parametrize('shape', [(2, 3, 40), (2, 1, 41), (2, 40), (1, 2, 1, 40)])
def test_series_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r'series have shape .*, this VQTokenizer takes \[bs, 1, 40\]'):
        tokenizer()(torch.randn(shape))


# What it computes

@pytest.mark.parametrize('preset', TOKENIZER_PRESETS)
def test_reconstruction_is_the_decoding_of_the_tokens(preset):
    tok, x = tokenizer(2, 41, preset), waves(4, 41, 2)
    out = tok(x)
    assert all(torch.equal(out['tokens'][band], tok.encode(x)[band]) for band in BANDS)
    torch.testing.assert_close(out['x'], tok.decode(out['tokens']))
    torch.testing.assert_close(out['x'], sum(out['series'].values()))


def test_targets_are_the_bands_of_the_standardised_series():
    tok, x = tokenizer(2, 41), 5 + 3 * waves(4, 41, 2)
    tok.standardizer.set([5., 5.], [3., 3.])
    spectra = split_bands((x - 5) / 3)
    for band, target in tok(x)['target'].items():
        torch.testing.assert_close(target, band_series(spectra[band], band, 4, 41))


def test_units_do_not_change_the_tokens():
    tok, x = tokenizer(2), waves(4, 40, 2)
    mean, std = torch.tensor([1000., -2.]), torch.tensor([50., 0.5])
    tokens, plain = tok.encode(x), tok.decode(tok.encode(x))
    tok.standardizer.set(mean, std)
    shifted = x * std[:, None] + mean[:, None]
    assert all(torch.equal(tok.encode(shifted)[band], tokens[band]) for band in BANDS)
    torch.testing.assert_close(tok.decode(tokens), plain * std[:, None] + mean[:, None])


def test_rows_do_not_depend_on_their_batch():
    tok, x = tokenizer(), waves(6, 40)
    together, alone = tok.encode(x), [tok.encode(row[None]) for row in x]
    for band in BANDS: assert torch.equal(together[band], torch.cat([t[band] for t in alone]))


@pytest.mark.parametrize('preset', TOKENIZER_PRESETS)
@pytest.mark.parametrize('band', BANDS)
def test_tokens_stand_in_the_order_of_time(preset, band):
    "The first token of a row speaks of the first steps only, and of these it alone."
    tok, x = tokenizer(1, 600, preset), torch.randn(1, 1, 600)
    rows, positions = tok.grid[band]
    changed = x * torch.where(torch.arange(600) < 300, -1, 1)
    moved = (tok.latents(changed)[band] - tok.latents(x)[band]).unflatten(1, (rows, positions)).abs().amax((0, 1, 3))
    assert moved[0] > 100 * moved[-1]
    tokens = tok.encode(x)
    first = tokens[band].unflatten(1, (rows, positions)).clone()
    first[:, :, 0] = (first[:, :, 0] + 1) % 16
    change = (tok.decode({**tokens, band: first.flatten(1)}) - tok.decode(tokens)).abs()
    assert change[..., :100].max() > 10 * change[..., 300:].max()


def test_bands_decode_on_their_own_and_add_up():
    tok = tokenizer()
    tokens = tok.encode(waves(3, 40))
    others = {band: (t + 1) % 16 for band, t in tokens.items()}
    x = tok.decode(tokens)
    changes = [tok.decode({**tokens, band: others[band]}) - x for band in BANDS]
    assert all(change.abs().max() > 1e-3 for change in changes)
    torch.testing.assert_close(tok.decode(others) - x, sum(changes), atol=1e-5, rtol=0)


@pytest.fixture(scope='module')
def overfitted():
    torch.manual_seed(0)
    x = 20 + 4 * waves(8, 40, 2)
    tok = tokenizer(2, dim=16, max_dim=32, hidden_dim=32, codebook_size=64, codebook_dim=8)
    tok.standardizer.set(x.mean((0, 2)), x.std((0, 2)))
    return train(tok, x, 250), x


def test_once_overfitted_it_gives_series_and_their_energy_back(overfitted):
    tok, x = overfitted
    x_rec = tok.decode(tok.encode(x))
    energy, energy_rec = (tok.standardizer(v).square().mean((1, 2)) for v in (x, x_rec))
    torch.testing.assert_close(energy_rec, energy, rtol=0.15, atol=0)
    assert tok.standardizer(x).sub(tok.standardizer(x_rec)).square().mean() < 0.02


def test_series_get_tokens_of_their_own(overfitted):
    tok, x = overfitted
    assert len(torch.cat(list(tok.encode(x).values()), 1).unique(dim=0)) == 8


@pytest.mark.parametrize('preset', TOKENIZER_PRESETS)
def test_state_comes_back_bit_by_bit(preset):
    tok, x = tokenizer(2, 41, preset), waves(4, 41, 2)
    train(tok, x, 2)
    twin = VQTokenizer(**tok.config)
    twin.load_state_dict(tok.state_dict())
    assert torch.equal(twin.eval()(x)['x'], tok(x)['x'])
    assert all(torch.equal(twin.encode(x)[band], tok.encode(x)[band]) for band in BANDS)


def test_eval_moves_nothing():
    tok, x = tokenizer(), waves(8, 40)
    before = {k: v.clone() for k, v in tok.state_dict().items()}
    tok(x), tok.encode(x, 1.), tok.decode(tok.encode(x))
    assert all(torch.equal(v, before[k]) for k, v in tok.state_dict().items())


@pytest.mark.parametrize('preset', TOKENIZER_PRESETS)
def test_every_parameter_learns_and_codes_move(preset):
    tok, x = tokenizer(2, 41, preset, dropout=0.).train(), waves(8, 41, 2)
    tok(waves(8, 41, 2)) # starts the codes
    before = {k: v.clone() for k, v in tok.named_buffers()}
    F.mse_loss(tok(x)['x'], x).backward() # the encoders learn through the codes
    grads = {name: p.grad for name, p in tok.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None or not grad.isfinite().all() or not grad.any()] == []
    for band in BANDS: assert not torch.equal(tok.quantizers[band].codebook, before[f'quantizers.{band}.codebook'])


# Stochastic quantization

@pytest.mark.parametrize('tau', [None, 0, 0., torch.zeros(4)])
def test_without_temperature_tokens_are_the_nearest_codes(tau, overfitted):
    tok, x = overfitted[0], overfitted[1][:4]
    assert all(torch.equal(tok.encode(x, tau)[band], tok(x)['tokens'][band]) for band in BANDS)


def test_tokens_wander_off_as_tau_grows(overfitted):
    tok, x = overfitted
    nearest = tok.encode(x)
    def agreement(tokens): return sum((tokens[band] == nearest[band]).float().mean().item() for band in BANDS)
    agree = [agreement(tok.encode(x, tau)) for tau in (0., 1e-3, 0.1, 100.)]
    assert agree[0] == 2 and agree == sorted(agree, reverse=True) and agree[-1] < 0.2


def test_each_row_has_its_tau(overfitted):
    tok, x = overfitted
    tau = torch.tensor([0., 1e3] * 4)
    tokens, nearest = tok.encode(x, tau), tok.encode(x)
    for band in BANDS:
        agree = (tokens[band] == nearest[band]).float().mean(1)
        assert (agree[::2] == 1).all() and (agree[1::2] < 0.5).all()


def test_only_codes_in_use_are_drawn_in_train_and_eval_alike(overfitted):
    tok, x = overfitted
    used, latents, draws = {band: torch.arange(64) % 3 == 0 for band in BANDS}, tok.latents(x), []
    state = {k: v.clone() for k, v in tok.state_dict().items()}
    try:
        for band in BANDS: tok.quantizers[band].set_used(used[band])
        for training in (True, False):
            draws.append(tok.train(training).quantize(latents, 5., torch.Generator().manual_seed(1)))
    finally:
        tok.load_state_dict(state)
        tok.eval()
    for band in BANDS: assert torch.equal(draws[0][band], draws[1][band]) and used[band][draws[0][band]].all()


def test_same_generator_seed_draws_the_same_and_leaves_the_global_state(overfitted):
    tok, x = overfitted
    state = torch.get_rng_state()
    a, b, c = (tok.encode(x, 1., torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a[band], b[band]) for band in BANDS) and not torch.equal(a['hf'], c['hf'])


# Precision

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_series_of_other_types_are_taken(dtype):
    tok, x = tokenizer(), waves(4, 40).to(dtype)
    tokens = tok.encode(x)
    assert all(torch.equal(tokens[band], tok.encode(x.float())[band]) for band in BANDS)
    assert tok(x)['x'].dtype == torch.float32


@pytest.mark.parametrize('preset', TOKENIZER_PRESETS)
def test_it_trains_under_bfloat16_autocast(preset):
    tok, x = tokenizer(2, 41, preset, dropout=0.).train(), waves(8, 41, 2)
    with torch.autocast('cpu', torch.bfloat16):
        out = tok(x)
        loss = F.mse_loss(out['x'], x) + out['commitment']
    loss.backward()
    assert out['x'].dtype == loss.dtype == torch.float32 and loss.isfinite()
    assert all(p.grad.isfinite().all() for p in tok.parameters())
    assert all(b.isfinite().all() and b.dtype != torch.bfloat16 for b in tok.buffers())


def test_autocast_hardly_changes_the_reconstruction(overfitted):
    tok, x = overfitted
    with torch.autocast('cpu', torch.bfloat16): x_rec = tok.decode(tok.encode(x))
    assert tok.standardizer(x).sub(tok.standardizer(x_rec)).square().mean() < 0.05
