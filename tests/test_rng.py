"""Randomness that leaves the caller's random states alone: a block under its own seed, and sources of their own."""
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tsai_nmvq.rng import generator_on, isolated_rng


def in_threads(*functions): # -> what they return, side by side
    with ThreadPoolExecutor(len(functions)) as pool: jobs = [pool.submit(f) for f in functions]
    return [job.result() for job in jobs]


def draws(): return random.random(), np.random.rand(), torch.rand(1).item()


def seed(n):
    random.seed(n)
    np.random.seed(n)
    torch.manual_seed(n)


def test_states_go_on_as_if_nothing_had_been_drawn():
    seed(5)
    expected = [draws(), draws()]
    seed(5)
    seen = [draws()]
    with isolated_rng(1): draws()
    assert [*seen, draws()] == expected


def test_same_seed_draws_the_same_whatever_the_callers_state():
    inside = []
    for state, own in ((1, 3), (2, 3), (2, 4)):
        seed(state)
        with isolated_rng(own): inside.append(draws())
    assert inside[0] == inside[1]
    assert all(a != b for a, b in zip(inside[1], inside[2]))


def test_without_a_seed_the_block_goes_on_from_the_callers_state():
    seed(7)
    expected = draws()
    seed(7)
    with isolated_rng(None): inside = draws()
    assert inside == expected and draws() == expected


def test_states_come_back_after_an_exception():
    seed(5)
    expected = draws()
    seed(5)
    with pytest.raises(KeyError), isolated_rng(1):
        draws()
        raise KeyError
    assert draws() == expected


def test_blocks_nest():
    with isolated_rng(1):
        first = draws()
        with isolated_rng(2): draws()
        second = draws()
    with isolated_rng(1): assert (draws(), draws()) == (first, second)


def test_device_may_be_named():
    expected = torch.get_rng_state()
    with isolated_rng(1, 'cpu'): torch.rand(3)
    assert torch.equal(torch.get_rng_state(), expected)


# Sources of their own

def test_a_generator_draws_the_same_for_the_same_seed_and_leaves_the_global_state():
    seed(5)
    expected = draws()
    seed(5)
    a, b, c = (torch.rand(4, generator=generator_on('cpu', n)) for n in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and draws() == expected
    assert torch.equal(a, torch.rand(4, generator=torch.Generator().manual_seed(1)))


def test_a_generator_without_a_seed_is_another_each_time_whatever_the_global_state():
    seen = []
    for _ in range(2):
        seed(5)
        seen.append(torch.rand(4, generator=generator_on('cpu')))
    assert not torch.equal(*seen)


def test_a_generator_is_on_its_device(): assert generator_on('cpu', 0).device == torch.device('cpu')


def test_blocks_in_two_threads_draw_what_they_draw_alone():
    def block(own):
        with isolated_rng(own):
            drawn = []
            for _ in range(20):
                drawn.append(draws())
                time.sleep(1e-3)                                         # the other thread's turn
            return drawn
    seed(5)
    after = draws()
    seed(5)
    assert in_threads(lambda: block(1), lambda: block(2)) == [block(1), block(2)] and draws() == after
