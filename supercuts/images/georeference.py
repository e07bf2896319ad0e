"""Where on Earth the pixels of an image lie.

In   an image as read_image and read_bands take it; of a GeoTIFF its tags alone are read
Out  Georeference: pixel corners to map coordinates, and the coordinate reference system; None of other images
Not  no resampling, no change of coordinate reference system; none is looked up, that is done where one is written
"""

import importlib.util
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer

from supercuts.core.errors import InputError

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274
_CODE_OF_MODEL = {1: "ProjectedCSTypeGeoKey", 2: "GeographicTypeGeoKey"}
_USER_DEFINED = 32767  # the system is described by keys of its own
_PIXEL_IS_POINT = 2  # coordinates are those of a pixel's middle

Affine = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Georeference:
    """An affine map and what its coordinates mean.

    transform  a b c d e f: the corner (x, y) lies at (a x + b y + c, d x + e y + f)
    crs        coordinate reference system as "EPSG:32632" or WKT, or None where it is not known
    """

    transform: Affine = (1, 0, 0, 0, 1, 0)
    crs: str | None = None

    def __post_init__(self) -> None:
        """Refuse what maps pixels to no area."""
        transform = tuple(float(number) for number in self.transform)
        a, b, _, d, e, _ = (*transform, *(0,) * 6)[:6]
        if len(transform) != 6 or not all(map(math.isfinite, transform)) or a * e == b * d:
            raise InputError(
                f"transform={transform} places no pixels: give six finite numbers a b c d e f with a e != b d, which "
                "place the corner (x, y) at (a x + b y + c, d x + e y + f)."
            )
        if self.crs is not None and not (isinstance(self.crs, str) and self.crs.strip()):
            raise InputError(f'crs={self.crs!r} is no text: give "EPSG:" and a number, or WKT, or None.')
        object.__setattr__(self, "transform", transform)

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


def find_georeference(source: object, shape: tuple[int, int]) -> Georeference | None:
    """Return where the (H, W) pixels of a GeoTIFF lie; None of any other image, or where its tags do not say.

    A reference system that has no EPSG number is read by rasterio; without rasterio the answer is None, because a map
    without its system would be taken for another.
    """
    if not isinstance(source, str | os.PathLike) or not _is_tiff(Path(os.fsdecode(source))):
        return None
    import tifffile  # slow to import

    path = Path(os.fsdecode(source))
    try:
        with tifffile.TiffFile(path) as tiff:
            page: Any = tiff.pages.first
            is_upright = int(page.tags.valueof(_ORIENTATION, default=1)) == 1  # else pixels were turned when read
            keys = page.geotiff_tags if page.is_geotiff else {}
            found = (page.imagelength, page.imagewidth)
        transform = _transform_of(keys)
        if transform is None or not is_upright or found != shape:
            return None
        code = _epsg_of(keys)
        return _read_by_rasterio(path) if code is None else Georeference(transform, f"EPSG:{code}")
    except Exception:  # damaged tags raise nearly any type, and do not spoil the picture
        return None


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in _TIFF_STARTS
    except OSError:  # gone since it was read
        return False


def _transform_of(keys: dict[str, Any]) -> Affine | None:
    """Return the affine map of the tags, of pixel corners."""
    if "ModelTransformation" in keys:
        m = np.ravel(keys["ModelTransformation"]).tolist()
        a, b, c, d, e, f = (m[i] for i in (0, 1, 3, 4, 5, 7))
    elif "ModelPixelScale" in keys and "ModelTiepoint" in keys:
        (a, e), (i, j, _, x, y) = keys["ModelPixelScale"][:2], np.ravel(keys["ModelTiepoint"])[:5].tolist()
        b, d, e = 0.0, 0.0, -abs(e)  # a height of pixels without sign: rows go down, as GDAL has it
        c, f = x - i * a, y - j * e
    else:
        return None
    if keys.get("GTRasterTypeGeoKey") == _PIXEL_IS_POINT:
        c, f = c - (a + b) / 2, f - (d + e) / 2
    return a, b, c, d, e, f


def _epsg_of(keys: dict[str, Any]) -> int | None:
    """Return the EPSG number of the reference system if that alone describes it."""
    code = int(keys.get(_CODE_OF_MODEL.get(int(keys.get("GTModelTypeGeoKey", 0)), ""), _USER_DEFINED))
    return None if code == _USER_DEFINED or "VerticalCSTypeGeoKey" in keys else code


def _read_by_rasterio(path: Path) -> Georeference | None:
    if importlib.util.find_spec("rasterio") is None:
        return None
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as file:
            return Georeference(tuple(file.transform)[:6], file.crs.to_string() if file.crs else None)
