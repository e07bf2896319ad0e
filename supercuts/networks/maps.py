"""PixelMaps: the per-pixel inputs of grouping, passed from a network to the region graph.

In   colour, what a network says of each pixel, which pixels are valid
Out  PixelMaps; rows of them as numbers; the arrays that kernels look pixels up in
Not  no network, no superpixels

Images of up to 2 megapixels keep float32. Larger ones keep what takes fewer bytes: RGB instead of Lab, embeddings as
float16, and where even that is too much one embedding for several pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float16, Float32, Shaped, UInt8

from supercuts.core._kernels import to_half
from supercuts.core.arrays import channels_last
from supercuts.core.errors import InputError
from supercuts.core.threads import in_threads
from supercuts.images._kernels import halve
from supercuts.images.convert import color_features, to_unit

_WHOLE_PIXELS = 2_000_000  # images of more are large
STRIP_PIXELS = 1 << 20  # large ones are worked on in strips of about so many pixels
# larger images keep the mean embedding of 2 x 2 pixels (from twice that on 4 x 4), and the other maps as float16: the
# 57 bytes a pixel of float32 are too many
_FINE_PIXELS = 32_000_000
_ROWS = 256  # halved at once; even


@dataclass(frozen=True, slots=True, eq=False)
class PixelMaps:
    """What is known of each pixel before it is grouped.

    color       (C, H, W) float32  CIE Lab of RGB; of C other bands 100 times each (images.convert.color_features). Or
                                   (3, H, W) uint8, RGB whose Lab is meant; (0, H, W) where colour is the bands alone
    boundary    (H, W)             boundary probability, 0..1; or (1, 1): the same everywhere
    embeddings  (D, h, w)          learned channels, one value for embedding_stride x embedding_stride pixels; D = 0
                                   without a network. Best laid out in memory as (h, w, D)

    Of networks with region_channels, one value for region_stride x region_stride pixels:
    strength  (h, w)     share of people who draw a boundary nearby, 0..1
    regions   (R, h, w)  region embedding

    bands  (K, H, W)     uint8, uint16 or float32 in 0..1: what counts as colour beside RGB that is stored as bytes
    valid  (H, W) bool   which pixels superpixels are made of; None if all are

    boundary, embeddings, strength and regions are float32 or float16.
    """

    color: Float32[np.ndarray, "_ height width"] | UInt8[np.ndarray, "_ height width"]
    boundary: Float32[np.ndarray, "_ _"] | Float16[np.ndarray, "_ _"]
    embeddings: Float32[np.ndarray, "_ _ _"] | Float16[np.ndarray, "_ _ _"]
    strength: Float32[np.ndarray, "_ _"] | Float16[np.ndarray, "_ _"] | None = None
    regions: Float32[np.ndarray, "_ _ _"] | Float16[np.ndarray, "_ _ _"] | None = None
    region_stride: int = 1
    embedding_stride: int = 1
    bands: Shaped[np.ndarray, "_ height width"] | None = None
    valid: Bool[np.ndarray, "height width"] | None = None

    def __post_init__(self) -> None:
        """Refuse maps of different images: kernels do not check bounds."""
        expected = {
            "boundary": (self.boundary.shape if self.boundary.shape == (1, 1) else self.shape, self.boundary),
            "embeddings": (_coarse(self.shape, self.embedding_stride), self.embeddings),
            "strength": (_coarse(self.shape, self.region_stride), self.strength),
            "regions": (_coarse(self.shape, self.region_stride), self.regions),
            "bands": (self.shape, self.bands),
            "valid": (self.shape, self.valid),
        }
        for name, (shape, values) in expected.items():
            if values is not None and values.shape[-2:] != shape:
                raise InputError(
                    f"{name} {values.shape} do not fit color {self.color.shape}, which asks for {shape} at the end: "
                    "give maps of one image."
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.color.shape[1:]
        return height, width

    @property
    def n_valid(self) -> int:
        """Number of pixels that superpixels are made of."""
        height, width = self.shape
        return height * width if self.valid is None else int(np.count_nonzero(self.valid))

    @property
    def n_bands(self) -> int:
        """Channels of the colour that are no Lab."""
        of_color = len(self.color) if self.color.dtype != np.uint8 and len(self.color) != 3 else 0
        return of_color + (0 if self.bands is None else len(self.bands))

    @property
    def n_colors(self) -> int:
        """Channels of the colour."""
        return len(self.color) + (0 if self.bands is None else len(self.bands))

    @property
    def band_scale(self) -> np.float32:
        """What a stored band value is multiplied by as a colour, on the scale of L."""
        name = "" if self.bands is None else self.bands.dtype.name
        return np.float32(100 / {"uint8": 255, "uint16": 65535}.get(name, 1))

    def looked_up(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what kernels look single pixels up in: colour, bands (H, W, K), embeddings (h, w, D).

        Colour is (C, H, W) float32 or (H, W, 3) uint8; embeddings of float16 are their bits, int16.
        """
        nothing = np.zeros((*self.shape, 0), np.uint8)
        is_rgb = self.color.dtype == np.uint8
        embeddings = channels_last(self.embeddings)
        return (
            channels_last(self.color) if is_rgb else np.ascontiguousarray(self.color),
            nothing if self.bands is None else channels_last(self.bands),
            embeddings if embeddings.dtype == np.float32 else embeddings.view(np.int16),
        )

    def color_rows(self, top: int, bottom: int) -> tuple[Float32[np.ndarray, "channels rows width"], int]:
        """Return the colour of rows top..bottom-1 at least, and which row of the image its first is.

        That is all of it where it is stored as it is compared.
        """
        if self.color.dtype != np.uint8 and self.bands is None:
            return np.ascontiguousarray(self.color), 0
        parts = []
        if len(self.color):
            rows = self.color[:, top:bottom]
            parts.append(color_features(channels_last(rows)) if rows.dtype == np.uint8 else rows)
        if self.bands is not None:
            parts.append(self.bands[:, top:bottom].astype(np.float32) * self.band_scale)
        return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts)), top

    def boundary_rows(self, top: int, bottom: int) -> tuple[Float32[np.ndarray, "rows width"], int]:
        """Return the boundary probability of rows top..bottom-1 at least, and which row of the image its first is."""
        if self.boundary.shape == (1, 1) != self.shape:
            return np.full((bottom - top, self.shape[1]), self.boundary[0, 0], np.float32), top
        if self.boundary.dtype == np.float32:
            return np.ascontiguousarray(self.boundary), 0
        return self.boundary[top:bottom].astype(np.float32), top

    def strips(self) -> Iterator[tuple[int, int]]:
        """Yield the first row of each strip and the row after its last; an image that is not large is one strip.

        The first is a multiple of 8.
        """
        height, width = self.shape
        n_rows = max(STRIP_PIXELS // width // 8 * 8, 8) if is_large(self.shape) else height
        for top in range(0, height, n_rows):
            yield top, min(top + n_rows, height)


def is_large(shape: tuple[int, int]) -> bool:
    """Return whether an image has more than 2 megapixels: less is then kept of each pixel."""
    return shape[0] * shape[1] > _WHOLE_PIXELS


def precision(shape: tuple[int, int]) -> tuple[int, type[np.floating], type[np.floating]]:
    """Return how many pixels a side share a stored embedding, and the types of embeddings and of the other maps.

    The size of the image alone decides.
    """
    n_pixels = shape[0] * shape[1]
    if not is_large(shape):
        return 1, np.float32, np.float32
    if n_pixels <= _FINE_PIXELS:
        return 1, np.float16, np.float32
    return (2 if n_pixels <= 2 * _FINE_PIXELS else 4), np.float16, np.float16


def color_maps(
    pixels: Shaped[np.ndarray, "height width _"],
    bands: Shaped[np.ndarray, "height width _"] | None = None,
    valid: Bool[np.ndarray, "height width"] | None = None,
) -> PixelMaps:
    """Return the maps of colour alone, stored as the image's size asks for.

    pixels  RGB of bytes, or bands in 0..1, which then come before the others
    bands   further ones, or None
    """
    height, width = pixels.shape[:2]
    is_rgb, has_bands = pixels.dtype == np.uint8 and pixels.shape[2] == 3, bands is not None and bands.shape[2] > 0
    if not is_rgb:
        bands = np.concatenate([pixels, to_unit(bands)], axis=2) if bands is not None and has_bands else pixels
    maps = PixelMaps(
        color=(pixels if is_rgb else np.zeros((height, width, 0), np.uint8)).transpose(2, 0, 1),
        boundary=np.zeros((1, 1), np.float32),
        embeddings=np.zeros((0, height, width), np.float32),
        bands=None if bands is None or (is_rgb and not has_bands) else bands.transpose(2, 0, 1),
        valid=check_valid(valid, (height, width)),
    )
    return maps if is_large(maps.shape) else replace(maps, color=maps.color_rows(0, height)[0], bands=None)


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


def as_half(values: Float32[np.ndarray, "..."]) -> Float16[np.ndarray, "..."]:
    """Return values as float16, as values.astype(np.float16) does."""
    flat = np.ascontiguousarray(values).ravel()
    half = np.empty(flat.size, np.uint16)
    to_half(flat, flat.view(np.int32), half)
    return half.view(np.float16).reshape(values.shape)


def halved_pixels(
    values: Shaped[np.ndarray, "height width bands"], valid: Bool[np.ndarray, "height width"] | None = None
) -> Shaped[np.ndarray, "h w bands"]:
    """Return the means of 2 x 2 valid pixels, of the type of the values; the last line of an odd side counts twice."""
    height, width, n = values.shape
    half = np.empty((-(-height // 2), -(-width // 2), n), values.dtype)
    rounding = 0.0 if values.dtype.kind == "f" else 0.5
    nothing = np.zeros((0, 0), np.bool_)

    def halve_strip(_: int, top: int) -> None:
        rows = slice(top, top + _ROWS)
        counted = nothing if valid is None else valid[rows]
        halve(values[rows], counted, rounding, half[top // 2 : (top + _ROWS) // 2])

    if n:  # numba would compile anew for arrays of nothing
        in_threads(halve_strip, range(0, height, _ROWS))
    return half


def _coarse(shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return height and width of what holds one value for stride x stride pixels."""
    return -(-shape[0] // stride), -(-shape[1] // stride)
