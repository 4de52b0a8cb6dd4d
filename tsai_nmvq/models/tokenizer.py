"""Stage 1: a vector-quantised autoencoder on each frequency band (TimeVQVAE)."""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..presets import TOKENIZER_PRESETS, resolve_settings
from .bands import BANDS, band_series, n_bins, n_frames, split_bands
from .layers import BandModules, ConfigModule, Dropout, Standardizer, activation, positive_int
from .quantizer import VectorQuantizer

__all__ = ['VQTokenizer', 'MIN_SEQ_LEN', 'adaptive_codebook_size', 'token_grid']

MIN_SEQ_LEN = 16


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


@dataclass(frozen=True)
class BandNetwork:
    "Sizes that a band's encoder and decoder share."
    dims:list[int]      # Channels after each level, the finest first
    strides:list[int]   # Steps merged by each level
    hidden_dim:int      # Width at the bottleneck
    n_blocks:int        # Residual blocks a level
    kernel_f:int        # Kernel across rows of tokens: 1 or 3
    separable:bool      # Depthwise and pointwise convolutions
    dropout:float       # Of the residual blocks
    snake:bool          # Snake or SiLU

    def block(self, dim, out_dim): return TokenizerBlock(dim, out_dim, self)

    def resample(self, dim, out_dim, stride, up=False): # a level's first layer, down or up
        conv = _conv(dim, out_dim, (self.kernel_f, 2 * stride), self.separable, stride, up)
        return nn.Sequential(conv, BatchNorm(out_dim), activation(out_dim, self.snake, axis=-1))


class TokenizerBlock(nn.Module):
    "Two convolutions along time around BatchNorm and an activation, with a skip."
    def __init__(self, dim, out_dim, net):
        super().__init__()
        kernel = net.kernel_f, 3
        self.convs = nn.Sequential(
            activation(dim, net.snake, axis=-1), _conv(dim, out_dim, kernel, net.separable), BatchNorm(out_dim),
            activation(out_dim, net.snake, axis=-1), _conv(out_dim, out_dim, kernel, net.separable),
            Dropout(net.dropout))
        self.skip = nn.Identity() if dim == out_dim else nn.Linear(dim, out_dim)

    def forward(self, x): return self.skip(x) + self.convs(x)            # [bs, rows, n, dim] -> [bs, rows, n, out_dim]


class Encoder(nn.Sequential):
    "Spectrogram [bs, rows, W, dim_in] -> unit vectors [bs, rows, positions, hidden_dim]."
    def __init__(self, dim_in, net):
        layers = [net.resample(dim_in, net.dims[0], net.strides[0])]
        for before, after, stride in zip(net.dims, net.dims[1:], net.strides[1:]):
            layers.append(net.resample(before, after, stride))
            layers += [net.block(after, after) for _ in range(net.n_blocks)]
        super().__init__(*layers, net.block(net.dims[-1], net.hidden_dim))

    def forward(self, x): return F.normalize(super().forward(x), dim=-1)


class Decoder(nn.Sequential):
    "Quantised latents [bs, rows, positions, hidden_dim] -> spectrogram [bs, rows, positions * strides, dim_out]."
    def __init__(self, dim_out, net):
        layers = [net.block(net.hidden_dim, net.dims[-1])]
        for before, after, stride in zip(net.dims[:0:-1], net.dims[-2::-1], net.strides[:0:-1]):
            layers += [net.block(before, before) for _ in range(net.n_blocks)]
            layers.append(net.resample(before, after, stride, up=True))
        finest = net.dims[0]
        super().__init__(*layers, net.resample(finest, finest, net.strides[0], up=True), nn.Linear(finest, dim_out))


class VQTokenizer(ConfigModule):
    """Series to tokens and back: STFT bands, and for each band an encoder, a `VectorQuantizer` and a decoder.

    Takes and gives series in the data's own units; inside they are standardised. [arXiv 2303.04743, section 3.1]"""
    def __init__(self,
        c_in:int, # Channels
        c_out:int=None, # Not used: tsai passes it to every architecture
        seq_len:int=None, # Steps, at least 16
        preset:str='fast', # 'fast' or 'paper'
        n_series:int=None, # Series in the training split: the codebook size follows it where the preset leaves it open
        **overrides # Settings that replace the preset's, see `TokenizerSettings`
    ):
        super().__init__()
        self.c_in = positive_int(c_in, 'c_in', 'VQTokenizer')
        self.seq_len = positive_int(seq_len, 'seq_len', 'VQTokenizer', least=MIN_SEQ_LEN)
        self.settings = resolve_settings(TOKENIZER_PRESETS, preset, overrides, 'VQTokenizer')
        self._check_settings()
        self.n_fft = int(self.settings.n_fft)
        self.standardizer = Standardizer(self.c_in)
        self.grid:dict[str, tuple[int, int]] = {}                        # {band: (rows, positions) of tokens}
        self.n_tokens:dict[str, int] = {}
        self.codebook_size:dict[str, int] = {}
        self._padded:dict[str, int] = {}                                 # {band: frames that the strides divide}
        self.encoders:BandModules[Encoder] = BandModules()
        self.quantizers:BandModules[VectorQuantizer] = BandModules()
        self.decoders:BandModules[Decoder] = BandModules()
        for band in BANDS: self._add_band(band, n_series)

    def _check_settings(self):
        n_fft, longest = positive_int(self.settings.n_fft, 'n_fft', 'VQTokenizer', least=4), 2 * (self.seq_len - 1)
        if n_fft % 2 or n_fft > longest:
            raise ValueError(f"VQTokenizer: n_fft is {n_fft}, expected an even number of at most {longest} "
                             f"for {self.seq_len} steps")
        if self.settings.stride not in (2, 4, 8, 16):
            raise ValueError(f"VQTokenizer: stride is {self.settings.stride!r}, expected a power of two from 2 to 16")

    def _add_band(self, band, n_series):
        s = self.settings
        width = s.lf_width if band == 'lf' else s.hf_width
        rows, positions, halvings = token_grid(self.seq_len, band, self.n_fft, width, s.mix_bins)
        self.grid[band], self.n_tokens[band] = (rows, positions), rows * positions
        self.codebook_size[band] = s.codebook_size or adaptive_codebook_size(n_series, rows * positions)
        self._padded[band] = positions * 2 ** halvings
        strides, dims = _levels(halvings, s.stride, s.dim, s.max_dim)
        net = BandNetwork(dims, strides, s.hidden_dim, s.n_blocks, 3 if rows > 1 else 1, s.separable, s.dropout,
                          s.snake)
        channels = 2 * self.c_in * (n_bins(band, self.n_fft) // rows)
        self.encoders[band], self.decoders[band] = Encoder(channels, net), Decoder(channels, net)
        self.quantizers[band] = VectorQuantizer(s.hidden_dim, self.codebook_size[band], s.codebook_dim, s.ema_decay,
                                                s.commitment_weight, s.dead_code_threshold)

    def forward(self,
        x:Tensor # Series [bs, c_in, seq_len], original units
    ) -> dict: # 'x' reconstructed, original units; by band, standardised: 'series', 'target', 'tokens'; 'commitment'
        "Reconstruct x from its nearest codes; in training mode the codes move."
        spectra = self._spectra(x)
        series, target, tokens, commitment = {}, {}, {}, 0.
        for band in BANDS:
            h, tokens[band], band_commitment = self.quantizers[band](self._encode(spectra[band], band))
            series[band] = self._decode(h, band)
            target[band] = band_series(spectra[band], band, self.n_fft, self.seq_len)
            commitment = commitment + band_commitment
        x_recon = self.standardizer.inverse(sum(series.values()))
        return dict(series=series, target=target, tokens=tokens, commitment=commitment, x=x_recon)

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
        series = [self._decode(self.quantizers[band].lookup(tokens[band]), band) for band in BANDS]
        return self.standardizer.inverse(sum(series))

    def _spectra(self, x):
        if x.ndim != 3 or x.shape[1:] != (self.c_in, self.seq_len):
            raise ValueError(f"series have shape {tuple(x.shape)}, this VQTokenizer takes "
                             f"[bs, {self.c_in}, {self.seq_len}]")
        return split_bands(self.standardizer(x.as_subclass(Tensor)), self.n_fft)

    def _encode(self, spectrum, band): # [bs, 2 c_in, bins, W] -> [bs, n_tokens, hidden_dim]
        pad = self._padded[band] - spectrum.shape[-1]
        if pad: spectrum = F.pad(spectrum, (0, pad, 0, 0), mode='replicate')
        spectrum = spectrum.flatten(1, 2).unflatten(1, (-1, self.grid[band][0]))         # bins as channels, or as rows
        return self.encoders[band](spectrum.permute(0, 2, 3, 1)).flatten(1, 2)

    def _decode(self, h, band): # [bs, n_tokens, hidden_dim] -> standardised [bs, c_in, seq_len]
        spectrum = self.decoders[band](h.unflatten(1, self.grid[band]))[:, :, :n_frames(self.seq_len, self.n_fft)]
        spectrum = spectrum.permute(0, 3, 1, 2).reshape(len(h), 2 * self.c_in, n_bins(band, self.n_fft), -1)
        return band_series(spectrum, band, self.n_fft, self.seq_len)


def _levels(halvings, stride, dim, max_dim): # -> (strides, widths), the finest first, which may have a smaller stride
    per_level = int(math.log2(stride))
    halved = range(halvings % per_level or per_level, halvings + 1, per_level)               # halvings after each level
    strides = [2 ** (after - before) for before, after in zip((0, *halved), halved)]
    return strides, [min(dim * 2 ** (n - 1), max_dim) for n in halved]


# Channels last: pointwise convolutions and BatchNorm are then plain matrices, about twice as fast on a CPU as oneDNN's

class Conv(nn.Conv2d):
    "Convolution of [bs, rows, n, dim]."
    def forward(self, x): return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConvTranspose(nn.ConvTranspose2d):
    "Transposed convolution of [bs, rows, n, dim]."
    def forward(self, x, output_size=None):
        return super().forward(x.permute(0, 3, 1, 2), output_size).permute(0, 2, 3, 1)


class BatchNorm(nn.BatchNorm1d):
    "BatchNorm of the last axis."
    def forward(self, x): return super().forward(x.flatten(0, -2)).view(x.shape)


def _conv(dim, out_dim, kernel, separable, stride=1, up=False):
    conv = ConvTranspose if up else Conv
    geometry = dict(kernel_size=kernel, stride=(1, stride), padding=(kernel[0] // 2, (kernel[1] - stride + 1) // 2))
    if not separable: return conv(dim, out_dim, **geometry)
    return nn.Sequential(conv(dim, dim, groups=dim, **geometry), nn.Linear(dim, out_dim))
