"""Merge so that masks from another tool are regions of the tree."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int32, Int64

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.graph.rag import RegionGraph, contract, contract_statistics
from supercuts.merging._kernels import agglomerative as _kernels
from supercuts.merging.agglomerative import MergeTree
from supercuts.merging.mergers import Regions, merge

Masks = Bool[np.ndarray, "masks height width"]


def check_priors(
    priors: np.ndarray | Sequence[np.ndarray],
    shape: tuple[int, int],
    valid: Bool[np.ndarray, "height width"] | None = None,
) -> Masks:
    """Return the valid pixels of masks as one array (K, H, W).

    Raise InputError if a mask is not boolean, has another size, or has no valid pixel.
    """
    for i, mask in enumerate(priors):
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != shape:
            got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise InputError(
                f"priors[{i}] is {got}; expected bool {shape}, the height and width of the image: resize it to the "
                "image and compare it with its threshold (mask > 0)."
            )
        if not mask.any():
            raise InputError(f"priors[{i}] has no pixel: leave it out.")
        if valid is not None and not (mask & valid).any():
            raise InputError(f"priors[{i}] has no valid pixel: leave it out.")
    masks = np.array(priors, np.bool_).reshape(-1, *shape)
    return masks if valid is None else masks & valid


def cells_of_masks(masks: Masks) -> Int32[np.ndarray, "height width"]:
    """Return the cell id of each pixel, from 0; two pixels share a cell exactly if they lie in the same masks.

    >>> cells_of_masks(np.array([[[True, True, False, False]], [[False, True, True, False]]])).tolist()
    [[1, 3, 2, 0]]
    """
    cells = np.zeros(masks.shape[1:], np.int32)
    n_cells = 1
    for mask in masks:
        inside = cells[mask]
        is_hit = np.zeros(n_cells, bool)
        is_hit[inside] = True
        renamed = n_cells - 1 + np.cumsum(is_hit, dtype=np.int32)  # each cell that meets the mask yields a new cell
        cells[mask] = renamed[inside]
        n_cells += int(is_hit.sum())
    return relabel_consecutive(cells)[0]


def within_cells(graph: RegionGraph, cell: Int32[np.ndarray, " nodes"], n_regions: int) -> RegionGraph:
    """Return the graph without edges between different cells, so that merged regions stay in their cell.

    Raise InputError if the cells have more connected pieces than `n_regions`.
    """
    inside = _keep_edges(graph, cell[graph.edges[:, 0]] == cell[graph.edges[:, 1]])
    n_pieces = _n_parts(inside)
    if n_pieces > n_regions:
        raise InputError(
            f"superpixels={n_regions} are too few: the priors cut the image into {n_pieces} connected pieces. Ask for "
            "at least as many, or smooth the masks."
        )
    return inside


def members_of_masks(
    masks: Masks, labels: Int32[np.ndarray, "height width"], n_leaves: int
) -> Bool[np.ndarray, "masks leaves"]:
    """Return the leaves of each mask, (K, N) bool; no leaf crosses the border of a mask."""
    members = np.zeros((len(masks), n_leaves), bool)
    for k, mask in enumerate(masks):
        members[k, labels[mask]] = True
    return members


def nested_family(members: Bool[np.ndarray, "masks leaves"]) -> Int64[np.ndarray, " family"]:
    """Return the masks to make nodes of one tree, smallest first; skip masks that cross an earlier chosen one.

    Two sets of leaves cross if they overlap and neither contains the other.
    """
    sizes = members.sum(axis=1)
    common = members.astype(np.float64) @ members.T.astype(np.float64)
    is_crossing = (common > 0) & (common < np.minimum(sizes[:, None], sizes))
    family: list[int] = []
    for k in range(len(members)):
        if not is_crossing[k, family].any():
            family.append(k)
    chosen = np.array(family, np.int64)
    return chosen[np.argsort(sizes[chosen], kind="stable")]


def merge_with_priors(regions: Regions, members: Bool[np.ndarray, "masks leaves"]) -> MergeTree:
    """Return the tree with every mask of nested_family as a node; elsewhere the merging method decides as usual.

    Masks are merged to one region each, innermost first, and then act as one region in the enclosing mask or image. A
    mask with several connected pieces joins them last. If a mask merges with its surroundings at a lower altitude than
    its own parts did, the altitudes of its parts are lowered to it, so that the mask is complete first.
    """
    graph, statistics = regions.graph, regions.statistics
    n_leaves = graph.n_nodes
    parents = np.arange(2 * n_leaves - 1, dtype=np.int32)
    altitudes = np.zeros(2 * n_leaves - 1, np.float32)
    region_of_leaf = np.arange(n_leaves, dtype=np.int32)
    node_of_region = np.arange(n_leaves)
    n_made = n_leaves
    for is_member in [*members[nested_family(members)], np.ones(n_leaves, bool)]:
        inside = np.unique(region_of_leaf[is_member])
        if inside.size == 1:
            continue
        merges, heights = _merge_inside(replace(regions, graph=graph, statistics=statistics), inside)
        nodes = np.concatenate([node_of_region[inside], n_made + np.arange(inside.size - 1)])
        parents[nodes[merges]] = nodes[inside.size :, None]
        altitudes[nodes[inside.size :]] = heights
        n_made += inside.size - 1
        node_of_region[inside[0]] = nodes[-1]
        joined = np.arange(graph.n_nodes)
        joined[inside] = inside[0]
        pieces, index = np.unique(joined, return_inverse=True)
        node_of_region, region = node_of_region[pieces], index.astype(np.int32)
        region_of_leaf = region[region_of_leaf]
        if statistics is not None:
            statistics = contract_statistics(statistics, graph, region)
        graph = contract(graph, region)
    _kernels.cap_at_parents(parents, altitudes)
    return MergeTree(parents, altitudes)


def _merge_inside(regions: Regions, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the merges (m - 1, 2) of m regions into one (merge k creates node m + k), and their altitudes."""
    n_inside, n_nodes = inside.size, regions.graph.n_nodes
    # all other nodes form one region that never merges, so that areas still sum to the image
    region = np.full(n_nodes, n_inside, np.int32)
    region[inside] = np.arange(n_inside)
    graph, statistics = contract(regions.graph, region), regions.statistics
    if statistics is not None:
        statistics = contract_statistics(statistics, regions.graph, region)
    is_inside = graph.edges[:, 1] < n_inside
    graph = _keep_edges(graph, is_inside)
    if statistics is not None:
        statistics = replace(statistics, edges=statistics.edges[is_inside])
    n_merges = graph.n_nodes - _n_parts(graph)
    pairs, heights = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    if n_merges:
        tree = merge(replace(regions, graph=graph, statistics=statistics))
        new_nodes = np.arange(graph.n_nodes, graph.n_nodes + n_merges)
        below = np.flatnonzero(tree.parents[: new_nodes[-1]] <= new_nodes[-1])
        pairs = below[np.argsort(tree.parents[below], kind="stable")].reshape(-1, 2)
        pairs[pairs >= graph.n_nodes] -= graph.n_nodes - n_inside
        heights = tree.altitudes[new_nodes]
    tops = np.setdiff1d(np.arange(n_inside + n_merges), pairs)
    # join pieces that do not touch: the first two, their union with the third, and so on
    firsts = [tops[0], *range(n_inside + n_merges, 2 * n_inside - 2)][: tops.size - 1]
    joins = list(zip(firsts, tops[1:], strict=True))
    pairs = np.concatenate([pairs, np.array(joins, np.int64).reshape(-1, 2)])
    return pairs, np.concatenate([heights, np.ones(len(joins), np.float32)])


def _keep_edges(graph: RegionGraph, keep: np.ndarray) -> RegionGraph:
    names = ("edges", "border_length", "boundary", "color_distance", "embedding_distance")
    return replace(graph, **{name: getattr(graph, name)[keep] for name in names})


def _n_parts(graph: RegionGraph) -> int:
    import scipy.sparse.csgraph  # imported here: it changes the warning filters

    ends, n = (graph.edges[:, 0], graph.edges[:, 1]), graph.n_nodes
    matrix = scipy.sparse.coo_array((np.ones(graph.n_edges), ends), shape=(n, n))
    return int(scipy.sparse.csgraph.connected_components(matrix, directed=False)[0])
