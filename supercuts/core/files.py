"""Atomic file writing: a reader sees the old file or the whole new one, never a part.

In   a path and a function that writes to a path
Out  the file in place, or the old state and the writer's error
Not  no formats
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; move it into place when the block ends without an error.

    The folder is created. On an error the temporary file is removed and what was at `path` stays.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # same folder: replacing is atomic only within one file system; same suffix: writers choose the format by it
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
