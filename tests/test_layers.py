"""Blocks: rebuilt from their configuration, gradients by finite differences, and errors that say what to do."""
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from tsai_nmvq.models.layers import (
    ConfigModule,
    Dropout,
    SelfAttention,
    Snake,
    Standardizer,
    TransformerBlock,
    channel_std,
    divisor,
    positive_int,
    to_double,
)
from tsai_nmvq.models.mapper import NeuralMapper
from tsai_nmvq.models.prior import MaskedPrior
from tsai_nmvq.models.tokenizer import VQTokenizer
from tsai_nmvq.presets import resolve_settings

MODELS = {
    VQTokenizer: dict(preset='fast', n_series=20, dim=4, hidden_dim=8, codebook_size=16),
    MaskedPrior: dict(preset='fast', grid=dict(lf=(1, 3), hf=(2, 4)), codebook_size=dict(lf=5, hf=6), lf_dim=8,
                      hf_dim=8, head_dim=4, choice_temp=dict(lf=1., hf=2.)),
    NeuralMapper: dict(preset='fast', dim=8, residual=False),
}


class Recorded(ConfigModule):
    def __init__(self, a, b=2, *, c=3):
        super().__init__()
        self.values = (a, b, c)


@dataclass(frozen=True)
class OtherSettings:
    other:str = 'y'
    more:int = 1


class WithSettings(ConfigModule):
    def __init__(self, a, b=2, *, c=3, preset='standard', **overrides):
        super().__init__()
        self.settings = resolve_settings(dict(standard=OtherSettings()), preset, overrides, 'WithSettings')
        self.values = (a, b, c, self.settings)


@pytest.mark.parametrize('cls, args, kwargs', [
    *[(cls, *passed) for cls in (Recorded, WithSettings)
      for passed in (((1,), {}), ((1, 5), dict(c=7)), ((), dict(b=4, a=1)))],
    (WithSettings, (1,), dict(other='x', c=0)), (WithSettings, (1, 5), dict(more=2, preset='standard'))])
def test_configuration_holds_what_was_passed_however_it_was_passed(cls, args, kwargs):
    m = cls(*args, **kwargs)
    assert cls(**m.config).values == m.values
    assert cls(**m.config).config == m.config


def test_configuration_holds_every_setting_beside_what_was_passed():
    assert WithSettings(1, other='x').config == dict(a=1, other='x', more=1)


def test_configuration_is_that_of_the_class_and_not_of_its_base():
    class Derived(Recorded):
        def __init__(self, a, width=8): super().__init__(a, b=width)
    assert Derived(1, 9).config == dict(a=1, width=9)
    assert Derived(**Derived(1, 9).config).values == (1, 9, 3)


@pytest.mark.parametrize('cls', MODELS)
def test_models_are_rebuilt_from_json(cls):
    model = cls(2, 3, 24, **MODELS[cls])
    twin = cls(**json.loads(json.dumps(model.config)))
    twin.load_state_dict(model.state_dict()) # strict: the same names and shapes
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values()))
    assert twin.n_params == model.n_params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('cls', MODELS)
def test_state_holds_each_tensor_once(cls):
    pointers = [t.data_ptr() for t in cls(2, 3, 24, **MODELS[cls]).state_dict().values() if t.numel()]
    assert len(pointers) == len(set(pointers))


def test_frozen_parameters_are_not_counted():
    model = Snake(3)
    recorded = Recorded(1)
    recorded.layer = model
    assert recorded.n_params == 3
    model.requires_grad_(False)
    assert recorded.n_params == 0


# Snake

@pytest.mark.parametrize('shape, axis',
                         [((4, 3), 1), ((2, 3, 5), 1), ((2, 3, 2, 4), 1), ((2, 4, 3), -1), ((2, 2, 4, 3), -1)])
def test_snake_has_the_gradient_of_finite_differences(shape, axis):
    snake, x = Snake(3, axis).double(), torch.randn(shape, dtype=torch.float64, requires_grad=True)
    def func(x, a): return torch.func.functional_call(snake, dict(a=a), x)
    assert torch.autograd.gradcheck(func, (x, snake.a.detach().clone().requires_grad_()))


@pytest.mark.parametrize('axis', [1, -1])
def test_snake_is_x_plus_sine_squared(axis):
    snake, x = Snake(3, axis), torch.randn(2, 3, 3)
    a = snake.a.view(3, 1) if axis == 1 else snake.a
    torch.testing.assert_close(snake(x), x + (a * x).sin().square() / a)


def test_snake_refuses_a_second_derivative(): # its backward is not a differentiable one: better than a wrong number
    x = torch.randn(2, 3, 5, requires_grad=True)
    grad, = torch.autograd.grad(Snake(3)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'): grad.sum().backward()


# Dropout

@pytest.mark.parametrize('p', [0.1, 0.5, 0.99])
def test_dropout_drops_a_share_p_independently_and_keeps_the_mean(p):
    n = 200_001
    out = Dropout(p)(torch.ones(n))
    kept = out != 0
    dropped = round(p * 256) / 256
    assert abs(float((~kept).sum()) - dropped * n) < 5 * (dropped * (1 - dropped) * n) ** 0.5
    torch.testing.assert_close(out[kept], torch.full((int(kept.sum()),), 1 / (1 - dropped)))
    pairs = torch.stack((kept[:-1][::2], kept[1:][::2])).float()
    assert abs(torch.corrcoef(pairs)[0, 1]) < 5 / (n / 2) ** 0.5             # neighbours share a draw, but no bits
    counts = kept[:n // 8 * 8].view(-1, 8).sum(0).double()
    assert (counts - counts.mean()).abs().max() < 5 * (dropped * (1 - dropped) * n / 8) ** 0.5


def test_dropout_rests_in_eval_and_passes_the_gradient_of_what_it_keeps():
    x = torch.randn(3, 5, 7, requires_grad=True)
    assert Dropout(0.5).eval()(x) is not None
    assert torch.equal(Dropout(0.5).eval()(x), x) and torch.equal(Dropout(0.)(x), x)
    out = Dropout(0.5)(x)
    grad, = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(grad, out / x)


# Attention and standardisation

def test_self_attention_is_torchs_own():
    mine, theirs = SelfAttention(8, 2), nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(mine.qkv.weight)
        theirs.out_proj.weight.copy_(mine.out.weight)
        mine.out.bias.zero_()
    x = torch.randn(3, 7, 8)
    torch.testing.assert_close(mine(x), theirs(x, x, x, need_weights=False)[0])


def test_a_block_asked_for_some_tokens_gives_their_rows():
    block, x, positions = TransformerBlock(8, 2).eval(), torch.randn(2, 7, 8), torch.tensor([[6, 0, 3], [2, 2, 1]])
    torch.testing.assert_close(block(x, positions), block(x)[torch.arange(2)[:, None], positions])


def test_transformer_block_moves_with_its_tokens():
    block, x, order = TransformerBlock(8, 2).eval(), torch.randn(2, 7, 8), torch.randperm(7)
    torch.testing.assert_close(block(x)[:, order], block(x[:, order]))


def test_standardizer_takes_and_gives_back_units():
    x = torch.randn(50, 2, 30) * torch.tensor([[100.], [1e-6]]) + torch.tensor([[5000.], [0.]])
    standardizer = Standardizer(2).set(x.mean((0, 2)), x.std((0, 2), correction=0).tolist())
    z = standardizer(x)
    torch.testing.assert_close(z.mean((0, 2)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2), correction=0), torch.ones(2))
    torch.testing.assert_close(standardizer.inverse(z), x)


@pytest.mark.parametrize('make', [np.float32, np.float64, np.float16])
def test_standardizer_takes_its_statistics_from_series(make):
    x = (np.random.default_rng(0).standard_normal((50, 2, 30)) * [[3.], [0.1]] + [[40.], [-2.]]).astype(make)
    fitted, series = Standardizer(2).fit(torch.as_tensor(x)), x.astype(np.float64)
    known = Standardizer(2).set(series.mean((0, 2)), series.std((0, 2)))
    for a, b in zip(fitted.buffers(), known.buffers()):
        assert a.dtype == torch.float32 and a.shape == (2, 1)
        torch.testing.assert_close(a, b)
    z = fitted(torch.as_tensor(x))
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.std((0, 2), correction=0), torch.ones(2), atol=1e-2, rtol=0)


def test_statistics_of_series_are_summed_in_float64():
    x = 1e5 + torch.randn(2000, 1, 50)
    expected = x.double().std(correction=0).item()
    assert Standardizer(1).fit(x).std.item() == pytest.approx(expected, rel=1e-5)
    assert to_double(x).dtype == torch.float64 and torch.equal(to_double(x), x.double())


@pytest.mark.parametrize('value', [0., 0.1, 1000.1, -3.3e8])
def test_standardizer_gives_a_constant_channel_back(value):
    x = torch.randn(20, 2, 30)
    x[:, 1] = value
    standardizer = Standardizer(2).fit(x)
    assert standardizer.std[1] == 0 and not standardizer(x)[:, 1].any()
    assert (standardizer.inverse(torch.randn(20, 2, 30))[:, 1] == torch.tensor(value)).all()
    assert standardizer.std[0] == pytest.approx(1, rel=0.1)


def test_deviations_that_float32_cannot_resolve_become_zero_and_nothing_is_divided_by_it():
    std, mean = torch.tensor([2., 0., 1e-9, 1e-9, 5.]), torch.tensor([1., 0., 0., 1., -1e9])
    assert torch.equal(channel_std(std, mean), torch.tensor([2., 0., 1e-9, 0., 0.]))
    assert torch.equal(divisor(channel_std(std, mean)), torch.tensor([2., 1., 1e-9, 1., 1.]))


# Errors

@pytest.mark.parametrize('value', [0, -3, 2.5, None, 'three', float('nan'), float('inf'), [3], (3, 4)])
def test_sizes_that_are_no_whole_numbers_are_refused(value):
    with pytest.raises(ValueError, match='Model: width is .*, expected a whole number of at least 1'):
        positive_int(value, 'width', 'Model')


@pytest.mark.parametrize('value', [3, 3., torch.tensor([1, 2, 3]).numpy()[2]])
def test_whole_numbers_of_any_type_are_taken(value):
    size = positive_int(value, 'width', 'Model')
    assert size == 3 and type(size) is int


@pytest.mark.parametrize('cls', MODELS)
@pytest.mark.parametrize('args, what', [
    ((0, 2, 32), 'c_in is 0'), ((1, 2, 15), 'seq_len is 15, expected a whole number of at least 16'),
    ((1, 2, None), r'seq_len is None.*arch_config=dict\(seq_len=...\)')])
def test_models_refuse_sizes_that_cannot_be(cls, args, what):
    with pytest.raises(ValueError, match=what): cls(*args)
