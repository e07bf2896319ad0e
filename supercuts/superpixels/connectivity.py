"""Split a label map into connected pieces.

In   labels (H, W), cells (H, W) whose borders no piece may cross
Out  pieces (H, W), numbered in scan order, -1 where labels are negative
Not  no merging of small pieces
"""

import numpy as np
from jaxtyping import Int32

from supercuts.core.arrays import relabel_consecutive
from supercuts.superpixels._kernels import cluster as _kernels

_ROWS = 256  # renamed at a time


def connected(labels: Int32[np.ndarray, "height width"]) -> tuple[Int32[np.ndarray, "height width"], int]:
    """Return the 4-connected pieces of equal label, 0..P-1, and their number; -1 where labels are negative.

    >>> connected(np.array([[4, -1, 4, 4]], np.int32))[0].tolist()
    [[0, -1, 1, 1]]
    """
    pieces, n = _kernels.label_components(labels)
    is_outside = labels < 0
    if not is_outside.any():
        return pieces, n
    is_valid = np.ones(n, np.bool_)
    is_valid[np.unique(pieces[is_outside])] = False
    new = np.where(is_valid, np.cumsum(is_valid) - 1, -1).astype(np.int32)
    for top in range(0, len(pieces), _ROWS):
        pieces[top : top + _ROWS] = new[pieces[top : top + _ROWS]]
    return pieces, int(is_valid.sum())


def connected_pieces(
    labels: Int32[np.ndarray, "height width"], cells: Int32[np.ndarray, "height width"]
) -> Int32[np.ndarray, "height width"]:
    """Return the 4-connected pieces of equal label and equal cell, 0..P-1; both count from 0, labels of -1 stay.

    >>> connected_pieces(np.array([[0, 0, 0, 1]], np.int32), np.array([[0, 1, 0, 0]], np.int32)).tolist()
    [[0, 1, 2, 3]]
    """
    pairs = labels.astype(np.int64) * (int(cells.max()) + 1) + cells
    numbered = relabel_consecutive(pairs)[0]
    numbered[labels < 0] = -1
    return connected(numbered)[0]
