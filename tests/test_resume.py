"""A fit that was killed goes on in the epoch it was in, and ends as one that was not."""
import os
import shutil
import socket
import subprocess
import sys
import warnings
from functools import partialmethod

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from safetensors.torch import save_file
from stages import STAGES, TINY, Killed, assert_same, assert_same_generator, fit, random_states, state

from tsai_nmvq import generator
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.rng import python_random
from tsai_nmvq.train import resume
from tsai_nmvq.train.losses import MapperLoss
from tsai_nmvq.train.mapper import MapperLearner

EPOCHS = 4, 4, 4


class KillAt(Callback):
    "Ends a stage in an epoch, at an event: within it in its third step, or after what all others do."
    order = 200

    def __init__(self, stage, epoch=None, event='after_batch'):
        def kill():
            inside = event != 'after_batch' or self.iter == 2
            if self.learn.stage == stage and epoch in (None, self.epoch) and inside: raise Killed('now')
        setattr(self, event, kill)


class Epochs(Callback):
    "Epochs that were trained: [(stage, epoch)]."
    def __init__(self): self.seen = []

    def after_epoch(self): self.seen.append((self.learn.stage, self.epoch))


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    "Each epoch is written, however short it is."
    monkeypatch.setattr(resume, 'PERIOD', 0.)
    monkeypatch.setattr(resume, 'SHARE', float('inf'))


@pytest.fixture(scope='module')
def whole(data):
    "A fit of four epochs a stage, without a kill or a checkpoint."
    return fit(*data, epochs=EPOCHS)


@pytest.fixture(scope='module')
def two_stages(whole, tmp_path_factory):
    "A file of its first two stages."
    path = whole.save(tmp_path_factory.mktemp('two')/'two.nmvq')
    gen = NMVQGenerator.load(path)
    gen._reset('mapper')
    return gen.save(path)


def killed(*args, at, **kwargs):
    "A fit that is killed -> epochs that were trained."
    epochs = Epochs()
    with pytest.raises(Killed): fit(*args, cbs=[epochs, KillAt(*at)], **dict(epochs=EPOCHS) | kwargs)
    return epochs.seen


def gone_on(*args, **kwargs):
    "A fit that says nothing and leaves its checkpoint alone behind -> (generator, epochs that were trained)."
    epochs, path = Epochs(), kwargs['checkpoint']
    with warnings.catch_warnings():
        warnings.filterwarnings('error', '.* is of another training')
        gen = fit(*args, cbs=[epochs], **dict(epochs=EPOCHS) | kwargs)
    assert os.listdir(path.parent) == [path.name]
    return gen, epochs.seen


def assert_same_in_all(a, b):
    assert_same_generator(a, b)
    assert a.tau_table.equals(b.tau_table) and repr(a.report()) == repr(b.report())
    np.testing.assert_array_equal(a.sample(6, seed=0)[0], b.sample(6, seed=0)[0])


def assert_tokenizer_starts_anew(series, path, settings, expected, **options):
    "Up to the next stage."
    seen = killed(*series, gen=NMVQGenerator(**settings), checkpoint=path, at=('prior', 0, 'before_epoch'), **options)
    assert seen[0] == ('tokenizer', 0)
    assert_same(state(NMVQGenerator.load(path).tokenizer), state(expected))


def epochs_from(stage, first): # of that stage, and all of the later ones
    first_of = {stage: first}
    return [(s, i) for s in STAGES[STAGES.index(stage):] for i in range(first_of.get(s, 0), EPOCHS[0])]


# Kills

@pytest.mark.parametrize('epoch, event, done', [
    (0, 'after_batch', 0), (0, 'after_epoch', 1), (1, 'after_batch', 1), (2, 'before_epoch', 2), (3, 'after_batch', 3),
    (3, 'after_epoch', 4), (None, 'after_fit', 4)])
def test_a_killed_stage_goes_on_bit_by_bit(data, whole, tmp_path, epoch, event, done):
    path = tmp_path/'fit.nmvq'
    for i, stage in enumerate(STAGES):
        first, before = killed(*data, checkpoint=path, at=(stage, epoch, event))[:1], STAGES[:i][-1:]
        assert first == ([(before[0], done)] if before and done < EPOCHS[0] else [(stage, 0)] if done else [])
        assert resume.part_of(path).exists() == bool(done)
    gen, epochs = gone_on(*data, checkpoint=path)
    assert epochs == epochs_from('mapper', done)
    assert_same_in_all(gen, whole)
    assert_same_in_all(NMVQGenerator.load(path), whole)


def test_many_kills_one_after_another(data, whole, tmp_path):
    path = tmp_path/'fit.nmvq'
    for at in [('tokenizer', 1), ('tokenizer', 1), ('tokenizer', 2), ('prior', 0), ('prior', 3), ('mapper', 1),
               ('mapper', 3, 'after_epoch'), ('mapper', None, 'after_fit')]:
        killed(*data, checkpoint=path, at=at)
    gen, epochs = gone_on(*data, checkpoint=path)
    assert epochs == []
    assert_same_in_all(gen, whole)


@pytest.mark.parametrize('n_saved', range(3))
@pytest.mark.parametrize('when', ['before', 'after'])
def test_a_kill_beside_the_write_of_a_finished_stage(data, whole, tmp_path, monkeypatch, n_saved, when):
    path, write, n_calls = tmp_path/'fit.nmvq', generator.write_checkpoint, []
    def write_or_die(*args):
        n_calls.append(1)
        if len(n_calls) != n_saved + 1: return write(*args)
        if when == 'after': write(*args)
        raise Killed
    with monkeypatch.context() as patch:
        patch.setattr(generator, 'write_checkpoint', write_or_die)
        with pytest.raises(Killed): fit(*data, epochs=EPOCHS, checkpoint=path)
    assert resume.part_of(path).exists()
    gen, epochs = gone_on(*data, checkpoint=path)
    assert epochs == [(stage, i) for stage in STAGES[n_saved + 1:] for i in range(EPOCHS[0])]
    assert_same_in_all(gen, whole)


def test_a_checkpoint_changes_nothing(data, whole, tmp_path):
    gen, epochs = gone_on(*data, checkpoint=tmp_path/'fit.nmvq')
    assert epochs == epochs_from('tokenizer', 0)
    assert_same_in_all(gen, whole)


def test_the_global_random_state_is_untouched(data, tmp_path):
    path = tmp_path/'fit.nmvq'
    torch.rand(1), np.random.rand()
    before = random_states()
    killed(*data, checkpoint=path, at=('prior', 2))
    assert random_states() == before
    gone_on(*data, checkpoint=path)
    assert random_states() == before


class Draws(Callback):
    "What each source of a training gives in each epoch, {(stage, epoch): numbers}."
    order = 150

    def __init__(self): self.seen = {}

    def before_epoch(self):
        draws = python_random().random(), torch.rand(1).item(), torch.randn(1).item()
        self.seen[self.learn.stage, self.epoch] = draws, self.dls.train.order.rng.getstate()


def test_all_sources_of_randomness_go_on(data, tmp_path):
    path, whole, again = tmp_path/'fit.nmvq', Draws(), Draws()
    fit(*data, epochs=(3, 3, 3), cbs=[whole])
    for stage in STAGES:
        with pytest.raises(Killed): fit(*data, epochs=(3, 3, 3), checkpoint=path, cbs=[again, KillAt(stage, 1)])
    fit(*data, epochs=(3, 3, 3), checkpoint=path, cbs=[again])
    assert again.seen == whole.seen and len(whole.seen) == 9


@pytest.mark.parametrize('from_stage', STAGES)
def test_a_killed_refit_goes_on_by_fit(data, whole, tmp_path, from_stage):
    path = tmp_path/'refit.nmvq'
    gen = NMVQGenerator.load(whole.save(path))
    killed(*data, gen=gen, method='refit', from_stage=from_stage, checkpoint=path, at=(from_stage, 2))
    again, epochs = gone_on(*data, checkpoint=path)
    assert epochs == epochs_from(from_stage, 2)
    assert_same_in_all(again, whole)


# Data, settings, options

def sets(data):
    "Kinds of series and labels."
    X, y, splits = data
    gappy = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
    sums = X.sum((1, 2)).astype(float)
    return {'no labels': (X, None, splits), 'gaps': (gappy, y, splits), 'targets': (X, sums, splits),
            'gaps and no labels': (gappy, None, splits),
            'sets of labels': (X, [['a', 'b'] if v == '1' else ['b'] for v in y], splits)}


def assert_kills_change_nothing(series, path, preset='fast', **options):
    "A kill in each stage, and the same generator."
    def new(): return NMVQGenerator(preset, **TINY)
    for stage in STAGES: killed(*series, gen=new(), checkpoint=path, at=(stage, 1), **options)
    gen, epochs = gone_on(*series, gen=new(), checkpoint=path, **options)
    assert epochs == [('mapper', 1)]
    assert_same_in_all(gen, fit(*series, gen=new(), **options))


@pytest.mark.parametrize('kind', ['no labels', 'gaps', 'targets', 'gaps and no labels', 'sets of labels'])
def test_all_kinds_of_data(data, tmp_path, kind):
    assert_kills_change_nothing(sets(data)[kind], tmp_path/'fit.nmvq', epochs=(2, 2, 2))


@pytest.mark.parametrize('options', [dict(preset='paper'), dict(bs=7, seed=3), dict(seed=2 ** 31)], ids=str)
def test_all_presets_and_options(data, tmp_path, options):
    assert_kills_change_nothing(data, tmp_path/'fit.nmvq', epochs=(2, 3, 2), **options)


@pytest.mark.parametrize('options', [*[dict(loss=loss) for loss in MapperLoss.WEIGHTS], dict(per_class=True),
                                     dict(per_class=True, anneal=True, loss='l1+gan')], ids=str)
def test_all_losses_and_temperatures_of_the_mapper(data, two_stages, tmp_path, monkeypatch, options):
    monkeypatch.setattr(MapperLearner, '__init__', partialmethod(MapperLearner.__init__, **options))
    path, expected = shutil.copy(two_stages, tmp_path/'fit.nmvq'), tmp_path.with_name(f'{tmp_path.name}_whole')
    for at in [('mapper', 1), ('mapper', 2, 'after_epoch')]: killed(*data, checkpoint=path, at=at)
    gen, epochs = gone_on(*data, checkpoint=path)
    assert epochs == [('mapper', 3)]
    expected.mkdir()
    assert_same_in_all(gen, gone_on(*data, checkpoint=shutil.copy(two_stages, expected/'fit.nmvq'))[0])


def test_the_temperature_is_not_searched_again(data, whole, two_stages, tmp_path, monkeypatch):
    path = shutil.copy(two_stages, tmp_path/'fit.nmvq')
    killed(*data, checkpoint=path, at=('mapper', 2))
    def search_tau(*args, **kwargs): raise AssertionError('searched again')
    monkeypatch.setattr(MapperLearner, 'search_tau', search_tau)
    assert_same_in_all(gone_on(*data, checkpoint=path)[0], whole)


# Files that are of no use

def part_of_a_killed_fit(data, tmp_path, at=('tokenizer', 2), **options):
    path = tmp_path/'fit.nmvq'
    killed(*data, checkpoint=path, at=at, **options)
    return path, resume.part_of(path)


def relabelled(X, y, splits):
    "Two labels change places: all statistics stay as they are."
    y, one, two = y.copy(), *(np.flatnonzero(y[splits[0]] == label)[0] for label in ('1', '2'))
    y[[one, two]] = y[[two, one]]
    return X, y, splits


@pytest.mark.parametrize('options, what', [
    (dict(seed=1), 'seed'), (dict(epochs=(5, 4, 4)), 'epochs'), (dict(bs=9), 'bs'),
    (dict(change=relabelled), 'data'),
    (dict(change=lambda X, y, splits: (X, None, splits)), 'data'),
    (dict(change=lambda X, y, splits: (X + 1, y, splits)), 'data'),
    (dict(gen=dict(TINY, tokenizer=dict(TINY['tokenizer'], dim=8))), 'settings'),
    (dict(gen=dict(TINY, tokenizer=dict(TINY['tokenizer'], preset='paper'))), 'lr, settings'),
])
def test_another_training_starts_anew_and_says_why(data, tmp_path, options, what):
    path, _ = part_of_a_killed_fit(data, tmp_path)
    options = dict(epochs=EPOCHS) | options
    series, settings = options.pop('change', lambda *data: data)(*data), options.pop('gen', TINY)
    alone = tmp_path/'alone.nmvq'
    killed(*series, gen=NMVQGenerator(**settings), checkpoint=alone, at=('prior', 0, 'before_epoch'), **options)
    expected = rf'fit.nmvq.part is of another training \(other .*{what}\): the tokenizer starts anew'
    with pytest.warns(UserWarning, match=expected):
        assert_tokenizer_starts_anew(series, path, settings, NMVQGenerator.load(alone).tokenizer, **options)


def test_a_stage_of_another_tokenizer_starts_anew(data, whole, tmp_path):
    path, _ = part_of_a_killed_fit(data, tmp_path, at=('prior', 2), seed=1)
    part = resume.part_of(path).read_bytes()
    other = NMVQGenerator.load(whole.save(path))
    other._reset('prior')
    other.save(path)
    resume.part_of(path).write_bytes(part)
    with pytest.warns(UserWarning, match=r'other seed, earlier stages\): the prior starts anew'):
        gen = fit(*data, epochs=EPOCHS, checkpoint=path)
    assert_same_in_all(gen, whole)


def test_a_part_without_its_checkpoint_starts_anew(data, whole, tmp_path):
    path, _ = part_of_a_killed_fit(data, tmp_path, at=('prior', 2))
    path.unlink()
    with pytest.warns(UserWarning, match='other stage, .*: the tokenizer starts anew'):
        gen = fit(*data, epochs=EPOCHS, checkpoint=path)
    assert_same_in_all(gen, whole)


def flipped(content):
    middle = len(content) * 3 // 4
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1:]


@pytest.mark.parametrize('damage', [
    lambda c: b'', lambda c: c[:7], lambda c: c[:100], lambda c: c[:len(c) // 2], lambda c: c[:-1], lambda c: c + b'0',
    flipped, lambda c: c[:len(c) // 2] + bytes(len(c) - len(c) // 2), lambda c: b'a text\n'],
    ids=['empty', 'seven bytes', 'within the header', 'half', 'without its last byte', 'longer', 'a bit flipped',
         'zeros for a half', 'a text'])
def test_a_damaged_file_starts_the_stage_anew(data, whole, tmp_path, damage):
    path, part = part_of_a_killed_fit(data, tmp_path)
    part.write_bytes(damage(part.read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        assert_tokenizer_starts_anew(data, path, TINY, whole.tokenizer)


@pytest.mark.parametrize('metadata', [None, dict(format='pt'), dict(header='{}'), dict(header='[1]'),
                                      dict(header='{"checksum": 0, "key": []}')], ids=str)
def test_safetensors_of_others_start_the_stage_anew(data, whole, tmp_path, metadata):
    path = tmp_path/'fit.nmvq'
    save_file(dict(a=torch.ones(2)), resume.part_of(path), metadata)
    assert_tokenizer_starts_anew(data, path, TINY, whole.tokenizer)


# Writing

def test_what_a_killed_process_left_goes(data, whole, tmp_path):
    path, _ = part_of_a_killed_fit(data, tmp_path, at=('mapper', 3, 'after_epoch')) # nothing is written to .part again
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    for name in ('fit.nmvq', 'fit.nmvq.part'):
        for pid in (dead.pid, os.getpid()): (tmp_path/f'.{name}.{socket.gethostname()}.{pid}.ab12').write_bytes(b'half')
    assert_same_in_all(gone_on(*data, checkpoint=path)[0], whole)


def test_short_epochs_are_not_written_each(data, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, 'PERIOD', 60.)
    path, part = part_of_a_killed_fit(data, tmp_path, at=('mapper', 3))
    assert path.exists() and not part.exists()
    monkeypatch.setattr(resume, 'PERIOD', 0.)
    monkeypatch.setattr(resume, 'SHARE', 1e-9) # a write, and then none for long
    killed(*data, checkpoint=path, at=('mapper', 3))
    assert gone_on(*data, checkpoint=path)[1] == epochs_from('mapper', 1)


def test_a_full_disk_ends_no_fit(data, whole, tmp_path, monkeypatch):
    path = tmp_path/'fit.nmvq'
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(resume, 'atomic_write', full)
    with pytest.warns(UserWarning, match='fit.nmvq.part cannot be written, epochs are not kept: .*No space') as warned:
        gen = fit(*data, epochs=EPOCHS, checkpoint=path)
    assert len([w for w in warned if 'epochs are not kept' in str(w.message)]) == len(STAGES)
    assert_same_generator(gen, whole)


def test_a_folder_in_its_place_is_named_before_anything_is_learnt(data, tmp_path):
    (tmp_path/'fit.nmvq.part').mkdir()
    with pytest.raises(IsADirectoryError, match='fit.nmvq.part is a folder'): fit(*data, checkpoint=tmp_path/'fit.nmvq')
