"""Stage 2: bidirectional transformers that predict masked tokens, and sample by iterative decoding (MaskGIT)."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .bands import BANDS
from .layers import ConfigModule, Dropout, TransformerBlock, positive_int, resolve_preset
from .quantizer import draw_ids
from .schedule import n_masked_after, settling_order
from .tokenizer import MIN_SEQ_LEN, VQTokenizer

__all__ = ['MaskedPrior', 'PRIOR_PRESETS']

PRIOR_PRESETS = {
    # What a laptop learns in a minute. Tokens settle in random order, as the network's own distribution has it: settling the most
    # confident ones first favours the commonest series (FID 0.038 and not 0.031 on 2000 series of ElectricDevices). Given LF,
    # HF is soon learnt: it trains on a share of each batch, and the time goes to LF. Of few series `PriorLearner` draws LF tokens
    # anew each time, at lf_tau times the codes' distance. Measured in benchmarks/results/fidelity_log.md
    'fast': dict(lf_dim=128, lf_layers=2, lf_heads=2, hf_dim=96, hf_layers=2, hf_heads=2, ff_mult=2, head_dim=32, dropout=0.,
                 emb_dropout=0.2, p_uncond=0.1, hf_share=0.25, lf_tau=0.1, code_emb=True,
                 n_steps=dict(lf=12, hf=12), choice_temp=dict(lf=math.inf, hf=math.inf)),
    # arXiv 2303.04743 as its authors' package has it
    'paper': dict(lf_dim=128, lf_layers=4, lf_heads=2, hf_dim=32, hf_layers=1, hf_heads=1, ff_mult=1, head_dim=64,
                  dropout=0., emb_dropout=0.3, p_uncond=0.2, hf_share=1., lf_tau=0., code_emb=False,
                  n_steps=dict(lf=10, hf=10), choice_temp=dict(lf=10., hf=0.)),
}


class CodeEmbedding(nn.Embedding):
    """Embedding of codes: a linear map of the code's vector, plus what is learnt of the code alone.

    Codes that lie close start close, so that rare ones are learnt from their neighbours. [ours]"""
    def __init__(self, n_ids, dim, codebook_dim): # ids from the codebook's size on have no vector; codebook_dim 0 learns each id alone
        super().__init__(n_ids, dim)
        nn.init.normal_(self.weight, std=dim ** -0.5)
        self.of_codes = None
        if codebook_dim:
            self.of_codes = nn.Linear(codebook_dim, dim, bias=False)
            nn.init.normal_(self.of_codes.weight, std=(dim * codebook_dim) ** -0.5)
            with torch.no_grad(): self.weight.mul_(0.3)
            self.register_buffer('codes', torch.zeros(n_ids, codebook_dim))

    def table(self): # -> [n_ids, dim]
        return self.weight if self.of_codes is None else self.weight + self.of_codes(self.codes)

    def forward(self, ids): return F.embedding(ids, self.table())

    @torch.no_grad()
    def set_codes(self, codebook, used): # [codebook_size, codebook_dim], codes that matter [codebook_size]
        if self.of_codes is None: return
        codebook = codebook - codebook[used].mean(0)
        self.codes[:len(codebook)] = codebook / codebook[used].std(correction=0).clamp_min(1e-6)


class BandPrior(nn.Module):
    "What one band's masked tokens may be, given its visible ones, a class and, for HF, the LF tokens."
    def __init__(self, n_tokens, codebook_size, n_classes, dim, n_layers, n_heads, ff_mult, head_dim, dropout, emb_dropout, codebook_dim,
                 context=None):
        super().__init__()
        self.token_emb = CodeEmbedding(codebook_size + 1, dim, codebook_dim)   # the last one is the mask token
        self.pos_emb = nn.Parameter(torch.randn(n_tokens, dim) * 0.02)
        self.class_emb = nn.Embedding(n_classes + 1, dim)                  # the last one is the null class
        if context:
            (rows, positions), n_context, context_size = context
            self.context_emb = CodeEmbedding(context_size, dim, codebook_dim)
            self.context_pos = nn.Parameter(torch.randn(n_context, dim) * 0.02)
            self.context_mix = nn.Linear(2 * dim, dim)
            above = (torch.arange(positions) * n_context) // positions     # LF position over each HF position
            self.register_buffer('above', above.repeat(rows), persistent=False)
        self.blocks = nn.ModuleList(TransformerBlock(dim, n_heads, ff_mult, head_dim, dropout) for _ in range(n_layers))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        self.bias = nn.Parameter(torch.zeros(codebook_size))
        self.drop = Dropout(emb_dropout)
        nn.init.normal_(self.class_emb.weight, std=dim ** -0.5)

    def forward(self, tokens, y, context=None, asked=None): # [bs, n], [bs], [bs, n_context], positions [bs, m] -> states [bs, n or m, dim]
        h = self.token_emb(tokens)
        if context is not None:
            c = self.context_emb(context) + self.context_pos
            h = self.context_mix(torch.cat((h, c[:, self.above]), -1))
        h = torch.cat((self.class_emb(y).unsqueeze(1), self.drop(h + self.pos_emb)), 1)
        for block in self.blocks[:-1]: h = block(h)
        return self.blocks[-1](h)[:, 1:] if asked is None else self.blocks[-1](h, asked + 1)

    def logits(self, h, used): # states [..., dim], codes that may be predicted [codebook_size] -> [..., codebook_size], float32
        return F.linear(self.head(h), self.token_emb.table()[:-1], self.bias.masked_fill(~used, -torch.inf)).float()


class MaskedPrior(ConfigModule):
    """Distribution of tokens given a class: LF tokens, then HF tokens given LF. [arXiv 2303.04743, section 3.2]

    Class id `n_classes` is the null class: unconditional. Built without sizes it takes those of a default `VQTokenizer`."""
    def __init__(self,
        c_in:int, # Channels; used only where the token sizes are left out
        c_out:int=0, # Classes; 0 for unconditional data
        seq_len:int=None, # Steps; used only where the token sizes are left out
        preset:str='fast', # 'fast' or 'paper', see `PRIOR_PRESETS`
        grid:dict=None, # {band: (rows, positions)}: the tokenizer's
        codebook_size:dict=None, # {band: codes}: the tokenizer's
        codebook_dim:int=8, # Width of a code: the tokenizer's
        **settings # Settings that replace the preset's: lf_dim, hf_layers, dropout, p_uncond, n_steps, choice_temp, ...
    ):
        super().__init__()
        self.settings = s = resolve_preset(PRIOR_PRESETS, preset, settings, 'MaskedPrior')
        if grid is None or codebook_size is None:
            like = VQTokenizer(c_in, c_out, positive_int(seq_len, 'seq_len', 'MaskedPrior', least=MIN_SEQ_LEN), preset=preset)
            grid, codebook_size = like.grid, like.codebook_size
        self.n_classes = positive_int(c_out, 'c_out', 'MaskedPrior', least=0)
        self.null_class, self.p_uncond, self.hf_share, self.lf_tau = self.n_classes, s['p_uncond'], s['hf_share'], s['lf_tau']
        self.n_steps, self.choice_temp = (
            _by_band(name, s[name], PRIOR_PRESETS[preset][name]) for name in ('n_steps', 'choice_temp'))
        self.codebook_size, self.mask_id = dict(codebook_size), dict(codebook_size)
        self.n_tokens = {band: rows * positions for band, (rows, positions) in grid.items()}
        shared = {k: s[k] for k in ('ff_mult', 'head_dim', 'dropout', 'emb_dropout')}
        shared['codebook_dim'] = positive_int(codebook_dim, 'codebook_dim', 'MaskedPrior') if s['code_emb'] else 0
        context = dict(lf=None, hf=(grid['hf'], self.n_tokens['lf'], codebook_size['lf']))
        self.priors = nn.ModuleDict({
            band: BandPrior(self.n_tokens[band], codebook_size[band], self.n_classes, s[f'{band}_dim'], s[f'{band}_layers'],
                            s[f'{band}_heads'], context=context[band], **shared) for band in BANDS})
        for band in BANDS: self.register_buffer(f'used_{band}', torch.ones(codebook_size[band], dtype=torch.bool))

    def forward(self,
        masked:dict, # {band: token ids [bs or fewer, n_tokens] with `mask_id` where masked}
        y:Tensor, # Class ids [bs]; `null_class` for unconditional
        lf:Tensor # The visible LF tokens that HF is conditioned on [bs, n_tokens of LF]
    ) -> dict: # {band: logits of the masked tokens, row by row [n_masked, codebook_size]}; -inf for codes that the data never use
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
        asked:Tensor=None # The positions whose logits are needed [bs, m]; all by default
    ) -> Tensor: # [bs, m, codebook_size], float32
        "Logits of one band, and of no more positions than are needed: they are most of the work."
        return self.priors[band].logits(self.priors[band](tokens, y, lf if band == 'hf' else None, asked), self._used(band))

    def _used(self, band): return getattr(self, f'used_{band}')

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

    @torch.no_grad()
    def sample_tokens(self,
        y:Tensor, # Class id of each series [bs], on the model's device; `null_class` for unconditional
        n_steps:dict|int=None, # Decoding steps, {band: number} or one number for both; the preset's where left out
        choice_temp:dict|float=None, # Temperature of the confidence noise, which falls to 0 at the last step; inf for random order
        cfg_scale:float=1., # Guidance: uncond + s (cond - uncond); 0 unconditional, 1 conditional
        generator:torch.Generator=None # Source of randomness on the model's device
    ) -> dict: # {band: token ids [bs, n_tokens]}, no mask id left
        "Sample by iterative decoding: masked tokens are drawn at each step, the most confident settle. Use in eval mode."
        n_steps, choice_temp = _by_band('n_steps', n_steps, self.n_steps), _by_band('choice_temp', choice_temp, self.choice_temp)
        out = {}
        for band in BANDS:
            out[band] = self._decode_band(band, y, out.get('lf'), n_steps[band], choice_temp[band], cfg_scale, generator)
        return out

    def _decode_band(self, band, y, lf, n_steps, choice_temp, cfg_scale, generator):
        n = self.n_tokens[band]
        n_steps = min(positive_int(n_steps, f"n_steps['{band}']", 'MaskedPrior'), n)
        tokens = torch.full((len(y), n), self.mask_id[band], device=y.device)
        masked = torch.rand(tokens.shape, device=y.device, generator=generator).argsort(-1)   # their positions, in random order
        for step in range(n_steps):
            n_settled = masked.shape[1] - n_masked_after(step, n_steps, n)
            if n_settled == 0: continue
            asked = masked[:, :n_settled] if math.isinf(choice_temp) else masked
            probs = self._guided(band, tokens, y, lf, asked, cfg_scale).softmax(-1)
            drawn = draw_ids(probs, generator)
            if not math.isinf(choice_temp):
                confidence = probs.gather(-1, drawn.unsqueeze(-1)).squeeze(-1).log()
                order = settling_order(confidence, choice_temp * (1 - (step + 1) / n_steps), generator)
                masked, drawn = masked.gather(-1, order), drawn.gather(-1, order)
            tokens = tokens.scatter(-1, masked[:, :n_settled], drawn[:, :n_settled])
            masked = masked[:, n_settled:]
        return tokens

    def _guided(self, band, tokens, y, lf, asked, cfg_scale):
        null = torch.full_like(y, self.null_class)
        if cfg_scale in (0, 1): return self.band_logits(band, tokens, y if cfg_scale else null, lf, asked)
        both = self.band_logits(band, tokens.repeat(2, 1), torch.cat((y, null)), None if lf is None else lf.repeat(2, 1),
                                asked.repeat(2, 1))
        cond, uncond = both.chunk(2)
        return torch.where(uncond.isinf(), uncond, uncond + cfg_scale * (cond - uncond))


def _by_band(name, given, default): # a number for both bands, or {band: number} for some, or None -> {band: number}
    if not isinstance(given, dict): given = {} if given is None else dict.fromkeys(BANDS, given)
    if not set(given) <= set(BANDS): raise ValueError(f"{name} is {given}, expected a number, or one for any of {list(BANDS)}")
    return {**default, **given}
