"""What must hold between the parts of a generator file, and of its weights; models of it are built within its bounds.

A file may come from a stranger: what it says is believed only where it is checked, here or in `header_rules.py`."""
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .anchors import ROWS
from .data.labels import match_labels
from .data.spec import SeriesSpec
from .models.bands import BANDS
from .rng import generator_on

__all__ = ['MAX_HEADER', 'MAX_LISTS', 'MAX_TENSORS', 'Outline', 'check_names', 'check_spec', 'check_config',
           'check_weights', 'check_stages', 'check_anchors', 'check_outputs']

MAX_HEADER = 2 ** 24    # bytes of JSON: as many as a million numbers have
MAX_LISTS = 2 ** 17     # in it: several for each channel and class, and no hindrance to Python's garbage collector
MAX_TENSORS = 2 ** 13   # 'paper' has 3,000 for series of a million steps
SPARE = 16              # tensors that a model makes on the way to its own, at most (a test counts them)
MAX_VALUES = 2 ** 26    # of one series: more would not fit where samples are made
MAX_LOGITS = 2 ** 24    # of one series: tokens times codes of a band
MAX_TOKENS = 2 ** 12    # of one series and band: attention takes their square
MAX_MATRIX = 2 ** 26    # classes times labels of sets
MAX_COLUMNS = 8         # of the table of temperatures, beside those of classes
MAX_WEIGHT = 1e9        # a single one stays far from float32's largest number through all layers
MAX_UNIT = 1e30         # mean and deviation of the data: what is made in their units stays below that number too
TRIED_VALUES, TRIED_TOKENS = 2 ** 18, 2 ** 10 # of one series: more would take seconds to try
ANCHORS = *BANDS, *ROWS


Facts = dict[str, Callable[[Any], Any]] # {what is expected: whether it is so of some parts}


def _require(facts, of, name):
    for expected, holds in facts.items():
        if not holds(of): raise ValueError(f"{name} does not hold together, expected {expected}")


# The header

SPEC:Facts = {
    'a mean and a deviation for each channel': lambda s: len(s.mean) == len(s.std) == s.c_in,
    f'means and deviations of at most {MAX_UNIT:g}': lambda s: all(abs(v) <= MAX_UNIT for v in (*s.mean, *s.std)),
    f'at most {MAX_VALUES} values a series': lambda s: s.c_in * s.seq_len <= MAX_VALUES,
    'a shortest series of 1 to seq_len steps': lambda s: s.shortest is None or s.shortest <= s.seq_len,
    'a count of series for each class, n_series in all':
        lambda s: len(s.counts) == s.n_classes and (not s.vocab or sum(s.counts) == s.n_series),
    'series of every class': lambda s: all(s.counts) or s.conditions.kind == 'targets', # bins may be empty
    'values of every channel, or of none': lambda s: len(s.values) in (0, s.c_in),
    'values in ascending order': lambda s: all(_rises(v.grid) for v in s.values),
    'low values below high ones': lambda s: all(v.low is None or v.high is None or v.low <= v.high for v in s.values),
}
CONDITIONS:Facts = {
    'different classes': lambda c: c.kind == 'labels' or _differ(c.vocab),             # names of sets may be alike
    'ascending edges between the bins': lambda c: _rises(c.edges) and len(c.edges) == _n_edges(c),
    'a set of labels for each class, all of them different':
        lambda c: len(c.sets) == (len(c.vocab) if c.kind == 'labels' else 0) == len(set(c.sets)),
    'sets of labels that there are, each once':
        lambda c: all(_differ(members) and max(members, default=-1) < len(c.labels) for members in c.sets),
    'different labels, and no more than sets can have': lambda c: _differ(c.labels) and _n_cells(c) <= MAX_MATRIX,
}
SELECTION:Facts = {
    "the rows 'all' and classes, each once": lambda d: d['index'][0] == 'all' and _differ(d['index'][1:]) and
        (match_labels(d['index'][1:], d['vocab']) >= 0).all(),
    'a score for each row': lambda d: {len(d['index'])} == {len(column) for column in d['columns'].values()},
    'counts of 0 or more': lambda d: all(n >= 0 for n in d['columns']['holdout']),
    'scores of classifiers, all of them or none': lambda d: _all_or_none(d['columns'], 'accuracy_'),
    'scores against learnt series, all of them or none': lambda d: _all_or_none(d['columns'], 'FID_learnt_'),
}
AUGMENTATION:Facts = {
    'different options, and a figure for each': lambda d: _differ(d['options']) and
        {len(d['options'])} == {len(column) for column in d['columns'].values()},
}
ENDS = dict(accuracy_=('before', 'after', 'chance'), FID_learnt_=('before', 'after'))


def _rises(values): return all(low < high for low, high in zip(values, values[1:]))


def _differ(names): return len({str(v) for v in names}) == len(names)


def _n_edges(c): return max(len(c.vocab) - 1, 0) if c.kind == 'targets' else 0


def _n_cells(c): return len(c.labels) * max(1, len(c.sets))


def _all_or_none(columns, start): return len({start + end in columns for end in ENDS[start]}) == 1


def check_spec(
    header:dict, # Of which `header_rules.check_header` holds
    spec:SeriesSpec # Made of it
):
    "ValueError if what is said of the data, of its classes or of the mapper contradicts itself."
    named = header['spec'].get('conditions', {}).get('vocab', list(spec.vocab))
    if named != list(spec.vocab): raise ValueError("conditions have other classes than spec.vocab")
    _require(SPEC, spec, 'spec')
    _require(CONDITIONS, spec.conditions, 'spec.conditions')
    selection, table = header['mapper_selection'], header['tau_table'] or {}
    if len(table) > MAX_COLUMNS + spec.n_classes:
        raise ValueError(f"tau_table has {len(table)} columns, more than classes")
    if selection and 'columns' in selection: _require(SELECTION, selection | dict(vocab=spec.vocab), 'mapper_selection')
    choice = header['augmentation'] or {}
    if 'columns' in choice: _require(AUGMENTATION, choice, 'augmentation')
    if len({len(column) for column in table.values()}) > 1: raise ValueError("tau_table has columns of unequal length")


CONFIG:Facts = {
    'a prior where there is a mapper': lambda h: 'mapper' not in h.config or 'prior' in h.config,
    'a prior where there are anchors': lambda h: h.anchors is None or 'prior' in h.config,
    "a tokenizer of spec's channels and steps":
        lambda h: (h.config['tokenizer']['c_in'], h.config['tokenizer'].get('seq_len')) == (h.c_in, h.seq_len),
    "a prior of spec's classes": lambda h: 'prior' not in h.config or h.config['prior'].get('c_out', 0) >= h.n_classes,
    "a mapper of spec's channels": lambda h: h.config.get('mapper', h.config['tokenizer'])['c_in'] == h.c_in,
}


def check_config(
    header:dict, # Of which `header_rules.check_header` holds
    spec:SeriesSpec # Made of it
):
    "ValueError if stages are of other data than the spec, or lack those before them."
    of = SimpleNamespace(config=header['config'], anchors=header['anchors'], c_in=spec.c_in, seq_len=spec.seq_len,
                         n_classes=spec.n_classes)
    _require(CONFIG, of, 'config')


def check_names(
    header:dict, # Of which `header_rules.check_header` holds
    tensors:dict # {name: tensor} of the whole file
):
    "ValueError for tensors that are of no stage, and for empty ones, which have sizes at no cost."
    parts = {*header['config'], *(() if header['anchors'] is None else ('anchors',))}
    for name, tensor in tensors.items():
        if name.partition('.')[0] not in parts: raise ValueError(f"{name} is a tensor of no stage")
        if not tensor.numel(): raise ValueError(f"{name} is empty, its shape is {list(tensor.shape)}")


# Models

class Outline(TorchFunctionMode):
    """Models are made on the meta device, without values, as far as a file's own tensors go: settings may ask for more.

    What fills tensors is left out: for it torch would import a compiler on this device, which takes a second."""
    def __init__(self,
        tensors:dict # {name: tensor} of the whole file: a prior may make a tokenizer of its own, to know its sizes
    ):
        super().__init__()
        self.left, self.largest = len(tensors) + SPARE, max((t.numel() for t in tensors.values()), default=0)
        self.device = torch.device('meta')

    def __enter__(self):
        self.device.__enter__()
        return super().__enter__()

    def __exit__(self, *exc):
        super().__exit__(*exc)
        return self.device.__exit__(*exc)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, '__name__', ''), kwargs or {}
        if name.endswith('_') and not name.endswith('__'): return [*args, *kwargs.values()][0] # normal_, uniform_, ...
        if name in ('mul', '__mul__') and args[0].is_meta: return args[0]
        made = (torch.empty if func is torch.randn else func)(*args, **kwargs)
        if not isinstance(made, Tensor): return made
        self.left -= 1
        if self.left < 0 or made.numel() > self.largest:
            raise ValueError("its settings ask for more or larger weights than it has")
        return made


def check_weights(
    stage:str, # Name of the model
    model:nn.Module, # Made in an `Outline`
    tensors:dict # {name: tensor} that it is to have
):
    "ValueError if a tensor is missing or too many, of another shape or type, not finite, or out of its range."
    wanted, fit = model.state_dict(), "its header and its weights do not fit"
    for name in sorted(wanted.keys() ^ tensors.keys()):
        raise ValueError(f"{fit} ({stage}.{name} is {'missing' if name in wanted else 'unknown'})")
    for name, tensor in tensors.items():
        has, needs = ((t.dtype, list(t.shape)) for t in (tensor, wanted[name]))
        if has != needs: raise ValueError(f"{fit} ({stage}.{name} is {has}, expected {needs})")
    real = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    ends = torch.stack([end for tensor in real.values() for end in tensor.aminmax()]).view(-1, 2).tolist()
    for name, (low, high) in zip(real, ends):
        least, most = _range(name)
        if not least <= low <= high <= most:
            raise ValueError(f"{stage}.{name} has values from {low:g} to {high:g}, expected {least:g} to {most:g}")
    for name, tensor in tensors.items():
        if name.rpartition('.')[2].startswith('used') and not tensor.any():
            raise ValueError(f"{stage}.{name} has no code")


def _range(name): # of weights; NaN is in none
    largest = MAX_UNIT if name.startswith('standardizer.') else MAX_WEIGHT
    return 0. if name.endswith(('running_var', 'cluster_size', 'standardizer.std')) else -largest, largest


STAGES:Facts = {
    'deviations above 0 but of constant channels':
        lambda m: ((m.tokenizer.standardizer.std[:, 0] > 0) | (torch.tensor(m.spec.std) == 0)).all(),
    "a prior of the tokenizer's tokens and codes": lambda m: m.prior is None or
        (m.prior.n_tokens, m.prior.codebook_size) == (m.tokenizer.n_tokens, m.tokenizer.codebook_size),
    f'at most {MAX_TOKENS} tokens a series': lambda m: max(m.tokenizer.n_tokens.values()) <= MAX_TOKENS,
    f'at most {MAX_LOGITS} tokens times codes': lambda m: MAX_LOGITS >= max(
        n * m.tokenizer.codebook_size[band] for band, n in m.tokenizer.n_tokens.items()),
}


def check_stages(
    stages:dict[str, nn.Module], # {stage: model}
    spec:SeriesSpec # Of the training split
):
    "ValueError if models do not go together."
    of = SimpleNamespace(spec=spec, **dict.fromkeys(('prior', 'mapper')))
    of.__dict__.update(stages)
    _require(STAGES, of, 'stages')


ANCHOR_FACTS:Facts = {
    'whole numbers as tokens and class ids': lambda a: all(t.dtype == torch.int32 for t in (*a.tokens.values(), a.ids)),
    'rows of tokens of both bands for each class id': lambda a: a.ids.ndim == 1 and all(
        t.shape == (len(a.ids), a.tokenizer.n_tokens[band]) for band, t in a.tokens.items()),
    'tokens of the codebook': lambda a: all(
        0 <= t.min() and t.max() < a.tokenizer.codebook_size[band] for band, t in a.tokens.items()),
    'class ids in ascending order': lambda a: (a.ids.diff() >= 0).all(),
    'rows of every class, and of no other': lambda a: 0 <= a.ids[0] and a.ids[-1] <= a.null_class and
        {i for i, n in enumerate(a.spec.counts) if n} <= set(a.ids.unique().tolist()),
    'a bit for each value of their series': lambda a: a.present is None or (a.present.dtype == torch.uint8 and
        a.present.shape == (len(a.ids), math.ceil(a.spec.c_in * a.spec.seq_len / 8))),
    'a value in each of their series': lambda a: a.present is None or _bits(a).any(1).all(),
    'targets only where classes are bins of them':
        lambda a: a.targets is None or a.spec.conditions.kind == 'targets',
    'a finite target for each row': lambda a: a.targets is None or (
        a.targets.shape == a.ids.shape and a.targets.is_floating_point() and a.targets.isfinite().all()),
    'finite float16 details of each row': lambda a: a.details is None or (a.details.dtype == torch.float16 and
        a.details.shape == (len(a.ids), a.spec.c_in, a.spec.seq_len) and a.details.isfinite().all()),
}


def _bits(a): return np.unpackbits(a.present.numpy(), axis=1, count=a.spec.c_in * a.spec.seq_len)


def check_anchors(
    tensors:dict, # {name: tensor} of the anchors
    stages:dict[str, Any], # {stage: model}; the tokenizer's tokens, the prior's classes
    spec:SeriesSpec # Of the training split
):
    "ValueError if anchors have tokens, classes, gaps, targets or details that there are not."
    missing, unknown = {*BANDS, 'ids'} - tensors.keys(), tensors.keys() - {*ANCHORS}
    if missing or unknown: raise ValueError(f"anchors lack {sorted(missing)}, and have {sorted(unknown)[:3]} too many")
    of = SimpleNamespace(tokens={band: tensors[band] for band in BANDS}, spec=spec,
                         tokenizer=stages['tokenizer'], null_class=stages['prior'].null_class,
                         **{name: tensors.get(name) for name in ROWS})
    _require(ANCHOR_FACTS, of, 'anchors')


@torch.no_grad()
def check_outputs(
    stages:dict[str, Any], # {stage: model} in eval mode, on a CPU
    spec:SeriesSpec # Of the training split
):
    """ValueError if stages make no finite values: of weights that are large together, no bound tells it beforehand.

    One series is tried, where it is short enough to be quick."""
    tokenizer, prior, mapper = stages['tokenizer'], stages.get('prior'), stages.get('mapper')
    if spec.c_in * spec.seq_len > TRIED_VALUES or max(tokenizer.n_tokens.values()) > TRIED_TOKENS: return
    tokens = {band: (torch.arange(n) % tokenizer.codebook_size[band])[None] for band, n in tokenizer.n_tokens.items()}
    made = dict(series=tokenizer.decode(tokens))
    made |= {f'latents of {band}': z for band, z in tokenizer.latents(made['series']).items()}
    if mapper is not None: made['mapped series'] = mapper(made['series'], generator_on('cpu', 0))
    if prior is not None:
        for band in BANDS:
            logits = prior.band_logits(band, tokens[band], torch.tensor([0]), tokens['lf'])
            made[f'{band} logits'] = logits.softmax(-1)
    for name, x in made.items():
        if not x.isfinite().all(): raise ValueError(f"its weights make {name} that are not finite")
