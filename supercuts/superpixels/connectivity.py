"""Split a label map into connected pieces.

In   labels (H, W), cells (H, W) whose borders no piece may cross
Out  pieces (H, W), numbered in scan order
Not  no merging of small pieces
"""

import numpy as np
from jaxtyping import Int32

from supercuts.core.arrays import relabel_consecutive
from supercuts.superpixels import _kernels


def connected_pieces(
    labels: Int32[np.ndarray, "height width"], cells: Int32[np.ndarray, "height width"]
) -> Int32[np.ndarray, "height width"]:
    """Return the 4-connected pieces of equal label and equal cell, 0..P-1; both count from 0.

    >>> connected_pieces(np.array([[0, 0, 0, 1]], np.int32), np.array([[0, 1, 0, 0]], np.int32)).tolist()
    [[0, 1, 2, 3]]
    """
    pairs = labels.astype(np.int64) * (int(cells.max()) + 1) + cells
    pieces: np.ndarray = _kernels.label_components(relabel_consecutive(pairs)[0])[0]
    return pieces
