"""Pick what a user points at: a point, a box or scribbles.

In   labels (H, W), parents (M,) of a valid tree; the user's mark in (y, x) pixels
Out  mask (H, W) bool, or label map (H, W) int32
Not  no granularity: the caller cuts first
"""

import numpy as np
from jaxtyping import Bool, Int32, Shaped

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.hierarchy import _kernels
from supercuts.hierarchy.cuts import Cut, node_areas, paint


def mask_at_point(
    labels: Int32[np.ndarray, "height width"], cut: Cut, point: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """Return the region of the cut that holds pixel (y, x)."""
    check_point(labels.shape, point)
    return paint(cut.region_of_leaf == cut.region_of_leaf[labels[point[0], point[1]]], labels)


def check_point(shape: tuple[int, ...], point: tuple[int, int]) -> None:
    """Refuse a point outside the image, before any work is done for it."""
    remedy = f"point is (y, x) in an image of {shape[0]} rows and {shape[1]} columns."
    check_in_range("point y", point[0], 0, shape[0] - 1, remedy=remedy)
    check_in_range("point x", point[1], 0, shape[1] - 1, remedy=remedy)


def node_of_box(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    n_leaves: int,
    box: tuple[int, int, int, int],
) -> int:
    """Return the node whose pixels have the highest intersection over union with the box (y0, x0, y1, x1).

    The ends are exclusive. Among equals the lowest node id is taken, which is never above the others.
    """
    height, width = labels.shape
    y0, x0, y1, x1 = box
    if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
        raise InputError(
            f"box={tuple(box)} is not a box in an image of {height} rows and {width} columns: give (y0, x0, y1, x1) "
            f"with 0 <= y0 < y1 <= {height} and 0 <= x0 < x1 <= {width}; the ends are exclusive."
        )
    leaf_inside = _kernels.count_pixels(np.ascontiguousarray(labels[y0:y1, x0:x1]), n_leaves)
    inside = _kernels.sum_to_root(parents, leaf_inside)
    union = node_areas(labels, parents, n_leaves) + (y1 - y0) * (x1 - x0) - inside
    return int(np.argmax(inside / union))


def mask_of_node(
    labels: Int32[np.ndarray, "height width"], parents: Int32[np.ndarray, " nodes"], n_leaves: int, node: int
) -> Bool[np.ndarray, "height width"]:
    """Return the pixels of one tree node."""
    return paint(_kernels.mark_descendants(parents, node)[:n_leaves], labels)


def segment_scribbles(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    n_leaves: int,
    scribbles: Shaped[np.ndarray, "rows columns"],
) -> Int32[np.ndarray, "height width"]:
    """Spread scribbles (H, W), 0 = unlabelled, over the image along the tree; every pixel gets one of the labels.

    A leaf that is scribbled on takes the label with most pixels in it. Any other leaf looks at its lowest ancestor
    that holds scribbles and takes its label; if that holds several, the one that covers most pixels of it once the
    scribbled children are resolved in this way. Ties go to the lowest label.
    """
    _check_scribbles(labels.shape, scribbles)
    marked = np.flatnonzero(scribbles)
    values, index = np.unique(scribbles.ravel()[marked].astype(np.int32), return_inverse=True)
    pairs = labels.ravel()[marked].astype(np.int64) * values.size + index
    votes = np.bincount(pairs, minlength=n_leaves * values.size).reshape(n_leaves, values.size)
    leaf_label = np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
    leaf_areas = _kernels.count_pixels(labels, n_leaves)
    return paint(values[_kernels.spread_labels(parents, leaf_areas, leaf_label, values.size)], labels)


def _check_scribbles(shape: tuple[int, ...], scribbles: np.ndarray) -> None:
    if scribbles.shape != shape or scribbles.dtype.kind not in "iub":
        raise InputError(
            f"scribbles are {scribbles.dtype} {scribbles.shape}; expected whole numbers {shape}: draw them on an "
            "array of the image's height and width, 0 = unlabelled, 1 = foreground, 2 = background."
        )
    if scribbles.min() < 0 or scribbles.max() > np.iinfo(np.int32).max:
        raise InputError(
            f"scribbles hold {scribbles.min()}..{scribbles.max()}; labels are 0 (unlabelled) and positive int32 "
            "numbers: renumber them."
        )
    if not scribbles.any():
        raise InputError("scribbles are all 0 (unlabelled): mark at least one pixel with a label from 1 up.")
