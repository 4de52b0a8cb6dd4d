"""What is added to batches by default: options are tried inside the training split, and the choice is kept."""
import numpy as np
import pandas as pd
import pytest
from fake_generator import FakeGenerator, loaders
from stages import STAGES, TINY, random_states, train_shortly

from tsai_nmvq.augment import trial
from tsai_nmvq.augment.options import FIGURES, NONE, OPTIONS, USUAL, AugmentationChoice
from tsai_nmvq.augment.transform import NMVQAugment
from tsai_nmvq.augment.trial import choose_augmentation, weighed
from tsai_nmvq.data.intake import SeriesData
from tsai_nmvq.generator import NMVQGenerator

N_STEPS = 8


@pytest.fixture
def quick(monkeypatch): monkeypatch.setattr(trial, 'STEPS', (N_STEPS, N_STEPS))


def chosen(**expected): # a choice of these expectations
    rows = {mode: dict(dict.fromkeys(FIGURES, 1.), expected=gain) for mode, gain in expected.items()}
    return AugmentationChoice(pd.DataFrame.from_dict(rows, 'index'))


def generator(choice): # a fake one that chose it
    gen = FakeGenerator()
    gen.augmentation = choice
    return gen


# The decision

@pytest.mark.parametrize('expected, name', [
    (dict(warp=0.5, generate=0.2), 'warp'), (dict(warp=0.5, generate=0.7), 'generate'),
    (dict(warp=-0.1, generate=-0.2), NONE)], ids=str)
def test_the_highest_expectation_is_chosen_unless_none_gains(expected, name):
    choice = chosen(**expected)
    assert choice.name == name and bool(choice.p) == (name != NONE) and choice.mode == (USUAL if name == NONE else name)
    assert repr(name) in choice.sentence if name != NONE else 'adds no rows' in choice.sentence


def test_what_was_not_tried_is_as_usual():
    choice = AugmentationChoice(reason='too few series')
    assert (choice.mode, choice.p) == (USUAL, OPTIONS[USUAL].p) and 'too few series' in choice.sentence
    assert 'earlier version' in AugmentationChoice().sentence and not AugmentationChoice().is_made


@pytest.mark.parametrize('choice', [AugmentationChoice(), AugmentationChoice(reason='it needs classes'),
                                    chosen(warp=-1., generate=0.3)], ids=['unknown', 'not tried', 'made'])
def test_a_choice_is_written_and_read(choice):
    again = AugmentationChoice.from_dict(choice.to_dict())
    assert again.sentence == choice.sentence and again.is_made == choice.is_made


def told(n, warp=0., generate=0.): # by networks of n series: shares of them that are won or lost over none
    right = np.repeat([0., 1], [n // 2, n - n // 2])
    def changed(share): return np.where(np.arange(n) < abs(share) * n, 1., right) if share > 0 else np.where(
        np.arange(n) >= (1 + share) * n, 0., right)
    return {NONE: right, 'warp': changed(warp), 'generate': changed(generate)}


def test_few_series_go_by_what_is_usual_and_many_by_their_own():
    few, many = (weighed(told(n, warp=-0.1, generate=-0.1)).loc['warp'] for n in (20, 20_000))
    assert few.tried == many.tried == -10 and few.expected > -2 and many.expected < -9.5
    assert few.deviation < 1.5 and few.error > 20 * many.error


def test_no_difference_on_few_series_is_no_certainty():
    assert weighed(told(30)).error.min() > 3


def test_another_mode_than_the_usual_needs_more_than_a_few_series():
    few, many = (AugmentationChoice(weighed(told(n, warp=0.02, generate=0.03))) for n in (100, 20_000))
    assert few.name == USUAL and many.name == 'generate'


# The trial

def test_it_is_the_same_by_seed_and_leaves_random_states_alone(gen, data, quick):
    states, training = random_states(), SeriesData.from_arrays(*data)
    first, again = (choose_augmentation(gen.sampler, training, seed) for seed in (0, 0))
    assert first.table.equals(again.table) and random_states() == states
    assert (trial._Trial(gen.sampler, training, 0).fold != trial._Trial(gen.sampler, training, 1).fold).any()
    assert list(first.table.index) == list(OPTIONS) and list(first.table) == list(FIGURES)


def test_each_series_is_held_back_once_and_classes_stand_in_each_fold_alike(gen, data):
    training = SeriesData.from_arrays(*data)
    fold = trial._Trial(gen.sampler, training, 0).fold
    counts = np.array([np.bincount(training.y[fold == i]) for i in range(trial.FOLDS)])
    assert counts.sum() == len(training) and (np.ptp(counts, axis=0) <= 1).all()


def test_nothing_held_back_is_added(gen, data, quick, monkeypatch):
    "Rows that are added come from the series that the network learns from: samples too."
    training, held, drawn = SeriesData.from_arrays(*data), [], []
    init = trial._AddedRows.__init__
    def watch(self, mode, sampler, data, x, rows, seed):
        init(self, mode, sampler, data, x, rows, seed)
        held.append(np.setdiff1d(np.arange(len(data)), rows))
        drawn.append((mode, len(self.sampler.anchors), len(self.y)))
    monkeypatch.setattr(trial._AddedRows, '__init__', watch)
    choose_augmentation(gen.sampler, training)
    assert len(held) == len(OPTIONS) * trial.FOLDS
    for rows, (mode, n_anchors, n) in zip(held, drawn):
        learnt = len(training) - len(rows)
        assert (n_anchors, n) == ((len(training), learnt) if mode == 'warp' else (learnt, trial.POOL * learnt))


def test_rows_that_tell_the_class_are_found_to_help(gen, data, monkeypatch):
    "Added rows of other series with this label are noise: the trial sees it."
    monkeypatch.setattr(trial, 'STEPS', (60, 60))
    training = SeriesData.from_arrays(*data)
    def noise(sampler, x, *_): return x.flip(0)
    good = choose_augmentation(gen.sampler, training).table.tried['warp']
    monkeypatch.setitem(trial.VARIATIONS, 'warp', noise)
    assert choose_augmentation(gen.sampler, training).table.tried['warp'] < good


def test_the_only_series_of_a_class_is_learnt_and_not_asked(gen, data, quick):
    X, y, (train, _) = data
    y = np.array(['rare' if i == train[3] else label for i, label in enumerate(y)])
    rare = trial._Trial(gen.sampler, SeriesData.from_arrays(X, y, (train, train)), 0)
    assert list(np.flatnonzero(~rare.asked)) == [3] and rare.fold[3] == trial.FOLDS and len(rare.right(NONE)) == 50


def test_what_cannot_be_tried_says_why(gen, data):
    X, y, (train, _) = data
    training = SeriesData.from_arrays(X, y, (train[:12], train))
    assert 'too few' in choose_augmentation(gen.sampler, training).reason
    assert 'classes' in choose_augmentation(gen.sampler, SeriesData.from_arrays(X, None, (train, train))).reason


def test_a_fit_tries_and_its_file_knows(data, tmp_path, quick, monkeypatch):
    with monkeypatch.context() as patch:
        train_shortly(patch)
        patch.setattr(trial, 'MIN_SERIES', 20)
        gen = NMVQGenerator(**TINY).fit(*data, epochs=dict.fromkeys(STAGES, 1))
    assert gen.augmentation.is_made and gen.augmentation.table is not None
    loaded = NMVQGenerator.load(gen.save(tmp_path/'gen.nmvq'))
    assert loaded.augmentation.table.equals(gen.augmentation.table) and repr(loaded.report()) == repr(gen.report())
    sentence = gen.augmentation.sentence
    assert sentence in repr(gen.report()) and sentence[:20] in gen.report()._repr_html_()


# What NMVQAugment makes of it

def test_the_transform_does_what_was_chosen():
    assert NMVQAugment(generator(chosen(warp=1., generate=2.))).mode == 'generate'
    aug = NMVQAugment(generator(chosen(warp=1., generate=0.)))
    assert (aug.mode, aug.p) == ('warp', 1.)
    none = NMVQAugment(generator(chosen(warp=-1., generate=-2.)))
    assert none.p == 0 and loaders(none).train.one_batch()[0].shape[0] == 100


def test_what_is_named_goes_before_what_was_chosen():
    gen = generator(chosen(warp=-1., generate=-2.))
    assert NMVQAugment(gen, mode='warp').p == NMVQAugment(gen, balance=True).p == 1 and NMVQAugment(gen, p=0.5).p == 0.5
    assert NMVQAugment(generator(chosen(warp=1., generate=2.)), mode='warp').mode == 'warp'


def test_rows_without_a_class_of_the_generator_s_are_warped():
    gen = generator(chosen(warp=1., generate=2.))
    assert NMVQAugment(gen).mode == 'generate'
    X, y = np.zeros((20, 1, 16), np.float32), np.linspace(0, 1, 20)
    for how in (dict(tfms=None), dict(tfms='class')):
        aug = NMVQAugment(gen)
        labels = y if how['tfms'] is None else np.repeat(['x', 'z'], 10)     # targets, and classes of another data set
        assert len(loaders(aug, X=X, y=labels, bs=20, **how).train.one_batch()[0]) == 40 and aug.mode == 'warp'
    with pytest.raises(ValueError, match='not in the generator'): # where it was asked for
        loaders(NMVQAugment(gen, mode='generate'), X=X, y=np.repeat(['x', 'z'], 10), bs=20)
