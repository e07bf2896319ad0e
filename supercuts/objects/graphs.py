"""The graph objects are sought on: superpixels that touch, or the patches of a grid.

In   a label map (H, W), or the rows and columns of a grid
Out  NodeGraph: who touches whom, how much of the image and of its frame each node covers
Not  no features, no affinities: every method makes its own
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Bool, Int32, Int64

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.graph.rag import sum_borders
from supercuts.hierarchy.regions import image_area
from supercuts.networks.maps import color_maps


@dataclass(frozen=True, slots=True, eq=False)
class NodeGraph:
    """Nodes, which of them touch, and how much each one counts.

    edges   (E, 2) int32  node ids i < j
    area    (N,) int64    pixels; 1 for every patch, as published methods count
    border  (N,) int64    pixels, or patches, on the outermost rows and columns of the image
    """

    edges: Int32[np.ndarray, "edges 2"]
    area: Int64[np.ndarray, " nodes"]
    border: Int64[np.ndarray, " nodes"]

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.area.size)

    def subgraph(self, is_kept: Bool[np.ndarray, " nodes"]) -> "NodeGraph":
        """Return the graph of some of the nodes, renumbered in their order."""
        number = np.cumsum(is_kept, dtype=np.int32) - 1
        edges = self.edges[is_kept[self.edges].all(1)]
        return NodeGraph(number[edges].astype(np.int32), self.area[is_kept], self.border[is_kept])

    def components(self, is_inside: Bool[np.ndarray, " nodes"]) -> Int64[np.ndarray, " nodes"]:
        """Return the connected component of each node inside, 1.. in order of first node; 0 outside."""
        inner = self.edges[is_inside[self.edges].all(1)]
        n = self.n_nodes
        matrix = scipy.sparse.coo_array((np.ones(len(inner), np.int8), (inner[:, 0], inner[:, 1])), shape=(n, n))
        found = scipy.sparse.csgraph.connected_components(matrix, directed=False)[1]
        numbers = np.zeros(n, np.int64)
        _, first, inverse = np.unique(found[is_inside], return_index=True, return_inverse=True)
        numbers[is_inside] = np.argsort(np.argsort(first))[inverse] + 1
        return numbers

    def component_of(self, is_inside: Bool[np.ndarray, " nodes"], seed: int) -> Bool[np.ndarray, " nodes"]:
        """Return the connected component of the nodes inside that holds `seed`; empty if the seed lies outside."""
        numbers = self.components(is_inside)
        return np.asarray(is_inside & (numbers == numbers[seed]))

    def largest_component(self, is_inside: Bool[np.ndarray, " nodes"]) -> Bool[np.ndarray, " nodes"]:
        """Return the connected component of the largest area; the first of equal ones, none if nothing is inside."""
        numbers = self.components(is_inside)
        areas = np.bincount(numbers, np.where(is_inside, self.area, 0))
        return np.asarray(is_inside & (numbers == areas.argmax()))


def grid_graph(rows: int, columns: int) -> NodeGraph:
    """Return the graph of a grid of patches, row by row, each touching the four beside it.

    >>> grid_graph(2, 2).edges.tolist()
    [[0, 1], [0, 2], [1, 3], [2, 3]]
    """
    check_in_range("rows", rows, 1, np.inf, remedy="A grid has at least one patch.")
    check_in_range("columns", columns, 1, np.inf, remedy="A grid has at least one patch.")
    return label_graph(np.arange(rows * columns, dtype=np.int32).reshape(rows, columns))


def label_graph(labels: Int32[np.ndarray, "height width"]) -> NodeGraph:
    """Return the graph of the superpixels 0..N-1 of a label map, all of them present; a diagonal contact is none.

    Pixels of label -1, which a mask left out, are in no node; where the image ends at them is its border.
    """
    if labels.size == 0 or labels.min() < -1 or labels.max() < 0:
        raise InputError(f"labels of shape {labels.shape} must hold ids 0..N-1 on at least one pixel, -1 on others.")
    n = int(labels.max()) + 1
    is_valid = labels >= 0
    area = np.bincount(labels[is_valid], minlength=n)
    if not area.all():
        raise InputError(f"label {int(area.argmin())} has no pixel; ids must be 0..{n - 1}: relabel_consecutive.")
    edges, _ = label_borders(labels, n)
    around = np.pad(image_area(labels), 1)
    is_inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return NodeGraph(
        edges=edges[np.lexsort(edges.T[::-1])].astype(np.int32),
        area=area.astype(np.int64),
        border=np.bincount(labels[is_valid & ~is_inner], minlength=n).astype(np.int64),
    )


def label_borders(
    labels: Int32[np.ndarray, "height width"], n: int
) -> tuple[Int64[np.ndarray, "edges 2"], Int64[np.ndarray, " edges"]]:
    """Return the pairs i < j of the labels 0..n-1 that share a border, and its length in pixel pairs."""
    nothing = np.zeros((*labels.shape, 0), np.uint8)
    keys, length, _ = sum_borders(labels, color_maps(nothing, valid=labels >= 0), n, is_connected=False)
    return np.stack([keys // n, keys % n], axis=1), length
