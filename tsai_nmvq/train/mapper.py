"""Stage 3: learn a mapper from stochastically quantised reconstructions to the series themselves."""
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from fastcore.foundation import L
from torch import Tensor

from ..data.missing import fill_gaps, with_gaps
from ..data.rows import Rows
from ..mapper_selection import holdout_rows
from ..metrics.rocket import RocketFeatures
from ..models.bands import BANDS
from ..models.mapper import NeuralMapper
from ..models.prior import MaskedPrior
from ..models.tokenizer import VQTokenizer
from ..plots import plot_tau
from ..rng import generator_on
from .latents import ENCODE_ROWS, class_ids, device_of, training_latents
from .losses import MapperLoss
from .stage import BatchMean, StageLearner, stage_data
from .tau import TAU_GRID, ReconstructionFID, anneal_tau, class_taus, search_tau

__all__ = ['MapperLearner', 'check_one_run']

SAMPLE_VALUES = 2 ** 22     # of the prior's samples that unpaired terms hold, where that many are
SAMPLES = 256, 1024         # series between these


@dataclass
class MapperBatch:
    "What the mapper's callbacks and metrics know of a batch; series are [bs, c_in, seq_len], original units."
    x:Tensor                    # Real series
    y:Tensor                    # Their class ids [bs]
    x_svq:Tensor                # Their stochastic reconstructions X̃'_τ
    present:Tensor|None = None  # Which values of the real ones are there, bool; None where all are
    x_map:Tensor|None = None    # These, mapped
    x_gen_map:Tensor|None = None # Samples of the prior of the same classes, mapped; in training, for unpaired terms


class StochasticReconstruction(Callback):
    "Turn latents into stochastically quantised reconstructions, paired with their series. [arXiv 2501.17553, Eq. 3.1b]"
    order = 5

    def before_fit(self):
        if self.learn.tau is None: self.learn.search_tau()

    def before_batch(self):
        *latents, y = self.xb
        with torch.no_grad(): x_svq = self.learn.reconstruct(dict(zip(BANDS, latents)), self.learn.tau_of(y))
        self.learn.stage_batch = MapperBatch(self.yb[0], y, x_svq, *self.yb[1:])
        self.learn.xb = (x_svq,)

    def after_pred(self): self.learn.stage_batch.x_map = self.pred


class PriorSamples(Callback):
    """Map samples of the prior too, and add the loss's unpaired terms: they compare them with the batch's real series.

    Stochastic reconstructions are near the prior's samples, not the same: what the prior gets wrong shows there."""
    order = StochasticReconstruction.order + 1
    x_gen:Tensor|None = None # Samples, class after class [n, c_in, seq_len]

    def before_fit(self):
        learn = self.learn
        if learn.prior is None:
            terms = ' and '.join(learn.loss_func.unpaired)
            raise RuntimeError(f"{terms} in the loss need the prior: MapperLearner(dls, tokenizer, prior)")
        if self.x_gen is None: self.x_gen = self._sample(learn.spec, learn.tokenizer, learn.prior)
        learn.loss_func.start_unpaired(learn.spec, self.x_gen.device)

    @torch.no_grad()
    def _sample(self, spec, tokenizer, prior): # once, class after class
        least, most = SAMPLES
        n = min(most, max(least, SAMPLE_VALUES // (spec.c_in * spec.seq_len)))
        proportions = spec.proportions if spec.vocab else [1.]
        counts = (torch.as_tensor(proportions) * n).ceil().long().to(device_of(prior))
        ids = torch.arange(len(counts), device=counts.device) if spec.vocab else counts.new_tensor([prior.null_class])
        self.counts, self.first_row = counts, counts.cumsum(0) - counts
        chunks = ids.repeat_interleave(counts).split(ENCODE_ROWS)
        return torch.cat([tokenizer.decode(prior.sample_tokens(y)) for y in chunks])

    def before_batch(self):
        if not self.training or self.x_gen is None: return
        batch = self.learn.stage_batch
        draws = torch.rand(len(batch.y), device=batch.y.device) * self.counts[batch.y]
        x_gen = self.x_gen[self.first_row[batch.y] + draws.long()]
        self.learn.xb = (torch.cat((batch.x_svq, x_gen)),)

    def after_pred(self):
        if not self.training: return
        batch = self.learn.stage_batch
        self.learn.pred, batch.x_gen_map = self.pred.chunk(2)
        batch.x_map = self.learn.pred

    def after_loss(self):
        if not self.training: return
        batch = self.learn.stage_batch
        unpaired = self.loss_func.of_unpaired(batch.x_gen_map, batch.x, batch.y, batch.present)
        self.learn.loss_grad = self.loss_grad + unpaired
        self.learn.loss = self.loss_grad.clone()


class MapperLearner(StageLearner):
    "Stage 3: learn a `NeuralMapper` from stochastically quantised reconstructions to series; latents are made once."
    stage = 'mapper'
    prior:MaskedPrior|None
    tau:float|None              # SVQ temperature
    class_tau:Tensor|None       # One a class [n_classes], with `per_class`
    tau_table:pd.DataFrame|None # How they were found

    def __init__(self,
        dls, # tsai DataLoaders (batch transforms are not applied) or `SeriesData`
        tokenizer:VQTokenizer, # From stage 1; it is not changed
        prior:MaskedPrior=None, # From stage 2, for `search_tau` and unpaired losses; it is not changed
        preset:str='fast', # 'fast' or 'paper'
        model:NeuralMapper=None, # A mapper of your own; made from the preset by default
        tau:float=None, # SVQ temperature; searched for by default
        per_class:bool=False, # Search a τ for each class
        anneal:bool=False, # Let τ fall from twice its value to 0 over the tokens of a band, in random order
        loss:str=None, # One of `MapperLoss.WEIGHTS`; 'l1' for 'paper', else 'l1+stft+kernels', with a prior '+swd'
        cbs=None, # Callbacks besides the stage's own
        settings:dict=None, # Settings that replace the preset's, see `MapperSettings`
        holdout:float=0.2, # Share of the training split that the mapper does not see: `select_mapper` needs it
        **kwargs # bs, min_steps, device, and what fastai's Learner takes
    ):
        data, valid, device = stage_data(dls)
        spec = data.spec
        rows = holdout_rows(np.zeros(len(data), dtype=int) if data.y is None else data.y, holdout)
        self.data, self.holdout = data.subset(np.setdiff1d(np.arange(len(data)), rows)), data.subset(rows)
        self.spec, self.tokenizer, self.prior = spec, tokenizer.eval(), prior and prior.eval()
        self.tau, self.class_tau, self.tau_table = tau, None, None
        self.per_class, self.anneal = per_class, anneal
        if model is None: model = NeuralMapper(spec.c_in, spec.n_classes, spec.seq_len, preset, **(settings or {}))
        model.standardizer.set(spec.mean, spec.std)
        default = 'l1' if preset == 'paper' else 'l1+stft+kernels' if prior is None else 'l1+stft+kernels+swd'
        loss_func, l1 = MapperLoss(model.standardizer.std, loss or default), MapperLoss(model.standardizer.std)
        def l1_before(x_map, *real): return l1(self.stage_batch.x_svq, *real)
        figures = [BatchMean('l1_before', l1_before), BatchMean('l1_after', l1)]
        super().__init__(self._latent_rows(self.data), valid and self._latent_rows(valid), spec, model,
                         preset, n_inp=3, loss_func=loss_func,
                         **{'metrics': figures, 'device': device, **kwargs})
        self.add_cbs([StochasticReconstruction(), *([PriorSamples()] if loss_func.unpaired else []), *L(cbs)])

    def _latent_rows(self, data): # -> rows of (LF latents, HF latents, class ids, series, maybe what of them is there)
        latents = training_latents(self.tokenizer, data)
        y = class_ids(data, self.spec, 0).to(latents['lf'].device)
        def read(idx):
            real = data.series_and_present(idx) if data.spec.missing else (data.series(idx),)
            return (*[latents[band][idx] for band in BANDS], y[idx], *[part.to(y.device) for part in real])
        return Rows(read, len(data))

    def tau_of(self,
        y:Tensor # Class ids [bs]
    ): # One number, or with `per_class` one a row [bs]
        "The temperature of series of these classes."
        return self.tau if self.class_tau is None else self.class_tau[y]

    def reconstruct(self,
        latents:dict, # {band: z [bs, n_tokens, codebook_dim]}
        tau:float|Tensor|None=None, # SVQ temperature, one number or one a row [bs]; the learner's by default
        generator:torch.Generator=None # Source of randomness
    ) -> Tensor: # X̃'_τ [bs, c_in, seq_len], original units
        "Stochastically quantised reconstructions of series, from their latents."
        if tau is None: tau = self.tau
        tokens = {}
        for band, z in latents.items():
            token_tau = tau
            if self.anneal and tau is not None: token_tau = anneal_tau(tau, z.shape[:2], z.device, generator)
            tokens[band] = self.tokenizer.quantizers[band].tokens(z, token_tau, generator)
        return self.tokenizer.decode(tokens)

    @torch.no_grad()
    def search_tau(self,
        tau_grid:tuple=TAU_GRID, # Temperatures to try, in squared latent distance; 0 is the nearest code
        refine:int=2, # Times to try the geometric means of the best and its neighbours as well
        n:int=512, # Prior samples, and training series at most
        seed:int=0, # Seed of all draws
        n_kernels:int=1000 # ROCKET kernels of the FID
    ) -> pd.DataFrame: # Columns tau, fid, with `per_class` one a label; the smallest FID's is the learner's `tau` now
        "τ* = argmin FID(X̂, X̃'_τ): the temperature whose reconstructions look like the prior's samples X̂."
        if self.prior is None:
            raise RuntimeError("search_tau needs the prior: MapperLearner(dls, tokenizer, prior), or pass tau=")
        table = search_tau(self._reconstruction_fid(self.prior, n, seed, n_kernels), tau_grid, refine)
        self.tau = float(table.tau[table.fid.idxmin()])
        if self._by_class:
            self.class_tau = class_taus(table, self.spec.n_classes, self.tau).to(device_of(self.tokenizer))
        self.tau_table = table.rename(columns=dict(enumerate(self.spec.vocab))).reset_index(drop=True)
        return self.tau_table

    def _reconstruction_fid(self, prior, n, seed, n_kernels):
        device = device_of(self.tokenizer)
        generator = generator_on(device, seed)
        idx = torch.randperm(len(self.data), generator=generator_on('cpu', seed))[:n].numpy()
        lf, hf, _, *real = self.dls.train.rows(idx)
        x, present = real[0], real[1:]
        def shown(made): # with the gaps of real series, as these are filled
            if not present: return made
            there = present[0].repeat(-(-len(made) // len(x)), 1, 1)[:len(made)]
            return fill_gaps(with_gaps(made, there), made.new_tensor(self.spec.mean)[:, None])
        y = class_ids(self.data, self.spec, prior.null_class)[idx].to(device)
        y_gen = y.repeat(-(-n // len(y)))[:n]
        features = RocketFeatures.fit(x, n_kernels=n_kernels).to(device)
        x_gen = torch.cat([self.tokenizer.decode(prior.sample_tokens(part, generator=generator))
                           for part in y_gen.split(ENCODE_ROWS)])
        def reconstruct(z, tau): return self.reconstruct(z, tau, generator)
        return ReconstructionFID(features(shown(x_gen)), y_gen, dict(lf=lf, hf=hf), y, features, reconstruct,
                                 self._by_class, shown)

    @property
    def _by_class(self): return self.per_class and bool(self.spec.vocab)

    def show_tau(self,
        ax=None # matplotlib axes; made by default
    ): # matplotlib axes
        "FID between prior samples and reconstructions against τ."
        if self.tau_table is None or self.tau is None:
            raise RuntimeError("no search has been run: call search_tau() first")
        return plot_tau(self.tau_table, self.tau, ax)

    def real_and_generated(self, batch): return batch.x, batch.x_map

    def shown_pairs(self, n, seed):
        if self.tau is None: self.search_tau()
        lf, hf, *_ = self.dls.train.rows(range(min(n, len(self.data))))
        x_svq = self.reconstruct(dict(lf=lf, hf=hf), generator=generator_on(lf.device, seed))
        return dict(first=x_svq, second=self.model(x_svq), labels=('quantised', 'mapped'))


def check_one_run(
    tokenizer:VQTokenizer, # Stage 1
    prior:MaskedPrior, # Stage 2
    *learners # Of later stages: `PriorLearner`, `MapperLearner`
):
    "ValueError unless later stages learnt from these models."
    others = [learn for learn in learners if learn.tokenizer is not tokenizer]
    others += [learn for learn in learners if getattr(learn, 'prior', None) not in (None, prior)]
    if others:
        raise ValueError("the prior or the mapper was trained on another run's stages; pass the learners of one run")
