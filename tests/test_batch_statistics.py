"""BatchNorm of a batch with synthetic rows: real rows as if they were alone, and running statistics of them alone."""
import copy

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fake_generator import FakeGenerator, loaders
from fastai.learner import Learner
from fastai.metrics import accuracy
from torch import Tensor, nn
from tsai.basics import TSStandardize, TSTensor
from tsai.models.FCN import FCN
from tsai.models.InceptionTimePlus import InceptionTimePlus
from tsai.models.ResNet import ResNet

from tsai_nmvq.augment.batch_statistics import AugmentedTensor
from tsai_nmvq.augment.transform import NMVQAugment


def far_off(n=5): return 3 + 5 * torch.randn(n, 2, 32)


@pytest.mark.parametrize('network', [lambda: FCN(2, 3, layers=[8, 16, 8]), lambda: InceptionTimePlus(2, 3, nf=4)],
                         ids=['FCN', 'InceptionTimePlus'])
def test_real_rows_are_as_if_they_were_alone(network):
    torch.manual_seed(0)
    model, real = network(), torch.randn(8, 2, 32)
    alone = copy.deepcopy(model)
    out = model(AugmentedTensor.of(real, far_off()))
    assert len(out) == 13 and torch.allclose(out[:8].as_subclass(Tensor), alone(real), atol=1e-5)
    assert all(torch.equal(found, expected) for found, expected in zip(model.buffers(), alone.buffers()))


def test_in_inference_running_statistics_normalise_all_rows():
    norm = nn.BatchNorm1d(2).eval()
    x = AugmentedTensor.of(torch.randn(8, 2, 32), far_off())
    assert torch.equal(norm(x).as_subclass(Tensor), norm(x.as_subclass(Tensor)))


def test_synthetic_rows_have_statistics_of_their_own():
    out = nn.BatchNorm1d(2)(AugmentedTensor.of(torch.randn(8, 2, 32), far_off())).as_subclass(Tensor)
    for part in (out[:8], out[8:]): assert part.mean().abs() < 1e-5 and abs(float(part.std()) - 1) < 0.01


@pytest.mark.parametrize('n', [0, 1])
def test_too_few_synthetic_rows_for_statistics_are_normalised_with_the_others(n):
    x = AugmentedTensor.of(torch.randn(8, 4), torch.randn(n, 4))
    assert torch.equal(nn.BatchNorm1d(4)(x).as_subclass(Tensor), nn.BatchNorm1d(4)(x.as_subclass(Tensor)))


def test_where_a_network_folds_channels_into_the_batch_all_rows_go_together():
    x = AugmentedTensor.of(torch.randn(8, 2, 32), far_off()).reshape(26, 1, 32)
    assert torch.equal(nn.BatchNorm1d(1)(x).as_subclass(Tensor), nn.BatchNorm1d(1)(x.as_subclass(Tensor)))


def test_both_kinds_of_row_have_gradients_and_the_mark_stays():
    model = FCN(2, 3, layers=[8, 16, 8])
    x = TSStandardize(by_sample=True)(AugmentedTensor.of(torch.randn(8, 2, 32), far_off()), split_idx=0)
    assert isinstance(x, TSTensor) and (x.n_real, x.n_rows) == (8, 13)
    x.requires_grad_()
    model(x)[:, 0].square().sum().backward()
    assert (x.grad.as_subclass(Tensor).abs().sum((1, 2)) > 0).all()


# In a Learner

def running(network, *batch_tfms, autocast=False):
    "Running statistics after an epoch in which weights stay as they are."
    torch.manual_seed(0)
    learn = Learner(loaders(*batch_tfms, bs=20), network(1, 2), metrics=accuracy)
    np.random.seed(0)
    with learn.no_bar(), learn.no_logging(), torch.autocast('cpu', torch.bfloat16, autocast): learn.fit(1, 0.)
    return list(learn.model.buffers())


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('network', [lambda *sizes: FCN(*sizes, layers=[4, 8, 4]), lambda *sizes: ResNet(*sizes),
                                     lambda *sizes: InceptionTimePlus(*sizes, nf=4)],
                         ids=['FCN', 'ResNet', 'InceptionTimePlus'])
def test_added_rows_leave_a_learners_running_statistics_alone(network, autocast):
    added = NMVQAugment(FakeGenerator(), seed=0, mode='generate')        # 100 off
    plain, with_added, replaced = (running(network, *tfms, autocast=autocast) for tfms in (
        [], [added], [NMVQAugment(FakeGenerator(), seed=0, mode='generate', append=False, p=0.5)]))
    assert all(torch.allclose(a, b, rtol=1e-2 if autocast else 1e-4, atol=1e-4) for a, b in zip(plain, with_added))
    assert not all(torch.allclose(a, b, rtol=0.1) for a, b in zip(plain, replaced))


def test_a_plain_tensor_is_had_where_it_is_asked_for():
    x = AugmentedTensor.of(torch.randn(8, 2, 32), far_off())
    assert type(x.as_subclass(Tensor)) is type(x.clone().as_subclass(Tensor)) is Tensor
    assert type(x.clone()) is AugmentedTensor and x.clone().n_real == 8


# Rows

def batch(): return AugmentedTensor.of(torch.arange(6.).view(6, 1, 1).expand(6, 1, 4), torch.zeros(3, 1, 4))


@pytest.mark.parametrize('rows', [slice(None), slice(4), slice(2, None), slice(-5, None), slice(1, 8, 2),
                                  slice(7, None), slice(3, 3)])
def test_some_rows_are_a_batch_that_knows_which_are_real(rows):
    part, is_real = batch()[rows], [True] * 6 + [False] * 3
    assert (part.n_real, part.n_rows) == (sum(is_real[rows]), len(is_real[rows]))
    assert torch.equal(part.as_subclass(Tensor), batch().as_subclass(Tensor)[rows])


@pytest.mark.parametrize('rows', [slice(None), slice(2, None), slice(5, 7)])
def test_titles_mark_synthetic_rows(rows):
    titles = [row.show(title='2').get_title() for row in batch()[rows]]
    assert titles == (['2'] * 6 + ['2 (synthetic)'] * 3)[rows]
    assert [batch()[i].show(title='2').get_title() for i in (0, -1)] == ['2', '2 (synthetic)']
    plt.close('all')


def test_other_indices_are_as_for_any_tensor():
    x = batch()
    for idx in ((0, 0, 1), (slice(None), 0), torch.tensor([0, 7]), ..., None, x.as_subclass(Tensor) > 2):
        assert torch.equal(x[idx].as_subclass(Tensor), x.as_subclass(Tensor)[idx])
    assert x[:, 0].n_rows == 9 and TSTensor(torch.ones(2, 3))[0].show() is not None
    assert [float(v) for v in x[0, 0]] == [0.] * 4
    plt.close('all')
