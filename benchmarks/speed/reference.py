"""Section 'reference': training steps and sampling beside the authors' package, in one process, in turn."""
from functools import partial

import pandas as pd
import torch

from tsai_nmvq.rng import generator_on

from ..common.records import keep
from ..common.timing import alternate
from .authors import Reference, is_installed
from .stages import (
    BS,
    LENGTHS,
    N_CLASSES,
    N_SAMPLES,
    STEPS,
    anchored_sampler,
    decoded_samples,
    random_data,
    sample_labels,
    train_steps,
    trained_stages,
)

__all__ = ['measure']

PRESETS = ('paper', 'fast')
COMMAND = 'python -m benchmarks.speed --sections reference'


def measure(
    device='cpu' # Where to train and sample
):
    "Two tables: times, and sizes."
    if not is_installed():
        return print("reference: skipped, timevqvae is not installed (benchmarks/speed/authors.py says how)")
    times, sizes = [], []
    for seq_len in LENGTHS:
        pair = SideBySide(seq_len, device)
        times.append(pair.times())
        sizes.append(pair.sizes())
    keep('speed_reference', pd.concat(times), 'Against timevqvae', COMMAND,
         f"Batch {BS}, random walks, medians of rounds in turn. Our steps are `Learner.fit` with metrics and "
         "callbacks; the reference's are its README's calls with AdamW. `paper` has the reference's widths, layers, "
         "codes and decoding steps, `fast` is our default. `gen.sample` starts from anchors by default; the other "
         "samples are the prior's alone, as the reference's.")
    keep('speed_sizes', pd.concat(sizes), 'Sizes', COMMAND,
         f'Trainable parameters, tokens a series, and codes for {2 * BS} series; the reference has no stage 3.')


class SideBySide:
    "The reference and our presets on series of one length."
    def __init__(self,
        seq_len:int, # Steps
        device # Where to train and sample
    ):
        torch.manual_seed(0)
        data = random_data(2 * BS, seq_len)
        self.data, self.seq_len, self.device = data, seq_len, device
        self.x = data.series(range(BS)).to(device)
        self.y = torch.as_tensor(data.y[:BS], device=device)
        self.y_gen = sample_labels(device)
        self.reference = Reference(seq_len, N_CLASSES, device=device)
        self.own = {preset: trained_stages(data, preset, device) for preset in PRESETS}

    def times(self) -> pd.DataFrame: # A row for each thing that is done
        "Milliseconds of all, and how many times longer the reference takes."
        ref, t = self.reference, {}
        t['stage 1, step'] = self._in_turn(
            lambda: _repeat(ref.tokenizer_step, self.x), lambda tok, pri: train_steps(tok)) / STEPS
        ref.start_prior()
        t['stage 2, step'] = self._in_turn(
            lambda: _repeat(ref.prior_step, self.x, self.y), lambda tok, pri: train_steps(pri)) / STEPS
        for tok, pri, _ in self.own.values():
            tok.model.eval()
            pri.model.eval()
        t[f'{N_SAMPLES} token samples'] = self._in_turn(
            lambda: ref.sample_tokens(self.y_gen), lambda tok, pri: pri.model.sample_tokens(self.y_gen), 5)
        t[f'{N_SAMPLES} series'] = self._in_turn(
            lambda: ref.sample(self.y_gen), lambda tok, pri: decoded_samples(tok, pri, self.y_gen), 5)
        samplers = {tok: anchored_sampler(self.data, tok, pri) for tok, pri, _ in self.own.values()}
        source = generator_on(self.device, 0)
        t[f'{N_SAMPLES} series from anchors'] = self._in_turn(
            lambda: ref.sample(self.y_gen), lambda tok, pri: samplers[tok].sample(self.y_gen, source), 5)
        return pd.DataFrame([self._row(what, seconds) for what, seconds in t.items()])

    def _in_turn(self, theirs, ours, rounds=7): # ours(tok, pri) -> median seconds by model
        own = {preset: partial(ours, tok, pri) for preset, (tok, pri, _) in self.own.items()}
        return alternate({'reference': theirs, **own}, rounds, device=self.device)

    def _row(self, what, seconds):
        return {'seq_len': self.seq_len, 'what': what, **{f'{model}, ms': 1000 * s for model, s in seconds.items()},
                **{f'reference / {preset}': seconds['reference'] / seconds[preset] for preset in self.own}}

    def sizes(self) -> pd.DataFrame: # A row a model
        "Sizes of all, once `times` has begun the reference's stage 2."
        own = {preset: own_sizes(*learners) for preset, learners in self.own.items()}
        sizes = {'reference': self.reference.sizes(), **own}
        return pd.DataFrame([{'seq_len': self.seq_len, 'model': model, **size} for model, size in sizes.items()])


def own_sizes(
    tok, # TokenizerLearner
    pri, # PriorLearner
    mapr # MapperLearner
) -> dict[str, int]: # As `Reference.sizes`
    "Trainable numbers, tokens and codes of ours."
    return dict(tokenizer=tok.model.n_params, prior=pri.model.n_params, mapper=mapr.model.n_params,
                **{f'{band}_tokens': n for band, n in tok.model.n_tokens.items()},
                **{f'{band}_codes': n for band, n in tok.model.codebook_size.items()})


def _repeat(step, *args):
    for _ in range(STEPS): step(*args)
