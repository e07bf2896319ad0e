"""Compiled tables of the best union of tree nodes.

In   parents (M,), gain (M,) int64, a budget of nodes
Out  the nodes chosen
Not  no checks, no ratios (selection.py iterates); annotations are left out because numba's own types are the signature
"""

import numpy as np

from supercuts.core.compiled import kernel


@kernel
def highest_gain(parents, gain, n_leaves, most):
    """Return the fewest disjoint nodes, 1..most of them, with the highest sum of gains; ascending.

    Tables hold for each node the highest sum of at most 0, 1, ... nodes below it. A child joins its parent's table as
    soon as its own is complete, which takes O(N * most) steps in all.
    """
    n_nodes = parents.size
    width = np.zeros(n_nodes, np.int64)  # most nodes that can be chosen below
    for node in range(n_nodes):
        if node < n_leaves:
            width[node] = 1
        if node < n_nodes - 1:
            width[parents[node]] += width[node]
    start = np.zeros(n_nodes + 1, np.int64)
    for node in range(n_nodes):
        width[node] = min(width[node], most)
        start[node + 1] = start[node] + width[node] + 1
    best = np.zeros(start[-1], np.int64)  # of a budget of 0..width
    given = np.zeros(2 * start[-1], np.int64)  # of a parent's budget, the child's part; rows as wide as needed
    given_start = np.zeros(n_nodes, np.int64)
    used = np.zeros(n_nodes, np.int64)  # width of the children that have joined
    is_whole = np.zeros(start[-1], np.bool_)
    joined = np.empty(most + 1, np.int64)
    end = 0
    for node in range(n_nodes):
        at = start[node]
        for budget in range(1, width[node] + 1):
            if gain[node] > 0 and gain[node] >= best[at + budget]:  # the whole node rather than as good a part
                best[at + budget] = gain[node]
                is_whole[at + budget] = True
        if node == n_nodes - 1:
            break
        parent = parents[node]
        of_parent = start[parent]
        total = min(used[parent] + width[node], most)
        if end + total + 1 > given.size:
            longer = np.zeros(2 * given.size, np.int64)
            longer[:end] = given[:end]
            given = longer
        given_start[node] = end
        for budget in range(total + 1):
            low = max(0, budget - used[parent])
            joined[budget] = -1
            for part in range(low, min(budget, width[node]) + 1):
                value = best[at + part] + best[of_parent + budget - part]
                if value > joined[budget]:
                    joined[budget] = value
                    given[end + budget] = part
        end += total + 1
        used[parent] = total
        best[of_parent : of_parent + total + 1] = joined[: total + 1]
    left = np.zeros(n_nodes, np.int64)  # budget of a node, less that of its children from the last on
    root = n_nodes - 1
    while left[root] < width[root] and best[start[root] + left[root]] < best[start[root + 1] - 1]:
        left[root] += 1
    is_chosen = np.zeros(n_nodes, np.bool_)
    for node in range(root, -1, -1):
        if node < root:
            left[node] = given[given_start[node] + left[parents[node]]]
            left[parents[node]] -= left[node]
        if is_whole[start[node] + left[node]]:
            is_chosen[node] = True
            left[node] = 0
    return np.flatnonzero(is_chosen)
