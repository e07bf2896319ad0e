"""Read a TIFF of any size a few rows or one tile of it at a time, and which of its pixels hold no data.

In   the path of a TIFF of grey, RGB or bands, 8 or 16 bits or float32
Out  (H, W, C) uint8, uint16 or float32 as stored, and which pixels are valid
Not  no palettes, CMYK, YCbCr, alpha, turned pictures or several pages: those are pictures, for images/io.py

Of what the file holds, no second copy is made but one window: a picture of 100 megapixels takes 3 bytes a pixel.
"""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from supercuts.core.errors import FileFormatError, ImageError
from supercuts.images.array_files import refusing_damage
from supercuts.images.io import MAX_PIXELS, read_image

_GDAL_NODATA, _ORIENTATION = 42113, 274
_OWN_CODECS = (1, 8, 32946)  # that tifffile unpacks by itself: none and deflate
_MIN_IS_BLACK, _RGB = 1, 2
_TYPES = ("uint8", "uint16", "float32")
_MOST_BYTES = 3 << 30  # of what is read: the rest of the work has to fit beside it


class Raster(NamedTuple):
    """A file's values, and the pixels that hold data: (H, W) bool, or None for all."""

    values: np.ndarray
    valid: Bool[np.ndarray, "height width"] | None


def read_tiff(path: Path) -> Raster | None:
    """Return the values of a TIFF; None if it is a picture that read_image turns into RGB.

    A pixel holds no data if all its bands have the value of the tag GDAL_NODATA, or one of them is NaN.
    """
    import tifffile  # slow to import, and few images need it

    try:
        with refusing_damage(path), tifffile.TiffFile(path) as tiff:
            page: Any = tiff.pages.first
            if len(tiff.pages) != 1 or not _is_plain(page):
                return None
            _check_size(path, page)
            is_packed = page.compression not in _OWN_CODECS and find_spec("imagecodecs") is None
            if is_packed and (page.dtype.itemsize > 1 or page.samplesperpixel not in (1, 3)):
                return None  # whose reader says what is missing
            values = read_image(path) if is_packed else _read_page(page)  # Pillow unpacks more
            nodata = page.tags.valueof(_GDAL_NODATA)
    except FileFormatError as error:
        raise ImageError(str(error)) from error
    return Raster(values, _valid_pixels(values, nodata))


def _is_plain(page: Any) -> bool:
    is_grey = page.photometric == _MIN_IS_BLACK
    is_rgb = page.photometric == _RGB and page.samplesperpixel != 4  # four may be transparency
    is_upright = page.tags.valueof(_ORIENTATION, default=1) == 1
    return (is_grey or is_rgb) and is_upright and page.imagedepth == 1 and str(page.dtype) in _TYPES


def _check_size(path: Path, page: Any) -> None:
    height, width, n_bands = page.imagelength, page.imagewidth, page.samplesperpixel
    n_bytes = height * width * n_bands * page.dtype.itemsize
    if height < 1 or width < 1 or height * width > MAX_PIXELS or n_bytes > _MOST_BYTES:
        raise ImageError(
            f"{path}: {width}x{height} pixels of {n_bands} bands, {n_bytes} bytes; accepted are at most {MAX_PIXELS} "
            f"pixels and {_MOST_BYTES} bytes. Cut the image into parts, or choose fewer of its bands."
        )
    if math.prod(page.chunks) > 4 * max(height * width * n_bands, 1 << 20):  # a tile may claim more than the image
        raise ImageError(f"{path}: its tiles claim {page.chunks} values each. The file is damaged: copy it again.")


def _read_page(page: Any) -> np.ndarray:
    """Return (H, W, C), filled a window at a time."""
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    values = np.zeros(shape, page.dtype.newbyteorder("="))
    n_rows, n_columns = page.chunks[-3:-1] if page.axes.endswith("S") else page.chunks[-2:]
    is_planar = page.planarconfig == 2 and shape[2] > 1
    for segment, index, size in page.segments():
        if segment is None:  # a window that the file leaves out holds zeros
            continue
        plane, _, top, left, _ = index
        rows, columns = min(size[1], n_rows, shape[0] - top), min(size[2], n_columns, shape[1] - left)
        window = segment[0, :rows, :columns]
        at = (slice(top, top + rows), slice(left, left + columns))
        if is_planar:
            values[(*at, plane)] = window[..., 0]
        else:
            values[at] = window
    return values


def _valid_pixels(values: np.ndarray, nodata: object) -> np.ndarray | None:
    valid = np.ones(values.shape[:2], np.bool_)
    if nodata is not None:
        try:
            value = float(str(nodata))
        except ValueError:
            value = math.nan  # says nothing
        if not math.isnan(value):
            is_empty = np.ones(valid.shape, np.bool_)
            for band in range(values.shape[2]):
                is_empty &= values[..., band] == value
            valid = ~is_empty
    if values.dtype.kind == "f":
        for band in range(values.shape[2]):
            valid &= np.isfinite(values[..., band])
    return None if valid.all() else valid
