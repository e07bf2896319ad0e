"""numba kernel of parts: the tree that is left of a tree when only some leaves count.

In   a tree and which of its leaves are kept, as plain arrays
Out  the smaller tree
Not  no checks
"""

import numpy as np

from supercuts.core.compiled import kernel


@kernel
def restrict(parents, is_kept):
    """Return parents (M',) of the tree of the kept leaves, and the old node (M',) of each of its nodes.

    An old node stays if it is a kept leaf or has at least two children with kept leaves.
    """
    n_nodes, n_leaves = parents.size, is_kept.size
    children = np.zeros(n_nodes, np.int64)  # that hold kept leaves
    children[:n_leaves] = is_kept
    for node in range(n_nodes - 1):
        if children[node] > 0:
            children[parents[node]] += 1
    number = np.full(n_nodes, -1, np.int32)
    old = np.empty(n_nodes, np.int32)
    n = 0
    for node in range(n_nodes):
        stays = is_kept[node] if node < n_leaves else children[node] > 1
        if stays:
            number[node] = n
            old[n] = node
            n += 1
    above = np.full(n_nodes, -1, np.int32)  # the nearest node that stays, the node itself included
    for node in range(n_nodes - 1, -1, -1):
        inherited = above[parents[node]] if node < n_nodes - 1 else np.int32(-1)
        above[node] = number[node] if number[node] >= 0 else inherited
    new_parents = np.empty(n, np.int32)
    for k in range(n):
        node = old[k]
        up = above[parents[node]] if node < n_nodes - 1 else np.int32(-1)
        new_parents[k] = up if k < n - 1 else k
    return new_parents, old[:n].copy()
