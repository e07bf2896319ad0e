"""numba kernels of region statistics: sums over the pixels of regions and over the pixel pairs of borders.

In   label maps and pixel maps as plain arrays
Out  sums as plain arrays, in the columns that statistics.py names
Not  no checks (the callers do them), no means
"""

import numpy as np
from numba import njit


@njit(cache=True)
def sum_nodes(labels, boundary, strength, regions, stride, color, lows, highs, embeddings, n_bins, n_nodes):
    """Return (N, K) sums; strength (h, w) and regions (R, h, w) hold one value for stride x stride pixels."""
    height, width = labels.shape
    n_bands, n_embedding, n_region = color.shape[0], embeddings.shape[0], regions.shape[0]
    at_squares = 5 + n_bands
    at_bins = at_squares + n_bands
    at_embedding = at_bins + n_bands * n_bins
    at_region = at_embedding + n_embedding + 1
    sums = np.zeros((n_nodes, at_region + n_region + 1))
    for y in range(height):
        for x in range(width):
            row = sums[labels[y, x]]
            row[0] += 1
            row[3] += boundary[y, x]
            row[4] += strength[y // stride, x // stride]
    for c in range(n_bands):
        scale = n_bins / (highs[c] - lows[c])
        for y in range(height):
            for x in range(width):
                row = sums[labels[y, x]]
                value = color[c, y, x]
                row[5 + c] += value
                row[at_squares + c] += value * value
                row[at_bins + c * n_bins + min(max(int((value - lows[c]) * scale), 0), n_bins - 1)] += 1
    for c in range(n_embedding):
        for y in range(height):
            for x in range(width):
                row = sums[labels[y, x]]
                value = embeddings[c, y, x]
                row[at_embedding + c] += value
                row[at_embedding + n_embedding] += value * value
    for c in range(n_region):
        for y in range(height):
            for x in range(width):
                row = sums[labels[y, x]]
                value = regions[c, y // stride, x // stride]
                row[at_region + c] += value
                row[at_region + n_region] += value * value
    for y in range(height):  # the frame is part of the perimeter; no boundary is drawn there
        sums[labels[y, 0], 1] += 1
        sums[labels[y, width - 1], 1] += 1
    for x in range(width):
        sums[labels[0, x], 1] += 1
        sums[labels[height - 1, x], 1] += 1
    return sums


@njit(cache=True)
def sum_edges(labels, boundary, strength, stride, keys, limits, n_nodes, nodes):
    """Return (E, 5 + T) sums over borders, and add the borders' length and boundary to the perimeters in nodes."""
    height, width = labels.shape
    sums = np.zeros((keys.size, 5 + limits.size))
    for y in range(height):
        for x in range(width):
            a = labels[y, x]
            for direction in range(2):
                y2, x2 = y + direction, x + 1 - direction
                if y2 >= height or x2 >= width or labels[y2, x2] == a:
                    continue
                b = labels[y2, x2]
                row = sums[np.searchsorted(keys, np.int64(min(a, b)) * n_nodes + max(a, b))]
                mean = 0.5 * (boundary[y, x] + boundary[y2, x2])
                row[0] += 1
                row[1] += mean
                row[2] += mean * mean
                row[3] += max(boundary[y, x], boundary[y2, x2])
                row[4] += 0.5 * (strength[y // stride, x // stride] + strength[y2 // stride, x2 // stride])
                for i in range(limits.size):
                    if mean > limits[i]:
                        row[5 + i] += 1
    for e in range(keys.size):
        for end in (keys[e] // n_nodes, keys[e] % n_nodes):
            nodes[end, 1] += sums[e, 0]
            nodes[end, 2] += sums[e, 1]
    return sums
