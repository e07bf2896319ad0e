"""Messages between a batch's parent and its workers, as lines of JSON."""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"
READING = ("mask", "bands", "axes", "page", "stretch")  # fields of Settings that say how an image is read
FULL, UNUSABLE = "full", "unusable"  # these stop the batch: the disk, or a model that no worker can load


@dataclass(frozen=True, slots=True)
class Settings:
    """How every image is segmented and what is written of it.

    formats  of supercuts.batch.outputs, besides the hierarchy
    mask     a file for all images, or a folder with one for each, called as its outputs are
    bands, axes, page, stretch  as Model.segment takes them
    """

    model: str = "compact"
    superpixels: int | None = None
    merging: str | None = None
    views: str | None = None
    formats: tuple[str, ...] = ()
    overlays: bool = False
    mask: str | None = None
    bands: tuple[int, ...] | None = None
    axes: str | None = None
    page: int | None = None
    stretch: str | None = None

    def fingerprint(self, weights: str, format_version: int) -> str:
        """Return the hash of all that decides the outputs of an image; weights: the hash of the model's file.

        >>> Settings(formats=("svg", "html")).fingerprint("", 1) == Settings(formats=("html", "svg")).fingerprint("", 1)
        True
        """
        given = asdict(self)
        # options that are not given leave the hash as it was before they existed
        kept = {name: value for name, value in given.items() if name not in READING or value is not None}
        values = kept | {
            "model": weights,  # not its name: a file may be another one tomorrow
            "formats": sorted(set(self.formats)),
            "format_version": format_version,
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Task:
    """One image to do.

    known  the hash of the source whose outputs are there already; None: whatever it is, it is done
    data   the source's bytes, if only this process can read them
    """

    number: int
    address: str
    name: str
    known: str | None = None
    data: bytes | None = None

    def to_line(self) -> str:
        """Return the task as one line."""
        data = None if self.data is None else base64.b64encode(self.data).decode()
        return json.dumps([self.number, self.address, self.name, self.known, data])

    @classmethod
    def from_line(cls, line: str | bytes) -> "Task":
        """Return the task of a line."""
        number, address, name, known, data = json.loads(line)
        return cls(number, address, name, known, None if data is None else base64.b64decode(data))


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a task.

    status          done, unchanged, failed; full or unusable, which concern all
    content         the hash of the source
    folder          below the stage, that holds what was written; the parent removes it
    files           by suffix, in the order in which they are to be put in place: paths below the folder
    error, message  the class of what was raised, and what it says
    notes           what was left out or changed when the image was read
    """

    number: int
    status: str
    content: str = ""
    folder: str = ""
    files: dict[str, str] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def to_line(self) -> str:
        """Return the result as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str | bytes) -> "Result":
        """Return the result of a line."""
        values: dict[str, Any] = json.loads(line)
        return cls(**values | {"notes": tuple(values["notes"])})
