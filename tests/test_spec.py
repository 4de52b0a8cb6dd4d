"""What a generator knows of its data: classes by name and id, shapes, JSON."""
import json
import re

import numpy as np
import pytest
import torch
from fastcore.foundation import L

from tsai_nmvq.data.spec import SeriesSpec


def spec_of(*vocab): return SeriesSpec(2, 16, 20, (3., -1.), (2., 0.5), vocab, tuple(range(3, 3 + len(vocab))))


@pytest.fixture
def spec(): return spec_of('a', 'b', 'c')


@pytest.mark.parametrize('names, ids', [
    ('b', [1]), (['c', 'a'], [2, 0]), (np.array(['a', 'b']), [0, 1]), (L('b'), [1]), ([], []), (np.str_('c'), [2])])
def test_labels_become_ids_by_name(spec, names, ids):
    found = spec.to_ids(names)
    assert found.dtype == np.int64 and found.tolist() == ids
    assert spec.to_labels(found).tolist() == [spec.vocab[i] for i in ids]


@pytest.mark.parametrize('names', [[1, 3], ['1', '3'], np.array([1, 3], dtype=np.int8), [1., 3.], torch.tensor([1, 3])])
def test_numbers_are_found_as_numbers_and_by_name(names):
    assert spec_of(1, 2, 3).to_ids(names).tolist() == [0, 2]


@pytest.mark.parametrize('names', ['z', ['a', 'z'], 0])
def test_labels_never_seen_are_named(spec, names):
    what = r"labels \['.+'\] are not in the generator's vocab \['a', 'b', 'c'\]; fit it on data that has them"
    with pytest.raises(ValueError, match=what): spec.to_ids(names)


@pytest.mark.parametrize('names', [[None], ['a', float('nan')]])
def test_missing_labels_are_named(spec, names):
    with pytest.raises(ValueError, match=r'label \d is missing'): spec.to_ids(names)


def test_each_label_never_seen_is_named_once(spec):
    with pytest.raises(ValueError, match=r"labels \['2', 'z'\] are not"): spec.to_ids(['z', 'a', 2, 'z', np.int64(2)])


def test_labels_for_a_spec_without_classes_are_refused():
    with pytest.raises(ValueError, match='fitted without labels: leave y out'): spec_of().to_ids(['a'])


def test_spec_goes_through_json(spec):
    assert SeriesSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize('shape', [(3, 1, 16), (3, 2, 17), (2, 16), (3, 2, 16, 1)])
def test_series_of_another_shape_are_refused(spec, shape):
    what = re.escape(f'series have shape {shape}, gen was fitted on [n, 2, 16]')
    with pytest.raises(ValueError, match=what): spec.check(np.zeros(shape), 'gen')
    spec.check(np.zeros((0, 2, 16)))
    spec.check(torch.zeros(5, 2, 16))


def test_proportions_are_those_of_the_counts(spec):
    assert spec.n_classes == 3 and spec.proportions.tolist() == pytest.approx([3 / 12, 4 / 12, 5 / 12])
    assert spec_of().n_classes == 0
