"""Maps of an image too large to hold one float for each pixel and channel: kept small, given out in strips of rows.

In   a picture (H, W, 3) uint8, further bands, which pixels are valid, what a network says of them tile by tile
Out  PixelMaps of some rows, as predict gives them of the whole image; the arrays that kernels look pixels up in
Not  no network, no superpixels
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Int16, Shaped, UInt8

from supercuts.core import _kernels_half
from supercuts.core.arrays import channels_last
from supercuts.core.errors import InputError
from supercuts.images.color import color_features
from supercuts.superpixels.result import PixelMaps

_WHOLE_PIXELS = 2_000_000  # images of more are large
STRIP_PIXELS = 1 << 20  # rows are worked on in strips of about so many pixels
# larger images keep the mean embedding of 2 x 2 pixels (from twice that on 4 x 4), and the other maps as float16: the
# 57 bytes a pixel of float32 are too many
_FINE_PIXELS = 32_000_000


@dataclass(frozen=True, slots=True, eq=False)
class StoredMaps:
    """What is known of each pixel, in few bytes.

    rgb         (H, W, 3) uint8, or (H, W, 0) where colour is the bands alone
    bands       (H, W, C) uint8, uint16 or float32 in 0..1; C = 0 of pictures
    boundary    (H, W) float32 or float16, or (1, 1): the same everywhere
    embeddings  (D, h, w) float16, one value for embedding_stride x embedding_stride pixels; best laid out in memory as
                (h, w, D)
    strength    (h, w) and regions (R, h, w), float32 or float16, as in PixelMaps, or None
    valid       (H, W) bool, or None if every pixel is
    """

    rgb: UInt8[np.ndarray, "height width _"]
    bands: Shaped[np.ndarray, "height width _"]
    boundary: Float[np.ndarray, "_ _"]
    embeddings: Float16[np.ndarray, "_ _ _"]
    embedding_stride: int = 1
    strength: Float[np.ndarray, "_ _"] | None = None
    regions: Float[np.ndarray, "_ _ _"] | None = None
    region_stride: int = 1
    valid: Bool[np.ndarray, "height width"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.rgb.shape[:2]
        return height, width

    @property
    def n_valid(self) -> int:
        """Number of pixels that superpixels are made of."""
        height, width = self.shape
        return height * width if self.valid is None else int(np.count_nonzero(self.valid))

    @property
    def n_colors(self) -> int:
        """Channels of the colour."""
        return int(self.rgb.shape[2] + self.bands.shape[2])

    @property
    def band_scale(self) -> np.float32:
        """What a stored band value is multiplied by as a colour, on the scale of L."""
        return np.float32(100 / {"uint8": 255, "uint16": 65535}.get(self.bands.dtype.name, 1))

    @property
    def embedding_bits(self) -> Int16[np.ndarray, "_ _ channels"]:
        """The bits of the embeddings, the channels of a pixel side by side."""
        return channels_last(self.embeddings).view(np.int16)

    def color(self, top: int, bottom: int) -> Float32[np.ndarray, "bands rows width"]:
        """Return the colour of rows top..bottom-1: Lab, then the bands on the scale of L."""
        rows = slice(top, bottom)
        parts = []
        if self.rgb.shape[2]:
            parts.append(color_features(self.rgb[rows]))
        if self.bands.shape[2]:
            parts.append((self.bands[rows].astype(np.float32) * self.band_scale).transpose(2, 0, 1))
        return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def boundary_rows(self, top: int, bottom: int) -> Float32[np.ndarray, "rows width"]:
        """Return the boundary probability of rows top..bottom-1, a view where it is kept so."""
        if self.boundary.shape == (1, 1):
            return np.full((bottom - top, self.shape[1]), self.boundary[0, 0], np.float32)
        return self.boundary[top:bottom].astype(np.float32, copy=False)

    def embedding_rows(
        self, top: int, bottom: int, n_channels: int | None = None
    ) -> Float32[np.ndarray, "channels rows width"]:
        """Return the embeddings of rows top..bottom-1, or their first n_channels."""
        return _spread(self.embeddings[:n_channels], self.embedding_stride, top, bottom, self.shape[1])

    def rows(self, top: int, bottom: int, n_embedding: int | None = None) -> PixelMaps:
        """Return all maps of rows top..bottom-1, where top is a multiple of region_stride.

        n_embedding: so many channels of the embeddings, where not all are wanted.
        """
        coarse = slice(top // self.region_stride, -(-bottom // self.region_stride))
        return PixelMaps(
            self.color(top, bottom),
            self.boundary_rows(top, bottom),
            self.embedding_rows(top, bottom, n_embedding),
            None if self.strength is None else self.strength[coarse].astype(np.float32),
            None if self.regions is None else np.ascontiguousarray(self.regions[:, coarse], np.float32),
            self.region_stride,
        )

    def strips(self) -> Iterator[tuple[int, int]]:
        """Yield the first row of each strip and the row after its last; the first is a multiple of 8."""
        height, width = self.shape
        n_rows = max(STRIP_PIXELS // width // 8 * 8, 8)
        for top in range(0, height, n_rows):
            yield top, min(top + n_rows, height)


def is_large(shape: tuple[int, int]) -> bool:
    """Return whether an image has more than 2 megapixels: it is then worked on in strips of rows."""
    return shape[0] * shape[1] > _WHOLE_PIXELS


def without_network(
    rgb: UInt8[np.ndarray, "height width _"],
    bands: Shaped[np.ndarray, "height width _"] | None = None,
    valid: Bool[np.ndarray, "height width"] | None = None,
) -> StoredMaps:
    """Return the maps of colour alone."""
    height, width = rgb.shape[:2]
    bands = np.zeros((height, width, 0), np.uint8) if bands is None else bands
    empty = np.zeros((0, height, width), np.float16)
    return StoredMaps(rgb, bands, np.zeros((1, 1), np.float16), empty, valid=check_valid(valid, (height, width)))


def check_valid(
    valid: Bool[np.ndarray, "height width"] | None, shape: tuple[int, int]
) -> Bool[np.ndarray, "height width"] | None:
    """Return the mask, None if it leaves nothing out; refuse one of another size or without a pixel."""
    if valid is None:
        return None
    if valid.shape != shape or valid.dtype != np.bool_:
        raise InputError(
            f"mask is {valid.dtype} {valid.shape}; expected bool {shape}, the height and width of the image, true "
            "where pixels are valid: compare it with its threshold (mask > 0)."
        )
    if not valid.any():
        raise InputError("mask leaves no valid pixel: there is nothing to segment. Is it true where pixels are valid?")
    return None if valid.all() else np.ascontiguousarray(valid)


def precision(shape: tuple[int, int]) -> tuple[int, type[np.float32] | type[np.float16]]:
    """Return how many pixels a side share a stored embedding, and the type of other maps, by the image's size alone."""
    n_pixels = shape[0] * shape[1]
    if n_pixels <= _FINE_PIXELS:
        return 1, np.float32
    return (2 if n_pixels <= 2 * _FINE_PIXELS else 4), np.float16


def as_half(values: Float32[np.ndarray, "..."]) -> Float16[np.ndarray, "..."]:
    """Return values as float16, as values.astype(np.float16) does."""
    flat = np.ascontiguousarray(values).ravel()
    half = np.empty(flat.size, np.uint16)
    _kernels_half.to_half(flat, flat.view(np.int32), half)
    return half.view(np.float16).reshape(values.shape)


def _spread(values: np.ndarray, stride: int, top: int, bottom: int, width: int) -> np.ndarray:
    y, x = np.arange(top, bottom) // stride, np.arange(width) // stride
    part = channels_last(values[:, y[0] : y[-1] + 1]).astype(np.float32)
    return (part if stride == 1 else part[y - y[0]][:, x]).transpose(2, 0, 1)
