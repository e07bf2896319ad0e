"""The region adjacency graph of a hierarchy, which keeps none: measured again from labels, image and tree.

In   a hierarchy, one of its partitions
Out  RegionGraph
Not  no files, no networkx or torch_geometric (networkx_rag.py, pyg.py)
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from supercuts.export.partitions import Partition
from supercuts.graph.rag import RegionGraph, build_rag, contract
from supercuts.graph.strips import build_rag_strips
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.color import color_features
from supercuts.superpixels.stored import without_network


def region_graph(hierarchy: Hierarchy, part: Partition) -> RegionGraph:
    """Return the graph of the regions of a partition.

    boundary is the altitude at which the tree joins the two regions. color is the mean Lab, without columns if the
    hierarchy has no image. embedding is the mean of the superpixels', whose own variance is not kept: it counts as 0.
    """
    shape = hierarchy.shape
    empty = np.zeros((0, *shape), np.float32)
    color = empty if hierarchy.image is None else color_features(hierarchy.image)
    if hierarchy.is_masked:
        rgb = np.zeros((*shape, 0), np.uint8) if hierarchy.image is None else hierarchy.image
        graph = build_rag_strips(hierarchy.labels, without_network(rgb), hierarchy.n_leaves, is_connected=False)
    else:
        graph = build_rag(hierarchy.labels, np.zeros(shape, np.float32), color, empty)
    ends = hierarchy.embeddings[graph.edges]
    graph = replace(
        graph,
        boundary=_joining_altitudes(hierarchy),
        embedding=hierarchy.embeddings,
        embedding_distance=np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).astype(np.float32),
    )
    return contract(graph, part.region_of_leaf(hierarchy))


def _joining_altitudes(hierarchy: Hierarchy) -> Float32[np.ndarray, " edges"]:
    """Return the altitude at which each pair of neighbours joins, pairs i < j in lexicographic order."""
    labels, contours = hierarchy.labels, hierarchy.ucm()
    # of each two pixels that touch: their superpixels, and the contour between them
    sides = [
        (labels[:, :-1], labels[:, 1:], contours[1::2, 2:-1:2]),
        (labels[:-1], labels[1:], contours[2:-1:2, 1::2]),
    ]
    one, other, altitude = (np.concatenate([side[i].ravel() for side in sides]) for i in range(3))
    is_border = (one != other) & (one >= 0) & (other >= 0)
    pairs = np.sort(np.stack([one, other], axis=1)[is_border].astype(np.int64), axis=1)
    first = np.unique(pairs @ [hierarchy.n_leaves, 1], return_index=True)[1]
    altitudes: np.ndarray = altitude[is_border][first]
    return altitudes
