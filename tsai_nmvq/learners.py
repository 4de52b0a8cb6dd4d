"""A fastai Learner for each stage: tokenizer, prior, mapper."""
import math
from functools import partial

import fastai.callback.schedule  # noqa: F401 - gives Learner fit_one_cycle and lr_find
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.learner import AvgMetric, Learner, Metric
from fastai.optimizer import OptimWrapper
from fastcore.foundation import L
from fastprogress.fastprogress import progress_bar
from torch import Tensor

from .data import SeriesData, stage_dls
from .losses import MapperLoss
from .metrics import RocketFeatures, conditional_fid, frechet_distance
from .models.bands import BANDS
from .models.mapper import NeuralMapper
from .models.prior import MaskedPrior
from .models.quantizer import perplexity
from .models.schedule import random_mask
from .models.tokenizer import VQTokenizer
from .plots import plot_pairs, plot_tau
from .trial import held_back_rows

__all__ = ['TokenizerLearner', 'PriorLearner', 'MapperLearner', 'FIDMetric', 'TAU_GRID', 'class_ids', 'training_latents',
           'nearest_tokens']

ENCODE_ROWS = 256
FEW_SERIES = 256             # up to here the prior would copy, and learns from tokens drawn anew (benchmarks/results/fidelity_log.md)
UNPAIRED_VALUES = 2 ** 22    # of the prior's samples that are held, where that many are 256 to 1024 series
MIN_STEPS = 24
TAU_GRID = (0., 0.01, 0.03, 0.1, 0.5, 1., 2., 4.)      # the paper's five, and below them, where latents lie closer than 0.1

fused_adamw = partial(OptimWrapper, opt=partial(torch.optim.AdamW, fused=True))   # fastai's Adam steps one parameter at a time


class StageLearner(Learner):
    "What the stages share: loaders of the training split's rows, and the figures of the training epochs in the recorder."
    def __init__(self,
        train, # (function: row indices -> tuple of tensors, number of rows)
        valid, # The same for the validation split, or None; only watched
        spec, # `SeriesSpec` of the training split
        model, # The network this stage trains
        n_inp:int=1, # Leading tensors that are the model's input
        bs:int=32, # Batch size
        min_steps:int=MIN_STEPS, # Least number of batches an epoch: a small training split is passed over several times
        device=None, # Where to train
        **kwargs # Passed to fastai's Learner: lr, cbs, metrics, path, ...
    ):
        dls = stage_dls(*train, *(valid or (None, 0)), bs=bs, min_steps=min_steps, n_inp=n_inp, device=device)
        super().__init__(dls, model, **{'opt_func': fused_adamw, **kwargs})
        self.spec, self.recorder.train_metrics, self.recorder.valid_metrics = spec, True, valid is not None


class Watch(AvgMetric):
    "Mean over the epoch of a figure of the prediction."
    def __init__(self, name, func): # func(pred, *yb) -> scalar tensor
        super().__init__(func)
        self._name = name

    @property
    def name(self): return self._name


class CodeUsage(Metric):
    "Perplexity of a band's codes over the epoch, or the share of codes used."
    def __init__(self, band, what): self.band, self.what = band, what    # what: 'perplexity' or 'usage'

    def reset(self): self.counts = None

    def accumulate(self, learn):
        size = learn.model.codebook_size[self.band]
        counts = torch.bincount(learn.pred['tokens'][self.band].flatten(), minlength=size).float()
        self.counts = counts if self.counts is None else self.counts + counts

    @property
    def value(self):
        if self.counts is None: return None
        return (perplexity(self.counts) if self.what == 'perplexity' else (self.counts > 0).float().mean()).item()

    @property
    def name(self): return f'{self.band}_{self.what}'


class FIDMetric(Metric):
    """FID of what a stage makes of the validation series against these series. For a Learner's `metrics`.

    The tokenizer makes reconstructions, the prior samples of the same classes, the mapper mapped stochastic reconstructions."""
    def __init__(self,
        n_kernels:int=500 # ROCKET kernels
    ):
        self.n_kernels = n_kernels

    def reset(self): self.features, self.real, self.made = None, [], []

    def accumulate(self, learn):
        if learn.training: return
        real, made = learn.real_and_made()
        if self.features is None:
            self.features = RocketFeatures(*real.shape[1:], self.n_kernels).to(real.device)
            self.features.standardize.set(learn.spec.mean, learn.spec.std)
        self.real.append(self.features(real)), self.made.append(self.features(made))

    @property
    def value(self): return frechet_distance(torch.cat(self.real), torch.cat(self.made)) if self.real else None

    @property
    def name(self): return 'fid'


# Stage 1

def tokenizer_loss(out, x): # MSE on LF, L1 on HF, commitment [arXiv 2303.04743, Eq. 4]
    series, target = out['series'], out['target']
    return F.mse_loss(series['lf'], target['lf']) + F.l1_loss(series['hf'], target['hf']) + out['commitment']


class CodeCensus(Callback):
    "After training, mark the codes that the training split uses, and end dead codes' wait at an epoch's length."
    order = 70                                                               # after SaveModelCallback has loaded the best weights
    def before_fit(self):
        for quantizer in self.model.quantizers.values():
            quantizer.dead_code_threshold = max(len(self.dls.train), 1)
            quantizer.used.fill_(True)                                       # an earlier fit's census is out of date

    def after_fit(self):
        was_training = self.model.training
        for band, tokens in nearest_tokens(self.model, training_latents(self.model, self.learn.data)).items():
            quantizer = self.model.quantizers[band]
            quantizer.set_used(torch.bincount(tokens.flatten(), minlength=quantizer.codebook_size))
        self.model.train(was_training)


class TokenizerLearner(StageLearner):
    "Stage 1: learn a `VQTokenizer` by reconstruction of the training split."
    def __init__(self,
        dls, # tsai DataLoaders (batch transforms are not applied) or `SeriesData`
        preset:str='fast', # 'fast' or 'paper'
        model:VQTokenizer=None, # A tokenizer of your own; made from the preset by default
        cbs=None, # Callbacks besides the stage's own
        settings:dict=None, # Settings that replace the preset's, see `TOKENIZER_PRESETS`
        **kwargs # bs, min_steps, device, and what fastai's Learner takes
    ):
        self.data, valid = _splits_of(dls)
        spec = self.data.spec
        model = model or VQTokenizer(spec.c_in, spec.n_classes, spec.seq_len, preset, n_series=spec.n_series, **(settings or {}))
        model.scale.set(spec.mean, spec.std)
        watched = [Watch('lf_mse', lambda out, x: F.mse_loss(out['series']['lf'], out['target']['lf'])),
                   Watch('hf_l1', lambda out, x: F.l1_loss(out['series']['hf'], out['target']['hf'])),
                   *[CodeUsage(band, what) for band in BANDS for what in ('perplexity', 'usage')]]
        super().__init__(_series_rows(self.data), valid and _series_rows(valid), spec, model, loss_func=tokenizer_loss,
                         **{'metrics': watched, **_with_device(kwargs, dls)})
        self.add_cbs([CodeCensus(), *L(cbs)])

    def real_and_made(self): return self.y, self.pred['x']

    def show_results(self,
        n:int=4, # Series to show
        axs=None # matplotlib axes [n]; made by default
    ): # matplotlib axes [n]
        "Training series over their reconstructions."
        x = self.data.series(range(min(n, len(self.data)))).to(_device(self.model))
        self.model.eval()
        with torch.no_grad(): return plot_pairs(x, self.model(x)['x'], ('real', 'reconstructed'), axs=axs)


# Stage 2

class MaskedLoss:
    "Cross-entropy of both bands' masked tokens; keeps each band's own for the table of the epochs."
    def __call__(self, logits, targets): # {band: [n_masked, codebook_size]}, {band: [n_masked]} -> scalar
        losses = {band: F.cross_entropy(logits[band], targets[band]) for band in BANDS}
        self.by_band = {band: loss.detach() for band, loss in losses.items()}
        return sum(losses.values())


def _accuracy(band, logits, targets): return (logits[band].argmax(-1) == targets[band]).float().mean()


class TokenMasking(Callback):
    "Hide tokens, and now and then the class, from the prior; show it HF tokens of a share of the batch."
    order = 5
    def before_batch(self):
        (lf, hf, y), model = self.xb, self.model
        if self.training: hf = hf[:math.ceil(model.hf_share * len(hf))]
        tokens, masked, targets = dict(lf=lf, hf=hf), {}, {}
        self.learn.tokens = tokens
        for band in BANDS:
            mask = random_mask(*tokens[band].shape, device=lf.device)
            masked[band], targets[band] = tokens[band].masked_fill(mask, model.mask_id[band]), tokens[band][mask]
        if self.training: y = torch.where(torch.rand(y.shape, device=y.device) < model.p_uncond, model.null_class, y)
        self.learn.xb, self.learn.yb = (masked, y, lf), (targets,)


class PriorLearner(StageLearner):
    """Stage 2: learn a `MaskedPrior` of the training split's tokens, which are made once.

    Of few series the LF tokens are drawn anew each time, by stochastic quantization at a small τ: the prior copies less. [ours]"""
    def __init__(self,
        dls, # tsai DataLoaders (batch transforms are not applied) or `SeriesData`
        tokenizer:VQTokenizer, # From stage 1; it is not changed
        preset:str='fast', # 'fast' or 'paper'
        model:MaskedPrior=None, # A prior of your own; made from the preset by default
        cbs=None, # Callbacks besides the stage's own
        settings:dict=None, # Settings that replace the preset's, see `PRIOR_PRESETS`
        **kwargs # bs, min_steps, device, and what fastai's Learner takes
    ):
        data, valid = _splits_of(dls)
        spec, self.tokenizer = data.spec, tokenizer.eval()
        model = model or MaskedPrior(spec.c_in, spec.n_classes, spec.seq_len, preset, grid=tokenizer.grid,
                                     codebook_size=tokenizer.codebook_size, codebook_dim=tokenizer.quantizers['lf'].codebook_dim,
                                     **(settings or {}))
        latents = training_latents(tokenizer, data)
        tokens = self._tokens(latents, data, spec, model.null_class)
        counts = {band: torch.bincount(t.flatten(), minlength=model.codebook_size[band]) for band, t in zip(BANDS, tokens)}
        model.set_used({band: c > 0 for band, c in counts.items()})
        model.set_codes({band: tokenizer.quantizers[band].codebook for band in BANDS})
        few = model.lf_tau and len(data) <= FEW_SERIES
        rows = self._redrawn_rows(latents['lf'], tokens, model.lf_tau) if few else _tensor_rows(tokens)
        if valid: valid = _tensor_rows(self._tokens(training_latents(tokenizer, valid), valid, spec, model.null_class))
        loss_func = MaskedLoss()
        watched = [*[Watch(f'{band}_loss', lambda *_, band=band: loss_func.by_band[band]) for band in BANDS],
                   *[Watch(f'{band}_accuracy', partial(_accuracy, band)) for band in BANDS]]
        super().__init__(rows, valid, spec, model, n_inp=3, loss_func=loss_func, **{'metrics': watched, **_with_device(kwargs, dls)})
        self.add_cbs([TokenMasking(), *L(cbs)])

    def _tokens(self, latents, data, spec, null_class): # -> (LF tokens, HF tokens, class ids)
        tokens = nearest_tokens(self.tokenizer, latents)
        return (*[tokens[band] for band in BANDS], class_ids(data, spec, null_class).to(tokens['lf'].device))

    def _redrawn_rows(self, z, tokens, lf_tau): # LF latents that lie between codes go now to one, now to another
        quantizer, (_, hf, y) = self.tokenizer.quantizers['lf'], tokens
        distances = quantizer.neighbour_distance()
        tau = lf_tau * float(distances.median()) if len(distances) else 0.
        return lambda idx: (quantizer.tokens(z[idx], tau), hf[idx], y[idx]), len(hf)

    def real_and_made(self):
        y = self.xb[1]
        made = self.model.sample_tokens(y, generator=_generator(y.device, 0))
        return tuple(self.tokenizer.decode(tokens) for tokens in (self.tokens, made))

    def show_results(self,
        n:int=4, # Series to show
        axs=None, # matplotlib axes [n]; made by default
        seed:int=0 # Seed of the samples
    ): # matplotlib axes [n]
        "Samples of the prior, decoded."
        self.model.eval()
        y = torch.arange(n, device=_device(self.model)) % max(1, self.spec.n_classes)
        x = self.tokenizer.decode(self.model.sample_tokens(y, generator=_generator(y.device, seed)))
        titles = [str(self.spec.vocab[i]) if self.spec.vocab else 'sample' for i in y.tolist()]
        return plot_pairs(x, titles=titles, axs=axs)


# Stage 3

class StochasticReconstruction(Callback):
    "Turn latents into stochastically quantised reconstructions X̃'_τ, paired with their series. [arXiv 2501.17553, Eq. 3.1b]"
    order = 5
    def before_fit(self):
        if self.learn.tau is None: self.learn.search_tau()

    def before_batch(self):
        *latents, y = self.xb
        with torch.no_grad(): x_svq = self.learn.reconstruct(dict(zip(BANDS, latents)), self.learn.tau_of(y))
        self.learn.xb, self.learn.x_svq, self.learn.y_svq = (x_svq,), x_svq, y


class UnpairedTerms(Callback):
    """Map samples of the prior too, and add the loss's unpaired terms: they compare them with the real series of the batch.

    Stochastic reconstructions are near the prior's samples, not the same: what the prior gets wrong shows in its samples alone."""
    order, x_gen = 6, None                                                   # after `StochasticReconstruction`
    def before_fit(self):
        learn = self.learn
        if learn.prior is None:
            raise RuntimeError(f"{' and '.join(learn.loss_func.unpaired)} in the loss need the prior: MapperLearner(dls, tokenizer, prior)")
        if self.x_gen is None: self._sample(learn.spec, learn.tokenizer, learn.prior)
        learn.loss_func.start(learn.spec, self.x_gen.device)

    @torch.no_grad()
    def _sample(self, spec, tokenizer, prior): # once, class after class
        n = min(1024, max(256, UNPAIRED_VALUES // (spec.c_in * spec.seq_len)))
        counts = (torch.as_tensor(spec.proportions if spec.vocab else [1.]) * n).ceil().long().to(_device(prior))
        ids = torch.arange(len(counts), device=counts.device) if spec.vocab else counts.new_tensor([prior.null_class])
        self.x_gen = torch.cat([tokenizer.decode(prior.sample_tokens(y)) for y in ids.repeat_interleave(counts).split(ENCODE_ROWS)])
        self.count, self.first_row = counts, counts.cumsum(0) - counts

    def before_batch(self):
        if not self.training: return
        y = self.y_gen = self.learn.y_svq
        rows = self.first_row[y] + (torch.rand(len(y), device=y.device) * self.count[y]).long()
        self.learn.xb = (torch.cat((self.learn.x_svq, self.x_gen[rows])),)

    def after_pred(self):
        if self.training: self.learn.pred, self.x_map = self.pred.chunk(2)

    def after_loss(self):
        if not self.training: return
        self.learn.loss_grad = self.loss_grad + self.loss_func.of_unpaired(self.x_map, self.yb[0], self.y_gen)
        self.learn.loss = self.loss_grad.clone()


class MapperLearner(StageLearner):
    "Stage 3: learn a `NeuralMapper` from stochastically quantised reconstructions to the series themselves; latents are made once."
    def __init__(self,
        dls, # tsai DataLoaders (batch transforms are not applied) or `SeriesData`
        tokenizer:VQTokenizer, # From stage 1; it is not changed
        prior:MaskedPrior=None, # From stage 2, for `search_tau`; it is not changed
        preset:str='fast', # 'fast' or 'paper'
        model:NeuralMapper=None, # A mapper of your own; made from the preset by default
        tau:float=None, # SVQ temperature; searched for by default
        per_class:bool=False, # Search a τ for each class
        falling:bool=False, # Let τ fall from twice its value to 0 over the tokens of a band, in random order, as over decoding steps
        loss:str=None, # One of `MapperLoss.WEIGHTS`; 'l1' for preset 'paper', else 'l1+stft+texture+match', without '+match' if no prior
        cbs=None, # Callbacks besides the stage's own
        settings:dict=None, # Settings that replace the preset's, see `MAPPER_PRESETS`
        held_back:float=0.2, # Share of the training split that the mapper does not see: `MapperTrial` needs it
        **kwargs # bs, min_steps, device, and what fastai's Learner takes
    ):
        data, valid = _splits_of(dls)
        spec = data.spec
        held = held_back_rows(np.zeros(len(data), dtype=int) if data.y is None else data.y, held_back)
        self.data, self.held_back = data.subset(np.setdiff1d(np.arange(len(data)), held)), data.subset(held)
        self.spec, self.tokenizer, self.prior, self.tau, self.tau_table = spec, tokenizer.eval(), prior and prior.eval(), tau, None
        self.per_class, self.falling, self.class_tau = per_class, falling, None
        model = model or NeuralMapper(spec.c_in, spec.n_classes, spec.seq_len, preset, **(settings or {}))
        model.scale.set(spec.mean, spec.std)
        default = 'l1' if preset == 'paper' else 'l1+stft+texture' + ('' if prior is None else '+match')
        loss_func = MapperLoss(model.scale.std, loss or default)
        l1 = MapperLoss(model.scale.std)
        watched = [Watch('l1_before', lambda x_map, x: l1(self.x_svq, x)), Watch('l1_after', l1)]
        super().__init__(self._latent_rows(self.data), valid and self._latent_rows(valid), spec, model, n_inp=3,
                         loss_func=loss_func, **{'metrics': watched, **_with_device(kwargs, dls)})
        self.add_cbs([StochasticReconstruction(), *([UnpairedTerms()] if loss_func.unpaired else []), *L(cbs)])

    def _latent_rows(self, data):
        latents = training_latents(self.tokenizer, data)
        y = class_ids(data, self.spec, 0).to(latents['lf'].device)
        def rows(idx): return (*[latents[band][idx] for band in BANDS], y[idx], data.series(idx).to(y.device))
        return rows, len(data)

    def tau_of(self,
        y:Tensor # Class ids [bs]
    ): # One number, or with `per_class` one a row [bs]
        "The temperature of series of these classes."
        return self.tau if self.class_tau is None else self.class_tau[y]

    def reconstruct(self,
        latents:dict, # {band: z [bs, n_tokens, codebook_dim]}
        tau:float|Tensor=None, # SVQ temperature, one number or one a row [bs]; the learner's by default
        generator:torch.Generator=None # Source of randomness
    ) -> Tensor: # X̃'_τ [bs, c_in, seq_len], original units
        "Stochastically quantised reconstructions of series, from their latents."
        tau = self.tau if tau is None else tau
        def of_tokens(z): # τ of each token, or as it is
            if not self.falling: return tau
            place = torch.rand(z.shape[:2], device=z.device, generator=generator).argsort(1) / max(1, z.shape[1] - 1)
            return torch.as_tensor(tau, device=z.device).view(-1, 1) * 2 * (1 - place)
        return self.tokenizer.decode({band: self.tokenizer.quantizers[band].tokens(z, of_tokens(z), generator)
                                      for band, z in latents.items()})

    @torch.no_grad()
    def search_tau(self,
        tau_grid:tuple=TAU_GRID, # Temperatures to try, in squared latent distance; 0 is the nearest code
        refine:int=2, # Times to try the geometric means of the best and its neighbours as well
        n:int=512, # Prior samples, and training series at most
        seed:int=0, # Seed of all draws
        n_kernels:int=1000 # ROCKET kernels of the FID
    ) -> pd.DataFrame: # Columns tau, fid, with `per_class` one a label; the smallest FID is the learner's `tau` from now on
        "τ* = argmin FID(X̂, X̃'_τ): the temperature whose reconstructions look like the prior's samples X̂. [arXiv 2501.17553, Alg. 1]"
        if self.prior is None: raise RuntimeError("search_tau needs the prior: MapperLearner(dls, tokenizer, prior), or pass tau=")
        idx = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(seed))[:n].numpy()
        device = _device(self.tokenizer)
        generator = _generator(device, seed)
        *latents, _, x = self.dls.train.rows(idx)
        latents = dict(zip(BANDS, latents))
        y = class_ids(self.data, self.spec, self.prior.null_class)[idx].to(device)
        y_gen = y.repeat(-(-n // len(y)))[:n]
        features = RocketFeatures.fit(x, n_kernels=n_kernels).to(device)
        x_gen = features(torch.cat([self.tokenizer.decode(self.prior.sample_tokens(part, generator=generator))
                                    for part in y_gen.split(ENCODE_ROWS)]))
        def fids(tau):
            x_svq = features(torch.cat([self.reconstruct(dict(zip(BANDS, z)), tau, generator)
                                        for z in zip(*[latents[band].split(ENCODE_ROWS) for band in BANDS])]))
            row = dict(tau=tau, fid=frechet_distance(x_gen, x_svq))
            return {**row, **conditional_fid(x_gen, y_gen, x_svq, y, per_class=True)} if self._by_class else row
        table = pd.DataFrame([fids(tau) for tau in progress_bar(tau_grid, leave=False)])
        for _ in range(refine):
            table = pd.concat([table, pd.DataFrame([fids(tau) for tau in _between(table)])], ignore_index=True).sort_values('tau')
        self.tau = float(table.tau[table.fid.idxmin()])
        if self._by_class:                                                   # classes without two series on both sides go by the whole
            self.class_tau = torch.full((self.spec.n_classes,), self.tau, device=device)
            for i in table.columns[2:]: self.class_tau[i] = float(table.tau[table[i].idxmin()])
        self.tau_table = table.rename(columns=dict(enumerate(self.spec.vocab))).reset_index(drop=True)
        return self.tau_table

    @property
    def _by_class(self): return self.per_class and bool(self.spec.vocab)

    def show_tau(self,
        ax=None # matplotlib axes; made by default
    ): # matplotlib axes
        "FID between prior samples and reconstructions against τ."
        if self.tau_table is None: raise RuntimeError("no search has been run: call search_tau() first")
        return plot_tau(self.tau_table, self.tau, ax)

    def real_and_made(self): return self.y, self.pred

    def show_results(self,
        n:int=4, # Series to show
        axs=None # matplotlib axes [n]; made by default
    ): # matplotlib axes [n]
        "Stochastic reconstructions of training series, and what the mapper makes of them."
        if self.tau is None: self.search_tau()
        *latents, _, _ = self.dls.train.rows(range(min(n, len(self.data))))
        self.model.eval()
        with torch.no_grad():
            x_svq = self.reconstruct(dict(zip(BANDS, latents)))
            return plot_pairs(x_svq, self.model(x_svq), ('quantised', 'mapped'), axs=axs)


# Shared pieces

def nearest_tokens(
    tokenizer:VQTokenizer, # Stage 1
    latents:dict # {band: z [n, n_tokens, codebook_dim]}
) -> dict: # {band: nearest codes [n, n_tokens]}
    "Tokens of all series; distances to the codes are held for some series at a time."
    out = {band: torch.empty(z.shape[:2], dtype=torch.long, device=z.device) for band, z in latents.items()}
    for band, z in latents.items():
        for rows, part in zip(out[band].split(ENCODE_ROWS), z.split(ENCODE_ROWS)): rows.copy_(tokenizer.quantizers[band].tokens(part))
    return out


@torch.no_grad()
def training_latents(
    tokenizer:VQTokenizer, # Stage 1; set to eval mode
    data:SeriesData # Series
) -> dict: # {band: z [n, n_tokens, codebook_dim]} on the tokenizer's device
    "Latents of all series, made once."
    tokenizer.eval()
    device, done = _device(tokenizer), 0
    out = {band: torch.empty(len(data), n, tokenizer.quantizers[band].codebook_dim, device=device)
           for band, n in tokenizer.n_tokens.items()}                        # one block: small results kept in a list fragment the heap
    for chunk in data.chunks():
        for x in chunk.split(ENCODE_ROWS):
            for band, z in tokenizer.latents(x.to(device)).items(): out[band][done:done + len(x)] = z
            done += len(x)
    return out


def class_ids(
    data:SeriesData, # Series with or without labels
    spec, # `SeriesSpec` whose vocab the ids follow
    null_class:int # Id of the null class
) -> Tensor: # Class ids [n], int64; the null class where there are no labels
    "Class ids by name."
    if data.y is None or not spec.vocab: return torch.full((len(data),), null_class)
    return torch.as_tensor(spec.to_ids(data.spec.to_labels(data.y)))


def _between(table): # temperatures beside the best one, in the middle of the gaps to its neighbours
    taus = sorted(table.tau)
    i = taus.index(table.tau[table.fid.idxmin()])
    gaps = zip(taus[max(0, i - 1):i + 1], taus[max(0, i - 1) + 1:i + 2])
    return [math.sqrt(low * high) if low else high / 2 for low, high in gaps]


def _splits_of(dls): # -> training SeriesData, validation SeriesData or None
    if isinstance(dls, SeriesData): return dls, None
    n_valid = len(dls.valid.dataset) if len(dls.loaders) > 1 else 0
    return SeriesData.from_dls(dls), SeriesData.from_dls(dls, split=1) if n_valid > 1 else None


def _series_rows(data):
    def rows(idx):
        x = data.series(idx)
        return x, x
    return rows, len(data)


def _tensor_rows(tensors):
    return (lambda idx: tuple(t[idx] for t in tensors)), len(tensors[0])


def _with_device(kwargs, dls): return {'device': getattr(dls, 'device', None), **kwargs}


def _device(module): return next(module.parameters()).device


def _generator(device, seed): return torch.Generator(device).manual_seed(seed)
