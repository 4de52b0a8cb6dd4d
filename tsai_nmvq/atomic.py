"""Files that are whole or not there."""
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ['atomic_write', 'check_writable']


@contextmanager
def atomic_write(
    path # File to write
) -> Iterator[Path]: # Name of a file beside it
    "Write under another name; it takes the name of `path` when the block ends, and goes away if the block fails."
    path = Path(path)
    aside = path.with_name(f'.{path.name}.{uuid4().hex}')
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def check_writable(
    file # Path
):
    "An OSError now and not after minutes of work, where a file could not be written."
    folder = Path(file).resolve().parent
    if not folder.is_dir(): raise FileNotFoundError(f"there is no folder {folder} for {file}; make it first")
    if Path(file).is_dir(): raise IsADirectoryError(f"{file} is a folder; name a file")
    if not os.access(folder, os.W_OK): raise PermissionError(f"{folder} is not writable; write {file} somewhere else")
