"""The order in which regions are split when a focus has a share of them.

In   parents (M,), altitudes (M,), which nodes lie in the focus (M,), which may and which must be split (M,)
Out  which nodes are split (M,)
Not  no checks, no pixels (cuts.py); annotations are left out because numba's own types are the signature
"""

import heapq

import numpy as np

from supercuts.core.compiled import kernel


@kernel
def split_by_budget(parents, altitudes, n_leaves, is_inside, is_splittable, n_forced, n_regions, budget):
    """Return (M,) bool: the merges undone for n_regions, of which round(budget * regions) shall lie inside.

    A split adds regions inside or outside, according to its node's children. At each count the kind that is short
    is taken, the highest altitude first; if no region offers it, one that offers it further below; else the other.
    The n_forced highest nodes are split first.
    """
    n_nodes = parents.size
    adds_inside = np.zeros(n_nodes, np.int64)
    adds_outside = np.zeros(n_nodes, np.int64)
    for node in range(n_nodes):
        if node >= n_leaves:  # the region itself goes
            adds_inside[node] -= is_inside[node]
            adds_outside[node] -= not is_inside[node]
        if node < n_nodes - 1:
            adds_inside[parents[node]] += is_inside[node]
            adds_outside[parents[node]] += not is_inside[node]
    first = np.full(n_nodes, -1, np.int64)  # children as linked lists
    following = np.full(n_nodes, -1, np.int64)
    offers = np.zeros((n_nodes, 2), np.bool_)  # at or below the node, to add outside and to add inside
    for node in range(n_nodes):
        is_open = node >= n_leaves and is_splittable[node]
        if is_open:
            offers[node, int(adds_inside[node] > adds_outside[node])] = True
        if node < n_nodes - 1:
            parent = parents[node]
            following[node], first[parent] = first[parent], node
            if is_splittable[parent]:
                offers[parent, 0] |= offers[node, 0]
                offers[parent, 1] |= offers[node, 1]
    is_split = np.zeros(n_nodes, np.bool_)
    inside, total = np.int64(is_inside[n_nodes - 1]), np.int64(1)
    for node in range(n_nodes - 1, n_nodes - 1 - n_forced, -1):
        is_split[node] = True
        inside += adds_inside[node]
        total += adds_inside[node] + adds_outside[node]
    # by what the split itself adds, and whether the other kind is to be had below
    queues = [[(0.0, np.int64(0)) for _ in range(0)] for _ in range(4)]
    new = np.empty(n_nodes, np.int64)
    n_new = 0
    for node in range(n_nodes):
        if not is_split[node] and (node == n_nodes - 1 or is_split[parents[node]]):
            new[n_new] = node
            n_new += 1
    while True:
        while n_new > 0:
            n_new -= 1
            node = new[n_new]
            if node >= n_leaves and is_splittable[node]:
                kind = int(adds_inside[node] > adds_outside[node])
                queue = 2 * kind + int(offers[node, 1 - kind])
                heapq.heappush(queues[queue], (-np.float64(altitudes[node]), np.int64(-node)))
        wanted = int(inside < np.floor(budget * (total + 1) + 0.5))
        one, other = 2 * wanted, 2 * wanted + 1
        if len(queues[one]) > 0 and (len(queues[other]) == 0 or queues[one][0] < queues[other][0]):
            chosen = one
        elif len(queues[other]) > 0:
            chosen = other
        elif len(queues[2 * (1 - wanted) + 1]) > 0:
            chosen = 2 * (1 - wanted) + 1
        else:
            chosen = 2 * (1 - wanted)
        if len(queues[chosen]) == 0:
            break
        node = -queues[chosen][0][1]
        total += adds_inside[node] + adds_outside[node]
        if total > n_regions:
            break
        heapq.heappop(queues[chosen])
        is_split[node] = True
        inside += adds_inside[node]
        child = first[node]
        while child >= 0:
            new[n_new] = child
            n_new += 1
            child = following[child]
    return is_split
