"""Numba kernels of the region adjacency graph: one pass over the pixels, a hash table for the edges."""

import numpy as np

from supercuts.core._kernels import _as_number
from supercuts.core.compiled import helper, kernel

_BLOCK = 16  # pixels of a row that are skipped at once if no border touches them


@helper
def _is_inside(labels, y, start):
    """Return whether a block of row y from column `start` on, and the pixels right of it and below it, are one region.

    False at the right and the lower edge of the image.
    """
    height, width = labels.shape
    if y + 1 == height or start + _BLOCK >= width:
        return False
    row, below = labels[y, start : start + _BLOCK + 1], labels[y + 1, start : start + _BLOCK]
    different = np.int32(0)
    for i in range(_BLOCK):
        different |= (row[i] ^ row[i + 1]) | (row[i] ^ below[i])
    return different == 0


@helper
def _sums(values):
    """Return the sum of float32 values, and of their squares.

    Four sums each: an addition to one sum waits for the one before. The order is the same on every processor.
    """
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    q0, q1, q2, q3 = 0.0, 0.0, 0.0, 0.0
    n_whole = values.size // 4 * 4
    for i in range(0, n_whole, 4):
        v0, v1 = np.float64(values[i]), np.float64(values[i + 1])
        v2, v3 = np.float64(values[i + 2]), np.float64(values[i + 3])
        s0 += v0
        s1 += v1
        s2 += v2
        s3 += v3
        q0 += v0 * v0
        q1 += v1 * v1
        q2 += v2 * v2
        q3 += v3 * v3
    for i in range(n_whole, values.size):
        value = np.float64(values[i])
        s0 += value
        q0 += value * value
    return (s0 + s1) + (s2 + s3), (q0 + q1) + (q2 + q3)


@kernel
def count_border_pairs(labels):
    """Return the number of pairs of adjacent valid pixels in different regions."""
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
    """Return the edge id of key; a new key becomes edge n_edges. table holds edge ids or -1."""
    mask = table.size - 1
    # Fibonacci hashing: the high bits of the product are well mixed for any order of labels
    slot = np.int64((np.uint64(key) * np.uint64(11400714819323198485)) >> np.uint64(20)) & mask
    while table[slot] >= 0:
        if keys[table[slot]] == key:
            return table[slot]
        slot = (slot + 1) & mask
    table[slot] = n_edges
    keys[n_edges] = key
    return n_edges


@kernel
def measure_nodes(labels, n_nodes):
    """Return areas (N,), sums of y and x (N, 2), and bounding boxes (N, 4) y0 x0 y1 x1, ends exclusive."""
    height, width = labels.shape
    area = np.empty(n_nodes, np.int64)
    area[:] = 0
    position = np.empty((n_nodes, 2), np.float64)
    position[:] = 0
    bbox = np.empty((n_nodes, 4), np.int64)
    for i in range(n_nodes):
        bbox[i, 0], bbox[i, 1], bbox[i, 2], bbox[i, 3] = height, width, 0, 0
    for y in range(height):
        end = 0
        while end < width:  # run by run of equal labels
            start, i = end, labels[y, end]
            end += 1
            while end < width and labels[y, end] == i:
                end += 1
            if i < 0:
                continue
            n = end - start
            area[i] += n
            position[i, 0] += y * n
            position[i, 1] += (start + end - 1) * n // 2
            bbox[i, 0] = min(bbox[i, 0], y)
            bbox[i, 1] = min(bbox[i, 1], start)
            bbox[i, 2] = max(bbox[i, 2], y + 1)
            bbox[i, 3] = max(bbox[i, 3], end)
    return area, position, bbox


@kernel
def add_channels(labels, top, bottom, maps, first, sums):
    """Add the values of maps (C, rows, W) in rows top..bottom-1 to the sums (N, C) of each label."""
    n_channels = maps.shape[0]
    width = labels.shape[1]
    for y in range(top, bottom):
        start = 0
        while start < width:  # run by run of equal labels, so that sums stay in registers
            label = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == label:
                end += 1
            for c in range(n_channels):
                if label >= 0:
                    sums[label, c] += _sums(maps[c, y - first, start:end])[0]
            start = end


@helper
def _add_row(labels, pixels, sums, squares, line, square):
    """Add a row of pixels (W, C) with labels (W,) to the sums of add_pixels; line and square (C,) are scratch."""
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
    """Add a row to the sums like _add_row, from means (w, C) of `stride` pixels each."""
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
    """Add pixels (h, w, C) to the sums (N, C) of each label, and their squares over all channels to squares (N,).

    Each pixel covers stride x stride pixels of labels; values are float32 or the bits of float16.
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
    """Return the Euclidean distance between the values (N, C) of the two nodes of each edge."""
    n_edges = edges.shape[0]
    out = np.empty(n_edges, np.float32)
    for e in range(n_edges):
        total = 0.0
        for c in range(values.shape[1]):
            d = values[edges[e, 0], c] - values[edges[e, 1], c]
            total += d * d
        out[e] = np.sqrt(total)
    return out


@kernel
def sum_nodes(labels, rows, boundary, first, strength, regions, stride, first_coarse, color, first_color, edges, sizes):
    """Return (N, K) sums over the pixels of rows[0]..rows[1]-1; the columns of borders and embeddings stay 0.

    boundary and color start at rows `first` and `first_color` of the image. strength (h, w) and regions (R, h, w) hold
    one value for stride x stride pixels and start at their own row `first_coarse`. edges (C, B - 1) holds the ascending
    values that divide the B bins of each colour histogram. sizes holds the numbers of embedding channels and nodes.
    """
    width = labels.shape[1]
    n_embedding, n_nodes = sizes
    n_bands, n_bins, n_region = color.shape[0], edges.shape[1] + 1, regions.shape[0]
    at_squares = 5 + n_bands
    at_bins = at_squares + n_bands
    at_embedding = at_bins + n_bands * n_bins
    at_region = at_embedding + n_embedding + 1
    sums = np.empty((n_nodes, at_region + n_region + 1), np.float64)
    sums[:] = 0
    for y in range(rows[0], rows[1]):
        coarse_y = y // stride - first_coarse
        end = 0
        while end < width:  # run by run of equal labels, so that sums stay in registers
            start = end
            label = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == label:
                end += 1
            if label < 0:
                continue
            row = sums[label]
            row[0] += end - start
            # coarse pixels under the run; the first and last may be covered only in part
            left, right = start // stride, (end - 1) // stride
            missing_left, missing_right = start - left * stride, (right + 1) * stride - end
            row[3] += _sums(boundary[y - first, start:end])[0]
            row[4] += (
                stride * _sums(strength[coarse_y, left : right + 1])[0]
                - missing_left * strength[coarse_y, left]
                - missing_right * strength[coarse_y, right]
            )
            for c in range(n_bands):
                values = color[c, y - first_color, start:end]
                total, squares = _sums(values)
                row[5 + c] += total
                row[at_squares + c] += squares
                above = np.int32(values.size)
                for k in range(n_bins - 1):
                    n_before, above, edge = above, np.int32(0), edges[c, k]
                    for i in range(values.size):  # 32-bit numbers, of which a vector holds as many as of values
                        above = np.int32(above + np.int32(values[i] >= edge))
                    row[at_bins + c * n_bins + k] += n_before - above
                row[at_bins + c * n_bins + n_bins - 1] += above
            squares = 0.0
            for c in range(n_region):
                values = regions[c, coarse_y, left : right + 1]
                total, total_squares = _sums(values)
                row[at_region + c] += stride * total - missing_left * values[0] - missing_right * values[-1]
                squares += stride * total_squares - missing_left * values[0] ** 2 - missing_right * values[-1] ** 2
            row[at_region + n_region] += squares
    return sums


@kernel
def add_borders(labels, top, bottom, boundary, first, strength, stride, limits, table, keys, sums, n_edges, frame):
    """Add the borders in rows top..bottom-1 to sums (E, 5 + T); return the number of edges so far.

    Edges are numbered in order of appearance; keys are i * n_nodes + j (i < j). table initially holds -1; its size is
    a power of two larger than the number of edges. boundary starts at row `first`; strength (h, w) covers the whole
    image. Pixel sides without a valid neighbour, on the frame, are added to frame (N,).
    """
    height, width = labels.shape
    n_nodes = frame.size
    for y in range(top, bottom):
        if labels[y, 0] >= 0:
            frame[labels[y, 0]] += 1
        if labels[y, width - 1] >= 0:
            frame[labels[y, width - 1]] += 1
        for side in range(2):
            if y != side * (height - 1):
                continue
            for x in range(width):
                if labels[y, x] >= 0:
                    frame[labels[y, x]] += 1
        for start in range(0, width, _BLOCK):
            if _is_inside(labels, y, start):
                continue
            for x in range(start, min(start + _BLOCK, width)):
                a = labels[y, x]
                for direction in range(2):
                    y2, x2 = y + direction, x + 1 - direction
                    if y2 >= height or x2 >= width or labels[y2, x2] == a:
                        continue
                    b = labels[y2, x2]
                    if a < 0 or b < 0:
                        if max(a, b) >= 0:
                            frame[max(a, b)] += 1
                        continue
                    edge = _find_or_insert(table, keys, n_edges, np.int64(min(a, b)) * n_nodes + max(a, b))
                    n_edges = max(n_edges, edge + 1)
                    row = sums[edge]
                    mean = 0.5 * (boundary[y - first, x] + boundary[y2 - first, x2])
                    row[0] += 1
                    row[1] += mean
                    row[2] += mean * mean
                    row[3] += max(boundary[y - first, x], boundary[y2 - first, x2])
                    row[4] += 0.5 * (strength[y // stride, x // stride] + strength[y2 // stride, x2 // stride])
                    for i in range(limits.size):
                        if mean > limits[i]:
                            row[5 + i] += 1
    return n_edges
