"""PixelMaps: the per-pixel inputs of grouping, passed from a network to the region graph.

In   colour, a network's predictions for each pixel, the mask of valid pixels
Out  PixelMaps; rows of them as float32; arrays in the layout that kernels read
Not  networks, superpixels

Images of up to 2 megapixels are stored as float32. Larger ones are stored in fewer bytes: RGB instead of Lab,
embeddings as float16 and, in the largest images, one embedding for several pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float16, Float32, Shaped, UInt8

from supercuts.core._kernels import from_half, to_half
from supercuts.core.arrays import arrays_repr, channels_last
from supercuts.core.errors import InputError
from supercuts.core.threads import in_threads
from supercuts.images._kernels import halve
from supercuts.images.convert import color_features, to_unit

_WHOLE_PIXELS = 2_000_000  # pixels; images with more are large
STRIP_PIXELS = 1 << 20  # pixels in a strip of a large image, approximately
# images with more pixels store the mean embedding of 2 x 2 pixels (4 x 4 above twice this number) and the other maps
# as float16, because float32 would take 57 bytes per pixel
_FINE_PIXELS = 32_000_000
_ROWS = 256  # rows halved at once; even


@dataclass(frozen=True, slots=True, eq=False)
class PixelMaps:
    """Colour and predictions for each pixel of an image: the input of grouping.

    color       (C, H, W) float32  CIE Lab for RGB, else 100 times each of C bands (images.convert.color_features); or
                                   (3, H, W) uint8, RGB to be compared as Lab; or (0, H, W) if only `bands` count
    boundary    (H, W)             boundary probability, 0..1; or (1, 1): the same everywhere
    embeddings  (D, h, w)          learned channels, one value for embedding_stride x embedding_stride pixels; D = 0
                                   without a network. Fastest if laid out in memory as (h, w, D)

    Networks with region_channels also predict one value for region_stride x region_stride pixels:
    strength  (h, w)     share of annotators who draw a boundary nearby, 0..1
    regions   (R, h, w)  region embedding

    bands  (K, H, W)     uint8, uint16 or float32 in 0..1: further channels of colour
    valid  (H, W) bool   mask of the pixels that superpixels cover; None if all

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

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if the maps differ in size, because kernels do not check bounds."""
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
                    f"{name} {values.shape} do not fit color {self.color.shape}, which requires {shape} at the end: "
                    "give maps of one image."
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.color.shape[1:]
        return height, width

    @property
    def n_valid(self) -> int:
        """Number of valid pixels."""
        height, width = self.shape
        return height * width if self.valid is None else int(np.count_nonzero(self.valid))

    @property
    def n_bands(self) -> int:
        """Number of colour channels other than Lab."""
        of_color = len(self.color) if self.color.dtype != np.uint8 and len(self.color) != 3 else 0
        return of_color + (0 if self.bands is None else len(self.bands))

    @property
    def n_colors(self) -> int:
        """Number of colour channels."""
        return len(self.color) + (0 if self.bands is None else len(self.bands))

    @property
    def band_scale(self) -> np.float32:
        """Factor from a stored band value to a colour value in 0..100, the range of L."""
        name = "" if self.bands is None else self.bands.dtype.name
        return np.float32(100 / {"uint8": 255, "uint16": 65535}.get(name, 1))

    def looked_up(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the arrays that kernels read single pixels from: colour, bands (H, W, K), embeddings (h, w, D).

        Colour is (C, H, W) float32 or (H, W, 3) uint8. Embeddings stored as float16 are viewed as int16.
        """
        no_bands = np.zeros((*self.shape, 0), np.uint8)
        is_rgb = self.color.dtype == np.uint8
        embeddings = channels_last(self.embeddings)
        return (
            channels_last(self.color) if is_rgb else np.ascontiguousarray(self.color),
            no_bands if self.bands is None else channels_last(self.bands),
            embeddings if embeddings.dtype == np.float32 else embeddings.view(np.int16),
        )

    def color_rows(self, top: int, bottom: int) -> tuple[Float32[np.ndarray, "channels rows width"], int]:
        """Return the colour of at least the rows top..bottom-1, and the image row of the first row returned.

        If colour is stored as compared (no RGB bytes, no bands), the whole array is returned.
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
        """Return the boundary of at least the rows top..bottom-1, and the image row of the first row returned."""
        if self.boundary.shape == (1, 1) != self.shape:
            return np.full((bottom - top, self.shape[1]), self.boundary[0, 0], np.float32), top
        if self.boundary.dtype == np.float32:
            return np.ascontiguousarray(self.boundary), 0
        return self.boundary[top:bottom].astype(np.float32), top

    def strips(self) -> Iterator[tuple[int, int]]:
        """Yield the first row of each strip and the row after its last; an image that is not large is one strip.

        First rows are multiples of 8.
        """
        height, width = self.shape
        n_rows = max(STRIP_PIXELS // width // 8 * 8, 8) if is_large(self.shape) else height
        for top in range(0, height, n_rows):
            yield top, min(top + n_rows, height)


def is_large(shape: tuple[int, int]) -> bool:
    """Return whether an image has more than 2 megapixels, so that it is stored in fewer bytes per pixel."""
    return shape[0] * shape[1] > _WHOLE_PIXELS


def precision(shape: tuple[int, int]) -> tuple[int, type[np.floating], type[np.floating]]:
    """Return the stride of stored embeddings in pixels, their type, and the type of the other maps.

    They depend only on the size of the image.
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
    """Return maps with colour only, at a precision that depends on the size of the image.

    pixels  RGB as bytes; or bands in 0..1, which are put before `bands`
    bands   further bands, or None
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
    """Return the mask, or None if all pixels are valid.

    Raise InputError if its size or type does not fit the image, or if no pixel is valid.
    """
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
    """Return values as float16; the result equals values.astype(np.float16)."""
    flat = np.ascontiguousarray(values).ravel()
    half = np.empty(flat.size, np.uint16)
    to_half(flat, flat.view(np.int32), half)
    return half.view(np.float16).reshape(values.shape)


def as_single(values: Float16[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Return finite values as float32; the result equals values.astype(np.float32), which takes several times as long.

    The order of the axes in memory is that of the shape.
    """
    flat = np.ascontiguousarray(values).ravel()
    single = np.empty(flat.size, np.float32)
    from_half(flat.view(np.int16), single)
    return single.reshape(values.shape)


def halved_pixels(
    values: Shaped[np.ndarray, "height width bands"], valid: Bool[np.ndarray, "height width"] | None = None
) -> Shaped[np.ndarray, "h w bands"]:
    """Return the means of 2 x 2 valid pixels, in the type of `values`; the last line of an odd side counts twice."""
    height, width, n = values.shape
    half = np.empty((-(-height // 2), -(-width // 2), n), values.dtype)
    rounding = 0.0 if values.dtype.kind == "f" else 0.5
    no_mask = np.zeros((0, 0), np.bool_)

    def halve_strip(_: int, top: int) -> None:
        rows = slice(top, top + _ROWS)
        counted = no_mask if valid is None else valid[rows]
        halve(values[rows], counted, rounding, half[top // 2 : (top + _ROWS) // 2])

    if n:  # numba would compile the kernel again for an empty array
        in_threads(halve_strip, range(0, height, _ROWS))
    return half


def _coarse(shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return height and width of a map with one value for stride x stride pixels."""
    return -(-shape[0] // stride), -(-shape[1] // stride)
