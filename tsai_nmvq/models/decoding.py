"""Iterative decoding of masked tokens: how many are masked, which settle first, the loop. [arXiv 2202.04200, section 3]

Pure functions of logits: what predicts the tokens is passed in."""
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['mask_ratio', 'random_mask', 'n_masked', 'draw_ids', 'confidence_order', 'decode_masked']


def mask_ratio(
    r:Any # Progress, 0..1, float or tensor
) -> Any: # Share of tokens still masked, 1..0
    "Cosine mask schedule γ(r) = cos(πr/2)."
    return (r * (math.pi / 2)).cos() if isinstance(r, Tensor) else math.cos(r * math.pi / 2)


def random_mask(
    bs:int, # Rows
    n_tokens:int, # Tokens a row
    device=None, # Where the mask is made
    generator:torch.Generator=None # Source of randomness
) -> Tensor: # True where masked [bs, n_tokens]; each row has ⌈γ(r) n_tokens⌉ of them, at least one, r uniform
    "A training mask: a random number of random positions a row."
    r = torch.rand(bs, 1, device=device, generator=generator)
    order = torch.rand(bs, n_tokens, device=device, generator=generator)
    n = (mask_ratio(r) * n_tokens).ceil().clamp(1, n_tokens)
    return order.argsort(-1).argsort(-1) < n


def n_masked(
    step:int, # Decoding step just done, 0..n_steps - 1
    n_steps:int, # Decoding steps
    n_tokens:int # Tokens a row
) -> int: # Tokens that stay masked: never rises, 0 after the last step
    "Masked tokens after a decoding step."
    return 0 if step + 1 >= n_steps else math.floor(mask_ratio((step + 1) / n_steps) * n_tokens)


def draw_ids(
    probs:Tensor, # Probabilities [..., K]; rows need not sum to one
    generator:torch.Generator=None # Source of randomness on the device of `probs`
) -> Tensor: # Ids [...], int64; an id of probability 0 is never drawn
    """Categorical draws with one uniform number a row: the inverse of the cumulative distribution.

    First a block of ids is drawn, then an id in it: only sums of blocks and one block a row are accumulated."""
    size = 2 ** round(math.log2(probs.shape[-1]) / 2)                    # about as many blocks as ids in a block
    if probs.shape[-1] % size: probs = F.pad(probs, (0, -probs.shape[-1] % size))
    blocks = probs.unflatten(-1, (-1, size))
    u = torch.rand(probs.shape[:-1], device=probs.device, dtype=probs.dtype, generator=generator).unsqueeze(-1)
    cdf = blocks.sum(-1).cumsum(-1)
    block, u = _invert(cdf, u * cdf[..., -1:])
    block_probs = blocks.gather(-2, block.unsqueeze(-1).expand(*block.shape, size)).squeeze(-2)
    return (block * size + _invert(block_probs.cumsum(-1), u)[0]).squeeze(-1)


def _invert(cdf, u): # [..., K], [..., 1] -> (first id whose cdf is above u, never an empty one; what is left of u)
    last = cdf[..., -1:]
    u = torch.minimum(u, torch.nextafter(last, torch.zeros_like(last)))  # rounding may have taken u up to the last
    ids = (cdf <= u).sum(-1, keepdim=True)
    return ids, u - torch.where(ids > 0, cdf.gather(-1, (ids - 1).clamp_min(0)), 0)


def confidence_order(
    confidence:Tensor, # Log-probability of each token's choice [bs, n]
    choice_temp:float=0., # Weight of Gumbel noise on the confidence
    generator:torch.Generator=None # Source of randomness
) -> Tensor: # Indices [bs, n]: the first ones settle, the last ones go back to masked
    "Confidence re-masking: the most confident tokens settle first."
    if choice_temp > 0:
        tiny = torch.finfo(confidence.dtype).tiny
        u = torch.rand(confidence.shape, device=confidence.device, dtype=confidence.dtype, generator=generator)
        gumbel = -(-u.clamp_min(tiny).log()).clamp_min(tiny).log()
        confidence = confidence + choice_temp * gumbel
    return confidence.argsort(-1, descending=True)


def decode_masked(
    logits_of:Callable[[Tensor, Tensor], Tensor], # (tokens [bs, n], positions [bs, m]) -> logits of these [bs, m, K]
    tokens:Tensor, # Token ids, with the mask id where masked [bs, n_tokens]
    mask_id:int, # What stands where nothing has settled
    n_steps:int, # Decoding steps; no more than a row has masked tokens are taken
    choice_temp:float, # Temperature of the confidence's noise, which falls to 0 at the last step; inf is random order
    generator:torch.Generator=None # Source of randomness on the tokens' device
) -> Tensor: # Token ids [bs, n_tokens], nothing masked is left; what was not masked stays
    """Draw all masked tokens at each step, and let the most confident of them settle; these are never drawn again.

    In random order only those that settle are drawn, as nothing depends on the others. Rows with fewer masked tokens
    than others are done earlier."""
    in_random_order = math.isinf(choice_temp)
    u = torch.rand(tokens.shape, device=tokens.device, generator=generator)
    n_tokens = int((tokens == mask_id).sum(-1).amax()) if len(tokens) else 0
    masked = (u + (tokens != mask_id)).argsort(-1)[:, :n_tokens]         # positions, shuffled, the masked ones first
    n_steps = min(n_steps, n_tokens)
    for step in range(n_steps):
        n_settled = masked.shape[1] - n_masked(step, n_steps, n_tokens)
        if n_settled == 0: continue
        positions = masked[:, :n_settled] if in_random_order else masked
        probs = logits_of(tokens, positions).softmax(-1)
        drawn = draw_ids(probs, generator)
        if not in_random_order:
            confidence = probs.gather(-1, drawn.unsqueeze(-1)).squeeze(-1).log()
            order = confidence_order(confidence, choice_temp * (1 - (step + 1) / n_steps), generator)
            masked, drawn = masked.gather(-1, order), drawn.gather(-1, order)
        settling = masked[:, :n_settled]
        before = tokens.gather(-1, settling)
        tokens = tokens.scatter(-1, settling, torch.where(before == mask_id, drawn[:, :n_settled], before))
        masked = masked[:, n_settled:]
    return tokens
