"""numba kernels of the region graph of an image that is worked on in strips of rows.

In   labels (H, W) of the whole image, -1 where a pixel is not valid; maps of rows top..bottom-1 (boundary: one more)
Out  sums added to the arrays of the caller, in the order of the kernels of whole images
Not  no checks (the callers in strips.py do them), no means
"""

import numpy as np

from supercuts.core._kernels_half import from_half
from supercuts.core.compiled import helper, kernel
from supercuts.graph._kernels import _add_row, _find_or_insert


@kernel
def measure_nodes(labels, n_nodes):
    """Return area (N,), sums of y and x (N, 2), boxes y0 x0 y1 x1 (N, 4), and the pixel pairs between two labels."""
    height, width = labels.shape
    area = np.zeros(n_nodes, np.int64)
    position = np.zeros((n_nodes, 2), np.float64)
    bbox = np.zeros((n_nodes, 4), np.int64)
    bbox[:, 0] = height
    bbox[:, 1] = width
    n_pairs = 0
    for y in range(height):
        for x in range(width):
            i = labels[y, x]
            if i < 0:
                continue
            area[i] += 1
            position[i, 0] += y
            position[i, 1] += x
            bbox[i, 0] = min(bbox[i, 0], y)
            bbox[i, 1] = min(bbox[i, 1], x)
            bbox[i, 2] = max(bbox[i, 2], y + 1)
            bbox[i, 3] = max(bbox[i, 3], x + 1)
            n_pairs += x + 1 < width and labels[y, x + 1] >= 0 and labels[y, x + 1] != i
            n_pairs += y + 1 < height and labels[y + 1, x] >= 0 and labels[y + 1, x] != i
    return area, position, bbox, n_pairs


@kernel
def empty_table(n_pairs):
    """Return a hash table of edges for at most so many."""
    capacity = 16
    while capacity < 2 * n_pairs:
        capacity *= 2
    return np.full(capacity, -1, np.int64)


@kernel
def add_edges(labels, top, bottom, boundary, n_nodes, table, keys, length, total, n_edges):
    """Add what _kernels.accumulate_edges sums; return the number of edges so far."""
    height, width = labels.shape
    for y in range(top, bottom):
        for x in range(width):
            a = labels[y, x]
            for direction in range(2):
                y2, x2 = y + direction, x + 1 - direction
                if a < 0 or y2 >= height or x2 >= width:
                    continue
                b = labels[y2, x2]
                if a == b or b < 0:
                    continue
                key = np.int64(min(a, b)) * n_nodes + max(a, b)
                edge = _find_or_insert(table, keys, n_edges, key)
                n_edges = max(n_edges, edge + 1)
                length[edge] += 1
                total[edge] += 0.5 * (boundary[y - top, x] + boundary[y2 - top, x2])
    return n_edges


@helper
def _add_row_of_means(labels, means, stride, sums, squares, line, square):
    """Add what _add_row adds, where means (w, C) hold those of `stride` pixels each."""
    width, n_channels = labels.size, means.shape[1]
    start = 0
    while start < width:
        label = labels[start]
        end = start + 1
        while end < width and labels[end] == label:
            end += 1
        if label >= 0:
            line[:] = 0
            square[:] = 0
            for x in range(start // stride, (end - 1) // stride + 1):
                n_pixels = np.float64(min((x + 1) * stride, end) - max(x * stride, start))
                for c in range(n_channels):
                    value = np.float64(means[x, c])
                    line[c] += n_pixels * value
                    square[c] += n_pixels * (value * value)
            for c in range(n_channels):
                sums[label, c] += line[c]
                squares[label] += square[c]
        start = end


@kernel
def add_stored(labels, top, bottom, bits, stride, sums, squares):
    """Add what _kernels.add_pixels adds of all pixels' embeddings, kept as bits (h, w, D) of float16 at a stride."""
    n_channels = bits.shape[2]
    pixels = np.empty((bits.shape[1], n_channels), np.float32)
    line, square = np.empty(n_channels, np.float64), np.empty(n_channels, np.float64)
    for y in range(top, bottom):
        if y == top or y % stride == 0:
            stored = bits[y // stride]
            for x in range(bits.shape[1]):
                for c in range(n_channels):
                    pixels[x, c] = from_half(stored[x, c])
        if stride == 1:
            _add_row(labels[y], pixels, sums, squares, line, square)
        else:
            _add_row_of_means(labels[y], pixels, stride, sums, squares, line, square)


@kernel
def add_border_sums(labels, top, bottom, boundary, strength, stride, keys, limits, sums, nodes):
    """Add what _kernels_statistics.sum_edges sums of borders; a side without a valid neighbour is frame to its region.

    strength (h, w) is that of the whole image. Of the perimeters in nodes (N, K) only that frame is added.
    """
    height, width = labels.shape
    n_nodes = nodes.shape[0]
    for y in range(top, bottom):
        for x in range(width):
            a = labels[y, x]
            if a < 0:
                continue
            nodes[a, 1] += x == 0 or labels[y, x - 1] < 0
            nodes[a, 1] += y == 0 or labels[y - 1, x] < 0
            for direction in range(2):
                y2, x2 = y + direction, x + 1 - direction
                if y2 >= height or x2 >= width or labels[y2, x2] < 0:
                    nodes[a, 1] += 1
                    continue
                b = labels[y2, x2]
                if b == a:
                    continue
                row = sums[np.searchsorted(keys, np.int64(min(a, b)) * n_nodes + max(a, b))]
                mean = 0.5 * (boundary[y - top, x] + boundary[y2 - top, x2])
                row[0] += 1
                row[1] += mean
                row[2] += mean * mean
                row[3] += max(boundary[y - top, x], boundary[y2 - top, x2])
                row[4] += 0.5 * (strength[y // stride, x // stride] + strength[y2 // stride, x2 // stride])
                for i in range(limits.size):
                    if mean > limits[i]:
                        row[5 + i] += 1
