"""Settings: each stands once, with a comment, and changes its model; presets and what replaces them; schedules."""
import ast
import inspect
import io
import math
import tokenize
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from functools import cache

import pytest
import torch

from tsai_nmvq import presets
from tsai_nmvq.models.mapper import NeuralMapper
from tsai_nmvq.models.prior import MaskedPrior
from tsai_nmvq.models.tokenizer import VQTokenizer
from tsai_nmvq.presets import (
    MAPPER_PRESETS,
    PRIOR_PRESETS,
    SCHEDULES,
    STAGE_PRESETS,
    STAGES,
    TOKENIZER_PRESETS,
    MapperSettings,
    PriorSettings,
    StageSchedule,
    TokenizerSettings,
    replaced_settings,
    resolve_settings,
    settings_to_dict,
    stage_schedule,
)

MODELS = dict(tokenizer=VQTokenizer, prior=MaskedPrior, mapper=NeuralMapper)
SETTINGS = dict(tokenizer=TokenizerSettings, prior=PriorSettings, mapper=MapperSettings)
EVERY_STAGE = pytest.mark.parametrize('stage', STAGES)
EVERY_PRESET = pytest.mark.parametrize('stage, preset',
                                       [(stage, preset) for stage in STAGES for preset in STAGE_PRESETS[stage]])

OTHER = { # another value of each setting
    'tokenizer': dict(n_fft=8, lf_width=4, hf_width=8, dim=8, max_dim=8, stride=2, hidden_dim=16, n_blocks=2,
                      dropout=0.3, separable=True, snake=True, mix_bins=False, codebook_size=24, codebook_dim=5,
                      ema_decay=0.5, commitment_weight=0.25, dead_code_threshold=7),
    'prior': dict(lf_dim=16, lf_layers=1, lf_heads=1, hf_dim=16, hf_layers=1, hf_heads=1, ff_mult=1, head_dim=8,
                  dropout=0.1, emb_dropout=0.1, p_uncond=0.3, hf_batch_fraction=0.5, lf_token_noise=0.7,
                  embed_codes=False, n_steps=dict(lf=3, hf=4), choice_temp=dict(lf=1., hf=2.)),
    'mapper': dict(patch=2, dim=16, mults=(1, 2, 2), n_blocks=2, n_heads=4, snake=True, linear_attention=True,
                   dropout=0.2, residual=False, noise_channels=2),
}
OF_THE_LEARNER = {'p_uncond', 'hf_batch_fraction', 'lf_token_noise'} # of how a prior learns, not of what it is


def model_of(stage, preset='fast', **overrides): return MODELS[stage](1, 2, 150, preset, **overrides)


# Each setting once, with a comment

def decorator_name(node): return ast.unparse(node).split('(')[0]


def fields_in_source():
    "{class: {field: whether a comment stands on its lines or alone on the next}}, from the source."
    source = inspect.getsource(presets)
    comments, alone = set(), set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.string.strip('# '):
            comments.add(token.start[0])
            if token.line.lstrip().startswith('#'): alone.add(token.start[0])
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or 'dataclass' not in map(decorator_name, node.decorator_list): continue
        items = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        def commented(item):
            own = range(item.lineno, item.end_lineno + 1)
            return any(line in comments for line in own) or item.end_lineno + 1 in alone
        found[node.name] = {item.target.id: commented(item) for item in items}
    return found


def test_every_field_has_a_comment():
    found = fields_in_source()
    assert {name: list(names) for name, names in found.items()} == \
        {cls.__name__: [f.name for f in fields(cls)] for cls in (*SETTINGS.values(), StageSchedule)}
    assert [f'{cls}.{name}' for cls, names in found.items() for name, commented in names.items() if not commented] == []


@EVERY_STAGE
def test_a_model_takes_the_settings_of_its_dataclass_beside_its_own_arguments(stage):
    names = {f.name for f in fields(SETTINGS[stage])}
    arguments = inspect.signature(MODELS[stage]).parameters
    assert not names & set(arguments)                                  # none is an argument, with its own default, too
    assert [name for name, p in arguments.items() if p.kind is p.VAR_KEYWORD] == ['overrides']
    assert set(model_of(stage).config) == {'c_in', 'c_out', 'seq_len', 'preset'} | names
    assert set(OTHER[stage]) == names


def description(stage, **overrides):
    "All that tells models apart: layers, first weights, and plain attributes of every part."
    torch.manual_seed(0)
    model = model_of(stage, **overrides)
    plain = (bool, int, float, str, tuple, list, dict, type(None))
    hidden = {'config', 'settings'}
    attributes = {f'{name}.{key}': value for name, part in model.named_modules() for key, value in vars(part).items()
                  if isinstance(value, plain) and not key.startswith('_') and key not in hidden}
    return repr(model), attributes, {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


@cache
def standard(stage): return description(stage)


@EVERY_STAGE
def test_the_same_seed_builds_the_same_model(stage): assert description(stage) == standard(stage)


@pytest.mark.parametrize('stage, name', [
    (stage, name) for stage in STAGES for name in OTHER[stage] if name not in OF_THE_LEARNER])
def test_every_setting_changes_its_model(stage, name):
    assert description(stage, **{name: OTHER[stage][name]}) != standard(stage)


# Presets

@EVERY_STAGE
def test_presets_of_all_stages_have_the_same_names_and_the_defaults_are_fast(stage):
    assert set(STAGE_PRESETS[stage]) == set(SCHEDULES) == {'fast', 'paper'} and set(SCHEDULES['paper']) == set(STAGES)
    assert all(type(settings) is SETTINGS[stage] for settings in STAGE_PRESETS[stage].values())
    assert STAGE_PRESETS[stage]['fast'] == SETTINGS[stage]() != STAGE_PRESETS[stage]['paper']
    assert STAGE_PRESETS[stage] is dict(tokenizer=TOKENIZER_PRESETS, prior=PRIOR_PRESETS, mapper=MAPPER_PRESETS)[stage]


@EVERY_PRESET
def test_a_model_has_its_presets_settings_and_they_are_frozen(stage, preset):
    model = model_of(stage, preset)
    assert model.settings == STAGE_PRESETS[stage][preset] and is_dataclass(model.settings)
    with pytest.raises(FrozenInstanceError): model.settings.dropout = 0.9
    assert {k: v for k, v in model.config.items() if k in OTHER[stage]} == settings_to_dict(model.settings)


def test_what_a_model_holds_is_no_part_of_the_preset():
    model, before = model_of('prior'), settings_to_dict(PRIOR_PRESETS['fast'])
    model.n_steps['lf'] = model.choice_temp['hf'] = model.config['n_steps']['hf'] = 99
    assert settings_to_dict(PRIOR_PRESETS['fast']) == settings_to_dict(model.settings) == before
    assert model_of('prior').n_steps == before['n_steps']


@pytest.mark.parametrize('stage', MODELS)
def test_unknown_preset_names_the_known_ones(stage):
    name = MODELS[stage].__name__
    with pytest.raises(ValueError, match=rf"{name}: preset 'small' is unknown; choose one of \['fast', 'paper'\]"):
        MODELS[stage](1, 2, 32, preset='small')


@pytest.mark.parametrize('stage', MODELS)
def test_unknown_setting_names_the_known_ones(stage):
    name = MODELS[stage].__name__
    with pytest.raises(TypeError, match=rf"{name}: unknown settings \['widht'\]; it takes \[.*'dropout'"):
        MODELS[stage](1, 2, 32, widht=3)


@dataclass(frozen=True)
class Sizes:
    dim:int = 4
    depth:int = 2


def test_settings_replace_the_presets():
    known = dict(small=Sizes())
    assert resolve_settings(known, 'small', dict(depth=9), 'Model') == Sizes(depth=9)
    assert known == dict(small=Sizes(4, 2)) and resolve_settings(known, 'small', {}, 'Model') == Sizes()


@pytest.mark.parametrize('preset, overrides, error, what', [
    ('large', {}, ValueError, r"Model: preset 'large' is unknown; choose one of \['small', 'wide'\]"),
    (None, dict(dim=3), ValueError, r"Model: preset None is unknown; choose one of \['small', 'wide'\]"),
    ('wide', dict(z=1, depth=3, a=2), TypeError, r"Model: unknown settings \['a', 'z'\]; it takes \['depth', 'dim'\]")])
def test_errors_name_what_came_and_what_there_is(preset, overrides, error, what):
    known = dict(wide=Sizes(8), small=Sizes())
    with pytest.raises(error, match=what): resolve_settings(known, preset, overrides, 'Model')


# What is replaced

@EVERY_PRESET
def test_what_is_replaced_gives_the_settings_again(stage, preset):
    known = STAGE_PRESETS[stage]
    for name, value in OTHER[stage].items():
        settings = replace(known[preset], **{name: value})
        replaced = replaced_settings(settings, known[preset])
        assert replaced == ({} if getattr(known[preset], name) == value else {name: value})
        assert SETTINGS[stage](**settings_to_dict(known[preset]) | replaced) == settings
        assert resolve_settings(known, preset, replaced, 'Model') == settings


@EVERY_PRESET
def test_a_model_is_built_again_from_what_is_replaced(stage, preset):
    model = model_of(stage, preset, **OTHER[stage])
    replaced = replaced_settings(model.settings, STAGE_PRESETS[stage][preset])
    assert model_of(stage, preset, **replaced).settings == model.settings
    assert model_of(stage, **replaced_settings(model.settings, STAGE_PRESETS[stage]['fast'])).settings == model.settings


@EVERY_STAGE
def test_between_presets_what_is_replaced_leads_from_one_to_the_other(stage):
    fast, paper = (STAGE_PRESETS[stage][preset] for preset in ('fast', 'paper'))
    assert replaced_settings(fast, fast) == {} and replaced_settings(fast, SETTINGS[stage]()) == {}
    assert resolve_settings(STAGE_PRESETS[stage], 'fast', replaced_settings(paper, fast), 'Model') == paper
    assert [name for name, value in replaced_settings(paper, fast).items() if value == getattr(fast, name)] == []


# Schedules

@pytest.mark.parametrize('n_batches, bs, n_series, n', [
    (24, 32, 50, 40),                                                  # the epochs bound
    (100, 32, 3200, 10), (400, 32, 10 ** 6, 2), (300, 32, 10 ** 6, 3), # the steps: 1000 / 100, 2.5 and 3.3 rounded
    (10 ** 6, 32, 10 ** 6, 1),                                         # never less than one
    (25, 32, 40, 5), (24, 64, 12, 1), (25, 32, 2, 1)])                 # the passes: 100 * 40 / (25 * 32), 0.8 and 0.25
def test_epochs_are_bounded_by_steps_and_passes(n_batches, bs, n_series, n):
    schedule = StageSchedule(epochs=40, max_steps=1000, bs=32, lr=1e-3, max_passes=math.inf if n == 40 else 100)
    assert schedule.n_epochs(n_batches, bs, n_series) == n and type(schedule.n_epochs(n_batches, bs, n_series)) is int


@pytest.mark.parametrize('preset, stage', [(preset, stage) for preset in SCHEDULES for stage in STAGES])
def test_epochs_stay_within_every_bound(preset, stage):
    schedule = stage_schedule(preset, stage)
    for n_series in (2, 50, 256, 1000, 20_000, 10 ** 6):
        n_batches = max(24, n_series // schedule.bs)
        n = schedule.n_epochs(n_batches, schedule.bs, n_series)
        assert 1 <= n <= schedule.epochs
        if n > 1:                                                      # rounded: half an epoch over at most
            assert (n - 0.5) * n_batches <= schedule.max_steps
            assert (n - 0.5) * n_batches * schedule.bs <= schedule.max_passes * n_series
    assert schedule.max_passes < math.inf or schedule.n_epochs(24, schedule.bs, 2) == schedule.epochs


def test_schedules_are_frozen_and_found_by_name():
    assert stage_schedule('paper', 'prior') is SCHEDULES['paper']['prior']
    with pytest.raises(FrozenInstanceError): stage_schedule('fast', 'mapper').lr = 1.
    with pytest.raises(ValueError, match=r"preset is 'small', expected one of \['fast', 'paper'\]"):
        stage_schedule('small', 'prior')


def test_lists_of_a_file_become_tuples_again(): # JSON has no tuples: a loaded model would differ from its preset
    loaded = resolve_settings(MAPPER_PRESETS, 'fast', dict(mults=[1, 2]), 'NeuralMapper')
    assert loaded == MAPPER_PRESETS['fast'] and replaced_settings(loaded, MAPPER_PRESETS['fast']) == {}
