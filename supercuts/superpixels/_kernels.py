"""numba kernels of hard superpixels: connected components, cores, geodesic growth.

In   label maps, boundary maps, features as plain arrays
Out  label maps as plain arrays
Not  no checks (the callers do them)
"""

import numpy as np

from supercuts.core.compiled import helper, kernel


@helper
def _find(parent, i):
    root = i
    while parent[root] != root:
        root = parent[root]
    while parent[i] != root:
        parent[i], i = root, parent[i]
    return root


@kernel
def fill_features(color, embeddings, color_scale, position_scale, rows, features):
    """Set rows from..to of features (H, W, C + 2 + D): scaled color (C, H, W), scaled place, embeddings (H, W, D)."""
    at = color.shape[0] + 2
    for y in range(rows[0], rows[1]):
        for x in range(features.shape[1]):
            for c in range(at - 2):
                features[y, x, c] = color_scale * color[c, y, x]
            features[y, x, at - 2] = np.float32(y) * position_scale
            features[y, x, at - 1] = np.float32(x) * position_scale
            for c in range(embeddings.shape[2]):
                features[y, x, at + c] = embeddings[y, x, c]


@kernel
def lay_out(features, ys, xs, cells):
    """Set cells (N, C, P) to the pixels of features (H, W, C); ys, xs (rows, ph), (cols, pw) hold their coordinates."""
    (rows, ph), (cols, pw) = ys.shape, xs.shape
    for r in range(rows):
        for i in range(ph):
            line = features[ys[r, i]]
            for k in range(cols):
                cell = cells[r * cols + k]
                for c in range(cell.shape[0]):
                    for j in range(pw):
                        cell[c, i * pw + j] = line[xs[k, j], c]


@kernel
def label_components(labels):
    """Return 4-connected components of equal labels, numbered in scan order (int32), and their number."""
    height, width = labels.shape
    parent = np.empty(height * width, np.int32)
    component = np.empty((height, width), np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            same_left = x > 0 and labels[y, x - 1] == labels[y, x]
            same_up = y > 0 and labels[y - 1, x] == labels[y, x]
            if same_up:
                root = _find(parent, component[y - 1, x])
                if same_left:
                    other = _find(parent, component[y, x - 1])
                    if other != root:  # the smaller id stays the root: provisional ids ascend in scan order
                        low, high = min(root, other), max(root, other)
                        parent[high] = low
                        root = low
                component[y, x] = root
            elif same_left:
                component[y, x] = component[y, x - 1]
            else:
                parent[count] = count
                component[y, x] = count
                count += 1
    final = np.empty(count, np.int32)
    n_components = 0
    for i in range(count):
        root = _find(parent, np.int32(i))
        if root == i:
            final[i] = n_components
            n_components += 1
        else:
            final[i] = final[root]
    for y in range(height):
        for x in range(width):
            component[y, x] = final[component[y, x]]
    return component, n_components


@kernel
def hard_labels(weights, ys, is_y, xs, is_x, first, labels, heaviest):
    """Set labels (H, W) to the cell of each pixel's heaviest candidate, of nine, and heaviest (H, W) to its weight.

    That is done for some rows of cells, the first of which is row `first` of the grid. weights (N, 9, P) cell-major;
    ys, is_y and xs, is_x as cell_table gives them.
    """
    rows, ph = ys.shape
    cols, pw = xs.shape
    for r in range(rows):
        for c in range(cols):
            cell = r * cols + c
            for i in range(ph):
                for j in range(pw):
                    if not (is_y[r, i] and is_x[c, j]):
                        continue
                    p = i * pw + j
                    best = 0
                    for o in range(1, 9):
                        if weights[cell, o, p] > weights[cell, best, p]:
                            best = o
                    labels[ys[r, i], xs[c, j]] = (first + r + best // 3 - 1) * cols + c + best % 3 - 1
                    heaviest[ys[r, i], xs[c, j]] = weights[cell, best, p]


@kernel
def flattest_near_centers(boundary, rows, cols, search):
    """Return (N, 2) pixels of lowest boundary within `search` of each cell's centre, never outside the cell."""
    height, width = boundary.shape
    seeds = np.empty((rows * cols, 2), np.int64)
    for r in range(rows):
        top, bottom = -(-r * height // rows), -(-(r + 1) * height // rows)
        for c in range(cols):
            left, right = -(-c * width // cols), -(-(c + 1) * width // cols)
            middle_y, middle_x = (top + bottom - 1) // 2, (left + right - 1) // 2
            best_y, best_x = middle_y, middle_x
            for y in range(max(top, middle_y - search), min(bottom, middle_y + search + 1)):
                for x in range(max(left, middle_x - search), min(right, middle_x + search + 1)):
                    if boundary[y, x] < boundary[best_y, best_x]:
                        best_y, best_x = y, x
            seeds[r * cols + c, 0] = best_y
            seeds[r * cols + c, 1] = best_x
    return seeds


@kernel
def keep_cores(labels, is_core, seeds, n_labels):
    """Return (H, W) int32: each label's largest 4-connected core, -1 elsewhere.

    A label without a core pixel keeps its seed pixel, so no label is lost; seeds (N, 2) int.
    """
    height, width = labels.shape
    marked = np.empty((height, width), np.int32)  # filled by loops: np.where takes numba seconds to compile
    for y in range(height):
        for x in range(width):
            marked[y, x] = labels[y, x] if is_core[y, x] else -1 - labels[y, x]
    component, n_components = label_components(marked)
    size = np.empty(n_components, np.int64)
    size[:] = 0
    for y in range(height):
        for x in range(width):
            if is_core[y, x]:
                size[component[y, x]] += 1
    best = np.empty(n_labels, np.int64)
    best[:] = -1
    for y in range(height):
        for x in range(width):
            if is_core[y, x]:
                i, k = labels[y, x], component[y, x]
                if best[i] < 0 or size[k] > size[best[i]]:
                    best[i] = k
    cores = np.empty((height, width), np.int32)
    cores[:] = -1
    for y in range(height):
        for x in range(width):
            if is_core[y, x] and best[labels[y, x]] == component[y, x]:
                cores[y, x] = labels[y, x]
    n_pixels = np.empty(n_labels, np.int64)
    n_pixels[:] = 0
    for i in range(n_labels):
        if best[i] >= 0:
            n_pixels[i] = size[best[i]]
    for i in range(n_labels):
        k = i
        # a seed may take the last core pixel of another label, which then starts at its own seed: seeds are distinct
        while k >= 0 and n_pixels[k] == 0:
            taken_from = cores[seeds[k, 0], seeds[k, 1]]
            cores[seeds[k, 0], seeds[k, 1]] = k
            n_pixels[k] = 1
            if taken_from >= 0:
                n_pixels[taken_from] -= 1
            k = taken_from
    return cores


@helper
def _place(at, wide):
    """Return row and column of entry `at` of an array that is `wide` a row, with a row and a column before them."""
    row = np.int64(np.uint32(at) // np.uint32(wide))  # much sooner than of 64 bits
    return row - 1, at - row * wide - 1


@helper
def _cost(y, x, label, step, features, centers, feature_weight, feature_cap, max_step):
    """Return what entering pixel (y, x) with a label costs, beside `step` for how unlike its centre the pixel is."""
    total = 0.0
    for c in range(features.shape[2]):
        d = features[y, x, c] - centers[label, c]
        total += d * d
    return min(int(step + feature_weight * min(total, feature_cap)), max_step)


@kernel
def grow(cores, step_cost, features, centers, feature_weight, feature_cap, max_step):
    """Grow cores over the pixels marked -1, cheapest path first; return (H, W) int32 labels.

    Entering pixel p with label i costs step_cost[p] + feature_weight * min(|f_p - s_i|^2, feature_cap), a whole number
    of at most max_step: distances are whole, so a ring of more than max_step buckets is an exact priority queue (Dial
    1969) and the growth is linear in the pixels. features (H, W, C), centers (N, C).
    """
    height, width = cores.shape
    labels = cores.copy()
    # a column before each row, and a row above and below, take no offer; nor do cores, and pixels once they are reached
    wide = width + 1
    best = np.empty((height + 2) * wide + 1, np.int32)
    best[:] = -1
    for y in range(height):
        for x in range(width):
            if cores[y, x] < 0:
                best[(y + 1) * wide + x + 1] = 2**31 - 1
    around = (-wide, -1, 1, wide)
    n_buckets = 1
    while n_buckets <= max_step:
        n_buckets *= 2
    ring = n_buckets - 1
    bucket = np.empty(n_buckets, np.int32)
    bucket[:] = -1
    capacity = 4 * height * width  # each border between two pixels makes at most one offer a side
    entry_pixel, entry_label = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    entry_next = np.empty(capacity, np.int32)
    n_entries, n_waiting, distance = 0, 0, 0
    y, x = 0, -1
    while y < height or n_waiting > 0:
        if y < height:  # first what borders cores is offered, in scan order
            x += 1
            if x == width:
                y, x = y + 1, -1
                continue
            if cores[y, x] < 0:
                continue
            at, label = (y + 1) * wide + x + 1, cores[y, x]
        else:
            entry = bucket[distance & ring]
            if entry < 0:
                distance += 1
                continue
            bucket[distance & ring] = entry_next[entry]
            n_waiting -= 1
            at, label = np.int64(entry_pixel[entry]), entry_label[entry]
            if best[at] < distance:
                continue
            row, column = _place(at, wide)
            labels[row, column] = label
        for i in range(4):
            to = at + around[i]
            if best[to] <= distance:
                continue
            row, column = _place(to, wide)
            step = np.int64(step_cost[row, column])
            if distance + min(step, max_step) >= best[to]:
                continue  # however alike: most pixels are offered once from each side
            cost = _cost(row, column, label, step, features, centers, feature_weight, feature_cap, max_step)
            cost += distance
            if cost < best[to]:
                best[to] = cost
                entry_pixel[n_entries], entry_label[n_entries] = to, label
                entry_next[n_entries] = bucket[cost & ring]
                bucket[cost & ring] = n_entries
                n_entries += 1
                n_waiting += 1
    return labels
