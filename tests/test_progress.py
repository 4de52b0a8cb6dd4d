"""Progress: bars where they can be drawn, a few plain lines elsewhere, and a Learner left as it was."""
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback

from tsai_nmvq import progress as progress_module
from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.progress import N_LINES, ProgressLines, is_interactive, progress, shown_progress
from tsai_nmvq.train.tokenizer import TokenizerLearner

LINE = re.compile(r'  epoch (\d+) of (\d+), train_loss (\d+\.\d{4})')


@pytest.fixture(autouse=True)
def no_notebook(monkeypatch): monkeypatch.setattr(progress_module, 'IN_NOTEBOOK', False)


@pytest.fixture
def terminal(monkeypatch): monkeypatch.setattr(progress_module, 'is_interactive', lambda: True)


def learner(**kwargs):
    data = SeriesData.from_arrays(np.random.default_rng(0).normal(size=(8, 1, 16)).astype(np.float32))
    settings = dict(dim=4, hidden_dim=8, max_dim=8, codebook_size=16)
    return TokenizerLearner(data, settings=settings, bs=4, min_steps=2, **kwargs)


def callbacks(learn): return [type(cb).__name__ for cb in learn.cbs]


# Where

@pytest.mark.parametrize('isatty, notebook', [(True, False), (False, False), (False, True), (True, True)])
def test_interactive_is_a_terminal_or_a_notebook(monkeypatch, isatty, notebook):
    monkeypatch.setattr(progress_module, 'IN_NOTEBOOK', notebook)
    monkeypatch.setattr(sys, 'stdout', SimpleNamespace(isatty=lambda: isatty))
    assert is_interactive() is (isatty or notebook)


@pytest.mark.parametrize('isatty', [True, False])
def test_items_come_back_in_order(monkeypatch, capsys, isatty):
    monkeypatch.setattr(progress_module, 'is_interactive', lambda: isatty)
    items = (0., 0.5, 'c')
    assert list(progress(items, leave=False)) == list(items)
    assert bool(capsys.readouterr().out) == isatty                     # a bar, or nothing at all


def test_without_a_bar_items_are_the_very_same():
    items = [1, 2]
    assert progress(items) is items


# A fit in a log

@pytest.mark.parametrize('n', [1, 2, 3, 5, 7, 12])
def test_a_fit_in_a_log_prints_a_few_plain_lines(n, capsys):
    learn = learner()
    learn.fit_schedule(epochs=n)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == min(n, N_LINES) and '\r' not in out and '\x1b' not in out and err == ''
    found = [LINE.fullmatch(line) for line in lines]
    epochs = [int(match[1]) for match in found]
    assert epochs == sorted(set(epochs)) and epochs[-1] == n and {int(match[2]) for match in found} == {n}
    assert float(found[-1][3]) == pytest.approx(float(learn.recorder.smooth_loss.value), abs=1e-4)


def test_lines_are_spread_evenly(capsys):
    learner().fit_schedule(epochs=10)
    assert [int(LINE.fullmatch(line)[1]) for line in capsys.readouterr().out.splitlines()] == [2, 4, 6, 8, 10]


def test_each_line_has_the_loss_of_its_epoch(capsys):
    seen = []
    class EpochEnds(Callback):
        order = 55                                                     # after the recorder, before the lines
        def after_epoch(self): seen.append(f'{float(self.recorder.smooth_loss.value):.4f}')
    learner(cbs=EpochEnds()).fit_schedule(epochs=3)
    assert [LINE.fullmatch(line)[3] for line in capsys.readouterr().out.splitlines()] == seen
    assert len(set(seen)) == 3


def test_a_learner_is_left_as_it_was(capsys):
    learn = learner()
    before, logger = callbacks(learn), learn.recorder.learn.logger
    assert 'ProgressCallback' in before
    with shown_progress(learn) as inside:
        assert inside is learn
        assert 'ProgressLines' in callbacks(learn) and 'ProgressCallback' not in callbacks(learn)
        learn.fit(1)
    assert sorted(callbacks(learn)) == sorted(before) and learn.logger is logger
    assert learn.progress in learn.cbs and isinstance(learn.progress, ProgressCallback)
    capsys.readouterr()
    with shown_progress(learn): learn.fit(2)
    assert len(capsys.readouterr().out.splitlines()) == 2              # the lines of one fit, not of two


def test_a_learner_is_left_as_it_was_after_an_exception_too():
    class Stop(Callback):
        def after_batch(self): raise KeyboardInterrupt
    learn = learner(cbs=Stop())
    before, logger = callbacks(learn), learn.logger
    with pytest.raises(KeyboardInterrupt), shown_progress(learn): learn.fit(1)
    assert sorted(callbacks(learn)) == sorted(before) and learn.logger is logger


def test_a_fit_that_ends_early_prints_no_more(capsys):
    class Stop(Callback):
        def before_epoch(self):
            if self.epoch == 2: raise CancelFitException
    learner(cbs=Stop()).fit_schedule(epochs=5)
    assert [LINE.fullmatch(line)[1] for line in capsys.readouterr().out.splitlines()] == ['1', '2']


# A fit in a terminal

def test_a_fit_in_a_terminal_has_fastais_bars(terminal, capsys):
    learn = learner()
    before = callbacks(learn)
    with shown_progress(learn):
        assert callbacks(learn) == before and 'ProgressCallback' in before
        learn.fit(1)
    out = capsys.readouterr().out
    assert '\r' in out and 'train_loss' in out and not LINE.search(out)


def test_lines_read_the_recorder_after_it_has_the_loss():
    learn = learner(cbs=[lines := ProgressLines()])
    ordered = [type(cb).__name__ for cb in learn.cbs.sorted('order')]
    assert ordered.index('Recorder') < ordered.index('ProgressLines') and lines.run_valid is False
