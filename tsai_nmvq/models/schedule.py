"""Masking of tokens: how many and which, in training and while sampling. [arXiv 2202.04200, section 3]"""
import math

import torch
from torch import Tensor

__all__ = ['mask_ratio', 'random_mask', 'n_masked_after', 'settling_order']


def mask_ratio(
    r:float|Tensor # Progress, 0..1
) -> float|Tensor: # Share of tokens still masked, 1..0
    "Cosine mask schedule γ(r) = cos(πr/2)."
    return (r * (math.pi / 2)).cos() if isinstance(r, Tensor) else math.cos(r * math.pi / 2)


def random_mask(
    bs:int, # Rows
    n_tokens:int, # Tokens a row
    device=None, # Where the mask is made
    generator:torch.Generator=None # Source of randomness
) -> Tensor: # True where masked [bs, n_tokens]; each row has ⌈γ(r) n_tokens⌉ of them, at least one, r uniform
    "A training mask: a random number of random positions a row."
    r, order = torch.rand(bs, 1, device=device, generator=generator), torch.rand(bs, n_tokens, device=device, generator=generator)
    n = (mask_ratio(r) * n_tokens).ceil().clamp(1, n_tokens)
    return order.argsort(-1).argsort(-1) < n


def n_masked_after(
    step:int, # Decoding step just done, 0..n_steps - 1
    n_steps:int, # Decoding steps
    n_tokens:int # Tokens a row
) -> int: # Tokens that stay masked: never rises, 0 after the last step
    "Masked tokens after a decoding step."
    return 0 if step + 1 >= n_steps else math.floor(mask_ratio((step + 1) / n_steps) * n_tokens)


def settling_order(
    confidence:Tensor, # Log-probability of each token's choice [bs, n]
    choice_temp:float=0., # Weight of Gumbel noise on the confidence
    generator:torch.Generator=None # Source of randomness
) -> Tensor: # Indices [bs, n]: the first ones settle, the last ones go back to masked
    "Confidence re-masking: the most confident tokens settle first."
    if choice_temp > 0:
        u = torch.rand(confidence.shape, device=confidence.device, dtype=confidence.dtype, generator=generator)
        gumbel = -(-u.clamp_min(torch.finfo(u.dtype).tiny).log()).clamp_min(torch.finfo(u.dtype).tiny).log()
        confidence = confidence + choice_temp * gumbel
    return confidence.argsort(-1, descending=True)
