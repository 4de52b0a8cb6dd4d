"""What is mended in tsai: plugins' architectures by name, their `seq_len`, string labels without `tfms`, lost rows."""
import sys

import numpy as np

from tsai_nmvq.host.manager import plugin_archs
from tsai_nmvq.host.patches import patch_tsai


def test_archs_are_found_by_name(found): assert found.archs[:2] == ['DummyNet', 'DummyNet']


def test_archs_get_seq_len(found): assert found.seq_len == [150, 30, 40, 40, 40]


def test_string_labels_are_classes_without_tfms(found): assert found.vocabs == [['a', 'b'], ['a', 'b'], False, False]


def test_the_last_of_a_hundred_rows_are_not_lost(found): assert found.rows == [[*range(2, 66)], [*range(66, 102)]]


def test_a_batch_in_order_has_the_rows_that_were_asked_for():
    from tsai.basics import get_ts_dls
    patch_tsai(plugin_archs)
    X = np.arange(40.)[:, None, None].repeat(8, 2)
    dl = get_ts_dls(X, splits=([*range(20)], [*range(20, 40)]), bs=8).valid
    for rows in ([0, 1, 2, 3, 4, 5, 6, 7], [16, 17, 18, 19], [3, 4, 5], [9, 2, 2, 7]):
        x, = dl.create_batch(rows)
        assert x[:, 0, 0].tolist() == [20 + row for row in rows]
        assert np.array_equal(dl.input_idxs, x[:, 0, 0].numpy())


def test_patching_again_changes_nothing_more():
    import tsai.basics  # noqa: F401 - has all four functions
    from tsai import learner
    from tsai.data import core
    from tsai.models import utils
    def functions():
        return learner.get_arch, utils.build_ts_model, core.get_ts_dls, core.NumpyDataLoader.create_batch
    patch_tsai(plugin_archs)
    first = functions()
    assert all(hasattr(function, '__wrapped__') for function in first)
    patch_tsai(plugin_archs)
    assert functions() == first
    own = [function.__wrapped__ for function in first]
    left = [name for name, module in list(sys.modules.items()) if name.startswith('tsai.')
            for value in vars(module).values() if any(value is function for function in own)]
    assert left == [] # under no name, in no module
