"""Random state that leaves the caller's alone."""
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ['isolated_rng', 'check_seed', 'of_this_process', 'generator_on']

RANK_STEP = 1_000_003 # between the seeds of processes

GLOBAL_STATE = threading.RLock() # there is one: a block waits for that of another thread


@contextmanager
def isolated_rng(
    seed:int|None, # Seed of torch, numpy and random inside the block; None goes on from the caller's state
    device=None # A CUDA device whose state is kept too
) -> Iterator[None]:
    "Run a block under its own seed and give the global random states back, also after an exception."
    device = torch.device(device or 'cpu')
    with GLOBAL_STATE, torch.random.fork_rng([device] if device.type == 'cuda' else []):
        numpy_state, python_state = np.random.get_state(), random.getstate()
        try:
            if seed is not None:
                torch.manual_seed(seed)
                np.random.seed(seed)
                random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def check_seed(
    seed # What the caller passed
) -> int|None: # The same as a plain number
    "ValueError unless it is a whole number that numpy and torch take, or None."
    if seed is None: return None
    if isinstance(seed, bool) or not hasattr(seed, '__index__') or not 0 <= int(seed) < 2 ** 32:
        raise ValueError(f"seed is {seed!r}, expected a whole number from 0 to 2 ** 32 - 1, or None")
    return int(seed)


def of_this_process(
    seed:int # Of all processes of a distributed training
) -> int: # Of this one: the seed itself in the first, or where there is one
    "Processes of a training by torch.distributed draw apart; their rank is in the environment."
    return seed + RANK_STEP * int(os.environ.get('RANK', 0))


def generator_on(
    device, # Where it draws
    seed:int|None=None # The same seed gives the same draws; None takes one from the operating system
) -> torch.Generator:
    "A source of randomness of its own."
    generator, seed = torch.Generator(device), None if seed is None else int(seed)
    if seed is None: generator.seed()
    else: generator.manual_seed(seed)
    return generator
