"""numba kernels of batch normalisation after a ReLU, and of its gradient: each passes once over memory.

Sums are of float32 over few rows and then of float64, so that they do not lose digits on large images.
"""

import numpy as np
from numba import types
from numba.extending import overload

from supercuts.core.compiled import sum_kernel

_ROWS = 256


def _value(x):
    """Return an element of rows as float32: within kernels alone."""
    raise NotImplementedError


@overload(_value, inline="always")
def _value_of(x):
    if isinstance(x, types.Integer):
        return lambda x: np.int32(np.int32(x) << np.int32(16)).view(np.float32)
    return lambda x: x


def _as(value, like):
    """Return a float32 as an element of the rows that `like` is from, to even where two are as near."""
    raise NotImplementedError


@overload(_as, inline="always")
def _as_like(value, like):
    if not isinstance(like, types.Integer):
        return lambda value, like: value

    def rounded(value, like):
        bits = np.float32(value).view(np.int32)
        return np.int16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))

    return rounded


@sum_kernel
def moments(x, floor, center, out):
    """Set out (2, C) float64 to the sums of max(x, floor) - center and of its squares."""
    n_rows, n_channels = x.shape
    part = np.empty((2, n_channels), np.float32)
    out[:] = 0
    for start in range(0, n_rows, _ROWS):
        part[:] = 0
        for p in range(start, min(start + _ROWS, n_rows)):
            row = x[p]
            for c in range(n_channels):
                value = _value(row[c])
                value = (floor if value < floor else value) - center[c]
                part[0, c] += value
                part[1, c] += value * value
        out += part


@sum_kernel
def scale(x, floor, center, factor, offset, out):
    """Set out (P, C), of float32 or bfloat16, to factor * (max(x, floor) - center) + offset."""
    for p in range(x.shape[0]):
        row, to = x[p], out[p]
        for c in range(x.shape[1]):
            value = _value(row[c])
            value = (floor if value < floor else value) - center[c]  # what is no number stays so
            to[c] = _as(value * factor[c] + offset[c], to[c])


@sum_kernel
def gradient_sums(gradient, x, floor, center, out):
    """Set out (2, C) float64 to the sums of gradient and of gradient * (max(x, floor) - center)."""
    n_rows, n_channels = x.shape
    part = np.empty((2, n_channels), np.float32)
    out[:] = 0
    for start in range(0, n_rows, _ROWS):
        part[:] = 0
        for p in range(start, min(start + _ROWS, n_rows)):
            row, given = x[p], gradient[p]
            for c in range(n_channels):
                value, g = _value(row[c]), _value(given[c])
                part[0, c] += g
                part[1, c] += g * ((floor if value < floor else value) - center[c])
        out += part


@sum_kernel
def differentiate(gradient, x, floor, center, of_gradient, of_x, offset, out):
    """Set out (P, C) to of_gradient * gradient + of_x * (x - center) + offset; to 0 where x is not above floor."""
    zero = np.float32(0)
    for p in range(x.shape[0]):
        row, given, to = x[p], gradient[p], out[p]
        for c in range(x.shape[1]):
            value = _value(row[c])
            g = of_gradient[c] * _value(given[c]) + of_x[c] * (value - center[c]) + offset[c]
            to[c] = _as(zero if value <= floor else g, to[c])
