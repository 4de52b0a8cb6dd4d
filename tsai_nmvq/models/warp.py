"""Smooth random warps of time and magnitude: what keeps a series' class and makes it new."""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['smooth_warp']

TIME_KNOTS, MAGNITUDE_KNOTS = 5, 3  # random numbers a series, between which curves are smooth
MAGNITUDE = 2.5                     # deviation of the magnitude's factor over that of time


def smooth_warp(
    x:Tensor, # Series [n, c_in, seq_len]
    strength:float, # Deviation of a step's place over the length of the series; 0 changes nothing
    centre:Tensor|float=0., # What magnitudes are relative to, broadcast over series, such as means [c_in, 1]
    generator:torch.Generator=None, # Source of randomness on the device of x
    lengths:Tensor=None # Steps of each series [n]; what comes after them stays where it is. All by default
) -> Tensor: # [n, c_in, seq_len]
    """Move each step along time by a smooth curve that keeps order and both ends, and scale channels by another.

    Channels share the curve of time. Between steps series are cubic: straight lines would blur noise.
    [after arXiv 1706.00527, with cubic curves]"""
    if not strength: return x
    n, c_in, seq_len = x.shape
    t = torch.linspace(0, 1, seq_len, device=x.device)
    last = torch.tensor([seq_len - 1.]) if lengths is None else (lengths - 1.).clamp_min(1)
    span = last.to(x.device)[:, None, None] / (seq_len - 1)              # of time, until the series ends
    pinned = (math.pi * (t / span).clamp_max(1)).sin().clamp_min(0).sqrt() # both ends stay where they are
    moved = t + strength * pinned * _smooth_noise(n, 1, seq_len, TIME_KNOTS, x, generator)
    moved = torch.where(t <= span, torch.minimum(moved.clamp_min(0), span), t)
    x = _at(x, moved.cummax(-1).values * (seq_len - 1))
    factor = 1 + MAGNITUDE * strength * _smooth_noise(n, c_in, seq_len, MAGNITUDE_KNOTS, x, generator)
    return centre + (x - centre) * factor


def _smooth_noise(n, channels, seq_len, knots, like, generator): # [n, channels, seq_len], deviation about 1
    noise = torch.randn(n, channels, 1, knots, device=like.device, generator=generator)
    return F.interpolate(noise, size=(1, seq_len), mode='bicubic', align_corners=True).squeeze(2).to(like.dtype)


def _at(x, places): # x [n, c_in, seq_len] between steps, at places [n, 1, seq_len] in 0..seq_len - 1
    x = torch.cat((2 * x[..., :1] - x[..., 1:2], x, 2 * x[..., -1:] - x[..., -2:-1]), -1) # straight on at both ends
    first = places.floor().long().clamp_max(x.shape[-1] - 4)             # of four steps, in x with its added ends
    u = (places - first).to(x.dtype)
    a, b, c, d = (x.gather(-1, (first + i).expand(*x.shape[:2], -1)) for i in range(4))
    return b + u / 2 * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a))) # Catmull-Rom
