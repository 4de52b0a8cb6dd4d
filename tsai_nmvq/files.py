"""Files that are whole or not there."""
import os
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ['written_aside']


@contextmanager
def written_aside(
    path # File to write
): # Yields the name of a file beside it
    "Write under another name; it takes the name of `path` when the block ends, and goes away if the block fails."
    path = Path(path)
    aside = path.with_name(f'.{path.name}.{uuid4().hex}')
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
