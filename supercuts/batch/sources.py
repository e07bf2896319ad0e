"""Find the images of a batch: a file, a folder, a glob or a list in a text file, local or at any fsspec URL."""

import base64
import codecs
import glob
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from supercuts.core.errors import InputError, MissingDependencyError
from supercuts.core.files import IMAGES, is_own_picture, printable, warn_of_own, warn_of_skipped

LISTS = (".txt", ".lst")
_MOST_BYTES = 255 - 8  # bytes of a file name, minus room for a number that makes equal names unique
_NO_TEXT = "the list is not UTF-8 text"
_IS_UTF8 = sys.getfilesystemencoding() == "utf-8"  # whether Python encodes names of files in UTF-8
_WEB = ("http", "https")  # servers rarely list folders, and "?" starts the query of a URL


@dataclass(frozen=True, slots=True)
class Source:
    """An image to segment.

    address  a local path, or a URL that fsspec reads
    name     name of its outputs below the destination, without suffix; folders are separated by /
    problem  reason why this image cannot be segmented; "" if it can
    """

    address: str
    name: str
    problem: str = ""


def is_url(address: str) -> bool:
    """Return whether an address starts with a protocol, such as s3://bucket/photo.jpg."""
    return "://" in address


def find_sources(argument: str) -> list[Source]:
    """Return the images that `argument` stands for, sorted by address, or in the order of a list.

    Outputs are named by the path below the folder, or below the part of a glob without wildcards. Each line of a list
    is a path or URL, relative to the list, optionally followed by a tab and the name of its outputs.
    """
    is_list = PurePosixPath(_path_of(argument)).suffix.lower() in LISTS
    sources = _listed(argument) if is_list and not _is_glob(argument) else find_in_place(argument)
    if not sources:
        raise InputError(
            f"{argument} holds no image ({' '.join(IMAGES)}). Give a folder of images, a glob such as "
            "'photos/**/*.jpg', a .txt list of paths or URLs, or one image."
        )
    check_names(sources)
    return sources


def check_names(sources: Iterable[Source]) -> None:
    """Raise InputError if a name leaves the destination, or if two sources share a name, ignoring case.

    Sources with a problem are ignored.
    """
    seen: dict[str, Source] = {}
    for source in sources:
        if source.problem:
            continue
        if problem := _problem(source):
            raise InputError(problem)
        owner = seen.setdefault(source.name.casefold(), source)
        if owner is not source:
            raise InputError(
                f"{owner.address} and {source.address} would both be written as {source.name}. Rename one, or write a "
                "list of the images that gives each a name after a tab."
            )


def _problem(source: Source) -> str:
    """Return the reason why the name cannot be used for outputs, or "" if it can."""
    # a name that starts with a dot is hidden and could be the batch's own folder
    is_usable = all(part and not part.startswith(".") for part in source.name.split("/"))
    if is_usable and "\\" not in source.name and "\0" not in source.address + source.name:
        return ""
    return f"{source.address}: {source.name!r} is not usable as an output name. Give another after a tab in a list."


def fitting(name: str, suffixes: Iterable[str]) -> str:
    """Return a name of outputs that fits file systems with all suffixes; too long names are cut and get a hash.

    >>> len(fitting("x" * 251, ["_overview.png"]))
    234
    """
    room = _MOST_BYTES - max((len(os.fsencode(suffix)) for suffix in suffixes), default=0)
    folders, slash, last = name.rpartition("/")
    if len(os.fsencode(last)) <= room:
        return name
    digest = hashlib.sha256(os.fsencode(last)).hexdigest()[:8]
    while len(os.fsencode(last)) > room - len(digest) - 1:
        last = last[:-1]
    return f"{folders}{slash}{last}-{digest}"


def filesystem(address: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of an address and its path there."""
    import fsspec

    if not is_url(address):  # fsspec would interpret "~" as the home folder and "::" as a nested file
        return fsspec.filesystem("file"), os.path.abspath(address)  # noqa: PTH100 (a path keeps its links)
    protocol = address.split("://", 1)[0]
    try:
        opened: tuple[Any, str] = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MissingDependencyError(f"{address}: {_what_is_missing(protocol, error)}") from error
    except ValueError as error:
        protocols = ", ".join(
            sorted(set(fsspec.available_protocols()) & {"file", "http", "https", "s3", "gs", "az", "sftp"})
        )
        raise InputError(f"{address}: {error}. Give a path, or a URL of {protocols} or another of fsspec's.") from error
    return opened


def read_bytes(address: str) -> bytes:
    """Return the content of a URL."""
    files, path = filesystem(address)
    content: bytes = files.cat_file(path)
    return content


def _what_is_missing(protocol: str, error: ImportError) -> str:
    from fsspec.registry import known_implementations

    home = known_implementations.get(protocol, {}).get("class", "").split(".")[0]
    # protocols within fsspec need another package, which the error names
    package = (error.name or "").split(".")[0] if home in ("", "fsspec") else home
    return f"{protocol}:// needs a package: pip install {package}." if package else f"{protocol}:// needs: {error}."


def _path_of(address: str) -> str:
    """Return the path of an address; for web addresses without the query after "?"."""
    if address.startswith(tuple(f"{protocol}://" for protocol in _WEB)):
        return unquote(urlsplit(address).path)
    return address


def _is_glob(argument: str) -> bool:
    return ("*" in argument) if argument.startswith(_WEB) and is_url(argument) else glob.has_magic(argument)


def leave_out_outputs(sources: Sequence[Source], out: Path) -> Sequence[Source]:
    """Return the sources that are not in `out`, which may lie within the folder of images; if all are in it, all."""
    root = out.resolve()
    remaining = [
        source
        for source in sources
        if source.problem or is_url(source.address) or not Path(source.address).resolve().is_relative_to(root)
    ]
    return remaining or sources


def find_in_place(argument: str) -> list[Source]:
    """Return the images of a folder and its subfolders or of a glob, or the one image, sorted by address.

    Hidden files and pictures that this package wrote are left out; the latter with a warning.
    """
    files, path = filesystem(argument)
    path_there = path.rstrip("/") or "/"
    is_image = PurePosixPath(_path_of(argument)).suffix.lower() in IMAGES
    if is_url(argument) and is_image and not _is_glob(argument):
        return [Source(argument, PurePosixPath(_path_of(argument)).stem)]  # the server may not report its type
    if files.isdir(path):
        root, paths = path_there, files.find(path)
    elif files.isfile(path):
        name = PurePosixPath(path).stem.replace("\\", "/")  # folders list it with this name
        return [Source(argument, name)]
    elif _is_glob(argument):
        root, paths = _fixed_part(path_there), [file for file in files.glob(path) if not files.isdir(file)]
    else:
        raise InputError(f"{argument}: no such file or folder. Check the path; it is taken relative to {Path.cwd()}.")
    warn_of_skipped(paths)
    sources = sorted(_sources(files, root, paths, is_url(argument)), key=lambda source: source.address)
    own = set() if is_url(argument) else {source.address for source in sources if is_own_picture(source.address)}
    warn_of_own(sorted(own))
    return [source for source in sources if source.address not in own]


def _sources(files: Any, root: str, paths: Iterable[str], as_url: bool) -> Iterator[Source]:
    for path in paths:
        below = PurePosixPath(path.replace("\\", "/").removeprefix(root.replace("\\", "/")).lstrip("/"))
        is_hidden = any(part.startswith(".") for part in below.parts)
        if below.suffix.lower() in IMAGES and not is_hidden:
            yield Source(files.unstrip_protocol(path) if as_url else path, below.with_suffix("").as_posix())


def _fixed_part(pattern: str) -> str:
    """Return the folders of a glob before the first with a wildcard.

    >>> _fixed_part("/photos/2026/*/a?.png")
    '/photos/2026'
    """
    parts = pattern.replace("\\", "/").split("/")
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:fixed])


def _listed(path: str) -> list[Source]:
    try:
        text = _decoded(read_bytes(path) if is_url(path) else Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read ({error.strerror or error}). Check the path.") from error
    folder = path.replace("\\", "/").rpartition("/")[0]
    lines = (line.strip("\r\n ") for line in text.splitlines())
    listed = [_of_line(line, folder) for line in lines if line and not line.startswith("#")]
    if listed and all(_NO_TEXT in source.problem for source in listed):
        raise InputError(listed[0].problem)
    return list(dict.fromkeys(listed))


def _of_line(line: str, folder: str) -> Source:
    address, _, name = (part.strip() for part in line.partition("\t"))
    path = PurePosixPath(_path_of(address).replace("\\", "/"))
    is_absolute = is_url(address) or Path(address).is_absolute()
    # names keep the folders of images below the list's folder
    is_elsewhere = is_absolute or ".." in path.parts or not path.name
    default = path.stem if is_elsewhere else path.with_suffix("").as_posix()
    address = address if is_absolute or not folder else f"{folder}/{address}"
    if "\\" in address and not is_url(address) and not _is_file(address):  # a list written on Windows
        address = address.replace("\\", "/")
    source = Source(address, name or default)
    problem = _problem(source)
    if _IS_UTF8 and printable(line) != line and not is_url(address) and not _is_file(address):
        problem = f"{printable(address)}: no such file, and {_NO_TEXT}. Save it as UTF-8."
    return replace(source, problem=problem)


def _is_file(address: str) -> bool:
    try:
        return Path(address).is_file()
    except (OSError, ValueError):  # too long, or contains NUL
        return False


def _decoded(content: bytes) -> str:
    """Return the text of a list: UTF-16 if it has a byte order mark, as Windows' shell writes it, else UTF-8.

    Bytes that are not UTF-8 are kept, because file names may contain them.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", "replace")
    else:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    # in another encoding, names become the same as in a folder's listing
    return text if _IS_UTF8 else os.fsdecode(text.encode("utf-8", "surrogateescape"))


DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"
READING = ("mask", "bands", "axes", "page", "stretch")  # fields of Settings that control reading
FULL, UNUSABLE = "full", "unusable"  # these stop the batch: a full disk, or a model that no worker can load


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of segmentation and outputs, the same for every image.

    formats  output formats of supercuts.batch.outputs, in addition to the hierarchy
    mask     one mask file for all images, or a folder with one per image, named like its outputs
    bands, axes, page, stretch  arguments of Model.segment
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
        """Return the hash of everything that determines an image's outputs; `weights` is the hash of the model's file.

        >>> Settings(formats=("svg", "html")).fingerprint("", 1) == Settings(formats=("html", "svg")).fingerprint("", 1)
        True
        """
        fields = asdict(self)
        # unset options are left out, so that the hash equals that of versions before they existed
        kept = {name: value for name, value in fields.items() if name not in READING or value is not None}
        values = kept | {
            "model": weights,  # not the model's name: the file behind it may change
            "formats": sorted(set(self.formats)),
            "format_version": format_version,
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Task:
    """One image to process.

    known  hash of the source whose outputs exist already; None: process the image unconditionally
    data   bytes of the source, if only this process can read them
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
        """Return the task that a line encodes."""
        number, address, name, known, data = json.loads(line)
        return cls(number, address, name, known, None if data is None else base64.b64decode(data))


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of a task.

    status          done, unchanged or failed; full or unusable, which stop the batch
    content         hash of the source
    folder          folder below the stage with the written files; the parent removes it
    files           paths below the folder by suffix, in the order in which to move them into place
    error, message  class name and message of the exception
    notes           warnings about content omitted or changed while reading the image
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
        """Return the result that a line encodes."""
        values: dict[str, Any] = json.loads(line)
        return cls(**values | {"notes": tuple(values["notes"])})
