"""Series that are made up, for the tests of several metrics."""
import random

import numpy as np
import torch


def noise(n=40, c_in=1, seq_len=24, seed=0):
    return np.random.default_rng(seed).standard_normal((n, c_in, seq_len)).astype(np.float32)


def easy(n, seed, c_in=1):
    "Three classes that a glance tells apart: slow, fast and no waves, at random phases."
    rng, y = np.random.default_rng(seed), np.arange(n) % 3
    t, phase = np.linspace(0, 2 * np.pi, 24), rng.uniform(0, 2 * np.pi, (n, c_in, 1))
    x = np.array([1, 5, 0])[y][:, None, None] * t + phase
    x = 5 + 2 * np.sin(x) * (y != 2)[:, None, None] + 0.3 * rng.standard_normal(x.shape)
    return x.astype(np.float32), np.array(['a', 'b', 'c'])[y]


def random_states(): # of all global sources
    numpy_state = np.random.get_state()
    return random.getstate(), numpy_state[1].tolist(), numpy_state[2], torch.get_rng_state().tolist()


def assert_random_states_do_not_matter(func, forget=lambda: None):
    "func() leaves the global random states alone and gives the same whatever they are; forget() clears what it keeps."
    before = random_states()
    value = func()
    assert random_states() == before
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    forget()
    assert func() == value
