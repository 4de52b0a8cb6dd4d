"""Stage 3: pairs of a reconstruction and its series, samples of the prior beside them, and the loss of both."""
import numpy as np
import pytest
import torch
from stages import SETTINGS, Kept, changed, make, state

from tsai_nmvq.train.losses import MapperLoss


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
    a, b = [b.xb[0] for b in kept.batches if not b.is_training] # the same 30 series, an epoch each
    nearest = tokenizer.decode(tokenizer.encode(kept.batches[-1].yb[0]))
    assert min((a - b).abs().mean(), (a - nearest).abs().mean()) > 0.01 * a.std()


def test_recorded_l1_is_before_and_after_mapping_in_standardised_units(learner):
    learn = learner('mapper', cbs=[kept := Kept('pred', 'stage_batch', 'yb')])
    learn.fit_one_cycle(1, 2e-3)
    recorded = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    b = [b for b in kept.batches if not b.is_training][-1]
    for name, x in dict(l1_before=b.stage_batch.x_svq, l1_after=b.pred).items():
        l1 = float((x - b.yb[0]).abs().mean()) / learn.spec.std[0]
        assert recorded[f'valid_{name}'] == pytest.approx(l1, rel=1e-4)


def test_get_preds_of_the_mapper_are_mapped_series_in_order(dls, trained):
    settings = dict(SETTINGS['mapper'], noise_channels=0)
    learn = make('mapper', dls, trained['tokenizer'].model, tau=0., settings=settings, bs=16)
    for split, n in enumerate((50, 30)):
        x = dls[split].dataset[list(range(n))][0].as_subclass(torch.Tensor)
        preds, targets = learn.get_preds(ds_idx=split)
        mapped = learn.model(learn.reconstruct(learn.tokenizer.latents(x)))
        assert torch.equal(targets, x) and torch.allclose(preds, mapped, atol=1e-4)


# Loss

def test_the_loss_is_in_standardised_units(dls, trained):
    learn = make('mapper', dls, trained['tokenizer'].model, loss='l1')
    x, other = torch.randn(4, 1, 50), torch.randn(4, 1, 50)
    assert float(learn.loss_func(other, x)) == pytest.approx(float((x - other).abs().mean()) / learn.spec.std[0])


def test_an_unknown_loss_is_refused(dls, trained):
    with pytest.raises(ValueError, match="loss is 'mse', expected 'l1' or"):
        make('mapper', dls, trained['tokenizer'].model, loss='mse')


# Samples of the prior

class ClassPrior(torch.nn.Module):
    "A prior with one sample a class: all tokens are the class id."
    null_class = 2
    def __init__(self, tokenizer):
        super().__init__()
        self.tokens, self.weight = tokenizer.n_tokens, torch.nn.Parameter(torch.zeros(1))
        with torch.no_grad(): self.series = tokenizer.decode(self.sample_tokens(torch.arange(2)))
    def sample_tokens(self, y): return {band: y[:, None].expand(-1, n) for band, n in self.tokens.items()}


@pytest.mark.parametrize('loss', [name for name, terms in MapperLoss.WEIGHTS.items() if set(terms) & {'swd', 'gan'}])
def test_unpaired_terms_map_samples_of_the_batchs_classes(dls, trained, loss):
    tokenizer, kept = trained['tokenizer'].model, Kept('xb', 'yb', 'pred', 'stage_batch')
    prior = ClassPrior(tokenizer)
    learn = make('mapper', dls, tokenizer, prior, loss=loss, bs=16, cbs=[kept])
    learn.fit_one_cycle(1, 1e-3)
    for b in kept.batches:
        if not b.is_training:
            assert len(b.xb[0]) == len(b.pred) == len(b.yb[0])
            continue
        assert len(b.xb[0]) == 32 and b.pred.shape == b.yb[0].shape == (16, 1, 50)
        assert torch.allclose(b.xb[0][16:], prior.series[b.stage_batch.y], atol=1e-5)
    assert np.isfinite(np.asarray(learn.recorder.values, dtype=float)).all()


def test_unpaired_terms_train_the_mapper(dls, trained, monkeypatch):
    monkeypatch.setitem(MapperLoss.WEIGHTS, 'none', dict(l1=0.))
    monkeypatch.setitem(MapperLoss.WEIGHTS, 'swd', dict(l1=0., swd=1.))
    moved = {}
    tokenizer = trained['tokenizer'].model
    for loss in ('none', 'swd'):
        learn = make('mapper', dls, tokenizer, ClassPrior(tokenizer), loss=loss, wd=0.)
        before = state(learn.model)
        learn.fit_one_cycle(1, 1e-2)
        moved[loss] = changed(before, state(learn.model))
    assert not moved['none'] and len(moved['swd']) > 10 and learn.recorder.values[0][0] > 0


def test_unpaired_terms_need_a_prior(dls, trained):
    learn = make('mapper', dls, trained['tokenizer'].model, loss='l1+gan')
    with pytest.raises(RuntimeError, match='gan in the loss need the prior'): learn.fit_one_cycle(1, 1e-3)
