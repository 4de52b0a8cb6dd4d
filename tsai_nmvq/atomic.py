"""Files that are whole or not there."""
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ['atomic_write']


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
