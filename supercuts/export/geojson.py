"""Write regions as GeoJSON polygons.

In   a hierarchy, a path ending in .geojson or .json, on request the GeoTIFF that was segmented
Out  a FeatureCollection; of no GeoTIFF in pixels, x right and y down from the upper left corner of the picture
Not  no change of coordinate reference system: one that is not WGS 84 is named by the member "crs", as GDAL reads it
"""

import json
import os
from pathlib import Path

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.export.features import Feature, features
from supercuts.export.georeference import epsg_number, georeference_of
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference

_WGS84 = 4326  # what GeoJSON without "crs" is in


def write(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    how: Granularity | None = None,
    like: str | os.PathLike[str] | None = None,
    every_node: bool = False,
) -> None:
    """Write one cut; without one every level and the superpixels, told apart by "layer"; or every node of the tree."""
    check_choice("suffix of a GeoJSON file", Path(path).suffix.lower(), (".geojson", ".json"))
    place = georeference_of(hierarchy, like)
    document: dict[str, object] = {"type": "FeatureCollection", **_crs(place)}
    layers = features(hierarchy, place, how, every_node)
    document["features"] = [_to_json(feature) for _, layer in layers for feature in layer]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _to_json(feature: Feature) -> dict[str, object]:
    is_whole = len(feature.coordinates) == 1
    geometry = {
        "type": "Polygon" if is_whole else "MultiPolygon",
        "coordinates": feature.coordinates[0] if is_whole else feature.coordinates,
    }
    return {"type": "Feature", "properties": feature.properties, "geometry": geometry}


def _crs(place: Georeference) -> dict[str, object]:
    if place.crs is None:
        return {}
    code = epsg_number(place.crs)
    if code is None:
        raise InputError(
            "GeoJSON names a coordinate reference system by its EPSG number, and that of the image has none: use "
            'format="gpkg", which holds any, or reproject the image.'
        )
    if code == _WGS84:
        return {}
    return {"crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{code}"}}}
