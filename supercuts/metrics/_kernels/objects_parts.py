"""Compiled loops of the precision-recall for objects and parts.

In   pixel counts (nodes, truths), areas, first and last cuts of the nodes as plain arrays, already checked
Out  areas of candidates, sums and counts per cut
Not  no checks; annotations are left out because numba's own types are the signature
"""

import numpy as np

from supercuts.core.compiled import kernel


@kernel
def smallest_candidates(areas, births, deaths, n_pixels, percent, n_cuts):
    """Return (cuts,): the area of the smallest region when the largest are taken until percent of the pixels are.

    A region is in the cuts births..deaths - 1. Regions as large as the smallest are candidates too.
    """
    largest_first = np.argsort(-areas)
    smallest = np.zeros(n_cuts, np.int64)
    for cut in range(n_cuts):
        covered = 0
        for region in largest_first:
            if births[region] <= cut < deaths[region]:
                if 100 * covered >= percent * n_pixels:  # in integers: no rounding at the limit
                    break
                covered += areas[region]
                smallest[cut] = areas[region]
    return smallest


@kernel
def objects_and_parts(counts, areas, truth_areas, truth_is_candidate, births, deaths, smallest, setting, n_annotators):
    """Return what precision and recall are made of, for regions that live in the cuts births..deaths - 1.

    found (2, cuts)        worth of the candidate regions, their number
    matched (truths, cuts) worth of a truth region as an object or part, 0 when it is neither
    pieces (truths, cuts)  share of a truth region that regions which lie in it cover
    """
    gamma_object, gamma_part, beta = setting
    n_truths, n_cuts = truth_areas.size, smallest.size
    found = np.zeros((2, n_cuts))
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
                    matched[i, cut] = worth  # no other region of the cut holds most of this truth region
        if is_object:
            region_worth = 1.0
        elif is_part:
            region_worth = beta
        else:
            region_worth = merged / n_annotators
        for cut in range(births[region], deaths[region]):
            if areas[region] >= smallest[cut]:
                found[0, cut] += region_worth
                found[1, cut] += 1
    return found, matched, pieces
