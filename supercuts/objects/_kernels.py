"""numba kernels of the foreground: sums over leaves, outlines of nodes, averages along paths to the root."""

import numpy as np

from supercuts.core.compiled import kernel

N_SUMS = 16  # area; y, x, y^2, x^2; three colours, their squares; pixels on the four sides; pixels on the frame


@kernel
def sum_leaves(labels, is_image, color, n_leaves):
    """Return (N, 16) sums over pixels; y and x run from 0 to 1. Frame pixels lie at the edge of `is_image` (H, W)."""
    height, width = labels.shape
    sums = np.zeros((n_leaves, N_SUMS))
    for row in range(height):
        for column in range(width):
            if labels[row, column] < 0:
                continue
            leaf = sums[labels[row, column]]
            y, x = (row + 0.5) / height, (column + 0.5) / width
            leaf[0] += 1
            leaf[1] += y
            leaf[2] += x
            leaf[3] += y * y
            leaf[4] += x * x
            for c in range(3):
                value = color[c, row, column]
                leaf[5 + c] += value
                leaf[8 + c] += value * value
            top = row == 0 or not is_image[row - 1, column]
            left = column == 0 or not is_image[row, column - 1]
            bottom = row == height - 1 or not is_image[row + 1, column]
            right = column == width - 1 or not is_image[row, column + 1]
            leaf[11] += top
            leaf[12] += left
            leaf[13] += bottom
            leaf[14] += right
            leaf[15] += top or left or bottom or right
    return sums


@kernel
def sum_outlines(parents, altitudes, edges, length):
    """Return (M, 2): the border length of each node in pixel pairs, and the sum of the altitudes along it."""
    sums = np.zeros((parents.size, 2))
    for e in range(edges.shape[0]):
        leaf_a, leaf_b = edges[e]
        joined, below = leaf_a, leaf_b
        while joined != below:  # up to the lowest common ancestor; ids rise towards the root
            if joined < below:
                joined = parents[joined]
            else:
                below = parents[below]
        strength = length[e] * altitudes[joined]
        for leaf in (leaf_a, leaf_b):
            sums[leaf, 0] += length[e]
            sums[leaf, 1] += strength
        # inside their common ancestor the border is not an outline
        sums[joined, 0] -= 2 * length[e]
        sums[joined, 1] -= 2 * strength
    for node in range(parents.size - 1):
        sums[parents[node]] += sums[node]
    return sums


@kernel
def frame_altitudes(parents, altitudes, frame, n_leaves):
    """Return (N, 2): the mean and the lowest altitude at which each leaf joins the frame's pixels.

    frame (M,) holds the number of pixels of each node that lie on the image's frame.
    """
    n_nodes = parents.size
    joined = np.zeros(n_nodes)
    lowest = np.zeros(n_nodes)
    for node in range(n_nodes - 2, -1, -1):
        parent = parents[node]
        joined[node] = joined[parent] + (frame[parent] - frame[node]) * altitudes[parent]
        if frame[node] == 0:
            lowest[node] = altitudes[parent] if frame[parent] > 0 else lowest[parent]
    out = np.empty((n_leaves, 2))
    out[:, 0] = joined[:n_leaves] / frame[n_nodes - 1]
    out[:, 1] = lowest[:n_leaves]
    return out


@kernel
def average_to_root(parents, values, weights, n_leaves):
    """Return (N,): the weighted mean of the values (M,) over each leaf and all its ancestors."""
    n_nodes = parents.size
    total, weight = values * weights, weights.copy()
    for node in range(n_nodes - 2, -1, -1):
        total[node] += total[parents[node]]
        weight[node] += weight[parents[node]]
    return total[:n_leaves] / weight[:n_leaves]


@kernel
def best_union(parents, gains, penalty):
    """Return (M,) bool: the disjoint nodes of largest total gain, minus `penalty` each; ties go to the larger node."""
    root = parents.size - 1
    best = np.zeros(parents.size)  # gain of the whole node or of the best nodes below it, at least 0
    is_whole = np.zeros(parents.size, np.bool_)
    for node in range(parents.size):  # ascending, so children come before parents
        gain = gains[node] - penalty
        if gain > 0 and gain >= best[node]:
            best[node] = gain
            is_whole[node] = True
        if node < root:
            best[parents[node]] += best[node]
    is_covered = np.zeros(parents.size, np.bool_)
    for node in range(root - 1, -1, -1):
        is_covered[node] = is_covered[parents[node]] or is_whole[parents[node]]
        if is_covered[node]:
            is_whole[node] = False
    return is_whole


@kernel
def mark_below(parents, is_top):
    """Return (M,) bool: the marked nodes and all their descendants."""
    is_below = is_top.copy()
    for node in range(parents.size - 2, -1, -1):
        is_below[node] = is_below[node] or is_below[parents[node]]
    return is_below
