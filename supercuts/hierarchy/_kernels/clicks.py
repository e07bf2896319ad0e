"""Compiled passes over a tree whose nodes are foreground, background or mixed.

In   parents (M,), probabilities per node (M,), the clicked label per leaf (N,)
Out  the probability per leaf
Not  no checks, no features (selection.py); annotations are left out because numba's own types are the signature
"""

import numpy as np

from supercuts.core.compiled import helper, kernel

NONE, FOREGROUND, BACKGROUND = 0, 1, 2


@helper
def _log_add(a, b):
    high = max(a, b)
    return high if high == -np.inf else high + np.log(np.exp(a - high) + np.exp(b - high))


@kernel
def foreground_of_leaves(parents, mixed, foreground, clicked):
    """Return (N,) the probability that each leaf is foreground, given the labels clicked: sum-product, O(M).

    mixed (M,): that a node whose parent is mixed is mixed too (a leaf never is). foreground (M,): that it is foreground
    if it is not mixed; both strictly between 0 and 1. Sums run over logarithms: many clicks make them very small.
    """
    n_leaves, n_nodes = clicked.size, parents.size
    has = np.zeros((n_nodes, 2), np.bool_)  # a click for foreground, for background, at or below the node
    children = np.zeros(n_nodes)  # log of the product of the children's totals
    whole = np.empty(n_nodes)  # log of what the clicks leave of "foreground, not mixed"
    total = np.empty(n_nodes)
    for node in range(n_nodes):
        pure, beyond = 0.0, -np.inf
        if node < n_leaves:
            has[node, 0], has[node, 1] = clicked[node] == FOREGROUND, clicked[node] == BACKGROUND
        else:
            pure, beyond = np.log(1 - mixed[node]), np.log(mixed[node]) + children[node]
        whole[node] = -np.inf if has[node, 1] else pure + np.log(foreground[node])
        other = -np.inf if has[node, 0] else pure + np.log(1 - foreground[node])
        total[node] = _log_add(_log_add(whole[node], other), beyond)
        if node < n_nodes - 1:
            parent = parents[node]
            children[parent] += total[node]
            has[parent, 0] |= has[node, 0]
            has[parent, 1] |= has[node, 1]
    reached = np.empty(n_nodes)  # that the node and all above it are mixed
    is_foreground = np.empty(n_nodes)  # that the node or one above it is foreground as a whole
    for node in range(n_nodes - 1, -1, -1):
        above, share = 0.0, 1.0
        if node < n_nodes - 1:
            above, share = is_foreground[parents[node]], reached[parents[node]]
        is_foreground[node] = above + share * np.exp(whole[node] - total[node])
        reached[node] = 0.0
        if node >= n_leaves:
            reached[node] = share * np.exp(np.log(mixed[node]) + children[node] - total[node])
    return is_foreground[:n_leaves].copy()
