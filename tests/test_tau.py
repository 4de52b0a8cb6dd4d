"""The temperature of stage 3: searched for, refined, one for all or one a class, constant or falling."""
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from stages import SETTINGS, Kept, make

from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.models.bands import BANDS
from tsai_nmvq.models.quantizer import code_spacing
from tsai_nmvq.train.mapper import MapperLearner

# Search

class SVQPrior(torch.nn.Module):
    "A prior whose samples are stochastic reconstructions at a known temperature."
    null_class = 2
    def __init__(self, tokenizer, x, tau):
        super().__init__()
        self.tokenizer, self.x, self.tau, self.weight = tokenizer, x, tau, torch.nn.Parameter(torch.zeros(1))
    def sample_tokens(self, y, generator=None):
        x = self.x[torch.randint(len(self.x), (len(y),), generator=generator)]
        return self.tokenizer.encode(x, self.tau, generator)


@pytest.mark.parametrize('place', [0, 1, 2])
def test_search_tau_finds_the_temperature_of_the_samples(dls, sharp_tokenizer, place):
    unit = code_spacing(*sharp_tokenizer.quantizers.values())
    grid = (0., 10 * unit, 1000 * unit)
    data = SeriesData.from_dls(dls)
    prior = SVQPrior(sharp_tokenizer, data.series(range(50)), grid[place])
    learn = MapperLearner(dls, sharp_tokenizer, prior, settings=SETTINGS['mapper'])
    table = learn.search_tau(grid, refine=0, n=300, n_kernels=100)
    assert table.columns.tolist() == ['tau', 'fid'] and table.tau.tolist() == list(grid) and learn.tau_table is table
    assert learn.tau == grid[place] == table.tau[table.fid.argmin()]


def test_refinement_looks_in_the_gaps_beside_the_best(dls, sharp_tokenizer):
    prior = SVQPrior(sharp_tokenizer, SeriesData.from_dls(dls).series(range(50)), 3.)
    learn = MapperLearner(dls, sharp_tokenizer, prior, settings=SETTINGS['mapper'])
    coarse = learn.search_tau((0., 0.01, 100.), refine=0, n=100, n_kernels=100)
    fine = learn.search_tau((0., 0.01, 100.), refine=3, n=100, n_kernels=100)
    assert {0., 0.01, 100.} < set(fine.tau) and fine.tau.is_monotonic_increasing and 4 < len(fine) <= 9
    assert fine.fid.min() < coarse.fid.min() and 0.1 < learn.tau < 50 and learn.tau == fine.tau[fine.fid.idxmin()]


def test_search_tau_gives_the_same_table_for_the_same_seed(learner):
    a, b, c = (learner('mapper').search_tau((0., 0.5), n=30, n_kernels=30, seed=seed) for seed in (1, 1, 2))
    assert a.equals(b) and not a.equals(c)


def test_tau_is_searched_for_when_training_starts_and_only_then(dls, trained, monkeypatch):
    calls = []
    def search(self): calls.append(1), setattr(self, 'tau', 0.5)
    monkeypatch.setattr(MapperLearner, 'search_tau', search)
    models = trained['tokenizer'].model, trained['prior'].model
    make('mapper', dls, *models, tau=0.2).fit_one_cycle(1, 1e-3)
    assert calls == []
    learn = make('mapper', dls, *models, tau=None)
    learn.fit_one_cycle(1, 1e-3), learn.fit_one_cycle(1, 1e-3)
    assert calls == [1]


def test_tau_needs_a_prior_and_a_search(dls, trained):
    learn = make('mapper', dls, trained['tokenizer'].model, tau=None)
    with pytest.raises(RuntimeError, match=r'needs the prior: .*or pass tau='): learn.search_tau()
    with pytest.raises(RuntimeError, match=r'call search_tau\(\) first'): learn.show_tau()


def test_show_tau_returns_axes(learner):
    learn = learner('mapper')
    learn.search_tau((0., 0.1, 0.5), refine=0, n=30, n_kernels=30)
    plt.close('all')
    ax = learn.show_tau()
    assert ax.lines[0].get_xdata().tolist() == [0., 0.1, 0.5] and ax.lines[1].get_xdata() == [learn.tau, learn.tau]
    own = plt.subplots()[1]
    assert learn.show_tau(own) is own


# Kinds of temperature

class TwoTempered(SVQPrior):
    "A prior whose samples are stochastic reconstructions of a class's own series, at a temperature of its own."
    def __init__(self, tokenizer, x, y, tau):
        super().__init__(tokenizer, x, tau)
        self.y = y
    def sample_tokens(self, y, generator=None):
        scores = torch.rand(len(y), len(self.y), generator=generator).masked_fill(y[:, None] != self.y, -1)
        return self.tokenizer.encode(self.x[scores.argmax(1)], self.tau[y], generator)


def test_each_class_can_have_its_own_temperature(dls, sharp_tokenizer):
    data, tau = SeriesData.from_dls(dls), torch.tensor([0., 100.])
    prior = TwoTempered(sharp_tokenizer, data.series(range(50)), torch.as_tensor(data.y), tau)
    learn = make('mapper', dls, sharp_tokenizer, prior, tau=None, per_class=True)
    table = learn.search_tau((0., 1., 100.), refine=0, n=300, n_kernels=200)
    assert learn.class_tau.tolist() == tau.tolist() and list(table.columns) == ['tau', 'fid', *data.spec.vocab]
    learn.add_cb(kept := Kept('xb', 'yb', 'stage_batch'))
    learn.fit_one_cycle(1, 1e-3)
    b = kept.batches[0]
    exact = sharp_tokenizer.decode(sharp_tokenizer.encode(b.yb[0]))
    off = (b.xb[0][:len(exact)] - exact).abs().mean((1, 2)) # samples of the prior follow
    y = b.stage_batch.y
    assert (off[y == 0] < 1e-4).all() and (off[y == 1] > 1e-3).all()


def test_tau_can_fall_over_the_tokens_of_a_band(dls, sharp_tokenizer):
    x = SeriesData.from_dls(dls).series(range(50))
    latents = sharp_tokenizer.latents(x)
    nearest = sharp_tokenizer.quantize(latents)
    asked = {}
    def quantizer(band): # keeps the temperatures it is asked for
        def tokens(z, tau, generator):
            asked[band] = tau
            return nearest[band]
        return SimpleNamespace(tokens=tokens)
    learn = make('mapper', dls, sharp_tokenizer, anneal=True, tau=1.)
    quantizers = {band: quantizer(band) for band in BANDS}
    learn.tokenizer = SimpleNamespace(decode=lambda tokens: tokens, quantizers=quantizers)
    learn.reconstruct(latents, torch.arange(50.))
    for band, z in latents.items():
        n = z.shape[1]
        falling = torch.arange(50.)[:, None] * torch.linspace(0, 2, n)
        assert torch.allclose(asked[band].sort(1).values, falling, atol=1e-4)
        assert not torch.equal(asked[band][1].argsort(), asked[band][2].argsort())
