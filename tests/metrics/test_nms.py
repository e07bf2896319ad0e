import math

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as draw_arrays

from supercuts.core.errors import InputError
from supercuts.metrics.nms import suppress_non_maxima

maps = draw_arrays(
    np.float64, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 1, allow_subnormal=False)
)


def triangle(values, radius):
    weights = np.convolve(np.ones(radius + 1), np.ones(radius + 1)) / (radius + 1) ** 2
    return scipy.ndimage.convolve(values, np.outer(weights, weights), mode="reflect")


def suppress_step_by_step(strength, radius=1, margin=5, tolerance=1.01):
    """Return the same, one pixel at a time."""
    height, width = strength.shape
    smooth = triangle(strength, 1)
    oy, ox = np.gradient(triangle(smooth, 4))
    oxx = np.gradient(ox, axis=1)
    oyy, oxy = np.gradient(oy)
    out = np.zeros_like(smooth)
    for y in range(height):
        for x in range(width):
            angle = math.atan(oyy[y, x] * np.sign(-oxy[y, x]) / (oxx[y, x] + 1e-5)) % math.pi
            beaten = False
            for d in range(-radius, radius + 1):
                py = min(max(y + d * math.sin(angle), 0), height - 1)
                px = min(max(x + d * math.cos(angle), 0), width - 1)
                y0, x0 = min(int(py), height - 2), min(int(px), width - 2)
                fy, fx = py - y0, px - x0
                near = smooth[y0 : y0 + 2, x0 : x0 + 2]
                value = np.array([1 - fy, fy]) @ near @ np.array([1 - fx, fx])
                beaten |= d != 0 and smooth[y, x] * tolerance < value - 1e-12
            ends = [min(y, height - 1 - y) / min(margin, height // 2), min(x, width - 1 - x) / min(margin, width // 2)]
            out[y, x] = 0 if beaten else smooth[y, x] * min(ends[0], 1) * min(ends[1], 1)
    return out


@pytest.mark.parametrize("radius", [1, 2])
def test_suppression_matches_one_pixel_at_a_time(radius):
    noise = np.random.default_rng(0).normal(size=(23, 31))
    strength = np.abs(scipy.ndimage.gaussian_filter(noise, 2))
    ours = suppress_non_maxima(strength, radius)
    np.testing.assert_allclose(ours, suppress_step_by_step(strength, radius), atol=1e-12)
    assert 0.05 < (ours > 0).mean() < 0.6


@given(maps)
def test_suppression_adds_nothing(strength):
    kept = suppress_non_maxima(strength)
    assert kept.shape == strength.shape
    assert kept.dtype == strength.dtype
    assert kept.min() >= 0
    assert (kept <= triangle(strength, 1) + 1e-12).all()


@pytest.mark.parametrize("angle_deg", [0, 30, 45, 90, 120])
def test_a_ridge_becomes_a_thin_line(angle_deg):
    rows, columns = np.mgrid[-20:21, -20:21]
    across = rows * math.cos(math.radians(angle_deg)) + columns * math.sin(math.radians(angle_deg))
    strength = np.exp(-((across / 2) ** 2))
    kept = suppress_non_maxima(strength) > 0.01  # far away the map is flat: no orientation
    middle = np.hypot(rows, columns) < 12
    assert (np.abs(across[kept & middle]) < 1).all()
    assert kept[middle & (np.abs(across) < 0.3)].mean() > 0.9


@pytest.mark.parametrize(
    ("strength", "radius", "remedy"),
    [
        (np.array([[0.0, np.nan]]), 1, "give finite values"),
        (np.zeros((0, 3)), 1, "give finite values"),
        (np.zeros((3, 3)), 0, "1 is usual"),
    ],
)
def test_bad_inputs_are_refused(strength, radius, remedy):
    with pytest.raises(InputError, match=remedy):
        suppress_non_maxima(strength, radius)
