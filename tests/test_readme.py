"""The README runs as it stands, on a small set and with short schedules; so do the pages of docs/ that show code."""
import re
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tsai_nmvq import presets

SOURCE = Path(__file__).parents[1]
README = (SOURCE/'README.md').read_text(encoding='utf-8')
MAX_README_LINES = 120


def snippets(text, language='python'): return re.findall(rf'```{language}\n(.*?)```', text, re.S)


@pytest.fixture
def short_schedules(monkeypatch):
    for preset, stages in presets.SCHEDULES.items():
        short = {stage: replace(schedule, epochs=1) for stage, schedule in stages.items()}
        monkeypatch.setitem(presets.SCHEDULES, preset, short)


def test_python_snippets_run_from_top_to_bottom(data, short_schedules, tmp_path, monkeypatch):
    scope = dict(data=data) # GunPoint at every third step has a class '1' too
    monkeypatch.chdir(tmp_path)
    for code in snippets(README):
        code = code.replace("get_classification_data('ECG5000', split_data=False)", 'data')
        code = re.sub(r'fit_one_cycle\(\d+,', 'fit_one_cycle(1,', code)
        exec(code, scope)
    plt.close('all')
    assert scope['X_gen'].shape == (200, *data[0].shape[1:]) and set(scope['y_gen']) == {'1'}
    assert (tmp_path/'ecg5000.nmvq').exists() and scope['gen'].mapper is not None
    assert {'real (train)', 'after mapper'} <= set(scope['table'].index) and len(scope['axs']) == 4


def test_it_is_short(): assert len(README.splitlines()) <= MAX_README_LINES


def test_the_two_commands_stand_alone():
    assert {'pip install -e . && nmvq_demo\n', 'pip install -e ".[dev]" && pytest\n'} <= set(snippets(README, 'bash'))


def test_links_lead_somewhere():
    for page in [SOURCE/'README.md', SOURCE/'CONTRIBUTING.md', *(SOURCE/'docs').glob('*.md')]:
        for target in re.findall(r'\]\((?!https?:|#)([^)#]+)', page.read_text(encoding='utf-8')):
            assert (page.parent/target).exists(), f"{page.name} links to {target}"


def test_files_that_are_named_exist():
    pages = [SOURCE/'README.md', SOURCE/'CONTRIBUTING.md', *(SOURCE/'docs').glob('*.md')]
    for page in pages:
        text = page.read_text(encoding='utf-8')
        for name in re.findall(r'`(benchmarks/[\w/.]+|tests/[\w/.]+|tsai_nmvq/[\w/.]+)`', text):
            assert (SOURCE/name).exists(), f"{page.name} names {name}"


def test_every_command_of_the_package_is_named():
    settings = (SOURCE/'settings.ini').read_text(encoding='utf-8')
    assert np.all([name in README for name in re.findall(r'(nmvq_\w+)=', settings)])
