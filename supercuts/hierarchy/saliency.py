"""Draw a merge tree on pixel boundaries.

In   labels (H, W), parents (M,), altitudes (M,) of a valid tree
Out  the ultrametric contour map (2H+1, 2W+1)
Not  no files (export/rasters.py), no thresholding (cuts.py)
"""

import numpy as np
from jaxtyping import Float32, Int32

from supercuts.hierarchy._kernels import tree as _kernels


def contour_map(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
) -> Float32[np.ndarray, "rows columns"]:
    """Return the ultrametric contour map (UCM): the altitude at which neighbouring pixels join, drawn between them.

    Pixel (y, x) lies at [2y+1, 2x+1] and holds 0. An element between two 4-neighbours holds the altitude of the
    lowest common ancestor of their leaves, 0 within a leaf, 1 where one of the pixels belongs to no leaf. A corner, at
    even row and column, holds the highest of its four boundary elements. The outer frame copies the row or column
    beside it, as in the `ucm2` of the BSDS benchmark.

    >>> labels = np.array([[0, 1]], dtype=np.int32)
    >>> contour_map(labels, np.array([2, 2, 2], dtype=np.int32), np.array([0, 0, 0.5], dtype=np.float32)).tolist()
    [[0.0, 0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0, 0.0]]
    """
    contours: np.ndarray = _kernels.contour_map(labels, parents, altitudes)
    contours[0], contours[-1] = contours[1], contours[-2]
    contours[:, 0], contours[:, -1] = contours[:, 1], contours[:, -2]
    return contours
