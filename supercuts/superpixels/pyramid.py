"""Coarser maps of large images: superpixels are found on the coarsest, their borders drawn again at every finer size.

In   PixelMaps; labels of maps of half the size
Out  PixelMaps of half the size; labels of the whole size, which are still to be smoothed
Not  no superpixels

A superpixel of a large image holds thousands of pixels, and means of 2 x 2 say as much of it. So the sides are halved
as long as each cell of the grid keeps enough pixels. Smoothing, which looks at border pixels alone, then moves the
borders at each finer size.
"""

import numpy as np
from jaxtyping import Bool, Int32, Shaped

from supercuts.core.arrays import channels_last
from supercuts.networks.maps import PixelMaps, as_half, halved_pixels, is_large
from supercuts.superpixels._kernels import pyramid as _kernels

_CELL_PIXELS = 256  # that a cell of the grid keeps; with 128, boundary recall fell by 0.02
_ROWS = 256  # worked on at once; even


def is_halved(shape: tuple[int, int], n_cells: int) -> bool:
    """Return whether superpixels from a grid of so many cells are found at half the size: in large images alone."""
    return is_large(shape) and shape[0] * shape[1] >= 4 * _CELL_PIXELS * n_cells


def halved(maps: PixelMaps) -> PixelMaps:
    """Return the maps of half the size, whose pixels are the means of 2 x 2 valid ones, without those of regions.

    A pixel is valid if any of its four is.
    """
    is_flat = maps.boundary.shape == (1, 1)
    return PixelMaps(
        _halved_maps(maps.color, maps.valid),
        maps.boundary if is_flat else _halved_maps(maps.boundary[None])[0],
        maps.embeddings if maps.embedding_stride > 1 else _halved_maps(maps.embeddings),
        embedding_stride=max(maps.embedding_stride // 2, 1),
        bands=None if maps.bands is None else _halved_maps(maps.bands, maps.valid),
        valid=None if maps.valid is None else _any_of_four(maps.valid),
    )


def doubled(labels: Int32[np.ndarray, "h w"], shape: tuple[int, int]) -> Int32[np.ndarray, "height width"]:
    """Return labels of an image of this shape, each of which covers 2 x 2 pixels."""
    whole = np.empty(shape, np.int32)
    _kernels.double(labels, whole)
    return whole


def _halved_maps(
    maps: Shaped[np.ndarray, "channels height width"], valid: Bool[np.ndarray, "height width"] | None = None
) -> Shaped[np.ndarray, "channels h w"]:
    """Return the means of 2 x 2 pixels, of the type of the maps, which for float16 is none of numba's."""
    if maps.dtype != np.float16:
        return halved_pixels(channels_last(maps), valid).transpose(2, 0, 1)
    n, height, width = maps.shape
    half = np.empty((-(-height // 2), -(-width // 2), n), np.float16)
    for top in range(0, height, _ROWS):
        rows = channels_last(maps[:, top : top + _ROWS]).astype(np.float32)
        half[top // 2 : (top + _ROWS) // 2] = as_half(halved_pixels(rows))
    return half.transpose(2, 0, 1)


def _any_of_four(valid: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "h w"]:
    rows = np.logical_or.reduceat(valid, range(0, valid.shape[0], 2), axis=0)
    return np.logical_or.reduceat(rows, range(0, valid.shape[1], 2), axis=1)
