"""The trained generator: three stages in one object that samples, maps, scores, shows and saves."""
import json
import math
from pathlib import Path
from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from fastai.torch_core import default_device
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from .data import SeriesData, SeriesSpec, apportion, split_rows
from .files import written_aside
from .learners import MapperLearner, PriorLearner, TokenizerLearner
from .metrics import STATISTICS, RocketFeatures, conditional_fid, fid, fit_classifier, inception_score, memorization, sharpness, trtr, tstr
from .models.mapper import NeuralMapper
from .models.prior import MaskedPrior
from .models.tokenizer import VQTokenizer
from .plots import plot_features, plot_series
from .rng import isolated_rng
from .trial import MapperTrial, nearest_is

__all__ = ['NMVQGenerator', 'SCHEDULES', 'scheduled_epochs']

FORMAT, FORMAT_VERSION, OLDEST_VERSION = 'tsai_nmvq', 4, 3
BEFORE_VERSION_4 = dict(prior=dict(code_emb=False))       # what older files do not say of a stage
PART_LOGITS = dict(cpu=2 ** 22, cuda=2 ** 28)             # of series sampled at a time: on a CPU they stay in its cache
PART_VALUES = dict(cpu=2 ** 20, cuda=2 ** 26)             # of series decoded or mapped at a time: both hold some hundred times as many
TRIAL_SAMPLES = 640, 2048                                 # on which the mapper is tried: as many as training series, between these
TRIAL_VALUES = 2 ** 20                                    # of them at most, where that many are 128 samples or more
STAGES = dict(tokenizer=VQTokenizer, prior=MaskedPrior, mapper=NeuralMapper)
LEARNERS = dict(tokenizer=TokenizerLearner, prior=PriorLearner, mapper=MapperLearner)

SCHEDULES = {   # epochs of at least 24 batches; a bound on the steps for large training splits, and on passes over small ones
    'fast': dict(tokenizer=dict(epochs=40, max_steps=2500, bs=32, lr=2e-3),
                 prior=dict(epochs=320, max_steps=10000, max_passes=600, bs=64, lr=3e-3),
                 mapper=dict(epochs=20, max_steps=1500, bs=32, lr=3e-3)),
    'paper': dict(tokenizer=dict(epochs=60, max_steps=10000, bs=32, lr=1e-3), prior=dict(epochs=120, max_steps=20000, bs=32, lr=1e-3),
                  mapper=dict(epochs=40, max_steps=10000, bs=32, lr=1e-3)),
}


def scheduled_epochs(
    dl, # Training loader of a stage
    n_series:int, # Training series
    epochs:int, # At most
    max_steps:int, # At most, in batches
    max_passes:float=math.inf, # At most, over the training series
    **_ # The rest of an entry of `SCHEDULES`
) -> int: # 1 or more
    "Epochs of a stage."
    return max(1, round(min(epochs, max_steps / len(dl), max_passes * n_series / (len(dl) * dl.bs))))


class NMVQGenerator:
    """Learns a data set in three stages and samples series that look like it. [arXiv 2501.17553]

    Series go in and come out in the data's own units, labels as they stand in the data."""
    def __init__(self,
        preset:str='fast', # 'fast': good samples in minutes on a laptop; 'paper': the paper's sizes and L1 loss
        device=None, # Where to train and sample; fastai's default device otherwise
        tokenizer:dict=None, # Settings that replace the preset's in `VQTokenizer`; `preset` for another preset in this stage alone
        prior:dict=None, # The same for `MaskedPrior`
        mapper:dict=None # The same for `NeuralMapper`
    ):
        self.preset, self.device = preset, torch.device(device or default_device())
        self.settings = dict(tokenizer=tokenizer or {}, prior=prior or {}, mapper=mapper or {})
        for name in (preset, *[s['preset'] for s in self.settings.values() if 'preset' in s]):
            if name not in SCHEDULES: raise ValueError(f"preset is {name!r}, expected one of {sorted(SCHEDULES)}")
        self._forget()

    def _forget(self):
        self.spec = self.tokenizer = self.prior = self.mapper = self.tau = self.tau_table = None
        self.trial = MapperTrial()

    # Fitting

    def fit(self,
        X, # Series [n, c_in, seq_len], or tsai DataLoaders
        y=None, # Labels [n]; None to learn without classes
        splits=None, # tsai's splits; only the first part, the training split, is read
        epochs:dict|None=None, # {'tokenizer': 40, 'prior': 40, 'mapper': 20}; those left out follow the preset's schedule
        bs:int=None, # Batch size of all stages; the schedule's by default
        seed:int=0, # Seed of the whole fit; the global random state is left alone
        checkpoint=None, # File that keeps each finished stage, so that the same call goes on after a kill
        cbs=None # fastai callbacks added to each stage's Learner
    ):
        "Learn the three stages one after another, with progress bars. Returns self."
        data = SeriesData.from_dls(X) if hasattr(X, 'loaders') else SeriesData.from_arrays(X, y, splits)
        epochs = dict(epochs or {})
        wrong = {stage: n for stage, n in epochs.items() if stage not in STAGES or (n is not None and n < 1)}
        if wrong: raise ValueError(f"epochs has {wrong}, expected 1 or more for any of {list(STAGES)}")
        self._resume(checkpoint, data.spec)
        for stage, learner in LEARNERS.items():
            if getattr(self, stage) is not None: continue
            models = [self.tokenizer, self.prior][:list(LEARNERS).index(stage)]
            settings = dict(self.settings[stage])
            preset = settings.pop('preset', self.preset)
            schedule = SCHEDULES[preset][stage]
            with isolated_rng(seed, self.device):                            # one a stage: a resumed fit draws what a whole one does
                learn = learner(data, *models, preset=preset, settings=settings, bs=bs or schedule['bs'], device=self.device, cbs=cbs)
                learn.model.to(self.device)
                learn.fit_one_cycle(epochs.get(stage) or scheduled_epochs(learn.dls.train, len(data), **schedule), schedule['lr'])
            self._adopt(learn)
            if checkpoint is not None: self.save(checkpoint)
        return self

    @classmethod
    def from_learners(cls,
        tokenizer:TokenizerLearner, # Trained stage 1
        prior:PriorLearner, # Trained stage 2
        mapper:MapperLearner=None # Trained stage 3; None samples without a mapper
    ):
        "A generator of stages that you trained yourself."
        gen = cls(tokenizer.model.config.get('preset', 'fast'), next(tokenizer.model.parameters()).device)
        for learn in (tokenizer, prior, mapper):
            if learn is not None: gen._adopt(learn)
        if prior.tokenizer is not tokenizer.model or (mapper is not None and mapper.tokenizer is not tokenizer.model):
            raise ValueError("the prior or the mapper was trained on another tokenizer; pass the learners of one run")
        return gen

    def _adopt(self, learn):
        stage = next(k for k, v in LEARNERS.items() if isinstance(learn, v))
        self.spec = learn.spec
        setattr(self, stage, learn.model.eval())
        if stage == 'mapper': self.tau, self.tau_table, self.trial = learn.tau, learn.tau_table, self._try_mapper(learn)

    @torch.no_grad()
    def _try_mapper(self, learn, most=2048, seed=0):
        if not len(learn.held_back): return MapperTrial()
        n = min(int(np.clip(self.spec.n_series, *TRIAL_SAMPLES)), max(128, TRIAL_VALUES // (self.spec.c_in * self.spec.seq_len)))
        generator = self._generator(seed)
        ids = self._ids(n, None, generator)
        before = self.sample_ids(ids, generator, mapped=False)
        after = self._apply(before, self.mapper, generator)
        rows = np.random.default_rng(seed).permutation(len(learn.data))[:most]
        seen, held = (data.series(idx).to(self.device) for data, idx in
                      ((learn.data, rows), (learn.held_back, np.arange(len(learn.held_back)))))
        # The prior has seen held-back series, and may copy them; the mapper has not
        fresh = ~nearest_is(before, seen, held) if len(learn.data) <= most else torch.ones_like(ids, dtype=torch.bool)
        if 2 * fresh.sum() < n: fresh = torch.ones_like(fresh)               # a crowd in one place, not copies: all of it is tried
        labels = [self.spec.to_labels(v) if self.spec.vocab else None for v in (learn.held_back.y, ids[fresh].cpu().numpy())]
        features = RocketFeatures.fit(seen[:n], seed=seed).to(self.device)
        return MapperTrial.run(held, labels[0], before[fresh], after[fresh], labels[1], features, seen)

    def _resume(self, checkpoint, spec):
        if checkpoint is None or not Path(checkpoint).exists(): return self._forget()
        saved = type(self).load(checkpoint, device=self.device)
        if (saved.spec, saved.preset, json.dumps(saved.settings)) != (spec, self.preset, json.dumps(self.settings)):
            raise ValueError(f"{checkpoint} was made from other data or with other settings; delete it or choose another checkpoint file")
        self.__dict__.update(saved.__dict__)

    # Sampling

    def sample(self,
        n:int, # Series to make
        y=None, # A label for all or one each [n]; the training proportions by default
        seed:int=None, # The same seed gives the same samples on the same device
        mapped:bool=True, # The mapper where its trial found that it helps, see `report`; False leaves it out
        **sampling # n_steps, choice_temp, cfg_scale of `MaskedPrior.sample_tokens`
    ) -> tuple: # (X [n, c_in, seq_len] float32 in original units, y [n] labels or None)
        "Synthetic series and their labels."
        self._check_fitted('prior')
        if n != int(n) or n < 0: raise ValueError(f"n is {n}, expected a whole number of 0 or more")
        generator = self._generator(seed)
        ids = self._ids(int(n), y, generator)
        X = self.sample_ids(ids, generator, mapped, **sampling).cpu().numpy()
        return X, self.spec.to_labels(ids.cpu().numpy()) if self.spec.vocab else None

    def sample_like(self,
        xb:Tensor, # Batch [bs, c_in, seq_len]: its size, device and type are matched
        yb:Tensor=None, # Class ids [bs]; the training proportions by default
        vocab=None, # Names of these ids, such as dls.vocab; the generator's own vocab by default
        generator:torch.Generator=None, # Source of randomness on the generator's device
        mapped:bool=True # False leaves the mapper out
    ) -> Tensor: # [bs, c_in, seq_len] on xb's device, original units
        "One synthetic series for each of a batch, of the same class."
        self._check_fitted('prior')
        self.spec.check(xb)
        generator = generator or self._generator(None)
        if yb is None: ids = self._ids(len(xb), None, generator)
        elif vocab is None:
            ids = torch.as_tensor(yb).long()
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.spec.n_classes:
                raise ValueError(f"class ids run from {int(ids.min())} to {int(ids.max())}, "
                                 f"the generator has {self.spec.n_classes} classes")
        else: ids = torch.as_tensor(self.spec.to_ids([vocab[i] for i in yb.tolist()]))
        return self.sample_ids(ids.to(self.device), generator, mapped).to(xb.device, xb.dtype)

    @torch.no_grad()
    def sample_ids(self,
        ids:Tensor, # Class ids [n] on the generator's device; the null class for unconditional
        generator:torch.Generator, # Source of randomness on the generator's device
        mapped:bool=True, # False leaves the mapper out
        **sampling # n_steps, choice_temp, cfg_scale
    ) -> Tensor: # Series [n, c_in, seq_len] on the generator's device, original units
        "Tokens from the prior, decoded and mapped."
        out = [torch.empty(0, self.spec.c_in, self.spec.seq_len, device=self.device)]
        for part in ids.split(self._part_rows) if len(ids) else ():
            x = self.tokenizer.decode(self.prior.sample_tokens(part, generator=generator, **sampling))
            out.append(self._mapped(x, part, generator) if mapped else x)
        return torch.cat(out)

    def _mapped(self, x, ids, generator): # only where the mapper's trial found that it helps
        if not self._maps: return x
        x_map, left_out = self.mapper(x, generator), self.trial.left_out
        if not left_out: return x_map
        keep = torch.isin(ids, torch.as_tensor(self.spec.to_ids(left_out), device=ids.device))
        return torch.where(keep[:, None, None], x, x_map)

    @property
    def _maps(self): return self.mapper is not None and self.trial.helps

    @torch.no_grad()
    def map(self,
        xb, # Series [n, c_in, seq_len], array or tensor, original units
        seed:int=0 # Seed of the mapper's noise
    ): # The same kind as xb
        "The neural mapper alone."
        self._check_fitted('mapper')
        self.spec.check(xb)
        return self._apply(xb, lambda x, generator: self.mapper(x, generator), self._generator(seed))

    @torch.no_grad()
    def perturb(self,
        xb, # Series [n, c_in, seq_len], array or tensor, original units
        magnitude:float=0.5, # Strength: τ in units of `tau_unit`; 0 re-quantises to the nearest codes
        generator:torch.Generator=None, # Source of randomness on the generator's device
        mapped:bool=True # False leaves the mapper out
    ): # The same kind as xb
        "The series' own stochastic reconstruction, mapped back: another draw that keeps its label or target."
        self._check_fitted('tokenizer')
        self.spec.check(xb)
        def once(x, generator):
            x = self.tokenizer.decode(self.tokenizer.encode(x, magnitude * self.tau_unit, generator))
            return self.mapper(x, generator) if mapped and self._maps else x
        return self._apply(xb, once, generator or self._generator(None))

    @torch.no_grad()
    def _reconstructed(self, x): # [n, c_in, seq_len] -> the same kind, from nearest codes
        return self._apply(x, lambda part, _: self.tokenizer.decode(self.tokenizer.encode(part)), None)

    @property
    def tau_unit(self) -> float: # Squared latent distance
        "Median squared distance of a used code to its nearest neighbour: at this τ a neighbour is drawn about as often as the code itself."
        return float(torch.cat([q.neighbour_distance() for q in self.tokenizer.quantizers.values()]).median())

    @property
    def _part_rows(self): # series at a time
        kind, values = self.device.type, self.spec.c_in * self.spec.seq_len
        logits = max(n * self.tokenizer.codebook_size[band] for band, n in self.tokenizer.n_tokens.items())
        return max(16, min(1024, PART_LOGITS.get(kind, 2 ** 24) // logits, PART_VALUES.get(kind, 2 ** 22) // values))

    def _apply(self, xb, func, generator):
        x = torch.as_tensor(xb) if isinstance(xb, np.ndarray) else xb
        parts = [func(part.to(self.device).float(), generator) for part in x.split(self._part_rows)] if len(x) else [x]
        out = torch.cat(parts).to(x.device, x.dtype)
        return out.numpy() if isinstance(xb, np.ndarray) else out

    def _ids(self, n, y, generator):
        if not self.spec.vocab:
            if y is not None: raise ValueError("this generator was fitted without labels: leave y out")
            return torch.full((n,), self.prior.null_class, device=self.device)
        if y is None:
            ids = np.repeat(np.arange(self.spec.n_classes), apportion(self.spec.proportions, n))
            order = torch.randperm(n, generator=generator, device=self.device)
            return torch.as_tensor(ids, device=self.device)[order]
        ids = self.spec.to_ids(y)
        if np.ndim(y) == 0: ids = np.repeat(ids, n)
        if len(ids) != n: raise ValueError(f"y has {len(ids)} labels for n = {n}; pass one label or one each")
        return torch.as_tensor(ids, device=self.device)

    def _generator(self, seed):
        generator = torch.Generator(self.device)
        if seed is None: generator.seed()
        else: generator.manual_seed(seed)
        return generator

    def _check_fitted(self, stage):
        if getattr(self, stage) is None: raise RuntimeError(f"this generator has no {stage} yet: call fit(X, y, splits=splits) first")

    def to(self,
        device # torch device
    ):
        "Move all stages. Returns self."
        self.device = torch.device(device)
        for stage in STAGES:
            if getattr(self, stage) is not None: getattr(self, stage).to(self.device)
        return self

    # Looking at it

    def report(self) -> MapperTrial: # Prints as a table, and a sentence for each warning
        "Whether the mapper helps, by FID against training series held back from it: overall and for each class. It is left out elsewhere."
        self._check_fitted('mapper')
        return self.trial

    def _variants(self): # names of the samples there are, and whether they are mapped
        return (('before mapper', False), ('after mapper', True))[:1 + (self.mapper is not None)]

    def evaluate(self,
        X, # Series [n, c_in, seq_len], original units
        y=None, # Labels [n]; None leaves cFID, IS and TSTR out
        splits=None, # tsai's splits (train, test): samples are compared with the test split
        n:int=None, # Series in each synthetic set; as many as the training split has by default, so that the floor has equal n
        n_draws:int=3, # Synthetic sets to average over; TSTR is of the first alone, as it trains a classifier on each
        with_tstr:bool=True, # Train classifiers on synthetic data too
        with_statistics:bool=False, # Add the four differences of statistics after TSGBench: MDD, ACD, SD, KD
        seed:int=0 # Seed of samples, features and classifiers
    ) -> pd.DataFrame: # Rows: 'real (train)' is the floor, 'reconstructed' (train), 'before mapper', 'after mapper'
        """Score samples against the test split at equal n: FID, cFID, IS, TSTR, sharpness, memorization.

        What 'reconstructed' has over the floor is the tokenizer's share of the gap, what 'before mapper' has over it the prior's.
        FID falls as n grows: compare rows, not tables of different n."""
        self._check_fitted('prior')
        parts = [split_rows(split, len(X)) for split in (() if splits is None else splits[:2])]
        if len(parts) < 2 or min(map(len, parts)) < 2:
            raise ValueError("evaluate compares with a test split: pass splits=(train, test) with two series or more in each")
        train, test = parts
        labels = None if y is None or not self.spec.vocab else np.asarray(y)
        real, held = np.asarray(X[train]), np.asarray(X[test])
        features = RocketFeatures.fit(real, seed=seed)
        held_features = features(held)
        classifier = None if labels is None else fit_classifier(real, labels[train], seed=seed)
        def score(x, y_x, tstr_of=None):
            x_features = features(x)
            row = dict(FID=fid(held_features, x_features))
            if labels is not None:
                row['cFID'] = conditional_fid(held_features, labels[test], x_features, y_x)
                row['IS'] = inception_score(x, classifier)
                if with_tstr and tstr_of: row['TSTR'] = tstr_of(x, y_x, held, labels[test], seed=seed)
            row['sharpness'] = sharpness(held, x)
            if with_statistics: row.update({name: difference(held, x) for name, difference in STATISTICS.items()})
            return row
        train_labels = None if labels is None else labels[train]
        rows = {'real (train)': score(real, train_labels, trtr), 'reconstructed': score(self._reconstructed(real), train_labels)}
        for name, mapped in self._variants():
            if mapped and not self._maps:                                    # left out: the same samples once more
                rows[name] = rows['before mapper']
                continue
            draws = []
            for i in range(n_draws):
                x, y_x = self.sample(n or len(train), seed=seed + i, mapped=mapped)
                draws.append({**score(x, y_x, None if i else tstr), 'memorization': memorization(real, held, x)})
            rows[name] = pd.DataFrame(draws).mean().to_dict()
        return pd.DataFrame.from_dict(rows, orient='index')

    def show(self,
        X, # Series [n, c_in, seq_len], original units
        y=None, # Labels [n]
        splits=None, # tsai's splits: the last part is shown, else all series
        axs=None, # Four matplotlib axes; made by default
        n:int=20, # Series in each of the first three
        channel:int=0, # Channel in the first three
        seed:int=0 # Seed of the samples
    ): # matplotlib axes [4]
        "Real series, samples before and after the mapper, and all three as points in the plane of their ROCKET features."
        self._check_fitted('prior')
        if axs is None: axs = plt.subplots(1, 4, figsize=(17, 3.2), layout='constrained')[1]
        rows = np.arange(len(X)) if splits is None else split_rows(splits[-1], len(X))
        rows = np.random.default_rng(seed).permutation(rows)[:200]
        labels = None if y is None or not self.spec.vocab else np.asarray(y)[rows]
        real = np.asarray(X[rows])
        sets = {'real': real}
        for name, mapped in self._variants():
            sets[name] = self.sample(len(rows), labels, seed=seed, mapped=mapped)[0]
        low, high = real[:n, channel].min(), real[:n, channel].max()
        ylim = low - 0.2 * (high - low), high + 0.2 * (high - low)
        for ax, (name, x) in zip(axs, sets.items()):
            plot_series(x[:n], None if labels is None else labels[:n], channel, ax, title=name, ylim=ylim)
        features = RocketFeatures.fit(real, seed=seed)
        plot_features({name: features(x) for name, x in sets.items()}, axs[3])
        return axs

    # Files

    def save(self,
        path # File, usually *.nmvq
    ) -> Path: # Where it is
        "Write one safetensors file, aside and renamed. Nothing in it is executed on load."
        self._check_fitted('tokenizer')
        stages = {stage: getattr(self, stage) for stage in STAGES if getattr(self, stage) is not None}
        tensors = {f'{stage}.{k}': v.contiguous() for stage, model in stages.items() for k, v in model.state_dict().items()}
        header = dict(preset=self.preset, settings=self.settings, config={k: m.config for k, m in stages.items()},
                      spec=self.spec.to_dict(), tau=self.tau, trial=self.trial.to_dict(),
                      tau_table=None if self.tau_table is None else self.tau_table.to_dict('list'))
        path = Path(path)
        with written_aside(path) as aside:
            # not save_file, which leaves a file that only its owner can read
            metadata = dict(format=FORMAT, format_version=str(FORMAT_VERSION), generator=json.dumps(header))
            aside.write_bytes(safetensors_bytes(tensors, metadata))
        return path

    @classmethod
    def load(cls,
        path, # File written by `save`
        device=None # Where to put it; fastai's default device otherwise
    ):
        "Read a generator. ValueError if the file is foreign, truncated or newer than this version."
        path = Path(path)
        if not path.exists(): raise FileNotFoundError(f"there is no file {path}")
        try:
            with safe_open(path, 'pt') as f:
                meta = f.metadata() or {}
                tensors = {k: f.get_tensor(k) for k in f.keys()} if meta.get('format') == FORMAT else {}
            version = int(meta.get('format_version', 0))
        except (SafetensorError, OSError, ValueError) as e:
            raise ValueError(f"{path} is not a generator file, or it is cut short ({e}); save it again with gen.save()") from e
        if meta.get('format') != FORMAT:
            raise ValueError(f"{path} is a safetensors file, but not one of tsai_nmvq; load one written by gen.save()")
        if version > FORMAT_VERSION:
            raise ValueError(f"{path} has format version {version}, this tsai_nmvq reads up to {FORMAT_VERSION}; "
                             "update tsai_nmvq")
        if version < OLDEST_VERSION:
            raise ValueError(f"{path} has format version {version}, from before version {OLDEST_VERSION}; "
                             "fit the generator again")
        try:
            header = json.loads(meta['generator'])
            gen = cls(header['preset'], device, **header['settings'])
            gen.spec, gen.tau = SeriesSpec.from_dict(header['spec']), header['tau']
            gen.trial = MapperTrial.from_dict(header['trial'])
            if header['tau_table'] is not None:                              # JSON has no keys but strings: labels are put back
                gen.tau_table = pd.DataFrame(header['tau_table']).rename(columns={str(v): v for v in gen.spec.vocab or ()})
            for stage, config in header['config'].items():
                if version < 4: config = {**BEFORE_VERSION_4.get(stage, {}), **config}
                with isolated_rng(None): model = STAGES[stage](**config)     # first weights are drawn, and replaced
                model.load_state_dict({k.split('.', 1)[1]: v for k, v in tensors.items() if k.startswith(f'{stage}.')})
                setattr(gen, stage, model.eval().to(gen.device))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as e:
            reason = shorten(str(e), 200, placeholder=' ...')
            raise ValueError(f"{path} is damaged: its header and its weights do not fit ({reason}); save it again with gen.save()") from e
        return gen

    def __repr__(self):
        if self.spec is None: return f"NMVQGenerator(preset={self.preset!r}, not fitted)"
        classes = f"{self.spec.n_classes} classes" if self.spec.vocab else 'no labels'
        stages = ', '.join(stage for stage in STAGES if getattr(self, stage) is not None)
        tau = None if self.tau is None else float(f'{self.tau:.3g}')
        return (f"NMVQGenerator(preset={self.preset!r}, c_in={self.spec.c_in}, seq_len={self.spec.seq_len}, {classes}, "
                f"{self.spec.n_series} training series, stages: {stages}, tau={tau})")
