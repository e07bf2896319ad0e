"""Agglomerative merging: average linkage over the region adjacency graph.

In   RegionGraph and a dissimilarity (E,)
Out  MergeTree: parents, altitudes (leaves first, root last); or the partition of the nodes at an exact count
Not  no pixels, no cuts, no learned weights

Linkage is weighted by border length: the dissimilarity of two regions is the mean over their common border. The kernel
uses a heap of edges, O(E log E).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64
from pydantic import BaseModel, NonNegativeFloat

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.graph.rag import RegionGraph
from supercuts.merging._kernels import agglomerative as _kernels


class LinkageConfig(BaseModel, frozen=True, extra="forbid"):
    """Weights of the dissimilarity of two neighbours: a weighted sum of distances, lowered if a region is small."""

    boundary: NonNegativeFloat = 1.0  # weight of the mean boundary probability along the border
    color: NonNegativeFloat = 0.0  # weight of the distance of mean colours (Lab for RGB) / 100
    embedding: NonNegativeFloat = 0.0  # weight of the distance of mean embeddings
    small_exponent: NonNegativeFloat = 0.0  # dissimilarity * min(1, smaller area / reference area) ** exponent
    small_area: NonNegativeFloat = 0.0  # reference area as a share of the image


class MergeTree(NamedTuple):
    """A merge tree over N leaves.

    parents    (M,) int32    leaves first, root last; the root is its own parent; M = 2N - 1
    altitudes  (M,) float32  0 at the leaves, rising to the root
    """

    parents: np.ndarray
    altitudes: np.ndarray


def dissimilarity(graph: RegionGraph, config: LinkageConfig) -> Float32[np.ndarray, " edges"]:
    """Return the dissimilarity of the two regions of each edge; higher ones merge later."""
    total = np.zeros(graph.n_edges, np.float32)
    total += config.boundary * graph.boundary
    total += config.color / 100 * graph.color_distance
    total += config.embedding * graph.embedding_distance
    return total


def merge_tree(
    graph: RegionGraph,
    weights: Float[np.ndarray, " edges"],
    *,
    small_area_px: float = 1.0,
    small_exponent: float = 0.0,
) -> MergeTree:
    """Merge until one region is left; altitudes are the dissimilarities, clipped to 0..1, at which regions merge.

    Regions that never touch (a graph with several components) merge last, at altitude 1. Equal dissimilarities merge in
    the order of the edges.
    """
    merges, heights = merge_pairs(graph, weights, small_area_px, small_exponent, 1)
    return to_tree(graph.n_nodes, merges, heights)


def to_tree(n_leaves: int, merges: Int64[np.ndarray, "merges 2"], heights: Float[np.ndarray, " merges"]) -> MergeTree:
    """Return the tree of ordered merges of pairs of nodes; merge k creates node n_leaves + k.

    Altitudes are the heights, clipped to 0..1 and made non-decreasing. Components left over are joined at altitude 1.
    """
    parents = np.arange(2 * n_leaves - 1, dtype=np.int32)
    parents[merges.ravel()] = np.repeat(n_leaves + np.arange(len(merges)), 2)
    altitudes = np.zeros(2 * n_leaves - 1, np.float32)
    altitudes[n_leaves : n_leaves + len(merges)] = np.clip(heights, 0, 1)
    # a merge of small regions may cost less than an earlier one, but an ultrametric never falls towards the root
    altitudes[n_leaves:] = np.maximum.accumulate(altitudes[n_leaves:])
    _join_parts(parents, altitudes, n_leaves + len(merges))
    return MergeTree(parents, altitudes)


def merge_to_count(
    graph: RegionGraph,
    weights: Float[np.ndarray, " edges"],
    n_regions: int,
    *,
    small_area_px: float = 1.0,
    small_exponent: float = 0.0,
) -> Int32[np.ndarray, " nodes"]:
    """Merge down to `n_regions`; return the region 0..n_regions-1 of each node, numbered by first node.

    A graph with several components keeps at least one region for each.
    """
    check_in_range("n_regions", n_regions, 1, graph.n_nodes, remedy="Ask for fewer regions or start from a finer grid.")
    merges, _ = merge_pairs(graph, weights, small_area_px, small_exponent, n_regions)
    return regions_after(merges, graph.n_nodes)[0]


def merge_pairs(
    graph: RegionGraph, weights: np.ndarray, small_area_px: float, small_exponent: float, n_regions: int
) -> tuple[Int64[np.ndarray, "merges 2"], Float[np.ndarray, " merges"]]:
    """Return the merges down to `n_regions`, as pairs of nodes (merge k creates node N + k), and their heights."""
    if weights.shape != (graph.n_edges,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(
            f"weights of shape {weights.shape} must be {graph.n_edges} finite numbers >= 0, one for each edge."
        )
    merges, heights = _kernels.agglomerate(
        graph.edges,
        weights.astype(np.float64),  # a single input type, so that only one kernel is compiled
        graph.border_length,
        graph.area,
        float(max(small_area_px, 1.0)),
        float(small_exponent),
        n_regions,
    )
    return merges, heights


def regions_after(
    merges: Int64[np.ndarray, "merges 2"], n_nodes: int
) -> tuple[Int32[np.ndarray, " nodes"], Int64[np.ndarray, " regions"]]:
    """Return the region 0..R-1 of each node after the merges, numbered by first node, and each region's tree node."""
    last = _kernels.regions_after(merges, n_nodes)
    first = np.sort(np.unique(last, return_index=True)[1])
    rank = np.empty(n_nodes + len(merges), np.int32)
    rank[last[first]] = np.arange(first.size, dtype=np.int32)
    return rank[last], last[first]


def _join_parts(parents: np.ndarray, altitudes: np.ndarray, n_made: int) -> None:
    """Join components without a common border at altitude 1, in order of node ids, as nodes n_made and above."""
    # queue: each join takes the first two entries and appends its node, which a later join takes
    queue = np.concatenate([np.flatnonzero(parents[:n_made] == np.arange(n_made)), np.arange(n_made, parents.size)])
    parents[queue[:-1]] = np.repeat(np.arange(n_made, parents.size), 2)
    altitudes[n_made:] = 1
