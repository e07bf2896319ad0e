"""numba kernels of region statistics: sums over the pixels of regions and over the pixel pairs of borders.

In   label maps and pixel maps as plain arrays
Out  sums as plain arrays, in the columns that statistics.py names
Not  no checks (the callers do them), no means

What numpy has is written as loops: an array expression or a search takes numba seconds longer to compile.
"""

import numpy as np

from supercuts.core.compiled import helper, kernel


@kernel
def sum_nodes(labels, boundary, strength, regions, stride, color, lows, highs, n_embedding, n_bins, n_nodes):
    """Return (N, K) sums; strength (h, w) and regions (R, h, w) hold one value for stride x stride pixels.

    The columns of the embedding stay 0.
    """
    height, width = labels.shape
    n_bands, n_region = color.shape[0], regions.shape[0]
    at_squares = 5 + n_bands
    at_bins = at_squares + n_bands
    at_embedding = at_bins + n_bands * n_bins
    at_region = at_embedding + n_embedding + 1
    sums = np.empty((n_nodes, at_region + n_region + 1), np.float64)
    sums[:] = 0
    scale = np.empty(n_bands, np.float64)
    for c in range(n_bands):
        scale[c] = n_bins / (highs[c] - lows[c])
    for y in range(height):
        coarse_y = y // stride
        start = 0
        while start < width:  # one run of pixels of a region after the other: sums stay in registers
            row = sums[labels[y, start]]
            end = start + 1
            while end < width and labels[y, end] == labels[y, start]:
                end += 1
            row[0] += end - start
            first, last = (
                start // stride,
                (end - 1) // stride,
            )  # the coarse pixels that the run covers, the outer in part
            missing_first, missing_last = start - first * stride, (last + 1) * stride - end
            inside, strong = 0.0, 0.0
            for value in boundary[y, start:end]:
                inside += value
            for value in strength[coarse_y, first : last + 1]:
                strong += value
            row[3] += inside
            row[4] += (
                stride * strong - missing_first * strength[coarse_y, first] - missing_last * strength[coarse_y, last]
            )
            for c in range(n_bands):
                total, squares = 0.0, 0.0
                for x in range(start, end):
                    value = color[c, y, x]
                    total += value
                    squares += value * value
                    place = min(max(int((value - lows[c]) * scale[c]), 0), n_bins - 1)
                    row[at_bins + c * n_bins + place] += 1
                row[5 + c] += total
                row[at_squares + c] += squares
            squares = 0.0
            for c in range(n_region):
                total, total_squares = 0.0, 0.0
                values = regions[c, coarse_y, first : last + 1]
                for value in values:
                    total += value
                    total_squares += value * value
                row[at_region + c] += stride * total - missing_first * values[0] - missing_last * values[-1]
                squares += stride * total_squares - missing_first * values[0] ** 2 - missing_last * values[-1] ** 2
            row[at_region + n_region] += squares
            start = end
    for y in range(height):  # the frame is part of the perimeter; no boundary is drawn there
        sums[labels[y, 0], 1] += 1
        sums[labels[y, width - 1], 1] += 1
    for x in range(width):
        sums[labels[0, x], 1] += 1
        sums[labels[height - 1, x], 1] += 1
    return sums


@helper
def _place(keys, key):
    """Return where key is among the ascending keys, which hold it."""
    low, high = 0, keys.size - 1
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def sum_edges(labels, boundary, strength, stride, keys, limits, n_nodes):
    """Return (E, 5 + T) sums over borders, and (N, 2) the length and the boundary of each region's borders."""
    height, width = labels.shape
    sums = np.empty((keys.size, 5 + limits.size), np.float64)
    sums[:] = 0
    for y in range(height):
        for x in range(width):
            a = labels[y, x]
            for direction in range(2):
                y2, x2 = y + direction, x + 1 - direction
                if y2 >= height or x2 >= width or labels[y2, x2] == a:
                    continue
                b = labels[y2, x2]
                row = sums[_place(keys, np.int64(min(a, b)) * n_nodes + max(a, b))]
                mean = 0.5 * (boundary[y, x] + boundary[y2, x2])
                row[0] += 1
                row[1] += mean
                row[2] += mean * mean
                row[3] += max(boundary[y, x], boundary[y2, x2])
                row[4] += 0.5 * (strength[y // stride, x // stride] + strength[y2 // stride, x2 // stride])
                for i in range(limits.size):
                    if mean > limits[i]:
                        row[5 + i] += 1
    around = np.empty((n_nodes, 2), np.float64)
    around[:] = 0
    for e in range(keys.size):
        for end in (keys[e] // n_nodes, keys[e] % n_nodes):
            around[end, 0] += sums[e, 0]
            around[end, 1] += sums[e, 1]
    return sums, around
