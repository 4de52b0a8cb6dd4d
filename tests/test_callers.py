"""What a batch is for, seen from inside it."""
import pytest
from fake_generator import loaders
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fasttransform import Transform
from torch import nn

from tsai_nmvq.augment.callers import called_by, is_training_step


def outer(function): return function()


def inner(): return called_by(outer)


def test_callers_are_found_however_far_away():
    assert not inner() and outer(inner) and outer(lambda: [inner() for _ in 'a'][0])
    assert not called_by() and not outer(lambda: called_by(inner)) and outer(lambda: called_by(inner, outer))


def test_a_generator_that_waits_is_no_caller():
    def waiting(): yield
    held = waiting()
    next(held)
    assert not called_by(waiting)


class Ask(Transform):
    "Remembers whether a Learner drew the batch."
    split_idx = 0
    def __init__(self): super().__init__(), setattr(self, 'answers', [])
    def encodes(self, x:object):
        self.answers.append(is_training_step())
        return x


@pytest.mark.parametrize('cbs', [None, Callback()])
def test_a_learner_draws_batches_to_train(cbs):
    ask = Ask()
    dls = loaders(ask, bs=50)
    dls.one_batch(), list(dls.train)
    assert ask.answers and not any(ask.answers)
    ask.answers.clear()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    Learner(DataLoaders(*dls.loaders), model, loss_func=CrossEntropyLossFlat(), cbs=cbs).fit(1)
    assert len(ask.answers) >= 2 and all(ask.answers)
