"""Compiled loops that read a merge tree off a contour map.

In   contour maps as plain arrays, already checked by the callers
Out  arrays of a tree
Not  no checks; annotations are left out because numba's own types are the signature
"""

import numpy as np

from supercuts.core.compiled import helper, kernel


@kernel
def flat_components(values):
    """Join the 8-neighbours that are 0; return a parent pixel of each pixel: a forest for _find."""
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
    """Return the component (height, width) of each pixel, 0..N-1 in reading order; pixels have odd indices."""
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
    """Flood the contour elements in rising order; write a tree node wherever two nodes meet; return the node count.

    rising: flat indices of the elements above 0. node: the tree node of each component's root pixel, or -1.
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
                other = row * width + column
                if not is_flooded[other]:
                    continue
                a, b = _find(forest, element), _find(forest, other)
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
def _find(forest, pixel):
    while forest[pixel] != pixel:
        forest[pixel] = forest[forest[pixel]]
        pixel = forest[pixel]
    return pixel


@helper
def _join(forest, a, b):
    """Join two components and return the root of the result, the lower of both roots."""
    a, b = _find(forest, a), _find(forest, b)
    low, high = min(a, b), max(a, b)
    forest[high] = low
    return low
