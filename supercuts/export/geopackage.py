"""Write regions as polygons of a GeoPackage.

In   a hierarchy, a path ending in .gpkg, on request the GeoTIFF that was segmented
Out  one layer a cut; of no GeoTIFF in pixels, x right and y down from the upper left corner of the picture
Not  no styles, no change of coordinate reference system
"""

import os
import warnings
from pathlib import Path

import numpy as np

from supercuts.core.checks import check_choice, check_installed
from supercuts.core.files import atomic_path
from supercuts.export.features import Feature, features
from supercuts.export.georeference import georeference_of
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy


def write(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    how: Granularity | None = None,
    like: str | os.PathLike[str] | None = None,
    every_node: bool = False,
) -> None:
    """Write a layer for one cut; without one for every level and the superpixels; or for all nodes of the tree."""
    check_choice("suffix of a GeoPackage", Path(path).suffix.lower(), (".gpkg",))
    check_installed(("pyogrio", "shapely"), extra="export")
    place = georeference_of(hierarchy, like)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")  # there is none where pixels are the unit
        for name, layer in features(hierarchy, place, how, every_node):
            _add_layer(temporary, name, layer, place.crs)


def _add_layer(path: Path, name: str, layer: list[Feature], crs: str | None) -> None:
    import pyogrio

    fields = list(layer[0].properties)
    columns = [np.array([feature.properties[field] for feature in layer]) for field in fields]
    options = {"driver": "GPKG", "geometry_type": "MultiPolygon", "crs": crs, "append": path.exists()}
    try:
        pyogrio.raw.write(path, _to_wkb(layer), columns, fields, layer=name, **options)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
        # GDAL tells of a full disk by the statement or the commit that failed
        raise OSError(f"{error}; is the disk full?") from error


def _to_wkb(layer: list[Feature]) -> np.ndarray:
    import shapely

    shapes = [shapely.MultiPolygon([(rings[0], rings[1:]) for rings in feature.coordinates]) for feature in layer]
    return np.array(shapely.to_wkb(shapes), dtype=object)
