"""Write files and folders atomically: readers get the old or the complete new one. Check zip archives.

The version of the package, which files record, and the suffixes of images are here too.
"""

import errno
import importlib.util
import json
import os
import re
import secrets
import shutil
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from supercuts.core.errors import ImageWarning, InputError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # errors after which nothing more can be written
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}(\.\w+)?")  # names that atomic_path creates
_SURROGATES = re.compile("[\ud800-\udfff]")  # Python's form of bytes in a name that are not UTF-8
_LONGEST_SUFFIX = 24
_unfinished: set[Path] = set()  # temporary files and folders of this process


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path and move it into place when the block ends without an error.

    Creates the folder. On an error, removes the temporary file and leaves `path` unchanged.

    Parameters
    ----------
    path
        File to write or replace.

    Yields
    ------
    pathlib.Path
        Path in the same folder, with the same suffix.

    Raises
    ------
    OSError
        If the folder or the file cannot be written; the error names `path`.

    Examples
    --------
    >>> with atomic_path("scores.txt") as temporary:
    ...     characters = temporary.write_text("0.9")
    >>> Path("scores.txt").read_text()
    '0.9'
    """
    target = Path(path)
    # same folder: replacing is atomic only within one file system; same suffix: writers choose the format by it; a new
    # name: the target's may be of the greatest length, or not UTF-8, which some writers reject
    suffix = printable(target.suffix) if len(target.suffix) <= _LONGEST_SUFFIX else ""
    temporary = target.with_name(f".supercuts.{secrets.token_hex(6)}{suffix}")
    _unfinished.add(temporary)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        name_target(error, target, temporary)
        raise
    finally:
        _remove(temporary)


@contextmanager
def atomic_paths(paths: Iterable[str | os.PathLike[str]]) -> Iterator[list[Path]]:
    """Yield a temporary path for each path; move all into place in order, unless the block raises an error."""
    with ExitStack() as stack:
        yield [stack.enter_context(atomic_path(path)) for path in reversed(list(paths))][::-1]


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent` for files that are moved into place one by one; remove it at the end."""
    folder = parent / f".supercuts.{secrets.token_hex(6)}"
    _unfinished.add(folder)
    try:
        folder.mkdir()
        yield folder
    finally:
        _remove(folder)


def remove_unfinished() -> None:
    """Remove temporary files and folders, before the process exits without unwinding its writers."""
    for path in list(_unfinished):
        _remove(path)


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # such as a file in place of the parent folder: there is nothing to remove
        temporary.unlink(missing_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    _unfinished.discard(temporary)


def check_replaceable(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise InputError if something exists at `path` and is not to be replaced."""
    if Path(path).exists() and not overwrite:
        raise InputError(f"{path} exists: choose another path, or replace it with overwrite=True (--overwrite).")


def write_json(path: str | os.PathLike[str], document: Any, indent: int = 2) -> None:
    """Write a document as JSON in UTF-8; bytes of names that are not UTF-8 become JSON escapes of surrogates."""
    text = json.dumps(document, indent=indent, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def printable(name: str) -> str:
    """Return a name with the replacement character in place of bytes that are not UTF-8.

    >>> printable("caf\\udce9.png")
    'caf\ufffd.png'
    """
    return _SURROGATES.sub("\ufffd", name)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers from a folder. Call it only if no other process writes there."""
    for path in folder.glob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `path`; move it into place when the block ends without an error.

    An empty folder at `path` is replaced. With `overwrite`, a folder that holds the file `marker` is replaced too,
    because the same writer made it. Any other folder is never replaced: InputError.
    """
    target = Path(path)
    _check_replaceable_folder(target, marker, overwrite)
    temporary, old = (target.with_name(f".supercuts.{secrets.token_hex(6)}") for _ in range(2))
    _unfinished.add(temporary)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
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
    except OSError as error:
        name_target(error, target, temporary)
        raise
    finally:
        _remove(temporary)


def name_target(error: OSError, target: Path, temporary: Path) -> None:
    """Make a write error name the caller's path instead of a temporary one, a parent folder or no path."""
    path = None if error.filename is None else Path(os.fsdecode(error.filename))
    if error.errno is not None and (path is None or path.is_relative_to(temporary) or target.is_relative_to(path)):
        error.filename = str(target)
        if error.filename2 is not None:
            del error.filename2


def _check_replaceable_folder(folder: Path, marker: str, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise InputError(
            f"{folder} exists and is not an empty folder: choose another path, or replace it with overwrite=True "
            "(--overwrite), which only replaces what the same format wrote."
        )
    if not (folder / marker).is_file():
        raise InputError(
            f"{folder} holds no {marker}, so it was not written by this format and is not replaced: choose another "
            "path, or remove it yourself."
        )


_HEIF = (".heic", ".heif", ".hif")
CONVERT = "convert it to PNG, JPEG or TIFF"
# suffixes of images that are read, below; here those that are not, by suffix: name of the format, remedy
_RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef")  # cameras; most are TIFFs whose first image is a small copy
_SKIPPED = {
    suffix: (suffix[1:].upper(), CONVERT) for suffix in (*_RAW, ".exr", ".jxl", ".pbm", ".pgm", ".ppm", ".psd", ".tga")
}
_SKIPPED |= dict.fromkeys((".j2k", ".jp2", ".jpf", ".jpx"), ("JPEG 2000", CONVERT))
for _suffix, _package in {".czi": "czifile", ".dcm": "pydicom", ".lif": "readlif", ".nd2": "nd2"}.items():
    _remedy = f"save it as OME-TIFF (Fiji, bfconvert), or pass an array that Python's {_package} reads"
    _SKIPPED[_suffix] = (_suffix[1:].upper(), _remedy)
IMAGES: tuple[str, ...] = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".lsm", ".stk")
if importlib.util.find_spec("pillow_heif"):
    IMAGES += _HEIF
else:
    _SKIPPED |= dict.fromkeys(_HEIF, ("HEIC", "pip install pillow-heif to read it, or convert it to JPEG"))


def unread_format(path: str | os.PathLike[str], is_tiff: bool = False) -> tuple[str, str] | None:
    """Return the format of an image that is not read, by its suffix, and the remedy; of TIFFs, those of cameras."""
    suffix = PurePosixPath(os.fsdecode(path)).suffix.lower()
    return None if is_tiff and suffix not in _RAW else _SKIPPED.get(suffix)


def warn_of_skipped(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Warn about the images in a folder that are skipped because of their format; hidden files are ignored."""
    skipped: dict[tuple[str, str], list[str]] = {}
    for path in map(os.fsdecode, paths):
        pure = PurePosixPath(path)
        if (skip := unread_format(pure)) and not pure.name.startswith("."):
            skipped.setdefault(skip, []).append(path)
    for (name, remedy), (first, *others) in skipped.items():
        more = f" and {len(others)} more like it" if others else ""
        warnings.warn(f"{first}{more}: {name} is skipped: {remedy}.", ImageWarning, stacklevel=2)


MARK = "written by SuperCuts"  # in the metadata of every picture and label map that this package writes
_MARKED = (".gif", ".png", ".tif", ".tiff")
_START_BYTES = 4096  # the metadata come before the pixels


def is_own_picture(path: str | os.PathLike[str]) -> bool:
    """Return whether a picture was written by this package, such as an overlay or a label map."""
    if PurePosixPath(os.fsdecode(path)).suffix.lower() not in _MARKED:
        return False
    try:
        with Path(path).open("rb") as file:
            return MARK.encode() in file.read(_START_BYTES)
    except OSError:  # reading the image reports it
        return False


def warn_of_own(pictures: Sequence[object]) -> None:
    """Warn about pictures that are left out because this package wrote them."""
    if pictures:
        more = f" and {len(pictures) - 1} more like it are" if len(pictures) > 1 else " is"
        warnings.warn(f"{pictures[0]}{more} left out: {MARK}, not a photograph.", ImageWarning, stacklevel=2)


MAX_BYTES = 4 << 30  # largest unpacked size of all members together
_MOST_DEFLATED = 1032  # largest number of bytes that one byte of deflate data unpacks to
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_members(archive: zipfile.ZipFile, max_bytes: int = MAX_BYTES) -> None:
    """Raise ValueError for duplicate names, compression other than deflate, and impossible or too large sizes.

    Duplicates are rejected because some readers take the first of two members of one name, and others the last.
    """
    members = archive.infolist()
    repeated = [name for name, count in Counter(member.filename for member in members).items() if count > 1]
    if repeated:
        raise ValueError(f"it holds {repeated[0]!r} more than once")
    for member in members:
        if member.compress_type not in _PACKINGS or member.flag_bits & 1:
            raise ValueError(f"{member.filename!r} has an unsupported compression (type {member.compress_type})")
        ratio = _MOST_DEFLATED if member.compress_type == zipfile.ZIP_DEFLATED else 1
        if member.file_size > ratio * member.compress_size:
            raise ValueError(
                f"{member.filename!r} claims {member.file_size} bytes, which its {member.compress_size} cannot hold"
            )
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise ValueError(f"it claims {total} bytes unpacked, above the limit max_bytes={max_bytes}")


def package_version() -> str:
    """Return the installed version, or `0+unknown` for a checkout that was never installed."""
    try:
        return version("supercuts")
    except PackageNotFoundError:
        return "0+unknown"
