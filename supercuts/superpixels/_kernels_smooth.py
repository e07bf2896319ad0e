"""numba kernels that smooth the borders of superpixels.

In   label maps, pixel maps and region means as plain arrays
Out  label maps of the caller, written to
Not  no checks (the callers do them)
"""

import numpy as np

from supercuts.core.compiled import helper, kernel

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


@helper
def _distance(lab, embeddings, y, x, color, embedding, region, color_weight, embedding_weight):
    """Return the weighted squared distance of a pixel to the means of a region."""
    of_color, of_embedding = 0.0, 0.0
    for c in range(lab.shape[0]):
        d = lab[c, y, x] - color[region, c]
        of_color += d * d
    for c in range(embeddings.shape[2]):
        d = embeddings[y, x, c] - embedding[region, c]
        of_embedding += d * d
    return color_weight * of_color + embedding_weight * of_embedding


@kernel
def smooth_rows(labels, is_due, rows, pull, lab, embeddings, color, embedding, weights):
    """Sweep once over some rows: give border pixels to the neighbouring region of lowest energy.

    lab (C, H, W), embeddings (H, W, D); weights of colour, embedding and diagonal. Returns how many pixels moved.

    The energy of pixel p in region i is its distance to the means of i, plus min(pull_p, pull_q) for each of its 8
    neighbours q outside i (times `diagonal` for the diagonal ones). A pixel moves only if its old region stays
    connected and keeps a pixel. is_due (H, W) says which pixels to look at: those around one that moved are due again.
    """
    color_weight, embedding_weight, diagonal = weights
    height, width = labels.shape
    ring = np.empty(8, np.int32)
    pulls = np.empty(8, np.float64)
    n_moved = 0
    for y in range(rows[0], rows[1]):
        for x in range(width):
            if not is_due[y, x]:
                continue
            is_due[y, x] = False
            own = labels[y, x]
            if not _is_at_border(labels, y, x):
                continue
            for i in range(8):
                row, column = y + _DY[i], x + _DX[i]
                if 0 <= row < height and 0 <= column < width:
                    ring[i] = labels[row, column]
                    pulls[i] = min(pull[y, x], pull[row, column]) * (diagonal if i % 2 else 1.0)
                else:
                    ring[i] = -1
                    pulls[i] = 0.0
            if not _is_simple(ring, own):
                continue
            stay = _distance(lab, embeddings, y, x, color, embedding, own, color_weight, embedding_weight)
            best, lowest = own, 0.0
            for i in range(0, 8, 2):
                other = ring[i]
                if other < 0 or other in (own, best):
                    continue
                gain = _distance(lab, embeddings, y, x, color, embedding, other, color_weight, embedding_weight)
                gain -= stay
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
