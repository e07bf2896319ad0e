"""Upper bounds of a tree: how well its nodes and its best cut match each true region.

J(G, R) = |G n R| / |G u R|. The best node is the Jaccard index at instance level of Pont-Tuset et al. ("Multiscale
combinatorial grouping", PAMI 2017), with the nodes as proposals; the best cut takes only the regions of one cut.
Truth regions without a pixel have index 0 and are left out of all means. Tables may hold only some truth regions (for
example, the objects without the background). Their columns then no longer add up to the leaves' pixels: pass `areas`,
the number of pixels of each leaf.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from supercuts.core.arrays import arrays_repr
from supercuts.core.errors import InputError
from supercuts.metrics._kernels import regions as _kernels
from supercuts.metrics.inputs import check_tree, stack_tables


def node_counts(
    table: Int[np.ndarray, "truths leaves"], parents: Int[np.ndarray, " nodes"]
) -> Int[np.ndarray, "nodes truths"]:
    """Return the number of pixels of each truth region in each node: a node's counts are the sums of its children's.

    Example: a root with two leaves:

    >>> node_counts(np.array([[3, 0], [1, 2]]), np.array([2, 2, 2])).tolist()
    [[3, 1], [0, 2], [3, 3]]
    """
    counts = np.zeros((parents.size, table.shape[0]), np.int64)
    counts[: table.shape[1]] = table.T
    _kernels.sum_to_root(counts, parents)
    return counts


def lifetimes(
    parents: Int[np.ndarray, " nodes"],
    altitudes: Float[np.ndarray, " nodes"],
    n_leaves: int,
    thresholds: Float[np.ndarray, " thresholds"],
) -> tuple[Int[np.ndarray, " nodes"], Int[np.ndarray, " nodes"]]:
    """Return the first cut in which each node is a region, and the first later cut in which it is not: indices 0..T.

    The cut at threshold a consists of the maximal nodes of altitude <= a and of the leaves below no such node.
    Thresholds must ascend; they are compared in the precision of the altitudes. A node with equal indices is in no cut.

    Example: leaves are 0, 1 and 2. Node 3 joins 0 and 1 at 0.2, the root is at 0.6:

    >>> births, deaths = lifetimes(
    ...     np.array([3, 3, 4, 4, 4]), np.array([0, 0, 0, 0.2, 0.6]), 3, np.array([0.1, 0.3, 0.5, 0.7])
    ... )
    >>> births.tolist(), deaths.tolist()
    ([0, 0, 0, 1, 3], [1, 1, 3, 3, 4])
    """
    reached = np.searchsorted(thresholds.astype(altitudes.dtype), altitudes)
    births, deaths = reached.copy(), reached[parents]
    births[:n_leaves] = 0
    deaths[-1] = thresholds.size
    return births, deaths


@dataclass(frozen=True, slots=True, eq=False)
class NodeScores:
    """Mean over each annotator's truth regions of the best Jaccard index; best_cut <= best_node.

    best_node      (A,) float64  index with the best node of the tree for each truth region
    best_cut       (A,) float64  index with the best region of one cut, the best cut for this annotator
    best_disjoint  (A,) float64  index with disjoint nodes, as in best_disjoint_nodes; None if not measured
    """

    best_node: np.ndarray
    best_cut: np.ndarray
    best_disjoint: np.ndarray | None = None

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if the series differ in length."""
        if self.best_node.shape != self.best_cut.shape:
            raise InputError(
                f"best_node {self.best_node.shape} and best_cut {self.best_cut.shape} differ in shape: give one value "
                "per annotator; tree_nodes does."
            )


@dataclass(frozen=True, slots=True)
class NodeSummary:
    """Means over images of the means over annotators; higher is better. NaN if not measured for every image."""

    best_node: float
    best_cut: float
    best_disjoint: float = float("nan")


def flat_jaccard(
    contingency: Int[np.ndarray, "truths regions"], areas: Int[np.ndarray, " regions"] | None = None
) -> Float[np.ndarray, " truths"]:
    """Return the best Jaccard index of each truth region with any region of a segmentation, in 0..1.

    Example: truth regions have 2 and 2 pixels, predicted ones 1 and 3; the indices are 1/2 and 2/3.

    >>> flat_jaccard(np.array([[1, 1], [0, 2]])).round(4).tolist()
    [0.5, 0.6667]
    """
    table, areas, _ = _stack([contingency], areas)
    return _best_of_nodes(np.ascontiguousarray(table.T), areas, table)


def best_node_jaccard(
    contingency: Int[np.ndarray, "truths leaves"],
    parents: Int[np.ndarray, " nodes"],
    areas: Int[np.ndarray, " leaves"] | None = None,
) -> Float[np.ndarray, " truths"]:
    """Return the best Jaccard index of each truth region with any node of the tree, leaves and root included.

    Parameters
    ----------
    contingency
        (truths, leaves) integers, pixels in each pair of a true region and a leaf.
    parents
        (M,) integers, parent of each node, leaves first, root last.
    areas
        (leaves,) integers, pixels of each leaf; only needed if the table does not hold all truth regions.

    Returns
    -------
    float64 (truths,)
        In 0..1.

    Raises
    ------
    InputError
        If the table counts no pixel or a negative number, or does not fit the tree or the areas.

    References
    ----------
    .. [1] Pont-Tuset et al., "Multiscale combinatorial grouping for image segmentation and object proposal generation",
       PAMI 2017.

    Examples
    --------
    Leaves have 3, 1 and 4 pixels. The first two together are one truth region, the third is the other:

    >>> best_node_jaccard(np.array([[3, 1, 0], [0, 0, 4]]), np.array([3, 3, 4, 4, 4])).tolist()
    [1.0, 1.0]
    """
    table, areas, _ = _stack([contingency], areas)
    check_tree(parents, np.zeros(parents.size), areas.size)
    return _best_of_nodes(node_counts(table, parents), node_counts(areas[None], parents)[:, 0], table)


def best_cut_jaccard(
    contingency: Int[np.ndarray, "truths leaves"],
    parents: Int[np.ndarray, " nodes"],
    altitudes: Float[np.ndarray, " nodes"],
    areas: Int[np.ndarray, " leaves"] | None = None,
) -> float:
    """Return the maximum over all cuts of the mean over truth regions of the best Jaccard index with a region.

    The cuts are the partition into leaves and, for each altitude, the maximal nodes at or below it.

    Parameters
    ----------
    contingency, parents
        As in `best_node_jaccard`.
    altitudes
        (M,) floats that rise towards the root.
    areas
        As in `best_node_jaccard`.

    Returns
    -------
    float
        In 0..1; at most the mean of `best_node_jaccard`.

    Raises
    ------
    InputError
        As in `best_node_jaccard`, or if altitudes do not rise.

    Examples
    --------
    The truth regions are those of `best_node_jaccard`. In the first tree they are the regions of one cut. The second
    tree merges leaves 1 and 2 first; its best cut is the leaves, with 3 of 4 pixels of the first truth region.

    >>> table = np.array([[3, 1, 0], [0, 0, 4]])
    >>> best_cut_jaccard(table, np.array([3, 3, 4, 4, 4]), np.array([0, 0, 0, 0.2, 0.6]))
    1.0
    >>> best_cut_jaccard(table, np.array([4, 3, 3, 4, 4]), np.array([0, 0, 0, 0.2, 0.6]))
    0.875
    """
    return float(tree_nodes([contingency], parents, altitudes, areas).best_cut[0])


@dataclass(frozen=True, slots=True, eq=False)
class DisjointNodes:
    """The disjoint nodes of a tree that fit truth regions best.

    Parameters
    ----------
    node
        (truths,) int64, chosen node of each truth region, -1 if none holds more than half of it.
    jaccard
        (truths,) float64, their Jaccard indices in 0..1, 0 without a node.

    Examples
    --------
    >>> DisjointNodes(np.array([3, -1]), np.array([0.5, 0.0])).score
    0.25
    """

    node: Int64[np.ndarray, " truths"]
    jaccard: Float64[np.ndarray, " truths"]

    __repr__ = arrays_repr

    @property
    def score(self) -> float:
        """Mean Jaccard index over the truth regions, in 0..1."""
        return float(self.jaccard.mean())


def best_disjoint_nodes(
    contingency: Int[np.ndarray, "truths leaves"],
    parents: Int[np.ndarray, " nodes"],
    areas: Int[np.ndarray, " leaves"] | None = None,
) -> DisjointNodes:
    """Return the disjoint nodes with the highest SEG, the segmentation measure of the Cell Tracking Challenge.

    A region counts for a truth region if it holds more than half of it; the measure is the mean Jaccard index over
    truth regions. Nodes may come from different altitudes. The result is the exact maximum: at most one of disjoint
    nodes holds more than half of a truth region, so each node has a worth of its own, and dynamic programming from
    the leaves to the root finds the best choice.

    Parameters
    ----------
    contingency, parents, areas
        As in `best_node_jaccard`.

    Returns
    -------
    DisjointNodes
        Node and index of each truth region.

    Raises
    ------
    InputError
        As in `best_node_jaccard`.

    References
    ----------
    .. [1] Maska et al., "A benchmark for comparison of cell tracking algorithms", Bioinformatics 2014.

    Examples
    --------
    Leaves have 3, 1 and 4 pixels. The truth regions are a node and its sibling:

    >>> best = best_disjoint_nodes(np.array([[3, 1, 0], [0, 0, 4]]), np.array([3, 3, 4, 4, 4]))
    >>> best.node.tolist(), best.score
    ([3, 2], 1.0)
    """
    table, areas, _ = _stack([contingency], areas)
    check_tree(parents, np.zeros(parents.size), areas.size)
    counts, node_areas = node_counts(table, parents), node_counts(areas[None], parents)
    truth_areas = table.sum(axis=1)
    jaccard = np.where(2 * counts > truth_areas, counts / np.maximum(node_areas + truth_areas - counts, 1), 0)
    chosen = np.flatnonzero(_kernels.best_disjoint(parents.astype(np.int64), jaccard.sum(axis=1)))
    jaccard = np.concatenate([jaccard[chosen], np.zeros((1, truth_areas.size))])  # at least one row
    best, index = jaccard.argmax(axis=0), jaccard.max(axis=0)
    return DisjointNodes(np.where(index > 0, np.append(chosen, -1)[best], -1), index)


def tree_nodes(
    contingencies: Sequence[Int[np.ndarray, "_ leaves"]],
    parents: Int[np.ndarray, " nodes"],
    altitudes: Float[np.ndarray, " nodes"],
    areas: Int[np.ndarray, " leaves"] | None = None,
) -> NodeScores:
    """Score a tree against each annotator: means of best_node_jaccard, best_cut_jaccard and best_disjoint_nodes.

    contingencies holds one (truths, leaves) table per annotator; leaves are nodes 0..n-1.

    Example: the first annotator drew two regions of 4 pixels, each a leaf; the second drew one region, the root:

    >>> tree = np.array([2, 2, 2]), np.array([0.0, 0.0, 0.5])
    >>> scores = tree_nodes([np.array([[4, 0], [0, 4]]), np.array([[4, 4]])], *tree)
    >>> scores.best_node.tolist(), scores.best_cut.tolist(), scores.best_disjoint.tolist()
    ([1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
    """
    table, areas, starts = _stack(contingencies, areas)
    check_tree(parents, altitudes, areas.size)
    # the first threshold is below all altitudes: only leaves are regions
    thresholds = np.concatenate([[-np.inf], np.unique(altitudes[areas.size :])])
    lives = lifetimes(parents, altitudes, areas.size, thresholds)
    counts, node_areas = node_counts(table, parents), node_counts(areas[None], parents)[:, 0]
    nodes = _best_of_nodes(counts, node_areas, table)
    cuts = _kernels.best_jaccard(counts, node_areas, table.sum(axis=1), *lives, thresholds.size)
    rows = [np.flatnonzero(table[a:b].any(axis=1)) + a for a, b in pairwise(starts)]
    return NodeScores(
        best_node=np.array([nodes[row].mean() for row in rows]),
        best_cut=np.array([cuts[row].mean(axis=0).max() for row in rows]),
        best_disjoint=np.array([best_disjoint_nodes(table[row], parents, areas).score for row in rows]),
    )


def aggregate_nodes(scores: Sequence[NodeScores]) -> NodeSummary:
    """Return the means over images; every image has the same weight, whatever its number of annotators.

    >>> one, two = NodeScores(np.array([1.0]), np.array([0.5])), NodeScores(np.array([0.4, 0.6]), np.array([0.2, 0.4]))
    >>> summary = aggregate_nodes([one, two])
    >>> summary.best_node, round(summary.best_cut, 4)
    (0.75, 0.4)
    """
    if not scores:
        raise InputError("There are no images to aggregate: give the scores of at least one.")
    return NodeSummary(
        best_node=float(np.mean([image.best_node.mean() for image in scores])),
        best_cut=float(np.mean([image.best_cut.mean() for image in scores])),
        best_disjoint=float(
            np.mean([np.nan if image.best_disjoint is None else image.best_disjoint.mean() for image in scores])
        ),
    )


def _best_of_nodes(counts: np.ndarray, node_areas: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return each truth region's best index (truths,) with any node; overlapping nodes are passed as one cut."""
    births = np.zeros(node_areas.size, np.int64)
    best: np.ndarray = _kernels.best_jaccard(counts, node_areas, table.sum(axis=1), births, births + 1, 1)
    return best[:, 0]


def _stack(contingencies: Sequence[np.ndarray], areas: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the stacked tables, the areas of their columns, and the first row of each table."""
    if areas is None or not contingencies:
        table, starts = stack_tables(contingencies)
        return table, table[: starts[1]].sum(axis=0), starts
    for rows in contingencies:
        if (rows < 0).any() or not rows.any():
            raise InputError(
                f"A contingency table of shape {rows.shape} holds no pixel, or a negative count: leave out annotators "
                "without regions to score."
            )
        if rows.shape[1] != areas.size or (rows.sum(axis=0) > areas).any():
            raise InputError(
                f"areas {areas} are fewer or smaller than the columns of a contingency table of shape {rows.shape}: "
                "give the pixels of each leaf, np.bincount(labels.ravel())."
            )
    starts = np.cumsum([0, *(rows.shape[0] for rows in contingencies)])
    return np.concatenate(contingencies).astype(np.int64), areas.astype(np.int64), starts
