"""What the stages' Learners share: what they record, what they leave alone, and what they never see."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from bf16 import CPUBF16
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from stages import (
    STAGES,
    Kept,
    assert_same,
    assert_same_generator,
    changed,
    fit,
    gunpoint_loaders,
    make,
    random_states,
    state,
    train_all,
)
from tsai.basics import TSClassification, TSStandardize, get_ts_dls

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.data.rows import Rows
from tsai_nmvq.metrics.frechet import fid
from tsai_nmvq.metrics.rocket import RocketFeatures
from tsai_nmvq.presets import SCHEDULES, StageSchedule
from tsai_nmvq.train.stage import FIDMetric, StageLearner

METRICS = dict(tokenizer=['lf_mse', 'hf_l1', 'lf_perplexity', 'lf_usage', 'hf_perplexity', 'hf_usage'],
               prior=['lf_loss', 'hf_loss', 'lf_accuracy', 'hf_accuracy'], mapper=['l1_before', 'l1_after'])


# Ordinary Learners

@pytest.mark.parametrize('stage', STAGES)
def test_the_recorder_holds_what_one_watches(trained, stage):
    recorder, names = trained[stage].recorder, ['loss', *METRICS[stage]]
    columns = [f'{split}_{name}' for split in ('train', 'valid') for name in names]
    assert recorder.metric_names == ['epoch', *columns, 'time']
    assert np.isfinite(np.asarray(recorder.values, dtype=float)).all()


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
    learn = learner(stage, cbs=[precision()]) # fp16 falls back to float32 on a CPU
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
        order = 55 # before SaveModelCallback
        def __init__(self): self.states = []
        def after_epoch(self): self.states.append(state(self.model))
    snapshots = Snapshots()
    stopping = EarlyStoppingCallback(min_delta=100, patience=2)
    learn = learner(stage, cbs=[stopping, SaveModelCallback(fname='best'), CSVLogger(), snapshots])
    learn.fit_one_cycle(5, 2e-3)
    log, column = pd.read_csv(tmp_path/'history.csv'), learn.recorder.metric_names.index('valid_loss') - 1
    losses = [values[column] for values in learn.recorder.values]
    assert len(losses) == len(log) == 3 # none is better by 100
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
    x = dls.valid.dataset[list(range(30))][0].as_subclass(torch.Tensor)
    rows = learn.dls.valid.rows(np.arange(30))[0] if stage == 'prior' else x
    assert len(kept.batches) == 2 and torch.equal(taken, rows)


@pytest.mark.parametrize('stage', STAGES)
def test_a_small_training_split_is_passed_over_until_min_steps(learner, stage):
    learn = learner(stage, min_steps=5, bs=20, cbs=[kept := Kept('xb', 'yb')])
    learn.fit_one_cycle(1, 1e-3)
    sizes = [len(b.xb[1] if stage == 'prior' else b.yb[0]) for b in kept.batches if b.is_training]
    assert sizes == [20] * 5
    if stage != 'prior':
        seen = torch.cat([b.yb[0] for b in kept.batches if b.is_training])[:, 0]
        assert sorted(seen.unique(dim=0, return_counts=True)[1].tolist()) == [2] * 50 # every series twice in 100 rows


@pytest.mark.parametrize('stage', STAGES)
def test_show_results_returns_axes(trained, stage):
    plt.close('all')
    axs = trained[stage].show_results(n=3)
    assert len(axs) == 3 and all(len(ax.lines) == (1 if stage == 'prior' else 2) for ax in axs)
    own = plt.subplots(1, 2)[1]
    assert all(a is b for a, b in zip(trained[stage].show_results(n=2, axs=own), own))


# The preset's schedule

class Watched(Callback):
    "Epochs and the highest learning rate of a fit."
    def before_fit(self): self.epochs, self.highest_lr = self.n_epoch, 0.

    def after_batch(self):
        if self.training: self.highest_lr = max(self.highest_lr, self.opt.hypers[-1]['lr'])


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('given', [dict(), dict(epochs=2), dict(lr=0.01)], ids=str)
def test_fit_schedule_trains_as_long_and_as_fast_as_the_preset_says(learner, monkeypatch, stage, given):
    schedule = StageSchedule(epochs=3, max_steps=1000, bs=25, lr=0.02)
    monkeypatch.setitem(SCHEDULES['fast'], stage, schedule)
    learn = learner(stage, min_steps=10, cbs=[watched := Watched()])
    assert learn.dls.train.bs == 25 and learn.scheduled_epochs == 3
    assert learn.fit_schedule(**given) is learn
    assert watched.epochs == given.get('epochs', 3)
    assert watched.highest_lr == pytest.approx(given.get('lr', 0.02), rel=0.01)


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('preset', SCHEDULES)
def test_the_batch_size_is_the_presets_by_default(dls, trained, stage, preset):
    models = trained['tokenizer'].model, trained['prior'].model
    learn = make(stage, dls, *models, preset=preset, model=trained[stage].model)
    assert learn.dls.train.bs == SCHEDULES[preset][stage].bs
    assert make(stage, dls, *models, preset=preset, model=trained[stage].model, bs=7).dls.train.bs == 7


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


# FID as a metric

@pytest.mark.parametrize('stage', STAGES)
def test_fid_of_what_each_stage_makes_of_the_validation_split(learner, dls, stage):
    learn = learner(stage, bs=20, metrics=[FIDMetric(n_kernels=100)]) # two batches of validation series
    learn.fit_one_cycle(2, 1e-3)
    fids = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    assert fids['train_fid'] is None and fids['valid_fid'] > 0
    learn.model.eval()
    x = dls.valid.dataset[list(range(30))][0].as_subclass(torch.Tensor)
    features = RocketFeatures(1, 50, 100)
    features.standardizer.set(learn.spec.mean, learn.spec.std)
    if stage == 'tokenizer':
        with torch.no_grad(): assert fids['valid_fid'] == pytest.approx(fid(x, learn.model(x)['x'], features), rel=0.05)


def test_fid_leaves_the_random_state_of_training_alone(learner):
    states = []
    for metrics in ([], [FIDMetric(n_kernels=50)]):
        torch.manual_seed(0)
        learner('prior', metrics=metrics).fit_one_cycle(2, 1e-3)
        states.append(torch.rand(1))
    assert torch.equal(*states)


@pytest.mark.parametrize('stage', STAGES)
def test_fid_takes_a_function_of_the_batch(learner, dls, stage):
    x, batches = dls.valid.dataset[list(range(30))][0].as_subclass(torch.Tensor), []
    def real_and_generated(batch):
        rows = slice(20 * len(batches), 20 * len(batches) + 20)
        batches.append(batch)
        return x[rows], x[rows].flip(-1)
    learn = learner(stage, bs=20, metrics=[FIDMetric(real_and_generated, 100)])
    recorded = learn.validate()[1]
    features = RocketFeatures(1, 50, 100)
    features.standardizer.set(learn.spec.mean, learn.spec.std)
    assert recorded == pytest.approx(fid(x, x.flip(-1), features), rel=1e-4)
    taken = torch.cat([batch.tokens['lf'] if stage == 'prior' else batch.x for batch in batches])
    assert torch.equal(taken, learn.dls.valid.rows(np.arange(30))[0] if stage == 'prior' else x)


def test_fid_of_a_stage_that_says_nothing_asks_for_a_function(dls):
    class Shift(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.by = torch.nn.Parameter(torch.zeros(1))
        def forward(self, x): return x + self.by
    class ShiftLearner(StageLearner): stage = 'tokenizer'
    x = torch.randn(20, 1, 50)
    rows, spec = Rows.of_tensors(x, x), SeriesData.from_arrays(x.numpy()).spec
    def learner(metric): return ShiftLearner(rows, rows, spec, Shift(), loss_func=F.l1_loss, metrics=[metric])
    with pytest.raises(NotImplementedError, match=r'ShiftLearner .*FIDMetric\(function of the batch\)'):
        learner(FIDMetric()).validate()
    assert learner(FIDMetric(lambda batch: (x, x))).validate()[1] == pytest.approx(0, abs=1e-4)


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
    assert len(axs[0].lines) == 12 # each channel, quantised and mapped


def test_series_data_alone_is_enough(dls):
    X = dls.train.dataset[list(range(50))][0].as_subclass(torch.Tensor).numpy()
    learners = train_all(SeriesData.from_arrays(X))
    assert learners['tokenizer'].recorder.metric_names == ['epoch', 'train_loss', *METRICS['tokenizer'], 'time']


# Training that goes wrong

class Poison(Callback):
    "Makes the loss of one stage no number, from its second epoch on."
    def __init__(self, stage): self.stage = stage

    def after_loss(self):
        if self.learn.stage == self.stage and self.epoch: self.learn.loss_grad = self.loss_grad * torch.nan


@pytest.mark.parametrize('stage', STAGES)
def test_a_training_that_diverges_ends_with_a_sentence(data, stage, tmp_path):
    before = random_states()
    with pytest.raises(RuntimeError, match=f'the loss of the {stage} is nan in epoch 2: its training has diverged'):
        fit(*data, epochs=(3, 3, 3), cbs=[Poison(stage)], checkpoint=tmp_path/'gen.nmvq')
    assert random_states() == before
    assert_same_generator(fit(*data, epochs=(3, 3, 3), checkpoint=tmp_path/'gen.nmvq'), fit(*data, epochs=(3, 3, 3)))
