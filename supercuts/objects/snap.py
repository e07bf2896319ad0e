"""Fit a soft mask to the tree: the union of tree regions that agrees with it most.

In   Hierarchy, how surely each leaf is inside
Out  the leaves inside
Not  no bilateral solver: the tree's borders are those of the image

For a mask whose best union of at most k nodes by IoU is wanted, see hierarchy/unions.py.
"""

import numpy as np
from jaxtyping import Bool, Float

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.hierarchy._kernels.tree import sum_rows_to_root
from supercuts.hierarchy.tree import Hierarchy
from supercuts.objects._kernels import snap as _kernels

_HALVINGS = 40


def snap_to_tree(
    h: Hierarchy,
    soft: Float[np.ndarray, " leaves"],
    penalty: float = 0.001,
    max_nodes: int | None = None,
) -> Bool[np.ndarray, " leaves"]:
    """Return the union of nodes of largest sum over its leaves of (soft - 0.5) * area, less `penalty` for each node.

    soft       0..1, the probability that a leaf is inside, or the share of it that is
    penalty    a share of the image's area: a node must win at least so much. A binary mask with penalty 0 comes back
               as it is; the higher, the fewer and larger the nodes
    max_nodes  raises the penalty until the union has at most so many nodes

    Exact, by dynamic programming from the leaves to the root (each node: as a whole, or the best of its children). The
    union is never empty: if no node is worth its penalty, it is the node that loses least, the highest among equals.
    """
    if soft.shape != (h.n_leaves,) or not ((soft >= 0) & (soft <= 1)).all():
        raise InputError(f"soft of shape {soft.shape} must be {h.n_leaves} numbers in 0..1, one for each leaf.")
    check_in_range("penalty", penalty, 0, 1, remedy="It is a share of the image's area.")
    if max_nodes is not None:
        check_in_range("max_nodes", max_nodes, 1, np.inf, remedy="A union has at least one node.")
    areas = h.areas()
    leaf_gains = (soft.astype(np.float64) - 0.5) * areas[: h.n_leaves]
    gains = sum_rows_to_root(h.parents, leaf_gains[:, None])[:, 0]
    low = penalty * areas[-1]
    top = _kernels.best_union(h.parents, gains, low)
    if max_nodes is not None and top.sum() > max_nodes:
        high = float(gains.max())  # worth it to one node at most
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if _kernels.best_union(h.parents, gains, middle).sum() > max_nodes:
                low = middle
            else:
                high = middle
        top = _kernels.best_union(h.parents, gains, high)
    if not top.any():
        top[np.flatnonzero(gains == gains.max())[-1]] = True
    inside: np.ndarray = _kernels.mark_below(h.parents, top)[: h.n_leaves]
    return inside
