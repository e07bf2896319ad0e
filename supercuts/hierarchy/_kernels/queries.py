"""Numba kernels of queries: the split order of focused cuts, clicks, unions of nodes, edits."""

import heapq

import numpy as np

from supercuts.core.compiled import helper, kernel
from supercuts.hierarchy._kernels import FORCED, FROZEN


@kernel
def split_by_budget(parents, altitudes, n_leaves, is_inside, is_splittable, n_forced, n_regions, budget):
    """Return the merges (M,) bool to undo for n_regions, with a target of round(budget * n_regions) inside.

    The children of a node decide whether its split adds regions inside or outside. The n_forced highest nodes are split
    first. Then, at each count, split a region that adds to the side with too few regions, highest altitude first. If
    there is none, split a region with such a node further below, or else any region.
    """
    n_nodes = parents.size
    adds_inside = np.zeros(n_nodes, np.int64)
    adds_outside = np.zeros(n_nodes, np.int64)
    for node in range(n_nodes):
        if node >= n_leaves:  # the split removes the region itself
            adds_inside[node] -= is_inside[node]
            adds_outside[node] -= not is_inside[node]
        if node < n_nodes - 1:
            adds_inside[parents[node]] += is_inside[node]
            adds_outside[parents[node]] += not is_inside[node]
    first = np.full(n_nodes, -1, np.int64)  # children as linked lists
    following = np.full(n_nodes, -1, np.int64)
    offers = np.zeros((n_nodes, 2), np.bool_)  # a split at or below the node adds [outside, inside]
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
    # one queue for each side that the split adds to, times whether a split further below adds to the other side
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
        side = int(inside < np.floor(budget * (total + 1) + 0.5))
        alone, both = 2 * side, 2 * side + 1
        if len(queues[alone]) > 0 and (len(queues[both]) == 0 or queues[alone][0] < queues[both][0]):
            chosen = alone
        elif len(queues[both]) > 0:
            chosen = both
        elif len(queues[2 * (1 - side) + 1]) > 0:
            chosen = 2 * (1 - side) + 1
        else:
            chosen = 2 * (1 - side)
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


NONE, FOREGROUND, BACKGROUND = 0, 1, 2


@helper
def _log_add(a, b):
    high = max(a, b)
    return high if high == -np.inf else high + np.log(np.exp(a - high) + np.exp(b - high))


@kernel
def foreground_of_leaves(parents, mixed, foreground, clicked):
    """Return the foreground probability (N,) of each leaf given the labels clicked, by sum-product in O(M).

    mixed (M,): probability that a node with a mixed parent is mixed too; leaves never are. foreground (M,): foreground
    probability of an unmixed node. Both lie strictly between 0 and 1. Sums use logarithms, because many clicks make
    probabilities very small.
    """
    n_leaves, n_nodes = clicked.size, parents.size
    has = np.zeros((n_nodes, 2), np.bool_)  # a foreground or background click at or below the node
    children = np.zeros(n_nodes)  # log of the product of the children's totals
    whole = np.empty(n_nodes)  # log of P(node is unmixed foreground, clicks below it)
    total = np.empty(n_nodes)
    for node in range(n_nodes):
        pure, beyond = 0.0, -np.inf
        if node < n_leaves:
            has[node, 0], has[node, 1] = clicked[node] == FOREGROUND, clicked[node] == BACKGROUND
        else:
            pure, beyond = np.log(1 - mixed[node]), np.log(mixed[node]) + children[node]
        whole[node] = -np.inf if has[node, 1] else pure + np.log(foreground[node])
        ground = -np.inf if has[node, 0] else pure + np.log(1 - foreground[node])
        total[node] = _log_add(_log_add(whole[node], ground), beyond)
        if node < n_nodes - 1:
            parent = parents[node]
            children[parent] += total[node]
            has[parent, 0] |= has[node, 0]
            has[parent, 1] |= has[node, 1]
    reached = np.empty(n_nodes)  # probability that the node and all its ancestors are mixed
    is_foreground = np.empty(n_nodes)  # probability that the node or an ancestor is unmixed foreground
    for node in range(n_nodes - 1, -1, -1):
        above, share = 0.0, 1.0
        if node < n_nodes - 1:
            above, share = is_foreground[parents[node]], reached[parents[node]]
        is_foreground[node] = above + share * np.exp(whole[node] - total[node])
        reached[node] = 0.0
        if node >= n_leaves:
            reached[node] = share * np.exp(np.log(mixed[node]) + children[node] - total[node])
    return is_foreground[:n_leaves].copy()


@kernel
def highest_gain(parents, gain, n_leaves, most):
    """Return the 1..most disjoint nodes with the highest sum of gains, ascending; the fewest nodes if sums are equal.

    The table of a node holds the highest sum of at most 0, 1, ... nodes in its subtree. A child joins its parent's
    table once its own is complete, which takes O(N * most) steps overall.
    """
    n_nodes = parents.size
    width = np.zeros(n_nodes, np.int64)  # highest number of nodes to choose in the subtree
    for node in range(n_nodes):
        if node < n_leaves:
            width[node] = 1
        if node < n_nodes - 1:
            width[parents[node]] += width[node]
    start = np.zeros(n_nodes + 1, np.int64)
    for node in range(n_nodes):
        width[node] = min(width[node], most)
        start[node + 1] = start[node] + width[node] + 1
    best = np.zeros(start[-1], np.int64)  # highest sum for each budget 0..width of each node
    child_part = np.zeros(2 * start[-1], np.int64)  # the child's part of each budget of its parent
    part_start = np.zeros(n_nodes, np.int64)
    used = np.zeros(n_nodes, np.int64)  # total width of the children joined so far
    is_whole = np.zeros(start[-1], np.bool_)
    joined = np.empty(most + 1, np.int64)
    end = 0
    for node in range(n_nodes):
        at = start[node]
        for budget in range(1, width[node] + 1):
            if gain[node] > 0 and gain[node] >= best[at + budget]:  # in a tie, prefer the whole node
                best[at + budget] = gain[node]
                is_whole[at + budget] = True
        if node == n_nodes - 1:
            break
        parent = parents[node]
        of_parent = start[parent]
        total = min(used[parent] + width[node], most)
        if end + total + 1 > child_part.size:
            longer = np.zeros(2 * child_part.size, np.int64)
            longer[:end] = child_part[:end]
            child_part = longer
        part_start[node] = end
        for budget in range(total + 1):
            low = max(0, budget - used[parent])
            joined[budget] = -1
            for part in range(low, min(budget, width[node]) + 1):
                value = best[at + part] + best[of_parent + budget - part]
                if value > joined[budget]:
                    joined[budget] = value
                    child_part[end + budget] = part
        end += total + 1
        used[parent] = total
        best[of_parent : of_parent + total + 1] = joined[: total + 1]
    left = np.zeros(n_nodes, np.int64)  # remaining budget of a node after its visited children
    root = n_nodes - 1
    while left[root] < width[root] and best[start[root] + left[root]] < best[start[root + 1] - 1]:
        left[root] += 1
    is_chosen = np.zeros(n_nodes, np.bool_)
    for node in range(root, -1, -1):
        if node < root:
            left[node] = child_part[part_start[node] + left[parents[node]]]
            left[parents[node]] -= left[node]
        if is_whole[start[node] + left[node]]:
            is_chosen[node] = True
            left[node] = 0
    return np.flatnonzero(is_chosen)


@kernel
def tidy(parents, altitudes, rank, n_leaves, root):
    """Return a valid tree: its parents and altitudes, the number of frozen nodes, and the number of forced nodes.

    Inner nodes with one child are removed. Altitudes are raised to the highest one below. Inner nodes are renumbered by
    rank, then altitude, then old id, children before parents. The rank of a node must not exceed its parent's.
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
    above = parents.astype(np.int64)  # nearest ancestor that is kept, -1 if none
    above[root] = -1
    for i in range(1, n_queued):
        node = queue[i]
        if n_children[above[node]] == 1:
            above[node] = above[above[node]]
    height = altitudes.copy()
    age = np.arange(n_nodes)
    kept = np.empty(n_nodes, np.int64)  # inner nodes that are kept, children first
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
    # stable sorts, the main key last: if all keys are equal, children stay before parents
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
