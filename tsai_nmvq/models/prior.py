"""Stage 2: bidirectional transformers that predict masked tokens, and sample by iterative decoding (MaskGIT)."""
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..presets import PRIOR_PRESETS, resolve_settings
from .bands import BANDS
from .decoding import decode_masked
from .layers import BandModules, ConfigModule, Dropout, TransformerBlock, positive_int
from .tokenizer import MIN_SEQ_LEN, VQTokenizer

__all__ = ['MaskedPrior']


class CodeEmbedding(nn.Embedding):
    """Embedding of codes: a linear map of the code's vector, plus what is learnt of the code alone.

    Codes that lie close start close, so that rare ones are learnt from their neighbours. [ours]"""
    codes:Tensor

    def __init__(self,
        n_ids:int, # Ids; those from the codebook's size on have no vector
        dim:int, # Width of an embedding
        codebook_dim:int # Width of a code; 0 learns each id alone
    ):
        super().__init__(n_ids, dim)
        nn.init.normal_(self.weight, std=dim ** -0.5)
        self.of_codes = None
        if codebook_dim:
            self.of_codes = nn.Linear(codebook_dim, dim, bias=False)
            nn.init.normal_(self.of_codes.weight, std=(dim * codebook_dim) ** -0.5)
            with torch.no_grad(): self.weight.mul_(0.3)
            self.register_buffer('codes', torch.zeros(n_ids, codebook_dim))

    def table(self) -> Tensor: # [n_ids, dim]
        return self.weight if self.of_codes is None else self.weight + self.of_codes(self.codes)

    def forward(self, ids): return F.embedding(ids, self.table())            # [...] -> [..., dim]

    @torch.no_grad()
    def set_codes(self, codebook, used): # [codebook_size, codebook_dim], codes that matter [codebook_size]
        if self.of_codes is None: return
        codebook = codebook - codebook[used].mean(0)
        self.codes[:len(codebook)] = codebook / codebook[used].std(correction=0).clamp_min(1e-6)


@dataclass(frozen=True)
class BandSizes:
    "Sizes of one band's transformer."
    n_tokens:int        # Tokens of a series
    codebook_size:int   # Codes
    codebook_dim:int    # Width of a code that embeddings know; 0 where they don't
    n_classes:int       # Without the null class
    dim:int             # Width
    n_layers:int        # Transformer blocks
    n_heads:int         # Attention heads
    head_dim:int        # Width of a head
    ff_mult:float       # Hidden width of feed-forward layers over dim
    dropout:float       # Of the blocks
    emb_dropout:float   # Of the embedded tokens


@dataclass(frozen=True)
class LFContext:
    "What HF's transformer must know of LF's tokens and of its own grid."
    n_tokens:int        # LF tokens of a series
    codebook_size:int   # LF codes
    rows:int            # Rows of HF's grid
    positions:int       # Positions along time of HF's grid


class BandPrior(nn.Module):
    "What one band's masked tokens may be, given its visible ones, a class and, for HF, the LF tokens."
    lf_index:Tensor

    def __init__(self,
        sizes:BandSizes, # Of this band
        context:LFContext=None # For HF
    ):
        super().__init__()
        dim = sizes.dim
        self.token_emb = CodeEmbedding(sizes.codebook_size + 1, dim, sizes.codebook_dim) # the last is the mask token
        self.pos_emb = nn.Parameter(torch.randn(sizes.n_tokens, dim) * 0.02)
        self.class_emb = nn.Embedding(sizes.n_classes + 1, dim)                         # the last is the null class
        if context:
            self.context_emb = CodeEmbedding(context.codebook_size, dim, sizes.codebook_dim)
            self.context_pos = nn.Parameter(torch.randn(context.n_tokens, dim) * 0.02)
            self.context_mix = nn.Linear(2 * dim, dim)
            lf_index = torch.arange(context.positions, device='cpu') * context.n_tokens // context.positions # not saved
            self.register_buffer('lf_index', lf_index.repeat(context.rows), persistent=False)
        self.blocks = nn.ModuleList(TransformerBlock(dim, sizes.n_heads, sizes.ff_mult, sizes.head_dim, sizes.dropout)
                                    for _ in range(sizes.n_layers))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        self.bias = nn.Parameter(torch.zeros(sizes.codebook_size))
        self.drop = Dropout(sizes.emb_dropout)
        nn.init.normal_(self.class_emb.weight, std=dim ** -0.5)

    def forward(self,
        tokens:Tensor, # Token ids, with the mask id where masked [bs, n_tokens]
        y:Tensor, # Class ids [bs]
        lf:Tensor=None, # LF tokens, for HF [bs, n_tokens of LF]
        positions:Tensor=None # Of the tokens whose states are needed [bs, m]; all by default
    ) -> Tensor: # States [bs, n_tokens or m, dim]
        "States of tokens, from which `logits` predicts them."
        h = self.token_emb(tokens)
        if lf is not None:
            context = self.context_emb(lf) + self.context_pos
            h = self.context_mix(torch.cat((h, context[:, self.lf_index]), -1))
        h = torch.cat((self.class_emb(y).unsqueeze(1), self.drop(h + self.pos_emb)), 1)
        *blocks, last = self.blocks
        for block in blocks: h = block(h)
        return last(h)[:, 1:] if positions is None else last(h, positions + 1)

    def logits(self,
        h:Tensor, # States [..., dim]
        used:Tensor # Codes that may be predicted [codebook_size], bool
    ) -> Tensor: # [..., codebook_size], float32; -inf for the other codes
        "What the masked tokens may be."
        return F.linear(self.head(h), self.token_emb.table()[:-1], self.bias.masked_fill(~used, -torch.inf)).float()


class MaskedPrior(ConfigModule):
    """Distribution of tokens given a class: LF tokens, then HF tokens given LF. [arXiv 2303.04743, section 3.2]

    Class id `n_classes` is the null class: unconditional. Without sizes it takes those of a default `VQTokenizer`."""
    used_lf:Tensor
    used_hf:Tensor

    def __init__(self,
        c_in:int, # Channels; used only where the token sizes are left out
        c_out:int=0, # Classes; 0 for unconditional data
        seq_len:int=None, # Steps; used only where the token sizes are left out
        preset:str='fast', # 'fast' or 'paper'
        grid:dict=None, # {band: (rows, positions)}: the tokenizer's
        codebook_size:dict=None, # {band: codes}: the tokenizer's
        codebook_dim:int=8, # Width of a code: the tokenizer's
        **overrides # Settings that replace the preset's, see `PriorSettings`
    ):
        super().__init__()
        self.settings = s = resolve_settings(PRIOR_PRESETS, preset, overrides, 'MaskedPrior')
        if grid is None or codebook_size is None:
            seq_len = positive_int(seq_len, 'seq_len', 'MaskedPrior', least=MIN_SEQ_LEN)
            tokenizer = VQTokenizer(c_in, c_out, seq_len, preset=preset)
            grid, codebook_size = tokenizer.grid, tokenizer.codebook_size
        self.n_classes = self.null_class = positive_int(c_out, 'c_out', 'MaskedPrior', least=0)
        self.n_steps = _by_band('n_steps', s.n_steps, PRIOR_PRESETS[preset].n_steps)
        self.choice_temp = _by_band('choice_temp', s.choice_temp, PRIOR_PRESETS[preset].choice_temp)
        self.codebook_size, self.mask_id = dict(codebook_size), dict(codebook_size)
        self.n_tokens = {band: rows * positions for band, (rows, positions) in grid.items()}
        codebook_dim = positive_int(codebook_dim, 'codebook_dim', 'MaskedPrior') if s.embed_codes else 0
        contexts = dict(lf=None, hf=LFContext(self.n_tokens['lf'], codebook_size['lf'], *grid['hf']))
        self.priors:BandModules[BandPrior] = BandModules()
        for band in BANDS: self.priors[band] = BandPrior(self._sizes(band, codebook_dim), contexts[band])
        for band in BANDS: self.register_buffer(f'used_{band}', torch.ones(codebook_size[band], dtype=torch.bool))

    def _sizes(self, band, codebook_dim):
        s = self.settings
        dim, n_layers, n_heads = (getattr(s, f'{band}_{name}') for name in ('dim', 'layers', 'heads'))
        return BandSizes(self.n_tokens[band], self.codebook_size[band], codebook_dim, self.n_classes,
                         dim, n_layers, n_heads, s.head_dim, s.ff_mult, s.dropout, s.emb_dropout)

    def forward(self,
        masked:dict, # {band: token ids [bs or fewer, n_tokens] with `mask_id` where masked}
        y:Tensor, # Class ids [bs]; `null_class` for unconditional
        lf:Tensor # The visible LF tokens that HF is conditioned on [bs, n_tokens of LF]
    ) -> dict: # {band: logits of the masked tokens, row by row [n_masked, codebook_size]}; -inf for codes never used
        "Predict the masked tokens of both bands."
        out = {}
        for band in BANDS:
            n = len(masked[band])
            h = self.priors[band](masked[band], y[:n], lf[:n] if band == 'hf' else None)
            out[band] = self.priors[band].logits(h[masked[band] == self.mask_id[band]], self._used(band))
        return out

    def band_logits(self,
        band:str, # 'lf' or 'hf'
        tokens:Tensor, # Token ids with `mask_id` where masked [bs, n_tokens]
        y:Tensor, # Class ids [bs]
        lf:Tensor=None, # LF tokens, for 'hf' [bs, n_tokens of LF]
        positions:Tensor=None # Those whose logits are needed [bs, m]; all by default
    ) -> Tensor: # [bs, m, codebook_size], float32
        "Logits of one band, and of no more positions than are needed: they are most of the work."
        h = self.priors[band](tokens, y, lf if band == 'hf' else None, positions)
        return self.priors[band].logits(h, self._used(band))

    def guided_logits(self,
        band:str, # 'lf' or 'hf'
        tokens:Tensor, # Token ids with `mask_id` where masked [bs, n_tokens]
        positions:Tensor, # Those whose logits are needed [bs, m]
        y:Tensor, # Class ids [bs]
        lf:Tensor=None, # LF tokens, for 'hf' [bs, n_tokens of LF]
        cfg_scale:float=1. # uncond + s (cond - uncond): 0 and 1 take one pass, other scales a doubled batch
    ) -> Tensor: # [bs, m, codebook_size], float32
        "Classifier-free guidance. [arXiv 2207.12598]"
        null = torch.full_like(y, self.null_class)
        if cfg_scale in (0, 1): return self.band_logits(band, tokens, y if cfg_scale else null, lf, positions)
        lf_twice = None if lf is None else lf.repeat(2, 1)
        both = self.band_logits(band, tokens.repeat(2, 1), torch.cat((y, null)), lf_twice, positions.repeat(2, 1))
        cond, uncond = both.chunk(2)
        return torch.where(uncond.isinf(), uncond, uncond + cfg_scale * (cond - uncond))

    @torch.no_grad()
    def sample_tokens(self,
        y:Tensor, # Class id of each series [bs], on the model's device; `null_class` for unconditional
        n_steps:dict|int|None=None, # Decoding steps, {band: number} or one number for both; the preset's where left out
        choice_temp:dict|float|None=None, # Temperature of the confidence's noise, the same way; inf for random order
        cfg_scale:float=1., # Guidance scale, see `guided_logits`
        generator:torch.Generator=None # Source of randomness on the model's device
    ) -> dict: # {band: token ids [bs, n_tokens]}, no mask id left
        "Sample by iterative decoding, LF and then HF given LF. Use in eval mode."
        lf = self.sample_band('lf', y, None, n_steps, choice_temp, cfg_scale, generator)
        return dict(lf=lf, hf=self.sample_band('hf', y, lf, n_steps, choice_temp, cfg_scale, generator))

    @torch.no_grad()
    def sample_band(self,
        band:str, # 'lf' or 'hf'
        y:Tensor, # Class id of each series [bs], on the model's device
        lf:Tensor=None, # LF tokens, for 'hf' [bs, n_tokens of LF]
        n_steps:dict|int|None=None, # Decoding steps, as in `sample_tokens`
        choice_temp:dict|float|None=None, # Temperature of the confidence's noise, as in `sample_tokens`
        cfg_scale:float=1., # Guidance scale, see `guided_logits`
        generator:torch.Generator=None, # Source of randomness on the model's device
        tokens:Tensor=None # Token ids with `mask_id` where they are drawn [bs, n_tokens]; all are by default
    ) -> Tensor: # Token ids [bs, n_tokens]
        "Sample the tokens of one band by iterative decoding: all of them, or those that are masked."
        steps = positive_int(_by_band('n_steps', n_steps, self.n_steps)[band], f"n_steps['{band}']", 'MaskedPrior')
        temp = _by_band('choice_temp', choice_temp, self.choice_temp)[band]
        logits_of = partial(self.guided_logits, band, y=y, lf=lf, cfg_scale=cfg_scale)
        if tokens is None: tokens = torch.full((len(y), self.n_tokens[band]), self.mask_id[band], device=y.device)
        return decode_masked(logits_of, tokens, self.mask_id[band], steps, temp, generator)

    @torch.no_grad()
    def redraw_tokens(self,
        tokens:dict, # {band: token ids [bs, n_tokens]} of series
        y:Tensor, # Their class ids [bs]
        max_share:float, # Largest share of a row's LF tokens to draw anew, 0..1; each row's is uniform below it
        generator:torch.Generator=None, # Source of randomness on the model's device
        **sampling # n_steps, choice_temp and cfg_scale of `sample_tokens`
    ) -> dict: # {band: token ids [bs, n_tokens]}
        "Draw some tokens of series anew: LF tokens at random places, and the HF tokens over them."
        lf, hf = tokens['lf'], tokens['hf']
        u = torch.rand(len(lf), 1, device=lf.device, generator=generator)
        order = torch.rand(lf.shape, device=lf.device, generator=generator).argsort(-1).argsort(-1)
        masked = order < (u * max_share * lf.shape[1]).round()
        lf = lf.masked_fill(masked, self.mask_id['lf'])
        lf = self.sample_band('lf', y, tokens=lf, generator=generator, **sampling)
        hf = hf.masked_fill(masked[:, self.priors['hf'].lf_index], self.mask_id['hf'])
        return dict(lf=lf, hf=self.sample_band('hf', y, lf, tokens=hf, generator=generator, **sampling))

    @torch.no_grad()
    def set_used(self,
        used:dict # {band: codes that the training data use [codebook_size], bool}
    ):
        "Only these codes may be predicted from now on."
        for band in BANDS: self._used(band).copy_(used[band])

    def set_codes(self,
        codebooks:dict # {band: the tokenizer's codes [codebook_size, codebook_dim]}
    ):
        "Tell the embeddings what the codes are: they start alike where codes lie close. After `set_used`."
        for band in BANDS: self.priors[band].token_emb.set_codes(codebooks[band], self._used(band))
        self.priors['hf'].context_emb.set_codes(codebooks['lf'], self._used('lf'))

    def _used(self, band): return getattr(self, f'used_{band}')


def _by_band(name, given, default) -> dict: # a number for both bands, {band: number} of some, None -> {band: number}
    if not isinstance(given, dict): given = {} if given is None else dict.fromkeys(BANDS, given)
    if not set(given) <= set(BANDS):
        raise ValueError(f"{name} is {given}, expected a number, or one for any of {list(BANDS)}")
    return {**default, **given}
