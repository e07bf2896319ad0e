"""numba kernels that smooth the borders of superpixels.

In   label maps, negative where a pixel is not valid; pixel maps and region means as plain arrays
Out  label maps of the caller, written to
Not  no checks (the callers do them)
"""

import numpy as np

from supercuts.core.compiled import helper, inlined_helper, kernel
from supercuts.superpixels._kernels.pixels import _look_up

# the 8 neighbours in a ring from above, clockwise: even ones share a side with the pixel
_DY = (-1, -1, 0, 1, 1, 1, 0, -1)
_DX = (0, 1, 1, 1, 0, -1, -1, -1)


@helper
def _is_at_border(labels, y, x):
    """Tell whether a pixel shares a side with one of another region, of 0..N-1."""
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
    """Tell whether a region stays connected without the pixel: its side neighbours are one piece within the ring."""
    n_sides, n_links = 0, 0
    for i in range(0, 8, 2):
        if ring[i] == label:
            n_sides += 1
            n_links += ring[(i + 1) % 8] == label and ring[(i + 2) % 8] == label
    return n_sides - n_links == 1


@inlined_helper
def _distance(feature, color, embedding, region, weights):
    """Return the weighted squared distance of a pixel's features to the means of a region."""
    of_color, of_embedding = 0.0, 0.0
    n_colors = color.shape[1]
    for c in range(n_colors):
        d = feature[c] - color[region, c]
        of_color += d * d
    for c in range(embedding.shape[1]):
        d = feature[n_colors + 2 + c] - embedding[region, c]
        of_embedding += d * d
    return weights[0] * of_color + weights[1] * of_embedding


@inlined_helper
def _pull(boundary, power):
    """Return what a neighbour of another region costs."""
    pull = np.float32(1) - boundary
    return pull if power == 1 else pull**power


@kernel
def smooth_rows(labels, is_due, due, rows, boundary, first, maps, scales, tables, color, embedding, weights):
    """Sweep once over some rows: give border pixels to the neighbouring region of lowest energy.

    Returns how many pixels moved. boundary starts at row `first`; maps, scales and tables are what _look_up takes;
    weights are those of colour, embedding and diagonal, and the power of the pull.

    The energy of pixel p in region i is its distance to the means of i, plus min(pull_p, pull_q) for each of its 8
    neighbours q outside i (times `diagonal` for the diagonal ones). A pixel moves only if its old region stays
    connected and keeps a pixel. is_due (H, 8 w) says which pixels to look at, a few in a hundred and fewer in each
    sweep, for those around one that moved are due again; due (H, w) is the same as words of eight.
    """
    diagonal, power = weights[2], np.float32(weights[3])
    feature = np.empty(color.shape[1] + 2 + embedding.shape[1], np.float32)
    height, width = labels.shape
    ring = np.empty(8, np.int32)
    pulls = np.empty(8, np.float64)
    n_moved = 0
    for y in range(rows[0], rows[1]):
        for word in range(due.shape[1]):
            if due[y, word] == 0:
                continue
            for x in range(8 * word, min(8 * word + 8, width)):
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
                    gain = _distance(feature, color, embedding, other, weights) - stay
                    for j in range(8):
                        if ring[j] == own:
                            gain += pulls[j]
                        elif ring[j] == other:
                            gain -= pulls[j]
                    if gain < lowest - 1e-6:  # rounding must not move pixels to and fro
                        best, lowest = other, gain
                if best != own:
                    labels[y, x] = best
                    n_moved += 1
                    is_due[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    return n_moved
