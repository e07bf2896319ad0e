"""How well a few nodes of a tree together match one region: the upper bound of an object mask made of k nodes.

In   pixels of each leaf inside the region and in all, the tree as parents (M,)
Out  the best Jaccard index of the union of at most k nodes
Not  no search that may miss the best one; no choice of nodes without the truth
"""

import numpy as np
from jaxtyping import Int

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.metrics import _kernels_unions
from supercuts.metrics.inputs import check_tree
from supercuts.metrics.lifetimes import node_counts


def best_union_jaccard(
    inside: Int[np.ndarray, " leaves"],
    areas: Int[np.ndarray, " leaves"],
    truth_area: int,
    parents: Int[np.ndarray, " nodes"],
    k: int,
) -> float:
    """Return max |G n U| / |G u U| over unions U of at most k nodes, in 0..1; 0 for an empty region G.

    inside counts the pixels of each leaf that lie in the region. Nodes that overlap contain each other, so only
    disjoint ones need to be tried. The best are found exactly: a ratio a / b is largest where max(a - ratio * b) = 0
    (Dinkelbach, 1967), and each such maximum is a sum over nodes, found in one pass over the tree.

    Leaves of 4 pixels, of which the first and the last are the region; the first two merge, then all:

    >>> inside, areas, parents = np.array([4, 0, 4]), np.array([4, 4, 4]), np.array([3, 3, 4, 4, 4])
    >>> [round(best_union_jaccard(inside, areas, 8, parents, k), 4) for k in (1, 2)]
    [0.6667, 1.0]
    """
    check_tree(parents, np.zeros(parents.size), areas.size)
    check_in_range("k", k, 1, np.inf, remedy="Give how many nodes may be joined.")
    if inside.shape != areas.shape or (inside < 0).any() or (inside > areas).any() or inside.sum() > truth_area:
        raise InputError(
            f"inside {inside.shape} holds {inside.sum()} of the {truth_area} pixels of the region, in leaves of "
            f"{areas.sum()}: count np.bincount(labels[mask]) and np.bincount(labels), both of all leaves."
        )
    counts, sizes = (np.ascontiguousarray(node_counts(one[None], parents)[:, 0]) for one in (inside, areas))
    best = 0.0
    while truth_area:
        shared, covered = _kernels_unions.best_choice(counts, sizes, parents, min(k, areas.size), best)
        jaccard = float(shared / (truth_area + covered - shared))
        if jaccard <= best:
            break
        best = jaccard
    return best
