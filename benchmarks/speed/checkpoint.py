"""Section 'checkpoint': what it costs to keep a stage's epochs."""
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.train import resume
from tsai_nmvq.train.fit import FitOptions, fit_stage
from tsai_nmvq.train.prior import PriorLearner
from tsai_nmvq.train.tokenizer import TokenizerLearner

from ..common.data import read_set
from ..common.records import keep
from ..common.timing import alternate

__all__ = ['measure']

TOKENIZER_EPOCHS = 10
VARIANTS = {'without': (False, {}), 'with': (True, {}), 'after each epoch': (True, dict(PERIOD=0., SHARE=float('inf')))}


def measure(
    epochs=None, # Of the prior; the preset's by default
    rounds=3, # Fits of each variant, in turn
    device='cpu' # Where to train
):
    "One table: the prior, whose epochs are the shortest, with and without a checkpoint."
    data = SeriesData.from_arrays(*read_set('GunPoint'))
    fit = partial(fit_stage, settings={}, preset='fast', device=device)
    tokenizer = fit(TokenizerLearner, data, options=FitOptions(dict(tokenizer=TOKENIZER_EPOCHS))).model
    with tempfile.TemporaryDirectory() as folder:
        def learn(kept, constants):
            path = Path(folder)/'fit.nmvq' if kept else None
            with replaced(resume, **constants):
                stage = fit(PriorLearner, data, tokenizer, options=FitOptions(dict(prior=epochs), checkpoint=path))
            resume.drop_part(path)                                       # the next one is to start anew
            return stage
        n_epochs = learn(True, dict(PERIOD=0.)).n_epoch
        funcs = {name: TimedWrites(partial(learn, *how)) for name, how in VARIANTS.items()}
        seconds = alternate(funcs, rounds, 0, device)
    row = {'data': 'GunPoint', 'stage': 'prior', 'epochs': n_epochs, **{f'{name}, s': s for name, s in seconds.items()}}
    row |= {f'{name} / without': s / seconds['without'] for name, s in seconds.items() if name != 'without'}
    cpu = {name: np.median(func.cpu_seconds) for name, func in funcs.items()}
    kept = {name: func for name, func in funcs.items() if name != 'without'}
    row |= {f'{name} / without, CPU': cpu[name] / cpu['without'] for name in kept}
    row |= {f'{name}, writes': func.n // rounds for name, func in kept.items()}
    row |= {f'{name}, % of the time in writes': 100 * func.share for name, func in kept.items()}
    keep('speed_checkpoint', pd.DataFrame([row]), 'What a checkpoint costs',
         f'python -m benchmarks.speed --sections checkpoint --device {device}',
         f"The prior of 50 series, default preset, median of {rounds} fits in turn. `with`: as `fit(checkpoint=...)` "
         "writes, every two seconds and 2 % of the time at most. `after each epoch`: as it would without these limits. "
         "Medians of wall time follow what else the machine does; CPU time and the share of the time do less.")


class TimedWrites:
    "A function, and what share of its time is spent in writes: on a busy machine that is steadier than a difference."
    def __init__(self,
        func # Function without arguments
    ):
        self.func, self.n, self.cpu_seconds = func, 0, []
        self.seconds, self.all_seconds = 0., 0.

    def __call__(self):
        write, began, cpu_began = resume.ResumeStage._write, time.perf_counter(), time.process_time()
        def timed(callback):
            start = time.perf_counter()
            write(callback)
            self.n, self.seconds = self.n + 1, self.seconds + time.perf_counter() - start
        with replaced(resume.ResumeStage, _write=timed): self.func()
        self.all_seconds += time.perf_counter() - began
        self.cpu_seconds.append(time.process_time() - cpu_began)

    @property
    def share(self): return self.seconds / self.all_seconds


@contextmanager
def replaced(
    module, # Or a class, whose attributes
    **constants # {name: value}
):
    "Other values inside the block."
    before = {name: getattr(module, name) for name in constants}
    for name, value in constants.items(): setattr(module, name, value)
    try: yield
    finally:
        for name, value in before.items(): setattr(module, name, value)
