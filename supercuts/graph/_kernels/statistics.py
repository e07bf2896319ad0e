"""numba kernels of region statistics: sums over the pixels of regions and over the pixel pairs of borders.

In   label maps and pixel maps as plain arrays
Out  sums as plain arrays, in the columns that statistics.py names
Not  no checks (the callers do them), no means

What numpy has is written as loops: an array expression or a search takes numba seconds longer to compile.
"""

import numpy as np

from supercuts.core.compiled import helper, kernel


@kernel
def sum_nodes(
    labels, rows, boundary, first, strength, regions, stride, first_coarse, color, first_color, ranges, sizes
):
    """Return (N, K) sums over the pixels of some rows; what is summed up along borders and embeddings stays 0.

    boundary and color start at rows `first` and `first_color` of the image; strength (h, w) and regions (R, h, w) hold
    one value for stride x stride pixels, from `first_coarse` of their own rows on. ranges (2, C) are the ends of the
    histograms of colours; sizes: channels of the embedding, bins, nodes.
    """
    width = labels.shape[1]
    n_embedding, n_bins, n_nodes = sizes
    n_bands, n_region = color.shape[0], regions.shape[0]
    at_squares = 5 + n_bands
    at_bins = at_squares + n_bands
    at_embedding = at_bins + n_bands * n_bins
    at_region = at_embedding + n_embedding + 1
    sums = np.empty((n_nodes, at_region + n_region + 1), np.float64)
    sums[:] = 0
    scale = np.empty(n_bands, np.float64)
    for c in range(n_bands):
        scale[c] = n_bins / (ranges[1, c] - ranges[0, c])
    for y in range(rows[0], rows[1]):
        coarse_y = y // stride - first_coarse
        end = 0
        while end < width:  # one run of pixels of a region after the other: sums stay in registers
            start = end
            label = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == label:
                end += 1
            if label < 0:
                continue
            row = sums[label]
            row[0] += end - start
            # the coarse pixels that the run covers, the outer in part
            left, right = start // stride, (end - 1) // stride
            missing_left, missing_right = start - left * stride, (right + 1) * stride - end
            inside, strong = 0.0, 0.0
            for value in boundary[y - first, start:end]:
                inside += value
            for value in strength[coarse_y, left : right + 1]:
                strong += value
            row[3] += inside
            row[4] += (
                stride * strong - missing_left * strength[coarse_y, left] - missing_right * strength[coarse_y, right]
            )
            for c in range(n_bands):
                total, squares = 0.0, 0.0
                for x in range(start, end):
                    value = color[c, y - first_color, x]
                    total += value
                    squares += value * value
                    place = min(max(int((value - ranges[0, c]) * scale[c]), 0), n_bins - 1)
                    row[at_bins + c * n_bins + place] += 1
                row[5 + c] += total
                row[at_squares + c] += squares
            squares = 0.0
            for c in range(n_region):
                total, total_squares = 0.0, 0.0
                values = regions[c, coarse_y, left : right + 1]
                for value in values:
                    total += value
                    total_squares += value * value
                row[at_region + c] += stride * total - missing_left * values[0] - missing_right * values[-1]
                squares += stride * total_squares - missing_left * values[0] ** 2 - missing_right * values[-1] ** 2
            row[at_region + n_region] += squares
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
def add_borders(labels, top, bottom, boundary, first, strength, stride, keys, limits, sums, frame):
    """Add to sums (E, 5 + T) what lies along borders of rows top..bottom-1, and to frame (N,) what ends there.

    A side without a valid neighbour is frame to its region. strength (h, w) is that of the whole image.
    """
    height, width = labels.shape
    n_nodes = frame.size
    for y in range(top, bottom):
        if labels[y, 0] >= 0:
            frame[labels[y, 0]] += 1
        if labels[y, width - 1] >= 0:
            frame[labels[y, width - 1]] += 1
        for x in range(width):
            a = labels[y, x]
            if y == 0 and a >= 0:
                frame[a] += 1
            if y == height - 1 and a >= 0:
                frame[a] += 1
            for direction in range(2):
                y2, x2 = y + direction, x + 1 - direction
                if y2 >= height or x2 >= width or labels[y2, x2] == a:
                    continue
                b = labels[y2, x2]
                if a < 0 or b < 0:
                    if max(a, b) >= 0:
                        frame[max(a, b)] += 1
                    continue
                row = sums[_place(keys, np.int64(min(a, b)) * n_nodes + max(a, b))]
                mean = 0.5 * (boundary[y - first, x] + boundary[y2 - first, x2])
                row[0] += 1
                row[1] += mean
                row[2] += mean * mean
                row[3] += max(boundary[y - first, x], boundary[y2 - first, x2])
                row[4] += 0.5 * (strength[y // stride, x // stride] + strength[y2 // stride, x2 // stride])
                for i in range(limits.size):
                    if mean > limits[i]:
                        row[5 + i] += 1
