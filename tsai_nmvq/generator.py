"""The trained generator: three stages in one object that samples, maps, scores, shows and saves."""
from copy import copy
from pathlib import Path

import pandas as pd
import torch
from fastai.torch_core import default_device
from torch import Tensor

from .anchors import Anchors
from .augment.options import AugmentationChoice
from .augment.trial import choose_augmentation
from .checkpoint import FOUND, Checkpoint, read_checkpoint, resume_checkpoint, write_checkpoint
from .data.intake import SeriesData, ready_array
from .data.spec import SeriesSpec
from .evaluation import generator_scores, shown_sets, split_series
from .mapper_selection import MapperSelection, select_mapper
from .metrics.rocket import RocketFeatures
from .models.mapper import NeuralMapper
from .models.prior import MaskedPrior
from .models.tokenizer import VQTokenizer
from .plots import plot_sets
from .presets import STAGES, preset_of, stage_overrides, stage_schedule
from .report import GeneratorReport, in_one_line
from .rng import check_seed, generator_on
from .sampler import MapperUse, Sampler
from .train.anchors import fit_anchors, starting_from
from .train.fit import FitOptions, fit_stage
from .train.latents import device_of
from .train.mapper import MapperLearner, check_one_run
from .train.prior import PriorLearner
from .train.resume import drop_part
from .train.tokenizer import TokenizerLearner

__all__ = ['NMVQGenerator']

class NMVQGenerator:
    """Learns a data set in three stages and samples series that look like it. [arXiv 2501.17553]

    Series go in and come out in the data's own units, labels as they stand in the data."""
    spec:SeriesSpec                     # Of the training split; None until a stage has been learnt, as the stages
    tokenizer:VQTokenizer               # Stage 1
    prior:MaskedPrior                   # Stage 2
    anchors:Anchors|None                # Tokens of training series that samples start from; None for the prior alone
    mapper:NeuralMapper                 # Stage 3
    tau:float|None                      # Temperature that stage 3 learnt at
    tau_table:pd.DataFrame|None         # How it was found
    mapper_selection:MapperSelection    # Where the mapper is used, and why
    augmentation:AugmentationChoice     # What `NMVQAugment` does by default, and why

    def __init__(self,
        preset:str='fast', # 'fast': good samples in minutes on a laptop; 'paper': the paper's sizes and L1 loss
        device=None, # Where to train and sample; fastai's default device otherwise
        tokenizer:dict=None, # Settings that replace the preset's in `VQTokenizer`; `preset` for another in this stage
        prior:dict=None, # The same for `MaskedPrior`
        mapper:dict=None # The same for `NeuralMapper`
    ):
        self.preset, self.device = preset, torch.device(device or default_device())
        self.settings = dict(tokenizer=tokenizer or {}, prior=prior or {}, mapper=mapper or {})
        for stage, settings in self.settings.items(): stage_schedule(settings.get('preset', preset), stage)
        self._reset()

    def fit(self,
        X, # Series [n, c_in, seq_len] in any container, NaN where values are missing; or tsai DataLoaders
        y=None, # Labels or targets [n], or sets of labels; None to learn without classes
        splits=None, # tsai's splits; only the first part, the training split, is read
        epochs:dict|None=None, # {'tokenizer': 40, 'prior': 40, 'mapper': 20}; the preset's schedule for those left out
        bs:int=None, # Batch size of all stages; the schedule's by default
        seed:int=0, # Seed of the whole fit; the global random state is left alone
        checkpoint=None, # File that keeps finished stages; after a kill the same call goes on, in the epoch it was in
        cbs=None, # fastai callbacks added to each stage's Learner; the checkpoint keeps nothing of what they hold
        y_kind:str=None, # 'classes', 'targets' or 'labels' (several a series); guessed by default
        pad_value:float=None # What stands after the end of shorter series, in all channels; NaN by default
    ):
        "Learn the three stages one after another, with progress bars. Returns self."
        options = FitOptions(epochs, bs, seed, checkpoint, cbs)
        data = SeriesData.from_any(X, y, splits, y_kind=y_kind, pad_value=pad_value)
        self._reset()
        if checkpoint is not None and Path(checkpoint).exists():
            self._take(resume_checkpoint(checkpoint, self.device, data.spec, self.preset, self.settings))
            if 'prior' in self._stages and not self.anchors: self.anchors = fit_anchors(self.sampler, data)
        return self._fit_missing_stages(data, options)

    def refit(self,
        X, # The series that `fit` was given, or DataLoaders
        y=None, # Their labels
        splits=None, # tsai's splits
        from_stage:str='mapper', # This stage and those after it are learnt again: 'tokenizer', 'prior' or 'mapper'
        **options # epochs, bs, seed, checkpoint and cbs of `fit`, which goes on with the checkpoint after a kill
    ):
        "Learn some stages again and keep those before. ValueError for other data. Returns self."
        if from_stage not in STAGES: raise ValueError(f"from_stage is {from_stage!r}, expected one of {list(STAGES)}")
        kinds = dict(y_kind=y is not None and self.spec.conditions.kind or None,
                     pad_value=self.spec.pad_value) if self._stages else {}
        data, fit_options = SeriesData.from_any(X, y, splits, **kinds), FitOptions(**options)
        if self._stages and not self.spec.is_of(data.spec):
            raise ValueError("these are other series than the generator was fitted on; make a new one and call fit")
        self._reset(from_stage)
        fit_options.keep_finished(self._stages, self.save)
        return self._fit_missing_stages(data, fit_options)

    def _fit_missing_stages(self, data, options):
        for learner in (TokenizerLearner, PriorLearner, MapperLearner):
            if learner.stage in self._stages: continue
            self._set_stage(fit_stage(learner, data, *self._stages.values(), settings=self.settings[learner.stage],
                                      preset=self.preset, device=self.device, options=options))
            options.keep_finished(self._stages, self.save)
        if not self.augmentation.is_made:
            self.augmentation = choose_augmentation(self.sampler, data, options.seed)
            options.keep_finished(self._stages, self.save)
        drop_part(options.checkpoint)
        return self

    @classmethod
    def from_learners(cls,
        tokenizer:TokenizerLearner, # Trained stage 1
        prior:PriorLearner, # Trained stage 2
        mapper:MapperLearner=None # Trained stage 3; None samples without a mapper
    ):
        "A generator of stages that you trained yourself. ValueError unless later ones learnt from the earlier ones."
        learners = [learn for learn in (tokenizer, prior, mapper) if learn is not None]
        check_one_run(tokenizer.model, prior.model, *learners[1:])
        preset = preset_of(tokenizer.model)
        settings = {learn.stage: stage_overrides(learn.model, learn.stage, preset) for learn in learners}
        gen = cls(preset, device_of(tokenizer.model), **settings)
        for learn in learners: gen._set_stage(learn)
        gen.augmentation = choose_augmentation(gen.sampler, prior.data)
        return gen

    def with_mapper(self,
        mapper # `NeuralMapper`, used in all classes; `MapperLearner`, used where it helps; None for no mapper
    ) -> 'NMVQGenerator':
        "A generator of the same tokenizer and prior with another mapper. This one stays as it is."
        self._check_fitted('prior')
        gen = copy(self)
        gen._reset('mapper')
        model = getattr(mapper, 'model', mapper)
        gen.settings = self.settings | dict(mapper=stage_overrides(model, 'mapper', self.preset))
        if isinstance(mapper, MapperLearner):
            check_one_run(self.tokenizer, self.prior, mapper)
            gen._set_stage(mapper)
        elif mapper is not None:
            gen.mapper, gen.mapper_selection = mapper.eval().to(self.device), MapperSelection(evidence='given')
        return gen

    def _set_stage(self, learn):
        self.spec = learn.spec
        setattr(self, learn.stage, learn.model.eval())
        if learn.stage == 'prior': self.anchors = fit_anchors(self.sampler, learn.data)
        if learn.stage != 'mapper': return
        self.tau, self.tau_table = learn.tau, learn.tau_table
        self.mapper_selection = select_mapper(starting_from(self.sampler, learn.data), learn.data, learn.holdout)

    def _reset(self, from_stage='tokenizer'):
        for stage in STAGES[STAGES.index(from_stage):]: setattr(self, stage, None)
        if from_stage == 'tokenizer': self.spec = None # type: ignore[assignment]
        if from_stage != 'mapper': self.anchors, self.augmentation = None, AugmentationChoice()
        self.tau, self.tau_table, self.mapper_selection = None, None, MapperSelection()

    def sample(self,
        n:int, # Series to make
        y=None, # A label for all or one each [n]; the training proportions by default
        seed:int=None, # The same seed gives the same samples on the same device
        mapped:bool=True, # The mapper where it helps, see `report`; False leaves it out
        missing:str='like data', # Of data with gaps: 'like data' has gaps and lengths like theirs; 'complete' has none
        **sampling # redraw of `Sampler.sample`; n_steps, choice_temp, cfg_scale of `MaskedPrior.sample_tokens`
    ) -> tuple: # (X [n, c_in, seq_len] float32 in original units, y as in the data or None)
        "Synthetic series and their labels, or targets."
        self._check_fitted('prior')
        generator, sampler = generator_on(self.device, check_seed(seed)), self.sampler
        ids = sampler.class_ids(n, y, generator)
        x, rows = sampler.sample_rows(ids, generator, mapped, **sampling)
        return sampler.finished(x, rows, missing).cpu().numpy(), sampler.labels(ids, rows)

    def sample_like(self,
        xb:Tensor, # Batch [bs, c_in, seq_len]: its size, device and type are matched
        yb:Tensor=None, # Class ids [bs]; the training proportions by default
        vocab=None, # Names of these ids, such as dls.vocab; the generator's own vocab by default
        generator:torch.Generator=None, # Source of randomness on the generator's device
        mapped:bool=True # False leaves the mapper out
    ) -> Tensor: # [bs, c_in, seq_len] on xb's device, original units
        "One synthetic series for each of a batch, of the same class."
        self._taken('prior', xb)
        generator, sampler = generator or generator_on(self.device), self.sampler
        ids = sampler.class_ids(len(xb), None, generator) if yb is None else sampler.matched_ids(yb, vocab)
        return sampler.sample(ids, generator, mapped).to(xb.device, xb.dtype)

    def map(self,
        xb, # Series [n, c_in, seq_len], array, tensor or another container, original units
        seed:int=0 # Seed of the mapper's noise
    ): # Array, or a tensor as xb; what is missing in xb stays missing
        "The neural mapper alone."
        return self.sampler.map(self._taken('mapper', xb), generator_on(self.device, check_seed(seed)))

    def perturb(self,
        xb, # Series [n, c_in, seq_len], array, tensor or another container, original units
        magnitude:float=0.5, # Strength: τ in units of `sampler.code_spacing`; 0 re-quantises to the nearest codes
        generator:torch.Generator=None, # Source of randomness on the generator's device
        mapped:bool=True, # False leaves the mapper out
        y=None # Labels [n]: classes that the mapper skips are not mapped; without them nothing is, where it skips one
    ): # Array, or a tensor as xb; what is missing in xb stays missing
        "The series' own stochastic reconstruction, mapped: another draw that keeps its label or target."
        xb = self._taken('tokenizer', xb)
        ids = None if y is None else torch.as_tensor(self.spec.to_ids(y))
        return self.sampler.perturb(xb, magnitude, generator or generator_on(self.device), mapped, ids)

    @property
    def mapper_use(self) -> MapperUse: return self.mapper_selection.use_for(self.spec) # The same by class ids

    @property
    def sampler(self) -> Sampler:
        "The stages at work, by class ids: what samples, the augmentation and the mapper's selection stand on."
        self._check_fitted('tokenizer')
        return Sampler(self.spec, self.device, self.tokenizer, self.prior, self.mapper, self.mapper_use,
                       self.anchors)

    def _check_fitted(self, stage):
        if stage not in self._stages:
            raise RuntimeError(f"this generator has no {stage} yet: call fit(X, y, splits=splits) first")

    def _taken(self, stage, xb): # -> array or tensor [n, c_in, seq_len]
        self._check_fitted(stage)
        if not isinstance(xb, Tensor): xb = ready_array(xb, self.spec)
        self.spec.check(xb)
        return xb

    def to(self, device):
        "Move all stages. Returns self."
        self.device = torch.device(device)
        self.anchors = self.anchors and self.anchors.to(device)
        for model in self._stages.values(): model.to(self.device)
        return self

    @property
    def _stages(self): return {stage: getattr(self, stage) for stage in STAGES if getattr(self, stage) is not None}

    def report(self) -> GeneratorReport: # Prints as a table and sentences
        "Whether the mapper helps, by FID against training series held out from it; what is added to batches, and why."
        self._check_fitted('mapper')
        return GeneratorReport(self.mapper_selection, self.augmentation)

    def evaluate(self,
        X, # Series [n, c_in, seq_len], original units
        y=None, # Labels [n]; None leaves cFID, IS and TSTR out
        splits=None, # tsai's splits (train, test): samples are compared with the test split
        n:int=None, # Series in each synthetic set; as many as training series by default, so that the floor has equal n
        n_draws:int=3, # Synthetic sets to average over; TSTR is of the first alone, as it trains a classifier on each
        with_tstr:bool=True, # Train classifiers on synthetic data too
        with_statistics:bool=False, # Add TSGBench's scores: MDD, ACD, SD, KD, C-FID, and of the first set DS and PS
        seed:int=0 # Seed of samples, features and classifiers
    ) -> pd.DataFrame: # Rows: 'real (train)' (the floor), 'reconstructed' (train), and `sample_variants`
        """Score samples against the test split at equal n: FID, cFID, IS, TSTR, sharpness, novelty.

        What 'reconstructed' has over the floor is the tokenizer's share of the gap; 'prior alone' starts from nothing.
        FID falls as n grows: compare rows, not tables of different n."""
        self._check_fitted('prior')
        check_seed(seed)
        train, test = split_series(X, y, splits, self.spec)
        return generator_scores(self, train, test, n or len(train.x), seed, n_draws=n_draws, with_tstr=with_tstr,
                                with_statistics=with_statistics)

    def show(self,
        X, # Series [n, c_in, seq_len], original units
        y=None, # Labels [n]
        splits=None, # tsai's splits: the last part is shown, else all series
        seed:int=0, # Seed of the samples
        **plot # n, channel and axs of `plot_sets`
    ): # matplotlib axes [4]
        "Real series, samples before and after the mapper, and all of them as points in the plane of ROCKET features."
        self._check_fitted('prior')
        check_seed(seed)
        sets, labels = shown_sets(self, X, y, splits, seed)
        features = RocketFeatures.fit(sets['real'], seed=seed)
        return plot_sets(sets, {name: features(x) for name, x in sets.items()}, labels, **plot)

    def save(self,
        path # File, usually *.nmvq
    ) -> Path: # Where it is
        "Write one safetensors file, aside and renamed. Nothing in it is executed on load."
        self._check_fitted('tokenizer')
        found = {name: getattr(self, name) for name in FOUND}
        return write_checkpoint(path, Checkpoint(self.preset, self.settings, stages=self._stages, **found))

    @classmethod
    def load(cls,
        path, # File written by `save`
        device=None # Where to put it; fastai's default device otherwise
    ):
        "Read a generator. ValueError if the file is foreign, truncated or newer than this version."
        saved = read_checkpoint(path, torch.device(device or default_device()))
        return cls(saved.preset, device, **saved.settings)._take(saved)

    def _take(self, saved): # a checkpoint's stages and what goes with them
        self._reset()
        for stage, model in saved.stages.items(): setattr(self, stage, model)
        for name in FOUND: setattr(self, name, getattr(saved, name))
        return self

    def __repr__(self):
        return f"NMVQGenerator(preset={self.preset!r}, {in_one_line(self.spec, self._stages, self.tau)})"
