"""Sample quality, as a user gets it by default: minutes of training, so they run with `pytest -m slow`."""
import numpy as np
import pytest

from tsai_nmvq.generator import NMVQGenerator

pytestmark = pytest.mark.slow


def scores_of(X, y, splits):
    gen = NMVQGenerator().fit(X, y, splits, seed=0)
    return gen, gen.evaluate(X, y, splits, seed=0)


# One thread, seed 0: novelty 0.98 and 0.68, TSTR 0.97 and 1.0, FID at most 2.4 and 2 times the floor
@pytest.mark.parametrize('data,max_ratio,min_novelty,min_tstr', [
    ('gunpoint', 3., 0.7, 0.85), ('basic_motions', 2., 0.6, 0.85)])
def test_samples_are_near_the_floor_new_and_of_their_class(request, data, max_ratio, min_novelty, min_tstr):
    gen, scores = scores_of(*request.getfixturevalue(data))
    delivered, floor = scores.loc['after mapper'], scores.loc['real (train)']
    assert delivered.FID <= max_ratio * floor.FID
    assert delivered.FID <= 1.02 * scores.FID['before mapper'] # the mapper must never make the data worse
    assert delivered.novelty >= min_novelty and delivered.TSTR >= min_tstr * floor.TSTR
    X, y = gen.sample(64, seed=1)
    assert np.isfinite(X).all() and set(y) == set(gen.spec.vocab)
