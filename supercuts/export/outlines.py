"""Outlines of regions as polygons whose shared borders are the same points.

In   a hierarchy, node ids; or how to cut it
Out  polygons of rings (P, 2) x y on pixel corners: (0, 0) is the upper left corner of the picture, y points down
Not  no files, no map coordinates, no simplification
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from supercuts.export._kernels import outlines as _kernels_outlines
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.regions import check_node
from supercuts.hierarchy.tree import Hierarchy

Polygon = list[np.ndarray]  # rings (P, 2): the outer one, then holes; the first point is not repeated at the end


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A node and its polygons: one of a connected region, several of one in pieces."""

    node: int
    polygons: list[Polygon]


def outlines(hierarchy: Hierarchy, nodes: Int32[np.ndarray, " nodes"]) -> Iterator[Outline]:
    """Yield the outline of each node.

    Rings have a point wherever a border between superpixels bends or meets another, and only there: neighbours, and the
    parts of a region, have the same points along what they share, so no rounding opens a gap. Rings are simple, outer
    ones clockwise as one looks at the picture, those of holes against it.

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
    is_corner = _kernels_outlines.mark_corners(hierarchy.labels)
    first, end = _kernels_outlines.order_leaves(hierarchy.parents, hierarchy.n_leaves)
    _, boxes, _ = _kernels.measure(hierarchy.labels, hierarchy.parents, hierarchy.n_leaves)
    for node in nodes.tolist():
        corners, ends, pieces = _kernels_outlines.trace(
            hierarchy.labels, is_corner, first, first[node], end[node], boxes[node]
        )
        # rows are searched from above: the first ring of a piece is its outer one
        polygons: dict[int, Polygon] = {}
        for ring, piece in zip(np.split(corners, ends[:-1]), pieces.tolist(), strict=True):
            polygons.setdefault(piece, []).append(ring)
        yield Outline(node, list(polygons.values()))
