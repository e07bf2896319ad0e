"""Manage the destination of a batch: lock it, record finished images in a journal, move outputs into place.

    DST/.supercuts-batch/lock            held by the only process that may write
    DST/.supercuts-batch/journal.jsonl   finished images
    DST/.supercuts-batch/stage/          files written by workers; emptied at each start and end

Only the parent process moves files into place, by renaming, so a worker that outlives its parent does no harm.
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
from supercuts.core.files import package_version

JOURNAL_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A finished image.

    content   hash of the source
    settings  hash of everything that determines the outputs
    files     size in bytes of each output, by its path below the destination; -1: a folder
    """

    name: str
    source: str
    content: str
    settings: str
    files: dict[str, int]
    version: str  # version of supercuts, for information only


class Journal:
    """Records in a file, which may be missing; only one process at a time may add to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = _read(path)

    def add(self, record: Record) -> None:
        """Record that an image is finished."""
        self._append({"done": asdict(record)})
        self.records[record.name] = record

    def forget(self, name: str) -> None:
        """Record that an image's outputs are about to change; they count as missing until it is finished again."""
        self._append({"redo": name})
        self.records.pop(name, None)

    def _append(self, entry: dict[str, object]) -> None:
        text = json.dumps({"v": JOURNAL_VERSION, **entry}, ensure_ascii=False)
        line = text.encode("utf-8", "backslashreplace") + b"\n"  # names that are not UTF-8 become JSON escapes
        with self.path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # a truncated line must not swallow this one
                    line = b"\n" + line
            # one write: a concurrent reader gets the whole line or, rarely, a part, which it skips
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
        except (ValueError, KeyError, TypeError):  # a truncated or damaged line: its image is processed again
            continue
    return records


FOLDER = ".supercuts-batch"
_A_FOLDER = -1


class Workspace:
    """Destination that only this process may write to; created by `open_workspace`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.stage = out / FOLDER / "stage"
        self.journal = Journal(out / FOLDER / "journal.jsonl")

    def known(self, name: str, settings: str) -> str | None:
        """Return the hash of the source if its outputs exist with these settings and unchanged sizes, else None."""
        record = self.journal.records.get(name)
        if record is None or record.settings != settings:
            return None
        return record.content if all(_size(self.out / file) == size for file, size in record.files.items()) else None

    def commit(self, name: str, source: str, settings: str, result: Result) -> None:
        """Move the files of a result into place and record them; after a kill in between, the image is redone."""
        before = self.journal.records.get(name)
        if before is not None:
            self.journal.forget(name)
        folder = self.stage / result.folder
        files: dict[str, int] = {}
        for suffix, staged in result.files.items():
            target = f"{name}{suffix}"
            size = _size(folder / staged)
            if size is None:
                raise OSError(errno.ENOENT, "the worker's file is missing", str(folder / staged))
            files[target] = size
            _put(folder / staged, self.out / target, folder / "old")
        for file in (before.files if before else {}).keys() - files.keys():
            _remove_own(self.out / file, (before.files if before else {})[file])  # output of earlier settings
        self.journal.add(Record(name, source, result.content, settings, files, package_version()))
        shutil.rmtree(folder, ignore_errors=True)

    def clean(self) -> None:
        """Remove the files that workers left in the stage."""
        shutil.rmtree(self.stage, ignore_errors=True)


@contextmanager
def open_workspace(out: Path) -> Iterator[Workspace]:
    """Create and lock a destination for this process; remove files of killed workers at the start and at the end."""
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / FOLDER / "lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{out}: another batch is writing to it. Wait for it, or give another folder.") from error
    except OSError as error:
        raise InputError(
            f"{out} cannot be written to ({error.strerror or error}). Give a writable folder with free space."
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
    if target.is_dir() and not target.is_symlink():  # renaming cannot replace a folder
        old.mkdir(exist_ok=True)
        target.rename(old / PurePosixPath(target.name))
    staged.replace(target)


def _size(path: Path) -> int | None:
    """Return the size of a file, -1 for a folder, None if the path does not exist."""
    try:
        return _A_FOLDER if path.is_dir() else path.stat().st_size
    except OSError:
        return None


def _remove_own(path: Path, size: int) -> None:
    if _size(path) != size:  # changed since by someone else
        return
    if size == _A_FOLDER:
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
