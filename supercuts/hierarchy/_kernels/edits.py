"""Compiled renumbering of a tree whose nodes were moved about.

In   parents (M,) in any order, altitudes (M,), rank (M,), the root
Out  a tree with leaves first, root last
Not  no checks, no edits (edits.py); annotations are left out because numba's own types are the signature
"""

import numpy as np

from supercuts.core.compiled import kernel

FROZEN, FREE, FORCED = 0, 1, 2


@kernel
def tidy(parents, altitudes, rank, n_leaves, root):
    """Return parents, altitudes, and the numbers of frozen and of forced nodes, of the tree in order.

    Inner nodes with one child go, altitudes are raised to the highest below, and inner nodes are numbered by rank, then
    altitude, then as they were, every child before its parent. No rank is above its parent's.
    """
    n_nodes = parents.size
    first = np.full(n_nodes, -1, np.int64)
    following = np.full(n_nodes, -1, np.int64)
    n_children = np.zeros(n_nodes, np.int64)
    for node in range(n_nodes):
        if node != root:
            following[node], first[parents[node]] = first[parents[node]], node
            n_children[parents[node]] += 1
    queue = np.empty(n_nodes, np.int64)  # from the root down
    queue[0], n_queued, done = root, 1, 0
    while done < n_queued:
        child = first[queue[done]]
        done += 1
        while child >= 0:
            queue[n_queued] = child
            n_queued += 1
            child = following[child]
    above = parents.astype(np.int64)  # the nearest ancestor that stays, -1 above the highest
    above[root] = -1
    for i in range(1, n_queued):
        node = queue[i]
        if n_children[above[node]] == 1:
            above[node] = above[above[node]]
    height = altitudes.copy()
    age = np.arange(n_nodes)
    kept = np.empty(n_nodes, np.int64)  # inner nodes that stay, children first
    n_kept = 0
    for i in range(n_queued - 1, -1, -1):
        node = queue[i]
        if node >= n_leaves and n_children[node] == 1:
            continue
        if node >= n_leaves:
            kept[n_kept] = node
            n_kept += 1
        if above[node] >= 0:
            height[above[node]] = max(height[above[node]], height[node])
            age[above[node]] = max(age[above[node]], age[node])
    kept = kept[:n_kept]
    # stable sorts, the last one of most weight: where all are equal children stay first
    kept = kept[np.argsort(age[kept], kind="mergesort")]
    kept = kept[np.argsort(height[kept], kind="mergesort")]
    kept = kept[np.argsort(rank[kept], kind="mergesort")]
    new = np.empty(n_nodes, np.int32)
    for leaf in range(n_leaves):
        new[leaf] = leaf
    for i in range(n_kept):
        new[kept[i]] = n_leaves + i
    out_parents = np.empty(n_leaves + n_kept, np.int32)
    out_altitudes = np.zeros(n_leaves + n_kept, np.float32)
    n_frozen, n_forced = 0, 0
    for leaf in range(n_leaves):
        out_parents[leaf] = new[above[leaf]] if above[leaf] >= 0 else leaf
    for node in kept:
        out_parents[new[node]] = new[above[node]] if above[node] >= 0 else new[node]
        out_altitudes[new[node]] = height[node]
        n_frozen += rank[node] == FROZEN
        n_forced += rank[node] == FORCED
    return out_parents, out_altitudes, n_frozen, n_forced
