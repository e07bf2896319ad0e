"""Cut a merge tree so that a part of the image gets a given share of the regions.

In   a valid tree, a mask (H, W) of what is in focus, a number of regions, a share
Out  which merges are undone (M,) bool
Not  no selection of the focus, no regions yet (cuts.py makes them)
"""

import numpy as np
from jaxtyping import Bool, Float32, Int32

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.hierarchy._kernels import focus as _kernels_focus
from supercuts.hierarchy._kernels import tree as _kernels


def split_in_focus(
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    labels: Int32[np.ndarray, "height width"],
    focus: Bool[np.ndarray, "height width"],
    n_regions: int,
    budget: float,
    is_splittable: Bool[np.ndarray, " nodes"],
    n_forced: int,
) -> Bool[np.ndarray, " nodes"]:
    """Return the merges to undo so that budget * n_regions regions, rounded half up, lie in the focus.

    A region lies in the focus if more than half of its pixels do. Regions are split one after the other, whatever
    n_regions is, so cuts of the same focus and budget are nested; each split adds a region on the side that is short,
    the highest altitude first. The share is missed only where no region of the cut can be split to add to the side
    that is short: at the first few splits, or when one side has only leaves left. The n_forced highest nodes come
    first.
    """
    if focus.dtype != np.bool_ or focus.shape != labels.shape:
        raise InputError(
            f"focus is {focus.dtype} {focus.shape}; expected a bool mask {labels.shape} or a point (y, x) in it."
        )
    check_in_range("budget", budget, 0, 1, remedy="It is the share of the regions inside the focus.")
    n_leaves = int(labels.max()) + 1
    leaf_inside = np.bincount(labels[focus & (labels >= 0)], minlength=n_leaves)
    area = _kernels.sum_to_root(parents, _kernels.count_pixels(labels, n_leaves))
    is_inside = 2 * _kernels.sum_to_root(parents, leaf_inside) > area
    is_split: np.ndarray = _kernels_focus.split_by_budget(
        parents, altitudes, n_leaves, is_inside, is_splittable, n_forced, n_regions, float(budget)
    )
    return is_split
