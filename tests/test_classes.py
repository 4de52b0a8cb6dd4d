"""Classes of a loader and of a generator: matched by name, both ways, and evened out as far as rows allow."""
import numpy as np
import pytest
import torch
from fake_generator import FakeGenerator, batch, class_of, is_synthetic, loaders, real_rows, sampled
from tsai.basics import TSClassification, get_ts_dls

from tsai_nmvq.augment.classes import ClassMap, balancing_weights
from tsai_nmvq.augment.transform import NMVQAugment

# Of their own

def test_a_match_goes_both_ways():
    match = ClassMap.match(['a', 'x', 'c'], ('c', 'b', 'a'), 'skip')
    assert match.to_gen.tolist() == [2, -1, 0] and match.to_dls.tolist() == [2, -1, 0]
    match = ClassMap.match(['b', 'c', 'd', 'a'], ('a', 'b', 'c', 'd'))
    assert match.to_gen.tolist() == [1, 2, 3, 0] and match.to_dls.tolist() == [3, 0, 1, 2]


@pytest.mark.parametrize('names', [['2', '1'], [2, 1], [np.str_('2'), np.str_('1')], np.asarray([2, 1])], ids=repr)
@pytest.mark.parametrize('vocab', [('1', '2'), (1, 2)], ids=repr)
def test_names_are_matched_across_types(names, vocab):
    assert ClassMap.match(names, vocab).to_gen.tolist() == [1, 0]


def test_without_loaders_ids_are_the_generators_own():
    own = ClassMap.identity(3)
    assert own.to_gen.tolist() == own.to_dls.tolist() == [0, 1, 2]
    assert own.same_as(ClassMap.match('abc', 'abc')) and not own.same_as(ClassMap.match('acb', 'abc'))
    assert own.to(torch.device('cpu')) is own


@pytest.mark.parametrize('counts, real, synthetic, even', [
    ((900, 100), 0.5, 0.5, True), ((900, 100), 0.1, 0.9, True), ((900, 100), 0.8, 0.2, False),
    ((500, 300, 200), 1., 1., True), ((1, 1), 0., 1., True)])
def test_synthetic_rows_even_the_classes_out(counts, real, synthetic, even):
    proportions = np.asarray(counts) / sum(counts)
    weights = balancing_weights(proportions, real, synthetic)
    share = real * proportions + synthetic * weights / weights.sum()
    assert (weights >= 0).all() and np.ptp(share) < np.ptp(real * proportions + synthetic * proportions) + 1e-12
    assert np.allclose(share, (real + synthetic) / len(counts)) == even


def test_where_nothing_is_to_be_drawn_every_class_may_be():
    assert balancing_weights(np.asarray([0.5, 0.5]), 1., 0.).tolist() == [1., 1.]


# In training batches

@pytest.mark.parametrize('vocab', [('a', 'b', 'c'), ('c', 'a', 'b'), ('b', 'x', 'c', 'a')], ids=''.join)
def test_a_synthetic_row_is_of_its_label_whatever_the_order_of_the_vocabs(vocab):
    dls = loaders(sampled(FakeGenerator(vocab, (9,) * len(vocab)), p=0.5), counts=(40, 30, 30))
    x, y = batch(dls)
    names, synthetic = np.asarray(dls.vocab)[y], is_synthetic(x).numpy()
    assert 20 < synthetic.sum() < 80
    assert (np.asarray(vocab)[class_of(x)[synthetic]] == names[synthetic]).all()
    assert (class_of(x)[~synthetic] == y[~synthetic]).all()
    assert sorted(names) == ['a'] * 40 + ['b'] * 30 + ['c'] * 30


def test_classes_are_matched_across_kinds_of_label():
    X, y = real_rows(names='12345678')
    x, y = batch(loaders(sampled(FakeGenerator((2, 1)), p=1.), X=X, y=y)) # ints there, strings here
    assert (class_of(x) == 1 - y).all()


# Classes that one side does not know

def test_unknown_classes_are_refused_by_name():
    match = r"labels \['c'\] are not in the generator's vocab \['a', 'b'\]; .*unknown='skip'"
    with pytest.raises(ValueError, match=match):
        loaders(sampled(FakeGenerator()), counts=(4, 4, 4))


@pytest.mark.parametrize('append', [False, True])
@pytest.mark.parametrize('balance', [False, True])
def test_unknown_classes_are_skipped_on_request(append, balance):
    gen = FakeGenerator(('c', 'a', 'z'), (40, 40, 20))
    aug = sampled(gen, p=1., unknown='skip', append=append, balance=balance)
    x, y = batch(loaders(aug, counts=(30, 30, 40)))
    synthetic = is_synthetic(x)
    assert synthetic.sum() >= 50 and not (y[synthetic] == 1).any() and (x[y == 1][:, 0, 0] == 1).all()
    assert (torch.tensor([1, -1, 0])[y[synthetic]] == class_of(x)[synthetic]).all()


def test_one_transform_does_not_serve_loaders_of_other_classes():
    aug = sampled(FakeGenerator(('a', 'b', 'c'), (9, 9, 9)))
    loaders(aug), loaders(aug)
    X, y = real_rows(names='bcdefghi')
    with pytest.raises(ValueError, match='make one for each data set'): loaders(aug, X=X, y=y)


@pytest.mark.parametrize('settings', [dict(mode='generate'), dict(mode='redraw'), dict(balance=True)], ids=str)
def test_loaders_that_are_not_told_are_refused_where_classes_count(settings): # ids would be taken for the generator's
    with pytest.raises(ValueError, match='pass it in batch_tfms'):
        loaders().add_tfms([NMVQAugment(FakeGenerator(('b', 'a')), **settings)], 'after_batch')


@pytest.mark.parametrize('gen, settings', [(FakeGenerator(('b', 'a')), dict()),
                                           (FakeGenerator((), ()), dict(mode='perturb'))])
def test_added_later_it_varies_rows_all_the_same(gen, settings):
    dls = loaders()
    dls.add_tfms([NMVQAugment(gen, **settings)], 'after_batch', [0])
    x, y = next(iter(dls.train))
    x, y = x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor)
    assert len(x) == 200 and (x[:100, 0, 0] == y[:100]).all() and (x[100:, 0, 0] > y[100:] + 0.4).all()


# Shares of the loader, not of the training split

def with_weights(aug, weights): # of 900 rows of one class and 100 of another
    X, y = real_rows((900, 100))
    return get_ts_dls(X, y, splits=[list(range(1000)), [0]], tfms=[None, TSClassification()], bs=1000,
                      batch_tfms=[aug], weights=np.where(y == 'b', weights, 1.))


@pytest.mark.parametrize('mode', ['warp', 'redraw', 'generate'])
@pytest.mark.parametrize('weight', [1., 9., 30.])
def test_balance_knows_the_weights_of_the_loader(mode, weight):
    np.random.seed(0)
    dls = with_weights(NMVQAugment(FakeGenerator(counts=(900, 100)), mode=mode, balance=True, seed=0), weight)
    rare = torch.cat([batch(dls.train)[1] for _ in range(3)]).float().mean()
    assert abs(float(rare) - 0.5) < 0.05


@pytest.mark.parametrize('mode', ['warp', 'redraw', 'generate'])
def test_without_balance_added_rows_follow_the_loader(mode):
    np.random.seed(0)
    dls = with_weights(NMVQAugment(FakeGenerator(counts=(900, 100)), mode=mode, seed=0), 9.)
    x, y = batch(dls.train)
    assert len(x) == 2000 and abs(float((y[1000:] == 1).float().mean()) - 0.5) < 0.06
    assert (class_of(x) == y).all()


def test_added_rows_are_variations_of_rows_of_earlier_batches_too():
    X = np.arange(64, dtype=np.float32)[:, None, None] / 64 + np.zeros((1, 1, 16), np.float32)
    dls = loaders(NMVQAugment(FakeGenerator(), seed=0), X=X, y=np.asarray(list('ab') * 32), bs=8)
    seen, others = set(), 0
    for x, _ in dls.train:
        x = (x.as_subclass(torch.Tensor)[:, 0, 0] * 64).round()
        real, made = set(x[:8].tolist()), set((x[8:] - 6400).tolist())
        seen |= real
        assert made <= seen
        others += len(made - real)
    assert others > 20
