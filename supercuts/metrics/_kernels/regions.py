"""Compiled loops of the superpixel and region metrics."""

import numpy as np

from supercuts.core._kernels import _find
from supercuts.core.compiled import helper, kernel


@kernel
def boundary_mask(labels):
    """Mark the pixels with a 4-neighbour of another label."""
    height, width = labels.shape
    mask = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            if x + 1 < width and labels[y, x] != labels[y, x + 1]:
                mask[y, x] = True
                mask[y, x + 1] = True
            if y + 1 < height and labels[y, x] != labels[y + 1, x]:
                mask[y, x] = True
                mask[y + 1, x] = True
    return mask


@kernel
def areas_and_perimeters(labels, n_labels):
    """Count each label's pixels and its pixel sides that face another label or the image border."""
    height, width = labels.shape
    areas = np.zeros(n_labels, np.int64)
    perimeters = np.zeros(n_labels, np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            areas[label] += 1
            sides = 0
            sides += y == 0 or labels[y - 1, x] != label
            sides += y == height - 1 or labels[y + 1, x] != label
            sides += x == 0 or labels[y, x - 1] != label
            sides += x == width - 1 or labels[y, x + 1] != label
            perimeters[label] += sides
    return areas, perimeters


@kernel
def count_components(labels):
    """Count the 4-connected components of equal labels by union-find over pixels."""
    height, width = labels.shape
    parent = np.arange(height * width)
    n_components = height * width
    for y in range(height):
        for x in range(width):
            pixel = y * width + x
            for side in range(2):
                if side == 0:
                    if x == 0 or labels[y, x - 1] != labels[y, x]:
                        continue
                    neighbour = pixel - 1
                else:
                    if y == 0 or labels[y - 1, x] != labels[y, x]:
                        continue
                    neighbour = pixel - width
                a = _find(parent, neighbour)
                b = _find(parent, pixel)
                if a != b:
                    parent[max(a, b)] = min(a, b)
                    n_components -= 1
    return n_components


@kernel
def score_table(table, starts, best):
    """Score one segmentation against all annotators; increase best (truths,) in place to any higher overlap.

    table (truths, regions) stacks the annotators' contingency tables; annotator k owns rows starts[k]:starts[k + 1].
    Returns the sum of truth area x best overlap, the mean Rand index and the mean variation of information.
    """
    n_annotators = starts.size - 1
    areas = table[: starts[1]].sum(axis=0)
    n_pixels = areas.sum()
    region_squares, region_entropy = _moments(areas)
    overlap, rand_index, information = 0.0, 0.0, 0.0
    for k in range(n_annotators):
        squares, entropy = 0, 0.0
        truth_areas = table[starts[k] : starts[k + 1]].sum(axis=1)
        truth_squares, truth_entropy = _moments(truth_areas)
        for i in range(starts[k], starts[k + 1]):
            truth_area = truth_areas[i - starts[k]]
            row_squares, row_entropy = _moments(table[i])
            squares += row_squares
            entropy += row_entropy
            best_here = _best_overlap(table[i], truth_area, areas)
            overlap += truth_area * best_here
            best[i] = max(best[i], best_here)
        n_pairs = n_pixels * (n_pixels - 1) / 2
        disagreeing = (truth_squares + region_squares) / 2 - squares
        rand_index += 1.0 - disagreeing / n_pairs if n_pairs > 0 else 1.0
        # rounding can leave -1e-16 for equal partitions
        information += max(0.0, (truth_entropy + region_entropy - 2 * entropy) / n_pixels)
    return overlap, rand_index / n_annotators, information / n_annotators


@helper
def _best_overlap(row, truth_area, areas):
    """Return the highest intersection over union of one truth region with any region; row holds intersections."""
    best = 0.0
    for j in range(row.size):
        if row[j] > 0:
            best = max(best, row[j] / (truth_area + areas[j] - row[j]))
    return best


@helper
def _moments(counts):
    """Return the sums of n^2 and of n log2 n."""
    squares, entropy = 0, 0.0
    for n in counts:
        if n > 0:
            squares += n * n
            entropy += n * np.log2(n)
    return squares, entropy


@kernel
def cut_leaves(parents, altitudes, n_leaves, threshold, region):
    """Write the region 0..R-1 of each leaf when nodes of altitude <= threshold are merged; return R."""
    n_nodes = parents.size
    n_regions = 0
    for node in range(n_nodes - 1, -1, -1):  # root first: a parent's region is final before its children's
        if node != parents[node] and altitudes[parents[node]] <= threshold:
            region[node] = region[parents[node]]
        elif node < n_leaves or altitudes[node] <= threshold:
            region[node] = n_regions
            n_regions += 1
    return n_regions


@kernel
def score_cuts(table, starts, parents, altitudes, thresholds, best):
    """Score the cuts of a tree at ascending thresholds; table (truths, leaves) as in score_table.

    Returns (4, T): overlap, Rand index, variation of information, number of regions.
    """
    n_truths, n_leaves = table.shape
    region = np.zeros(parents.size, np.int64)
    scores = np.zeros((4, thresholds.size))
    for t in range(thresholds.size):
        n_regions = cut_leaves(parents, altitudes, n_leaves, thresholds[t], region)
        if t > 0 and n_regions == scores[3, t - 1]:  # cuts are nested: an equal number means the same regions
            scores[:, t] = scores[:, t - 1]
            continue
        merged = np.zeros((n_truths, n_regions), table.dtype)
        for i in range(n_truths):
            for leaf in range(n_leaves):
                merged[i, region[leaf]] += table[i, leaf]
        overlap, rand_index, information = score_table(merged, starts, best)
        scores[0, t] = overlap
        scores[1, t] = rand_index
        scores[2, t] = information
        scores[3, t] = n_regions
    return scores


@kernel
def sum_to_root(values, parents):
    """Add each row of values (nodes, columns) to its parent's, leaves first, in place."""
    for node in range(parents.size - 1):
        parent = parents[node]
        for column in range(values.shape[1]):
            values[parent, column] += values[node, column]


@kernel
def best_jaccard(counts, node_areas, truth_areas, births, deaths, n_cuts):
    """Return (truths, cuts): the highest intersection over union of each truth region with a region of each cut.

    Each node is visited once, not once per cut, and most nodes share pixels with few truth regions. This is faster
    than computing a table per cut.
    """
    n_nodes, n_truths = counts.shape
    best = np.zeros((n_truths, n_cuts))
    for node in range(n_nodes):
        if births[node] >= deaths[node]:
            continue
        for i in range(n_truths):
            shared = counts[node, i]
            if shared > 0:
                jaccard = shared / (truth_areas[i] + node_areas[node] - shared)
                for cut in range(births[node], deaths[node]):
                    best[i, cut] = max(best[i, cut], jaccard)
    return best


@kernel
def smallest_candidates(areas, births, deaths, n_pixels, percent, n_cuts):
    """Return (cuts,) the area of the smallest candidate: the largest regions that together cover percent of the pixels.

    A region is in the cuts births..deaths - 1. Regions as large as the smallest are candidates too.
    """
    largest_first = np.argsort(-areas)
    smallest = np.zeros(n_cuts, np.int64)
    for cut in range(n_cuts):
        covered = 0
        for region in largest_first:
            if births[region] <= cut < deaths[region]:
                if 100 * covered >= percent * n_pixels:  # integers: no rounding errors at the limit
                    break
                covered += areas[region]
                smallest[cut] = areas[region]
    return smallest


@kernel
def best_disjoint(parents, worth):
    """Return (M,) bool: the disjoint nodes of the largest sum of worth; of equal choices the coarsest."""
    n_nodes = parents.size
    below = np.zeros(n_nodes)  # largest sum among the nodes below each node
    for node in range(n_nodes - 1):  # children come before their parent
        below[parents[node]] += max(worth[node], below[node])
    is_chosen = np.zeros(n_nodes, np.bool_)
    is_covered = np.zeros(n_nodes, np.bool_)  # an ancestor is chosen
    for node in range(n_nodes - 1, -1, -1):
        is_covered[node] = node < n_nodes - 1 and (is_covered[parents[node]] or is_chosen[parents[node]])
        is_chosen[node] = not is_covered[node] and worth[node] > 0 and worth[node] >= below[node]
    return is_chosen


@kernel
def objects_and_parts(counts, areas, truth_areas, truth_is_candidate, births, deaths, smallest, setting, n_annotators):
    """Return the terms of precision and recall for regions that exist in the cuts births..deaths - 1.

    totals (2, cuts)       total worth of the candidate regions, their number
    matched (truths, cuts) worth of a truth region as an object or part, 0 when it is neither
    pieces (truths, cuts)  share of a truth region covered by the regions within it
    """
    gamma_object, gamma_part, beta = setting
    n_truths, n_cuts = truth_areas.size, smallest.size
    totals = np.zeros((2, n_cuts))
    matched = np.zeros((n_truths, n_cuts))
    pieces = np.zeros((n_truths, n_cuts))
    for region in range(areas.size):
        if births[region] >= deaths[region]:
            continue
        is_object, is_part, merged = False, False, 0.0
        for i in range(n_truths):
            if counts[region, i] == 0:
                continue
            recall = counts[region, i] / truth_areas[i]
            precision = counts[region, i] / areas[region]
            if precision >= gamma_object and recall < gamma_object:
                is_part |= truth_is_candidate[i] and recall >= gamma_part
                for cut in range(births[region], deaths[region]):
                    pieces[i, cut] += recall
            if recall < gamma_object:
                continue
            if precision >= gamma_object:
                is_object |= truth_is_candidate[i]
                worth = 1.0
            else:
                merged += precision
                worth = beta if precision >= gamma_part else 0.0
            for cut in range(births[region], deaths[region]):
                if areas[region] >= smallest[cut]:
                    matched[i, cut] = worth  # not overwritten: only one region per cut holds most of a truth region
        if is_object:
            region_worth = 1.0
        elif is_part:
            region_worth = beta
        else:
            region_worth = merged / n_annotators
        for cut in range(births[region], deaths[region]):
            if areas[region] >= smallest[cut]:
                totals[0, cut] += region_worth
                totals[1, cut] += 1
    return totals, matched, pieces
