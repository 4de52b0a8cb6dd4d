"""Stage 1: a vector-quantised autoencoder on each frequency band (TimeVQVAE)."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .bands import BANDS, band_series, n_bins, n_frames, split_bands
from .layers import ConfigModule, Dropout, Standardizer, activation, positive_int, resolve_preset
from .quantizer import VectorQuantizer

__all__ = ['VQTokenizer', 'TOKENIZER_PRESETS', 'adaptive_codebook_size', 'token_grid']

MIN_SEQ_LEN = 16

TOKENIZER_PRESETS = {
    # What a laptop learns in a minute: dense convolutions, strides of 4, HF bins as channels, a codebook that fits the data
    'fast': dict(n_fft=4, lf_width=8, hf_width=32, dim=16, max_dim=64, stride=4, hidden_dim=64, n_blocks=1, dropout=0.,
                 separable=False, snake=False, mix_bins=True, codebook_size=None, codebook_dim=8, ema_decay=0.8, commitment_weight=1.),
    # arXiv 2303.04743 as its authors' package has it: separable convolutions, HF bins as a second axis, 1024 codes
    'paper': dict(n_fft=4, lf_width=8, hf_width=32, dim=4, max_dim=512, stride=2, hidden_dim=128, n_blocks=2, dropout=0.3,
                  separable=True, snake=True, mix_bins=False, codebook_size=1024, codebook_dim=8, ema_decay=0.8, commitment_weight=1.),
}


def adaptive_codebook_size(
    n_series:int|None, # Series in the training split; None where unknown
    n_tokens:int, # Tokens of the band a series
    vectors_per_code:int=16, # Latents that a code should stand for
    largest:int=512 # Upper bound; also the size for unknown n_series
) -> int: # A power of two in 16..largest
    "Codes for a data set: 1024 codes for 50 series would be a codebook of noise."
    if n_series is None: return largest
    return max(16, min(largest, 2 ** round(math.log2(max(1, n_series * n_tokens / vectors_per_code)))))


def token_grid(
    seq_len:int, # Steps of the series
    band:str, # 'lf' or 'hf'
    n_fft:int, # STFT size
    width:int, # Positions along time to aim at
    mix_bins:bool # Whether the band's bins are channels (one row of tokens) or rows
) -> tuple: # (rows, positions, halvings of the frames): the tokens of a series are rows x positions
    "Size of a band's token grid, known before any forward pass."
    frames = n_frames(seq_len, n_fft)
    halvings = max(1, round(math.log2(max(1, frames / width))))
    return (1 if mix_bins else n_bins(band, n_fft)), math.ceil(frames / 2 ** halvings), halvings


class ResBlock(nn.Module):
    "Two convolutions along time around BatchNorm and an activation, with a skip."
    def __init__(self, dim, out_dim, kernel_f, separable, dropout, snake):
        super().__init__()
        self.convs = nn.Sequential(activation(dim, snake, axis=-1), _conv(dim, out_dim, (kernel_f, 3), separable), BatchNorm(out_dim),
                                   activation(out_dim, snake, axis=-1), _conv(out_dim, out_dim, (kernel_f, 3), separable), Dropout(dropout))
        self.skip = nn.Identity() if dim == out_dim else nn.Linear(dim, out_dim)

    def forward(self, x): return self.skip(x) + self.convs(x)                # [bs, rows, n, dim] -> [bs, rows, n, out_dim]


class Encoder(nn.Sequential):
    "Spectrogram [bs, rows, W, dim_in] -> unit vectors [bs, rows, positions, hidden_dim]."
    def __init__(self, dim_in, dims, strides, hidden_dim, n_blocks, kernel_f, separable, dropout, snake):
        layers = [_resample(dim_in, dims[0], strides[0], kernel_f, separable, snake)]
        for before, after, stride in zip(dims, dims[1:], strides[1:]):
            layers += [_resample(before, after, stride, kernel_f, separable, snake),
                       *[ResBlock(after, after, kernel_f, separable, dropout, snake) for _ in range(n_blocks)]]
        super().__init__(*layers, ResBlock(dims[-1], hidden_dim, kernel_f, separable, dropout, snake))

    def forward(self, x): return F.normalize(super().forward(x), dim=-1)


class Decoder(nn.Sequential):
    "Quantised latents [bs, rows, positions, hidden_dim] -> spectrogram [bs, rows, positions * strides, dim_out]."
    def __init__(self, dim_out, dims, strides, hidden_dim, n_blocks, kernel_f, separable, dropout, snake):
        layers = [ResBlock(hidden_dim, dims[-1], kernel_f, separable, dropout, snake)]
        for before, after, stride in zip(dims[:0:-1], dims[-2::-1], strides[:0:-1]):
            layers += [*[ResBlock(before, before, kernel_f, separable, dropout, snake) for _ in range(n_blocks)],
                       _resample(before, after, stride, kernel_f, separable, snake, up=True)]
        super().__init__(*layers, _resample(dims[0], dims[0], strides[0], kernel_f, separable, snake, up=True), nn.Linear(dims[0], dim_out))


class VQTokenizer(ConfigModule):
    """Series to tokens and back: STFT bands, and for each band an encoder, a `VectorQuantizer` and a decoder.

    Takes and gives series in the data's own units; inside they are standardised. [arXiv 2303.04743, section 3.1]"""
    def __init__(self,
        c_in:int, # Channels
        c_out:int=None, # Not used: tsai passes it to every architecture
        seq_len:int=None, # Steps, at least 16
        preset:str='fast', # 'fast' or 'paper', see `TOKENIZER_PRESETS`
        n_series:int=None, # Series in the training split: the codebook size follows it where the preset leaves it open
        **settings # Settings that replace the preset's: n_fft, lf_width, hf_width, dim, hidden_dim, codebook_size, ...
    ):
        super().__init__()
        self.c_in = positive_int(c_in, 'c_in', 'VQTokenizer')
        self.seq_len = positive_int(seq_len, 'seq_len', 'VQTokenizer', least=MIN_SEQ_LEN)
        self.settings = s = resolve_preset(TOKENIZER_PRESETS, preset, settings, 'VQTokenizer')
        self.n_fft, self.scale = positive_int(s['n_fft'], 'n_fft', 'VQTokenizer', least=4), Standardizer(self.c_in)
        if self.n_fft % 2 or self.n_fft > 2 * (self.seq_len - 1):
            raise ValueError(f"VQTokenizer: n_fft is {self.n_fft}, expected an even number of at most {2 * (self.seq_len - 1)} "
                             f"for {self.seq_len} steps")
        if s['stride'] not in (2, 4, 8, 16):
            raise ValueError(f"VQTokenizer: stride is {s['stride']!r}, expected a power of two from 2 to 16")
        self.grid, self.n_tokens, self.codebook_size, self._padded = {}, {}, {}, {}
        self.encoders, self.quantizers, self.decoders = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for band in BANDS:
            rows, positions, halvings = token_grid(self.seq_len, band, self.n_fft, s[f'{band}_width'], s['mix_bins'])
            size = s['codebook_size'] or adaptive_codebook_size(n_series, rows * positions)
            self.grid[band], self.n_tokens[band], self.codebook_size[band] = (rows, positions), rows * positions, size
            self._padded[band] = positions * 2 ** halvings
            strides, dims = _levels(halvings, s['stride'], s['dim'], s['max_dim'])
            channels = 2 * self.c_in * (n_bins(band, self.n_fft) // rows)
            shared = dict(dims=dims, strides=strides, hidden_dim=s['hidden_dim'], n_blocks=s['n_blocks'], kernel_f=3 if rows > 1 else 1,
                          separable=s['separable'], dropout=s['dropout'], snake=s['snake'])
            self.encoders[band], self.decoders[band] = Encoder(channels, **shared), Decoder(channels, **shared)
            self.quantizers[band] = VectorQuantizer(s['hidden_dim'], size, s['codebook_dim'], s['ema_decay'], s['commitment_weight'])

    def forward(self,
        x:Tensor # Series [bs, c_in, seq_len], original units
    ) -> dict: # 'x' the reconstruction in original units; by band, standardised: 'series', 'target', 'tokens'; 'commitment'
        "Reconstruct x from its nearest codes; in training mode the codes move."
        spectra, out = self._spectra(x), dict(series={}, target={}, tokens={}, commitment=0.)
        for band in BANDS:
            h, tokens, commitment = self.quantizers[band](self._encode(spectra[band], band))
            out['series'][band], out['tokens'][band] = self._decode(h, band), tokens
            out['target'][band] = band_series(spectra[band], band, self.n_fft, self.seq_len)
            out['commitment'] = out['commitment'] + commitment
        out['x'] = self.scale.inverse(sum(out['series'].values()))
        return out

    def latents(self, x:Tensor) -> dict: # [bs, c_in, seq_len] -> {band: z [bs, n_tokens, codebook_dim]}
        "Encoder outputs in the codes' space: what stochastic quantization draws around."
        spectra = self._spectra(x)
        return {band: self.quantizers[band].latents(self._encode(spectra[band], band)) for band in BANDS}

    def quantize(self,
        latents:dict, # {band: z [bs, n_tokens, codebook_dim]} from `latents`
        tau:float|Tensor|None=None, # SVQ temperature, one number or one a row; None or 0 picks the nearest codes
        generator:torch.Generator=None # Source of randomness on the latents' device
    ) -> dict: # {band: token ids [bs, n_tokens]}
        "Tokens of latents, nearest or stochastic. [arXiv 2501.17553, Eq. 3.1b]"
        return {band: self.quantizers[band].tokens(latents[band], tau, generator) for band in BANDS}

    def encode(self,
        x:Tensor, # Series [bs, c_in, seq_len], original units
        tau:float|Tensor|None=None, # SVQ temperature, see `quantize`
        generator:torch.Generator=None # Source of randomness
    ) -> dict: # {band: token ids [bs, n_tokens], int64}
        "Tokens of series."
        return self.quantize(self.latents(x), tau, generator)

    def decode(self,
        tokens:dict # {band: token ids [bs, n_tokens]}
    ) -> Tensor: # Series [bs, c_in, seq_len], original units
        "Series of tokens."
        return self.scale.inverse(sum(self._decode(self.quantizers[band].lookup(tokens[band]), band) for band in BANDS))

    def _spectra(self, x):
        if x.ndim != 3 or x.shape[1:] != (self.c_in, self.seq_len):
            raise ValueError(f"series have shape {tuple(x.shape)}, this VQTokenizer takes [bs, {self.c_in}, {self.seq_len}]")
        return split_bands(self.scale(x.as_subclass(Tensor)), self.n_fft)

    def _encode(self, spectrum, band): # [bs, 2 c_in, bins, W] -> [bs, n_tokens, hidden_dim]
        pad = self._padded[band] - spectrum.shape[-1]
        if pad: spectrum = F.pad(spectrum, (0, pad, 0, 0), mode='replicate')
        spectrum = spectrum.flatten(1, 2).unflatten(1, (-1, self.grid[band][0]))              # the bins as channels, or as rows
        return self.encoders[band](spectrum.permute(0, 2, 3, 1)).flatten(1, 2)

    def _decode(self, h, band): # [bs, n_tokens, hidden_dim] -> standardised [bs, c_in, seq_len]
        spectrum = self.decoders[band](h.unflatten(1, self.grid[band]))[:, :, :n_frames(self.seq_len, self.n_fft)]
        spectrum = spectrum.permute(0, 3, 1, 2).reshape(len(h), 2 * self.c_in, n_bins(band, self.n_fft), -1)
        return band_series(spectrum, band, self.n_fft, self.seq_len)


def _levels(halvings, stride, dim, max_dim): # -> (strides, widths) of the levels, the finest first, which may have a smaller stride
    per_level = int(math.log2(stride))
    halved = range(halvings % per_level or per_level, halvings + 1, per_level)                # halvings after each level
    strides = [2 ** (after - before) for before, after in zip((0, *halved), halved)]
    return strides, [min(dim * 2 ** (n - 1), max_dim) for n in halved]


# Channels last: pointwise convolutions and BatchNorm are then plain matrices, about twice as fast on a CPU as oneDNN's

class Conv(nn.Conv2d):
    "Convolution of [bs, rows, n, dim]."
    def forward(self, x): return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConvTranspose(nn.ConvTranspose2d):
    "Transposed convolution of [bs, rows, n, dim]."
    def forward(self, x): return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class BatchNorm(nn.BatchNorm1d):
    "BatchNorm of the last axis."
    def forward(self, x): return super().forward(x.flatten(0, -2)).view(x.shape)


def _resample(dim, out_dim, stride, kernel_f, separable, snake, up=False):
    conv = _conv(dim, out_dim, (kernel_f, 2 * stride), separable, stride, up)
    return nn.Sequential(conv, BatchNorm(out_dim), activation(out_dim, snake, axis=-1))


def _conv(dim, out_dim, kernel, separable, stride=1, up=False):
    conv = ConvTranspose if up else Conv
    geometry = dict(kernel_size=kernel, stride=(1, stride), padding=(kernel[0] // 2, (kernel[1] - stride + 1) // 2))
    if not separable: return conv(dim, out_dim, **geometry)
    return nn.Sequential(conv(dim, dim, groups=dim, **geometry), nn.Linear(dim, out_dim))
