"""numba kernels of hard superpixels: connected components, cores, geodesic growth.

In   label maps, boundary maps, features as plain arrays
Out  label maps as plain arrays
Not  no checks (the callers do them)
"""

import numpy as np
from numba import njit


@njit(cache=True)
def _find(parent, i):
    root = i
    while parent[root] != root:
        root = parent[root]
    while parent[i] != root:
        parent[i], i = root, parent[i]
    return root


@njit(cache=True)
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
        root = _find(parent, i)
        if root == i:
            final[i] = n_components
            n_components += 1
        else:
            final[i] = final[root]
    for y in range(height):
        for x in range(width):
            component[y, x] = final[component[y, x]]
    return component, n_components


@njit(cache=True)
def hard_labels(weights, ys, xs, is_pixel, rows, cols, height, width):
    """Return (H, W) int32 cell ids of the heaviest of the nine candidates; weights (N, 9, P) cell-major."""
    labels = np.empty((height, width), np.int32)
    ph, pw = ys.shape[1], xs.shape[1]
    for r in range(rows):
        for c in range(cols):
            cell = r * cols + c
            for p in range(ph * pw):
                if not is_pixel[cell, p]:
                    continue
                best = 0
                for o in range(1, 9):
                    if weights[cell, o, p] > weights[cell, best, p]:
                        best = o
                labels[ys[r, p // pw], xs[c, p % pw]] = (r + best // 3 - 1) * cols + c + best % 3 - 1
    return labels


@njit(cache=True)
def keep_cores(labels, is_core, seeds, n_labels):
    """Return (H, W) int32: each label's largest 4-connected core, -1 elsewhere.

    A label without a core pixel keeps its seed pixel, so no label is lost; seeds (N, 2) int.
    """
    height, width = labels.shape
    marked = np.where(is_core, labels, -1 - labels)
    component, n_components = label_components(marked)
    size = np.zeros(n_components, np.int64)
    for y in range(height):
        for x in range(width):
            if is_core[y, x]:
                size[component[y, x]] += 1
    best = np.full(n_labels, -1, np.int64)
    for y in range(height):
        for x in range(width):
            if is_core[y, x]:
                i, k = labels[y, x], component[y, x]
                if best[i] < 0 or size[k] > size[best[i]]:
                    best[i] = k
    cores = np.full((height, width), -1, np.int32)
    for y in range(height):
        for x in range(width):
            if is_core[y, x] and best[labels[y, x]] == component[y, x]:
                cores[y, x] = labels[y, x]
    for i in range(n_labels):
        if best[i] < 0:
            cores[seeds[i, 0], seeds[i, 1]] = i
    return cores


@njit(cache=True)
def grow(cores, step_cost, features, centers, feature_weight, feature_cap, max_step):
    """Grow cores over the pixels marked -1, cheapest path first; return (H, W) int32 labels.

    Entering pixel p with label i costs step_cost[p] + feature_weight * min(|f_p - s_i|^2, feature_cap), a whole number
    of at most max_step: distances are whole, so a ring of max_step + 1 buckets is an exact priority queue (Dial 1969)
    and the growth is linear in the pixels. features (H, W, C), centers (N, C).
    """
    height, width = cores.shape
    n_pixels = height * width
    n_channels = features.shape[2]
    labels = cores.copy()
    n_buckets = max_step + 1
    bucket = np.full(n_buckets, -1, np.int64)  # first entry of each bucket
    capacity = 4 * n_pixels + 4
    entry_pixel = np.empty(capacity, np.int32)
    entry_label = np.empty(capacity, np.int32)
    entry_next = np.empty(capacity, np.int64)
    free = -1
    n_entries = 0
    waiting = 0
    best = np.full(n_pixels, 2**31 - 1, np.int32)  # cheapest offer a pixel has had: dearer ones are not queued
    distance = 0
    for start in range(n_pixels + 1):
        if start < n_pixels:
            y0, x0 = start // width, start % width
            if labels[y0, x0] < 0:
                continue
            pixel, label = start, labels[y0, x0]
            base = 0
        else:
            break
        for direction in range(4):
            y = y0 + (direction == 0) - (direction == 1)
            x = x0 + (direction == 2) - (direction == 3)
            if y < 0 or x < 0 or y >= height or x >= width or cores[y, x] >= 0:
                continue
            total = 0.0
            for c in range(n_channels):
                d = features[y, x, c] - centers[label, c]
                total += d * d
            cost = min(int(step_cost[y, x] + feature_weight * min(total, feature_cap)), max_step)
            q = y * width + x
            if cost < best[q]:
                best[q] = cost
                entry_pixel[n_entries], entry_label[n_entries] = q, label
                entry_next[n_entries] = bucket[cost % n_buckets]
                bucket[cost % n_buckets] = n_entries
                n_entries += 1
                waiting += 1
    while waiting > 0:
        entry = bucket[distance % n_buckets]
        if entry < 0:
            distance += 1
            continue
        bucket[distance % n_buckets] = entry_next[entry]
        waiting -= 1
        pixel, label = entry_pixel[entry], entry_label[entry]
        y0, x0 = pixel // width, pixel % width
        if labels[y0, x0] >= 0:
            continue
        labels[y0, x0] = label
        for direction in range(4):
            y = y0 + (direction == 0) - (direction == 1)
            x = x0 + (direction == 2) - (direction == 3)
            if y < 0 or x < 0 or y >= height or x >= width or labels[y, x] >= 0:
                continue
            total = 0.0
            for c in range(n_channels):
                d = features[y, x, c] - centers[label, c]
                total += d * d
            cost = distance + min(int(step_cost[y, x] + feature_weight * min(total, feature_cap)), max_step)
            q = y * width + x
            if cost < best[q]:
                best[q] = cost
                entry_pixel[n_entries], entry_label[n_entries] = q, label
                entry_next[n_entries] = bucket[cost % n_buckets]
                bucket[cost % n_buckets] = n_entries
                n_entries += 1
                waiting += 1
    return labels
