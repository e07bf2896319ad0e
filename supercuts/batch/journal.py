"""The record of what a batch has done, in a file that only grows.

In   Records, one after the other
Out  a line of JSON each; read again, the last that was said of each name
Not  no outputs; a line that was cut short (a killed process, a full disk) counts as never written
"""

import errno
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

VERSION = 1


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
        line = json.dumps({"v": VERSION, **entry}, ensure_ascii=False).encode() + b"\n"
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
            if entry["v"] != VERSION:
                continue
            if "redo" in entry:
                records.pop(entry["redo"], None)
            else:
                record = Record(**entry["done"])
                records[record.name] = record
        except (ValueError, KeyError, TypeError):  # cut short, or damaged: its image is done again
            continue
    return records
