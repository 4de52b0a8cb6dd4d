"""Stage 2: learn a prior of the training split's tokens."""
import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from fastcore.foundation import L
from torch import Tensor

from ..data.rows import Rows
from ..models.bands import BANDS
from ..models.decoding import random_mask
from ..models.prior import MaskedPrior
from ..models.quantizer import code_spacing
from ..models.tokenizer import VQTokenizer
from ..rng import generator_on
from .latents import class_ids, device_of, nearest_tokens, training_latents
from .stage import BatchMean, StageLearner, stage_data

__all__ = ['PriorLearner']

FEW_SERIES = 256 # up to here the prior would copy, and learns from tokens drawn anew (fidelity_log.md)


class MaskedLoss:
    "Cross-entropy of both bands' masked tokens; keeps each band's own for the table of the epochs."
    def __call__(self, logits, targets): # {band: [n_masked, codebook_size]}, {band: [n_masked]} -> scalar
        losses = {band: F.cross_entropy(logits[band], targets[band]) for band in BANDS}
        self.by_band = {band: loss.detach() for band, loss in losses.items()}
        return sum(losses.values())

    def of_band(self, band, logits, targets): return self.by_band[band]


def _accuracy(band, logits, targets): return (logits[band].argmax(-1) == targets[band]).float().mean()


@dataclass
class TokenBatch:
    "Tokens of a batch before they are masked {band: [bs or fewer, n_tokens]}, and class ids [bs]."
    tokens:dict
    y:Tensor


class TokenMasking(Callback):
    "Hide tokens, and now and then the class, from the prior; show it HF tokens of a share of the batch."
    order = 5

    def before_batch(self):
        (lf, hf, y), model = self.xb, self.model
        if self.training:
            hf = hf[:math.ceil(model.settings.hf_batch_fraction * len(hf))]
        tokens, masked, targets = dict(lf=lf, hf=hf), {}, {}
        for band in BANDS:
            bs, n_tokens = tokens[band].shape
            mask = random_mask(bs, n_tokens, device=lf.device)
            masked[band] = tokens[band].masked_fill(mask, model.mask_id[band])
            targets[band] = tokens[band][mask]
        self.learn.stage_batch = TokenBatch(tokens, y)
        if self.training:
            hidden = torch.rand(y.shape, device=y.device) < model.settings.p_uncond
            y = torch.where(hidden, model.null_class, y)
        self.learn.xb, self.learn.yb = (masked, y, lf), (targets,)


class PriorLearner(StageLearner):
    """Stage 2: learn a `MaskedPrior` of the training split's tokens, which are made once.

    Of few series the LF tokens are drawn anew each time, by stochastic quantization at a small τ: it copies less."""
    stage = 'prior'

    def __init__(self,
        dls, # tsai DataLoaders (batch transforms are not applied) or `SeriesData`
        tokenizer:VQTokenizer, # From stage 1; it is not changed
        preset:str='fast', # 'fast' or 'paper'
        model:MaskedPrior=None, # A prior of your own; made from the preset by default
        cbs=None, # Callbacks besides the stage's own
        settings:dict=None, # Settings that replace the preset's, see `PriorSettings`
        **kwargs # bs, min_steps, device, and what fastai's Learner takes
    ):
        data, valid, device = stage_data(dls)
        self.data, spec, self.tokenizer = data, data.spec, tokenizer.eval()
        if model is None:
            model = MaskedPrior(spec.c_in, spec.n_classes, spec.seq_len, preset, grid=tokenizer.grid,
                                codebook_size=tokenizer.codebook_size,
                                codebook_dim=tokenizer.quantizers['lf'].codebook_dim, **(settings or {}))
        latents = training_latents(tokenizer, data)
        tokens = self._token_rows(latents, data, spec, model.null_class)
        self._tell_codes(model, tokens)
        noise = model.settings.lf_token_noise
        rows = self._redrawn_rows(latents['lf'], tokens, noise) if noise and len(data) <= FEW_SERIES else tokens
        if valid: valid = self._token_rows(training_latents(tokenizer, valid), valid, spec, model.null_class)
        loss_func = MaskedLoss()
        figures = [BatchMean(f'{band}_loss', partial(loss_func.of_band, band)) for band in BANDS]
        figures += [BatchMean(f'{band}_accuracy', partial(_accuracy, band)) for band in BANDS]
        super().__init__(rows, valid, spec, model, preset, n_inp=3, loss_func=loss_func,
                         **{'metrics': figures, 'device': device, **kwargs})
        self.add_cbs([TokenMasking(), *L(cbs)])

    def _token_rows(self, latents, data, spec, null_class): # -> rows of (LF tokens, HF tokens, class ids)
        tokens = nearest_tokens(self.tokenizer, latents)
        y = class_ids(data, spec, null_class).to(tokens['lf'].device)
        return Rows.of_tensors(*[tokens[band] for band in BANDS], y)

    def _tell_codes(self, model, rows): # which codes the training split uses, and their vectors
        *tokens, _ = rows(slice(None))
        sizes = [model.codebook_size[band] for band in BANDS]
        counts = [torch.bincount(ids.flatten(), minlength=size) for ids, size in zip(tokens, sizes)]
        model.set_used({band: n > 0 for band, n in zip(BANDS, counts)})
        model.set_codes({band: self.tokenizer.quantizers[band].codebook for band in BANDS})

    def _redrawn_rows(self, z, rows, noise): # LF latents that lie between codes go now to one, now to another
        quantizer = self.tokenizer.quantizers['lf']
        tau = noise * code_spacing(quantizer)
        def read(idx):
            _, hf, y = rows(idx)
            return quantizer.tokens(z[idx], tau), hf, y
        return Rows(read, len(rows))

    def real_and_generated(self, batch):
        made = self.model.sample_tokens(batch.y, generator=generator_on(batch.y.device, 0))
        return self.tokenizer.decode(batch.tokens), self.tokenizer.decode(made)

    def shown_pairs(self, n, seed):
        y = torch.arange(n, device=device_of(self.model)) % max(1, self.spec.n_classes)
        x_gen = self.tokenizer.decode(self.model.sample_tokens(y, generator=generator_on(y.device, seed)))
        return dict(first=x_gen, titles=[str(self.spec.vocab[i]) if self.spec.vocab else 'sample' for i in y.tolist()])
