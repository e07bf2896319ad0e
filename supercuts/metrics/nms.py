"""Non-maximum suppression of soft boundary maps, as edge detectors do it before the BSDS500 benchmark.

In   boundary strength (H, W)
Out  the same where it is a maximum across the boundary, else 0
Not  no thresholds, no thinning (boundary.py thins every map that it scores)
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError


def suppress_non_maxima(
    strength: Float[np.ndarray, "height width"], radius_px: int = 1, margin_px: int = 5, tolerance: float = 1.01
) -> Float[np.ndarray, "height width"]:
    """Keep boundary strength where nothing within radius_px across the boundary is `tolerance` times as strong.

    The orientation comes from second derivatives of the map smoothed by a triangle of radius 4; neighbours are
    interpolated linearly. What is kept is the map smoothed by a triangle of radius 1, faded out linearly over the outer
    margin_px pixels, where the orientation is unreliable. Source: edgesNms of Dollar and Zitnick, Fast Edge Detection
    Using Structured Forests (PAMI 2015).

    A ridge of three columns keeps its crest, which the smoothing has lowered:

    >>> strength = np.zeros((20, 21))
    >>> strength[:, 9:12] = 0.4, 0.8, 0.4
    >>> suppress_non_maxima(strength)[10, 8:13].round(2).tolist()
    [0.0, 0.0, 0.6, 0.0, 0.0]
    """
    check_in_range("radius_px", radius_px, 1, 100, remedy="1 is usual.")
    if strength.size == 0 or not np.isfinite(strength).all():
        raise InputError(f"strength of shape {strength.shape} is empty or holds NaN or infinity: give finite values.")
    smooth = _smooth(strength.astype(np.float64), 1)
    angle = _across(smooth)
    rows, columns = np.ogrid[: strength.shape[0], : strength.shape[1]]
    is_maximum = np.ones(strength.shape, bool)
    for step in (*range(-radius_px, 0), *range(1, radius_px + 1)):
        places = np.stack([rows + step * np.sin(angle), columns + step * np.cos(angle)])
        is_maximum &= smooth * tolerance >= scipy.ndimage.map_coordinates(smooth, places, order=1, mode="nearest")
    height, width = strength.shape
    kept: np.ndarray = np.where(is_maximum, smooth, 0) * _fade(height, margin_px)[:, None] * _fade(width, margin_px)
    return kept.astype(strength.dtype)


def _across(smooth: np.ndarray) -> np.ndarray:
    """Return the angle across the boundary at each pixel, from the x axis towards growing rows."""
    by_row, by_column = _gradient(_smooth(smooth, 4))
    row_row, row_column = _gradient(by_row)
    _, column_column = _gradient(by_column)
    # a sign of 0 would turn the angle of an exactly horizontal boundary by 90 degrees
    turned = np.where(row_column > 0, -row_row, row_row)
    angle: np.ndarray = np.mod(np.arctan(turned / (column_column + 1e-5)), np.pi)
    return angle


def _smooth(values: np.ndarray, radius_px: int) -> np.ndarray:
    side = np.arange(1.0, radius_px + 1)
    weights = np.concatenate([side, [radius_px + 1], side[::-1]])
    weights /= weights.sum()
    by_row: np.ndarray = scipy.ndimage.correlate1d(values, weights, axis=0, mode="reflect")
    both: np.ndarray = scipy.ndimage.correlate1d(by_row, weights, axis=1, mode="reflect")
    return both


def _gradient(values: np.ndarray) -> list[np.ndarray]:
    # numpy's needs two values on each axis; a line of one pixel does not change along itself
    return [np.gradient(values, axis=axis) if n > 1 else np.zeros_like(values) for axis, n in enumerate(values.shape)]


def _fade(length: int, margin_px: int) -> np.ndarray:
    """Return (length,) factors that rise from 0 at both ends to 1 at margin_px, or half the length if that is less."""
    margin = max(min(margin_px, length // 2), 1)
    place = np.arange(length)
    factors: np.ndarray = np.minimum(np.minimum(place, length - 1 - place) / margin, 1)
    return factors
