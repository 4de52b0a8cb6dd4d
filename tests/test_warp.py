"""Smooth warps: order, ends and level stay, places and magnitudes move as far as the strength says."""
import numpy as np
import pytest
import torch

from tsai_nmvq.models.warp import MAGNITUDE, smooth_warp


def seeded(seed=0): return torch.Generator().manual_seed(seed)


def ramp(n=400, c_in=2, seq_len=101): return torch.linspace(0, 1, seq_len).expand(n, c_in, seq_len).clone()


@pytest.fixture
def time_alone(monkeypatch): monkeypatch.setattr('tsai_nmvq.models.warp.MAGNITUDE', 0.)


def test_no_strength_changes_nothing():
    x = ramp()
    assert smooth_warp(x, 0.) is x


def test_what_comes_after_the_end_of_a_series_stays(time_alone):
    x, lengths = ramp(200), torch.tensor([40, 101] * 100)
    t = smooth_warp(x, 0.05, generator=seeded(), lengths=lengths)
    assert torch.allclose(t[::2, :, 39:], x[::2, :, 39:], atol=1e-6) and (t.diff() >= -1e-6).all()
    assert (t - x)[::2, 0, 20].std() == pytest.approx(0.05, rel=0.3)
    everywhere = smooth_warp(x, 0.05, generator=seeded())
    assert torch.allclose(t[1::2], everywhere[1::2], atol=1e-6)


@pytest.mark.parametrize('strength', [0.01, 0.05, 0.2])
def test_time_keeps_its_order_and_its_ends(time_alone, strength): # a warped ramp is the curve of time itself
    t = smooth_warp(ramp(), strength, generator=seeded())
    assert (t.diff() >= -1e-6).all() and t.min() >= 0 and t.max() <= 1 + 1e-6
    assert t[..., 0].abs().max() < 1e-6 and (t[..., -1] - 1).abs().max() < 1e-6
    assert torch.equal(t[:, 0], t[:, 1])                                 # channels share it


def test_steps_move_as_far_as_the_strength_says(time_alone):
    moved = smooth_warp(ramp(4000), 0.02, generator=seeded()) - ramp(4000)
    assert moved[:, 0, 50].std() == pytest.approx(0.02, rel=0.15) and abs(moved.mean()) < 1e-3


def test_magnitudes_change_about_the_centre_and_channel_by_channel():
    centre = torch.tensor([[5.], [-3.]])
    x = centre + torch.ones(2000, 2, 64)
    factor = smooth_warp(x, 0.04, centre, seeded()) - centre
    assert factor.mean() == pytest.approx(1, abs=0.01) and factor.std() == pytest.approx(MAGNITUDE * 0.04, rel=0.25)
    assert np.corrcoef(factor[:, 0, 30], factor[:, 1, 30])[0, 1] == pytest.approx(0, abs=0.1)
    flat = centre.expand(3, 2, 64)
    assert torch.allclose(smooth_warp(flat, 0.1, centre, seeded()), flat)


def test_noise_keeps_most_of_its_energy(time_alone): # straight lines between steps would leave two thirds
    noise = torch.randn(200, 1, 128, generator=seeded(1))
    energy = smooth_warp(noise, 0.05, generator=seeded()).square().mean() / noise.square().mean()
    assert 0.78 < energy < 1


def test_curves_are_smooth(time_alone):
    speed = smooth_warp(ramp(), 0.02, generator=seeded()).diff()[..., 5:-5] * 100
    assert (speed.diff().abs() < 0.1).float().mean() > 0.95


def test_draws_come_from_the_generator_and_rows_differ():
    x, state = ramp(3), torch.get_rng_state()
    a, b, c = (smooth_warp(x, 0.05, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(a[0], a[1])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_the_type_stays(dtype): assert smooth_warp(ramp().to(dtype), 0.05).dtype == dtype
