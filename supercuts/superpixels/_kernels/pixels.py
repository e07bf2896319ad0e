"""numba kernels and helpers that read single pixels, in any storage type; smoothing of labels."""

import numpy as np
from numba import types
from numba.extending import overload

from supercuts.core._kernels import _as_number
from supercuts.core.compiled import fast_helper, helper, inlined_helper, kernel


@fast_helper
def _lab(red, green, blue, tables, out):
    """Set out (3,) to the Lab colour of RGB bytes, identical in every bit to images._kernels.lab_from_rgb."""
    linear, mix, curve = tables
    n_steps = np.float32(curve.size - 2)
    red, green, blue = linear[red], linear[green], linear[blue]
    x = (mix[0, 0] * red + mix[0, 1] * green + mix[0, 2] * blue) * n_steps
    y = (mix[1, 0] * red + mix[1, 1] * green + mix[1, 2] * blue) * n_steps
    z = (mix[2, 0] * red + mix[2, 1] * green + mix[2, 2] * blue) * n_steps
    i, j, k = np.int32(x), np.int32(y), np.int32(z)
    fx = curve[i] + (x - np.float32(i)) * (curve[i + 1] - curve[i])
    fy = curve[j] + (y - np.float32(j)) * (curve[j + 1] - curve[j])
    fz = curve[k] + (z - np.float32(k)) * (curve[k + 1] - curve[k])
    out[0] = np.float32(116) * fy - np.float32(16)
    out[1] = np.float32(500) * (fx - fy)
    out[2] = np.float32(200) * (fy - fz)


def _set_color(color, y, x, tables, out):
    """Set the start of out to the colour of a pixel; return its number of channels."""
    raise NotImplementedError


@overload(_set_color, inline="always")
def _set_color_of_its_type(color, y, x, tables, out):
    if isinstance(color.dtype, types.Integer):

        def from_rgb(color, y, x, tables, out):
            if color.shape[2] > 0:
                _lab(np.int64(color[y, x, 0]), np.int64(color[y, x, 1]), np.int64(color[y, x, 2]), tables, out)
            return color.shape[2]

        return from_rgb

    def from_numbers(color, y, x, tables, out):
        for c in range(color.shape[0]):
            out[c] = color[c, y, x]
        return color.shape[0]

    return from_numbers


@inlined_helper
def _look_up(y, x, maps, scales, tables, out):
    """Set out (C,) to the SSN features of a pixel: scaled colour, position, embedding."""
    color, bands, embeddings = maps
    color_scale, position_scale, band_scale, stride = scales
    at = _set_color(color, y, x, tables, out)
    for c in range(at):
        out[c] = color_scale * out[c]
    for c in range(bands.shape[2]):
        out[at + c] = color_scale * (np.float32(bands[y, x, c]) * band_scale)
    at += bands.shape[2]
    row, column = y, x
    if stride > 1:  # skipped otherwise, because the divisions would take most of the time
        row, column = y // stride, x // stride
    out[at] = np.float32(y) * position_scale
    out[at + 1] = np.float32(x) * position_scale
    for c in range(embeddings.shape[2]):
        out[at + 2 + c] = _as_number(embeddings[row, column, c])


def _color_distance(color, y, x, scale, tables, lab, centers, label):
    """Return the squared distance of a pixel's scaled colour to the start of a centre; lab (3,) is scratch."""
    raise NotImplementedError


@overload(_color_distance, inline="always")
def _color_distance_of_its_type(color, y, x, scale, tables, lab, centers, label):
    if isinstance(color.dtype, types.Integer):

        def from_rgb(color, y, x, scale, tables, lab, centers, label):
            total = 0.0
            if color.shape[2] > 0:
                _lab(np.int64(color[y, x, 0]), np.int64(color[y, x, 1]), np.int64(color[y, x, 2]), tables, lab)
            for c in range(color.shape[2]):
                d = scale * lab[c] - centers[label, c]
                total += d * d
            return total

        return from_rgb

    def from_numbers(color, y, x, scale, tables, lab, centers, label):
        total = 0.0
        for c in range(color.shape[0]):
            d = scale * color[c, y, x] - centers[label, c]
            total += d * d
        return total

    return from_numbers


@inlined_helper
def _squared_distance(y, x, label, maps, scales, tables, centers, lab):
    """Return the squared distance of a pixel's SSN features (as in _look_up) to a centre; lab (3,) is scratch."""
    color, bands, embeddings = maps
    color_scale, position_scale, band_scale, stride = scales
    total = _color_distance(color, y, x, color_scale, tables, lab, centers, label)
    at = centers.shape[1] - embeddings.shape[2] - 2
    for c in range(bands.shape[2]):
        k = at - bands.shape[2] + c
        d = color_scale * (np.float32(bands[y, x, c]) * band_scale) - centers[label, k]
        total += d * d
    d = np.float32(y) * position_scale - centers[label, at]
    total += d * d
    d = np.float32(x) * position_scale - centers[label, at + 1]
    total += d * d
    row, column = y, x
    if stride > 1:
        row, column = y // stride, x // stride
    for c in range(embeddings.shape[2]):
        d = _as_number(embeddings[row, column, c]) - centers[label, at + 2 + c]
        total += d * d
    return total


@kernel
def double(labels, out):
    """Set out (H, W) to labels (h, w), so that each label covers 2 x 2 pixels."""
    height, width = out.shape
    for y in range(height):
        line = labels[y // 2]
        for x in range(width):
            out[y, x] = line[x // 2]


# the 8 neighbours in a ring, clockwise from above; even ones share a side with the pixel
_DY = (-1, -1, 0, 1, 1, 1, 0, -1)
_DX = (0, 1, 1, 1, 0, -1, -1, -1)


@helper
def _is_at_border(labels, y, x):
    """Return whether a pixel shares a side with a pixel of another region in 0..N-1."""
    own = labels[y, x]
    left = labels[y, x - 1] if x > 0 else own
    right = labels[y, x + 1] if x + 1 < labels.shape[1] else own
    above = labels[y - 1, x] if y > 0 else own
    below = labels[y + 1, x] if y + 1 < labels.shape[0] else own
    return (
        (left != own and left >= 0)
        or (right != own and right >= 0)
        or (above != own and above >= 0)
        or (below != own and below >= 0)
    )


@helper
def _is_simple(ring, label):
    """Return whether a region stays connected without the pixel: its side neighbours are one piece of the ring."""
    n_sides, n_links = 0, 0
    for i in range(0, 8, 2):
        if ring[i] == label:
            n_sides += 1
            n_links += ring[(i + 1) % 8] == label and ring[(i + 2) % 8] == label
    return n_sides - n_links == 1


@inlined_helper
def _distance(feature, color, embedding, region, weights):
    """Return the weighted squared distance of a pixel's features to the means of a region."""
    of_color, s0, s1, s2, s3 = (
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
    )  # four sums: each addition to one of them would wait for the last
    n_colors = color.shape[1]
    for c in range(n_colors):
        d = feature[c] - color[region, c]
        of_color += d * d
    first = n_colors + 2
    n_whole = embedding.shape[1] // 4 * 4
    for c in range(0, n_whole, 4):
        d0 = feature[first + c] - embedding[region, c]
        d1 = feature[first + c + 1] - embedding[region, c + 1]
        d2 = feature[first + c + 2] - embedding[region, c + 2]
        d3 = feature[first + c + 3] - embedding[region, c + 3]
        s0 += d0 * d0
        s1 += d1 * d1
        s2 += d2 * d2
        s3 += d3 * d3
    for c in range(n_whole, embedding.shape[1]):
        d = feature[first + c] - embedding[region, c]
        s0 += d * d
    return weights[0] * of_color + weights[1] * ((s0 + s1) + (s2 + s3))


@inlined_helper
def _pull(boundary, power):
    """Return the cost of a neighbour in another region."""
    pull = np.float32(1) - boundary
    if power == 1.5:  # the default; a general power takes several times as long
        return pull * np.sqrt(pull)
    return pull if power == 1 else pull**power


@kernel
def smooth_rows(labels, is_due, due, rows, columns, boundary, first, maps, scales, tables, color, embedding, weights):
    """Sweep once over some rows: move border pixels to the adjacent region of lowest energy; return how many moved.

    Only a piece of the rows is visited: columns[0] to columns[1] - 1 in the first row, one column further to the left
    in each row below; if columns[0] is 0, from the left edge of the image on. A pixel is thus visited after those above
    it also if the pieces follow each other from left to right, and labels are the same as from whole rows.

    boundary starts at row `first`; maps, scales and tables are those of _look_up; weights holds the weights of colour,
    embedding and diagonal neighbours, and the power of the pull.

    The energy of pixel p in region i is its distance to the means of i, plus min(pull_p, pull_q) for each of its 8
    neighbours q outside i (times `diagonal` for diagonal ones). A pixel moves only if its old region stays connected
    and keeps a pixel. is_due (H, 8 w) marks the pixels to visit: a few percent, fewer in each sweep, because only those
    around a moved pixel become due again. due (H, w) is the same array in words of eight.
    """
    diagonal, power = weights[2], np.float32(weights[3])
    feature = np.empty(color.shape[1] + 2 + embedding.shape[1], np.float32)
    height, width = labels.shape
    ring = np.empty(8, np.int32)
    pulls = np.empty(8, np.float64)
    n_moved = 0
    for y in range(rows[0], rows[1]):
        left, right = max(columns[0] - y + rows[0], 0), min(columns[1] - y + rows[0], width)
        if columns[0] == 0:
            left = 0
        for word in range(left // 8, (right + 7) // 8):
            if due[y, word] == 0:
                continue
            for x in range(max(8 * word, left), min(8 * word + 8, right)):
                if not is_due[y, x]:
                    continue
                is_due[y, x] = False
                own = labels[y, x]
                if own < 0:
                    continue
                if not _is_at_border(labels, y, x):
                    continue
                pull = _pull(boundary[y - first, x], power)
                for i in range(8):
                    row, column = y + _DY[i], x + _DX[i]
                    ring[i], pulls[i] = -1, 0.0
                    if 0 <= row < height and 0 <= column < width and labels[row, column] >= 0:
                        ring[i] = labels[row, column]
                        pulls[i] = min(pull, _pull(boundary[row - first, column], power)) * (diagonal if i % 2 else 1.0)
                if not _is_simple(ring, own):
                    continue
                _look_up(y, x, maps, scales, tables, feature)
                stay = _distance(feature, color, embedding, own, weights)
                best, lowest = own, 0.0
                for i in range(0, 8, 2):
                    other = ring[i]
                    if other < 0 or other in (own, best):
                        continue
                    gain = -stay
                    for j in range(8):
                        if ring[j] == own:
                            gain += pulls[j]
                        elif ring[j] == other:
                            gain -= pulls[j]
                    if gain >= lowest:  # the distance only adds to it
                        continue
                    gain += _distance(feature, color, embedding, other, weights)
                    if gain < lowest - 1e-6:  # rounding must not move pixels back and forth
                        best, lowest = other, gain
                if best != own:
                    labels[y, x] = best
                    n_moved += 1
                    is_due[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    return n_moved


@kernel
def label_volume(labels):
    """Return the pieces of equal label that connect through faces of voxels, in scan order, and their number."""
    depth, height, width = labels.shape
    pieces = np.empty((depth, height, width), np.int32)
    pieces[:] = -1
    flat, out = labels.reshape(-1), pieces.reshape(-1)
    stack = np.empty(1024, np.int64)
    area = height * width
    n_pieces = 0
    for start in range(flat.size):
        if flat[start] < 0 or out[start] >= 0:
            continue
        out[start] = n_pieces
        stack[0] = start
        size = 1
        while size > 0:
            size -= 1
            at = stack[size]
            z, y, x = at // area, at // width % height, at % width
            if size + 6 > stack.size:
                larger = np.empty(2 * stack.size, np.int64)
                larger[: stack.size] = stack
                stack = larger
            for side in range(6):
                if (
                    (side == 0 and x == 0)
                    or (side == 1 and x == width - 1)
                    or (side == 2 and y == 0)
                    or (side == 3 and y == height - 1)
                    or (side == 4 and z == 0)
                    or (side == 5 and z == depth - 1)
                ):
                    continue
                step = 1 if side < 2 else (width if side < 4 else area)
                to = at - step if side % 2 == 0 else at + step
                if out[to] < 0 and flat[to] == flat[start]:
                    out[to] = n_pieces
                    stack[size] = to
                    size += 1
        n_pieces += 1
    return pieces, n_pieces


@kernel
def measure_voxels(labels, values, n_nodes):
    """Return areas (N,), sums of y and x (N, 2), boxes (N, 4) in the slices, sums of values (N, C)."""
    depth, height, width = labels.shape
    area = np.zeros(n_nodes, np.int64)
    position = np.zeros((n_nodes, 2))
    box = np.zeros((n_nodes, 4), np.int64)
    box[:, 0], box[:, 1] = height, width
    sums = np.zeros((n_nodes, values.shape[3]))
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                node = labels[z, y, x]
                if node < 0:
                    continue
                area[node] += 1
                position[node, 0] += y
                position[node, 1] += x
                box[node, 0], box[node, 1] = min(box[node, 0], y), min(box[node, 1], x)
                box[node, 2], box[node, 3] = max(box[node, 2], y + 1), max(box[node, 3], x + 1)
                for c in range(values.shape[3]):
                    sums[node, c] += values[z, y, x, c]
    return area, position, box, sums
