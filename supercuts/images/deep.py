"""Read PNG and TIFF pictures of 16 bits a channel with all their bits, which read_image scales to 8.

In   a path
Out  (H, W, 1) or (H, W, 3) uint16, upright; None of what read_image is for
Not  no transparency, no errors: read_image says what is wrong with a file
"""

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import ImageOps, PngImagePlugin

from supercuts.images.io import MAX_PIXELS, TIFF_STARTS, decode_tiff_page, upright
from supercuts.images.tiff_pages import check_pages

_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_KINDS = ((1, 1), (2, 3))  # photometric and samples a pixel: grey whose black is 0, RGB
_GREY, _RGB = "I;16B", "RGB;16B"  # how Pillow names what is in the file


def read_deep(path: str | os.PathLike[str]) -> UInt16[np.ndarray, "height width channels"] | None:
    """Return a grey or RGB PNG or TIFF of 16 bits; None of any other file.

    Others are those with transparency, TIFFs of several pages or whose black is the highest value, and damaged files.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(_MAGIC))
            if start == _MAGIC:
                return _read_png(file)
            return _read_tiff(file, Path(path)) if start.startswith(TIFF_STARTS) else None
    except Exception:  # damaged bytes: decoders raise struct, syntax, key, memory and other errors
        return None


def _read_tiff(file: IO[bytes], path: Path) -> UInt16[np.ndarray, "height width channels"] | None:
    import tifffile  # slow to import, and few images need it

    check_pages(path)
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages.first
        if page.dtype != np.uint16 or (page.photometric, page.samplesperpixel) not in _TIFF_KINDS:
            return None
        if len(tiff.pages) > 1:  # bands, which read_bands is for
            return None
        values, orientation = decode_tiff_page(page, str(path), MAX_PIXELS)
    pixels = values[..., None] if values.ndim == 2 else values
    return np.ascontiguousarray(upright(pixels, orientation))


def _read_png(file: IO[bytes]) -> UInt16[np.ndarray, "height width channels"] | None:
    image = _open(file)
    stored = image.tile[0][3] if image.tile else None
    if image.height * image.width > MAX_PIXELS or image.has_transparency_data or stored not in (_GREY, _RGB):
        return None
    if stored == _GREY:
        values = np.asarray(ImageOps.exif_transpose(image))
        return np.ascontiguousarray(values[..., None], np.uint16)
    # Pillow keeps one byte of two, the first; taken for little-endian, that is the low one
    high, low = _decode_bytes(file, "RGB;16B"), _decode_bytes(file, "RGB;16L")
    deep: np.ndarray = high.astype(np.uint16) * np.uint16(256) + low
    return deep


def _open(file: IO[bytes]) -> PngImagePlugin.PngImageFile:
    file.seek(0)
    return PngImagePlugin.PngImageFile(file)


def _decode_bytes(file: IO[bytes], stored: str) -> UInt8[np.ndarray, "height width 3"]:
    image = _open(file)
    tile = image.tile[0]
    image.tile = [type(tile)(tile[0], tile[1], tile[2], stored)]
    return np.asarray(ImageOps.exif_transpose(image))
