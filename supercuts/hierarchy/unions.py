"""The best union of tree nodes for a target: the few nodes whose pixels together overlap it most.

In   parents (M,) of a valid tree; per leaf its pixels and those of the target in it
Out  node ids
Not  no masks, no images; a target's pixels are counted by the caller

The overlap of a union is a ratio of two sums over its nodes, so the best one is found exactly by a few rounds of
maximising a sum over the tree: W. Dinkelbach, "On nonlinear fractional programming", Management Science 13, 1967.
"""

import numpy as np
from jaxtyping import Int32, Int64

from supercuts.core.checks import check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy._kernels import unions as _kernels_unions


def best_union(
    parents: Int32[np.ndarray, " nodes"],
    inside: Int64[np.ndarray, " leaves"],
    areas: Int64[np.ndarray, " leaves"],
    k: int,
) -> Int32[np.ndarray, " chosen"]:
    """Return the 1..k disjoint nodes, ascending, whose union has the highest intersection over union with a target.

    inside: pixels of the target in each leaf, areas: all pixels of it. Among equally good unions one of the fewest
    nodes is taken. All sums are whole numbers, so the answer is exact; O(N k) steps a round, and a handful of rounds.

    >>> parents = np.array([4, 4, 5, 5, 6, 6, 6], np.int32)
    >>> best_union(parents, np.array([10, 10, 10, 0]), np.array([10, 10, 10, 10]), 2).tolist()
    [2, 4]
    """
    remedy = "Give the most nodes that the union may have."
    check_whole("k", k, remedy=remedy)
    check_in_range("k", k, 1, np.inf, remedy=remedy)
    if inside.size != areas.size or not 0 < areas.size <= parents.size:
        raise InputError(
            f"inside {inside.shape} and areas {areas.shape} do not fit a tree of {parents.size} nodes: give one count "
            "for each leaf."
        )
    if (inside < 0).any() or (inside > areas).any() or not inside.any():
        raise InputError(
            f"inside holds {inside.min()}..{inside.max()} pixels, {inside.sum()} in all; expected 0 to the leaf's area "
            "in each, and at least one: draw the target inside the image."
        )
    inside_below = _kernels.sum_to_root(parents, inside)
    areas_below = _kernels.sum_to_root(parents, areas)
    target = int(inside.sum())
    chosen: np.ndarray = np.array([parents.size - 1], np.int32)
    while True:
        common = int(inside_below[chosen].sum())
        union = int(areas_below[chosen].sum()) + target - common
        # above 0 in sum, together with the target, exactly where common / union is higher than it is now
        gain = inside_below * (union + common) - areas_below * common
        better = _kernels_unions.highest_gain(parents, gain, inside.size, min(k, inside.size)).astype(np.int32)
        is_best = gain[better].sum() <= gain[chosen].sum()
        chosen = better  # of an equal sum, but of the fewest nodes
        if is_best:
            return chosen
