"""Random state that leaves the caller's alone."""
import random
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ['isolated_rng']


@contextmanager
def isolated_rng(
    seed:int|None, # Seed of torch, numpy and random inside the block; None goes on from the caller's state
    device=None # A CUDA device whose state is kept too
):
    "Run a block under its own seed and give the global random states back, also after an exception."
    device = torch.device(device or 'cpu')
    states = np.random.get_state(), random.getstate()
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        try:
            if seed is not None:
                torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
            yield
        finally:
            np.random.set_state(states[0]), random.setstate(states[1])
