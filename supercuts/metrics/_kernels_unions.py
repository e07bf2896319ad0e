"""Compiled loops over the nodes of a tree that choose the best few of them.

In   pixel counts per node as plain arrays, already checked by the callers
Out  the intersection and the area of the best choice
Not  no checks; annotations are left out because numba's own types are the signature
"""

import numpy as np
from numba import njit


@njit(cache=True)
def best_choice(inside, areas, parents, k, price):
    """Return the sums of inside and areas over the at most k disjoint nodes of the highest worth.

    A node is worth (1 + price) inside - price area. value[node, j] is the best of at most j nodes at or below node;
    children come before parents, so they are final when their parent takes them in.
    """
    n_nodes = parents.size
    value = np.zeros((n_nodes, k + 1))
    shared = np.zeros((n_nodes, k + 1), np.int64)
    covered = np.zeros((n_nodes, k + 1), np.int64)
    for node in range(n_nodes):
        whole = (1 + price) * inside[node] - price * areas[node]
        for j in range(1, k + 1):
            if whole > value[node, j]:
                value[node, j], shared[node, j], covered[node, j] = whole, inside[node], areas[node]
        parent = parents[node]
        if parent == node:
            continue
        for j in range(k, 0, -1):  # most first: those of fewer nodes do not hold this child yet
            for own in range(1, j + 1):
                joint = value[parent, j - own] + value[node, own]
                if joint > value[parent, j]:
                    value[parent, j] = joint
                    shared[parent, j] = shared[parent, j - own] + shared[node, own]
                    covered[parent, j] = covered[parent, j - own] + covered[node, own]
    return shared[n_nodes - 1, k], covered[n_nodes - 1, k]
