"""Read the arrays of label and result files (.npy, .npz, .mat, .png, .tif); damaged files raise FileFormatError."""

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from supercuts.core.errors import FileFormatError, SuperCutsError
from supercuts.core.files import check_members
from supercuts.images.formats import arrays, pillow, tiff
from supercuts.images.formats.mat_files import read_mat
from supercuts.images.formats.stored import MAX_PIXELS, upright

_PNG_MODES = ("1", "L", "I;16", "I;16B", "I", "P")
_TIFF_RGB, _TIFF_PALETTE = 2, 3
_UNNAMED = "array"  # name of the one array in formats without names
_REMEDIES = {
    ".mat": "Expected a valid MATLAB file of version 7 or older: write it again with save(file, 'name', '-v7').",
    ".npy": "Expected a valid file of numbers: write it again with np.save(file, array) of an integer or float array.",
    ".npz": "Expected a valid file of arrays: write it again with np.savez(file, array) or Hierarchy.save.",
    ".png": "Expected a valid PNG: copy it again, or write it again from the program that made it.",
    ".tif": "Expected a valid TIFF, best without compression: write it again with tifffile.imwrite(file, array).",
}
_COLOURS = (
    "Expected one channel. Save the map itself, not a picture of it: a grey 16-bit PNG "
    "(skimage.io.imsave(file, labels.astype(np.uint16))), .npy or .mat."
)


def read_variables(path: Path, accepts_palette: bool = True) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name, `array` if the format has no names; a MATLAB cell is an array of objects.

    The values of a palette image are indices, not colours; with accepts_palette=False it raises FileFormatError.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FileFormatError(f"{path}: arrays in {path.suffix!r} are not read. Expected {', '.join(_READERS)}.")
    with refusing_damage(path):
        return reader(path, accepts_palette)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the one array in a .npy, .png or .tif without decoding it; palette images have indices."""
    suffix = path.suffix.lower()
    with refusing_damage(path):
        if suffix == ".npy":
            return tuple(arrays.open_npy(path).shape)
        if suffix in (".tif", ".tiff"):
            with _open_tiff(path, True) as (series, orientation):
                shape = tuple(series.shape)
                return shape[::-1] if len(shape) == 2 and orientation in (5, 6, 7, 8) else shape
        with _open_png(path, True):
            return pillow.read_size(path)


def describe(variables: Mapping[str, np.ndarray]) -> str:
    """Return names, shapes and types for messages.

    >>> describe({"labels": np.zeros((2, 3), np.uint8), "segs": np.empty((1, 5), object)})
    'labels (2, 3) uint8, segs (1, 5) cell'
    """
    listed = (f"{name} {a.shape} {'cell' if a.dtype == object else a.dtype}" for name, a in variables.items())
    return ", ".join(listed) or "nothing"


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Turn every exception of a reader of this file into a FileFormatError."""
    suffix = path.suffix.lower().replace("tiff", "tif")
    try:
        yield
    except SuperCutsError:
        raise
    except OSError as error:
        if error.errno is None:  # raised by the reader, not by the operating system
            raise FileFormatError(f"{path} is damaged or not {suffix} ({error}). {_REMEDIES[suffix]}") from error
        raise FileFormatError(
            f"{path} cannot be read ({error.strerror}). Expected a readable file: check its path and permissions."
        ) from error
    # damaged bytes: readers raise struct, zlib, syntax, key, memory and other errors
    except Exception as error:
        message = f"{type(error).__name__}: {error}"[:200]
        raise FileFormatError(f"{path} is damaged or not {suffix} ({message}). {_REMEDIES[suffix]}") from error


def _read_mat(path: Path, _: bool) -> dict[str, np.ndarray]:
    # mat_dtype: MATLAB stores a double map that holds only 0 and 1 as bytes, which must not pass for uint8
    import scipy.sparse  # changes the filters of warnings

    variables = read_mat(path, mat_dtype=True)
    for name, value in variables.items():
        if scipy.sparse.issparse(value):
            raise FileFormatError(f"{path}: {name} is sparse. Expected a full matrix: save full({name}).")
    return {name: value for name, value in variables.items() if isinstance(value, np.ndarray)}


def _read_npy(path: Path, _: bool) -> dict[str, np.ndarray]:
    return {_UNNAMED: np.array(arrays.open_npy(path))}


def _read_npz(path: Path, _: bool) -> dict[str, np.ndarray]:
    variables = {}
    with zipfile.ZipFile(path) as archive:  # np.load leaves damaged archives open
        check_members(archive)
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    _check_claim(member, file, archive.getinfo(member).file_size)
                    file.seek(0)
                    variables[member.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return variables


def _check_claim(name: str, file: Any, n_bytes: int) -> None:
    """Raise ValueError if an array claims to be larger than its file, because numpy allocates memory by that claim."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in read:
        raise ValueError(f"{name} has .npy version {version}, expected (1, 0) or (2, 0)")
    shape, _, dtype = read[version](file)
    if not dtype.hasobject and math.prod(shape) * max(dtype.itemsize, 1) > n_bytes:
        raise ValueError(f"{name} claims {shape} values of {dtype}, which its {n_bytes} bytes cannot hold")


def _read_png(path: Path, accepts_palette: bool) -> dict[str, np.ndarray]:
    with _open_png(path, accepts_palette) as image:
        values = np.array(image)
        return {_UNNAMED: np.ascontiguousarray(upright(values, pillow.orientation(image)))}


@contextmanager
def _open_png(path: Path, accepts_palette: bool) -> Iterator[Any]:
    with pillow.open_png(path) as image:
        _check_n_values(path, image.size)
        if image.mode == "P" and not accepts_palette:
            _refuse_palette(path)
        if image.mode not in _PNG_MODES:
            raise FileFormatError(f"{path} is a PNG of mode {image.mode}: colours or transparency. {_COLOURS}")
        yield image


def _read_tiff(path: Path, accepts_palette: bool) -> dict[str, np.ndarray]:
    with _open_tiff(path, accepts_palette) as (series, orientation):
        values = series.asarray()
    return {_UNNAMED: np.ascontiguousarray(upright(values, orientation)) if values.ndim == 2 else values}


@contextmanager
def _open_tiff(path: Path, accepts_palette: bool) -> Iterator[tuple[Any, int]]:
    with tiff.open_labels(path) as (series, orientation):
        _check_n_values(path, series.shape)
        photometric = getattr(series.keyframe, "photometric", None)
        if photometric == _TIFF_PALETTE and not accepts_palette:
            _refuse_palette(path)
        if photometric == _TIFF_RGB:
            raise FileFormatError(f"{path} is a TIFF of colours. {_COLOURS}")
        yield series, orientation


def _check_n_values(path: Path, shape: tuple[int, ...]) -> None:
    """Raise FileFormatError if a file claims too many values, because a few compressed bytes may claim any size."""
    if math.prod(shape) > MAX_PIXELS:
        raise FileFormatError(
            f"{path} claims {' x '.join(map(str, shape))} values. Expected at most {MAX_PIXELS}: save the result at "
            "the size of its image."
        )


def _refuse_palette(path: Path) -> None:
    raise FileFormatError(
        f"{path} is a palette image, whose values are indices of colours. Expected one grey channel: save the "
        'strengths themselves, for example image.convert("L"). If the numbers are ids of regions, ask for --form '
        "segmentations."
    )


_READERS: dict[str, Callable[[Path, bool], dict[str, np.ndarray]]] = {
    ".mat": _read_mat,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".png": _read_png,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
}
SUFFIXES = tuple(_READERS)
