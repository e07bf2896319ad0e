"""numba helpers that look single pixels up, however their maps are stored.

In   what PixelMaps.looked_up gives: colour as float32 (C, H, W) or RGB bytes (H, W, 3); bands (H, W, K); embeddings
     (h, w, D) as float32 or bits of float16; the scales of colour, position and bands, and the embeddings' stride
Out  numbers, within kernels alone
Not  no loops over pixels
"""

import numpy as np
from numba import types
from numba.extending import overload

from supercuts.core._kernels_half import _as_number
from supercuts.core.compiled import fast_helper, inlined_helper


@fast_helper
def _lab(red, green, blue, tables, out):
    """Set out (3,) to Lab of bytes, to the last bit as images._kernels.lab_from_rgb."""
    linear, mix, curve = tables
    n_steps = np.float32(curve.size - 2)
    red, green, blue = linear[red], linear[green], linear[blue]
    x = (mix[0, 0] * red + mix[0, 1] * green + mix[0, 2] * blue) * n_steps
    y = (mix[1, 0] * red + mix[1, 1] * green + mix[1, 2] * blue) * n_steps
    z = (mix[2, 0] * red + mix[2, 1] * green + mix[2, 2] * blue) * n_steps
    i, j, k = np.int32(x), np.int32(y), np.int32(z)
    fx = curve[i] + (x - np.float32(i)) * (curve[i + 1] - curve[i])
    fy = curve[j] + (y - np.float32(j)) * (curve[j + 1] - curve[j])
    fz = curve[k] + (z - np.float32(k)) * (curve[k + 1] - curve[k])
    out[0] = np.float32(116) * fy - np.float32(16)
    out[1] = np.float32(500) * (fx - fy)
    out[2] = np.float32(200) * (fy - fz)


def _set_color(color, y, x, tables, out):
    """Set the start of out to the colour of a pixel; return how many channels that are."""
    raise NotImplementedError


@overload(_set_color, inline="always")
def _set_color_of_its_type(color, y, x, tables, out):
    if isinstance(color.dtype, types.Integer):

        def from_rgb(color, y, x, tables, out):
            if color.shape[2] > 0:
                _lab(np.int64(color[y, x, 0]), np.int64(color[y, x, 1]), np.int64(color[y, x, 2]), tables, out)
            return color.shape[2]

        return from_rgb

    def from_numbers(color, y, x, tables, out):
        for c in range(color.shape[0]):
            out[c] = color[c, y, x]
        return color.shape[0]

    return from_numbers


@inlined_helper
def _look_up(y, x, maps, scales, tables, out):
    """Set out (C,) to the SSN features of a pixel: scaled colour, position, embedding."""
    color, bands, embeddings = maps
    color_scale, position_scale, band_scale, stride = scales
    at = _set_color(color, y, x, tables, out)
    for c in range(at):
        out[c] = color_scale * out[c]
    for c in range(bands.shape[2]):
        out[at + c] = color_scale * (np.float32(bands[y, x, c]) * band_scale)
    at += bands.shape[2]
    row, column = y, x
    if stride > 1:  # divisions would take longer than all the rest
        row, column = y // stride, x // stride
    out[at] = np.float32(y) * position_scale
    out[at + 1] = np.float32(x) * position_scale
    for c in range(embeddings.shape[2]):
        out[at + 2 + c] = _as_number(embeddings[row, column, c])


def _color_distance(color, y, x, scale, tables, lab, centers, label):
    """Return the squared distance of a pixel's scaled colour to the start of a centre; lab (3,) is scratch."""
    raise NotImplementedError


@overload(_color_distance, inline="always")
def _color_distance_of_its_type(color, y, x, scale, tables, lab, centers, label):
    if isinstance(color.dtype, types.Integer):

        def from_rgb(color, y, x, scale, tables, lab, centers, label):
            total = 0.0
            if color.shape[2] > 0:
                _lab(np.int64(color[y, x, 0]), np.int64(color[y, x, 1]), np.int64(color[y, x, 2]), tables, lab)
            for c in range(color.shape[2]):
                d = scale * lab[c] - centers[label, c]
                total += d * d
            return total

        return from_rgb

    def from_numbers(color, y, x, scale, tables, lab, centers, label):
        total = 0.0
        for c in range(color.shape[0]):
            d = scale * color[c, y, x] - centers[label, c]
            total += d * d
        return total

    return from_numbers


@inlined_helper
def _squared_distance(y, x, label, maps, scales, tables, centers, lab):
    """Return the squared distance of a pixel's SSN features, those of _look_up, to a centre; lab (3,) is scratch."""
    color, bands, embeddings = maps
    color_scale, position_scale, band_scale, stride = scales
    total = _color_distance(color, y, x, color_scale, tables, lab, centers, label)
    at = centers.shape[1] - embeddings.shape[2] - 2
    for c in range(bands.shape[2]):
        k = at - bands.shape[2] + c
        d = color_scale * (np.float32(bands[y, x, c]) * band_scale) - centers[label, k]
        total += d * d
    d = np.float32(y) * position_scale - centers[label, at]
    total += d * d
    d = np.float32(x) * position_scale - centers[label, at + 1]
    total += d * d
    row, column = y, x
    if stride > 1:
        row, column = y // stride, x // stride
    for c in range(embeddings.shape[2]):
        d = _as_number(embeddings[row, column, c]) - centers[label, at + 2 + c]
        total += d * d
    return total
