"""Contour maps of trees, and trees of contour maps."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from supercuts.core.errors import InputError
from supercuts.hierarchy import _kernels


@dataclass(frozen=True, slots=True, eq=False)
class ContourTree:
    """A binary merge tree over the regions of a contour map.

    labels     (H, W) int32      leaf of each pixel, 0..N-1; its pixels connect without crossing a contour
    parents    (2N-1,) int32     parents[i] > i; the root is its own
    altitudes  (2N-1,) floating  the map's dtype; 0 at the leaves, else the strength of the contour removed by merging
    """

    labels: np.ndarray
    parents: np.ndarray
    altitudes: np.ndarray


def contour_tree(ucm: Float[np.ndarray, "rows columns"]) -> ContourTree:
    """Return the tree whose regions, cut at any altitude a, are the 8-connected components of ucm <= a.

    These are the regions that the BSDS500 benchmark cuts from the map (metrics.region.ucm_labels). One pass over the
    contour elements in rising order covers all thresholds.

    >>> ucm = np.zeros((3, 7))
    >>> ucm[:, 2], ucm[:, 4] = 0.5, 0.25
    >>> tree = contour_tree(ucm)
    >>> tree.labels.tolist(), tree.parents.tolist(), tree.altitudes.tolist()
    ([[0, 1, 2]], [4, 3, 3, 4, 4], [0.0, 0.0, 0.0, 0.25, 0.5])
    """
    height, width = check_contour_map(ucm)
    values = np.ascontiguousarray(ucm)
    forest = _kernels.tree.flat_components(values)
    labels, n_leaves, node = _kernels.tree.number_leaves(forest, height, width)
    elements = np.flatnonzero(values > 0)
    rising = elements[np.argsort(values.ravel()[elements], kind="stable")]
    parents = np.zeros(2 * n_leaves - 1, np.int32)
    altitudes = np.zeros(2 * n_leaves - 1, values.dtype)
    n_nodes = _kernels.tree.merge_across(values, rising, forest, node, n_leaves, parents, altitudes)
    assert n_nodes == parents.size, "a finite map floods to one component"
    return ContourTree(labels, parents, altitudes)


def check_contour_map(ucm: Float[np.ndarray, "rows columns"]) -> tuple[int, int]:
    """Return the image's height and width; raise InputError unless `ucm` is a double-size contour map."""
    if min(ucm.shape) < 3 or ucm.shape[0] % 2 == 0 or ucm.shape[1] % 2 == 0:
        raise InputError(
            f"ucm has shape {ucm.shape}: expected (2H + 1, 2W + 1), both odd, for an image (H, W). "
            "Give the double-size map (`ucm2` in BSDS500 files), not the one of image size."
        )
    if not np.isfinite(ucm).all() or ucm.min() < 0:
        raise InputError(
            "ucm holds NaN, infinity or a negative value. Expected contour strengths from 0: replace them."
        )
    if (n_raised := int(np.count_nonzero(ucm[1::2, 1::2]))) > 0:
        raise InputError(
            f"ucm is not 0 at {n_raised} of the pixels, which have odd indices: contours run between pixels. "
            "Score a map with strengths at the pixels as a soft boundary map."
        )
    return ucm.shape[0] // 2, ucm.shape[1] // 2


def contour_map(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
) -> Float32[np.ndarray, "rows columns"]:
    """Return the ultrametric contour map (UCM): the altitude at which neighbouring pixels join, drawn between them.

    Pixel (y, x) lies at [2y+1, 2x+1] and holds 0. An element between two 4-neighbours holds the altitude of the
    lowest common ancestor of their leaves: 0 within a leaf, 1 if one of the pixels belongs to no leaf. A corner, at
    even row and column, holds the maximum of its four boundary elements. The outer frame copies the adjacent row or
    column, as in the `ucm2` of the BSDS benchmark.

    >>> labels = np.array([[0, 1]], dtype=np.int32)
    >>> contour_map(labels, np.array([2, 2, 2], dtype=np.int32), np.array([0, 0, 0.5], dtype=np.float32)).tolist()
    [[0.0, 0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0, 0.0]]
    """
    contours: np.ndarray = _kernels.tree.contour_map(labels, parents, altitudes)
    contours[0], contours[-1] = contours[1], contours[-2]
    contours[:, 0], contours[:, -1] = contours[:, 1], contours[:, -2]
    return contours


@dataclass(frozen=True, slots=True, eq=False)
class TrackingMaps:
    """Maps on the grid of the pixels, from which trackers such as ultrack build their own candidate regions.

    Parameters
    ----------
    foreground
        (H, W) bool, pixels that may belong to an object.
    contours
        (H, W) float32, strength of the strongest contour at a side of the pixel, 0..1.

    Examples
    --------
    >>> TrackingMaps(np.array([[True]]), np.array([[0.0]], np.float32)).contours.shape
    (1, 1)
    """

    foreground: Bool[np.ndarray, "height width"]
    contours: Float32[np.ndarray, "height width"]


def tracking_maps(
    labels: Int32[np.ndarray, "height width"],
    ucm: Float32[np.ndarray, "rows columns"],
    background: Bool[np.ndarray, "height width"] | None = None,
) -> TrackingMaps:
    """Return the foreground and the contour map of a hierarchy on the grid of the pixels.

    Pixels of different regions of the cut at altitude a are not connected by pixels whose contour is at most a.

    Parameters
    ----------
    labels
        ``hierarchy.labels``, -1 for masked pixels.
    ucm
        ``hierarchy.ucm()``.
    background
        (H, W) bool, further pixels without objects, for example ``~hierarchy.select(...)``.

    Returns
    -------
    TrackingMaps
        Arrays for ``ultrack.segment(foreground, contours, config)``, stacked over frames.

    Raises
    ------
    InputError
        If the maps differ in size.

    Examples
    --------
    >>> labels, parents = np.array([[0, 1, 1]], np.int32), np.array([2, 2, 2], np.int32)
    >>> ucm = contour_map(labels, parents, np.array([0, 0, 0.5], np.float32))
    >>> tracking_maps(labels, ucm).contours.tolist()
    [[0.5, 0.5, 0.0]]
    """
    shape = check_contour_map(ucm)
    if shape != labels.shape or (background is not None and background.shape != shape):
        raise InputError(
            f"labels {labels.shape}, ucm of {shape} and background differ in size: give those of one image."
        )
    foreground = labels >= 0 if background is None else (labels >= 0) & ~background
    across = np.maximum(ucm[1::2, :-1:2], ucm[1::2, 2::2])
    down = np.maximum(ucm[:-1:2, 1::2], ucm[2::2, 1::2])
    return TrackingMaps(foreground, np.maximum(across, down))
