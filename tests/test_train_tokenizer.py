"""Stage 1: what is recorded of a tokenizer, and which of its codes may be drawn."""
import pytest
import torch
from fastai.callback.core import Callback
from stages import Kept, make

from tsai_nmvq.models.bands import BANDS


def test_training_lowers_the_reconstruction_error(dls):
    learn = make('tokenizer', dls, min_steps=16)
    learn.fit_one_cycle(4, 5e-3)
    first, last = (learn.recorder.values[i][0] for i in (0, -1))
    assert last < 0.6 * first


def test_recorded_perplexity_and_usage_are_those_of_the_validation_series(learner, dls):
    learn = learner('tokenizer', cbs=[kept := Kept('pred')])
    learn.fit_one_cycle(2, 2e-3)
    recorded = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    last = [b.pred['tokens'] for b in kept.batches if not b.is_training][-1] # 30 series are one batch
    for band in BANDS:
        share = torch.bincount(last[band].flatten()).double() / last[band].numel()
        share = share[share > 0]
        perplexity = float((-share * share.log()).sum().exp())
        assert recorded[f'valid_{band}_perplexity'] == pytest.approx(perplexity, rel=1e-4)
        assert recorded[f'valid_{band}_usage'] == pytest.approx(len(share) / learn.model.codebook_size[band])


def test_recorded_reconstruction_error_is_that_of_the_bands(learner):
    learn = learner('tokenizer', cbs=[kept := Kept('pred')])
    learn.fit_one_cycle(1, 2e-3)
    recorded = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    out = [b.pred for b in kept.batches if not b.is_training][-1]
    error = {band: out['series'][band] - out['target'][band] for band in BANDS}
    assert recorded['valid_lf_mse'] == pytest.approx(float(error['lf'].square().mean()), rel=1e-4)
    assert recorded['valid_hf_l1'] == pytest.approx(float(error['hf'].abs().mean()), rel=1e-4)


# Which codes may be drawn

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
    watch = Callback(before_validate=lambda cb: in_validation.append(used(cb).clone()))
    learn = make('tokenizer', dls, cbs=watch)
    learn.lr_find(num_it=5, show_plot=False) # of the random codebook nearly none are used
    assert not used(learn).all()
    learn.fit_one_cycle(1, 2e-3)
    assert in_validation[-1].all() and not used(learn).all()


def test_dead_codes_wait_no_longer_than_an_epoch(learner):
    learn = learner('tokenizer', min_steps=4)
    learn.fit_one_cycle(1, 1e-3)
    assert {q.patience for q in learn.model.quantizers.values()} == {4}
