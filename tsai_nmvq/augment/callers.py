"""What a batch is for: a transform is told neither which loader draws it nor why."""
import sys
from collections.abc import Callable
from types import FrameType

from fastai.learner import CastToTensor, Learner
from tsai.data.mixed import MixedDataLoader

__all__ = ['called_by', 'is_training_step', 'is_mixed', 'is_cast_for_the_network']


def called_by(
    *functions:Callable # Functions of Python, or methods of classes
) -> bool: # Whether one of them is at work, in this thread
    "Look for functions among the callers of the caller."
    codes = [function.__code__ for function in functions]
    frame:FrameType|None = sys._getframe(1)
    while frame is not None:
        if any(frame.f_code is code for code in codes): return True
        frame = frame.f_back
    return False


def is_training_step() -> bool: # Not a look at a batch, as loaders and `load_all` take one at times
    "Whether a Learner draws the batch."
    return called_by(Learner.all_batches)


def is_mixed() -> bool: # `dl.new` shares a transform with loaders that it never sees, so that none can be asked
    "Whether the batch's rows go beside those of other loaders, as in tsai's `get_mixed_dls`."
    return called_by(MixedDataLoader.__iter__, MixedDataLoader._get_idxs)


def is_cast_for_the_network() -> bool: # Which fastai's Learner does right before the forward pass, to all batches
    "Whether a Learner makes a plain tensor of the batch."
    return called_by(CastToTensor.before_batch)
