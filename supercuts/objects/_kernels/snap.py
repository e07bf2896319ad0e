"""Compiled loops over tree nodes that fit a soft mask to the tree (figure_ground.py).

In   parents (M,) int32 -- leaves first, root last, parents[i] > i -- and gains per node
Out  which nodes a union is made of, and what lies below them
Not  no checks: the caller passes the arrays of a Hierarchy
"""

import numpy as np

from supercuts.core.compiled import kernel


@kernel
def best_union(parents, gains, penalty):
    """Return (M,) bool: disjoint nodes of largest total gain, each less the penalty; a node rather than equal parts."""
    root = parents.size - 1
    best = np.zeros(parents.size)  # of the node as a whole or of what lies below, never less than nothing
    is_whole = np.zeros(parents.size, np.bool_)
    for node in range(parents.size):  # ascending: the children have added theirs
        gain = gains[node] - penalty
        if gain > 0 and gain >= best[node]:
            best[node] = gain
            is_whole[node] = True
        if node < root:
            best[parents[node]] += best[node]
    is_covered = np.zeros(parents.size, np.bool_)
    for node in range(root - 1, -1, -1):
        is_covered[node] = is_covered[parents[node]] or is_whole[parents[node]]
        if is_covered[node]:
            is_whole[node] = False
    return is_whole


@kernel
def mark_below(parents, is_top):
    """Return (M,) bool: the nodes and everything below them."""
    is_below = is_top.copy()
    for node in range(parents.size - 2, -1, -1):
        is_below[node] = is_below[node] or is_below[parents[node]]
    return is_below
