"""The regions of a hierarchy as the features of a map: polygons with attributes.

In   a hierarchy, how to cut it or every node, where its pixels lie
Out  layers of features: coordinates and attributes as plain Python values
Not  no files
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from supercuts.core.errors import InputError
from supercuts.export.outlines import outlines
from supercuts.export.partitions import partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference

Ring = list[list[float]]


@dataclass(frozen=True, slots=True)
class Feature:
    """One region.

    properties   layer (the name of the cut, or nodes), region (its number in it), node, parent, level (the coarsest
                 level that has it as a region, or ""), area_px, altitude
    coordinates  polygons of closed rings [x, y], as in a GeoJSON MultiPolygon: outer rings against the clock, holes
                 clockwise, with x right and y up
    """

    properties: dict[str, str | int | float]
    coordinates: list[list[Ring]]


def features(
    hierarchy: Hierarchy, place: Georeference, how: Granularity | None, every_node: bool
) -> Iterator[tuple[str, list[Feature]]]:
    """Yield the name and features of each layer: one cut, every level and the superpixels, or all nodes of the tree."""
    if every_node and how is not None:
        raise InputError("every_node writes the whole tree: leave out regions, level, altitude and granularity.")
    if every_node:
        yield "nodes", _layer("nodes", np.arange(hierarchy.n_nodes, dtype=np.int32), hierarchy, place)
        return
    for part in partitions(hierarchy, how):
        yield part.name, _layer(part.name, part.nodes, hierarchy, place)


def _layer(name: str, nodes: np.ndarray, hierarchy: Hierarchy, place: Georeference) -> list[Feature]:
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
        rings = [[_close(ring, place) for ring in polygon] for polygon in outline.polygons]
        collected.append(Feature(properties, rings))
    return collected


def _close(ring: np.ndarray, place: Georeference) -> Ring:
    placed = place.place(ring if place.is_mirrored else ring[::-1])
    points: Ring = np.concatenate([placed, placed[:1]]).tolist()
    return points
