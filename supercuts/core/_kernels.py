"""Compiled functions that several stages share: float16 (numpy is ten times slower), union-find, an exponential."""

import numpy as np
from numba import types
from numba.extending import overload

from supercuts.core.compiled import helper, inlined_helper, kernel


@kernel
def to_half(values, bits, out):
    """Set out (P,) uint16 to the bits of values (P,) float32 rounded to float16, ties to even.

    bits (P,) int32 are the bits of the values.
    """
    for i in range(values.size):
        magnitude = bits[i] & np.int32(0x7FFFFFFF)
        sign = (bits[i] >> np.int32(16)) & np.int32(0x8000)
        odd = (magnitude >> np.int32(13)) & np.int32(1)
        half = (magnitude - np.int32(112 << 23) + np.int32(0xFFF) + odd) >> np.int32(13)
        if magnitude < np.int32(113 << 23):  # subnormal: a multiple of 2**-24
            half = np.int32(np.rint(min(abs(values[i]), np.float32(1)) * np.float32(1 << 24)))
        if magnitude >= np.int32(143 << 23):
            half = np.int32(0x7E00) if magnitude > np.int32(0x7F800000) else np.int32(0x7C00)
        out[i] = sign | half


@helper
def _from_half(bits):
    """Return, as float32, the finite float16 whose bits are an int16."""
    # sign extension puts the sign in place; the exponent bias of float32 is 112 larger
    shifted = (np.int32(bits) << np.int32(13)) & np.int32(-0x70002000)
    return np.int32(shifted).view(np.float32) * np.float32(2.0**112)


@kernel
def from_half(bits, out):
    """Set out (P,) float32 to the finite float16 values whose bits are the int16 of bits (P,)."""
    for i in range(bits.size):
        out[i] = _from_half(bits[i])


def _as_number(value):
    """Return an element of a map (float32, or float16 bits as int16) as float32; callable in kernels only."""
    raise NotImplementedError


@overload(_as_number, inline="always")
def _as_number_of_its_type(value):
    if isinstance(value, types.Integer):
        return lambda value: _from_half(value)
    return lambda value: value


@helper
def _find(parents, node):
    """Return the root of a node in a forest of parents (union-find, path halving)."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@inlined_helper
def _exp2(x):
    """Return 2**x for a float32 by the polynomial of Cephes, to 1e-7 in -0.5..0.5 and to 6e-6 in 0..1."""
    power = np.float32(1.535336188319500e-4) * x + np.float32(1.339887440266574e-3)
    power = power * x + np.float32(9.618437357674640e-3)
    power = power * x + np.float32(5.550332471162809e-2)
    power = power * x + np.float32(2.402264791363012e-1)
    power = power * x + np.float32(6.931472028550421e-1)
    return np.float32(power * x + np.float32(1))
