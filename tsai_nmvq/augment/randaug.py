"""`nmvq_randaug`: the augmentation as one of the transforms that tsai's `RandAugment` draws from."""
from functools import partial

from fastcore.basics import noop

from .portable import ByName
from .transform import NMVQAugment

__all__ = ['nmvq_randaug']


def nmvq_randaug(
    gen, # `NMVQGenerator`, or path of its file
    low:float=0.05, # Magnitude at RandAugment's M = 0
    high:float=1., # Magnitude at RandAugment's M = 10
    **kwargs # Passed to NMVQAugment: mapped, seed, ...
) -> tuple: # Entry for tsai's RandAugment, as in `all_TS_randaugs`
    """`NMVQAugment(mode='perturb')` as one of RandAugment's transforms.

    It works in the data's own units: put RandAugment before TSStandardize in the list, as their order ties."""
    if gen is None: raise TypeError("nmvq_randaug needs a generator or the path of its file; pass nmvq_randaug(gen)")
    aug = NMVQAugment(gen, mode='perturb', **{'p': 1., 'append': False, **kwargs})
    return partial(ByName(_with_magnitude, noop), aug), low, high


def _with_magnitude(aug, magnitude): # RandAugment calls its entries a batch: a new one each would repeat its draws
    aug.magnitude = magnitude
    return aug
