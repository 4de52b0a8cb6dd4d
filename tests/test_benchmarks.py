"""The benchmarks import, what they share does what it says, and documents name commands and figures that there are."""
import dataclasses
import re
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tsai_nmvq.presets import SCHEDULES
from tsai_nmvq.train.tokenizer import TokenizerLearner

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / 'benchmarks'
MODULES = sorted('.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
                 for file in BENCHMARKS.rglob('*.py'))
DOCUMENTS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'Makefile', ROOT / '.ci' / 'run',
             *sorted((ROOT / 'docs').glob('*.md')), *sorted((BENCHMARKS / 'results').glob('*.md'))]
needs_proc = pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='PeakMemory reads /proc')


@pytest.mark.parametrize('module', MODULES)
def test_imports(module): assert import_module(module).__doc__


@pytest.mark.parametrize('file', DOCUMENTS, ids=lambda file: file.name)
def test_documents_name_commands_that_there_are(file):
    text = file.read_text(encoding='utf-8')
    assert 'python benchmarks/' not in text
    for module in re.findall(r'-m (benchmarks[\w.]*\w)', text):
        spec = find_spec(module)
        assert spec and (spec.submodule_search_locations is None or find_spec(f'{module}.__main__'))


def test_every_table_of_speed_is_of_a_section():
    sections = import_module('benchmarks.speed.__main__').SECTIONS
    text = '\n'.join(file.read_text(encoding='utf-8') for file in DOCUMENTS)
    named = {name for names in re.findall(r'benchmarks\.speed --sections ([\w,]+)', text) for name in names.split(',')}
    assert named <= set(sections) and {'reference', 'growth'} <= named


def test_documents_show_what_the_csv_files_say():
    from benchmarks import tables
    assert tables.main(['--check']) == 0


# benchmarks.common

def test_alternate_takes_turns():
    from benchmarks.common.timing import alternate
    calls = []
    found = alternate({'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}, rounds=3, warm_up=2)
    assert ''.join(calls) == 'ab' * 5 and list(found.index) == ['a', 'b']


def test_alternate_leaves_warm_up_out():
    from benchmarks.common.timing import alternate
    waits = iter([0.5, 0.02])
    found = alternate({'slow at first': lambda: time.sleep(next(waits))}, rounds=1, warm_up=1)
    assert 0.02 <= found['slow at first'] < 0.2


@needs_proc
def test_peak_memory_sees_what_is_gone_at_the_end():
    from benchmarks.common.timing import PeakMemory
    with PeakMemory() as peak:
        x = np.ones(2 ** 24) # 128 MB
        time.sleep(0.1)
        del x
    assert 120 < peak.mb < 160


@needs_proc
def test_peak_memory_leaves_mapped_files_out(tmp_path):
    from benchmarks.common.timing import PeakMemory
    np.save(tmp_path / 'x.npy', np.ones(2 ** 24))
    x = np.load(tmp_path / 'x.npy', mmap_mode='r')
    with PeakMemory() as peak:
        assert x[::512].sum() == 2 ** 15
        time.sleep(0.1)
    assert peak.mb < 32


def test_remembered_measures_once(tmp_path):
    from benchmarks.common.records import remembered
    file, measured = tmp_path / 'row.json', []
    def measure():
        measured.append(len(measured))
        return {'n': len(measured), 'FID': np.float32(0.5)}
    assert remembered(file, measure) == {'n': 1, 'FID': 0.5}
    assert remembered(file, measure) == {'n': 1, 'FID': 0.5} and len(measured) == 1
    assert remembered(file, measure, again=True)['n'] == 2
    assert remembered(file, measure)['n'] == 2


def test_remembered_goes_on_with_what_was_stopped(tmp_path):
    from benchmarks.common.records import remembered
    file = tmp_path / 'row.json'
    def stopped(): raise KeyboardInterrupt
    remembered(file, lambda: 'old')
    with pytest.raises(KeyboardInterrupt): remembered(file, stopped, again=True)
    assert remembered(file, lambda: 'new') == 'new' and list(tmp_path.iterdir()) == [file]


def test_keep_writes_all_columns_and_shows_some(tmp_path, monkeypatch, capsys):
    from benchmarks.common import records
    monkeypatch.setattr(records, 'RESULTS', tmp_path / 'results')
    table = pd.DataFrame({'data': ['A', 'B'], 'FID': [0.00123456, 2.], 'hidden': [1, 2]})
    records.keep('scores', table, 'Scores', 'python -m benchmarks.scores', 'A note.', ['data', 'FID'], '0,1')
    assert list(pd.read_csv(tmp_path / 'results' / 'scores.csv')) == ['data', 'FID', 'hidden']
    text = (tmp_path / 'results' / 'scores.md').read_text()
    assert text.splitlines()[:7:2] == ['## Scores', 'A note.', '| data | FID |', '| A | 0.00123 |']
    assert f'`python -m benchmarks.scores`: seed 0,1, {torch.get_num_threads()} threads' in text
    assert text in capsys.readouterr().out


def test_stage_seconds_go_on_from_a_file(tmp_path):
    from benchmarks.common.timing import StageSeconds
    from benchmarks.speed.stages import random_data, train_steps
    file = tmp_path / 'seconds.json'
    watch = StageSeconds(file)
    learn = TokenizerLearner(random_data(16, 32), device='cpu', cbs=[watch])
    start = time.perf_counter()
    train_steps(learn, 2)
    assert list(watch.seconds) == ['tokenizer'] and 0 < watch.seconds['tokenizer'] <= time.perf_counter() - start
    assert StageSeconds(file).seconds == watch.seconds


# The sections

def test_train_steps_trains_so_many_steps():
    from fastai.callback.core import Callback

    from benchmarks.speed.stages import random_data, train_steps
    count = Callback(after_step=lambda self: setattr(self, 'n', getattr(self, 'n', 0) + 1))
    learn = TokenizerLearner(random_data(16, 32), device='cpu', cbs=[count])
    before = [p.clone() for p in learn.model.parameters()]
    train_steps(learn, 3)
    assert count.n == 3
    assert any((p != q).any() for p, q in zip(before, learn.model.parameters()))


def test_cases_split_anew_by_class_or_keep_the_archives_split():
    from benchmarks.fidelity.cases import Case
    X, y, (train, test) = Case('GunPoint', seed=0).read(None)
    assert len(train) == 160 and len(test) == 40 and not set(train) & set(test)
    assert np.ptp(np.unique(y[train], return_counts=True)[1]) <= 1
    assert not np.array_equal(train, Case('GunPoint', seed=1).read(None)[2][0])
    _, _, (train, test) = Case('GunPoint', split='original').read(None)
    assert train.tolist() == list(range(50)) and test.tolist() == list(range(50, 200))


def test_cases_take_at_most_cap_series_of_all_classes():
    from benchmarks.fidelity.cases import Case
    _, y, parts = Case('GunPoint', cap=30).read(None)
    whole = Case('GunPoint').read(None)[2]
    for rows, all_rows in zip(parts, whole):
        assert len(set(rows)) == 30 and set(rows) <= set(all_rows)
        assert np.ptp(np.unique(y[rows], return_counts=True)[1]) <= 1


def test_sections_say_what_they_skip(capsys, monkeypatch):
    from benchmarks.speed import pipeline, precision, reference
    for section in (reference, pipeline): monkeypatch.setattr(section, 'is_installed', lambda: False)
    reference.measure('cpu')
    pipeline.measure('.', 'cpu')
    precision.measure('cpu')
    said = capsys.readouterr().out.splitlines()
    assert [line.split(',')[0] for line in said] == ['reference: skipped', 'pipeline: skipped', 'precision: skipped']


def test_epochs_lost_are_those_done_again(tmp_path):
    from benchmarks.kills import epochs_lost
    journal = tmp_path / 'fit.txt'
    assert epochs_lost(journal) == []
    journal.write_text('tokenizer begins 0\ntokenizer done 1\ntokenizer done 2\n'       # killed
                       'tokenizer begins 1\n'                                          # killed before an epoch was done
                       'tokenizer begins 1\ntokenizer done 2\nprior begins 0\nprior done 1\n'
                       'prior begins 1\n')
    assert epochs_lost(journal) == [1, 0, 0]


@pytest.mark.slow
def test_a_row_of_fidelity_and_its_mapper_again(tmp_path, monkeypatch):
    from benchmarks.fidelity.cases import Case
    from benchmarks.fidelity.row import SHOWN, Run
    from tsai_nmvq.generator import NMVQGenerator
    for stage, schedule in SCHEDULES['fast'].items():
        monkeypatch.setitem(SCHEDULES['fast'], stage, dataclasses.replace(schedule, epochs=1))
    run, case = Run(None, tmp_path), Case('GunPoint', cap=40)
    row = run.row(case)
    assert set(SHOWN) <= set(row) and row['series'] == row['test series'] == 40
    file = case.file(tmp_path, 'fast', '.nmvq')
    first = NMVQGenerator.load(file, 'cpu')
    again = run.row(case, again='mapper')
    def figures(row): return {name: value for name, value in row.items() if not name.endswith(', s')}
    pd.testing.assert_series_equal(pd.Series(figures(again)), pd.Series(figures(row)))
    assert again['tokenizer, s'] == row['tokenizer, s'] and again['mapper, s'] != row['mapper, s']
    for name, weights in NMVQGenerator.load(file, 'cpu').tokenizer.state_dict().items():
        assert torch.equal(weights, first.tokenizer.state_dict()[name])


def test_losses_are_the_steps_from_one_set_to_the_next():
    from benchmarks.classes.__main__ import losses
    accuracy = {'real': 0.9, 'reconstructed': 0.8, 'LF real, HF sampled': 0.78, 'prior alone': 0.3,
                'before mapper': 0.5, 'after mapper': 0.6, 'ten times as many': 0.72}
    rows = [dict(data='A', seed=0, ridge=value, **{'learnt from': name}) for name, value in accuracy.items()]
    found = losses(pd.DataFrame(rows), 'ridge').iloc[0]
    stages = {'tokenizer': 10, 'HF prior': 2, 'LF prior': 48, 'anchors': -20, 'mapper': -10}
    assert {stage: round(found[f'{stage}, points']) for stage in stages} == stages
    assert found['TRecTR, % of TRTR'] == pytest.approx(100 * 8 / 9)
    assert found['TSTR, % of TRTR'] == pytest.approx(100 * 6 / 9) and found['of ten times as many, % of TRTR'] == 80
    unmapped = pd.DataFrame([row for row in rows if row['learnt from'] != 'after mapper'])
    assert losses(unmapped, 'ridge').iloc[0]['mapper, points'] == 0
