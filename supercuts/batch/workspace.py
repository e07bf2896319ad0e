"""The destination of a batch: its lock, its journal of finished images, and moving outputs into place.

    DST/.supercuts-batch/lock            held by the one process that may write
    DST/.supercuts-batch/journal.jsonl   what is done
    DST/.supercuts-batch/stage/          what workers write; emptied at each start and end

Only the parent puts files in place, by renaming. A worker that outlives its parent for a moment can harm nothing.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from supercuts.batch.sources import Result
from supercuts.core.errors import InputError
from supercuts.core.version import package_version

JOURNAL_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """An image that is done.

    content   the hash of the source
    settings  the hash of all that decides the outputs
    files     bytes of each output, by its path below the destination; -1: a folder
    """

    name: str
    source: str
    content: str
    settings: str
    files: dict[str, int]
    version: str  # of supercuts, for whoever reads the file


class Journal:
    """The records of a file, which may be missing; one process at a time may add to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = _read(path)

    def add(self, record: Record) -> None:
        """Record that an image is done."""
        self._append({"done": asdict(record)})
        self.records[record.name] = record

    def forget(self, name: str) -> None:
        """Record that an image's outputs are about to change; until it is done anew nothing is known of them."""
        self._append({"redo": name})
        self.records.pop(name, None)

    def _append(self, entry: dict[str, object]) -> None:
        text = json.dumps({"v": JOURNAL_VERSION, **entry}, ensure_ascii=False)
        line = text.encode("utf-8", "backslashreplace") + b"\n"  # names that are no UTF-8 as JSON's escapes
        with self.path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # a line that was cut short must not swallow this one
                    line = b"\n" + line
            # one write: another process that reads sees all of a line or, rarely, a part, which it skips
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "No space left on device", str(self.path))


def _read(path: Path) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            entry = json.loads(line)
            if entry["v"] != JOURNAL_VERSION:
                continue
            if "redo" in entry:
                records.pop(entry["redo"], None)
            else:
                record = Record(**entry["done"])
                records[record.name] = record
        except (ValueError, KeyError, TypeError):  # cut short, or damaged: its image is done again
            continue
    return records


FOLDER = ".supercuts-batch"
_A_FOLDER = -1


class Workspace:
    """A destination that this process alone may write to; made by `open_workspace`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.stage = out / FOLDER / "stage"
        self.journal = Journal(out / FOLDER / "journal.jsonl")

    def known(self, name: str, settings: str) -> str | None:
        """Return the hash of the source whose outputs are there, whole and of these settings; else None."""
        record = self.journal.records.get(name)
        if record is None or record.settings != settings:
            return None
        return record.content if all(_size(self.out / file) == size for file, size in record.files.items()) else None

    def commit(self, name: str, source: str, settings: str, result: Result) -> None:
        """Put the files of a result in place and record them; a kill in between leaves the image to be done again."""
        before = self.journal.records.get(name)
        if before is not None:
            self.journal.forget(name)
        folder = self.stage / result.folder
        files: dict[str, int] = {}
        for suffix, staged in result.files.items():
            target = f"{name}{suffix}"
            size = _size(folder / staged)
            if size is None:
                raise OSError(errno.ENOENT, "the worker's file is gone", str(folder / staged))
            files[target] = size
            _put(folder / staged, self.out / target, folder / "old")
        for file in (before.files if before else {}).keys() - files.keys():
            _remove_own(self.out / file, (before.files if before else {})[file])  # of settings that are no more
        self.journal.add(Record(name, source, result.content, settings, files, package_version()))
        shutil.rmtree(folder, ignore_errors=True)

    def clean(self) -> None:
        """Remove what workers left in the stage."""
        shutil.rmtree(self.stage, ignore_errors=True)


@contextmanager
def open_workspace(out: Path) -> Iterator[Workspace]:
    """Lock a destination, which is created, for this process; clean up after one that was killed, and at the end."""
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / FOLDER / "lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{out}: another batch is writing to it. Wait for it, or give another folder.") from error
    except OSError as error:
        raise InputError(
            f"{out} cannot be written to ({error.strerror or error}). Give a folder with space that may be."
        ) from error
    workspace = Workspace(out)
    try:
        workspace.clean()
        workspace.stage.mkdir()
        yield workspace
    finally:
        workspace.clean()
        lock.release()


def _put(staged: Path, target: Path, old: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():  # a folder is not replaced by renaming
        old.mkdir(exist_ok=True)
        target.rename(old / PurePosixPath(target.name))
    staged.replace(target)


def _size(path: Path) -> int | None:
    """Return the size of a file, -1 for a folder, None if there is nothing."""
    try:
        return _A_FOLDER if path.is_dir() else path.stat().st_size
    except OSError:
        return None


def _remove_own(path: Path, size: int) -> None:
    if _size(path) != size:  # somebody changed it since
        return
    if size == _A_FOLDER:
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
