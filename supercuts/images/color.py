"""Convert between sRGB and the perceptual colour spaces that the stages use.

In   pictures (H, W, 3) uint8 sRGB, or bands (H, W, C) float32; colours (N, 3) float OkLCh
Out  CIE Lab (H, W, 3) float32 under D65; the colour that superpixels compare (C, H, W); colours (N, 3) uint8 sRGB
Not  no I/O, no colour profiles, no way back from Lab
"""

import numpy as np
from jaxtyping import Float, Float32, UInt8

from supercuts.core.errors import InputError
from supercuts.images import _kernels

# IEC 61966-2-1: linear sRGB to XYZ, and the D65 white of the 2 degree observer
_XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_CURVE_STEPS = 8192  # linear interpolation is then within 2e-3 of Lab everywhere


def rgb_to_lab(image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
    """Return CIE Lab under D65: L in 0..100, a and b about -108..98, exact to 0.01.

    >>> rgb_to_lab(np.array([[[255, 255, 255]]], dtype=np.uint8)).round(1).tolist()[0][0][0]
    100.0
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"an image of shape {image.shape} and dtype {image.dtype} is not (H, W, 3) uint8: convert with read_image."
        )
    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    lab: np.ndarray = _kernels.lab_from_rgb(pixels, *lab_tables())
    return lab.reshape(image.shape)


def lab_tables() -> tuple[Float32[np.ndarray, "256"], Float32[np.ndarray, "3 3"], Float32[np.ndarray, " samples"]]:
    """Return what kernels compute Lab by: the light of each value, the mix to XYZ over white, the curve of Lab."""
    mix = (np.array(_XYZ_FROM_RGB) / np.array(_WHITE)[:, None]).astype(np.float32)
    return _linear_light(), mix, _lab_curve()


def color_features(
    image: UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width bands"],
) -> Float32[np.ndarray, "bands height width"]:
    """Return what is compared as colour: CIE Lab of RGB bytes; of bands in 0..1 100 times each, as L is.

    >>> color_features(np.full((1, 1, 2), 0.5, np.float32)).ravel().tolist()
    [50.0, 50.0]
    """
    color = rgb_to_lab(image) if image.dtype == np.uint8 else np.float32(100) * image
    return np.ascontiguousarray(color.transpose(2, 0, 1))


def oklch_to_rgb(lch: Float[np.ndarray, "colors 3"]) -> UInt8[np.ndarray, "colors 3"]:
    """Return sRGB of OkLCh colours (lightness 0..1, chroma 0..0.4, hue in turns); beyond sRGB is clipped.

    After Ottosson, "A perceptual color space for image processing" (2020).
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
