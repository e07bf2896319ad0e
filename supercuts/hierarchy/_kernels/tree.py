"""Numba loops over pixels and tree nodes.

Rows are added and copied element by element, because array expressions take about two seconds longer to compile.
"""

import numpy as np

from supercuts.core._kernels import _find
from supercuts.core.compiled import helper, kernel


@kernel
def smallest_child(parents, areas):
    """Return the area of each node's smallest child, (M,) int64; leaves get the largest int64."""
    smallest = np.full(parents.size, np.iinfo(np.int64).max, np.int64)
    for node in range(parents.size - 1):
        smallest[parents[node]] = min(smallest[parents[node]], areas[node])
    return smallest


@kernel
def sum_to_root(parents, leaf_values):
    """Return the sum of leaf values below each node, (M,) int64."""
    sums = np.zeros(parents.size, np.int64)
    for leaf in range(leaf_values.size):
        sums[leaf] = leaf_values[leaf]
    for node in range(parents.size - 1):  # ascending: a node is complete before it is added to its parent
        sums[parents[node]] += sums[node]
    return sums


@kernel
def sum_rows_to_root(parents, leaf_rows):
    """Return the sum of leaf rows (N, K) below each node, (M, K) float64."""
    sums = np.zeros((parents.size, leaf_rows.shape[1]))
    for leaf in range(leaf_rows.shape[0]):
        sums[leaf] = leaf_rows[leaf]
    for node in range(parents.size - 1):
        sums[parents[node]] += sums[node]
    return sums


@kernel
def raise_to_children(parents, altitudes):
    """Raise every altitude that is below one of its children's; requires parents[i] > i."""
    for node in range(parents.size - 1):
        altitudes[parents[node]] = max(altitudes[parents[node]], altitudes[node])


@kernel
def restrict(parents, is_kept):
    """Return the parents (M',) of the tree of the kept leaves, and the old id (M',) of each of its nodes.

    An old node stays if it is a kept leaf or has at least two children with kept leaves.
    """
    n_nodes, n_leaves = parents.size, is_kept.size
    children = np.zeros(n_nodes, np.int64)  # number of children that hold kept leaves
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
    above = np.full(n_nodes, -1, np.int32)  # nearest ancestor that stays, or the node itself
    for node in range(n_nodes - 1, -1, -1):
        inherited = above[parents[node]] if node < n_nodes - 1 else np.int32(-1)
        above[node] = number[node] if number[node] >= 0 else inherited
    new_parents = np.empty(n, np.int32)
    for k in range(n):
        node = old[k]
        up = above[parents[node]] if node < n_nodes - 1 else np.int32(-1)
        new_parents[k] = up if k < n - 1 else k
    return new_parents, old[:n].copy()


@kernel
def count_pixels(labels, n_leaves):
    """Return the number of pixels of each leaf, (N,) int64."""
    counts = np.zeros(n_leaves, np.int64)
    for label in labels.ravel():
        if label >= 0:
            counts[label] += 1
    return counts


@kernel
def measure(labels, parents, n_leaves):
    """Return the areas (M,), boxes (M, 4) y0 x0 y1 x1 with exclusive ends, and sums of y and x (M, 2), all int64."""
    height, width = labels.shape
    area = np.zeros(parents.size, np.int64)
    total = np.zeros((parents.size, 2), np.int64)
    bbox = np.zeros((parents.size, 4), np.int64)
    bbox[:, 0], bbox[:, 1] = height, width
    for y in range(height):
        for x in range(width):
            leaf = labels[y, x]
            if leaf < 0:
                continue
            area[leaf] += 1
            total[leaf, 0] += y
            total[leaf, 1] += x
            _extend(bbox[leaf], y, x, y + 1, x + 1)
    for node in range(parents.size - 1):
        parent = parents[node]
        area[parent] += area[node]
        total[parent, 0] += total[node, 0]
        total[parent, 1] += total[node, 1]
        _extend(bbox[parent], bbox[node, 0], bbox[node, 1], bbox[node, 2], bbox[node, 3])
    return area, bbox, total


@helper
def _extend(bbox, y0, x0, y1, x1):
    bbox[0], bbox[1] = min(bbox[0], y0), min(bbox[1], x0)
    bbox[2], bbox[3] = max(bbox[2], y1), max(bbox[3], x1)


@kernel
def mark_descendants(parents, nodes):
    """Return a mask (M,) of the nodes and all their descendants."""
    is_below = np.zeros(parents.size, np.bool_)
    for node in nodes:
        is_below[node] = True
    for node in range(parents.size - 2, -1, -1):
        is_below[node] |= is_below[parents[node]]
    return is_below


@kernel
def climb(parents, node):
    """Return the ancestors of a node, nearest first, root last; empty for the root."""
    path = np.empty(parents.size, np.int32)
    length = 0
    while parents[node] != node:
        node = parents[node]
        path[length] = node
        length += 1
    return path[:length].copy()


@kernel
def spread_labels(parents, leaf_areas, leaf_label, n_labels):
    """Return (N,) labels; leaves without one get the label that covers most of their lowest labelled ancestor.

    leaf_label is 0..n_labels-1, or -1 for leaves without a label; at least one leaf needs a label.
    """
    n_leaves = leaf_areas.size
    area = np.zeros(parents.size, np.int64)
    cover = np.zeros((parents.size, n_labels), np.int64)  # pixels of each label after resolving the subtree
    winner = np.full(parents.size, -1, np.int32)
    for leaf in range(n_leaves):
        area[leaf], winner[leaf] = leaf_areas[leaf], leaf_label[leaf]
    for node in range(parents.size):
        covered, widest = 0, 0
        for label in range(n_labels):
            covered += cover[node, label]
            if cover[node, label] > cover[node, widest]:  # ties go to the lowest label
                widest = label
        if covered > 0:
            winner[node] = widest
        if winner[node] >= 0:
            cover[node, winner[node]] += area[node] - covered
        if parents[node] != node:
            area[parents[node]] += area[node]
            for label in range(n_labels):
                cover[parents[node], label] += cover[node, label]
    for node in range(parents.size - 2, -1, -1):
        if winner[node] < 0:
            winner[node] = winner[parents[node]]
    return winner[:n_leaves].copy()


@kernel
def contour_map(labels, parents, altitudes):
    """Return the (2H+1, 2W+1) float32 map of the altitudes at which neighbouring pixels join; its outer frame is 0."""
    height, width = labels.shape
    contours = np.zeros((2 * height + 1, 2 * width + 1), np.float32)
    # direct-mapped cache of altitudes: colliding pairs overwrite each other and are recomputed, so it never fills up
    n_slots = 64
    while n_slots < 4 * parents.size:
        n_slots *= 2
    known_pair = np.full(n_slots, -1, np.int64)
    known_altitude = np.empty(n_slots, np.float32)
    for y in range(height):
        for x in range(width):
            here = labels[y, x]
            if x + 1 < width and labels[y, x + 1] != here:
                joined = _joining_altitude(here, labels[y, x + 1], parents, altitudes, known_pair, known_altitude)
                contours[2 * y + 1, 2 * x + 2] = joined
            if y + 1 < height and labels[y + 1, x] != here:
                joined = _joining_altitude(here, labels[y + 1, x], parents, altitudes, known_pair, known_altitude)
                contours[2 * y + 2, 2 * x + 1] = joined
    _fill_corners(contours)
    return contours


@helper
def _joining_altitude(leaf_a, leaf_b, parents, altitudes, known_pair, known_altitude):
    if leaf_a < 0 or leaf_b < 0:
        return np.float32(1)  # invalid pixels bound regions at every granularity
    low, high = np.int64(min(leaf_a, leaf_b)), np.int64(max(leaf_a, leaf_b))
    pair = low * parents.size + high
    slot = (low * 40503 + high) & (known_pair.size - 1)
    if known_pair[slot] != pair:
        while low != high:  # parents[i] > i: the lower id is below the common ancestor, so it climbs
            if low < high:
                low = np.int64(parents[low])
            else:
                high = np.int64(parents[high])
        known_pair[slot] = pair
        known_altitude[slot] = altitudes[low]
    return known_altitude[slot]


@helper
def _fill_corners(contours):
    for row in range(2, contours.shape[0] - 1, 2):
        for column in range(2, contours.shape[1] - 1, 2):
            across = max(contours[row - 1, column], contours[row + 1, column])
            along = max(contours[row, column - 1], contours[row, column + 1])
            contours[row, column] = max(across, along)


@kernel
def flat_components(values):
    """Join 8-neighbours that are 0; return the parent element of each element, a forest for _find."""
    height, width = values.shape
    forest = np.arange(height * width)
    for y in range(height):
        for x in range(width):
            if values[y, x] > 0:
                continue
            for row, column in ((y, x - 1), (y - 1, x - 1), (y - 1, x), (y - 1, x + 1)):
                if row >= 0 and 0 <= column < width and not values[row, column] > 0:
                    _join(forest, y * width + x, row * width + column)
    return forest


@kernel
def number_leaves(forest, height, width):
    """Return the component (height, width) of each pixel, 0..N-1 in scan order, N, and the component of each root."""
    n_columns = 2 * width + 1
    number = np.full(forest.size, -1, np.int64)
    labels = np.empty((height, width), np.int32)
    n_leaves = 0
    for y in range(height):
        for x in range(width):
            root = _find(forest, (2 * y + 1) * n_columns + 2 * x + 1)
            if number[root] < 0:
                number[root] = n_leaves
                n_leaves += 1
            labels[y, x] = number[root]
    return labels, n_leaves, number


@kernel
def merge_across(values, rising, forest, node, n_leaves, parents, altitudes):
    """Flood the contour elements in rising order, write a tree node when two nodes meet; return the number of nodes.

    rising: flat indices of the elements above 0. node: tree node of each component's root element, or -1.
    """
    height, width = values.shape
    flat = values.ravel()
    is_flooded = flat <= 0
    n_nodes = n_leaves
    for i in range(rising.size):
        element = rising[i]
        is_flooded[element] = True
        y, x = element // width, element % width
        for row in range(max(y - 1, 0), min(y + 2, height)):
            for column in range(max(x - 1, 0), min(x + 2, width)):
                neighbour = row * width + column
                if not is_flooded[neighbour]:
                    continue
                a, b = _find(forest, element), _find(forest, neighbour)
                if a == b:
                    continue
                joined = max(node[a], node[b])
                if node[a] >= 0 and node[b] >= 0:
                    parents[node[a]] = n_nodes
                    parents[node[b]] = n_nodes
                    altitudes[n_nodes] = flat[element]
                    joined = n_nodes
                    n_nodes += 1
                node[_join(forest, a, b)] = joined
    parents[n_nodes - 1] = n_nodes - 1
    return n_nodes


@helper
def _join(forest, a, b):
    """Join two components and return the new root, the lower of the two roots."""
    a, b = _find(forest, a), _find(forest, b)
    low, high = min(a, b), max(a, b)
    forest[high] = low
    return low
