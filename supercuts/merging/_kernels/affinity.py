"""Numba kernels of merging by learned affinity: features of a pair of regions, perceptrons, and the merging itself.

Rows are added and copied element by element, because array expressions take seconds longer to compile.
"""

import numpy as np

from supercuts.core.compiled import allocating_helper, helper, kernel
from supercuts.merging._kernels.agglomerative import _absorb, _link, _pop, _push, _sift_down, _size_factor

MOST_DEVIATIONS = 6.0  # normalised features are clipped to plus or minus this, because a few borders are extreme
_LEAST_VARIANCE = 4.0  # squared Lab units; added to a band's variances, so that distances of flat regions are finite


@helper
def _logit(p):
    p = min(max(p, 1e-3), 1 - 1e-3)
    return np.log(p / (1 - p))


@helper
def _compare_embeddings(region_a, region_b, at, size, out, k):
    """Write the distance of an embedding's means and its spread in each region to out[k:]; return the next k."""
    squared = 0.0
    spread_a, spread_b = region_a[at + size] / region_a[0], region_b[at + size] / region_b[0]
    for c in range(size):
        x, y = region_a[at + c] / region_a[0], region_b[at + c] / region_b[0]
        squared += (x - y) ** 2
        spread_a -= x * x
        spread_b -= y * y
    out[k] = np.sqrt(squared)
    out[k + 1] = np.exp(-squared)
    out[k + 2] = np.sqrt(max(min(spread_a, spread_b), 0.0))
    out[k + 3] = np.sqrt(max(max(spread_a, spread_b), 0.0))
    return k + 4


@helper
def _describe_pair(a, b, edge, nodes, edges, bbox, sizes, n_bins, n_pixels, out):
    """Write the features (affinity.feature_names) of regions a and b, which share border `edge`."""
    region_a, region_b, border = nodes[a], nodes[b], edges[edge]
    area_a, area_b, length = region_a[0], region_b[0], border[0]
    mean = border[1] / length
    out[0] = mean
    out[1] = _logit(mean)
    out[2] = np.sqrt(max(border[2] / length - mean * mean, 0.0))
    out[3] = border[3] / length
    out[4] = border[4] / length
    out[5] = _logit(border[4] / length)
    k = 6
    for i in range(5, border.size):
        out[k] = border[i] / length
        k += 1
    n_bands, n_embedding, n_region = sizes
    at_squares = 5 + n_bands
    at_bins = at_squares + n_bands
    plain, scaled = 0.0, 0.0
    for c in range(n_bands):
        x, y = region_a[5 + c] / area_a, region_b[5 + c] / area_b
        variance_a = max(region_a[at_squares + c] / area_a - x * x, 0.0)
        variance_b = max(region_b[at_squares + c] / area_b - y * y, 0.0)
        plain += (x - y) ** 2
        scaled += (x - y) ** 2 / (variance_a + variance_b + _LEAST_VARIANCE)
        chi = 0.0
        for i in range(n_bins):
            p, q = region_a[at_bins + c * n_bins + i] / area_a, region_b[at_bins + c * n_bins + i] / area_b
            if p + q > 0:
                chi += (p - q) ** 2 / (p + q)
        out[k] = abs(x - y)
        out[k + 1] = abs(np.sqrt(variance_a) - np.sqrt(variance_b))
        out[k + 2] = chi
        k += 3
    out[k] = np.sqrt(plain)
    out[k + 1] = np.sqrt(scaled)
    at_embedding = at_bins + n_bands * n_bins
    k = _compare_embeddings(region_a, region_b, at_embedding, n_embedding, out, k + 2)
    if n_region > 0:
        k = _compare_embeddings(region_a, region_b, at_embedding + n_embedding + 1, n_region, out, k)
    perimeter_a, perimeter_b = region_a[1], region_b[1]
    out[k] = np.log(min(area_a, area_b) / n_pixels)
    out[k + 1] = np.log(max(area_a, area_b) / n_pixels)
    out[k + 2] = length / np.sqrt(min(area_a, area_b))
    out[k + 3] = length / min(perimeter_a, perimeter_b)
    out[k + 4] = length / max(perimeter_a, perimeter_b)
    out[k + 5] = mean - min(region_a[2] / perimeter_a, region_b[2] / perimeter_b)
    out[k + 6] = mean - max(region_a[2] / perimeter_a, region_b[2] / perimeter_b)
    for i in range(2):
        x, y = region_a[3 + i] / area_a, region_b[3 + i] / area_b
        out[k + 7 + 2 * i] = min(x, y)
        out[k + 8 + 2 * i] = max(x, y)
    box_a, box_b = bbox[a], bbox[b]
    height = max(box_a[2], box_b[2]) - min(box_a[0], box_b[0])
    width = max(box_a[3], box_b[3]) - min(box_a[1], box_b[1])
    out[k + 11] = (area_a + area_b) / (height * width)
    out[k + 12] = (perimeter_a + perimeter_b - 2 * length) / np.sqrt(area_a + area_b)
    small = region_a if area_a < area_b or (area_a == area_b and perimeter_a < perimeter_b) else region_b
    out[k + 13] = small[1] / np.sqrt(small[0])


@helper
def _add_layer(row, weights, values):
    """Add the product of values (I,) and weights (I, J) to row (J,)."""
    n = values.size
    i = 0
    while i + 8 <= n:  # eight inputs at once, so that the row stays in registers
        a, b, c, d = values[i], values[i + 1], values[i + 2], values[i + 3]
        e, f, g, h = values[i + 4], values[i + 5], values[i + 6], values[i + 7]
        for j in range(row.size):
            r = row[j] + a * weights[i, j] + b * weights[i + 1, j] + c * weights[i + 2, j] + d * weights[i + 3, j]
            row[j] = r + e * weights[i + 4, j] + f * weights[i + 5, j] + g * weights[i + 6, j] + h * weights[i + 7, j]
        i += 8
    while i < n:
        for j in range(row.size):
            row[j] += values[i] * weights[i, j]
        i += 1


@helper
def _rectify(row):
    for j in range(row.size):
        row[j] = max(row[j], np.float32(0))


@helper
def _separation(x, mean, scale, first, second, last, inputs, hidden):
    """Return the probability that annotators separate a pair with features x (F,): the mean logit of M perceptrons.

    first (F + 1, M * H), second (M, H + 1, H), last (M, H + 1); the last row of each holds the biases. first holds the
    first layers of all perceptrons side by side. inputs (F,) and hidden (2, M * H) are scratch.
    """
    n_features, width = x.size, last.shape[1] - 1
    for i in range(n_features):
        inputs[i] = min(max((x[i] - mean[i]) * scale[i], -MOST_DEVIATIONS), MOST_DEVIATIONS)
    for j in range(hidden.shape[1]):
        hidden[0, j] = first[n_features, j]
    _add_layer(hidden[0], first, inputs)
    _rectify(hidden[0])
    logit = 0.0
    for m in range(last.shape[0]):
        of_one = hidden[1, :width]
        for j in range(width):
            of_one[j] = second[m, width, j]
        _add_layer(of_one, second[m], hidden[0, m * width : (m + 1) * width])
        _rectify(of_one)
        logit += last[m, width]
        for j in range(width):
            logit += of_one[j] * last[m, j]
    return 1 / (1 + np.exp(-logit / last.shape[0]))


@allocating_helper
def _side_by_side(first):
    """Return the first layers (M, F, H) of all perceptrons as one layer (F, M * H)."""
    n, n_inputs, width = first.shape
    layer = np.empty((n_inputs, n * width), np.float32)
    for m in range(n):
        for i in range(n_inputs):
            for j in range(width):
                layer[i, m * width + j] = first[m, i, j]
    return layer


@kernel
def describe_edges(pairs, nodes, edges, bbox, sizes, n_bins, n_pixels, out):
    """Write the features of every edge to out (E, F)."""
    for e in range(pairs.shape[0]):
        _describe_pair(pairs[e, 0], pairs[e, 1], e, nodes, edges, bbox, sizes, n_bins, n_pixels, out[e])


@kernel
def separate_edges(features, weights):
    """Return the probability of separation for each row of features (E, F)."""
    mean, scale, first, second, last = weights
    layer = _side_by_side(first)
    normal, hidden = np.empty(mean.size, np.float32), np.empty((2, layer.shape[1]), np.float32)
    out = np.empty(features.shape[0], np.float64)
    for e in range(features.shape[0]):
        out[e] = _separation(features[e], mean, scale, layer, second, last, normal, hidden)
    return out


@kernel
def judge_edges(pairs, nodes, edges, bbox, sizes, n_bins, n_pixels, weights, start, out):
    """Set out (E,) to the probability that annotators separate the pairs start, start + 1, ... start + E - 1."""
    mean, scale, first, second, last = weights
    layer = _side_by_side(first)
    x = np.empty(mean.size, np.float64)
    normal, hidden = np.empty(mean.size, np.float32), np.empty((2, layer.shape[1]), np.float32)
    for i in range(out.size):
        e = start + i
        _describe_pair(pairs[e, 0], pairs[e, 1], e, nodes, edges, bbox, sizes, n_bins, n_pixels, x)
        out[i] = _separation(x, mean, scale, layer, second, last, normal, hidden)


@helper
def _compact(keys, ids, size, is_alive, current):
    """Drop outdated entries and restore the heap; return the number of entries left."""
    left = size - size  # a literal 0 has its own type, for which numba would compile all called helpers again
    for i in range(size):
        if is_alive[ids[i]] and keys[i] == current[ids[i]]:
            keys[left], ids[left] = keys[i], ids[i]
            left += 1
    for parent in range(left // 2 - 1, -1, -1):
        _sift_down(keys, ids, left, parent)
    return left


@kernel
def agglomerate(
    pairs,
    nodes,
    edges,
    bbox,
    sizes,
    n_bins,
    n_pixels,
    weights,
    at_first,
    reference_area,
    exponent,
    growth,
    n_target,
    judged,
    judged_nodes,
):
    """Merge the pair with the lowest key until n_target regions are left, or one in each component of the graph.

    key = probability that annotators separate the pair * min(1, smaller area / reference_area) ** exponent. After a
    merge, borders of the new region are judged again if they became longer, or if the total area of their two regions
    exceeds `growth` times its value at the last judgement. A large region is thus not described again for each tiny
    region that it absorbs.
    at_first (E,) holds the probabilities of the pairs before any merge (judge_edges); if it is empty, they are computed
    here. nodes, edges and bbox are overwritten. judged (S, F) and judged_nodes (S, 2) receive the features and the tree
    nodes of the first judgements.
    Return merges (M, 2) of node ids (merge k creates node N + k), the keys (M,), and the number of judgements.
    """
    mean, scale, first, second, last = weights
    n_nodes, n_edges = nodes.shape[0], pairs.shape[0]
    links = _link(pairs, n_nodes)
    ends, head, following, degree, is_alive = links[:5]
    node_of, due = np.empty(n_nodes, np.int64), np.empty(n_edges, np.int64)
    for i in range(n_nodes):
        node_of[i] = i
    for e in range(n_edges):
        due[e] = e
    twins = np.empty(n_nodes, np.int64)
    is_due = np.empty(n_edges, np.bool_)
    is_due[:] = True
    judged_area = np.empty(n_edges, np.float64)
    current = np.empty(n_edges, np.float64)
    current[:] = -1.0
    heap_keys = np.empty(4 * n_edges + 16, np.float64)
    heap_ids = np.empty(4 * n_edges + 16, np.int64)
    x = np.empty(mean.size, np.float64)
    layer = _side_by_side(first)
    normal, hidden = np.empty(mean.size, np.float32), np.empty((2, layer.shape[1]), np.float32)
    n_due, size, n_judged, done = n_edges, n_edges - n_edges, 0, 0
    merges = np.empty((max(n_nodes - 1, 0), 2), np.int64)
    keys = np.empty(max(n_nodes - 1, 0), np.float64)
    while True:
        if size + n_due > heap_keys.size:
            size = _compact(heap_keys, heap_ids, size, is_alive, current)
        for i in range(n_due):
            e = due[i]
            a, b = ends[e, 0], ends[e, 1]
            if done == 0 and at_first.size > 0:
                probability = at_first[e]
            else:
                _describe_pair(a, b, e, nodes, edges, bbox, sizes, n_bins, n_pixels, x)
                if n_judged < judged.shape[0]:
                    for k in range(x.size):
                        judged[n_judged, k] = x[k]
                    judged_nodes[n_judged, 0], judged_nodes[n_judged, 1] = node_of[a], node_of[b]
                n_judged += 1
                probability = _separation(x, mean, scale, layer, second, last, normal, hidden)
            key = probability * _size_factor(nodes[a, 0], nodes[b, 0], reference_area, exponent)
            judged_area[e] = nodes[a, 0] + nodes[b, 0]
            is_due[e] = False
            if key != current[e]:
                current[e] = key
                size = _push(heap_keys, heap_ids, size, key, e)
        while size > 0 and (not is_alive[heap_ids[0]] or heap_keys[0] != current[heap_ids[0]]):
            size = _pop(heap_keys, heap_ids, size)
        if size == 0 or n_nodes - done <= n_target:
            break
        edge = heap_ids[0]
        keep, gone = ends[edge, 0], ends[edge, 1]
        if degree[keep] < degree[gone] or (degree[keep] == degree[gone] and node_of[keep] > node_of[gone]):
            keep, gone = gone, keep
        merges[done, 0] = min(node_of[keep], node_of[gone])
        merges[done, 1] = max(node_of[keep], node_of[gone])
        keys[done] = heap_keys[0]
        size = _pop(heap_keys, heap_ids, size)
        node_of[keep] = n_nodes + done
        done += 1
        for k in range(nodes.shape[1]):
            nodes[keep, k] += nodes[gone, k]
        nodes[keep, 1] -= 2 * edges[edge, 0]  # the common border leaves both perimeters
        nodes[keep, 2] -= 2 * edges[edge, 1]
        for i in range(2):
            bbox[keep, i] = min(bbox[keep, i], bbox[gone, i])
            bbox[keep, 2 + i] = max(bbox[keep, 2 + i], bbox[gone, 2 + i])
        for i in range(_absorb(edge, keep, gone, links, edges, twins)):
            is_due[twins[i]] = True
        n_due = 0
        half, before = head[keep], -1
        while half >= 0:
            after = following[half]
            e, s = half // 2, half % 2
            if is_alive[e] and ends[e, s] == keep:
                area = nodes[keep, 0] + nodes[ends[e, 1 - s], 0]
                if is_due[e] or area > growth * judged_area[e]:
                    due[n_due] = e
                    n_due += 1
                before = half
            elif before < 0:  # unlink dead edges while traversing
                head[keep] = after
            else:
                following[before] = after
            half = after
    return merges[:done], keys[:done], n_judged
