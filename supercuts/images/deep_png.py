"""Read PNG pictures of 16 bits a channel with all their bits, which read_image scales to 8.

In   a path
Out  (H, W, 1) or (H, W, 3) uint16, upright; None of what read_image is for
Not  no transparency, no errors: read_image says what is wrong with a file
"""

import os
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import ImageOps, PngImagePlugin

from supercuts.images.io import MAX_PIXELS

_MAGIC = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = "I;16B", "RGB;16B"  # how Pillow names what is in the file


def read_deep_png(path: str | os.PathLike[str]) -> UInt16[np.ndarray, "height width channels"] | None:
    """Return a grey or RGB PNG of 16 bits; None of any other file, of one with transparency, and of a damaged one."""
    try:
        with Path(path).open("rb") as file:
            return _read(file) if file.read(len(_MAGIC)) == _MAGIC else None
    except Exception:  # damaged bytes: decoders raise struct, syntax, key, memory and other errors
        return None


def _read(file: IO[bytes]) -> UInt16[np.ndarray, "height width channels"] | None:
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
