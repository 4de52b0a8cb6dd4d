"""Generator files: what they give back, which of them are refused, and files of older formats."""
import copy
import dataclasses
import json
import multiprocessing
import os
import pickle
import stat
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from stages import STAGES, TINY, Visited, assert_same_generator, fit, random_states, with_selection

from tsai_nmvq.augment.options import AugmentationChoice
from tsai_nmvq.checkpoint import FORMAT_VERSION
from tsai_nmvq.generator import NMVQGenerator


@pytest.mark.parametrize('vocab', [(1, 2), (1., 2.), ('1', '2')])
def test_temperatures_by_class_are_loaded_under_the_classes_own_names(gen, tmp_path, vocab):
    numbered = copy.copy(gen)
    numbered.spec = dataclasses.replace(gen.spec, vocab=vocab)
    numbered.tau_table = pd.DataFrame({'tau': [0., 0.1], 'fid': [0.3, 0.2], vocab[0]: [0.1, 0.2], vocab[1]: [0.3, 0.4]})
    loaded = NMVQGenerator.load(numbered.save(tmp_path / 'gen.nmvq'))
    assert [(type(c), c) for c in loaded.tau_table] == [(type(c), c) for c in numbered.tau_table]


def test_a_loaded_generator_gives_bit_equal_samples(gen, saved):
    loaded = NMVQGenerator.load(saved)
    assert_same_generator(loaded, gen)
    assert loaded.tau_table.equals(gen.tau_table) and loaded.preset == gen.preset
    for kwargs in (dict(), dict(mapped=False), dict(y='1')):
        (X, y), (X_loaded, y_loaded) = (g.sample(10, seed=1, **kwargs) for g in (gen, loaded))
        assert (X == X_loaded).all() and (y == y_loaded).all()
    assert all(not getattr(loaded, stage).training for stage in STAGES)


# Writing

def test_saving_replaces_the_file_and_leaves_no_other(gen, tmp_path):
    path = tmp_path/'gen.nmvq'
    path.write_text('an older one')
    assert gen.save(path) == path and gen.save(str(path)) == path
    assert os.listdir(tmp_path) == ['gen.nmvq'] and NMVQGenerator.load(path).spec == gen.spec


def test_others_may_read_the_file_as_umask_says(gen, tmp_path):
    umask = os.umask(0o022)
    try: path = gen.save(tmp_path/'gen.nmvq')
    finally: os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_save_that_fails_leaves_the_older_file(gen, tmp_path, monkeypatch):
    path = gen.save(tmp_path/'gen.nmvq')
    before = path.read_bytes()
    def write_half(file, content):
        with open(file, 'wb') as f: f.write(content[:len(content) // 2])
        raise OSError('disk full')
    monkeypatch.setattr(Path, 'write_bytes', write_half)
    with pytest.raises(OSError, match='disk full'): gen.save(path)
    assert os.listdir(tmp_path) == ['gen.nmvq'] and path.read_bytes() == before


# What is refused

@pytest.mark.parametrize('kept', [0, 7, 100, 0.5, -1], ids=str)
def test_a_truncated_file_is_refused(saved, tmp_path, kept):
    whole, path = saved.read_bytes(), tmp_path/'cut.nmvq'
    path.write_bytes(whole[:int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=r'cut\.nmvq is not a generator file, or it is cut short'):
        NMVQGenerator.load(path)


@pytest.mark.parametrize('kind', ['pickle', 'torch', 'text'])
def test_a_foreign_file_is_refused_and_not_executed(tmp_path, kind):
    class Bomb:
        def __reduce__(self): return os.mkdir, (str(tmp_path/'executed'),)
    path = tmp_path/'foreign.nmvq'
    if kind == 'pickle': path.write_bytes(pickle.dumps(Bomb()))
    elif kind == 'torch': torch.save(Bomb(), path)
    else: path.write_text('series\n' * 100)
    with pytest.raises(ValueError, match=r'foreign\.nmvq is not a generator file'): NMVQGenerator.load(path)
    assert os.listdir(tmp_path) == ['foreign.nmvq']


def contents(path):
    "Metadata and tensors of a safetensors file."
    with safe_open(path, 'pt') as f: return f.metadata(), {name: f.get_tensor(name) for name in f.keys()}


def rewritten(saved, path, **changes):
    "A copy with other metadata."
    metadata, tensors = contents(saved)
    save_file(tensors, path, metadata=metadata | changes)
    return path


def test_safetensors_of_others_are_refused(saved, tmp_path):
    save_file({'weight': torch.zeros(2)}, tmp_path/'plain.nmvq')
    for path in (tmp_path/'plain.nmvq', rewritten(saved, tmp_path/'other.nmvq', format='pt')):
        with pytest.raises(ValueError, match='is a safetensors file, but not one of tsai_nmvq'):
            NMVQGenerator.load(path)


def test_a_newer_file_is_refused(saved, tmp_path):
    with pytest.raises(ValueError, match=r'has format version 99, this tsai_nmvq reads up to \d+; update tsai_nmvq'):
        NMVQGenerator.load(rewritten(saved, tmp_path/'newer.nmvq', format_version='99'))


def test_a_file_of_an_older_version_is_refused(saved, tmp_path):
    with pytest.raises(ValueError, match='format version 1, from before version 3; fit the generator again'):
        NMVQGenerator.load(rewritten(saved, tmp_path/'older.nmvq', format_version='1'))


@pytest.mark.parametrize('changes', [
    dict(generator='{}'), dict(generator='{"pre'), dict(format_version='one'), dict(generator='{}', format_version='4'),
    dict(generator='[]', format_version='3')], ids=str)
def test_a_damaged_header_is_refused(saved, tmp_path, changes):
    with pytest.raises(ValueError, match=r'damaged\.nmvq'):
        NMVQGenerator.load(rewritten(saved, tmp_path/'damaged.nmvq', **changes))


def test_weights_of_other_sizes_are_refused_in_one_sentence(saved, tmp_path):
    header = json.loads(contents(saved)[0]['generator'])
    header['config']['mapper']['mults'] = [1] * 8
    path = rewritten(saved, tmp_path/'damaged.nmvq', generator=json.dumps(header))
    with pytest.raises(ValueError, match='its header and its weights do not fit') as e:
        NMVQGenerator.load(path)
    assert len(str(e.value)) < 400 + len(str(path)) and '\n' not in str(e.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.nmvq'): NMVQGenerator.load(tmp_path/'nowhere.nmvq')


# Files of older formats

def as_written_by(version, path, new_path):
    "The file that tsai_nmvq wrote when its format had this version: keys and tensors as they were called then."
    metadata, tensors = contents(path)
    header = json.loads(metadata['generator'])
    before = dict(hf_batch_fraction='hf_share', lf_token_noise='lf_tau', embed_codes='code_emb')
    for stages in (header['config'], header['settings']):
        for stage, settings in stages.items():
            stages[stage] = {before.get(name, name): value for name, value in settings.items()}
            stages[stage].pop('dead_code_threshold', None) # no setting then
    if version == 3:
        for stages in (header['config'], header['settings']): # its priors did not know the codes, and did not say so
            assert stages.get('prior', {}).pop('code_emb', False) is False
    header['trial'] = trial = header.pop('mapper_selection')
    if trial is not None: trial['columns'] = {'held_back': trial['columns'].pop('holdout'), **trial['columns']}
    for later in ('anchors', 'augmentation'): header.pop(later) # samples started from nothing
    tensors = {name.replace('.standardizer.', '.scale.'): tensor for name, tensor in tensors.items()
               if not name.startswith('anchors.')}
    save_file(tensors, new_path, metadata | dict(format_version=str(version), generator=json.dumps(header)))
    return new_path


def assert_reads(path, gen):
    "The file at `path` is the generator, in weights, decisions, settings and samples."
    loaded, gen = NMVQGenerator.load(path), copy.copy(gen)
    gen.augmentation = AugmentationChoice() # nothing was tried then
    assert_same_generator(loaded, gen)
    assert loaded.tau_table.equals(gen.tau_table) and json.dumps(loaded.settings) == json.dumps(gen.settings)
    assert repr(loaded.report()) == repr(gen.report()) and loaded.mapper_use == gen.mapper_use
    for kwargs in (dict(), dict(mapped=False)):
        (X, y), (X_loaded, y_loaded) = gen.sample(12, seed=3, redraw=1., **kwargs), loaded.sample(12, seed=3, **kwargs)
        assert (X == X_loaded).all() and (y == y_loaded).all()


PRIOR_SETTINGS = dict(TINY['prior'], hf_batch_fraction=0.5, lf_token_noise=0.2, embed_codes=True)


@pytest.mark.parametrize('before, after', [
    ([2., 2, 2], [1., 1, 1]), ([2., 1, 2], [1., 2, 1]), ([1., 1, 1], [2., 2, 2])])
def test_a_file_of_version_4_is_read(data, tmp_path, before, after):
    "The mapper is used, skipped in a class, left out; settings of the prior that are called otherwise now."
    gen = fit(*data, gen=NMVQGenerator(**dict(TINY, prior=PRIOR_SETTINGS)))
    gen = with_selection(gen, before, after)
    path = as_written_by(4, gen.save(tmp_path/'gen.nmvq'), tmp_path/'older.nmvq')
    metadata, tensors = contents(path)
    assert not [name for name in tensors if 'standardizer' in name] and 'hf_share' in metadata['generator']
    assert_reads(path, gen)
    assert NMVQGenerator.load(path).prior.settings.hf_batch_fraction == 0.5


def test_a_file_of_version_3_is_read(data, tmp_path):
    "Its priors had no `embed_codes`, and said nothing of it."
    gen = fit(*data, gen=NMVQGenerator(**dict(TINY, prior=dict(PRIOR_SETTINGS, embed_codes=False))))
    path = as_written_by(3, gen.save(tmp_path/'gen.nmvq'), tmp_path/'older.nmvq')
    del gen.settings['prior']['embed_codes'] # a file of that time could not say it
    assert_reads(path, gen)
    assert NMVQGenerator.load(path).prior.settings.embed_codes is False


def test_an_older_file_without_labels_mapper_or_holdout_is_read(data, tmp_path):
    gen = fit(data[0][:20]) # too few to hold any out
    for made in (gen, gen.with_mapper(None)):
        path = as_written_by(4, made.save(tmp_path/'gen.nmvq'), tmp_path/'older.nmvq')
        loaded = NMVQGenerator.load(path)
        assert loaded.mapper_selection.table is None and (loaded.mapper is None) == (made.mapper is None)
        assert (loaded.sample(6, seed=0)[0] == made.sample(6, seed=0, redraw=1.)[0]).all()


@pytest.mark.parametrize('version', [3, 4])
def test_a_fit_goes_on_from_an_older_checkpoint(data, tmp_path, version):
    settings = dict(TINY, prior=dict(PRIOR_SETTINGS, embed_codes=version == 4))
    whole, first = fit(*data, gen=NMVQGenerator(**settings)), NMVQGenerator(**settings)
    first.spec, first.tokenizer, first.prior = whole.spec, whole.tokenizer, whole.prior
    path = as_written_by(version, first.save(tmp_path/'gen.nmvq'), tmp_path/'older.nmvq')
    if version == 3: del settings['prior']['embed_codes']
    visited = Visited()
    again = fit(*data, gen=NMVQGenerator(**settings), checkpoint=path, cbs=[visited])
    assert visited.stages == ['MapperLearner']
    assert_same_generator(again, whole)
    assert (again.sample(6, seed=0)[0] == whole.sample(6, seed=0)[0]).all() # its anchors are made when it goes on
    assert contents(path)[0]['format_version'] == str(FORMAT_VERSION) and NMVQGenerator.load(path).mapper is not None


def test_loading_draws_nothing(saved):
    states = random_states()
    with pytest.MonkeyPatch.context() as patch: # not even for a moment, which another thread would see
        patch.setattr(torch, 'set_rng_state', lambda state: pytest.fail('the global state was set'))
        NMVQGenerator.load(saved)
    assert random_states() == states


def test_an_older_file_is_brought_to_todays_names(saved, tmp_path):
    NMVQGenerator.load(as_written_by(4, saved, tmp_path/'older.nmvq')).save(tmp_path/'again.nmvq')
    (metadata, tensors), (again, tensors_again) = contents(saved), contents(tmp_path/'again.nmvq')
    unknown = dict(anchors=None, augmentation=dict(reason=''))
    assert json.loads(metadata['generator']) | unknown == json.loads(again['generator'])
    assert {name for name in tensors if not name.startswith('anchors.')} == tensors_again.keys()


def save_often(gen, path, n):
    for _ in range(n): gen.save(path)


def test_two_processes_may_save_to_one_path(gen, tmp_path):
    other, path = copy.copy(gen), tmp_path/'gen.nmvq'
    other.tau = gen.tau + 1
    gen.save(path)
    fork, found = multiprocessing.get_context('fork'), set()
    savers = [fork.Process(target=save_often, args=(g, path, 30)) for g in (gen, other)]
    for saver in savers: saver.start()
    while any(saver.is_alive() for saver in savers): found.add(NMVQGenerator.load(path).tau)
    for saver in savers: saver.join()
    assert [saver.exitcode for saver in savers] == [0, 0]
    assert found <= {gen.tau, other.tau} and len(found) == 2
    assert [file.name for file in tmp_path.iterdir()] == ['gen.nmvq']
