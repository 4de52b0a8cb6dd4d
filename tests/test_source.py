"""What stands for a generator: one at hand, or its file; and what is refused in its place."""
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_generator import FakeGenerator
from tsai.basics import TSClassification, get_ts_dls

from tsai_nmvq.augment.source import given_generator
from tsai_nmvq.augment.transform import NMVQAugment, nmvq_randaug
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
