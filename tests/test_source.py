"""What stands for a generator: one at hand, or its file; and what is refused in its place."""
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_generator import FakeGenerator, loaders, real_rows
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import load_learner
from tsai.basics import TSClassification, TSStandardize, get_ts_dls, ts_learner
from tsai.learner import load_all

from tsai_nmvq.augment.randaug import nmvq_randaug
from tsai_nmvq.augment.source import LOST_GENERATOR, NO_GENERATOR, given_generator
from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.generator import NMVQGenerator


def test_a_generator_is_taken_as_it_is():
    gen = FakeGenerator()
    assert given_generator(gen) is gen and given_generator(None) is None


@pytest.mark.parametrize('kind', [str, Path])
def test_a_file_is_loaded(gen, saved, data, kind):
    X, y, splits = data
    batches = []
    for source in (gen, kind(saved)):
        np.random.seed(0)
        aug = NMVQAugment(source, mode='perturb', seed=0)
        dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=[aug], bs=50)
        batches.append(dls.one_batch()[0].as_subclass(torch.Tensor))
    assert len(batches[0]) == 100 and torch.equal(*batches)
    assert isinstance(nmvq_randaug(kind(saved))[0].args[0].gen, NMVQGenerator)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no file .*none\.nmvq'): NMVQAugment(tmp_path/'none.nmvq')


@pytest.mark.parametrize('make', [NMVQAugment, nmvq_randaug])
@pytest.mark.parametrize('wrong, kind', [(np.zeros((4, 1, 16)), 'ndarray'), ([1], 'list'), (3, 'int'),
                                         (NMVQGenerator, 'type'), (torch.zeros(2), 'Tensor')], ids=str)
def test_what_is_no_generator_is_refused(make, wrong, kind):
    with pytest.raises(TypeError, match=f'^gen is of type {kind}, expected an NMVQGenerator or the path of its file; '):
        make(wrong)


@pytest.mark.parametrize('stage', ['tokenizer', 'prior', 'mapper'])
def test_a_learner_is_refused(trained, stage): # it has a spec too
    with pytest.raises(TypeError, match=f'gen is of type {stage.title()}Learner, expected an NMVQGenerator'):
        NMVQAugment(trained[stage])


def test_an_entry_of_randaugment_needs_a_generator():
    with pytest.raises(TypeError, match=r'pass nmvq_randaug\(gen\)'): nmvq_randaug(None)


# Without one

def warnings_of(do): # as they are shown where tsai has set its filters
    with warnings.catch_warnings(record=True) as seen:
        warnings.resetwarnings()
        warnings.filterwarnings('ignore', category=UserWarning) # as tsai.data.core does
        do()
    return [str(warning.message) for warning in seen if 'NMVQAugment' in str(warning.message)]


@pytest.mark.parametrize('nothing', [NMVQAugment, NMVQAugment(), NMVQAugment(None, mode='generate', append=False)])
def test_loaders_without_a_generator_warn_once(nothing):
    made = []
    assert warnings_of(lambda: made.append(loaders(nothing))) == [NO_GENERATOR]
    assert warnings_of(lambda: classifier(made[0]).fit(1)) == []


def test_a_generator_warns_of_nothing():
    aug = NMVQAugment(FakeGenerator())
    assert warnings_of(lambda: classifier(loaders(aug)).fit(1)) == []
    with aug.paused(): assert warnings_of(lambda: classifier(loaders(aug)).fit(1)) == []


def classifier(dls, **kwargs):
    return ts_learner(dls, 'FCN', layers=[4, 4, 4], cbs=None, train_metrics=False, **kwargs)


@pytest.fixture
def saved_learner(tmp_path): # trained with a generator, and saved
    clf = classifier(loaders(NMVQAugment(FakeGenerator(), seed=0), TSStandardize(), bs=25), path=tmp_path)
    with clf.no_bar(), clf.no_logging(): clf.fit(1)
    clf.save_all(tmp_path/'clf')
    return tmp_path/'clf'


def test_a_loaded_learner_warns_when_it_goes_on_training(saved_learner):
    X, loaded = real_rows((20, 20))[0], []
    def infer():
        loaded.append(load_all(saved_learner, device=torch.device('cpu')))
        loaded[0].get_X_preds(X), loaded[0].get_preds(ds_idx=0), loaded[0].validate(), loaded[0].dls.one_batch()
    assert warnings_of(infer) == []
    assert warnings_of(lambda: loaded[0].fit(2)) == [LOST_GENERATOR]
    assert warnings_of(lambda: loaded[0].fit(1)) == []


def test_a_loaded_learner_goes_on_with_the_generator_put_back(saved_learner):
    clf, sizes = load_all(saved_learner, device=torch.device('cpu')), []
    clf.dls.train.after_batch.nmvq_augment.gen = FakeGenerator()
    def watch(self): sizes.append(len(self.x))
    assert warnings_of(lambda: clf.fit(1, cbs=Callback(before_batch=watch))) == [] and sizes[:4] == [50] * 4


def test_new_loaders_of_an_exported_learner_warn_when_it_goes_on_training(saved_learner):
    clf, dls = load_learner(saved_learner/'learner.pkl'), loaders()
    clf.dls = DataLoaders(clf.dls.train.new(dls.train_ds), clf.dls.valid.new(dls.valid_ds))
    assert warnings_of(lambda: clf.fit(1)) == [LOST_GENERATOR]
