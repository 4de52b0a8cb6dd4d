"""What the JSON header of a generator file may hold: types and ranges, read as a specification. Imports no model.

A header is looked at only as deep as the rules go, and nothing is made of what they do not name."""
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from reprlib import repr as in_short
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from .augment.options import FIGURES, OPTIONS
from .data.conditions import KINDS, Conditions
from .data.spec import SeriesSpec
from .data.values import ChannelValues
from .models.bands import BANDS
from .models.tokenizer import MIN_SEQ_LEN
from .presets import STAGE_PRESETS, MapperSettings, PriorSettings, TokenizerSettings

__all__ = ['check_header', 'check', 'Record', 'HEADER']

FLOAT32 = 3.4e38    # numbers that become float32 are no larger
INT = 2 ** 53       # whole numbers that are a size of nothing


# The language: a rule is a `Rule`, `Maybe`, `Items`, `Table`, `Record` or `OneOf`

class Rule(NamedTuple):
    "What a value must be, in words and as a function."
    expected:str
    holds:Callable[[Any], bool]


class Maybe(NamedTuple):
    "null, or what the rule says."
    rule:Any


class Items(NamedTuple):
    "A list."
    rule:Any
    least:int = 0
    most:float = math.inf


class Table(NamedTuple):
    "Any names, with values of one rule."
    rule:Any


@dataclass(frozen=True)
class Record:
    "Names that are known: those that must be there, and those that may."
    required:dict[str, Any]
    optional:dict[str, Any] = field(default_factory=dict)


class OneOf(NamedTuple):
    "The first record whose required names are there; else the last rule."
    rules:tuple


def whole(low:int=1, high:int=INT) -> Rule: # A whole number
    return Rule(f'a whole number from {low} to {high}', lambda v: _is(v, int) and low <= v <= high)


def real(low:float=-FLOAT32, high:float=FLOAT32) -> Rule: # A number; NaN is outside of all ranges
    def holds(v): return _is(v, int, float) and low <= v <= high and (isinstance(v, float) or abs(v) <= INT)
    return Rule(f'a number from {low:g} to {high:g}', holds) # torch makes no tensor of larger ints


def choice(*values:str) -> Rule: # One of some words
    return Rule(f'one of {list(values)}', lambda v: isinstance(v, str) and v in values)


def _is(v, *types): return isinstance(v, types) and not isinstance(v, bool)


flag = Rule('true or false', lambda v: isinstance(v, (bool, int)) and v in (0, 1))
text = Rule('text', lambda v: isinstance(v, str))
number = Rule('a number', lambda v: _is(v, int, float))             # of a table of scores: NaN is one
name = Rule('text, a finite number, true or false',
            lambda v: isinstance(v, (str, int)) or (isinstance(v, float) and math.isfinite(v)))
share = real(0, 1)


def check(
    value, # From JSON
    rule, # What it must be
    where:str # What it is called in messages
):
    "ValueError that says which value is wrong, and what was expected."
    match rule:
        case Maybe(inner):
            if value is not None: check(value, inner, where)
        case OneOf(rules):
            names = value.keys() if isinstance(value, dict) else set()
            fits = (r for r in rules[:-1] if isinstance(value, dict) and r.required.keys() <= names)
            check(value, next(fits, rules[-1]), where)
        case Items(inner, least, most):
            _expect(isinstance(value, list) and least <= len(value) <= most, value, where, _of_items(least, most))
            if isinstance(inner, Rule) and all(map(inner.holds, value)): return # a million numbers, mostly
            for i, item in enumerate(value): check(item, inner, f'{where}[{i}]')
        case Table(inner):
            _expect(isinstance(value, dict), value, where, 'names and values')
            for key, item in value.items(): check(item, inner, f'{where}.{in_short(key)}')
        case Record(required, optional):
            _expect(isinstance(value, dict), value, where, 'names and values')
            known, missing = required | optional, [key for key in required if key not in value]
            if missing: raise ValueError(f"{where} has no {missing[0]!r}")
            for key, item in value.items():
                if key not in known: raise ValueError(f"{where} has {in_short(key)}, expected any of {sorted(known)}")
                check(item, known[key], f'{where}.{key}')
        case Rule(expected, holds):
            _expect(holds(value), value, where, expected)


def _expect(holds, value, where, expected):
    if not holds: raise ValueError(f"{where} is {in_short(value)}, expected {expected}")


def _of_items(least, most): return f'a list of {least} to {most} items' if least or most < math.inf else 'a list'


# Settings, from their dataclasses; what a type does not say is here, by name

RANGES = dict(n_blocks=whole(0), noise_channels=whole(0), dead_code_threshold=whole(0), choice_temp=real(0, math.inf),
              **dict.fromkeys(('dropout', 'emb_dropout', 'ema_decay', 'p_uncond', 'hf_batch_fraction'), share))
OF_TYPE:dict[Any, Rule] = {int: whole(), float: real(0), bool: flag}


def setting_rules(
    settings:type # A dataclass of `presets`
) -> dict[str, Any]: # {setting: rule}
    "Rules of a stage's settings."
    return {key: _rule_of(key, hint) for key, hint in get_type_hints(settings).items()}


def _rule_of(key, hint): # of int, int|None, tuple[int, ...] or Mapping[str, int]
    kind, inner = get_origin(hint), [t for t in get_args(hint) if t not in (NoneType, str, Ellipsis)]
    rule = RANGES.get(key) or OF_TYPE[inner[0] if inner else hint]
    if kind is UnionType: return Maybe(rule)
    if kind is tuple: return Items(rule, least=1)
    return Maybe(OneOf((Record({}, dict.fromkeys(BANDS, rule)), rule))) if kind is Mapping else rule


def _record(of:type, **rules) -> Record: # of a dataclass: fields with a default may be left out, as older files do
    needed = {f.name for f in fields(of) if f.default is MISSING and f.default_factory is MISSING}
    return Record({k: r for k, r in rules.items() if k in needed}, {k: r for k, r in rules.items() if k not in needed})


def _by_band(rule): return Record(dict.fromkeys(BANDS, rule))


SETTINGS = {stage: setting_rules(of) for stage, of in zip(STAGE_PRESETS, (TokenizerSettings, PriorSettings,
                                                                          MapperSettings))}
PRESET = {stage: dict(preset=choice(*presets)) for stage, presets in STAGE_PRESETS.items()}
STEPS = whole(MIN_SEQ_LEN)
OTHERS = dict(                                              # arguments of the stages' constructors beside settings
    tokenizer=dict(seq_len=STEPS, c_out=Maybe(whole(0)), n_series=Maybe(whole())),
    prior=dict(seq_len=Maybe(STEPS), c_out=whole(0), grid=Maybe(_by_band(Items(whole(), 2, 2))),
               codebook_size=Maybe(_by_band(whole())), codebook_dim=whole()),
    mapper=dict(seq_len=STEPS, c_out=Maybe(whole(0))))
CONFIG = {stage: Record(dict(c_in=whole()), PRESET[stage] | SETTINGS[stage] | OTHERS[stage]) for stage in STAGE_PRESETS}

# The header, from the top

VALUES = _record(ChannelValues, grid=Items(real()), whole=flag, low=Maybe(real()), high=Maybe(real()))
CONDITIONS = _record(Conditions, kind=choice(*KINDS), vocab=Items(name), edges=Items(real(-1e308, 1e308)),
                     labels=Items(name), sets=Items(Items(whole(0))), multi_hot=flag)
SPEC = _record(SeriesSpec, c_in=whole(), seq_len=whole(MIN_SEQ_LEN), n_series=whole(), mean=Items(real()),
               std=Items(real(0)), vocab=Items(name), counts=Items(whole(0)), missing=share,
               shortest=Maybe(whole()), pad_value=Maybe(real()), values=Items(VALUES), conditions=CONDITIONS,
               digest=Maybe(whole(0)))
SCORES = Record(dict.fromkeys(('holdout', 'FID_before', 'FID_after', 'sharpness_before', 'sharpness_after'),
                              Items(number, least=1)),
                dict.fromkeys(('FID_learnt_before', 'FID_learnt_after', 'accuracy_before', 'accuracy_after',
                               'accuracy_chance'), Items(number)))
SELECTION = OneOf((Record(dict(index=Items(name, least=1), columns=SCORES)),
                   Record(dict(evidence=choice('given', 'failed')), dict(use_mapper=flag, failure=text))))
AUGMENTATION = OneOf((Record(dict(options=Items(choice(*OPTIONS), least=1),
                                  columns=Record(dict.fromkeys(FIGURES, Items(real()))))),
                      Record({}, dict(reason=text))))
HEADER = Record(dict(
    preset=choice(*STAGE_PRESETS['tokenizer']),
    settings=Record({}, {stage: Record({}, PRESET[stage] | SETTINGS[stage]) for stage in STAGE_PRESETS}),
    spec=SPEC,
    config=Record(dict(tokenizer=CONFIG['tokenizer']), dict(prior=CONFIG['prior'], mapper=CONFIG['mapper'])),
    tau=Maybe(real(0)),
    tau_table=Maybe(Table(Items(number))),
    mapper_selection=Maybe(SELECTION),
    augmentation=Maybe(AUGMENTATION),
    anchors=Maybe(Record(dict(strength=share, max_redraw=share)))))


def check_header(
    header # From JSON, brought to the current format
):
    "ValueError that names the first value which is not what it must be."
    check(header, HEADER, 'header')
