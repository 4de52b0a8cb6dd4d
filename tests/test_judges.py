"""Judges of classes: they learn easy classes, alike whatever the random state, and know nothing of shuffled labels."""
import numpy as np
import pytest
import torch
from made_series import assert_random_states_do_not_matter, easy

from tsai_nmvq.metrics import classifier
from tsai_nmvq.metrics.judges import JUDGES, RocketRidge, SmallFCN


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    train = classifier.train_classifier
    def quick(x, y, n_steps, *args): return train(x, y, min(n_steps, 150), *args)
    monkeypatch.setattr(classifier, 'train_classifier', quick)
    classifier._classifiers.clear()


@pytest.mark.parametrize('judge', JUDGES)
def test_easy_classes_are_learnt_and_shuffled_labels_are_not(judge):
    (x, y), (x_test, y_test) = easy(60, 0), easy(60, 1)
    found = JUDGES[judge](x, y, seed=0).predict(x_test)
    assert found.shape == y_test.shape and (found == y_test).mean() > 0.9
    shuffled = np.random.default_rng(0).permutation(y)
    assert (JUDGES[judge](x, shuffled, seed=0).predict(x_test) == y_test).mean() < 0.6


@pytest.mark.parametrize('judge', JUDGES)
def test_the_same_seed_judges_alike_and_the_global_random_state_stays(judge):
    x, y = easy(30, 0)
    assert_random_states_do_not_matter(lambda: JUDGES[judge](x, y, seed=3).predict(easy(30, 1)[0]).tolist(),
                                       classifier._classifiers.clear)


def test_ridge_takes_channels_tensors_and_other_units():
    (x, y), (x_test, y_test) = easy(60, 0, c_in=2), easy(60, 1, c_in=2)
    judge, scaled = RocketRidge.fit(x, y), RocketRidge.fit(torch.as_tensor(1000 * x - 7), y)
    assert (judge.predict(x_test) == y_test).mean() > 0.9
    assert (judge.predict(x_test) == scaled.predict(1000 * x_test - 7)).mean() > 0.95


def test_the_authors_network_has_their_sizes():
    net = SmallFCN(1, 5)
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv1d)]
    assert [c.out_channels for c in convs] == [16, 32, 32, 16] and [c.kernel_size[0] for c in convs] == [8, 5, 5, 5]
    assert sum(isinstance(m, torch.nn.Dropout) for m in net.modules()) == 3
    assert net(torch.randn(4, 1, 33)).shape == (4, 5)
