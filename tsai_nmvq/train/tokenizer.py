"""Stage 1: learn a tokenizer by reconstruction."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from fastcore.foundation import L
from torch import Tensor

from ..data.rows import Rows
from ..models.bands import BANDS
from ..models.tokenizer import VQTokenizer
from .latents import device_of, nearest_tokens, training_latents
from .stage import BatchMean, CodeUsage, StageLearner, stage_data

__all__ = ['TokenizerLearner', 'tokenizer_loss']


def tokenizer_loss(
    out:dict, # What `VQTokenizer` gives
    x:Tensor, # Not used: the bands' targets are in `out`
    present:Tensor=None # Which values are there [bs, c_in, seq_len], bool: others are not asked for
) -> Tensor: # Scalar
    "MSE on LF, L1 on HF, commitment. [arXiv 2303.04743, Eq. 4]"
    return _lf_mse(out, x, present) + _hf_l1(out, x, present) + out['commitment']


def _lf_mse(out, x=None, present=None): return _mean(out, 'lf', present, F.mse_loss)


def _hf_l1(out, x=None, present=None): return _mean(out, 'hf', present, F.l1_loss)


def _mean(out, band, present, loss):
    made, target = out['series'][band], out['target'][band]
    return loss(made, target) if present is None else loss(made[present], target[present])


@dataclass
class ReconstructedBatch:
    "Series and their reconstructions [bs, c_in, seq_len], original units."
    x:Tensor
    x_recon:Tensor


class KeepReconstruction(Callback):
    "Hand on the batch and its reconstruction."
    def after_pred(self): self.learn.stage_batch = ReconstructedBatch(self.yb[0], self.pred['x'])


class MarkUsedCodes(Callback):
    "After training, mark the codes that the training split uses; dead codes wait for an epoch's length."
    order = 70                                                           # SaveModelCallback has loaded the best weights

    def before_fit(self):
        for quantizer in self.model.quantizers.values():
            quantizer.set_epoch(max(len(self.dls.train), 1))
            quantizer.used.fill_(True)                                   # the marks of an earlier fit are out of date

    def after_fit(self):
        was_training = self.model.training
        for band, tokens in nearest_tokens(self.model, training_latents(self.model, self.learn.data)).items():
            quantizer = self.model.quantizers[band]
            quantizer.set_used(torch.bincount(tokens.flatten(), minlength=quantizer.codebook_size))
        self.model.train(was_training)


class TokenizerLearner(StageLearner):
    "Stage 1: learn a `VQTokenizer` by reconstruction of the training split."
    stage = 'tokenizer'

    def __init__(self,
        dls, # tsai DataLoaders (batch transforms are not applied) or `SeriesData`
        preset:str='fast', # 'fast' or 'paper'
        model:VQTokenizer=None, # A tokenizer of your own; made from the preset by default
        cbs=None, # Callbacks besides the stage's own
        settings:dict=None, # Settings that replace the preset's, see `TokenizerSettings`
        **kwargs # bs, min_steps, device, and what fastai's Learner takes
    ):
        self.data, valid, device = stage_data(dls)
        spec = self.data.spec
        if model is None:
            model = VQTokenizer(spec.c_in, spec.n_classes, spec.seq_len, preset, n_series=spec.n_series,
                                **(settings or {}))
        model.standardizer.set(spec.mean, spec.std)
        figures = [BatchMean('lf_mse', _lf_mse), BatchMean('hf_l1', _hf_l1)]
        figures += [CodeUsage(band, figure) for band in BANDS for figure in ('perplexity', 'usage')]
        super().__init__(_series_rows(self.data), valid and _series_rows(valid), spec, model, preset,
                         loss_func=tokenizer_loss, **{'metrics': figures, 'device': device, **kwargs})
        self.add_cbs([KeepReconstruction(), MarkUsedCodes(), *L(cbs)])

    def real_and_generated(self, batch): return batch.x, batch.x_recon

    def shown_pairs(self, n, seed):
        x = self.data.series(range(min(n, len(self.data)))).to(device_of(self.model))
        return dict(first=x, second=self.model(x)['x'], labels=('real', 'reconstructed'))


def _series_rows(data): # the series are the input and the target; with what is there of them, where some is not
    def read(idx):
        x = data.series(idx)
        return x, x
    def read_with_gaps(idx):
        x, present = data.series_and_present(idx)
        return x, x, present
    return Rows(read_with_gaps if data.spec.missing else read, len(data))
