"""Atomic writing: a reader sees the old file or folder or the whole new one, never a part.

In   a path and a function that writes to a path
Out  the file or folder in place, or the old state and the writer's error
Not  no formats
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from supercuts.core.errors import InputError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}(\.\w+)?")  # what atomic_path calls them


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; move it into place when the block ends without an error.

    The folder is created. On an error the temporary file is removed and what was at `path` stays.
    """
    target = Path(path)
    # same folder: replacing is atomic only within one file system; same suffix: writers choose the format by it
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        if error.filename is not None and Path(error.filename) == temporary:
            error.filename, error.filename2 = str(target), None  # the name that the caller knows
        raise
    finally:
        with suppress(OSError):  # a file where a folder should be: there is nothing to remove
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a writer that was killed left in a folder; only where no other process writes."""
    for path in folder.glob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], marker: str, force: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `path`; move it into place when the block ends without an error.

    What is at `path` may be an empty folder; with force also a folder that holds the file `marker`, which tells that
    the same writer made it: a folder of anything else is never replaced.
    """
    target = Path(path)
    _check_replaceable(target, marker, force)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (target.with_name(f".{target.name}.{secrets.token_hex(6)}") for _ in range(2))
    try:
        temporary.mkdir()
        yield temporary
        if target.exists():
            target.rename(old)
        try:
            temporary.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_replaceable(folder: Path, marker: str, force: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not force:
        raise InputError(
            f"{folder} exists and is not an empty folder: choose another path, or replace it with force=True "
            "(--force), which only replaces what the same format wrote."
        )
    if not (folder / marker).is_file():
        raise InputError(
            f"{folder} holds no {marker}, so it was not written by this format and is not replaced: choose another "
            "path, or remove it yourself."
        )
