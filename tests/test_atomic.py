"""A file is whole or not there."""
import os
import socket
import subprocess
import sys

import pytest

from tsai_nmvq.atomic import atomic_write, remove


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


@pytest.fixture
def left(tmp_path):
    "Function (name, process, host) -> a file as one that was killed leaves it."
    def leave(name, pid, host=None):
        path = tmp_path/f".{name}.{host or socket.gethostname()}.{pid}.0123abcd"
        path.write_text('half')
        return path
    return leave


@pytest.fixture(scope='module')
def dead():
    "The number of a process that has ended."
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    return process.pid


@pytest.mark.parametrize('change', [remove, lambda path: write(path)])
def test_what_killed_processes_left_goes_with_the_next_write(tmp_path, left, dead, change):
    path = tmp_path/'a[1].txt' # no pattern
    swept = [left(path.name, dead), left(path.name, os.getpid())]        # a container's processes share their numbers
    kept = [left(path.name, os.getppid()), left(path.name, dead, 'elsewhere'), left('a1.txt', dead), left('b', dead)]
    change(path)
    assert all(file.exists() for file in kept) and not any(file.exists() for file in swept)


def write(path):
    with atomic_write(path) as aside: aside.write_text('new')


def test_a_write_within_a_write_keeps_both(tmp_path):
    path = tmp_path/'a.txt'
    with atomic_write(path) as aside:
        aside.write_text('outer')
        write(path)
    assert path.read_text() == 'outer' and os.listdir(tmp_path) == ['a.txt']


def test_it_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, 'fsync', lambda n: synced.append((fsync(n), (tmp_path/'a.txt').exists())))
    write(tmp_path/'a.txt')
    assert synced == [(None, False)]
    with atomic_write(tmp_path/'b.txt', sync=False) as aside: aside.write_text('new')
    assert len(synced) == 1
