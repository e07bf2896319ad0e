"""numba kernels of the objective: labels and softmax in one pass over the response, terms and gradient in another.

Each row is accessed as a view: loops over computed indices, which could be negative, are not vectorised.
"""

import numpy as np
from numba import types
from numba.extending import overload

from supercuts.core._kernels import _exp2
from supercuts.core.compiled import helper, sum_kernel

_LOG2_E = np.float32(1.4426950408889634)
_LEAST = np.float32(-126)  # 2 to a smaller power is not a normal number
_MANTISSA_BITS = np.int32(23)
_ALL_BUT_SIGN = np.int32(0x7FFFFFFF)


@helper
def _in_order(bits):
    """Convert the bits of a float32 to an integer with the same sort order, and back."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & _ALL_BUT_SIGN))


@sum_kernel
def classify(response, bits, soft, labels):
    """Set labels (P,) to the class of highest response, soft (P, K) to the softmax, accurate to 1e-6.

    bits (P, K) int32 are the bits of the response (P, K) float32: the maximum of integers is vectorised.
    """
    n_pixels, n_classes = response.shape
    for p in range(n_pixels):
        r, b, s = response[p], bits[p], soft[p]
        highest = _in_order(b[0])
        for k in range(n_classes):
            highest = max(highest, _in_order(b[k]))
        of_top = _in_order(highest)
        top = np.int32(of_top).view(np.float32)
        label, total = np.int32(n_classes), np.float32(0)
        for k in range(n_classes):
            label = min(label, np.int32(k) if b[k] == of_top else np.int32(n_classes))
            x = max((r[k] - top) * _LOG2_E, _LEAST)
            whole = np.rint(x)  # the remainder lies in -0.5..0.5, where the polynomial holds
            x -= whole
            power = _exp2(x)
            s[k] = np.int32(power.view(np.int32) + (np.int32(whole) << _MANTISSA_BITS)).view(np.float32)
            total += s[k]
        labels[p] = label
        for k in range(n_classes):
            s[k] /= total


@sum_kernel
def differentiate(
    response, soft, labels, targets, weights, height, width, step_y, step_x, largest, smallest, top, low, pixels
):
    """Return the sums over `pixels` (start, stop) of weighted cross-entropy, |differences| along y and along x.

    `soft` is overwritten by the gradient. step_y and step_x are the gradients of a unit difference; if both are 0, so
    are the sums of differences. Per pixel, the objective adds `top` times the share of class `largest` and subtracts
    `low` times the share of `smallest`.
    """
    n_classes = response.shape[1]
    entropy, total_y, total_x = 0.0, 0.0, 0.0
    unit = response[0, 0] - response[0, 0] + 1  # has the type of the response: a float64 constant would widen the loops
    zero = unit - unit
    continues = step_y != 0 or step_x != 0
    for p in range(pixels[0], pixels[1]):
        y, x = p // width % height, p % width
        r, g = response[p], soft[p]
        # at the border a pixel is its own neighbour, so the difference and its sign are 0
        up, down = response[p - width if y > 0 else p], response[p + width if y < height - 1 else p]
        left, right = response[p - 1 if x > 0 else p], response[p + 1 if x < width - 1 else p]
        target, label = targets[p], labels[p]
        entropy += weights[p] * (r[label] - np.log(g[label]) - r[target])
        share_top, share_low = top * g[largest], low * g[smallest]
        scale = unit * (weights[p] - share_top + share_low)
        sum_y, sum_x = zero, zero
        # neighbours are most of the work, so ignore them if they have no weight
        for k in range(n_classes if continues else 0):
            below, above = down[k] - r[k], r[k] - up[k]
            after, before = right[k] - r[k], r[k] - left[k]
            sum_y += abs(below)
            sum_x += abs(after)
            sign_y = (unit if above > 0 else zero) - (unit if above < 0 else zero)
            sign_y += (unit if below < 0 else zero) - (unit if below > 0 else zero)
            sign_x = (unit if before > 0 else zero) - (unit if before < 0 else zero)
            sign_x += (unit if after < 0 else zero) - (unit if after > 0 else zero)
            g[k] = scale * g[k] + step_y * sign_y + step_x * sign_x
        for k in range(0 if continues else n_classes):
            g[k] *= scale
        total_y += sum_y
        total_x += sum_x
        g[target] -= weights[p]
        g[largest] += share_top
        g[smallest] -= share_low
    return entropy, total_y, total_x


_ROWS = 256


def _value(x):
    """Return an element of rows as float32; works only within kernels."""
    raise NotImplementedError


@overload(_value, inline="always")
def _value_of(x):
    if isinstance(x, types.Integer):
        return lambda x: np.int32(np.int32(x) << np.int32(16)).view(np.float32)
    return lambda x: x


def _as(value, like):
    """Return a float32 converted to the element type of `like`; ties round to even."""
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
            value = (floor if value < floor else value) - center[c]  # NaN stays NaN
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
            row, gradient_row = x[p], gradient[p]
            for c in range(n_channels):
                value, g = _value(row[c]), _value(gradient_row[c])
                part[0, c] += g
                part[1, c] += g * ((floor if value < floor else value) - center[c])
        out += part


@sum_kernel
def differentiate_normalised(gradient, x, floor, center, of_gradient, of_x, offset, out):
    """Set out (P, C) to of_gradient * gradient + of_x * (x - center) + offset; to 0 where x is not above floor."""
    zero = np.float32(0)
    for p in range(x.shape[0]):
        row, gradient_row, to = x[p], gradient[p], out[p]
        for c in range(x.shape[1]):
            value = _value(row[c])
            g = of_gradient[c] * _value(gradient_row[c]) + of_x[c] * (value - center[c]) + offset[c]
            to[c] = _as(zero if value <= floor else g, to[c])
