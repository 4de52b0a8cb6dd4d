"""Generator files of strangers: refused in a sentence, quickly and in little memory, or their samples are finite."""
import json
import math
import re
from collections import Counter

import pytest
import torch
from broken_files import MAX_BYTES, in_process, nested, outcome, parts, replaced, tried, written

from tsai_nmvq.file_checks import SPARE, Outline
from tsai_nmvq.header_rules import SETTINGS, Record, check
from tsai_nmvq.models.mapper import NeuralMapper
from tsai_nmvq.models.prior import MaskedPrior
from tsai_nmvq.models.tokenizer import VQTokenizer
from tsai_nmvq.presets import STAGE_PRESETS, settings_to_dict

MODELS = dict(tokenizer=VQTokenizer, prior=MaskedPrior, mapper=NeuralMapper)
N_TOO_MANY = 'more or larger weights than it has'

# {name: (what is changed in the header or in the weights, words of the sentence)}
HEADERS = {
    'tokenizer blocks': ({'config.tokenizer.n_blocks': 10 ** 9}, N_TOO_MANY),
    'mapper blocks': ({'config.mapper.n_blocks': 2 ** 63}, 'config.mapper.n_blocks is 9223372036854775808, expected a'),
    'mapper blocks in range': ({'config.mapper.n_blocks': 2 ** 53}, N_TOO_MANY),
    'mapper channels': ({'config.mapper.c_in': 10 ** 6}, "a mapper of spec's channels"),
    'all channels': ({'spec.c_in': 10 ** 6, 'config.tokenizer.c_in': 10 ** 6, 'config.mapper.c_in': 10 ** 6},
                     'a mean and a deviation for each channel'),
    'prior layers': ({'config.prior.hf_layers': 10 ** 9}, N_TOO_MANY),
    'prior width': ({'config.prior.lf_dim': 0}, 'config.prior.lf_dim is 0, expected a whole number from 1'),
    'prior grid': ({'config.prior.grid': dict(lf=[1, 9], hf=[1, 10 ** 10])}, N_TOO_MANY),
    'codes': ({'config.tokenizer.codebook_size': 2 * 10 ** 7}, N_TOO_MANY),
    'levels': ({'config.mapper.mults': [1] * 10 ** 6}, N_TOO_MANY),
    'no tokenizer': ({'config': {}}, "config has no 'tokenizer'"),
    'no prior': ({'config.prior': None}, 'config.prior is None'),
    'long series': ({'spec.seq_len': 10 ** 9}, 'at most'),
    'other steps': ({'spec.seq_len': 64}, "a tokenizer of spec's channels and steps"),
    'negative steps': ({'spec.seq_len': -64}, 'spec.seq_len is -64, expected a whole number from 16'),
    'counts': ({'spec.counts': [1, 2]}, 'a count of series for each class, n_series in all'),
    'negative count': ({'spec.counts': [-10, 60]}, r'spec.counts\[0\] is -10'),
    'real count': ({'spec.counts': [25.5, 24.5]}, r'spec.counts\[0\] is 25.5'),
    'empty class': ({'spec.counts': [0, 50]}, 'series of every class'),
    'temperature': ({'config.prior.choice_temp': 'hot'}, "choice_temp is 'hot', expected a number"),
    'temperature of a band': ({'config.prior.choice_temp.lf': 'hot'}, "choice_temp.lf is 'hot', expected a number"),
    'temperature that is none': ({'config.prior.choice_temp': math.nan}, 'choice_temp is nan'),
    'steps of decoding': ({'config.prior.n_steps': -1}, 'n_steps is -1'),
    'deviation': ({'spec.std': [-1.]}, r'spec.std\[0\] is -1.0, expected a number from 0'),
    'mean': ({'spec.mean': [math.nan]}, r'spec.mean\[0\] is nan, expected a number'),
    'whole mean': ({'spec.mean': [2 ** 63]}, r'spec.mean\[0\] is 9223372036854775808, expected a number'),
    'classes twice': ({'spec.vocab': ['a', 'a'], 'spec.conditions.vocab': ['a', 'a']}, 'different classes'),
    'classes of another kind': ({'spec.vocab': [['a'], {}]}, r"spec.vocab\[0\] is \['a'\], expected text"),
    'other classes': ({'spec.conditions.vocab': ['a', 'b']}, 'conditions have other classes'),
    'edges': ({'spec.conditions.kind': 'targets', 'spec.conditions.edges': [1., 1.]}, 'ascending edges'),
    'sets': ({'spec.conditions.kind': 'labels', 'spec.conditions.sets': [[0], [7]]}, 'sets of labels that there are'),
    'values': ({'spec.values': [dict(grid=[2., 1.])]}, 'values in ascending order'),
    'tau': ({'tau': math.inf}, 'tau is inf'),
    'table of temperatures': ({'tau_table': dict(tau=[0.], fid=[])}, 'columns of unequal length'),
    'columns of temperatures': ({'tau_table': {str(i): [0.] for i in range(10 ** 5)}}, 'columns, more than classes'),
    'lists for means': ({'spec.mean': [[]] * 10 ** 6}, 'lists, at most'),
    'classes for all': ({'spec.vocab': [*range(5 * 10 ** 5)], 'spec.conditions.vocab': [*range(5 * 10 ** 5)],
                         'spec.counts': [1] * 5 * 10 ** 5, 'spec.n_series': 5 * 10 ** 5}, "a prior of spec's classes"),
    'selection': ({'mapper_selection': dict(evidence='certain')}, "evidence is 'certain', expected one of"),
    'class of a selection': ({'mapper_selection.index.1': 'c'}, "the rows 'all' and classes, each once"),
    'strength': ({'anchors.strength': math.nan}, 'anchors.strength is nan'),
    'redraw': ({'anchors.max_redraw': 1.5}, 'anchors.max_redraw is 1.5, expected a number from 0 to 1'),
    'preset': ({'preset': 'slow'}, "preset is 'slow', expected one of"),
    'setting': ({'settings.prior': dict(lf_dim='wide')}, "settings.prior.lf_dim is 'wide'"),
    'unknown setting': ({'settings.prior': dict(colour=1)}, "settings.prior has 'colour', expected any of"),
    'settings as a list': ({'settings': []}, r'settings is \[\], expected names and values'),
}
WEIGHTS = {
    'NaN': ('prior.priors.lf.bias', lambda t: t.fill_(math.nan), 'has values from nan to nan, expected'),
    'inf': ('mapper.first.weight', lambda t: t.fill_(math.inf), 'has values from inf to inf, expected'),
    'large together': ('tokenizer.decoders.', lambda t: t.fill_(1e9), 'make series that are not finite'),
    'variance': ('tokenizer.decoders.hf.1.1.running_var', lambda t: t.neg_(), 'expected 0 to'),
    'zero deviation': ('tokenizer.standardizer.std', torch.zero_, 'deviations above 0 but of constant channels'),
    'no codes': ('prior.used_lf', torch.zero_, 'prior.used_lf has no code'),
    'type': ('mapper.first.bias', torch.Tensor.double, 'its header and its weights do not fit'),
    'shape': ('mapper.first.bias', lambda t: t[None].contiguous(), 'its header and its weights do not fit'),
    'tokens': ('anchors.lf', lambda t: t.fill_(10 ** 6), 'tokens of the codebook'),
    'negative tokens': ('anchors.hf', lambda t: t.fill_(-1), 'tokens of the codebook'),
    'class ids': ('anchors.ids', lambda t: t + 2, 'rows of every class, and of no other'),
    'class ids without order': ('anchors.ids', lambda t: t.flip(0), 'class ids in ascending order'),
    'rows': ('anchors.ids', lambda t: t[1:].clone(), 'rows of tokens of both bands for each class id'),
    'real ids': ('anchors.ids', torch.Tensor.float, 'whole numbers as tokens and class ids'),
}
ADDED = {
    'present': ('anchors.present', lambda n: torch.full((n, 3), 255, dtype=torch.uint8), 'a bit for each value'),
    'nothing present': ('anchors.present', lambda n: torch.zeros(n, 7, dtype=torch.uint8), 'a value in each'),
    'targets': ('anchors.targets', torch.zeros, 'targets only where classes are bins of them'),
    'details': ('anchors.details', lambda n: torch.zeros(n, 1, 3, dtype=torch.float16), 'finite float16 details'),
    'another stage': ('critic.weight', torch.zeros, 'critic.weight is a tensor of no stage'),
    'empty': ('mapper.more', lambda n: torch.zeros(0, 10 ** 9), 'mapper.more is empty'),
}
TEXTS = {'deep': (nested(10 ** 5), 'maximum recursion depth'), 'deeper': (nested(10 ** 6), 'lists, at most'),
         'less deep': (nested(900), 'expected names and values'),
         'long number': ('9' * 10 ** 4, 'its header cannot be read'), 'number': ('7', 'header is 7, expected')}
SENTENCES = {name: words for cases in (HEADERS, WEIGHTS, ADDED, TEXTS) for name, (*_, words) in cases.items()}
SENTENCES['a crowd'] = N_TOO_MANY   # of tensors, for a mapper of many blocks


@pytest.fixture(scope='module')
def named(saved, tmp_path_factory):
    "What becomes of the files above, in one process with little memory: {name: outcome}."
    folder, files = tmp_path_factory.mktemp('named'), {}
    def write(name, metadata, header, tensors): files[name] = written(folder/f'{name}.nmvq', metadata, header, tensors)
    for name, (changes, _) in HEADERS.items():
        metadata, header, tensors = parts(saved)
        for where, value in changes.items(): replaced(header, where, value)
        write(name, metadata, header, tensors)
    for name, (start, change, _) in WEIGHTS.items():
        metadata, header, tensors = parts(saved)
        of = [key for key in tensors if key.startswith(start) and (key == start or tensors[key].is_floating_point())]
        write(name, metadata, header, tensors | {key: change(tensors[key]) for key in of})
    for name, (key, make, _) in ADDED.items():
        metadata, header, tensors = parts(saved)
        write(name, metadata, header, tensors | {key: make(len(tensors['anchors.ids']))})
    metadata, header, tensors = parts(saved)
    replaced(header, 'config.mapper.n_blocks', 2 ** 40)
    write('a crowd', metadata, header, tensors | {f'mapper.more.{i}': torch.zeros(1) for i in range(7500)})
    for name, (text, _) in TEXTS.items(): write(name, parts(saved)[0], text, parts(saved)[2])
    said = in_process(saved, *files.values())
    assert said['more_bytes'] < MAX_BYTES
    return {name: rest for name, *rest in said['outcomes']}


@pytest.mark.parametrize('name', SENTENCES)
def test_a_file_that_is_wrong_is_refused_in_a_sentence(named, name):
    what, message, _ = named[name]
    assert what == 'refused' and re.search(SENTENCES[name], message), (what, message)
    assert message.endswith('; save it again with gen.save()')


def test_there_is_a_limit_to_a_header(saved, tmp_path):
    raw = saved.read_bytes()
    path = tmp_path/'wide.nmvq'
    path.write_bytes((2 ** 24 + 1).to_bytes(8, 'little') + b' ' * 2 ** 24 + raw)
    assert outcome_of(path).endswith('save it again with gen.save()')


def test_there_is_a_limit_to_the_number_of_tensors(saved, tmp_path):
    metadata, header, tensors = parts(saved)
    many = {f'mapper.more.{i}': torch.zeros(1) for i in range(9000)}
    assert 'tensors' in outcome_of(written(tmp_path/'many.nmvq', metadata, header, tensors | many))


def outcome_of(path):
    what, message, _ = outcome(path)
    assert what == 'refused'
    return message


# Mutations

def test_mutated_files_are_refused_or_sample_finite_values(saved, tmp_path):
    outcomes = tried(saved, tmp_path, 150)
    assert {'refused', 'loaded'} == {what for _, what, *_ in outcomes}


@pytest.mark.slow
def test_many_mutated_files_in_little_memory(saved, capsys):
    said = in_process(saved, 1000)
    outcomes = said['outcomes']
    with capsys.disabled():
        print('\n', Counter(what for _, what, *_ in outcomes), Counter((kind, what) for kind, what, *_ in outcomes))
        print(f"slowest {max(seconds for *_, seconds in outcomes):.2f} s, {said['more_bytes'] / 2 ** 20:.0f} MB more")
    assert len(outcomes) >= 1000 and said['more_bytes'] < MAX_BYTES


# What is right stays right

@pytest.mark.parametrize('preset', ['fast', 'paper'])
def test_all_that_presets_make_is_within_an_outline_of_its_own_size(preset):
    sizes = dict(tokenizer=dict(c_in=2, seq_len=128), prior=dict(c_in=2, c_out=3, seq_len=128),
                 mapper=dict(c_in=2, seq_len=128))
    models = {stage: make(preset=preset, **sizes[stage]) for stage, make in MODELS.items()}
    tensors = {f'{stage}.{name}': t for stage, model in models.items() for name, t in model.state_dict().items()}
    for stage, model in models.items():
        with Outline(tensors) as sizes: outline = type(model)(**model.config)
        if stage == 'tokenizer': assert len(tensors) + SPARE - sizes.left == len(model.state_dict())
        shapes = [{name: (t.shape, t.dtype) for name, t in m.state_dict().items()} for m in (model, outline)]
        assert shapes[0] == shapes[1] and all(t.is_meta for t in outline.state_dict().values())


def test_every_setting_has_a_rule_that_its_presets_hold():
    for stage, presets in STAGE_PRESETS.items():
        for settings in presets.values():
            values = json.loads(json.dumps(settings_to_dict(settings)))
            assert values.keys() == SETTINGS[stage].keys()
            check(values, Record({}, SETTINGS[stage]), stage)
