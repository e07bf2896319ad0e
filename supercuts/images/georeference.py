"""Georeference of an image: affine transform and coordinate reference system."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer

from supercuts.core.errors import ImageWarning, InputError

Affine = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Georeference:
    """Affine transform from pixels to map coordinates, and their coordinate reference system.

    transform  a b c d e f: the corner (x, y) lies at (a x + b y + c, d x + e y + f)
    crs        coordinate reference system as "EPSG:32632" or WKT, or None if unknown
    """

    transform: Affine = (1, 0, 0, 0, 1, 0)
    crs: str | None = None

    def __post_init__(self) -> None:
        """Raise InputError if the transform maps pixels to no area, or if the crs is not text."""
        transform = tuple(float(number) for number in self.transform)
        a, b, _, d, e, _ = (*transform, *(0,) * 6)[:6]
        if len(transform) != 6 or not all(map(math.isfinite, transform)) or a * e == b * d:
            raise InputError(
                f"transform={transform} places no pixels: give six finite numbers a b c d e f with a e != b d, which "
                "place the corner (x, y) at (a x + b y + c, d x + e y + f)."
            )
        if self.crs is not None and not (isinstance(self.crs, str) and self.crs.strip()):
            raise InputError(f'crs={self.crs!r} is not text: give "EPSG:" and a number, or WKT, or None.')
        object.__setattr__(self, "transform", transform)

    @property
    def is_mirrored(self) -> bool:
        """Whether a clockwise turn in pixels is also clockwise in map coordinates (x right, y up)."""
        a, b, _, d, e, _ = self.transform
        return a * e - b * d > 0

    def place(self, corners: Integer[np.ndarray, "corners 2"]) -> Float64[np.ndarray, "corners 2"]:
        """Return the map coordinates (x, y) of pixel corners; equal corners give equal coordinates."""
        a, b, c, d, e, f = self.transform
        x, y = corners.T.astype(np.float64)
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def fit_points(
    pixels: Float64[np.ndarray, "points 2"], places: Float64[np.ndarray, "points 2"], crs: str | None, name: str
) -> Georeference | None:
    """Return the affine map that fits ground control points (x, y) best; warn if it misses one by over half a pixel.

    Return None, with a warning, if the points lie on a line or are fewer than three.
    """
    columns = np.column_stack([pixels, np.ones(len(pixels))])
    solution, _, rank, _ = np.linalg.lstsq(columns, places, rcond=None)
    (a, d), (b, e), (c, f) = solution.tolist() if rank == 3 else [(0.0, 0.0)] * 3
    if a * e == b * d:
        message = f"{name}: {len(pixels)} ground control points determine no transform. The image is read without one."
        warnings.warn(message, ImageWarning, stacklevel=2)
        return None
    missed = np.linalg.solve(np.array([[a, b], [d, e]]), (columns @ solution - places).T)
    if np.abs(missed).max() > 0.5:
        warnings.warn(
            f"{name}: an affine transform misses its ground control points by up to {np.abs(missed).max():.1f} pixels. "
            "Rectify the image first, for example by gdalwarp -tps.",
            ImageWarning,
            stacklevel=2,
        )
    return Georeference((a, b, c, d, e, f), crs)
