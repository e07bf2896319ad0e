"""Compiled loops over the nodes of a tree, each of which is a region of the cuts births[node]..deaths[node] - 1.

In   pixel counts (nodes, truths) and areas as plain arrays, already checked by the callers
Out  sums, best Jaccard indices
Not  no checks; annotations are left out because numba's own types are the signature
"""

import numpy as np

from supercuts.core.compiled import kernel


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

    A node is visited once and not once per cut, and most share pixels with few truth regions: this costs less than
    adding up a table per cut.
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
