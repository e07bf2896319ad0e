"""Segment one image and write its outputs: its hierarchy, pictures of its levels, other programs' formats."""

import errno
import hashlib
import secrets
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from supercuts.batch.sources import (
    DONE,
    FAILED,
    FULL,
    READING,
    UNCHANGED,
    UNUSABLE,
    Result,
    Settings,
    Task,
    is_url,
    read_bytes,
)
from supercuts.core.checks import check_choice
from supercuts.core.errors import ImageError, ImageWarning, InputError, MissingDependencyError
from supercuts.core.files import IMAGES, printable
from supercuts.export.export_formats import FORMATS

if TYPE_CHECKING:
    from supercuts.hierarchy.tree import Hierarchy


REGIONS = {"part": 24, "object": 8, "scene": 3}  # finest first; region counts for models without calibrated levels
VIEWS = ("superpixels", *REGIONS)
ALSO = tuple(name for name in FORMATS if name != "npz")  # formats beside the hierarchy itself
HIERARCHY = FORMATS["npz"].suffix  # suffix; always written, and last
_LARGE_PIXELS = 4_000_000  # larger images draw contours from sampled labels; full contours take 16 bytes a pixel


def suffixes(formats: Iterable[str], overlays: bool) -> list[str]:
    """Return the suffixes that outputs add to the name of an image, the hierarchy's last."""
    formats = list(formats)
    for name in formats:
        check_choice("--format", name, ALSO)
    pictures = [f"_{view}.png" for view in (*VIEWS, "overview")] if overlays else []
    return [*pictures, *(FORMATS[name].suffix for name in formats), HIERARCHY]


def keyword_of(h: "Hierarchy", level: str) -> dict[str, Any]:
    """Return the keyword that cuts at a level: its name, or a region count if the model has no calibrated levels."""
    return {"level": level} if level in h.levels else {"regions": min(REGIONS[level], h.n_leaves)}


def write_outputs(
    folder: Path,
    name: str,
    path: Path,
    h: "Hierarchy",
    formats: Iterable[str],
    overlays: bool = False,
) -> dict[str, Path]:
    """Write the outputs of the image at `path` into an empty folder; return the files by suffix, the hierarchy last.

    If `overlays`, pictures of superpixels and levels are written too.
    """
    written: dict[str, Path] = {}
    if overlays:
        written |= _write_pictures(folder, name, path, h)
    for format in formats:
        suffix = FORMATS[format].suffix
        # some writers store the file's stem in the file, so it must be the image's name whatever the suffix
        target = folder / format / f"{name}{Path('x' + suffix).suffix}"
        h.export(target, format=format, like=path if format == "geotiff" else None)
        written[suffix] = target
    written[HIERARCHY] = folder / f"{name}{HIERARCHY}"
    h.save(written[HIERARCHY])
    return written


def _write_pictures(folder: Path, name: str, path: Path, h: "Hierarchy") -> dict[str, Path]:
    from supercuts.hierarchy.contours import contour_map
    from supercuts.images.draw import overlay, overview, sampled
    from supercuts.images.io import read_image, write_png

    photo = read_image(path) if h._image is None else h._image
    cuts, written = {}, {f"_{view}.png": folder / f"{name}_{view}.png" for view in (*VIEWS, "overview")}
    for view in VIEWS:  # one label map at a time: each takes as much memory as the hierarchy
        labels = h._labels if view == "superpixels" else h.cut(**keyword_of(h, view))
        write_png(written[f"_{view}.png"], overlay(photo, labels, view))
        cuts[view] = sampled(labels)
    is_large = h._labels.size > _LARGE_PIXELS
    contours = contour_map(cuts["superpixels"], h._parents, h._altitudes) if is_large else h.ucm()
    counts = {"superpixels": h.n_leaves, **{level: int(h.cut_nodes(**keyword_of(h, level)).size) for level in REGIONS}}
    write_png(written["_overview.png"], overview(photo, cuts, contours, printable(path.name), counts, h.levels))
    return written


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SPARE_BYTES = 1 << 16  # free space below which a write error means a full disk; some writers hide the reason


class Segmenter:
    """Segments images with one model and fixed settings; loads the model when the first image needs it."""

    def __init__(self, settings: dict[str, Any], stage: str, device: str = "cpu") -> None:
        """Create from the fields of Settings in the form that JSON returns them."""
        bands = settings.get("bands")
        tuples = {"formats": tuple(settings.get("formats", ())), "bands": None if bands is None else tuple(bands)}
        self.settings = Settings(**settings | tuples)
        self.stage = Path(stage)
        self.device = device
        self._model: Any = None

    def __call__(self, task: Task) -> Result:
        """Perform one task; return exceptions as results."""
        start = time.perf_counter()
        folder = self.stage / f"{task.number}-{secrets.token_hex(4)}"
        notes: list[str] = []
        try:
            with _source(task, folder) as (path, content), collected(notes):
                mask = mask_of(self.settings.mask, task.name)
                if mask is not None:
                    content += f"+{_hash(mask)}"
                if content == task.known:
                    shutil.rmtree(folder, ignore_errors=True)
                    return Result(task.number, UNCHANGED, content)
                problem = self._load(task)
                if problem is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    return problem
                files = self._segment(task, path, folder, mask)
        except Exception as error:  # the other images may still succeed
            status = FULL if is_full(error, self.stage) else FAILED
            status = UNUSABLE if isinstance(error, MissingDependencyError) else status  # concerns every image
            shutil.rmtree(folder, ignore_errors=True)
            return Result(task.number, status, error=type(error).__name__, message=_message(error, task))
        messages = tuple(note.replace(str(path), task.address) for note in notes)  # a fetched file has another path
        seconds = round(time.perf_counter() - start, 3)
        return Result(task.number, DONE, content, folder.name, files, seconds=seconds, notes=messages)

    def _load(self, task: Task) -> Result | None:
        if self._model is not None:
            return None
        import supercuts

        try:
            self._model = supercuts.load(self.settings.model, merging=self.settings.merging, views=self.settings.views)
        except Exception as error:
            return Result(task.number, UNUSABLE, error=type(error).__name__, message=str(error))
        if self.device != "cpu":
            self._model.to(self.device)
        return None

    def _segment(self, task: Task, path: Path, folder: Path, mask: Path | None) -> dict[str, str]:
        reading = {name: getattr(self.settings, name) for name in READING} | {"mask": mask}
        options = {name: value for name, value in reading.items() if value is not None}
        h = self._model.segment(path, superpixels=self.settings.superpixels, **options)
        stem = PurePosixPath(task.name).name
        written = write_outputs(folder / "out", stem, path, h, self.settings.formats, self.settings.overlays)
        return {suffix: file.relative_to(folder).as_posix() for suffix, file in written.items()}


def mask_of(mask: str | None, name: str) -> Path | None:
    """Return the mask file of an image: `mask` itself, or the file called `name` if `mask` is a folder.

    Raise InputError if the folder holds no such file.
    """
    if mask is None or not Path(mask).is_dir():
        return None if mask is None else Path(mask)
    for suffix in (*IMAGES, ".npy"):
        path = Path(mask) / f"{name}{suffix}"
        if path.is_file():
            return path
    raise InputError(
        f"{mask} holds no mask for this image. Expected {name}.png, or that name with another image suffix or .npy."
    )


@contextmanager
def collected(notes: list[str]) -> Iterator[None]:
    """Add the text of each distinct ImageWarning to notes; other warnings are dropped."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        try:
            yield
        finally:
            messages = (str(warning.message) for warning in caught if issubclass(warning.category, ImageWarning))
            notes += dict.fromkeys(messages)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_full(error: BaseException | None, folder: Path) -> bool:
    """Return whether an error means that nothing more can be written below a folder."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    try:
        return shutil.disk_usage(folder).free < _SPARE_BYTES
    except OSError:
        return False


def _message(error: Exception, task: Task) -> str:
    message = str(error) or type(error).__name__
    return message if task.address in message else f"{task.address}: {message}"


@contextmanager
def _source(task: Task, folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield a local path of the image and the hash of its bytes; remove a downloaded copy afterwards."""
    try:
        data = read_bytes(task.address) if task.data is None and is_url(task.address) else task.data
        if data is None:
            content = _hash(Path(task.address))
    except Exception as error:  # clients of web servers and object stores raise their own types
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"{task.address}: cannot be read ({reason}). Check the address and its permissions."
        ) from error
    if data is None:
        yield Path(task.address), content
        return
    (folder / "source").mkdir(parents=True)
    # readers identify some formats by suffix, and messages name the file
    path = folder / "source" / PurePosixPath(task.address.split("?")[0]).name
    try:
        path.write_bytes(data)
        yield path, hashlib.sha256(data).hexdigest()
    finally:
        shutil.rmtree(folder / "source", ignore_errors=True)
