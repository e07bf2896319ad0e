"""numba kernels of the region adjacency graph: one pass over the pixels, a hash table for the edges.

In   label maps and pixel maps as plain arrays
Out  per-edge and per-node sums as plain arrays
Not  no checks (the callers in rag.py do them), no sorting
"""

import numpy as np

from supercuts.core.compiled import helper, kernel


@kernel
def count_border_pairs(labels):
    height, width = labels.shape
    count = 0
    for y in range(height):
        for x in range(width):
            if x + 1 < width and labels[y, x] != labels[y, x + 1]:
                count += 1
            if y + 1 < height and labels[y, x] != labels[y + 1, x]:
                count += 1
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
def accumulate_edges(labels, boundary, n_nodes, n_pairs):
    """Return keys i * n_nodes + j (i < j), border lengths and boundary sums of the edges, in order of appearance."""
    height, width = labels.shape
    capacity = 16
    while capacity < 2 * n_pairs:
        capacity *= 2
    table = np.empty(capacity, np.int64)
    table[:] = -1
    keys = np.empty(n_pairs, np.int64)
    length = np.empty(n_pairs, np.int64)
    length[:] = 0
    total = np.empty(n_pairs, np.float64)
    total[:] = 0
    n_edges = n_pairs - n_pairs  # a plain 0 is a type of its own, for which numba compiles what is called once more
    for y in range(height):
        for x in range(width):
            a = labels[y, x]
            for direction in range(2):
                y2, x2 = y + direction, x + 1 - direction
                if y2 >= height or x2 >= width:
                    continue
                b = labels[y2, x2]
                if a == b:
                    continue
                key = np.int64(min(a, b)) * n_nodes + max(a, b)
                edge = _find_or_insert(table, keys, n_edges, key)
                n_edges = max(n_edges, edge + 1)
                length[edge] += 1
                total[edge] += 0.5 * (boundary[y, x] + boundary[y2, x2])
    return keys[:n_edges], length[:n_edges], total[:n_edges]


@kernel
def accumulate_nodes(labels, n_nodes):
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
            area[i] += 1
            position[i, 0] += y
            position[i, 1] += x
            bbox[i, 0] = min(bbox[i, 0], y)
            bbox[i, 1] = min(bbox[i, 1], x)
            bbox[i, 2] = max(bbox[i, 2], y + 1)
            bbox[i, 3] = max(bbox[i, 3], x + 1)
    return area, position, bbox


@kernel
def add_channels(labels, top, bottom, maps, sums, squares):
    """Add the sums (N, C) of maps (C, rows, W), of rows top..bottom, over each label, and those of all squares (N,)."""
    n_channels = maps.shape[0]
    width = labels.shape[1]
    for y in range(top, bottom):
        start = 0
        while start < width:  # one run of pixels of a label after the other: its sums stay in registers
            label = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == label:
                end += 1
            square = 0.0
            for c in range(n_channels):
                if label < 0:
                    break
                total = 0.0
                for value in maps[c, y - top, start:end]:
                    total += value
                    square += value * value
                sums[label, c] += total
            if label >= 0:
                squares[label] += square
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
                value = np.float64(pixels[end, c])
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


@kernel
def add_pixels(labels, top, bottom, pixels, sums, squares):
    """Add what add_channels adds, of maps whose channels lie side by side: pixels (rows, W, C)."""
    line, square = np.empty(pixels.shape[2], np.float64), np.empty(pixels.shape[2], np.float64)
    for y in range(top, bottom):
        _add_row(labels[y], pixels[y - top], sums, squares, line, square)


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
