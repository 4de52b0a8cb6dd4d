"""Progress that suits where it is read: bars in a terminal or a notebook, a few plain lines in a log."""
import sys
from collections.abc import Iterable
from contextlib import ExitStack, contextmanager

from fastai.callback.core import Callback
from fastai.torch_core import rank_distrib
from fastprogress.core import IN_NOTEBOOK
from fastprogress.fastprogress import progress_bar

__all__ = ['is_interactive', 'progress', 'ProgressLines', 'shown_progress']

N_LINES = 5 # of a training in a log


def is_interactive() -> bool: # Whether what is printed can be redrawn
    "True in a notebook and where stdout is a terminal; of several processes of one launch in the first alone."
    return bool(IN_NOTEBOOK or sys.stdout.isatty()) and not rank_distrib()


def progress(
    items, # Sequence to go through
    **kwargs # Passed to fastprogress: leave, total, ...
) -> Iterable: # The same items
    "A bar over items that are worked through, where a bar can be drawn."
    return progress_bar(items, **kwargs) if is_interactive() else items


class ProgressLines(Callback):
    "The training loss in a few plain lines, for a log."
    order, run_valid = 60, False # after Recorder, which is 50

    def after_epoch(self):
        done, n = self.epoch + 1, self.n_epoch
        if done * N_LINES // n > (done - 1) * N_LINES // n:
            loss = float(self.recorder.smooth_loss.value)
            print(f"  epoch {done} of {n}, train_loss {loss:.4f}", flush=True)


@contextmanager
def shown_progress(
    learn # fastai Learner
):
    "Inside the block the Learner trains with fastai's bars, or with `ProgressLines` where no bar can be drawn."
    with ExitStack() as stack:
        if not is_interactive():
            stack.enter_context(learn.no_bar())
            stack.enter_context(learn.no_logging())
            if not rank_distrib(): stack.enter_context(learn.added_cbs(ProgressLines()))
        yield learn
