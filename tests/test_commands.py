"""The commands, as the scripts that pip installs and as functions: what they write, refuse and leave behind."""
import importlib
import os
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.metadata import entry_points, version
from io import StringIO
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest
import torch
from stages import STAGES, quick_classifiers, train_shortly
from wave_files import N_TEST, N_TRAIN, SEQ_LEN, TEST, TRAIN, waves, write_waves

import tsai_nmvq
from tsai_nmvq.augment import transform
from tsai_nmvq.commands import demo as demo_module
from tsai_nmvq.commands.demo import QUICK_EPOCHS
from tsai_nmvq.data.files import joined_parts
from tsai_nmvq.data.recording import from_recording
from tsai_nmvq.generator import NMVQGenerator
from tsai_nmvq.train import resume
from tsai_nmvq.train.prior import TokenMasking

COMMANDS = ('nmvq_demo', 'nmvq_fit', 'nmvq_sample', 'nmvq_evaluate')


def command(name): return getattr(importlib.import_module(f'tsai_nmvq.commands.{name}'), name)


@pytest.fixture(scope='module')
def files(tmp_path_factory): return write_waves(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def demo(files):
    "A quick demo on few series: its folder, and what it printed."
    with redirect_stdout(StringIO()) as printed:
        out = command('demo')(files/'parts.npz', out=files/'results/demo', seed=3, quick=True)
    return out, printed.getvalue()


@pytest.fixture
def fitted(demo):
    "A generator file, hardly trained."
    return demo[0]/'parts.nmvq'


@pytest.fixture
def here(tmp_path, monkeypatch):
    "An empty working folder."
    folder = tmp_path/'here'
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    "Runs a console script, written as pip writes it, in this process: exit code, stdout, stderr."
    def run(name, *args):
        entry = next(iter(entry_points(group='console_scripts', name=name)))
        file = tmp_path/name
        file.write_text(f"import sys\nfrom {entry.module} import {entry.attr}\n"
                        f"if __name__ == '__main__': sys.exit({entry.attr}())\n")
        monkeypatch.setattr(sys, 'argv', [str(file), *map(str, args)])
        capsys.readouterr()
        code = 0
        try: runpy.run_path(str(file), run_name='__main__')
        except SystemExit as e: code = e.code
        except KeyboardInterrupt: pytest.fail('an interruption left the command')
        out, err = capsys.readouterr()
        if isinstance(code, str): return 1, out, f'{err}{code}\n' # Python prints a string, and exits with 1
        return code or 0, out, err
    return run


def python(*args, cwd, threads=1):
    "A fresh process without a screen."
    screen = 'DISPLAY', 'WAYLAND_DISPLAY', 'MPLBACKEND'
    env = {name: value for name, value in os.environ.items() if name not in screen} | dict(OMP_NUM_THREADS=str(threads))
    return subprocess.run([sys.executable, *map(str, args)], cwd=cwd, env=env, capture_output=True, text=True)


def tree(folder):
    files = folder.rglob('*')
    return {file.relative_to(folder): file.read_bytes() if file.is_file() else None for file in files}


# Help

@pytest.mark.parametrize('name', COMMANDS)
def test_help_names_every_parameter_and_says_what_it_is(script, name):
    from fastcore.docments import docments
    code, out, _ = script(name, '--help')
    assert code == 0 and out.startswith(f'usage: {name} ')
    text = ' '.join(out.split())
    for parameter, doc in docments(command(name.removeprefix('nmvq_')), returns=False).items():
        assert parameter in text and doc and doc in text, parameter


def test_help_waits_for_neither_torch_nor_tsai(here):
    heavy = {'torch', 'tsai', 'fastai', 'pandas', 'matplotlib'}
    modules = ', '.join(f'tsai_nmvq.commands.{name.removeprefix("nmvq_")}' for name in COMMANDS)
    done = python('-c', f"import sys, {modules}; assert not {heavy} & set(sys.modules)", cwd=here)
    assert done.returncode == 0, done.stderr


def test_module_is_the_demo(here):
    done = python('-m', 'tsai_nmvq', '--help', cwd=here)
    assert done.returncode == 0 and done.stdout.startswith('usage: nmvq_demo ')


# Fit

def test_fit_learns_the_training_part_alone(fitted):
    spec = NMVQGenerator.load(fitted).spec
    assert (spec.c_in, spec.seq_len, spec.n_series) == (1, SEQ_LEN, N_TRAIN)
    assert (spec.vocab, spec.counts) == (('1', '2'), (11, 5))
    assert np.isclose(spec.mean[0], TRAIN[0].mean(), atol=1e-5) # test series lie 5 higher


def test_fit_of_the_same_series_is_the_demos_generator(script, files, fitted, here):
    epochs = [arg for stage, n in QUICK_EPOCHS.items() for arg in (f'--epochs_{stage}', n)]
    code, out, _ = script('nmvq_fit', 'ECG200', 'again.nmvq', '--path', files, '--seed', 3, *epochs)
    assert code == 0 and 'again.nmvq' in out
    assert all(out.count(f'{stage}, epochs: {n}\n') == 1 for stage, n in QUICK_EPOCHS.items())
    assert np.array_equal(*(NMVQGenerator.load(file).sample(8, seed=0)[0] for file in ('again.nmvq', fitted)))
    assert os.listdir() == ['again.nmvq']


def test_fit_goes_on_from_its_checkpoint(script, files, fitted, here):
    shutil.copy(fitted, 'stages.nmvq')
    code, out, _ = script('nmvq_fit', files/'train.npz', 'done.nmvq', '--checkpoint', 'stages.nmvq')
    assert code == 0 and 'epochs:' not in out # all three stages are there
    assert np.array_equal(*(NMVQGenerator.load(file).sample(8, seed=0)[0] for file in ('done.nmvq', fitted)))


def test_a_fit_that_is_stopped_says_how_it_goes_on(script, files, here, monkeypatch):
    train_shortly(monkeypatch)
    monkeypatch.setattr(resume, 'PERIOD', 0.)
    monkeypatch.setattr(resume, 'SHARE', float('inf'))
    def stop(self):
        if self.learn.stage == 'prior' and self.epoch == 2: raise KeyboardInterrupt
    args = ['nmvq_fit', files/'train.npz', 'out.nmvq']
    args += [arg for stage in STAGES for arg in (f'--epochs_{stage}', 3)]
    with monkeypatch.context() as patch:
        patch.setattr(TokenMasking, 'after_batch', stop, raising=False)
        assert script(*args) == (130, ANY, 'nmvq_fit: stopped; with --checkpoint FILE the next one can go on\n')
        code, _, err = script(*args, '--checkpoint', 'stages.nmvq')
        assert (code, err) == (130, 'nmvq_fit: stopped; run the same command again to go on\n')
    assert sorted(os.listdir()) == ['stages.nmvq', 'stages.nmvq.part']
    code, out, err = script(*args, '--checkpoint', 'stages.nmvq')
    assert (code, err) == (0, '') and 'tokenizer, epochs' not in out
    assert '\nprior, epochs: 3, goes on after epoch 2\n' in out and '\nmapper, epochs: 3\n' in out
    assert sorted(os.listdir()) == ['out.nmvq', 'stages.nmvq']


MAX_LINES_OF_A_STAGE = 7 # an empty one, its name and epochs, five of training


def test_the_log_of_a_fit_is_a_few_plain_lines(script, files, here, monkeypatch):
    train_shortly(monkeypatch)
    epochs = [arg for stage in QUICK_EPOCHS for arg in (f'--epochs_{stage}', 12)]
    code, out, err = script('nmvq_fit', files/'train.npz', 'g.nmvq', '--bs', 8, *epochs)
    assert code == 0 and '\r' not in out + err and '\x1b' not in out + err and '█' not in out + err
    before, _, after = out.rpartition('epoch 12 of 12')
    assert out.count('epoch 12 of 12, train_loss ') == 3
    assert len(before.splitlines()) <= 3 * MAX_LINES_OF_A_STAGE and len(after.splitlines()) < 12 # and the report
    assert max(map(len, out.splitlines())) < 160


def test_the_log_of_the_demo_is_a_few_plain_lines(demo):
    log = demo[1]
    assert not set('\r\x1b█') & set(log)
    assert len(log.splitlines()) < 60 and len(log) < 6000


# Sample

def test_sample_writes_what_the_generator_gives(script, fitted, here):
    code, out, _ = script('nmvq_sample', fitted, 9, 'some.npz', '--seed', 5)
    X, y = NMVQGenerator.load(fitted).sample(9, seed=5)
    written = np.load('some.npz')
    assert code == 0 and sorted(written) == ['X', 'y']
    assert np.array_equal(written['X'], X) and written['y'].tolist() == y.tolist()
    assert os.listdir() == ['some.npz']


def test_sample_of_one_class_without_the_mapper(script, fitted, here):
    assert script('nmvq_sample', fitted, 4, 'some.npz', '--y', 2, '--seed', 5, '--no_mapper')[0] == 0
    X, _ = NMVQGenerator.load(fitted).sample(4, '2', seed=5, mapped=False)
    written = np.load('some.npz')
    assert written['y'].tolist() == ['2'] * 4 and np.array_equal(written['X'], X)


def test_npy_holds_the_series_alone(script, fitted, here):
    assert script('nmvq_sample', fitted, 0, 'none.npy')[0] == 0
    assert np.load('none.npy').shape == (0, 1, SEQ_LEN)


def test_samples_of_a_generator_without_labels_have_none(fitted, here):
    gen = NMVQGenerator.load(fitted)
    gen.spec = type(gen.spec).from_dict({**gen.spec.to_dict(), 'vocab': [], 'counts': []})
    gen.save('plain.nmvq')
    command('sample')('plain.nmvq', 3, 'some.npz')
    assert sorted(np.load('some.npz')) == ['X']


# Evaluate

def test_evaluate_prints_and_writes_the_generators_table(script, files, fitted, here):
    code, out, _ = script('nmvq_evaluate', fitted, files/'parts.npz', '--no_tstr', '--n_draws', 1, '--seed', 3,
                          '--csv', 'table.csv')
    X, y, splits = joined_parts(TRAIN, TEST)
    expected = NMVQGenerator.load(fitted).evaluate(X, y, splits, n_draws=1, with_tstr=False, seed=3)
    pd.testing.assert_frame_equal(pd.read_csv('table.csv', index_col='series'), expected, check_names=False)
    assert code == 0
    assert all(word in out for word in (*expected.index, *expected.columns, f"{expected.FID['after mapper']:.4f}"))
    assert os.listdir() == ['table.csv']


def test_test_series_of_a_file_of_their_own_match_by_name(files, fitted): # its labels are int, the generator's str
    evaluate, settings = command('evaluate'), dict(no_tstr=True, n_draws=1, seed=3) # the demo's: its classifier is kept
    whole = evaluate(fitted, files/'parts.npz', **settings)
    pd.testing.assert_frame_equal(evaluate(fitted, files/'train.npz', test=files/'test.npz', **settings), whole)
    settings |= dict(labels=files/'labels.npy', test='ECG200', path=files)
    pd.testing.assert_frame_equal(evaluate(fitted, files/'series.npy', **settings), whole)


def test_evaluate_without_labels_gives_what_needs_none(files, fitted):
    table = command('evaluate')(fitted, files/'rows.npy', test=files/'test_rows.npy', n_draws=1, n=5)
    assert list(table.columns) == ['FID', 'sharpness', 'novelty'] and table.FID.between(0.01, 2).all()


# One long recording

@pytest.fixture(scope='module')
def long(files):
    "A recording of two channels, its second half faster, with a label a step, as .npy."
    t, y = np.arange(2000), np.repeat(['slow', 'fast'], 1000)
    angle = t / np.where(y == 'fast', 2, 6)
    x = np.stack([np.sin(angle), np.cos(angle)]) + np.random.default_rng(0).normal(0, 0.1, (2, 2000))
    x[:, 1600:] += 5                                                     # the part to test with lies higher
    np.save(files/'long.npy', x.astype(np.float32))
    np.save(files/'steps.npy', y)
    return files/'long.npy', x.astype(np.float32), y


def test_fit_and_evaluate_of_a_recording_share_no_step(script, long, files, here, monkeypatch):
    train_shortly(monkeypatch)
    quick_classifiers(monkeypatch)
    file, x, y = long
    epochs = [arg for stage in QUICK_EPOCHS for arg in (f'--epochs_{stage}', 1)]
    options = '--window', 32, '--stride', 16, '--labels', files/'steps.npy'
    code, out, err = script('nmvq_fit', file, 'long.nmvq', *options, *epochs)
    assert code == 0, err
    windows = from_recording(x, 32, 16, y)
    train, test = windows.splits()
    gen = NMVQGenerator.load('long.nmvq')
    assert (gen.spec.c_in, gen.spec.seq_len, gen.spec.n_series) == (2, 32, len(train))
    assert gen.spec.vocab == ('fast', 'slow') and np.abs(gen.spec.mean).max() < 0.5
    code, out, err = script('nmvq_evaluate', 'long.nmvq', file, *options, '--no_tstr', '--n_draws', 1, '--csv', 't.csv')
    assert code == 0, err
    expected = gen.evaluate(windows, windows.y, (train, test), n_draws=1, with_tstr=False)
    pd.testing.assert_frame_equal(pd.read_csv('t.csv', index_col='series'), expected, check_names=False)


def test_a_recording_needs_neither_labels_nor_a_stride(long, here, monkeypatch):
    train_shortly(monkeypatch)
    gen = command('fit')(long[0], 'long.nmvq', window=40, epochs_tokenizer=1, epochs_prior=1, epochs_mapper=1)
    assert (gen.spec.n_series, gen.spec.vocab) == (40, ())
    table = command('evaluate')('long.nmvq', long[0], window=40, n_draws=1)
    assert table.columns.tolist() == ['FID', 'sharpness', 'novelty'] and table.FID.notna().all()
    with pytest.raises(ValueError, match=r'series have shape \(62, 2, 32\), this generator was fitted on'):
        command('evaluate')('long.nmvq', long[0], window=32)


# Demo

def test_demo_fills_its_folder(demo):
    out, printed = demo
    assert sorted(os.listdir(out)) == ['accuracy.csv', 'parts.nmvq', 'samples.png', 'scores.csv', 'tau.png']
    assert NMVQGenerator.load(out/'parts.nmvq').spec.n_series == N_TRAIN
    assert all(name in printed for name in os.listdir(out))


@pytest.mark.parametrize('name, size', [('samples.png', (1760, 385)), ('tau.png', (550, 385))])
def test_demo_draws_figures(demo, name, size):
    from matplotlib.image import imread
    data = (demo[0]/name).read_bytes()
    image = imread(demo[0]/name)[..., :3]
    assert data[:8] == b'\x89PNG\r\n\x1a\n' and image.shape[1::-1] == size
    assert (image < 0.9).any(-1).mean() > 0.01 # not blank


def test_demo_tables_are_those_it_printed(demo):
    out, printed = demo
    scores = pd.read_csv(out/'scores.csv', index_col='series')
    accuracy = pd.read_csv(out/'accuracy.csv', index_col='batch_tfms')
    assert list(scores.index) == ['real (train)', 'reconstructed', 'prior alone', 'before mapper', 'after mapper']
    assert list(scores.columns) == ['FID', 'cFID', 'IS', 'sharpness', 'novelty']
    assert list(accuracy.index) == ['TSStandardize', 'NMVQAugment, TSStandardize']
    assert list(accuracy.columns) == ['seed 3', 'mean', 'std']
    for table in (scores, accuracy): assert table.round(4).to_string(index_names=False) in printed
    assert accuracy['seed 3'].between(0, 1).all()


def test_demo_says_what_to_quote_and_what_not(demo):
    lines = demo[1].splitlines()
    versions = f'tsai_nmvq {tsai_nmvq.__version__}, tsai {version("tsai")}, torch {torch.__version__}'
    assert versions in demo[1] and f'threads {torch.get_num_threads()},' in demo[1]
    times, = (line.removeprefix('seconds: ') for line in lines if line.startswith('seconds: '))
    seconds = dict(pair.rsplit(' ', 1) for pair in times.split(', '))
    assert list(seconds) == ['tokenizer', 'prior', 'mapper', 'scores', 'figures', 'classifiers', 'all']
    assert abs(sum(int(s) for name, s in seconds.items() if name != 'all') - int(seconds['all'])) <= 3 # rounding
    assert len([line for line in lines if line.startswith('--quick') and 'mean' in line]) == 2


@pytest.mark.parametrize('n', [7, 8, 20, 57])
def test_subset_keeps_the_proportions_and_two_of_each_class(n):
    y = np.repeat(['a', 'b', 'c', 'd'], [40, 15, 2, 1])
    X = np.arange(len(y), dtype=np.float32)[:, None, None]
    X_few, y_few = demo_module._subset((X, y), n, seed=0)
    rows = X_few[:, 0, 0].astype(int)
    counts = np.asarray([(y_few == c).sum() for c in 'abcd'])
    assert len(set(rows)) == len(rows) == n and (y_few == y[rows]).all()
    assert (counts >= [2, 2, 2, 1]).all()
    assert abs(counts[:2] - 2 - (n - 7) * np.asarray([38, 13])/51).max() < 1


def test_subset_is_random_by_its_seed_and_never_larger():
    y = np.repeat(['a', 'b'], 50)
    X = np.arange(100, dtype=np.float32)[:, None, None]
    first, again, other = (demo_module._subset((X, y), 10, seed)[0].ravel().tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert all(a is b for a, b in zip(demo_module._subset((X, y), 100, 0), (X, y)))


@pytest.fixture
def classifiers(monkeypatch):
    "The learners that `_compare_classifiers` makes, in order."
    import tsai.tslearner
    made = []
    class Kept(tsai.tslearner.TSClassifier):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)
    monkeypatch.setattr(tsai.tslearner, 'TSClassifier', Kept)
    return made


def weights(learn): return torch.cat([p.detach().flatten() for p in learn.model.parameters()])


def test_classifiers_are_compared_on_the_test_series(fitted, classifiers, here, monkeypatch):
    import tsai.inference  # noqa: F401 - gives Learner get_X_preds
    seen = []
    class Watched(transform.NMVQAugment):
        def encodes(self, b):
            seen.extend(b[0].numpy())
            return super().encodes(b)
    monkeypatch.setattr(transform, 'NMVQAugment', Watched)
    test, gen = waves(40, 2), NMVQGenerator.load(fitted)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    demo_module._compare_classifiers(gen, *joined_parts(TRAIN, test), range(4, 6), 3, here)
    table = pd.read_csv('accuracy.csv', index_col='batch_tfms')
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
    assert len(seen) >= 2 * 3 * (N_TRAIN - N_TRAIN % 8) # two seeds, three epochs of whole batches
    assert {x.tobytes() for x in seen} <= {x.tobytes() for x in TRAIN[0]} # never a test series
    assert list(table.columns) == ['seed 4', 'seed 5', 'mean', 'std']
    predicted = [clf.get_X_preds(test[0])[2] for clf in classifiers]
    accuracies = np.asarray([(np.asarray(p) == test[1]).mean() for p in predicted])
    accuracies = accuracies.reshape(2, 2).T # seed by seed -> a row a treatment
    assert np.allclose(table[['seed 4', 'seed 5']], accuracies)
    assert np.allclose(table['mean'], accuracies.mean(1))
    assert np.allclose(table['std'], abs(accuracies[:, 0] - accuracies[:, 1])/2 ** 0.5)


def test_classifiers_differ_in_the_augmentation_alone(fitted, classifiers, here, monkeypatch):
    real, gen, compared = transform.NMVQAugment, NMVQGenerator.load(fitted), joined_parts(TRAIN, TEST)
    demo_module._compare_classifiers(gen, *compared, [4], 2, here)
    monkeypatch.setattr(transform, 'NMVQAugment', lambda gen: real(gen, p=0.)) # does nothing
    demo_module._compare_classifiers(gen, *compared, [4, 5], 2, here)
    plain, augmented, again, with_nothing, other, _ = map(weights, classifiers)
    assert torch.equal(plain, again) and torch.equal(plain, with_nothing)
    assert not torch.equal(plain, augmented) and not torch.equal(plain, other)


@pytest.mark.slow
def test_quick_demo_of_gunpoint_in_a_fresh_process(here):
    done = python('-m', 'tsai_nmvq', '--quick', cwd=here)
    assert done.returncode == 0, done.stderr
    assert '50 training and 100 test series, 1 x 150, 2 classes' in done.stdout
    assert '\r' not in done.stdout + done.stderr and len(done.stdout.splitlines()) < 60
    assert sorted(os.listdir('nmvq_demo')) == ['GunPoint.nmvq', 'accuracy.csv', 'samples.png', 'scores.csv', 'tau.png']


# Mistakes

@pytest.fixture(scope='module')
def bad(files, demo):
    "Files to be refused."
    X, y = TRAIN
    X_test = TEST[0].copy()
    X_test[3, 0, 0] = np.inf
    np.savez(files/'inf_test.npz', X_train=X, y_train=y, X_valid=X_test, y_valid=TEST[1])
    np.savez(files/'inf.npz', X=X_test)
    np.savez(files/'keys.npz', series=X)
    np.savez(files/'y_short.npz', X=X, y=y[:3])
    np.savez(files/'long.npz', X_train=X, X_valid=np.concatenate([TEST[0], TEST[0]], 2))
    np.savez(files/'longer.npz', X_train=np.tile(X, 2), X_valid=np.tile(X, 2))
    np.savez(files/'half.npz', X_train=X, y_train=y, X_valid=TEST[0])
    np.savez(files/'classes.npz', X_train=X, y_train=y, X_valid=TEST[0], y_valid=np.full(N_TEST, '7'))
    np.savez(files/'words.npz', X=np.full(X.shape, 'a'))
    np.save(files/'objects.npy', np.asarray([[1, 2], [3]], dtype=object), allow_pickle=True)
    np.save(files/'vector.npy', X[:, 0, 0])
    (files/'cut.npz').write_bytes((files/'parts.npz').read_bytes()[:500])
    shutil.copy(files/'parts.npz', files/'renamed.npy')
    shutil.copy(demo[0]/'parts.nmvq', files/'waves.nmvq')
    (files/'cut.nmvq').write_bytes((files/'waves.nmvq').read_bytes()[:5000])
    return files


@pytest.mark.parametrize('line, message', [
    ('nmvq_fit {bad}/none.npy g.nmvq', 'there is no file {bad}/none.npy'),
    ('nmvq_fit {bad}/objects.npy g.nmvq', 'holds objects'),
    ('nmvq_fit {bad}/cut.npz g.nmvq', 'is cut short'),
    ('nmvq_fit {bad}/renamed.npy g.nmvq', 'is not what its name says'),
    ('nmvq_fit {bad}/words.npz g.nmvq', 'X in {bad}/words.npz has type <U1, expected numbers'),
    ('nmvq_fit {bad}/keys.npz g.nmvq', "holds ['series'], expected X"),
    ('nmvq_fit {bad}/vector.npy g.nmvq', 'X has shape (16,), expected [n, c_in, seq_len]'),
    ('nmvq_fit {bad}/inf.npz g.nmvq', 'series 3 of X in {bad}/inf.npz holds inf (1 such series)'),
    ('nmvq_fit {bad}/y_short.npz g.nmvq', 'y (3,), expected one label a series'),
    ('nmvq_fit {bad}/parts.npz g.nmvq --labels {bad}/labels.npy', 'has its own; leave it out'),
    ('nmvq_fit data.csv g.nmvq', "'data.csv' is neither an .npy or .npz file nor a UCR set"),
    ('nmvq_fit data.csv g.nmvq', 'looked for in {here}/data/UCR'),
    ('nmvq_fit FordA g.nmvq --path {bad}', 'there is no UCR set FordA in {bad}/data/UCR; name the folder'),
    ('nmvq_fit FordA g.nmvq', 'there is no UCR set FordA in {here}/data/UCR; name the folder'),
    ('nmvq_fit {bad}/none.npy no/g.nmvq', 'there is no folder {here}/no for no/g.nmvq'),
    ('nmvq_fit {bad}/none.npy g.nmvq --checkpoint no/g.nmvq', 'there is no folder {here}/no for no/g.nmvq'),
    ('nmvq_fit {bad}/none.npy .', 'is a folder; name a file'),
    ('nmvq_fit {bad}/train.npz g.nmvq --epochs_prior 0', 'epochs_prior is 0, expected 1 or more'),
    ('nmvq_fit {bad}/train.npz g.nmvq --preset slow', "preset is 'slow'"),
    ('nmvq_fit {bad}/vector.npy g.nmvq --window 32', 'x has 16 steps, expected at least the window of 32'),
    ('nmvq_fit {bad}/vector.npy g.nmvq --stride 8', 'a stride alone came, expected the steps of a window too'),
    ('nmvq_fit {bad}/vector.npy g.nmvq --window 8', 'window is 8, expected a whole number of 16 or more'),
    ('nmvq_fit {bad}/vector.npy g.nmvq --window 16 --stride 0', 'stride is 0, expected 1 or more'),
    ('nmvq_fit {bad}/train.npz g.nmvq --window 16', 'windows are cut out of an .npy of one recording, not of {bad}'),
    ('nmvq_evaluate {bad}/waves.nmvq {bad}/series.npy --window 16', 'is a set of series already'),
    ('nmvq_evaluate {bad}/waves.nmvq {bad}/rows.npy --window 32 --test {bad}/rows.npy', 'leave --test out'),
    ('nmvq_sample {bad}/none.nmvq 3 s.npz', 'there is no file {bad}/none.nmvq'),
    ('nmvq_sample {bad}/cut.nmvq 3 s.npz', 'is not a generator file, or it is cut short'),
    ('nmvq_sample {bad}/parts.npz 3 s.npz', 'is not a generator file, or it is cut short'),
    ('nmvq_sample . 3 s.npz', '. is a folder; name a file that gen.save wrote'),
    ('nmvq_sample {bad}/waves.nmvq 3 /proc/s.npz', '/proc is not writable'), # though rights say that root may
    ('nmvq_sample {bad}/waves.nmvq -1 s.npz', 'n is -1'),
    ('nmvq_sample {bad}/waves.nmvq 3 s.npz --seed -1', 'seed is -1, expected a whole number'),
    ('nmvq_sample {bad}/waves.nmvq 3 s.npz --seed 100000000000000000000000', 'expected a whole number from 0 to'),
    ('nmvq_sample {bad}/waves.nmvq 3 s.npz --y 7', "labels ['7'] are not in the generator's vocab ['1', '2']"),
    ('nmvq_sample {bad}/none.nmvq 3 s.csv', "the output is 's.csv', expected *.npz"),
    ('nmvq_sample {bad}/none.nmvq 3 no/s.npz', 'there is no folder {here}/no for no/s.npz'),
    ('nmvq_evaluate {bad}/waves.nmvq {bad}/train.npz', 'train.npz has no test part; name test series with --test'),
    ('nmvq_evaluate {bad}/waves.nmvq {bad}/long.npz', 'channels and steps must match'),
    ('nmvq_evaluate {bad}/waves.nmvq {bad}/longer.npz',
     'series have shape (32, 1, 64), this generator was fitted on [n, 1, 32]'),
    ('nmvq_evaluate {bad}/waves.nmvq {bad}/half.npz', 'only one of training and test series has labels'),
    ('nmvq_evaluate {bad}/waves.nmvq {bad}/classes.npz', "labels ['7'] are not in the generator's vocab"),
    ('nmvq_evaluate {bad}/waves.nmvq {bad}/parts.npz --n_draws 0', 'n_draws is 0, expected 1 or more'),
    ('nmvq_evaluate {bad}/none.nmvq {bad}/parts.npz --csv no/t.csv', 'there is no folder {here}/no for no/t.csv'),
    ('nmvq_demo --data Nonsense', "'Nonsense' is neither"),
    ('nmvq_demo --path {bad}', 'there is no UCR set GunPoint in {bad}/data/UCR'),
    ('nmvq_demo --data {bad}/train.npz', 'has no test part or no labels, and both are needed'),
    ('nmvq_demo --data {bad}/half.npz', 'has no test part or no labels, and both are needed'),
    ('nmvq_demo --data {bad}/inf_test.npz',
     'series 3 of X_valid in {bad}/inf_test.npz holds inf (1 such series)'),
    ('nmvq_demo --data {bad}/classes.npz', "labels ['7'] are not in the generator's vocab"),
    ('nmvq_demo --n_train 3', '3 series are too few for 2 classes; take 4 or more'),
    ('nmvq_demo --epochs 0', 'epochs is 0, expected 1 or more'),
    ('nmvq_demo --preset slow', "preset is 'slow'"),
])
def test_a_mistake_is_one_line_and_leaves_nothing_behind(script, bad, here, line, message):
    before = tree(bad)
    name, *args = line.format(bad=bad, here=here).split()
    code, out, err = script(name, *args)
    assert code == 1 and err.count('\n') == 1 and err.startswith(f'{name}: ')
    assert message.format(bad=bad, here=here) in err
    assert tree(here) == {} and tree(bad) == before


@pytest.mark.parametrize('line', [
    'nmvq_fit', 'nmvq_sample g.nmvq many s.npz', 'nmvq_evaluate g.nmvq', 'nmvq_demo --n_train few',
    'nmvq_demo --unknown 3'])
def test_wrong_arguments_show_the_usage(script, here, line):
    code, _, err = script(*line.split())
    assert code == 2 and err.startswith(f'usage: {line.split()[0]} ') and tree(here) == {}


@pytest.mark.parametrize('error, code', [(OSError(28, 'No space left on device'), 1), (KeyboardInterrupt(), 130)])
def test_an_interrupted_write_keeps_the_old_file(script, fitted, here, monkeypatch, error, code):
    def write(file, **arrays):
        file.write(b'half of it')
        raise error
    (here/'some.npz').write_bytes(b'the old file')
    monkeypatch.setattr(np, 'savez', write)
    found, _, err = script('nmvq_sample', fitted, 3, 'some.npz')
    assert found == code and 'Traceback' not in err and err.count('\n') == (code == 1)
    assert tree(here) == {next(iter(tree(here))): b'the old file'}


@pytest.mark.parametrize('error', [KeyError('vocab'), AssertionError(), ZeroDivisionError()])
def test_a_bug_keeps_its_traceback(script, here, monkeypatch, error):
    def load(*args): raise error
    monkeypatch.setattr(NMVQGenerator, 'load', load)
    with pytest.raises(type(error)): script('nmvq_sample', 'g.nmvq', 3, 's.npz')


def test_a_foreign_value_error_keeps_its_traceback(script, here, monkeypatch):
    monkeypatch.setattr(NMVQGenerator, 'load', lambda *args: np.zeros(3).reshape(2, 2))
    with pytest.raises(ValueError, match='cannot reshape'): script('nmvq_sample', 'g.nmvq', 3, 's.npz')


def test_functions_raise_as_usual(files, here):
    with pytest.raises(FileNotFoundError, match='there is no file'): command('fit')('none.npy', 'g.nmvq')
    with pytest.raises(ValueError, match='expected 1 or more'): command('demo')(epochs=0)
    assert tree(here) == {}
