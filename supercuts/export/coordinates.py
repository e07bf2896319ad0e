"""Coordinates of an export: pixels or map coordinates."""

import os
import re
from typing import Any

from supercuts.core.errors import FileFormatError, InputError
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference

PIXELS = Georeference()  # pixel coordinates, for images that are not georeferenced
_CODE = re.compile(r"(EPSG|ESRI|OGC|IGNF|IAU_2015|urn:ogc:def:crs):[\w.:+-]+|WGS84|WGS72|NAD27|NAD83", re.IGNORECASE)
_WKT = re.compile(
    r"\s*(GEOGCS|GEOCCS|PROJCS|VERT_CS|COMPD_CS|FITTED_CS|LOCAL_CS|(GEOD|GEODETIC|GEOG|GEOGRAPHIC|PROJ|PROJECTED|VERT|"
    r"VERTICAL|COMPOUND|ENG|ENGINEERING|BOUND|DERIVEDPROJ)CRS)\s*[\[(]",
    re.IGNORECASE,
)
_PROJ = re.compile(r"(\s*\+(?!init|\w*grids|\w*file)\w+(=[\w.,:-]*)?)+\s*")  # +init and grids name files
_REMEDY = 'Name the image that was segmented: like="scene.tif" (--like).'


def georeference_of(hierarchy: Hierarchy, like: str | os.PathLike[str] | None) -> Georeference:
    """Return the georeference of `like`; if None, that of the hierarchy, or PIXELS if it has none."""
    if like is not None:
        return read_georeference(like, hierarchy.shape)
    return hierarchy.georeference or PIXELS


def read_georeference(path: str | os.PathLike[str], shape: tuple[int, int]) -> Georeference:
    """Return the georeference of a file that rasterio reads, such as a GeoTIFF of the segmented image."""
    from supercuts.images.formats.tiff import read_map  # slow to import

    try:
        place, size = read_map(os.fspath(path))
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read by rasterio ({error}). Give a GeoTIFF.") from error
    if size != shape:
        raise InputError(
            f"like={os.fspath(path)!r} has {size[0]} rows and {size[1]} columns, the hierarchy {shape[0]} and "
            f"{shape[1]}. Give the image that was segmented."
        )
    if place is None:
        raise InputError(f"like={os.fspath(path)!r} is not georeferenced. Give a GeoTIFF with its transform.")
    return place


def epsg_number(crs: str) -> int | None:
    """Return the EPSG number of a coordinate reference system; for WKT, the best match, or None if there is none."""
    if number := re.fullmatch(r"EPSG:(\d+)", crs):
        return int(number[1])
    code = crs_of_rasterio(crs).to_epsg()
    return None if code is None else int(code)


def check_crs(crs: str) -> None:
    """Raise InputError unless crs is a code or a definition: GDAL opens any other text as a file or a URL."""
    if not (_CODE.fullmatch(crs) or _WKT.match(crs) or _PROJ.fullmatch(crs)):
        raise InputError(f'crs={crs!r:.200} is neither a code such as "EPSG:32632" nor WKT. {_REMEDY}')


def crs_of_rasterio(crs: str | None) -> Any:
    """Return the CRS object that rasterio writes; raise InputError if rasterio does not recognise it."""
    if crs is None:
        return None
    check_crs(crs)
    import rasterio  # slow to import

    try:
        return rasterio.crs.CRS.from_user_input(crs)
    except rasterio.errors.CRSError as error:
        raise InputError(
            f"crs={crs!r:.200} is not a coordinate reference system of rasterio ({error}). {_REMEDY}"
        ) from error
