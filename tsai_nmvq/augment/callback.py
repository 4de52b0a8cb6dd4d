"""A callback that changes the share of synthetic rows while a classifier trains, and keeps what it was."""
from collections.abc import Callable

from fastai.callback.core import Callback
from fastai.callback.schedule import SchedCos

from .portable import Portable
from .transform import NMVQAugment

__all__ = ['NMVQSchedule']

FALLING = SchedCos(1., 0.)


class NMVQSchedule(Portable, Callback):
    """Sets `p` of the training loader's `NMVQAugment` from batch to batch; `shares` has what it was in each.

    `clf.fit_one_cycle(50, 1e-3, cbs=NMVQSchedule())` ends on real rows alone. The transform's own p comes back after
    training."""
    run_valid, instead = False, Callback

    def __init__(self,
        share:Callable=FALLING # Part of training that is done, 0..1 -> p: any of fastai's schedules
    ): self.share = share

    def before_fit(self):
        "Find the transform."
        found = [tfm for tfm in self.dls.train.after_batch.fs if isinstance(tfm, NMVQAugment)]
        if len(found) != 1:
            raise ValueError(f"NMVQSchedule: the training loader has {len(found)} NMVQAugment transforms, expected one "
                             "in batch_tfms")
        self.augment, self.shares = found[0], []
        self._own_p = self.augment.p

    def before_train(self): self._set()

    def before_batch(self): self.shares.append(self.augment.p)           # the batch has been made with it

    def after_batch(self): self._set()

    def after_fit(self): self.augment.p = self._own_p

    def _set(self): self.augment.p = float(self.share(min(1., self.learn.pct_train)))

    def plot(self,
        ax=None # matplotlib axis; made by default
    ): # matplotlib axis
        "The share of each batch."
        from matplotlib import pyplot as plt
        ax = ax or plt.subplots()[1]
        ax.plot(self.shares)
        ax.set(xlabel='batch', ylabel='share of synthetic rows')
        return ax
