"""Numba kernel of agglomerative merging: a heap of edges, adjacency lists, a hash table of alive edges.

Every region has a slot. A merge moves the edges of the region with fewer edges to the slot of the other, so each edge
moves O(log E) times; parallel edges become one. Heap entries are never updated in place: an entry is valid while its
edge is alive and its key is the edge's current key.

Rows are added and copied element by element, because array expressions take seconds longer to compile.
"""

import numpy as np

from supercuts.core.compiled import allocating_helper, helper, kernel


@helper
def _less(keys, ids, i, j):
    return keys[i] < keys[j] or (keys[i] == keys[j] and ids[i] < ids[j])


@helper
def _swap(keys, ids, i, j):
    keys[i], keys[j] = keys[j], keys[i]
    ids[i], ids[j] = ids[j], ids[i]


@helper
def _push(keys, ids, size, key, identity):
    keys[size] = key
    ids[size] = identity
    child = size
    while child > 0:
        parent = (child - 1) // 2
        if not _less(keys, ids, child, parent):
            break
        _swap(keys, ids, child, parent)
        child = parent
    return size + 1


@helper
def _sift_down(keys, ids, size, parent):
    while True:
        child = 2 * parent + 1
        if child >= size:
            return
        if child + 1 < size and _less(keys, ids, child + 1, child):
            child += 1
        if not _less(keys, ids, child, parent):
            return
        _swap(keys, ids, child, parent)
        parent = child


@helper
def _pop(keys, ids, size):
    keys[0], ids[0] = keys[size - 1], ids[size - 1]
    top = size - size  # a literal 0 has its own type, for which numba would compile all called helpers again
    _sift_down(keys, ids, size - 1, top)
    return size - 1


@helper
def _slot_of(key, mask):
    return np.int64((np.uint64(key) * np.uint64(11400714819323198485)) >> np.uint64(20)) & mask


@helper
def _table_find(table_keys, key):
    """Return the slot of key, or the empty slot to insert it at."""
    mask = table_keys.size - 1
    slot = _slot_of(key, mask)
    while table_keys[slot] != -1 and table_keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@helper
def _table_remove(table_keys, table_values, key):
    """Remove key and close the gap; linear probing without tombstones, so the table never fills up."""
    mask = table_keys.size - 1
    hole = _table_find(table_keys, key)
    slot = hole
    while True:
        slot = (slot + 1) & mask
        if table_keys[slot] == -1:
            break
        home = _slot_of(table_keys[slot], mask)
        # an entry may move back to the hole only if its home is not cyclically in (hole, slot]
        if (slot - home) & mask >= (slot - hole) & mask:
            table_keys[hole] = table_keys[slot]
            table_values[hole] = table_values[slot]
            hole = slot
    table_keys[hole] = -1


@helper
def _pair_key(a, b, n):
    return np.int64(min(a, b)) * n + max(a, b)


@helper
def _size_factor(area_a, area_b, reference, exponent):
    smaller = min(area_a, area_b) / reference
    return 1.0 if smaller >= 1.0 or exponent == 0.0 else smaller**exponent


@allocating_helper
def _link(edges, n_nodes):
    """Return the adjacency of slots: ends (E, 2), head, following, degree, is_alive, table keys, table values."""
    n_edges = edges.shape[0]
    ends = edges.astype(np.int64)
    degree = np.empty(n_nodes, np.int64)
    degree[:] = 0
    head = np.empty(n_nodes, np.int64)  # first half-edge of a slot; half-edge 2 e + s is edge e at ends[e, s]
    head[:] = -1
    following = np.empty(2 * n_edges, np.int64)
    following[:] = -1
    capacity = 16
    while capacity < 2 * n_edges:
        capacity *= 2
    table_keys = np.empty(capacity, np.int64)
    table_keys[:] = -1
    table_values = np.empty(capacity, np.int64)
    is_alive = np.empty(n_edges, np.bool_)
    is_alive[:] = True
    for e in range(n_edges):
        for s in range(2):
            following[2 * e + s] = head[ends[e, s]]
            head[ends[e, s]] = 2 * e + s
            degree[ends[e, s]] += 1
        key = _pair_key(ends[e, 0], ends[e, 1], n_nodes)
        slot = _table_find(table_keys, key)
        table_keys[slot] = key
        table_values[slot] = e
    return ends, head, following, degree, is_alive, table_keys, table_values


@helper
def _absorb(edge, keep, gone, links, sums, twins):
    """Move the edges of slot `gone` to `keep`, which `edge` joins; add up the sums (E, K) of edges that become one.

    Return the number of edges of `keep` that absorbed another one, and write their ids to `twins`.
    """
    ends, head, following, degree, is_alive, table_keys, table_values = links
    n_nodes = head.size
    n_twins = 0
    is_alive[edge] = False
    degree[keep] -= 1
    degree[gone] -= 1
    _table_remove(table_keys, table_values, _pair_key(keep, gone, n_nodes))
    half = head[gone]
    while half >= 0:
        after = following[half]
        e, s = half // 2, half % 2
        if is_alive[e]:
            neighbour = ends[e, 1 - s]
            _table_remove(table_keys, table_values, _pair_key(gone, neighbour, n_nodes))
            slot = _table_find(table_keys, _pair_key(keep, neighbour, n_nodes))
            if table_keys[slot] >= 0:  # keep and gone both touch the neighbour, so their borders join
                twin = table_values[slot]
                for k in range(sums.shape[1]):
                    sums[twin, k] += sums[e, k]
                is_alive[e] = False
                degree[neighbour] -= 1
                twins[n_twins] = twin
                n_twins += 1
            else:
                table_keys[slot] = _pair_key(keep, neighbour, n_nodes)
                table_values[slot] = e
                ends[e, s] = keep
                following[half] = head[keep]
                head[keep] = half
                degree[keep] += 1
        half = after
    return n_twins


@kernel
def agglomerate(edges, weights, lengths, areas, reference_area, exponent, n_target):
    """Merge the pair with the lowest key until n_target regions are left.

    key = mean weight of the shared border * min(1, smaller area / reference_area) ** exponent. Keys never fall when
    areas grow, so an older heap entry is a lower bound and is corrected when popped.
    Return merges (N - n_target, 2) of node ids (merge k creates node N + k) and the keys (N - n_target,).
    """
    n_nodes, n_edges = areas.size, edges.shape[0]
    links = _link(edges, n_nodes)
    ends, degree, is_alive = links[0], links[3], links[4]
    sums = np.empty((n_edges, 2), np.float64)  # border length, and sum of weights along it
    for e in range(n_edges):
        sums[e, 0] = lengths[e]
        sums[e, 1] = weights[e] * sums[e, 0]
    area = areas.astype(np.float64)
    node_of = np.empty(n_nodes, np.int64)  # tree node of each slot
    for i in range(n_nodes):
        node_of[i] = i
    twins = np.empty(n_nodes, np.int64)
    heap_keys = np.empty(2 * n_edges + 1, np.float64)
    heap_ids = np.empty(2 * n_edges + 1, np.int64)
    current = np.empty(n_edges, np.float64)
    for e in range(n_edges):
        factor = _size_factor(area[ends[e, 0]], area[ends[e, 1]], reference_area, exponent)
        current[e] = sums[e, 1] / sums[e, 0] * factor
        heap_keys[e] = current[e]
        heap_ids[e] = e
    size = n_edges
    for parent in range(size // 2 - 1, -1, -1):
        _sift_down(heap_keys, heap_ids, size, parent)
    n_merges = max(n_nodes - n_target, 0)
    merges = np.empty((n_merges, 2), np.int64)
    keys = np.empty(n_merges, np.float64)
    done = 0
    while done < n_merges and size > 0:
        key, edge = heap_keys[0], heap_ids[0]
        size = _pop(heap_keys, heap_ids, size)
        if not is_alive[edge] or key != current[edge]:
            continue
        keep, gone = ends[edge, 0], ends[edge, 1]
        true_key = sums[edge, 1] / sums[edge, 0] * _size_factor(area[keep], area[gone], reference_area, exponent)
        if true_key > key:
            current[edge] = true_key
            size = _push(heap_keys, heap_ids, size, true_key, edge)
            continue
        if degree[keep] < degree[gone] or (degree[keep] == degree[gone] and node_of[keep] > node_of[gone]):
            keep, gone = gone, keep
        merges[done, 0] = min(node_of[keep], node_of[gone])
        merges[done, 1] = max(node_of[keep], node_of[gone])
        keys[done] = key
        node_of[keep] = n_nodes + done
        area[keep] += area[gone]
        done += 1
        for i in range(_absorb(edge, keep, gone, links, sums, twins)):
            twin = twins[i]
            neighbour = ends[twin, 0] + ends[twin, 1] - keep
            factor = _size_factor(area[keep], area[neighbour], reference_area, exponent)
            current[twin] = sums[twin, 1] / sums[twin, 0] * factor
            size = _push(heap_keys, heap_ids, size, current[twin], twin)
    return merges[:done], keys[:done]


@kernel
def regions_after(merges, n_nodes):
    """Return the topmost node above each of the n_nodes leaves after the merges."""
    top = np.empty(n_nodes + merges.shape[0], np.int64)
    for i in range(top.size):
        top[i] = i
    for k in range(merges.shape[0] - 1, -1, -1):
        top[merges[k, 0]] = top[n_nodes + k]
        top[merges[k, 1]] = top[n_nodes + k]
    return top[:n_nodes].copy()


@kernel
def cap_at_parents(parents, altitudes):
    """Lower every altitude that exceeds its parent's; requires parents[i] > i."""
    for node in range(parents.size - 2, -1, -1):
        altitudes[node] = min(altitudes[node], altitudes[parents[node]])
