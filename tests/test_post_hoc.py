"""Networks that are trained afterwards: what cannot be told apart scores near 0, what is unlike scores high."""
import numpy as np
import pytest
import torch
from stages import random_states

from tsai_nmvq.metrics.post_hoc import discriminative_score, predictive_score

QUICK = dict(n_steps=150, hidden=8)


def waves(n, seed, c_in=2, seq_len=20, speed=1.):
    "Sines of any phase, at 1 to 2 radians a step times `speed`."
    rng = np.random.default_rng(seed)
    phase, pace = rng.uniform(0, 6, (n, c_in, 1)), speed * rng.uniform(0.5, 0.6, (n, c_in, 1))
    return np.sin(phase + pace * np.arange(seq_len)).astype(np.float32)


@pytest.mark.parametrize('c_in', [1, 2])
def test_the_same_kind_cannot_be_told_apart_and_another_kind_can(c_in):
    real = waves(200, 0, c_in)
    alike, other = (discriminative_score(real, x, **QUICK) for x in (waves(200, 1, c_in), 2 * waves(200, 1, c_in)))
    assert alike < 0.2 and other > alike + 0.15


def test_a_shift_is_told_from_the_first_on():
    real = waves(100, 0)
    assert discriminative_score(real, real + 3, **QUICK) == 0.5


@pytest.mark.parametrize('c_in', [1, 3])
def test_series_of_the_same_dynamics_teach_to_predict_and_noise_does_not(c_in):
    def dependent(seed): return np.repeat(waves(150, seed, 1), c_in, 1)   # the last channel follows from the others
    real, noise = dependent(0), np.random.default_rng(2).uniform(-1, 1, (150, c_in, 20)).astype(np.float32)
    alike, other = (predictive_score(real, x, n_steps=400, hidden=8) for x in (dependent(1), noise))
    assert alike < 0.6 * other


def test_errors_are_in_units_of_the_real_range():
    real, gen = waves(50, 0), waves(50, 1)
    a = predictive_score(real, gen, **QUICK)
    assert a == pytest.approx(predictive_score(100 * real + 7, 100 * gen + 7, **QUICK), rel=0.05) and a < 0.5


@pytest.mark.parametrize('score', [discriminative_score, predictive_score])
def test_a_seed_gives_the_same_and_the_global_state_is_untouched(score):
    real, gen = waves(40, 0), waves(40, 1)
    before = random_states()
    a, again, other = (score(real, gen, n_steps=20, seed=seed) for seed in (3, 3, 4))
    assert a == again and random_states() == before
    assert score is discriminative_score or a != other


@pytest.mark.parametrize('score', [discriminative_score, predictive_score])
@pytest.mark.parametrize('change', ['constant channel', 'short', 'tensors', 'gaps', 'more of one'])
def test_what_series_may_be(score, change):
    real, gen = waves(20, 0), waves(20, 1)
    if change == 'constant channel': real[:, 0] = gen[:, 0] = 5.
    if change == 'short': real, gen = real[..., :2], gen[..., :2]
    if change == 'tensors': real, gen = map(torch.as_tensor, (real, gen))
    if change == 'gaps': real[3, 0, 4:9] = np.nan
    if change == 'more of one': gen = np.concatenate((gen, gen, gen))
    assert 0 <= score(real, gen, n_steps=5) < 1


@pytest.mark.parametrize('few, name', [((4, 20), 'real'), ((20, 4), 'gen')])
def test_few_series_are_refused(few, name):
    with pytest.raises(ValueError, match=f'{name} has 4 series, expected 5 or more'):
        discriminative_score(*(waves(n, 0) for n in few))
