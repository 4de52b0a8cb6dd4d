"""Latents and tokens of a training split, made once when a stage begins; class ids beside them."""
import torch
from torch import Tensor, nn

from ..data.intake import SeriesData
from ..data.spec import SeriesSpec
from ..models.tokenizer import VQTokenizer

__all__ = ['training_latents', 'nearest_tokens', 'details', 'class_ids', 'device_of', 'ENCODE_ROWS']

ENCODE_ROWS = 256 # series that are encoded, or compared with the codes, at a time


@torch.no_grad()
def training_latents(
    tokenizer:VQTokenizer, # Stage 1; set to eval mode
    data:SeriesData # Series
) -> dict: # {band: z [n, n_tokens, codebook_dim]} on the tokenizer's device
    "Latents of all series, made once."
    tokenizer.eval()
    device = device_of(tokenizer)
    out = {band: torch.empty(len(data), n, tokenizer.quantizers[band].codebook_dim, device=device)
           for band, n in tokenizer.n_tokens.items()}                    # one block: small results fragment the heap
    for rows, x in _pieces(data, device):
        for band, z in tokenizer.latents(x).items(): out[band][rows] = z
    return out


def nearest_tokens(
    tokenizer:VQTokenizer, # Stage 1
    latents:dict # {band: z [n, n_tokens, codebook_dim]}
) -> dict: # {band: nearest codes [n, n_tokens]}
    "Tokens of all series; distances to the codes are held for some series at a time."
    out = {}
    for band, z in latents.items():
        out[band] = torch.empty(z.shape[:2], dtype=torch.long, device=z.device)
        for rows, part in zip(out[band].split(ENCODE_ROWS), z.split(ENCODE_ROWS)):
            rows.copy_(tokenizer.quantizers[band].tokens(part))
    return out


@torch.no_grad()
def details(
    tokenizer:VQTokenizer, # Stage 1
    data:SeriesData, # Series
    tokens:dict # {band: their nearest codes [n, n_tokens]}
) -> Tensor: # [n, c_in, seq_len] in deviations of the channels, float16 on the tokenizer's device
    "What the tokenizer leaves out of series: these less their reconstruction."
    standardised, device = tokenizer.standardizer, device_of(tokenizer)
    out = torch.empty(len(data), data.spec.c_in, data.spec.seq_len, dtype=torch.float16, device=device)
    limit = torch.finfo(out.dtype).max
    for rows, x in _pieces(data, device):
        x_rec = tokenizer.decode({band: ids[rows] for band, ids in tokens.items()})
        out[rows] = (standardised(x) - standardised(x_rec)).clamp(-limit, limit)
    return out


def _pieces(data, device): # -> (their rows, some series on the device), in order
    done = 0
    for chunk in data.chunks():
        for x in chunk.split(ENCODE_ROWS):
            yield slice(done, done + len(x)), x.to(device)
            done += len(x)


def class_ids(
    data:SeriesData, # Series with or without labels
    spec:SeriesSpec, # Whose vocab the ids follow
    null_class:int # Id of the null class
) -> Tensor: # Class ids [n], int64; the null class where there are no labels
    "Class ids by name."
    if data.y is None or not spec.vocab: return torch.full((len(data),), null_class)
    ids = torch.as_tensor(data.y if data.spec == spec else spec.to_ids(data.spec.to_labels(data.y)))
    return torch.where(ids < 0, null_class, ids)                         # a class that is only watched


def device_of(
    module:nn.Module # With parameters
) -> torch.device:
    "Where a module is."
    return next(module.parameters()).device
