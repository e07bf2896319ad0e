"""numba kernels of hard superpixels: features, connected components, cores, geodesic growth; clusters of voxels.

Loops replace array expressions where these take numba seconds to compile.
"""

import numpy as np

from supercuts.core._kernels import _as_number, _find
from supercuts.core.compiled import allocating_helper, helper, inlined_helper, kernel
from supercuts.superpixels._kernels.pixels import _squared_distance

FREE, MASKED = -1, -2  # entries of a map of cores: still to be labelled; never labelled
_NO_CORE = -(2**31)  # label of an invalid pixel until cores are found
_FAR = 2**31 - 1  # distance of a pixel that no path has reached


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
                    if other != root:  # the smaller id stays the root, because provisional ids ascend in scan order
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
def fill_cells(color, first, embeddings, scales, ys, xs, cells):
    """Set cells (S, C, P) to the SSN features of pixels, the same as those of _look_up.

    color (B, h, W) starts at row `first` of the image; embeddings and scales are those of _look_up; ys (rows, ph) and
    xs (cols, pw) hold the pixels' coordinates.
    """
    color_scale, position_scale, stride = scales[0], scales[1], scales[3]
    (rows, ph), (cols, pw) = ys.shape, xs.shape
    at = color.shape[0]
    coarse = np.empty((cols, pw), np.int64)  # computed once: divisions in the loops would take most of the time
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
                        cell[c, i * pw + j] = color_scale * color[c, y - first, xs[k, j]]
                for j in range(pw):
                    cell[at, i * pw + j] = np.float32(y) * position_scale
                    cell[at + 1, i * pw + j] = np.float32(xs[k, j]) * position_scale
                line, into = embeddings[y // stride], cell[at + 2 :]
                for j in range(pw):
                    row = line[coarse[k, j]]
                    for c in range(row.size):
                        into[c, i * pw + j] = _as_number(row[c])


@kernel
def mark_cores(weights, ys, is_y, xs, is_x, first_row, boundary, first, valid, limits, marked):
    """Set marked (H, W) to the cell of each pixel's heaviest candidate in a core, and to -1 - cell elsewhere.

    The kernel processes rows of cells from row `first_row` of the grid on. weights (N, 9, P) are cell-major; ys, is_y
    and xs, is_x are tables of cell_table. Pixels are in a core if the boundary, which starts at row `first`, is at most
    limits[0] and the weight at least limits[1]. valid is (H, W) bool, or (0, 0) if all pixels are valid.
    """
    rows, ph = ys.shape
    cols, pw = xs.shape
    for r in range(rows):
        for c in range(cols):
            cell = r * cols + c
            for i in range(ph):
                y = ys[r, i]
                for j in range(pw):
                    if not (is_y[r, i] and is_x[c, j]):
                        continue
                    x = xs[c, j]
                    if valid.size > 0 and not valid[y, x]:
                        marked[y, x] = _NO_CORE
                        continue
                    p = i * pw + j
                    best = 0
                    for o in range(1, 9):
                        if weights[cell, o, p] > weights[cell, best, p]:
                            best = o
                    label = (first_row + r + best // 3 - 1) * cols + c + best % 3 - 1
                    is_core = boundary[y - first, x] <= limits[0] and weights[cell, best, p] >= limits[1]
                    marked[y, x] = label if is_core else -1 - label


@kernel
def flattest_near_centers(boundary, first, valid, shape, grid, rows, search, seeds):
    """Set seeds (N, 2), for some rows of the grid, to the pixels of lowest boundary near the centres of their cells.

    They lie within `search` pixels of the centre and inside the cell. If no pixel there is valid, the seed is the first
    valid pixel of the cell, or -1 if there is none. boundary starts at row `first`; valid is (H, W) bool, or (0, 0) if
    all pixels are valid; shape is the shape of the image, grid the number of rows and columns of the grid.
    """
    (height, width), (n_rows, n_cols) = shape, grid
    for r in range(rows[0], rows[1]):
        top, bottom = -(-r * height // n_rows), -(-(r + 1) * height // n_rows)
        for c in range(n_cols):
            left, right = -(-c * width // n_cols), -(-(c + 1) * width // n_cols)
            middle_y, middle_x = (top + bottom - 1) // 2, (left + right - 1) // 2
            best_y, best_x = -1, -1
            if valid.size == 0 or valid[middle_y, middle_x]:
                best_y, best_x = middle_y, middle_x
            for y in range(max(top, middle_y - search), min(bottom, middle_y + search + 1)):
                for x in range(max(left, middle_x - search), min(right, middle_x + search + 1)):
                    if valid.size > 0 and not valid[y, x]:
                        continue
                    if best_y < 0 or boundary[y - first, x] < boundary[best_y - first, best_x]:
                        best_y, best_x = y, x
            if best_y < 0:
                for y in range(top, bottom):
                    for x in range(left, right):
                        if best_y < 0 and valid[y, x]:
                            best_y, best_x = y, x
            seeds[r * n_cols + c, 0] = best_y
            seeds[r * n_cols + c, 1] = best_x


@kernel
def keep_cores(marked, valid, seeds, n_labels):
    """Turn marked (H, W), which holds the label of a core pixel and -1 - label elsewhere, into cores in place.

    Each label keeps its largest 4-connected core. Other pixels become FREE, or MASKED if invalid; valid is (H, W) bool,
    or (0, 0) if all are valid. A label without a core pixel keeps its seed, so no label is lost; seeds (N, 2) are -1
    for labels without one.
    """
    height, width = marked.shape
    component, n_components = label_components(marked)
    size = np.empty(n_components, np.int32)
    size[:] = 0
    for y in range(height):
        for x in range(width):
            if marked[y, x] >= 0:
                size[component[y, x]] += 1
    best = np.empty(n_labels, np.int64)
    best[:] = -1
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
    n_pixels = np.empty(n_labels, np.int64)
    n_pixels[:] = 0
    for i in range(n_labels):
        if best[i] >= 0:
            n_pixels[i] = size[best[i]]
    for i in range(n_labels):
        k = i
        # a seed may take the last core pixel of another label, which then starts at its own seed; seeds are distinct
        while k >= 0 and n_pixels[k] == 0 and seeds[k, 0] >= 0:
            taken_from = marked[seeds[k, 0], seeds[k, 1]]
            marked[seeds[k, 0], seeds[k, 1]] = k
            n_pixels[k] = 1
            if taken_from >= 0:
                n_pixels[taken_from] -= 1
            k = taken_from


@helper
def _place(at, wide):
    """Return row and column of entry `at` of a flat array of rows of length `wide`, padded by one row and column."""
    row = np.int64(np.uint32(at) // np.uint32(wide))  # much faster than division of 64-bit integers
    return row - 1, at - row * wide - 1


@inlined_helper
def _cost(y, x, label, step, pixels, centers, feature_weight, feature_cap, max_step, feature):
    """Return the cost of entering pixel (y, x) with a label: step plus the weighted feature distance to its centre."""
    maps, scales, tables = pixels
    total = _squared_distance(y, x, label, maps, scales, tables, centers, feature)
    return min(int(step + feature_weight * min(total, feature_cap)), max_step)


@allocating_helper
def _doubled(entries):
    """Return the entries in an array of twice the size."""
    more = np.empty(2 * entries.size, entries.dtype)
    for i in range(entries.size):
        more[i] = entries[i]
    return more


@kernel
def grow(labels, centers, maps, scales, tables, costs):
    """Grow cores over FREE pixels in place, cheapest path first; pixels that no core reaches stay FREE.

    maps, scales and tables are those of _look_up. costs holds the step of each pixel, (H, W) or (1, 1), the weight and
    the cap of the feature distance, and the maximum cost: entering pixel p with label i costs
    step[p] + weight * min(|f_p - s_i|^2, cap), truncated to an integer of at most the maximum. A ring of more buckets
    than the maximum is therefore an exact priority queue (Dial 1969), and growth is linear in the number of pixels.
    """
    height, width = labels.shape
    steps, feature_weight, feature_cap, max_step = costs
    last_row, last_column = steps.shape[0] - 1, steps.shape[1] - 1
    # offers are never made to the padding (a column before each row, a row above and below), to cores, to invalid
    # pixels and to pixels already reached
    wide = width + 1
    best = np.empty((height + 2) * wide + 1, np.int32)
    best[:] = -1
    for y in range(height):
        for x in range(width):
            if labels[y, x] == FREE:
                best[(y + 1) * wide + x + 1] = _FAR
    around = (-wide, -1, 1, wide)
    n_buckets = 1
    while n_buckets <= max_step:
        n_buckets *= 2
    ring = n_buckets - 1
    bucket = np.empty(n_buckets, np.int32)
    bucket[:] = -1
    room = min(4 * height * width, 1 << 20)  # each border between two pixels causes at most one offer per side
    entry_pixel, entry_label, entry_next = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    feature = np.empty(3, np.float32)
    pixels = (maps, scales, tables)
    done = np.int64(-1)  # first entry of the list of free entries
    n_entries, n_waiting, distance = 0, 0, 0
    y, x = 0, -1
    while y < height or n_waiting > 0:
        if y < height:  # first make offers to the neighbours of cores, in scan order
            x += 1
            if x == width:
                y, x = y + 1, -1
                continue
            if labels[y, x] < 0:
                continue
            at, label = (y + 1) * wide + x + 1, labels[y, x]
        else:
            entry = np.int64(bucket[distance & ring])
            if entry < 0:
                distance += 1
                continue
            bucket[distance & ring] = entry_next[entry]
            n_waiting -= 1
            at, label = np.int64(entry_pixel[entry]), entry_label[entry]
            entry_next[entry] = done
            done = entry
            if best[at] < distance:
                continue
            row, column = _place(at, wide)
            labels[row, column] = label
        for i in range(4):
            to = at + around[i]
            if best[to] <= distance:
                continue
            row, column = _place(to, wide)
            step = np.int64(steps[min(row, last_row), min(column, last_column)])
            if distance + min(step, max_step) >= best[to]:
                continue  # too expensive even at feature distance 0; most pixels get one offer from each side
            cost = _cost(row, column, label, step, pixels, centers, feature_weight, feature_cap, max_step, feature)
            cost += distance
            if cost < best[to]:
                best[to] = cost
                entry = done
                if entry >= 0:
                    done = np.int64(entry_next[entry])
                else:
                    if n_entries == entry_pixel.size:
                        entry_pixel, entry_label = _doubled(entry_pixel), _doubled(entry_label)
                        entry_next = _doubled(entry_next)
                    entry = n_entries
                    n_entries += 1
                entry_pixel[entry], entry_label[entry] = to, label
                entry_next[entry] = bucket[cost & ring]
                bucket[cost & ring] = entry
                n_waiting += 1


@kernel
def average_alike(values, valid, weights, scale, z, out):
    """Set slice z of out (Z, H, W, C) to the means of values over 3 x 3 x 3 voxels, weighted by place and likeness.

    A neighbour whose values differ by d in all weighs weights[place] / (1 + e + e^2 / 2) with e = scale d^2, which is
    close to a Gaussian: a bilateral filter.
    """
    depth, height, width, n_channels = values.shape
    total = np.empty(n_channels, np.float32)
    for y in range(height):
        for x in range(width):
            out[z, y, x] = values[z, y, x]
            if not valid[z, y, x]:
                continue
            mass = np.float32(0)
            total[:] = 0
            for i in range(max(z - 1, 0), min(z + 2, depth)):
                for j in range(max(y - 1, 0), min(y + 2, height)):
                    for k in range(max(x - 1, 0), min(x + 2, width)):
                        if not valid[i, j, k]:
                            continue
                        e = np.float32(0)
                        for c in range(n_channels):
                            d = values[i, j, k, c] - values[z, y, x, c]
                            e += scale * d * d
                        weight = weights[i - z + 1, j - y + 1, k - x + 1] / (1 + e * (1 + np.float32(0.5) * e))
                        mass += weight
                        for c in range(n_channels):
                            total[c] += weight * values[i, j, k, c]
            for c in range(n_channels):
                out[z, y, x, c] = total[c] / mass


@kernel
def cluster_voxels(values, valid, grid, scales, n_iterations):
    """Return (Z, H, W) int32: the cluster of each voxel after k-means, -1 where it is not valid.

    Clusters start at the cells of the grid. A voxel compares its own cell and, along each axis, the neighbour on its
    nearer side: eight cells. Distances add squared differences of values and of scaled positions.
    """
    depth, height, width, n_channels = values.shape
    n_cells = grid[0] * grid[1] * grid[2]
    labels = np.empty((depth, height, width), np.int32)
    centers = np.zeros((n_cells, n_channels + 3), np.float32)
    sums = np.zeros((n_cells, n_channels + 3))
    counts = np.zeros(n_cells, np.int64)
    near = np.empty(8, np.int64)
    for iteration in range(n_iterations + 1):  # the first only measures the cells
        sums[:] = 0
        counts[:] = 0
        for z in range(depth):
            cz = z * grid[0] // depth
            nz = cz + (1 if 2 * z * grid[0] + grid[0] >= (2 * cz + 1) * depth else -1)
            nz = cz if nz < 0 or nz >= grid[0] else nz
            for y in range(height):
                cy = y * grid[1] // height
                ny = cy + (1 if 2 * y * grid[1] + grid[1] >= (2 * cy + 1) * height else -1)
                ny = cy if ny < 0 or ny >= grid[1] else ny
                for x in range(width):
                    if not valid[z, y, x]:
                        labels[z, y, x] = -1
                        continue
                    cx = x * grid[2] // width
                    nx = cx + (1 if 2 * x * grid[2] + grid[2] >= (2 * cx + 1) * width else -1)
                    nx = cx if nx < 0 or nx >= grid[2] else nx
                    best = (cz * grid[1] + cy) * grid[2] + cx
                    if iteration > 0:
                        near[0], near[1] = best, (cz * grid[1] + cy) * grid[2] + nx
                        near[2], near[3] = (cz * grid[1] + ny) * grid[2] + cx, (cz * grid[1] + ny) * grid[2] + nx
                        near[4], near[5] = (nz * grid[1] + cy) * grid[2] + cx, (nz * grid[1] + cy) * grid[2] + nx
                        near[6], near[7] = (nz * grid[1] + ny) * grid[2] + cx, (nz * grid[1] + ny) * grid[2] + nx
                        least = np.float32(np.inf)
                        for k in range(8):
                            cell = near[k]
                            d = scales[0] * (np.float32(z) - centers[cell, n_channels])
                            distance = d * d
                            d = scales[1] * (np.float32(y) - centers[cell, n_channels + 1])
                            distance += d * d
                            d = scales[2] * (np.float32(x) - centers[cell, n_channels + 2])
                            distance += d * d
                            for c in range(n_channels):
                                d = values[z, y, x, c] - centers[cell, c]
                                distance += d * d
                            if distance < least:
                                least, best = distance, cell
                    labels[z, y, x] = best
                    counts[best] += 1
                    for c in range(n_channels):
                        sums[best, c] += values[z, y, x, c]
                    sums[best, n_channels] += z
                    sums[best, n_channels + 1] += y
                    sums[best, n_channels + 2] += x
        for cell in range(n_cells):
            for c in range(n_channels + 3):
                centers[cell, c] = sums[cell, c] / counts[cell] if counts[cell] > 0 else np.float32(np.inf)
    return labels
