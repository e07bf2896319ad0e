"""Read what a refinement starts from: images of any number of channels, scribbles as PNG.

In   paths; what read_image and read_bands take
Out  (H, W, C) float32 in 0..1; scribbles (H, W) int32, -1 where there is none
Not  no preprocessing, no superpixels
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Integer

from supercuts.core.errors import ImageError, InputError
from supercuts.images.array_files import read_variables
from supercuts.images.bands import read_bands, to_unit
from supercuts.images.deep import read_deep
from supercuts.images.io import read_image

UNLABELLED = 255  # in files of scribbles
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def read_input(source: object, channels: int | None = 3) -> Float32[np.ndarray, "height width channels"]:
    """Return an image of so many channels; None: as many as are stored.

    3: RGB, which grey pictures are turned into. 1: grey, the luma of RGB. Other numbers: bands of .npy and .tif files
    and of arrays, as stored. A PNG or TIFF of 16 bits without transparency keeps them.

    >>> read_input(np.full((1, 2, 5), 65535, np.uint16), 5).shape
    (1, 2, 5)
    """
    deep = read_deep(source) if isinstance(source, str | Path) else None
    if channels == 3 and not str(source).lower().endswith(".npy"):
        pixels = to_unit(read_image(source) if deep is None else deep)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    pixels = read_bands(source) if deep is None else to_unit(deep)  # read_pixels keeps 8 bits of three bands
    found = pixels.shape[2]
    if channels == 1 and found == 3:
        return np.ascontiguousarray((pixels @ _LUMA)[..., None])
    if channels not in (None, found):
        name = f"array of shape {source.shape}" if isinstance(source, np.ndarray) else str(source)
        raise ImageError(f"{name}: has {found} channels, not {channels}. Set channels={found} or give another image.")
    return pixels


def read_scribbles(path: Path) -> Int32[np.ndarray, "height width"]:
    """Return the classes that a grey PNG gives pixels: its values are the classes, 255 is none and becomes -1."""
    values = next(iter(read_variables(path).values()))
    if values.ndim != 2:
        raise ImageError(f"{path}: has shape {values.shape}; scribbles are a grey picture of classes, 255 for none.")
    return mark(values)


def mark(scribbles: Integer[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Return scribbles with -1 for 255 and for negative values.

    >>> mark(np.array([[0, 8, 255]], np.uint8)).tolist()
    [[0, 8, -1]]
    """
    if scribbles.dtype.kind not in "iu":
        raise InputError(f"scribbles of type {scribbles.dtype}: give integers, the class of each pixel, 255 for none.")
    wide = scribbles.astype(np.int32)
    return np.where((wide == UNLABELLED) | (wide < 0), np.int32(-1), wide)
