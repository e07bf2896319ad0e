"""Trace regions as polygons, and write them as GeoJSON, GeoPackage and SVG."""

import errno
import json
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32, Shaped

from supercuts.core.checks import check_choice, check_installed
from supercuts.core.errors import ImageError, InputError
from supercuts.core.files import atomic_path
from supercuts.export import _kernels as _outlines
from supercuts.export.rasters import (
    PIXELS,
    SUPERPIXELS,
    Partition,
    check_crs,
    epsg_number,
    georeference_of,
    partitions,
)
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.regions import check_node
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference
from supercuts.images.raster import ReadOptions, read_raster

Polygon = list[np.ndarray]  # rings (P, 2): the outer one, then holes; the first point is not repeated at the end


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A node and its polygons, one per connected piece of the region."""

    node: int
    polygons: list[Polygon]


def outlines(hierarchy: Hierarchy, nodes: Int32[np.ndarray, " nodes"]) -> Iterator[Outline]:
    """Yield the outline of each node.

    Rings have points exactly where a border between superpixels bends or meets another. Neighbours, and regions and
    their parts, therefore have the same points along shared borders, so rounding opens no gaps. Rings are simple; in
    the displayed image, outer rings run clockwise and rings of holes counter-clockwise.

    >>> h = Hierarchy(
    ...     labels=np.array([[0, 1, 1]], dtype=np.int32),
    ...     parents=np.array([2, 2, 2], dtype=np.int32),
    ...     altitudes=np.array([0, 0, 0.5], dtype=np.float32),
    ...     embeddings=np.zeros((2, 0), dtype=np.float32),
    ... )
    >>> [outline.polygons[0][0].tolist() for outline in outlines(h, np.array([1], np.int32))]
    [[[1, 0], [3, 0], [3, 1], [1, 1]]]
    """
    for node in nodes.tolist():
        check_node(hierarchy.n_nodes, node)
    is_corner = _outlines.mark_corners(hierarchy._labels)
    first, end = _outlines.order_leaves(hierarchy._parents, hierarchy.n_leaves)
    _, boxes, _ = _kernels.measure(hierarchy._labels, hierarchy._parents, hierarchy.n_leaves)
    for node in nodes.tolist():
        corners, ends, pieces = _outlines.trace(
            hierarchy._labels, is_corner, first, first[node], end[node], boxes[node]
        )
        # tracing starts at the top row, so the first ring of a piece is its outer ring
        polygons: dict[int, Polygon] = {}
        for ring, piece in zip(np.split(corners, ends[:-1]), pieces.tolist(), strict=True):
            polygons.setdefault(piece, []).append(ring)
        yield Outline(node, list(polygons.values()))


Ring = list[list[float]]


@dataclass(frozen=True, slots=True)
class Feature:
    """One region.

    properties   layer (name of the cut, or nodes), region (its index in the layer), node, parent, level (the coarsest
                 level that has it as a region, or ""), area_px, altitude
    coordinates  polygons of closed rings [x, y], as in a GeoJSON MultiPolygon: with x right and y up, outer rings run
                 counter-clockwise, holes clockwise
    """

    properties: dict[str, str | int | float]
    coordinates: list[list[Ring]]


def features(
    hierarchy: Hierarchy, place: Georeference, how: Granularity | None, every_node: bool
) -> Iterator[tuple[str, list[Feature]]]:
    """Yield the name and features of each layer: one cut; if None, every level and the superpixels; or all nodes."""
    if every_node and how is not None:
        raise InputError("every_node writes the whole tree: leave out regions, level, altitude and granularity.")
    if every_node:
        yield "nodes", _features_of("nodes", np.arange(hierarchy.n_nodes, dtype=np.int32), hierarchy, place)
        return
    for part in partitions(hierarchy, how):
        yield part.name, _features_of(part.name, part.nodes, hierarchy, place)


def _features_of(name: str, nodes: np.ndarray, hierarchy: Hierarchy, place: Georeference) -> list[Feature]:
    table = hierarchy.region_table()
    collected = []
    for region, outline in enumerate(outlines(hierarchy, nodes)):
        node = outline.node
        properties: dict[str, str | int | float] = {
            "layer": name,
            "region": region,
            "node": node,
            "parent": int(table.parent[node]),
            "level": str(table.level[node]),
            "area_px": int(table.area[node]),
            "altitude": float(table.altitude[node]),
        }
        rings = [[_close_ring(ring, place) for ring in polygon] for polygon in outline.polygons]
        collected.append(Feature(properties, rings))
    return collected


def _close_ring(ring: np.ndarray, place: Georeference) -> Ring:
    placed = place.place(ring if place.is_mirrored else ring[::-1])
    points: Ring = np.concatenate([placed, placed[:1]]).tolist()
    return points


_WGS84 = 4326  # EPSG number of the reference system of GeoJSON without "crs"


def write_geojson(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    how: Granularity | None = None,
    like: str | os.PathLike[str] | None = None,
    every_node: bool = False,
) -> None:
    """Write one cut; if None, every level and the superpixels, distinguished by "layer"; or every node of the tree."""
    check_choice("suffix of a GeoJSON file", Path(path).suffix.lower(), (".geojson", ".json"))
    place = georeference_of(hierarchy, like)
    document: dict[str, object] = {"type": "FeatureCollection", **_crs_member(place)}
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


def _crs_member(place: Georeference) -> dict[str, object]:
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


def write_geopackage(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    how: Granularity | None = None,
    like: str | os.PathLike[str] | None = None,
    every_node: bool = False,
) -> None:
    """Write a layer of one cut; if None, a layer per level and one of superpixels; or a layer of all nodes.

    Each region has the statistics of every band of `like`, or else of the hierarchy's image.
    """
    check_choice("suffix of a GeoPackage", Path(path).suffix.lower(), (".gpkg",))
    check_installed(("pyogrio", "shapely"), extra="export")
    place = georeference_of(hierarchy, like)
    bands = _bands_of(hierarchy, like)
    statistics = {} if bands is None else zonal_statistics(hierarchy, bands)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")  # pixel coordinates have no CRS
        for name, layer in features(hierarchy, place, how, every_node):
            for feature in layer:
                node = int(feature.properties["node"])
                feature.properties.update({key: float(values[node]) for key, values in statistics.items()})
            _add_layer(temporary, name, layer, place.crs)


def _bands_of(hierarchy: Hierarchy, like: str | os.PathLike[str] | None) -> Shaped[np.ndarray, "_ _ _"] | None:
    if like is not None:
        with suppress(ImageError):  # some formats give coordinates but are not read as images
            return read_raster(like, ReadOptions(as_bands=True)).values
    return hierarchy._image


def zonal_statistics(
    hierarchy: Hierarchy, bands: Shaped[np.ndarray, "height width bands"]
) -> dict[str, Float64[np.ndarray, " nodes"]]:
    """Return the statistics of each node: extent, and for each band k = 1, 2, ... mean, standard deviation and texture.

    Keys are extent, the share of the region in its box, band_k_mean, band_k_std and band_k_texture, the mean size of
    the gradient, in units of the band for each pixel.
    """
    valid, areas = hierarchy._labels >= 0, hierarchy.areas()[:, None]
    leaves = hierarchy._labels[valid]
    y0, x0, y1, x1 = hierarchy.region_table().bbox_yxyx.T.astype(np.float64)
    statistics = {"extent": areas[:, 0] / ((y1 - y0) * (x1 - x0))}
    for k in range(bands.shape[2]):
        values = bands[..., k].astype(np.float64)
        shift = values[valid].mean()  # squares of large values would lose the variance
        steps = [np.gradient(values, axis=axis) if values.shape[axis] > 1 else 0 * values for axis in (0, 1)]
        terms = (values - shift, (values - shift) ** 2, np.hypot(*steps))
        sums = np.stack([np.bincount(leaves, term[valid], minlength=hierarchy.n_leaves) for term in terms], axis=1)
        mean, square, texture = (_kernels.sum_rows_to_root(hierarchy._parents, sums) / areas).T
        statistics[f"band_{k + 1}_mean"] = mean + shift
        statistics[f"band_{k + 1}_std"] = np.sqrt(np.maximum(square - mean**2, 0))
        statistics[f"band_{k + 1}_texture"] = texture
    return statistics


_LEVEL_COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167))  # colour-blind safe (Okabe and Ito)


def write_qupath(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    how: Granularity | None = None,
    pixel_size: float | None = None,
) -> None:
    """Write one annotation per region as QuPath does; if `how` is None, of every level, and superpixels as detections.

    Coordinates are pixels. The classification is the level, with a colour; metadata hold the node and, as `parent`, the
    id of the region of the next coarser level that contains this one.
    """
    check_choice("suffix of a GeoJSON file", Path(path).suffix.lower(), (".geojson",))
    above: dict[int, str] = {}  # node: id of the region around it
    documents = []
    for k, (name, layer) in enumerate(features(hierarchy, PIXELS, how, every_node=False)):
        ids = {}
        for feature in layer:
            node = int(feature.properties["node"])
            ids[node] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{hierarchy.source_name}/{name}/{node}"))
            parent = next((above[a] for a in (node, *hierarchy.ancestors(node).tolist()) if a in above), None)
            documents.append(_to_qupath(feature, ids[node], parent, _LEVEL_COLORS[k % 4], pixel_size))
        above = ids
    with atomic_path(path) as temporary:
        text = json.dumps({"type": "FeatureCollection", "features": documents})
        temporary.write_text(text + "\n", encoding="utf-8")


def _to_qupath(
    feature: Feature, key: str, parent: str | None, color: tuple[int, int, int], pixel_size: float | None
) -> dict[str, object]:
    level, area = feature.properties["layer"], feature.properties["area_px"]
    measured = {"Area px^2": area, "Altitude": feature.properties["altitude"]}
    if pixel_size is not None:
        measured["Area \u00b5m^2"] = float(area) * pixel_size**2
    metadata = {"node": str(feature.properties["node"]), **({} if parent is None else {"parent": parent})}
    properties = {
        "objectType": "detection" if level == SUPERPIXELS else "annotation",
        "name": f"{level} {feature.properties['region']}",
        "classification": {"name": level, "color": list(color)},
        "isLocked": False,
        "measurements": measured,
        "metadata": metadata,
    }
    return {**_to_json(feature), "id": key, "properties": properties}


def _add_layer(path: Path, name: str, layer: list[Feature], crs: str | None) -> None:
    import pyogrio

    fields = list(layer[0].properties)
    columns = [np.array([feature.properties[field] for feature in layer]) for field in fields]
    if crs is not None:
        check_crs(crs)
    options = {"driver": "GPKG", "geometry_type": "MultiPolygon", "crs": crs, "append": path.exists()}
    try:
        pyogrio.raw.write(path, _to_wkb(layer), columns, fields, layer=name, **options)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
        # on a full disk, GDAL reports the SQL statement, of any length, or the commit that failed
        raise OSError(errno.EIO, f"{str(error)[:60]}...; is the disk full?") from error


def _to_wkb(layer: list[Feature]) -> np.ndarray:
    import shapely

    shapes = [shapely.MultiPolygon([(rings[0], rings[1:]) for rings in feature.coordinates]) for feature in layer]
    return np.array(shapely.to_wkb(shapes), dtype=object)


def write_svg(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write one cut; if None, every level and the superpixels. Each cut is a group with the cut's name as id."""
    check_choice("suffix of a drawing", Path(path).suffix.lower(), (".svg",))
    height, width = hierarchy.shape
    # crispEdges: antialiasing would show seams between adjacent regions
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'fill-rule="evenodd" shape-rendering="crispEdges">'
    ]
    for part in partitions(hierarchy, how):
        lines += _group(hierarchy, part)
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")


def _group(hierarchy: Hierarchy, part: Partition) -> list[str]:
    colors = np.rint(mean_colors(hierarchy, part)).astype(int).tolist()
    lines = [f'<g id="{part.name}">']
    for region, outline in enumerate(outlines(hierarchy, part.nodes)):
        fill = "#{:02x}{:02x}{:02x}".format(*colors[region])
        # data- attributes, because a node may appear in several groups and ids must be unique in a document
        lines.append(
            f'<path data-node="{outline.node}" data-region="{region}" fill="{fill}" d="{_path(outline.polygons)}"/>'
        )
    return [*lines, "</g>"]


def mean_colors(hierarchy: Hierarchy, part: Partition) -> Float64[np.ndarray, "regions 3"]:
    """Return the mean RGB of each region; without an image, return greys that distinguish regions."""
    n_regions = part.nodes.size
    if hierarchy._image is None:
        greys = 64 + 37 * np.arange(n_regions) % 160
        return np.repeat(greys[:, None], 3, axis=1).astype(np.float64)
    is_valid = part.labels >= 0
    flat, pixels = part.labels[is_valid], hierarchy._image[is_valid]
    sums = [np.bincount(flat, pixels[:, channel], minlength=n_regions) for channel in range(3)]
    means: np.ndarray = np.stack(sums, axis=1) / np.bincount(flat, minlength=n_regions)[:, None]
    return means


def _path(polygons: list[Polygon]) -> str:
    rings = [ring for polygon in polygons for ring in polygon]
    return "".join("M" + "L".join(f"{x} {y}" for x, y in ring.tolist()) + "Z" for ring in rings)
