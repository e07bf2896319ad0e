"""Where on Earth the pixels of an image lie.

In   the path of a georeferenced image, the (H, W) that it must have
Out  Georeference: pixel corners to map coordinates, and the coordinate reference system
Not  no resampling, no change of coordinate reference system
"""

import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer

from supercuts.core.checks import check_installed
from supercuts.core.errors import FileFormatError, InputError


@dataclass(frozen=True, slots=True)
class Georeference:
    """An affine map and what its coordinates mean.

    transform  a b c d e f: the corner (x, y) lies at (a x + b y + c, d x + e y + f)
    crs        rasterio's CRS, or None
    """

    transform: tuple[float, float, float, float, float, float] = (1, 0, 0, 0, 1, 0)
    crs: Any = None

    @property
    def is_mirrored(self) -> bool:
        """Whether what is clockwise in pixels runs against the clock in coordinates with x right and y up, too."""
        a, b, _, d, e, _ = self.transform
        return a * e - b * d > 0

    def place(self, corners: Integer[np.ndarray, "corners 2"]) -> Float64[np.ndarray, "corners 2"]:
        """Return the map coordinates (x, y) of pixel corners; equal corners give equal coordinates."""
        a, b, c, d, e, f = self.transform
        x, y = corners.T.astype(np.float64)
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


PIXELS = Georeference()  # of an image that is not georeferenced


def read_georeference(path: str | os.PathLike[str], shape: tuple[int, int]) -> Georeference:
    """Return where the pixels of a file lie that rasterio reads, such as a GeoTIFF of the image that was segmented."""
    check_installed(("rasterio",), extra="export")
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # refused below
        try:
            with rasterio.open(path) as source:
                transform, crs, found = source.transform, source.crs, source.shape
        except rasterio.errors.RasterioIOError as error:
            raise FileFormatError(f"{path} is no image that rasterio reads ({error}). Give a GeoTIFF.") from error
    if found != shape:
        raise InputError(
            f"like={os.fspath(path)!r} has {found[0]} rows and {found[1]} columns, the hierarchy {shape[0]} and "
            f"{shape[1]}. Give the image that was segmented."
        )
    if transform.is_identity and crs is None:
        raise InputError(f"like={os.fspath(path)!r} is not georeferenced. Give a GeoTIFF with its transform.")
    return Georeference(tuple(transform)[:6], crs)
