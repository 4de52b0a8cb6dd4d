"""Files that are whole or not there."""
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

__all__ = ['atomic_write', 'remove', 'check_writable']

_under_way:set[str] = set() # names of files that this process is writing


@contextmanager
def atomic_write(
    path, # File to write
    sync:bool=True # Whether it is on the disk before it takes its name: a power cut leaves the old file or the new one
) -> Iterator[Path]: # Name of a file beside it
    "Write under another name; it takes the name of `path` when the block ends, and goes away if the block fails."
    path = Path(path)
    _sweep(path)
    aside = path.with_name(f'{_prefix(path)}{os.getpid()}.{uuid4().hex}')
    _under_way.add(aside.name)
    try:
        yield aside
        if sync: _sync(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    finally: _under_way.discard(aside.name)


def remove(
    path # File, which need not be there
):
    "Remove a file, and what killed processes left of it."
    _sweep(Path(path))
    Path(path).unlink(missing_ok=True)


def check_writable(
    file # Path
):
    "An OSError now and not after minutes of work, where a file could not be written."
    folder = Path(file).resolve().parent
    if not folder.is_dir(): raise FileNotFoundError(f"there is no folder {folder} for {file}; make it first")
    if Path(file).is_dir(): raise IsADirectoryError(f"{file} is a folder; name a file")
    try: TemporaryFile(dir=folder).close()                               # what rights say is no promise
    except OSError as e:
        raise type(e)(f"{folder} is not writable ({e.strerror}); write {file} somewhere else") from None


def _prefix(path): return f'.{path.name}.{socket.gethostname()}.' # processes are known by number on their machine alone


def _sweep(path): # files that a killed process left
    prefix = _prefix(path)
    for left in path.parent.glob(f'{_escaped(prefix)}*.*'):
        owner = left.name.removeprefix(prefix).partition('.')[0]
        if owner.isdigit() and not _is_written(left.name, int(owner)): left.unlink(missing_ok=True)


def _escaped(name): return ''.join(f'[{c}]' if c in '*?[' else c for c in name) # for glob


def _is_written(name, pid):
    if pid == os.getpid(): return name in _under_way                     # in a container each process may be number 1
    if os.name == 'nt': return True                                      # signal 0 is Ctrl-C there
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    except PermissionError: pass
    return True


def _sync(file):
    with open(file, 'rb+') as f: os.fsync(f.fileno())
