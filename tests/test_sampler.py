"""Class ids to series: decoded, mapped where the mapper is used, some at a time; and series to their like."""
import copy
import dataclasses

import numpy as np
import pytest
import torch
from stages import with_selection

from tsai_nmvq import sampler
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.models.warp import smooth_warp
from tsai_nmvq.sampler import MapperUse, Sampler

# Class ids

def test_sample_like_follows_the_names_of_another_vocab(gen, monkeypatch):
    asked, sample = [], Sampler.sample
    def watched(self, ids, *args):
        asked.append(ids.tolist())
        return sample(self, ids, *args)
    monkeypatch.setattr(Sampler, 'sample', watched)
    xb, yb = torch.zeros(3, 1, 50), torch.tensor([0, 1, 1])
    for vocab in (None, ['2', '1'], [np.str_('2'), np.str_('2')]): gen.sample_like(xb, yb, vocab=vocab)
    assert asked == [[0, 1, 1], [1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize('yb', [[0, 2], [-1, 0]])
def test_class_ids_that_do_not_exist_are_refused(gen, yb): # id 2 is the null class: no label
    with pytest.raises(ValueError, match=r'class ids run from .* the generator has 2 classes'):
        gen.sample_like(torch.zeros(2, 1, 50), torch.tensor(yb))


# Samples

def test_the_prior_alone_decodes_what_it_draws_and_mapped_samples_map_these(gen):
    gen = with_selection(gen, [2., 2, 2], [1., 1, 1]) # the mapper is used
    y, rng = torch.tensor([0, 1, 1]), torch.Generator().manual_seed(3)
    with torch.no_grad():
        x = gen.tokenizer.decode(gen.prior.sample_tokens(y, generator=rng))
        x_map = gen.mapper(x, rng)
    def sample(mapped): return gen.sample(3, y=['1', '2', '2'], seed=3, mapped=mapped, redraw=1)[0]
    before, after = sample(False), sample(True)
    assert (before == x.numpy()).all() and (after == x_map.numpy()).all() and (before != after).any()


def test_samples_of_anchors_are_their_decoded_tokens_and_details_warped(gen):
    gen = copy.copy(gen)
    gen.anchors = dataclasses.replace(gen.anchors, strength=0.03)
    y, rng = torch.tensor([0, 1, 1]), torch.Generator().manual_seed(3)
    with torch.no_grad():
        rows = gen.anchors.draw(y, rng)
        details = gen.anchors.details[rows] * gen.tokenizer.standardizer.std
        x = gen.tokenizer.decode(gen.anchors.tokens_of(rows)) + details
        x = smooth_warp(x, gen.anchors.strength, torch.tensor(gen.spec.mean)[:, None], rng)
    made = gen.sample(3, y=['1', '2', '2'], seed=3, mapped=False, redraw=0)[0]
    assert np.array_equal(made, x.numpy())


@pytest.mark.parametrize('redraw', [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(gen, redraw):
    with pytest.raises(ValueError, match='expected a share of tokens'): gen.sample(2, redraw=redraw)


def test_the_more_is_drawn_anew_the_fewer_samples_are_of_an_anchor(gen, monkeypatch):
    monkeypatch.setattr(sampler, 'smooth_warp', lambda x, *_: x)
    gen = copy.copy(gen)
    gen.anchors = dataclasses.replace(gen.anchors, details=None)
    with torch.no_grad(): known = gen.tokenizer.decode(gen.anchors.tokens).numpy().round(3)
    known = {x.tobytes() for x in known}
    shares = []
    for redraw in (0., 0.3, 1.):
        made = gen.sample(60, seed=0, mapped=False, redraw=redraw)[0].round(3)
        shares.append(np.mean([x.tobytes() in known for x in made]))
    assert shares[0] == 1 and shares[0] > shares[1] > shares[2]


def test_settings_of_sampling_are_passed_on(gen): # guidance scale 0 is unconditional
    a, b = (gen.sample(20, y=y, seed=0, redraw=1., cfg_scale=0.)[0] for y in ('1', '2'))
    c, d = (gen.sample(20, y=y, seed=0, redraw=1.)[0] for y in ('1', '2'))
    assert (a == b).all() and (c != d).any()


@pytest.mark.parametrize('bound', ['CHUNK_LOGITS', 'CHUNK_VALUES'])
def test_series_are_made_some_at_a_time(gen, monkeypatch, bound):
    monkeypatch.setattr(sampler, bound, dict(cpu=1, cuda=1))
    chunks, decode = [], gen.tokenizer.decode
    monkeypatch.setattr(gen.tokenizer, 'decode', lambda tokens: (chunks.append(len(tokens['lf'])), decode(tokens))[1])
    X, y = gen.sample(40, seed=0)
    assert chunks == [16, 16, 8]
    assert X.shape == (40, 1, 50) and len(np.unique(X.round(3), axis=0)) > 20 and len(y) == 40


# Where the mapper is used

def test_a_mapper_that_harms_is_left_out(gen):
    harmed = with_selection(gen, [1., 1, 1], [2., 2, 2])
    helped = with_selection(gen, [2., 2, 2], [1., 1, 1])
    plain, x = gen.sample(10, seed=0, mapped=False)[0], torch.randn(4, 1, 50)
    assert np.array_equal(harmed.sample(10, seed=0)[0], plain)
    assert not np.array_equal(helped.sample(10, seed=0)[0], plain)
    def perturbed(gen, **kwargs): return gen.perturb(x, generator=torch.Generator().manual_seed(0), **kwargs)
    assert torch.equal(perturbed(harmed), perturbed(gen, mapped=False))
    assert not torch.equal(perturbed(harmed), perturbed(helped)) and torch.equal(harmed.map(x), helped.map(x))


def test_a_class_that_the_mapper_harms_is_not_mapped(gen, tmp_path):
    harmed = with_selection(gen, [2., 1, 2], [1., 2, 1])
    for label, mapped in zip(gen.spec.vocab, (False, True)):
        same = np.array_equal(harmed.sample(6, label, seed=0)[0], gen.sample(6, label, seed=0, mapped=False)[0])
        assert same != mapped
    loaded = NMVQGenerator.load(harmed.save(tmp_path/'harmed.nmvq'))
    assert loaded.mapper_selection.skipped_classes == (gen.spec.vocab[0],)
    assert np.array_equal(loaded.sample(9, seed=1)[0], harmed.sample(9, seed=1)[0])


IDS = torch.tensor([0, 1, 1, 0, 0, 1, 0])


def mapped_rows(gen, use, make): # -> which rows of `make(sampler)` are mapped, all others being as without a mapper
    def made(**kwargs): return make(Sampler(gen.spec, 'cpu', gen.tokenizer, gen.prior, **kwargs))
    x, unmapped, mapped = made(mapper=gen.mapper, mapper_use=use), made(), made(mapper=gen.mapper)
    rows = (x == mapped).flatten(1).all(1)
    assert ((mapped != unmapped).flatten(1).any(1)).all() and torch.equal(x[~rows], unmapped[~rows])
    return rows.tolist()


@pytest.mark.parametrize('use, skips', [(MapperUse(), ()), (MapperUse(False), (0, 1)), (MapperUse(True, (0,)), (0,)),
                                        (MapperUse(True, (1,)), (1,)), (MapperUse(True, (0, 1)), (0, 1))], ids=str)
def test_samples_are_mapped_as_the_mapper_use_says(gen, use, skips):
    def make(sampler): return sampler.sample(IDS, torch.Generator().manual_seed(0))
    assert mapped_rows(gen, use, make) == [i not in skips for i in IDS.tolist()]


@pytest.mark.parametrize('use, skips', [(MapperUse(), ()), (MapperUse(False), (0, 1)), (MapperUse(True, (0,)), (0,)),
                                        (MapperUse(True, (1,)), (1,))], ids=str)
def test_perturbed_series_of_known_classes_are_mapped_as_the_mapper_use_says(gen, data, use, skips):
    x = torch.as_tensor(data[0][:len(IDS)])
    def make(sampler): return sampler.perturb(x, 1., torch.Generator().manual_seed(0), ids=IDS)
    assert mapped_rows(gen, use, make) == [i not in skips for i in IDS.tolist()]


@pytest.mark.parametrize('use, mapped', [
    (MapperUse(), True), (MapperUse(False), False), (MapperUse(True, (1,)), False)], ids=str)
def test_perturbed_series_of_unknown_classes_are_mapped_unless_a_class_is_skipped(gen, data, use, mapped):
    x = torch.as_tensor(data[0][:len(IDS)])
    def make(sampler): return sampler.perturb(x, 1., torch.Generator().manual_seed(0))
    assert mapped_rows(gen, use, make) == [mapped] * len(IDS)


def test_perturbed_series_keep_their_class_when_they_are_made_some_at_a_time(gen, data, monkeypatch):
    monkeypatch.setattr(sampler, 'CHUNK_VALUES', dict(cpu=1))
    gen = with_selection(gen, [2., 1, 2], [1., 2, 1])
    gen.mapper = FarAway()
    y = np.asarray(['1', '2', '2'] * 12)
    x = gen.perturb(data[0][:len(y)], y=y)
    assert len(x) == len(y) and ((x > 500).all((1, 2)) == (y == '2')).all()
    assert (gen.sample(len(y), y, seed=0)[0] > 500).all((1, 2)).tolist() == (y == '2').tolist()


class FarAway(torch.nn.Module):
    "A mapper whose series nobody takes for others."
    def forward(self, x, generator=None): return x + 1000


@pytest.mark.parametrize('kind', [list, np.asarray, torch.as_tensor])
def test_labels_of_perturbed_series_go_by_name(data, gen, kind):
    gen = with_selection(gen, [2., 1, 2], [1., 2, 1]) # skips '1'
    gen.mapper, x = FarAway(), data[0][:4]
    assert ((gen.perturb(x, y=kind([2, 1, 1, 2])) > 500).all((1, 2)) == [True, False, False, True]).all()
    assert (gen.perturb(x) < 500).all() # classes are not known
    with pytest.raises(ValueError, match=r"labels \['3'\] are not in the generator's vocab \['1', '2'\]"):
        gen.perturb(x, y=['1', '2', '3', '1'])


@pytest.mark.parametrize('y', [['1'], ['1'] * 3, ['1'] * 21], ids=len)
def test_perturbed_series_need_a_label_each(gen, monkeypatch, y):
    monkeypatch.setattr(sampler, 'CHUNK_VALUES', dict(cpu=1))
    with pytest.raises(ValueError, match='labels'): gen.perturb(torch.zeros(20, 1, 50), y=y)


@pytest.mark.parametrize('name', ['use_mapper', 'skipped_ids'])
def test_a_mapper_use_cannot_be_changed(name):
    with pytest.raises(dataclasses.FrozenInstanceError): setattr(MapperUse(), name, ())


# Series to their like

def test_a_reconstruction_is_of_the_nearest_codes(data, gen):
    x = torch.as_tensor(data[0][:9])
    with torch.no_grad(): nearest = gen.tokenizer.decode(gen.tokenizer.encode(x))
    assert torch.equal(gen.sampler.reconstruct(x), nearest)
    assert np.array_equal(gen.sampler.reconstruct(x.numpy()), nearest.numpy())


def test_magnitude_is_in_units_of_the_code_spacing(data, gen):
    distances = []
    for quantizer in gen.tokenizer.quantizers.values():
        codes = quantizer.codebook[quantizer.used]
        distances.append(torch.cdist(codes, codes).square().fill_diagonal_(torch.inf).amin(1))
    spacing = float(torch.cat(distances).median())
    assert gen.sampler.code_spacing == pytest.approx(spacing, rel=1e-3)
    x = torch.as_tensor(data[0][:9])
    with torch.no_grad():
        tokens = gen.tokenizer.encode(x, 0.7 * gen.sampler.code_spacing, torch.Generator().manual_seed(2))
    perturbed = gen.perturb(x, 0.7, torch.Generator().manual_seed(2), mapped=False)
    assert torch.equal(perturbed, gen.tokenizer.decode(tokens).detach())


@pytest.mark.parametrize('method', ['map', 'perturb'])
@pytest.mark.parametrize('n', [0, 1, 300])
def test_map_and_perturb_give_back_what_they_take(data, gen, method, n):
    x = np.resize(data[0], (n, 1, 50))
    for xb in (x, x.astype(np.float64), torch.as_tensor(x), torch.as_tensor(x).half()):
        out = getattr(gen, method)(xb)
        assert type(out) is type(xb) and out.shape == xb.shape and out.dtype == xb.dtype


def test_map_is_the_mapper_alone(data, gen):
    x = torch.as_tensor(data[0][:9])
    with torch.no_grad(): expected = gen.mapper(x, torch.Generator().manual_seed(4))
    assert torch.equal(gen.map(x, seed=4), expected)
    assert torch.equal(gen.map(x), gen.map(x)) and not torch.equal(gen.map(x), x)


def test_perturb_draws_codes_around_the_series(data, gen):
    x = torch.as_tensor(data[0][:9])
    with torch.no_grad(): nearest = gen.tokenizer.decode(gen.tokenizer.encode(x))
    assert torch.equal(gen.perturb(x, 0., mapped=False), nearest)
    drawn = [gen.perturb(x, 1., torch.Generator().manual_seed(seed), mapped=False) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], nearest)


# Variations of a row

@pytest.fixture
def warping(gen):
    gen = copy.copy(gen)
    gen.anchors = dataclasses.replace(gen.anchors, strength=0.03, max_redraw=0.3)
    return gen


def varied(gen, x, how, magnitude, ids=None, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return gen.sampler.warp(x, magnitude, rng) if how == 'warp' else gen.sampler.redraw(x, magnitude, ids, rng)


@pytest.mark.parametrize('how', ['warp', 'redraw'])
def test_variations_of_no_strength_are_the_row_itself(warping, data, how): # what the tokenizer leaves out is put back
    x = torch.as_tensor(data[0][:9])
    assert torch.allclose(varied(warping, x, how, 0.), x, atol=1e-5)


@pytest.mark.parametrize('how', ['warp', 'redraw'])
def test_variations_move_the_further_the_stronger_and_repeat_by_seed(warping, data, how):
    x = torch.as_tensor(data[0][:30])
    ids = torch.zeros(30, dtype=torch.long)
    moved = [float((varied(warping, x, how, m, ids) - x).abs().mean()) for m in (0.2, 0.5, 1.)]
    assert 0 < moved[0] < moved[1] < moved[2]
    a, b, c = (varied(warping, x, how, 1., ids, seed) for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_rows_of_unknown_class_are_redrawn_without_one(warping, data):
    x = torch.as_tensor(data[0][:6])
    unknown = varied(warping, x, 'redraw', 1., torch.full((6,), -1))
    assert torch.equal(unknown, varied(warping, x, 'redraw', 1., None))
    assert not torch.equal(unknown, varied(warping, x, 'redraw', 1., torch.ones(6, dtype=torch.long)))


def test_a_generator_without_anchors_says_what_to_do(gen, data):
    gen = copy.copy(gen)
    gen.anchors = None
    with pytest.raises(RuntimeError, match="no anchors.*fit it again, or use mode='perturb'"):
        varied(gen, torch.as_tensor(data[0][:2]), 'warp', 1.)
