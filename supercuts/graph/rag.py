"""The region adjacency graph of a label map, with what its edges and nodes carry.

In   labels (H, W), boundary probability (H, W), Lab colour (3, H, W), embeddings (D, H, W)
Out  RegionGraph: edges in lexicographic order, one linear pass over the pixels
Not  no dissimilarity (merging), no torch
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int32, Int64

from supercuts.core.errors import InputError
from supercuts.graph import _kernels

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True, eq=False)
class RegionGraph:
    """Superpixels (nodes) that share a border (edges); 4-connectivity: a diagonal contact shares no border.

    edges               (E, 2) int32    node ids i < j, rows in lexicographic order
    border_length       (E,) float32    pixel pairs along the shared border
    boundary            (E,) float32    mean boundary probability along the border, 0..1
    color_distance      (E,) float32    between mean Lab colours
    embedding_distance  (E,) float32    between mean embeddings
    area                (N,) int64      pixels
    centroid_yx         (N, 2) float32  pixels
    bbox                (N, 4) int32    y0 x0 y1 x1, ends exclusive
    color               (N, 3) float32  mean Lab
    embedding           (N, D) float32  mean embedding
    """

    edges: Int32[np.ndarray, "edges 2"]
    border_length: Float32[np.ndarray, " edges"]
    boundary: Float32[np.ndarray, " edges"]
    color_distance: Float32[np.ndarray, " edges"]
    embedding_distance: Float32[np.ndarray, " edges"]
    area: Int64[np.ndarray, " nodes"]
    centroid_yx: Float32[np.ndarray, "nodes 2"]
    bbox: Int32[np.ndarray, "nodes 4"]
    color: Float32[np.ndarray, "nodes 3"]
    embedding: Float32[np.ndarray, "nodes channels"]

    @property
    def n_nodes(self) -> int:
        """Number of superpixels."""
        return int(self.area.size)

    @property
    def n_edges(self) -> int:
        """Number of pairs that share a border."""
        return len(self.edges)

    def neighbors(self) -> tuple[Int64[np.ndarray, " nodes_plus_1"], Int32[np.ndarray, " twice_edges"]]:
        """Return the adjacency in CSR form: the neighbours of i are ids[starts[i]:starts[i + 1]], ascending."""
        both = np.concatenate([self.edges, self.edges[:, ::-1]])
        both = both[np.lexsort((both[:, 1], both[:, 0]))]
        starts = np.zeros(self.n_nodes + 1, np.int64)
        np.cumsum(np.bincount(both[:, 0], minlength=self.n_nodes), out=starts[1:])
        return starts, np.ascontiguousarray(both[:, 1])

    def to_networkx(self) -> "nx.Graph":
        """Return a networkx Graph; node and edge attributes have the names of the fields."""
        import networkx as nx

        graph = nx.Graph()
        for node in range(self.n_nodes):
            graph.add_node(
                node,
                area=int(self.area[node]),
                centroid_yx=tuple(self.centroid_yx[node].tolist()),
                bbox=tuple(self.bbox[node].tolist()),
                color=tuple(self.color[node].tolist()),
                embedding=self.embedding[node],
            )
        names = ("border_length", "boundary", "color_distance", "embedding_distance")
        columns = [getattr(self, name).tolist() for name in names]
        for (i, j), *values in zip(self.edges.tolist(), *columns, strict=True):
            graph.add_edge(i, j, **dict(zip(names, values, strict=True)))
        return graph


def build_rag(
    labels: Int32[np.ndarray, "height width"],
    boundary: Float32[np.ndarray, "height width"],
    lab: Float32[np.ndarray, "3 height width"],
    embeddings: Float32[np.ndarray, "channels height width"],
) -> RegionGraph:
    """Return the graph of `labels`, whose ids are 0..N-1, all present; a single region gives no edges."""
    _check_ids(labels)
    n_nodes = int(labels.max()) + 1
    area, position, bbox = _kernels.accumulate_nodes(labels, n_nodes)
    if not area.all():
        raise InputError(f"label {int(area.argmin())} has no pixel; ids must be 0..{n_nodes - 1}, all present: relabel.")
    keys, length, total = _kernels.accumulate_edges(labels, boundary, n_nodes, _kernels.count_border_pairs(labels))
    order = np.argsort(keys)
    keys, length, total = keys[order], length[order], total[order]
    edges = np.stack([keys // n_nodes, keys % n_nodes], axis=1).astype(np.int32)
    color = np.ascontiguousarray((_kernels.sum_channels_first(labels, lab, n_nodes) / area).T.astype(np.float32))
    embedding = np.ascontiguousarray(
        (_kernels.sum_channels_first(labels, embeddings, n_nodes) / area).T.astype(np.float32)
    )
    return RegionGraph(
        edges=edges,
        border_length=length.astype(np.float32),
        boundary=(total / np.maximum(length, 1)).astype(np.float32),
        color_distance=_kernels.edge_distances(edges, color),
        embedding_distance=_kernels.edge_distances(edges, embedding),
        area=area,
        centroid_yx=(position / area[:, None]).astype(np.float32),
        bbox=bbox.astype(np.int32),
        color=color,
        embedding=embedding,
    )


def _check_ids(labels: np.ndarray) -> None:
    if labels.size == 0 or labels.min() < 0:
        low = "none" if labels.size == 0 else labels.min()
        raise InputError(f"labels of shape {labels.shape} start at {low}; expected ids 0..N-1 on at least one pixel.")
