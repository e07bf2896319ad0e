"""Merge so that masks given by another tool are regions of the tree."""

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

    What is not boolean, of another size, or without a valid pixel is refused.
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
    """Return the cell 0.. of each pixel: two pixels share one if and only if they lie in the same masks.

    >>> cells_of_masks(np.array([[[True, True, False, False]], [[False, True, True, False]]])).tolist()
    [[1, 3, 2, 0]]
    """
    cells = np.zeros(masks.shape[1:], np.int32)
    n_cells = 1
    for mask in masks:
        inside = cells[mask]
        is_hit = np.zeros(n_cells, bool)
        is_hit[inside] = True
        renamed = n_cells - 1 + np.cumsum(is_hit, dtype=np.int32)  # each cell that the mask meets gives a new one
        cells[mask] = renamed[inside]
        n_cells += int(is_hit.sum())
    return relabel_consecutive(cells)[0]


def within_cells(graph: RegionGraph, cell: Int32[np.ndarray, " nodes"], n_regions: int) -> RegionGraph:
    """Return the graph without the edges between different cells: what merges along it stays in its cell.

    Refused if the cells are in more connected pieces than the regions wanted.
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
    """Return which leaves each mask consists of; no leaf crosses the border of a mask."""
    members = np.zeros((len(masks), n_leaves), bool)
    for k, mask in enumerate(masks):
        members[k, labels[mask]] = True
    return members


def nested_family(members: Bool[np.ndarray, "masks leaves"]) -> Int64[np.ndarray, " family"]:
    """Return the masks that can all be nodes of one tree, smallest first: taken in order, unless one crosses another.

    Two sets of leaves cross if they overlap and neither holds the other.
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
    """Return the tree in which every mask of nested_family is a node; elsewhere the merger decides as it does without.

    Each mask is merged to one region, the innermost first, and then treated as one in what holds it. A mask in several
    connected pieces joins them last. Where a mask meets its surroundings at a lower altitude than its own parts met,
    theirs is lowered to it: the mask is whole before it is left.
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
        kept, index = np.unique(joined, return_inverse=True)
        node_of_region, region = node_of_region[kept], index.astype(np.int32)
        region_of_leaf = region[region_of_leaf]
        if statistics is not None:
            statistics = contract_statistics(statistics, graph, region)
        graph = contract(graph, region)
    _kernels.cap_at_parents(parents, altitudes)
    return MergeTree(parents, altitudes)


def _merge_inside(regions: Regions, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the merges (m - 1, 2) of m regions into one, merge k making node m + k, and their altitudes."""
    n_inside, n_nodes = inside.size, regions.graph.n_nodes
    # all else is one region that nothing merges with: the areas still add up to the image
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
        made = np.arange(graph.n_nodes, graph.n_nodes + n_merges)
        below = np.flatnonzero(tree.parents[: made[-1]] <= made[-1])
        pairs = below[np.argsort(tree.parents[below], kind="stable")].reshape(-1, 2)
        pairs[pairs >= graph.n_nodes] -= graph.n_nodes - n_inside
        heights = tree.altitudes[made]
    tops = np.setdiff1d(np.arange(n_inside + n_merges), pairs)
    # pieces that do not touch: the first with the second, what that makes with the third, and so on
    firsts = [tops[0], *range(n_inside + n_merges, 2 * n_inside - 2)][: tops.size - 1]
    joins = list(zip(firsts, tops[1:], strict=True))
    pairs = np.concatenate([pairs, np.array(joins, np.int64).reshape(-1, 2)])
    return pairs, np.concatenate([heights, np.ones(len(joins), np.float32)])


def _keep_edges(graph: RegionGraph, keep: np.ndarray) -> RegionGraph:
    names = ("edges", "border_length", "boundary", "color_distance", "embedding_distance")
    return replace(graph, **{name: getattr(graph, name)[keep] for name in names})


def _n_parts(graph: RegionGraph) -> int:
    import scipy.sparse.csgraph  # changes the filters of warnings

    ends, n = (graph.edges[:, 0], graph.edges[:, 1]), graph.n_nodes
    matrix = scipy.sparse.coo_array((np.ones(graph.n_edges), ends), shape=(n, n))
    return int(scipy.sparse.csgraph.connected_components(matrix, directed=False)[0])
