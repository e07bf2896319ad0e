"""numba kernels of the region adjacency graph: one pass over the pixels, a hash table for the edges.

In   labels (H, W) of the whole image, negative where a pixel is not valid; maps of it, or of some rows from `first` on
Out  per-edge and per-node sums, added to the arrays of the caller in the order of the pixels
Not  no checks (the callers in rag.py do them), no sorting, no means
"""

import numpy as np

from supercuts.core._kernels_half import _as_number
from supercuts.core.compiled import helper, kernel


@kernel
def count_border_pairs(labels):
    """Return how many pairs of valid pixels lie side by side in two regions."""
    height, width = labels.shape
    count = 0
    for y in range(height):
        for x in range(width):
            a = labels[y, x]
            if a < 0:
                continue
            count += x + 1 < width and labels[y, x + 1] >= 0 and labels[y, x + 1] != a
            count += y + 1 < height and labels[y + 1, x] >= 0 and labels[y + 1, x] != a
    return count


@helper
def _find_or_insert(table, keys, n_edges, key):
    """Return the edge id of key, inserting it as edge n_edges when new; table holds edge ids or -1."""
    mask = table.size - 1
    # Fibonacci hashing: the high bits of the product are well mixed whatever the labels' order
    slot = np.int64((np.uint64(key) * np.uint64(11400714819323198485)) >> np.uint64(20)) & mask
    while table[slot] >= 0:
        if keys[table[slot]] == key:
            return table[slot]
        slot = (slot + 1) & mask
    table[slot] = n_edges
    keys[n_edges] = key
    return n_edges


@kernel
def add_edges(labels, top, bottom, boundary, first, n_nodes, table, keys, length, total, n_edges):
    """Add border lengths and boundary sums of rows top..bottom-1 to edges; return the number of edges so far.

    Edges are numbered as they appear; keys are i * n_nodes + j (i < j). table, of -1 at first, has a power of two of
    entries, more than there are edges.
    """
    height, width = labels.shape
    for y in range(top, bottom):
        for x in range(width):
            a = labels[y, x]
            for direction in range(2):
                y2, x2 = y + direction, x + 1 - direction
                if y2 >= height or x2 >= width:
                    continue
                b = labels[y2, x2]
                if a == b or a < 0 or b < 0:
                    continue
                key = np.int64(min(a, b)) * n_nodes + max(a, b)
                edge = _find_or_insert(table, keys, n_edges, key)
                n_edges = max(n_edges, edge + 1)
                length[edge] += 1
                total[edge] += 0.5 * (boundary[y - first, x] + boundary[y2 - first, x2])
    return n_edges


@kernel
def measure_nodes(labels, n_nodes):
    """Return area (N,), sums of y and x (N, 2) and bounding boxes y0 x0 y1 x1, ends exclusive (N, 4)."""
    height, width = labels.shape
    area = np.empty(n_nodes, np.int64)
    area[:] = 0
    position = np.empty((n_nodes, 2), np.float64)
    position[:] = 0
    bbox = np.empty((n_nodes, 4), np.int64)
    for i in range(n_nodes):
        bbox[i, 0], bbox[i, 1], bbox[i, 2], bbox[i, 3] = height, width, 0, 0
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
    return area, position, bbox


@kernel
def add_channels(labels, top, bottom, maps, first, sums):
    """Add to sums (N, C) those of maps (C, rows, W) over each label, of rows top..bottom-1."""
    n_channels = maps.shape[0]
    width = labels.shape[1]
    for y in range(top, bottom):
        start = 0
        while start < width:  # one run of pixels of a label after the other: its sums stay in registers
            label = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == label:
                end += 1
            for c in range(n_channels):
                if label < 0:
                    break
                total = 0.0
                for value in maps[c, y - first, start:end]:
                    total += value
                sums[label, c] += total
            start = end


@helper
def _add_row(labels, pixels, sums, squares, line, square):
    """Add a row of pixels (W, C) to what add_pixels sums up; labels (W,), line and square (C,) are scratch."""
    width, n_channels = pixels.shape
    start = 0
    while start < width:
        label = labels[start]
        line[:] = 0
        square[:] = 0
        end = start
        while end < width and labels[end] == label:
            for c in range(n_channels):
                value = np.float64(_as_number(pixels[end, c]))
                line[c] += value
                square[c] += value * value
            end += 1
        if label >= 0:
            total = squares[label]
            for c in range(n_channels):
                sums[label, c] += line[c]
                total += square[c]
            squares[label] = total
        start = end


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
                    value = np.float64(_as_number(means[x, c]))
                    line[c] += n_pixels * value
                    square[c] += n_pixels * (value * value)
            for c in range(n_channels):
                sums[label, c] += line[c]
                squares[label] += square[c]
        start = end


@kernel
def add_pixels(labels, pixels, stride, sums, squares):
    """Add to sums (N, C) those of pixels (h, w, C) over each label, and to squares (N,) those of all squares.

    Pixels hold one value for stride x stride pixels of labels, float32 or bits of float16.
    """
    n_channels = pixels.shape[2]
    line, square = np.empty(n_channels, np.float64), np.empty(n_channels, np.float64)
    for y in range(labels.shape[0]):
        if stride == 1:
            _add_row(labels[y], pixels[y], sums, squares, line, square)
        else:
            _add_row_of_means(labels[y], pixels[y // stride], stride, sums, squares, line, square)


@kernel
def edge_distances(edges, values):
    """Return the Euclidean distance between the (N, C) values of the two ends of each edge."""
    n_edges = edges.shape[0]
    out = np.empty(n_edges, np.float32)
    for e in range(n_edges):
        total = 0.0
        for c in range(values.shape[1]):
            d = values[edges[e, 0], c] - values[edges[e, 1], c]
            total += d * d
        out[e] = np.sqrt(total)
    return out
