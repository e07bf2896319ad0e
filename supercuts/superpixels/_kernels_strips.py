"""numba kernels of superpixels of images that are worked on in strips: what kernels of whole images do, in less memory.

In   strips of maps as plain arrays, label maps (H, W) of the whole image, -1 where a pixel is not valid
Out  the arrays of the caller, filled
Not  no checks (the callers do them)

Every loop visits pixels in the order of the kernels of whole images, so that the labels are the same.
"""

import numpy as np
from numba import njit

from supercuts.core._kernels_half import from_half
from supercuts.core.compiled import HELPER, allocating_helper, helper, kernel
from supercuts.superpixels._kernels import label_components
from supercuts.superpixels._kernels_smooth import _DX, _DY, _is_at_border, _is_simple

FREE, MASKED = -1, -2  # of a map of cores: still to be labelled, never


@kernel
def fill_cells(color, maps, scales, top, ys, xs, cells):
    """Set cells (S, C, P) to the SSN features of pixels, those that _look_up gives.

    color (B, h, W) holds the rows from `top` on; maps and scales as in grow; ys, xs (rows, ph), (cols, pw) coordinates.
    """
    embeddings = maps[2]
    color_scale, position_scale, stride = scales[0], scales[1], scales[3]
    (rows, ph), (cols, pw) = ys.shape, xs.shape
    at = color.shape[0]
    coarse = np.empty((cols, pw), np.int64)  # divisions would take longer than all the rest
    for k in range(cols):
        for j in range(pw):
            coarse[k, j] = xs[k, j] // stride
    for r in range(rows):
        for i in range(ph):
            y = ys[r, i]
            for k in range(cols):
                cell = cells[r * cols + k]
                for c in range(at):
                    for j in range(pw):
                        cell[c, i * pw + j] = color_scale * color[c, y - top, xs[k, j]]
                for j in range(pw):
                    cell[at, i * pw + j] = np.float32(y) * position_scale
                    cell[at + 1, i * pw + j] = np.float32(xs[k, j]) * position_scale
                line = embeddings[y // stride]
                if stride == 1 and xs[k, pw - 1] == xs[k, 0] + pw - 1:  # views: compilers see what lies side by side
                    row = line[xs[k, 0] : xs[k, 0] + pw]
                    for c in range(embeddings.shape[2]):
                        filled = cell[at + 2 + c, i * pw : (i + 1) * pw]
                        for j in range(pw):
                            filled[j] = from_half(row[j, c])
                else:
                    for c in range(embeddings.shape[2]):
                        for j in range(pw):
                            cell[at + 2 + c, i * pw + j] = from_half(line[coarse[k, j], c])


@kernel
def flattest_near_centers(boundary, valid, top, shape, grid, first_row, search, seeds):
    """Set seeds (N, 2) of the grid rows whose pixels the strip holds, which starts at image row `top`.

    As _kernels.flattest_near_centers; valid (h, w) bool, or (0, 0) if all are. A cell without a valid pixel so near its
    centre takes its first valid one, without any -1.
    """
    (height, width), (rows, cols) = shape, grid
    r = first_row
    while r < rows and -(-(r + 1) * height // rows) <= top + boundary.shape[0]:
        low, high = -(-r * height // rows) - top, -(-(r + 1) * height // rows) - top
        for c in range(cols):
            left, right = -(-c * width // cols), -(-(c + 1) * width // cols)
            middle_y, middle_x = (low + high - 1) // 2, (left + right - 1) // 2
            best_y, best_x = -1, -1
            if valid.size == 0 or valid[middle_y, middle_x]:
                best_y, best_x = middle_y, middle_x
            for y in range(max(low, middle_y - search), min(high, middle_y + search + 1)):
                for x in range(max(left, middle_x - search), min(right, middle_x + search + 1)):
                    if valid.size > 0 and not valid[y, x]:
                        continue
                    if best_y < 0 or boundary[y, x] < boundary[best_y, best_x]:
                        best_y, best_x = y, x
            if best_y < 0:
                for y in range(low, high):
                    for x in range(left, right):
                        if best_y < 0 and valid[y, x]:
                            best_y, best_x = y, x
            seeds[r * cols + c, 0] = best_y + top if best_y >= 0 else -1
            seeds[r * cols + c, 1] = best_x
        r += 1


@kernel
def keep_cores(marked, valid, seeds, n_labels):
    """Turn marked (H, W), labels of cores and -1 - label elsewhere, into cores in place; else FREE or MASKED."""
    height, width = marked.shape
    component, n_components = label_components(marked)
    size = np.zeros(n_components, np.int32)
    for y in range(height):
        for x in range(width):
            if marked[y, x] >= 0:
                size[component[y, x]] += 1
    best = np.full(n_labels, -1, np.int64)
    for y in range(height):
        for x in range(width):
            i, k = marked[y, x], component[y, x]
            if i >= 0 and (best[i] < 0 or size[k] > size[best[i]]):
                best[i] = k
    for y in range(height):
        for x in range(width):
            i = marked[y, x]
            if valid.size > 0 and not valid[y, x]:
                marked[y, x] = MASKED
            elif i < 0 or best[i] != component[y, x]:
                marked[y, x] = FREE
    n_pixels = np.zeros(n_labels, np.int64)
    for i in range(n_labels):
        if best[i] >= 0:
            n_pixels[i] = size[best[i]]
    for i in range(n_labels):
        k = i
        # a seed may take the last core pixel of another label, which then starts at its own seed: seeds are distinct
        while k >= 0 and n_pixels[k] == 0 and seeds[k, 0] >= 0:
            taken_from = marked[seeds[k, 0], seeds[k, 1]]
            marked[seeds[k, 0], seeds[k, 1]] = k
            n_pixels[k] = 1
            if taken_from >= 0:
                n_pixels[taken_from] -= 1
            k = taken_from


@njit(fastmath=True, **HELPER)
def _lab(red, green, blue, tables, out):
    """Set out (3,) to Lab of bytes, to the last bit as images._kernels.lab_from_rgb."""
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


@helper
def _look_up(y, x, maps, scales, tables, out):
    """Set out (C,) to the SSN features of a pixel: scaled colour, position, embedding."""
    rgb, bands, embeddings = maps
    color_scale, position_scale, band_scale, stride = scales
    n_rgb, n_bands = rgb.shape[2], bands.shape[2]
    if n_rgb > 0:
        _lab(np.int64(rgb[y, x, 0]), np.int64(rgb[y, x, 1]), np.int64(rgb[y, x, 2]), tables, out)
    for c in range(n_rgb):
        out[c] = color_scale * out[c]
    for c in range(n_bands):
        out[n_rgb + c] = color_scale * (np.float32(bands[y, x, c]) * band_scale)
    at, row, column = n_rgb + n_bands, y // stride, x // stride
    out[at] = np.float32(y) * position_scale
    out[at + 1] = np.float32(x) * position_scale
    for c in range(embeddings.shape[2]):
        out[at + 2 + c] = from_half(embeddings[row, column, c])


@helper
def _touches_free(labels, y, x):
    """Tell whether a pixel shares a side with a free one: most do not, and offering takes longer."""
    return (
        (y > 0 and labels[y - 1, x] < 0 and labels[y - 1, x] != MASKED)
        or (x > 0 and labels[y, x - 1] < 0 and labels[y, x - 1] != MASKED)
        or (x + 1 < labels.shape[1] and labels[y, x + 1] < 0 and labels[y, x + 1] != MASKED)
        or (y + 1 < labels.shape[0] and labels[y + 1, x] < 0 and labels[y + 1, x] != MASKED)
    )


@helper
def _offer_around(y0, x0, label, base, labels, best, queue, state, centers, maps, scales, tables, costs, feature):
    """Queue the free neighbours of a pixel for its label, as _kernels._offer does; entries that are done are reused."""
    bucket, entry_pixel, entry_label, entry_next = queue
    steps, feature_weight, feature_cap, max_step = costs
    height, width = labels.shape
    for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
        y, x = y0 + dy, x0 + dx
        if not (0 <= y < height and 0 <= x < width) or labels[y, x] != FREE:
            continue
        step = steps[min(y, steps.shape[0] - 1), min(x, steps.shape[1] - 1)]
        pixel = y * width + x
        if base + min(np.int64(step), max_step) >= best[pixel]:
            continue  # however alike: most pixels are offered once from each side
        _look_up(y, x, maps, scales, tables, feature)
        total = 0.0
        for c in range(feature.size):
            d = feature[c] - centers[label, c]
            total += d * d
        cost = base + min(int(step + feature_weight * min(total, feature_cap)), max_step)
        if cost < best[pixel]:
            best[pixel] = cost
            entry = state[0]
            if entry >= 0:
                state[0] = entry_next[entry]
            else:
                entry = state[2]
                state[2] += 1  # entries ever used
            entry_pixel[entry], entry_label[entry] = pixel, label
            entry_next[entry] = bucket[cost % bucket.size]
            bucket[cost % bucket.size] = entry
            state[1] += 1  # entries waiting


@allocating_helper
def _with_room(queue, state):
    """Return the queue with room for the offers of one more pixel."""
    bucket, entry_pixel, entry_label, entry_next = queue
    if state[2] + 4 <= entry_pixel.size:
        return queue
    n = entry_pixel.size // 2
    more = np.empty(n, np.int32)
    return (
        bucket,
        np.concatenate((entry_pixel, more)),
        np.concatenate((entry_label, more)),
        np.concatenate((entry_next, more)),
    )


@kernel
def grow(labels, centers, maps, scales, tables, costs):
    """Grow cores over FREE pixels in place, cheapest path first, as _kernels.grow does; what none reaches stays FREE.

    maps    rgb, bands and embeddings of StoredMaps, these (h, w, D) as bits of float16
    scales  of colour, position and bands; the stride of the embeddings
    costs   of entering each pixel (H, W) or (1, 1), weight and cap of the feature distance, the highest
    """
    height, width = labels.shape
    max_step = costs[3]
    room = np.empty(1 << 20, np.int32)
    queue = (np.full(max_step + 1, -1, np.int32), room, room.copy(), room.copy())
    best = np.full(height * width, 2**31 - 1, np.int32)
    state = np.array([-1, 0, 0])  # first entry that may be used again, entries waiting, entries ever used
    feature = np.empty(centers.shape[1], np.float32)
    is_core = np.int64(0)
    for y0 in range(height):
        for x0 in range(width):
            is_core = labels[y0, x0]
            if is_core < 0 or not _touches_free(labels, y0, x0):
                continue
            if state[2] + 4 > queue[1].size:
                queue = _with_room(queue, state)
            _offer_around(
                y0, x0, is_core, 0, labels, best, queue, state, centers, maps, scales, tables, costs, feature
            )  # fmt: skip
    distance = 0
    while state[1] > 0:
        bucket, entry_pixel, entry_label, entry_next = queue
        entry = bucket[distance % bucket.size]
        if entry < 0:
            distance += 1
            continue
        bucket[distance % bucket.size] = entry_next[entry]
        pixel, label = entry_pixel[entry], entry_label[entry]
        entry_next[entry] = state[0]
        state[0] = entry
        state[1] -= 1
        y0, x0 = pixel // width, pixel % width
        if labels[y0, x0] >= 0:
            continue
        labels[y0, x0] = label
        if state[2] + 4 > queue[1].size:
            queue = _with_room(queue, state)
        _offer_around(
            y0, x0, label, distance, labels, best, queue, state, centers, maps, scales, tables, costs, feature
        )  # fmt: skip


@helper
def _distance(feature, color, embedding, region, weights):
    """Return the weighted squared distance of a pixel's features to the means of a region, as _kernels_smooth does."""
    of_color, of_embedding = 0.0, 0.0
    n_colors = color.shape[1]
    for c in range(n_colors):
        d = feature[c] - color[region, c]
        of_color += d * d
    for c in range(embedding.shape[1]):
        d = feature[n_colors + 2 + c] - embedding[region, c]
        of_embedding += d * d
    return weights[0] * of_color + weights[1] * of_embedding


@helper
def _pull(boundary, power):
    """Return what a neighbour of another region costs."""
    pull = np.float32(1) - boundary
    return pull if power == 1 else pull**power


@kernel
def smooth_rows(labels, is_due, due, rows, boundary, first, maps, scales, tables, color, embedding, weights):
    """Sweep once over some rows, as _kernels_smooth.smooth_rows; return how many pixels moved.

    boundary starts at row `first`; maps, scales and tables as in grow; weights are those of colour, embedding and
    diagonal, and the power of the pull. is_due (H, 8 w) says which pixels to look at, a few in a hundred and fewer in
    each sweep; due (H, w) is the same as words of eight.
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
