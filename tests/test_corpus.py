"""Corpora in blocks: the same series whoever draws them, written by many, gone on with after a kill."""
import json
import subprocess
import sys
from copy import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from stages import random_states

from tsai_nmvq import corpus
from tsai_nmvq.commands.sample import sample
from tsai_nmvq.corpus import Corpus, dask_corpus, open_corpus, write_corpus
from tsai_nmvq.data.labels import largest_remainder
from tsai_nmvq.generator import NMVQGenerator

N = 70


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch): monkeypatch.setattr(corpus, 'BLOCK_ROWS', 16)


@pytest.fixture
def whole(gen, tmp_path): # (X, y) of one run
    return open_corpus(write_corpus(gen, tmp_path/'whole', N, seed=3))


def same(a, b): return np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])


@pytest.mark.parametrize('shards', [2, 3, 8])
def test_shards_give_the_series_of_one_run(gen, tmp_path, whole, shards):
    for shard in reversed(range(shards)): write_corpus(gen, tmp_path/'parts', N, seed=3, shards=shards, shard=shard)
    assert same(open_corpus(tmp_path/'parts'), whole)


def test_it_is_what_a_generator_samples(gen, whole):
    X, y = whole
    assert X.shape == (N, gen.spec.c_in, gen.spec.seq_len) and X.dtype == np.float32 and np.isfinite(X).all()
    counts = [int((y == label).sum()) for label in gen.spec.vocab]
    assert counts == list(largest_remainder(gen.spec.proportions, N))
    assert len({x.tobytes() for x in X}) == N                            # blocks do not repeat each other
    assert len(set(y[:16])) == 2                                         # classes are mixed


def test_another_seed_is_another_corpus_and_random_states_stay(gen, tmp_path, whole):
    states = random_states()
    other = open_corpus(write_corpus(gen, tmp_path/'other', N, seed=4))
    assert not (other[0] == whole[0]).all(axis=(1, 2)).any() and random_states() == states


def test_labels_and_settings_of_sampling_are_kept_to(gen, tmp_path):
    X, y = open_corpus(write_corpus(gen, tmp_path/'ones', 20, y='1', redraw=0., mapped=False))
    assert set(y) == {'1'} and len(X) == 20
    each = np.repeat(['2', '1'], 10)
    assert (open_corpus(write_corpus(gen, tmp_path/'each', 20, y=each))[1] == each).all()


def test_a_killed_run_goes_on(gen, tmp_path, whole, monkeypatch):
    "Of a block that was cut off half of the bytes are there: it is written again, and finished ones are not."
    path, drawn = tmp_path/'killed', []
    write = corpus._Rows.write
    def broken(self, i, rows):
        if i == 2 and self.path.name == 'X.npy':
            write(self, i, rows * np.float32(0))
            raise KeyboardInterrupt
        write(self, i, rows)
    with monkeypatch.context() as patch:
        patch.setattr(corpus._Rows, 'write', broken)
        with pytest.raises(KeyboardInterrupt): write_corpus(gen, path, N, seed=3)
    with pytest.raises(ValueError, match='3 of 5 blocks of .* are missing'): open_corpus(path)
    draw = Corpus.draw
    monkeypatch.setattr(Corpus, 'draw', lambda self, gen, i, ids: drawn.append(i) or draw(self, gen, i, ids))
    assert same(open_corpus(write_corpus(gen, path, N, seed=3)), whole) and drawn == [2, 3, 4]


def test_a_full_disk_is_a_sentence_and_nothing_is_lost(gen, tmp_path, whole, monkeypatch):
    def full(self, i, rows): raise OSError(28, 'No space left on device')
    with monkeypatch.context() as patch:
        patch.setattr(corpus._Rows, 'write', full)
        with pytest.raises(OSError, match='No space left.*the same call goes on'):
            write_corpus(gen, tmp_path/'full', N, seed=3)
    assert same(open_corpus(write_corpus(gen, tmp_path/'full', N, seed=3)), whole)
    monkeypatch.setattr(corpus.shutil, 'disk_usage', lambda _: SimpleNamespace(free=9))
    with pytest.raises(OSError, match='make room'): write_corpus(gen, tmp_path/'huge', N)


@pytest.mark.parametrize('how, name', [(dict(n=N + 1), 'n'), (dict(seed=4), 'seed'), (dict(y='1'), 'labels'),
                                       (dict(mapped=False), 'how')], ids=str)
def test_a_folder_of_another_corpus_is_left_alone(gen, tmp_path, how, name):
    write_corpus(gen, tmp_path/'some', N, seed=3)
    with pytest.raises(ValueError, match=f'holds another corpus, whose {name} is'):
        write_corpus(gen, tmp_path/'some', **{'n': N, 'seed': 3, **how})


@pytest.mark.parametrize('other', [dict(strength=0.03), dict(max_redraw=0.05), dict(details=None)], ids=str)
def test_another_generator_is_told_apart(gen, tmp_path, other):
    write_corpus(gen, tmp_path/'some', N)
    with pytest.raises(ValueError, match='whose generator is'): write_corpus(gen.with_mapper(None), tmp_path/'some', N)
    changed = copy(gen)
    changed.anchors = replace(gen.anchors, **other)
    with pytest.raises(ValueError, match='whose generator is'): write_corpus(changed, tmp_path/'some', N)


@pytest.mark.parametrize('how, sentence', [
    (dict(n=0), 'n is 0, expected 1'), (dict(seed=None), 'needs a seed'), (dict(shards=2, shard=2), 'expected 0 to 1'),
    (dict(shards=0), 'shards'), (dict(shards=2, shard=-1), 'expected 0 to 1'), (dict(seed=-1), 'seed is -1')], ids=str)
def test_what_makes_no_corpus_is_refused(gen, tmp_path, how, sentence):
    with pytest.raises(ValueError, match=sentence): write_corpus(gen, tmp_path/'none', **{'n': 5, **how})
    assert not (tmp_path/'none').exists()


def test_a_folder_with_other_files_is_not_written_to(gen, tmp_path):
    (tmp_path/'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match='holds other files'): write_corpus(gen, tmp_path, 5)
    with pytest.raises(FileNotFoundError, match='there is no corpus'): open_corpus(tmp_path)


def test_it_is_read_as_it_is_asked_for(gen, tmp_path):
    X, _ = open_corpus(write_corpus(gen, tmp_path/'some', N))
    with open(tmp_path/'some'/'corpus.json') as f: assert json.load(f)['n'] == N
    assert isinstance(X, np.memmap)


def test_the_command_writes_shards(gen, tmp_path, whole):
    file = gen.save(tmp_path/'gen.nmvq')
    for shard in (1, 0): sample(str(file), N, str(tmp_path/'parts'), seed=3, shards=2, shard=shard)
    assert same(open_corpus(tmp_path/'parts'), whole)
    with pytest.raises(ValueError, match='pass --seed'): sample(str(file), N, str(tmp_path/'parts'))
    with pytest.raises(ValueError, match='are of a folder'): sample(str(file), N, str(tmp_path/'x.npz'), shards=2)


def test_dask_workers_give_the_same(gen, tmp_path, whole):
    pytest.importorskip('dask.array')
    X, y = dask_corpus(gen.save(tmp_path/'gen.nmvq'), N, seed=3)
    assert X.numblocks[0] == 5 and (y == whole[1]).all()
    assert (X.compute(scheduler='synchronous') == whole[0]).all()


PROGRAM = '''
import sys
from tsai_nmvq import NMVQGenerator, corpus
corpus.BLOCK_ROWS = 16
corpus.write_corpus(NMVQGenerator.load(sys.argv[1], 'cpu'), sys.argv[2], 70, seed=3, shards=2, shard=int(sys.argv[3]))
'''


@pytest.mark.slow
def test_two_processes_write_one_corpus_at_once(gen, tmp_path, whole):
    file = gen.save(tmp_path/'gen.nmvq')
    runs = [subprocess.Popen([sys.executable, '-c', PROGRAM, str(file), str(tmp_path/'two'), str(i)]) for i in (0, 1)]
    assert [run.wait() for run in runs] == [0, 0]
    assert same(open_corpus(tmp_path/'two'), whole)
    assert {p.name for p in (tmp_path/'two').iterdir()} == {'X.npy', 'y.npy', 'done.npy', 'corpus.json'}


@pytest.mark.slow
def test_dask_processes_give_the_same(gen, tmp_path):
    pytest.importorskip('dask.array')
    file = gen.save(tmp_path/'gen.nmvq')
    X, _ = dask_corpus(file, 40, seed=3)
    assert (X.compute(scheduler='processes', num_workers=2)
            == open_corpus(write_corpus(gen, tmp_path/'one', 40, seed=3))[0]).all()


def test_a_generator_that_has_learnt_nothing_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r'call fit\(X, y, splits=splits\) first'):
        write_corpus(NMVQGenerator(), tmp_path/'corpus', 5, seed=0)
    assert not (tmp_path/'corpus').exists()
