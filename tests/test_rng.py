"""Random numbers of our own: what global sources give after a seed; neither these nor other threads notice."""
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stages import fit, random_states
from torch import Tensor, nn

from tsai_nmvq.data.loaders import RowsDL
from tsai_nmvq.data.rows import Rows
from tsai_nmvq.metrics.classifier import fit_classifier
from tsai_nmvq.rng import OwnRandom, generator_on, python_random

WAYS = {
    'rand': lambda: torch.rand(3), 'randn': lambda: torch.randn(2, 3), 'randint': lambda: torch.randint(9, (4,)),
    'randperm': lambda: torch.randperm(7), 'normal': lambda: torch.normal(torch.zeros(3), torch.ones(3)),
    'bernoulli': lambda: torch.bernoulli(torch.full((9,), 0.5)), 'poisson': lambda: torch.poisson(torch.full((9,), 3.)),
    'multinomial': lambda: torch.multinomial(torch.ones(5), 3), 'method': lambda: torch.ones(5).multinomial(3),
    'like': lambda: torch.cat((torch.rand_like(torch.ones(3)), torch.randn_like(torch.ones(3)))),
    'integers like': lambda: torch.randint_like(torch.ones(9), 5),
    'uniform_': lambda: torch.empty(3).uniform_(), 'normal_': lambda: torch.empty(3).normal_(),
    'random_': lambda: torch.empty(3, dtype=torch.long).random_(), 'bernoulli_': lambda: torch.empty(9).bernoulli_(0.5),
    'exponential_': lambda: torch.empty(3).exponential_(), 'geometric_': lambda: torch.empty(3).geometric_(0.3),
    'cauchy_': lambda: torch.empty(3).cauchy_(), 'log_normal_': lambda: torch.empty(3).log_normal_(),
    'Linear': lambda: nn.Linear(3, 2).weight, 'Conv1d': lambda: nn.Conv1d(2, 3, 5).bias,
    'Embedding': lambda: nn.Embedding(4, 3).weight, 'GRU': lambda: nn.GRU(2, 3).weight_hh_l0,
    'MultiheadAttention': lambda: nn.MultiheadAttention(4, 2).in_proj_weight,
    'xavier': lambda: nn.init.xavier_normal_(torch.empty(3, 3)),
    'orthogonal': lambda: nn.init.orthogonal_(torch.empty(3, 3)),
    'kaiming': lambda: nn.init.kaiming_normal_(torch.empty(3, 3)),
    'truncated': lambda: nn.init.trunc_normal_(torch.empty(9)),
    'dropout': lambda: F.dropout(torch.ones(50), 0.3), 'Dropout': lambda: nn.Dropout(0.5)(torch.ones(4, 9)),
    'in place': lambda: F.dropout(torch.ones(50), 0.3, inplace=True),
    'order of rows': lambda: torch.cat([x for x, in RowsDL(Rows.of_tensors(torch.arange(20)), 5, shuffle=True)])}


def seed_all(n):
    random.seed(n)
    np.random.seed(n)
    torch.manual_seed(n)


@pytest.mark.parametrize('name', WAYS)
def test_a_block_draws_what_the_global_source_would(name):
    seed_all(4)
    expected = [WAYS[name]() for _ in range(2)]
    seed_all(9)
    before = random_states()
    with OwnRandom(4): drawn = [WAYS[name]() for _ in range(2)]
    assert random_states() == before
    for own, other in zip(drawn, expected): assert torch.equal(own, other)
    assert not torch.equal(*drawn)


def test_a_named_generator_stays_the_source():
    own, expected = generator_on('cpu', 5), torch.rand(3, generator=generator_on('cpu', 5))
    with OwnRandom(4):
        assert torch.equal(torch.rand(3, generator=own), expected)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=generator_on('cpu', 4)))


def test_blocks_nest_and_end_with_an_exception():
    def draws(): return python_random().random(), torch.rand(1).item()
    with OwnRandom(1): expected = draws(), draws()
    with OwnRandom(1):
        first = draws()
        with pytest.raises(KeyError), OwnRandom(2):
            assert draws() != expected[0]
            raise KeyError
        assert (first, draws()) == expected
    assert python_random() is random


def test_a_device_has_a_source_of_its_own():
    with OwnRandom(1) as own:
        torch.rand(2)
        torch.rand(2, device='cpu')
        torch.empty(2).uniform_()
        assert list(own.generators) == [torch.device('cpu')] and own.on('cpu') is own.generators[torch.device('cpu')]


def test_dropout_that_drops_nothing_draws_nothing():
    with OwnRandom(1) as own:
        x = torch.ones(5)
        assert torch.equal(F.dropout(x, 0.), x) and torch.equal(F.dropout(x, 0.5, training=False), x)
        assert torch.equal(F.dropout(x, 1.), torch.zeros(5)) and len(own.generators) == 1


def test_gradients_go_through_dropout():
    with OwnRandom(1):
        x = torch.ones(50, requires_grad=True)
        y = F.dropout(x, 0.5)
        y.sum().backward()
    assert torch.equal(x.grad, y.detach()) and 0 < (y == 0).sum() < 50


# Threads

def in_threads(*functions): # -> what they return, side by side
    with ThreadPoolExecutor(len(functions)) as pool: jobs = [pool.submit(f) for f in functions]
    return [job.result() for job in jobs]


def test_blocks_in_threads_draw_what_they_draw_alone_and_at_the_same_time():
    both = threading.Barrier(2, timeout=20)                              # breaks where one block waits for the other
    def block(seed, meet=True):
        with OwnRandom(seed):
            drawn = []
            for _ in range(50):
                if meet: both.wait()
                drawn.append((torch.rand(3).tolist(), python_random().random(), nn.Linear(2, 2).bias.tolist()))
            return drawn
    assert in_threads(lambda: block(1), lambda: block(2)) == [block(1, False), block(2, False)]


def test_a_thread_draws_from_the_global_source_undisturbed_while_others_fit_sample_and_load(data, gen, tmp_path):
    def draws(): return [(torch.rand(1).item(), random.random(), np.random.rand()) for _ in range(20_000)]
    seed_all(5)
    expected = draws()
    gen.save(tmp_path/'gen.nmvq')
    begun = threading.Barrier(4, timeout=60)
    def beside(job):
        def run():
            begun.wait()
            return job()
        return run
    seed_all(5)
    x = torch.as_tensor(data[0])
    jobs = [beside(job) for job in (draws, lambda: fit(*data, seed=3), lambda: gen.sample(40, seed=1)[0],
                                    lambda: type(gen).load(tmp_path/'gen.nmvq').sample(40, seed=1)[0])]
    drawn, fitted, sampled, loaded = in_threads(*jobs)
    after = random_states()
    assert drawn == expected
    assert np.array_equal(sampled, loaded) and np.array_equal(sampled, gen.sample(40, seed=1)[0])
    alone = fit(*data, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(*(g.prior.state_dict().values() for g in (fitted, alone))))
    fit_classifier(x, data[1], n_steps=3)
    assert random_states() == after


# Sources of their own

def test_a_generator_draws_the_same_for_the_same_seed_and_leaves_the_global_state():
    seed_all(5)
    before = random_states()
    a, b, c = (torch.rand(4, generator=generator_on('cpu', n)) for n in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and random_states() == before
    assert torch.equal(a, torch.rand(4, generator=torch.Generator().manual_seed(1)))


def test_a_generator_without_a_seed_is_another_each_time_whatever_the_global_state():
    seen:list[Tensor] = []
    for _ in range(2):
        seed_all(5)
        seen.append(torch.rand(4, generator=generator_on('cpu')))
    assert not torch.equal(*seen)


def test_a_generator_is_on_its_device(): assert generator_on('cpu', 0).device == torch.device('cpu')
