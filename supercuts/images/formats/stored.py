"""Raster, the result of every format's reader, and the checks that all readers share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from supercuts.core.errors import ImageError
from supercuts.images.georeference import Georeference

MAX_PIXELS = 150_000_000
MAX_BYTES = 3 << 30  # largest size of an image's values, which leaves memory for the rest of the work
DAMAGED = "The file is truncated or damaged: copy or download it again, or re-save it from another program."
STRETCH_REMEDY = 'or let values be stretched (stretch="percentile", --stretch percentile).'
_DTYPES = "uint8, uint16, bool, or float in 0..1"

_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF orientation
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """An image as its source stores it, upright.

    values        (H, W, C) of any numeric type; floats are 0 at invalid pixels
    valid         (H, W) bool mask of valid pixels, or None if all are valid
    alpha         (H, W) opacity, of the type of values, or None
    georeference  transform to map coordinates, or None
    name          name of the source, for messages
    is_picture    whether the format holds colours only: grey is then shown as RGB, and 8 bits are enough
    is_rgb        whether the source declares the first three channels to be red, green and blue
    """

    values: Shaped[np.ndarray, "height width channels"]
    valid: Bool[np.ndarray, "height width"] | None = None
    alpha: Shaped[np.ndarray, "height width"] | None = None
    georeference: Georeference | None = None
    name: str = "array"
    is_picture: bool = False
    is_rgb: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.values.shape[:2]
        return height, width


def check_size(name: str, height: int, width: int, max_pixels: int = MAX_PIXELS, bytes_a_pixel: int = 1) -> None:
    """Raise ImageError if an image is empty or larger than the limits."""
    if height < 1 or width < 1:
        raise ImageError(f"{name}: is empty ({width}x{height} pixels). Give at least one pixel.")
    if height * width > max_pixels:
        raise ImageError(
            f"{name}: {width}x{height} = {height * width} pixels, above the limit of {max_pixels}. "
            "Shrink or tile the image, or raise max_pixels."
        )
    if height * width * bytes_a_pixel > max(MAX_BYTES, 8 * max_pixels):
        raise ImageError(
            f"{name}: {width}x{height} pixels of {bytes_a_pixel} bytes; accepted are at most {MAX_BYTES} bytes in all. "
            "Cut the image into parts, or choose fewer of its bands."
        )


def check_type(name: str, dtype: np.dtype[Any]) -> None:
    """Raise ImageError if a numeric type has no fixed range."""
    if not (dtype.kind in "bf" or (dtype.kind == "u" and dtype.itemsize <= 2)):
        raise ImageError(
            f"{name}: values of type {dtype} have no fixed range; accepted are {_DTYPES}. If they are 0..255 pass "
            "array.astype(np.uint8), if 0..65535 array.astype(np.uint16), else values divided by the highest "
            f"possible value as float32, {STRETCH_REMEDY}"
        )


def check_is_file(name: str) -> None:
    """Raise ImageError unless a path names a regular file that is not empty."""
    try:
        path = Path(name)
        is_there, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
        is_empty = is_file and path.stat().st_size == 0
    except (OSError, ValueError) as error:  # a name that is too long or contains NUL, or a folder without access
        raise ImageError(f"{name!r:.200}: is not a usable path ({error}). Check the path.") from error
    if not is_there:
        hint = " Download it first: only local files are read." if "://" in name else ""
        raise ImageError(f"{name!r}: no such file. Check the path; it is taken relative to {Path.cwd()}.{hint}")
    if is_folder:
        raise ImageError(f"{name}: is a folder, not an image. Pass one image file of it at a time.")
    if not is_file:
        raise ImageError(f"{name}: is not a regular file. Copy its content into an image file such as PNG first.")
    if is_empty:
        raise ImageError(f"{name}: is empty (0 bytes). Copy or download it again.")


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Return an array (H, W, ...) turned as its EXIF orientation requires."""
    turn = _UPRIGHT.get(orientation)
    return values if turn is None else turn(values)


def describe_error(error: BaseException) -> str:
    """Return the type and message of an error, at most 200 characters.

    >>> describe_error(KeyError("a"))
    "KeyError: 'a'"
    """
    return f"{type(error).__name__}: {error}"[:200]
