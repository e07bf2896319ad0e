"""What each node of a tree holds, and in which cuts it is a region, so that metrics visit nodes instead of cuts.

In   contingency tables (truths, leaves), trees as parents (M,) and altitudes (M,), thresholds (T,), already checked
Out  pixel counts (M, truths), the first cut of each node and the one after its last (M,)
Not  no scores, no checks
"""

import numpy as np
from jaxtyping import Float, Int

from supercuts.metrics._kernels import nodes as _kernels_nodes


def node_counts(
    table: Int[np.ndarray, "truths leaves"], parents: Int[np.ndarray, " nodes"]
) -> Int[np.ndarray, "nodes truths"]:
    """Return how many pixels of each truth region lie in each node: a node's counts are the sums of its children's.

    Two leaves below a root:

    >>> node_counts(np.array([[3, 0], [1, 2]]), np.array([2, 2, 2])).tolist()
    [[3, 1], [0, 2], [3, 3]]
    """
    counts = np.zeros((parents.size, table.shape[0]), np.int64)
    counts[: table.shape[1]] = table.T
    _kernels_nodes.sum_to_root(counts, parents)
    return counts


def lifetimes(
    parents: Int[np.ndarray, " nodes"],
    altitudes: Float[np.ndarray, " nodes"],
    n_leaves: int,
    thresholds: Float[np.ndarray, " thresholds"],
) -> tuple[Int[np.ndarray, " nodes"], Int[np.ndarray, " nodes"]]:
    """Return the cut in which each node is first a region, and the one in which it no longer is, as indices 0..T.

    The cut of threshold a consists of the maximal nodes of altitude <= a and of the leaves below none; thresholds rise
    and are compared in the precision of the altitudes. A node whose two indices are equal is in no cut.

    Leaves 0, 1, 2; node 3 joins 0 and 1 at 0.2, the root is at 0.6:

    >>> births, deaths = lifetimes(
    ...     np.array([3, 3, 4, 4, 4]), np.array([0, 0, 0, 0.2, 0.6]), 3, np.array([0.1, 0.3, 0.5, 0.7])
    ... )
    >>> births.tolist(), deaths.tolist()
    ([0, 0, 0, 1, 3], [1, 1, 3, 3, 4])
    """
    reached = np.searchsorted(thresholds.astype(altitudes.dtype), altitudes)
    births, deaths = reached.copy(), reached[parents]
    births[:n_leaves] = 0
    deaths[-1] = thresholds.size
    return births, deaths
