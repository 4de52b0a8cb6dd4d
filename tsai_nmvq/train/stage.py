"""What the stages' Learners share: loaders of the training split, a schedule, and figures of every epoch."""
import math
from functools import partial
from typing import Any

import fastai.callback.schedule  # noqa: F401 - gives Learner fit_one_cycle and lr_find
import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.learner import AvgMetric, AvgSmoothLoss, Learner, Metric
from fastai.optimizer import OptimWrapper

from ..data.intake import SeriesData
from ..data.loaders import stage_dls
from ..data.rows import Rows
from ..data.spec import SeriesSpec
from ..metrics.frechet import frechet_distance
from ..metrics.rocket import RocketFeatures
from ..models.quantizer import perplexity
from ..plots import plot_pairs
from ..presets import stage_schedule
from ..progress import shown_progress

__all__ = ['StageLearner', 'FIDMetric', 'BatchMean', 'CodeUsage', 'stage_data']

MIN_STEPS = 24 # batches of an epoch

fused_adamw = partial(OptimWrapper, opt=partial(torch.optim.AdamW, fused=True)) # fastai's Adam steps tensor by tensor


class StageLearner(Learner):
    """A Learner over rows of the training split, that records figures of the training epochs too.

    Its callbacks hand each other, and the metrics, one object a batch: `stage_batch`."""
    stage = ''      # 'tokenizer', 'prior' or 'mapper'
    first_epoch = 0 # Epochs that a training which goes on has behind it

    def __init__(self,
        train:Rows, # Read as tuples of tensors
        valid:Rows|None, # The same of the validation split; only watched
        spec:SeriesSpec, # Of the training split
        model, # The network this stage trains
        preset:str='fast', # Whose schedule is the default
        n_inp:int=1, # Leading tensors that are the model's input
        bs:int=None, # Batch size; the schedule's by default
        min_steps:int=MIN_STEPS, # Least number of batches an epoch: a small training split is passed over several times
        device=None, # Where to train
        **kwargs # Passed to fastai's Learner: lr, cbs, metrics, path, ...
    ):
        schedule = stage_schedule(preset, self.stage)
        dls = stage_dls(train, valid, bs=bs or schedule.bs, min_steps=min_steps, n_inp=n_inp, device=device)
        super().__init__(dls, model, **{'opt_func': fused_adamw, **kwargs})
        self.spec, self.schedule = spec, schedule
        self.stage_batch:Any = None
        self.add_cb(StopDiverged())
        self.recorder.smooth_loss = SmoothLoss()
        self.recorder.train_metrics, self.recorder.valid_metrics = True, valid is not None

    @property
    def scheduled_epochs(self) -> int: # 1 or more
        "Epochs of the preset's schedule for this training split."
        return self.schedule.n_epochs(len(self.dls.train), self.dls.train.bs, self.spec.n_series)

    def fit_schedule(self,
        epochs:int=None, # Epochs; the schedule's by default
        lr:float=None # Highest learning rate; the schedule's by default
    ):
        "Train as the preset's schedule has it, by fastai's one-cycle policy, like `NMVQGenerator.fit`. Returns self."
        with shown_progress(self): self.fit_one_cycle(epochs or self.scheduled_epochs, lr or self.schedule.lr)
        return self

    def _do_fit(self): # fastai's SkipToEpoch shows callbacks epochs in which nothing is trained
        for epoch in range(self.first_epoch, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, 'epoch', CancelEpochException)

    def to_detach(self, b, cpu=True, gather=True): # As fastai's
        "Figures are gathered from processes that share this training. Those that learn beside it are not waited for."
        return super().to_detach(b, cpu, gather and hasattr(self.dl, 'to_detach')) # as loaders of `distrib_ctx` have

    def show_results(self,
        n:int=4, # Series to show
        axs=None, # matplotlib axes [n]; made by default
        seed:int=0 # Seed of samples
    ): # matplotlib axes [n]
        "What the stage makes: reconstructions of training series, samples, or mapped reconstructions."
        self.model.eval()
        with torch.no_grad(): return plot_pairs(axs=axs, **self.shown_pairs(n, seed))

    def shown_pairs(self, n, seed) -> dict:
        "What `plot_pairs` takes: first, and maybe second [n, c_in, seq_len], labels and titles."
        raise NotImplementedError(f"{type(self).__name__} does not say what it shows")

    def real_and_generated(self, batch):
        "Of a validation `stage_batch`: real series, and what the stage makes in their place, both [bs, c_in, seq_len]."
        raise NotImplementedError(f"{type(self).__name__} does not say what it makes: FIDMetric(function of the batch)")


class SmoothLoss(AvgSmoothLoss):
    "fastai's, which waits for all processes that the environment names, whatever they do."
    val:torch.Tensor

    def accumulate(self, learn):
        self.count += 1
        self.val = torch.lerp(learn.to_detach(learn.loss.mean()), self.val, self.beta)


class StopDiverged(Callback):
    "Ends a training whose loss is no number any more: nothing that comes after it could be used."
    order = 80                                                           # before an epoch is kept for a rerun

    def before_fit(self): self.run = not hasattr(self.learn, 'lr_finder') # which goes on until it diverges

    def after_train(self):
        loss = self.recorder.smooth_loss.value
        if loss is None or math.isfinite(loss): return
        raise RuntimeError(f"the loss of the {self.learn.stage} is {float(loss)} in epoch {self.epoch + 1}: its "
                           "training has diverged; take a lower learning rate, or look for values far off in X")


class FIDMetric(Metric):
    """FID of what a stage makes of the validation series against these series. For a Learner's `metrics`.

    The tokenizer makes reconstructions, the prior samples of the same classes, the mapper mapped reconstructions."""
    def __init__(self,
        real_and_generated=None, # Function: a stage's batch -> (real, generated) series; the stage's own by default
        n_kernels:int=500 # ROCKET kernels
    ):
        self.real_and_generated, self.n_kernels = real_and_generated, n_kernels

    def reset(self): self.features, self.real, self.generated = None, [], []

    def accumulate(self, learn):
        if learn.training: return
        real, generated = (self.real_and_generated or learn.real_and_generated)(learn.stage_batch)
        if self.features is None:
            c_in, seq_len = real.shape[1:]
            self.features = RocketFeatures(c_in, seq_len, self.n_kernels).to(real.device)
            self.features.standardizer.set(learn.spec.mean, learn.spec.std)
        self.real.append(self.features(real))
        self.generated.append(self.features(generated))

    @property
    def value(self): return frechet_distance(torch.cat(self.real), torch.cat(self.generated)) if self.real else None

    @property
    def name(self): return 'fid'


class BatchMean(AvgMetric):
    "Mean over the epoch of a figure of the prediction."
    def __init__(self,
        name:str, # Column of the table of epochs
        func # Function: (pred, *yb) -> scalar tensor
    ):
        super().__init__(func)
        self._name = name

    @property
    def name(self): return self._name


class CodeUsage(Metric):
    "Perplexity of a band's codes over the epoch, or the share of codes used."
    def __init__(self,
        band:str, # 'lf' or 'hf'
        figure:str # 'perplexity' or 'usage'
    ):
        self.band, self.figure = band, figure

    def reset(self): self.counts = None

    def accumulate(self, learn):
        size = learn.model.codebook_size[self.band]
        counts = torch.bincount(learn.pred['tokens'][self.band].flatten(), minlength=size).float()
        self.counts = counts if self.counts is None else self.counts + counts

    @property
    def value(self):
        if self.counts is None: return None
        return (perplexity(self.counts) if self.figure == 'perplexity' else (self.counts > 0).float().mean()).item()

    @property
    def name(self): return f'{self.band}_{self.figure}'


def stage_data(
    dls # tsai DataLoaders (batch transforms are not applied) or `SeriesData`
) -> tuple: # (training `SeriesData`, that of the validation split or None, device or None)
    "What a stage learns from."
    if isinstance(dls, SeriesData): return dls, None, None
    n_valid, data = len(dls.valid.dataset) if len(dls.loaders) > 1 else 0, SeriesData.from_dls(dls)
    return data, data.watched(dls) if n_valid > 1 else None, dls.device
