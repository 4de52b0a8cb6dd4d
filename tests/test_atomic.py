"""A file is whole or not there."""
import os

import pytest

from tsai_nmvq.atomic import atomic_write


def test_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path/'a.txt'
    with atomic_write(path) as aside:
        aside.write_text('new')
        assert not path.exists() and aside.parent == path.parent
    assert path.read_text() == 'new' and os.listdir(tmp_path) == ['a.txt']


def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path/'a.txt'
    path.write_text('old')
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as aside:
        aside.write_text('half')
        raise KeyboardInterrupt
    assert path.read_text() == 'old' and os.listdir(tmp_path) == ['a.txt']


def test_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path/'plain').write_text('')
    with atomic_write(tmp_path/'aside') as aside: aside.write_text('')
    assert (tmp_path/'aside').stat().st_mode == (tmp_path/'plain').stat().st_mode
