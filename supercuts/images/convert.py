"""Convert a Raster to the inputs of the stages: RGB bytes, bands in 0..1, stretched values, Lab colours."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from supercuts.core.checks import check_choice
from supercuts.core.errors import ImageError, InputError
from supercuts.images.formats.stored import STRETCH_REMEDY, Raster, check_type

STRETCHES = ("none", "percentile", "minmax")
_PERCENTILES = (0.1, 99.9)
_NARROW = 0.1  # share of its type's range below which an image is stretched
_SAMPLE = 1 << 20  # values examined to decide on a stretch; larger images are subsampled by rows and columns
_STRIP_PIXELS = 1 << 17  # pixels converted at a time; an image may be wide
_ROUNDING = 1e-6  # accepted excess beyond 0..1: rounding error
# IEC 61966-2-1: linear sRGB to XYZ, and the D65 white of the 2 degree observer
_XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_CURVE_STEPS = 8192  # linear interpolation is then within 2e-3 of Lab everywhere

Stored = (
    UInt8[np.ndarray, "height width bands"]
    | UInt16[np.ndarray, "height width bands"]
    | Float32[np.ndarray, "height width bands"]
)


def to_rgb(raster: Raster) -> UInt8[np.ndarray, "height width 3"]:
    """Return RGB bytes: repeat grey, blend transparency over white, scale 16-bit and float values to 0..255.

    RGB bytes are returned unchanged. Raise ImageError if there are not 1 or 3 channels, or if the type of the values
    has no fixed range.
    """
    values = raster.values[..., :3] if raster.is_rgb else raster.values
    if values.shape[2] not in (1, 3):
        raise ImageError(
            f"{raster.name}: {values.shape[2]} samples a pixel; 1 (grey), 3 (RGB) or 4 (RGBA) are accepted. "
            "Choose 1 (grey) or 3 (RGB) of its bands."
        )
    check_range(raster)
    if values.dtype == np.uint8 and values.shape[2] == 3 and raster.alpha is None:
        return np.ascontiguousarray(values)
    rgb = np.empty((*raster.shape, 3), np.uint8)
    for rows in _strips(values):
        part = to_bytes(values[rows])
        if raster.alpha is not None:
            part = _over_white(part, to_bytes(raster.alpha[rows, :, None]))
        for channel in range(3):  # numpy repeats a last axis of 1 slowly
            rgb[rows][..., channel] = part[..., channel % part.shape[2]]
    return rgb


def to_bands(raster: Raster) -> Stored:
    """Return the bands in the smallest type that holds them, transparency as the last band; for pictures RGB bytes."""
    if raster.is_picture:
        return to_rgb(raster)
    values = raster.values
    if raster.alpha is not None:
        values = np.concatenate([values, raster.alpha[..., None]], axis=2)
    check_range(raster)
    return as_stored(values)


def as_stored(values: np.ndarray) -> Stored:
    """Return values that passed check_range as contiguous uint8, uint16 or float32 in 0..1."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u":
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    stored = np.empty(values.shape, np.float32)
    for rows in _strips(values):
        stored[rows] = np.clip(values[rows], 0, 1)
    return stored


def to_unit(values: Stored) -> Float32[np.ndarray, "height width bands"]:
    """Return uint8 and uint16 values scaled to 0..1, floats unchanged."""
    full = {"uint8": 255, "uint16": 65535}.get(values.dtype.name, 1)
    return values if full == 1 else values.astype(np.float32) / np.float32(full)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Return values that passed check_range, of any shape, scaled to 0..255."""
    kind, n_bytes = values.dtype.kind, values.dtype.itemsize
    if kind == "u" and n_bytes == 1:
        return values
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind == "u":
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    wide = values.astype(np.float32) if n_bytes < 4 else values  # float16 is too coarse for values up to 255
    scaled: np.ndarray = np.rint(np.clip(wide, 0, 1) * 255).astype(np.uint8)
    return scaled


def preview(bands: Stored) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture of the first three bands, or of the first in grey if there are fewer than three.

    Three uint8 bands are returned unchanged.

    >>> preview(np.array([[[0.0, 1.0]]], np.float32)).tolist()
    [[[0, 0, 0]]]
    """
    if bands.dtype == np.uint8 and bands.shape[2] == 3:
        return bands
    return to_rgb(Raster(bands[..., :3] if bands.shape[2] >= 3 else bands[..., :1]))


def check_range(raster: Raster) -> None:
    """Raise ImageError if the type of the values has no fixed range, or if valid floats lie outside 0..1."""
    check_type(raster.name, raster.values.dtype)
    _check_alpha(raster)
    if raster.values.dtype.kind != "f":
        return
    low, high = _extent(raster.values, raster.valid)
    _check_finite(raster.name, low, high)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        if raster.values.shape[2] not in (1, 3):
            remedy = "Save values divided by the highest possible value as float32"
        elif low < 0:
            remedy = "Undo its normalisation (times std, plus mean)"
        else:
            remedy = "Divide by 255, or by 65535 if 16-bit"
        raise ImageError(
            f"{raster.name}: float values span {low:g}..{high:g}, accepted are 0..1. {remedy}, {STRETCH_REMEDY}"
        )


def _check_alpha(raster: Raster) -> None:
    if raster.alpha is not None and raster.alpha.dtype.kind == "f":
        _check_finite(f"{raster.name}: transparency", *_extent(raster.alpha[..., None], None))


def _check_finite(name: str, low: float, high: float) -> None:
    if not np.isfinite(low) or not np.isfinite(high):
        raise ImageError(f"{name}: holds NaN or infinite values. Replace them first, for example by np.nan_to_num.")


def stretched(raster: Raster, method: str | None = None) -> tuple[Raster, str]:
    """Return the image with its values stretched to 0..65535, and a message about it; unchanged and "" if not needed.

    method  percentile (from the 0.1 to the 99.9 percentile of valid values), minmax, none; None: percentile if
            values have no fixed range or use less than a tenth of it, but none for 8-bit colours

    RGB channels are stretched together, so that colours keep their balance. All other channels are stretched
    separately.
    """
    if method is not None:
        check_choice("stretch", method, STRETCHES)
    dtype = raster.values.dtype
    if method == "none" or dtype.kind not in "uif" or (method is None and not _is_narrow(raster)):
        return raster, ""
    _check_alpha(raster)
    limits = _limits(raster, _PERCENTILES if method != "minmax" else (0, 100))
    values = np.empty(raster.values.shape, np.uint16)
    for rows in _strips(values):
        for channel, (low, high) in enumerate(limits.T):  # numpy is slow where the last axis is short
            part = raster.values[rows][..., channel].astype(np.float64)
            np.clip(part, low, high, out=part)
            part -= low
            part /= (high - low) or 1.0  # one value alone
            values[rows][..., channel] = np.rint(part * 65535)
    value_range = f"{limits[0].min():g}..{limits[1].max():g}"
    alpha = None if raster.alpha is None else _to_16_bits(raster.alpha)
    note = f"{raster.name}: values were stretched from {value_range} to the full range; "
    note += 'stretch="none" (--stretch none) leaves them unchanged.'
    return replace(raster, values=values, alpha=alpha), note


def _to_16_bits(alpha: np.ndarray) -> np.ndarray:
    full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    return np.rint(np.clip(alpha.astype(np.float64) / full, 0, 1) * 65535).astype(np.uint16)


def _full_range(dtype: np.dtype[Any]) -> float | None:
    """Return the value that stands for white in a type with a fixed range, or None if the type has no fixed range."""
    return 1.0 if dtype.kind == "f" else {"uint8": 255.0, "uint16": 65535.0}.get(dtype.name)


def _is_narrow(raster: Raster) -> bool:
    """Return whether values have no fixed range, or use less than a tenth of it without being constant.

    8-bit colours are never narrow: dark and hazy photographs use little of their range by intent.
    """
    dtype = raster.values.dtype
    if dtype.itemsize == 1 and dtype.kind == "u" and (raster.is_picture or raster.is_rgb):
        return False
    full = _full_range(dtype.newbyteorder("="))
    if full is None:
        return True
    if dtype.kind == "f":
        low, high = _extent(raster.values, raster.valid)
        if np.isfinite(low + high) and not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            return True
    limits = _limits(raster, _PERCENTILES)  # ignores single hot pixels
    return bool(0 < limits.max() - limits.min() < _NARROW * full)


def _limits(raster: Raster, percentiles: tuple[float, float]) -> np.ndarray:
    """Return the lower and upper percentile of the valid values for each channel, (2, C)."""
    step = _step(raster.values) if percentiles != (0, 100) else 1
    values, valid = raster.values[::step, ::step], _every(raster.valid, step)
    counted = values.reshape(-1, values.shape[2]) if valid is None else values[valid]
    if len(counted) == 0:
        counted = raster.values.reshape(-1, values.shape[2])
    is_joint = raster.is_rgb and values.shape[2] == 3
    limits = np.percentile(counted, percentiles, axis=None if is_joint else 0).astype(np.float64)
    flat = limits[0] == limits[1]
    if np.any(flat):  # fewer than one value in a thousand differs: use the extremes
        ends = np.percentile(counted, (0, 100), axis=None if is_joint else 0)
        limits = np.where(flat, ends, limits)
    return np.broadcast_to(limits.reshape(2, -1), (2, values.shape[2]))


def _strips(values: np.ndarray) -> Iterator[slice]:
    """Yield the rows of each strip."""
    height, width = values.shape[:2]
    n_rows = max(1, _STRIP_PIXELS // max(width, 1))
    for top in range(0, height, n_rows):
        yield slice(top, top + n_rows)


def _step(values: np.ndarray) -> int:
    return max(int(np.ceil(np.sqrt(values.size / _SAMPLE))), 1)


def _every(valid: np.ndarray | None, step: int) -> np.ndarray | None:
    return None if valid is None else valid[::step, ::step]


def _extent(values: np.ndarray, valid: np.ndarray | None) -> tuple[float, float]:
    """Return the lowest and highest valid value; 0 and 0 if no pixel is valid."""
    low, high = np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        for rows in _strips(values):
            part = values[rows]
            counted = part if valid is None else part[valid[rows]]
            if counted.size:
                # np.minimum keeps NaN, which Python's min may drop
                low, high = float(np.minimum(low, counted.min())), float(np.maximum(high, counted.max()))
    return (0.0, 0.0) if (low, high) == (np.inf, -np.inf) else (low, high)


def _over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha.astype(np.uint16)  # 255 * 255 + 127 still fits
    return ((color * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def rgb_to_lab(image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
    """Return CIE Lab under D65: L in 0..100, a and b about -108..98, accurate to 0.01.

    >>> rgb_to_lab(np.array([[[255, 255, 255]]], dtype=np.uint8)).round(1).tolist()[0][0][0]
    100.0
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"an image of shape {image.shape} and dtype {image.dtype} is not (H, W, 3) uint8: convert with read_image."
        )
    from supercuts.images import _kernels  # imports numba

    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    lab: np.ndarray = _kernels.lab_from_rgb(pixels, *lab_tables())
    return lab.reshape(image.shape)


def lab_tables() -> tuple[Float32[np.ndarray, "256"], Float32[np.ndarray, "3 3"], Float32[np.ndarray, " samples"]]:
    """Return the tables of the Lab kernels: linear light per byte, matrix from RGB to XYZ over white, the Lab curve."""
    mix = (np.array(_XYZ_FROM_RGB) / np.array(_WHITE)[:, None]).astype(np.float32)
    return _linear_light(), mix, _lab_curve()


def color_features(
    image: UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width bands"],
) -> Float32[np.ndarray, "bands height width"]:
    """Return the channels in which colours are compared: CIE Lab for RGB bytes, bands in 0..1 times 100 (like L).

    >>> color_features(np.full((1, 1, 2), 0.5, np.float32)).ravel().tolist()
    [50.0, 50.0]
    """
    color = rgb_to_lab(image) if image.dtype == np.uint8 else np.float32(100) * image
    return np.ascontiguousarray(color.transpose(2, 0, 1))


def oklch_to_rgb(lch: Float[np.ndarray, "colors 3"]) -> UInt8[np.ndarray, "colors 3"]:
    """Return sRGB for OkLCh colours (lightness 0..1, chroma 0..0.4, hue in turns), clipped to the sRGB gamut.

    Follows Ottosson, "A perceptual color space for image processing" (2020).
    """
    lightness, chroma, turns = lch.astype(np.float64).T
    a, b = chroma * np.cos(2 * np.pi * turns), chroma * np.sin(2 * np.pi * turns)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=1,
    ).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb: np.ndarray = np.rint(encoded * 255).astype(np.uint8)
    return rgb


def _linear_light() -> Float32[np.ndarray, "256"]:
    value = np.arange(256) / 255
    return np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92).astype(np.float32)


def _lab_curve() -> Float32[np.ndarray, " samples"]:
    t = np.minimum(np.arange(_CURVE_STEPS + 2) / _CURVE_STEPS, 1)
    return np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116).astype(np.float32)
