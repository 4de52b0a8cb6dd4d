"""LF and HF bands: a split that adds up, at every length, in float32."""
import pytest
import torch

from tsai_nmvq.models.bands import BANDS, band_series, istft, n_bins, n_frames, split_bands, stft

LENGTHS = [*range(16, 34), 75, 99, 150, 151, 1639]


def bands_of(x, n_fft=4):
    return {band: band_series(s, band, n_fft, x.shape[-1]) for band, s in split_bands(x, n_fft).items()}


@pytest.mark.parametrize('n_fft', [4, 6, 8, 16])
@pytest.mark.parametrize('seq_len', LENGTHS)
def test_bands_add_up_to_the_series(seq_len, n_fft):
    x = torch.randn(2, 3, seq_len)
    torch.testing.assert_close(sum(bands_of(x, n_fft).values()), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize('n_fft', [4, 8, 16])
@pytest.mark.parametrize('seq_len', [16, 17, 18, 19, 150])
def test_sizes_are_known_before_the_transform(seq_len, n_fft):
    spectra = split_bands(torch.randn(2, 3, seq_len), n_fft)
    assert {band: tuple(s.shape) for band, s in spectra.items()} == \
        {band: (2, 6, n_bins(band, n_fft), n_frames(seq_len, n_fft)) for band in BANDS}


@pytest.mark.parametrize('seq_len', LENGTHS)
def test_inverse_transform_keeps_the_last_step(seq_len):
    x = torch.randn(2, 1, seq_len)
    torch.testing.assert_close(istft(stft(x, 8), 8, seq_len), x, atol=1e-5, rtol=0)


def test_constant_is_two_thirds_low_and_one_third_high():
    bands = bands_of(torch.full((1, 2, 50), 3.))
    inside = slice(2, -2) # the edges see the padding
    torch.testing.assert_close(bands['lf'][..., inside], torch.full((1, 2, 46), 2.))
    torch.testing.assert_close(bands['hf'][..., inside], torch.full((1, 2, 46), 1.))


def test_alternating_signs_are_all_high():
    x = 1. - 2. * (torch.arange(50) % 2)
    bands = bands_of(x.view(1, 1, -1))
    torch.testing.assert_close(bands['lf'], torch.zeros(1, 1, 50), atol=1e-6, rtol=0)
    torch.testing.assert_close(bands['hf'], x.view(1, 1, -1))


def test_low_bin_is_the_windowed_sum():
    "At n_fft 4 a frame's bin 0 is (x[t-1] + 2 x[t] + x[t+1]) / 4: Hann weights 0, ½, 1, ½, over √n_fft."
    x = torch.randn(1, 1, 20)
    expected = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
    torch.testing.assert_close(split_bands(x)['lf'][:, :1, 0, 1:19], expected)


def test_channels_do_not_mix():
    x = torch.randn(1, 3, 40)
    x[:, 1] = 0
    for band, series in bands_of(x).items():
        assert series[:, 1].abs().max() == 0, band
        assert series[:, 0].abs().max() > 0.1 and series[:, 2].abs().max() > 0.1, band


def test_bands_are_linear():
    x, y = torch.randn(2, 2, 1, 33)
    both, xs, ys = bands_of(2 * x - 3 * y), bands_of(x), bands_of(y)
    for band in BANDS: torch.testing.assert_close(both[band], 2 * xs[band] - 3 * ys[band], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_computed_in_float32(dtype):
    x = torch.randn(2, 1, 40).to(dtype)
    for band, series in bands_of(x).items():
        assert series.dtype == torch.float32
        torch.testing.assert_close(series, bands_of(x.float())[band], atol=1e-6, rtol=0)


def test_autocast_changes_nothing():
    x = torch.randn(2, 1, 40)
    expected = bands_of(x)
    with torch.autocast('cpu', torch.bfloat16): bands = bands_of(x)
    for band in BANDS: assert torch.equal(bands[band], expected[band])


def test_gradient_of_the_sum_is_one():
    x = torch.randn(1, 1, 33, requires_grad=True)
    sum(bands_of(x).values()).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_low_band_is_a_short_filter():
    "Analysis and synthesis are the same window (½, 1, ½): their convolution, over 4 for the bins and over ∑w² = 3/2."
    x = torch.zeros(1, 1, 31)
    x[..., 15] = 1
    expected = torch.zeros(31)
    expected[13:18] = torch.tensor([1., 4., 6., 4., 1.]) / 24
    torch.testing.assert_close(bands_of(x)['lf'].flatten(), expected, atol=1e-6, rtol=0)
