"""Low- and high-frequency bands of a series: the short-time Fourier transform split at its first bin."""
import torch
from torch import Tensor

__all__ = ['BANDS', 'stft', 'istft', 'split_bands', 'band_series', 'n_frames', 'n_bins']

BANDS = ('lf', 'hf')


def n_frames(
    seq_len:int, # Steps of the series
    n_fft:int=4 # STFT size
) -> int: # Frames W of the centred STFT with a hop of n_fft // 4
    "Number of STFT frames, known before any forward pass."
    return seq_len // _hop(n_fft) + 1


def n_bins(
    band:str, # 'lf' or 'hf'
    n_fft:int=4 # STFT size
) -> int: # Frequency bins of the band: 1 for 'lf', n_fft // 2 for 'hf'
    "Number of frequency bins of a band."
    return 1 if band == 'lf' else n_fft // 2


def stft(
    x:Tensor, # Series [bs, c_in, seq_len]
    n_fft:int=4 # STFT size; Hann window, centred, one-sided, normalised, hop n_fft // 4
) -> Tensor: # Complex spectrogram [bs, c_in, n_fft // 2 + 1, W]
    "Short-time Fourier transform in float32, whatever autocast says. [arXiv 2303.04743, section 3.1]"
    bs, c_in, seq_len = x.shape
    with torch.autocast(x.device.type, enabled=False):
        s = torch.stft(x.float().reshape(bs * c_in, seq_len), n_fft, _hop(n_fft), window=_window(n_fft, x.device),
                       normalized=True, return_complex=True)
    return s.view(bs, c_in, *s.shape[1:])


def istft(
    s:Tensor, # Complex spectrogram [bs, c_in, n_fft // 2 + 1, W]
    n_fft:int, # STFT size
    seq_len:int # Steps of the series; without it istft drops a step at n_fft 8 and odd lengths
) -> Tensor: # Series [bs, c_in, seq_len]
    "Inverse of `stft`."
    bs, c_in = s.shape[:2]
    x = torch.istft(s.flatten(0, 1), n_fft, _hop(n_fft), window=_window(n_fft, s.device), normalized=True,
                    length=seq_len)
    return x.view(bs, c_in, seq_len)


def split_bands(
    x:Tensor, # Series [bs, c_in, seq_len]
    n_fft:int=4 # STFT size
) -> dict: # {'lf': [bs, 2 c_in, 1, W], 'hf': [bs, 2 c_in, n_fft // 2, W]}, float32
    "Spectrogram of each band, real and imaginary parts as channels."
    s = torch.view_as_real(stft(x, n_fft))                               # [bs, c_in, bins, W, 2]
    s = s.permute(0, 1, 4, 2, 3).flatten(1, 2)                           # [bs, 2 c_in, bins, W]
    return {'lf': s[:, :, :1], 'hf': s[:, :, 1:]}


def band_series(
    s:Tensor, # Spectrogram of one band [bs, 2 c_in, bins of the band, W]
    band:str, # 'lf' or 'hf'
    n_fft:int, # STFT size
    seq_len:int # Steps of the series
) -> Tensor: # The band as a series [bs, c_in, seq_len], float32; 'lf' + 'hf' give x back
    "Inverse of `split_bands` for one band, the other bins being zero."
    bs, c2, bins, w = s.shape
    with torch.autocast(s.device.type, enabled=False):
        s = s.float().view(bs, c2 // 2, 2, bins, w).permute(0, 1, 3, 4, 2)
        s = torch.view_as_complex(s.contiguous())                        # [bs, c_in, bins, W]
        rest = s.new_zeros(bs, c2 // 2, n_fft // 2 + 1 - bins, w)
        return istft(torch.cat((s, rest) if band == 'lf' else (rest, s), 2), n_fft, seq_len)


def _hop(n_fft): return n_fft // 4


def _window(n_fft, device): return torch.hann_window(n_fft, device=device)
