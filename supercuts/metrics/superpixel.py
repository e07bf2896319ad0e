"""Quality of superpixels, with or without comparison to one annotation.

Definitions follow Stutz et al., "Superpixels: an evaluation of the state of the art" (CVIU 2018), unless a docstring
states a different definition.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from supercuts.core.errors import InputError
from supercuts.metrics._kernels import regions as _kernels


def achievable_segmentation_accuracy(contingency: Int[np.ndarray, "truths superpixels"]) -> float:
    """Return ASA = (1/N) sum_j max_i |S_j n G_i|: the accuracy when each superpixel takes its majority truth region.

    Parameters
    ----------
    contingency
        (truths, superpixels) integers, pixels in each pair of a true region and a superpixel, as
        `supercuts.core.arrays.contingency` counts them.

    Returns
    -------
    float
        In (0, 1]; 1 when no superpixel crosses a truth boundary.

    Raises
    ------
    InputError
        If the table counts no pixel, or a negative number.

    References
    ----------
    .. [1] Stutz et al., "Superpixels: An evaluation of the state of the art", CVIU 2018.

    Examples
    --------
    Superpixels have 1 and 3 pixels; the second leaks one pixel:

    >>> achievable_segmentation_accuracy(np.array([[1, 1], [0, 2]]))
    0.75
    """
    _check_table(contingency)
    return float(contingency.max(axis=0).sum() / contingency.sum())


def undersegmentation_error(contingency: Int[np.ndarray, "truths superpixels"]) -> float:
    """Return UE_NP = (1/N) sum_i sum_j min(|S_j n G_i|, |S_j - G_i|).

    A leaking pixel is counted for both regions concerned.

    Parameters
    ----------
    contingency
        As in `achievable_segmentation_accuracy`.

    Returns
    -------
    float
        In 0..1; 0 when no superpixel crosses a truth boundary.

    Raises
    ------
    InputError
        As in `achievable_segmentation_accuracy`.

    References
    ----------
    .. [1] Neubert & Protzel, "Superpixel benchmark and comparison", Forum Bildverarbeitung 2012.

    Examples
    --------
    >>> undersegmentation_error(np.array([[1, 1], [0, 2]]))
    0.5
    """
    _check_table(contingency)
    outside = contingency.sum(axis=0) - contingency
    return float(np.minimum(contingency, outside).sum() / contingency.sum())


def undersegmentation_error_corrected(contingency: Int[np.ndarray, "truths superpixels"]) -> float:
    """Return CUE = (1/N) sum_j (|S_j| - max_i |S_j n G_i|) = 1 - ASA.

    Parameters
    ----------
    contingency
        As in `achievable_segmentation_accuracy`.

    Returns
    -------
    float
        In [0, 1); 0 when no superpixel crosses a truth boundary.

    Raises
    ------
    InputError
        As in `achievable_segmentation_accuracy`.

    References
    ----------
    .. [1] Van den Bergh et al., "SEEDS: Superpixels extracted via energy-driven sampling", ECCV 2012.

    Examples
    --------
    >>> undersegmentation_error_corrected(np.array([[1, 1], [0, 2]]))
    0.25
    """
    _check_table(contingency)
    leaked = contingency.sum(axis=0) - contingency.max(axis=0)
    return float(leaked.sum() / contingency.sum())


def boundary_recall(
    truth: Int[np.ndarray, "height width"], labels: Int[np.ndarray, "height width"], radius_px: int | None = None
) -> float:
    """Return the share of truth boundary pixels with a superpixel boundary pixel within radius_px rows and columns.

    A pixel is on a boundary when one of its 4 neighbours has another label, so a boundary is two pixels wide.

    Parameters
    ----------
    truth, labels
        (H, W) integers, ids of true regions and of superpixels, from 0.
    radius_px
        Pixels, from 0; if None, 0.0025 of the image diagonal, rounded: 1 pixel at 481 x 321.

    Returns
    -------
    float
        In 0..1; 1 if the truth is one region, which has no boundary to miss.

    Raises
    ------
    InputError
        If the maps differ in shape or hold negative or very large ids, or if the radius is negative.

    References
    ----------
    .. [1] Stutz et al., "Superpixels: An evaluation of the state of the art", CVIU 2018.

    Examples
    --------
    The truth changes after column 1, the superpixels after column 3. Columns 2 and 3 are one column apart.

    >>> truth, labels = np.array([[0, 0, 1, 1, 1]]), np.array([[0, 0, 0, 0, 1]])
    >>> [boundary_recall(truth, labels, radius) for radius in (0, 1, 2)]
    [0.0, 0.5, 1.0]
    """
    radius = default_radius_px(truth.shape) if radius_px is None else radius_px
    return float(boundary_recalls(truth, labels, [radius])[0])


def boundary_recalls(
    truth: Int[np.ndarray, "height width"], labels: Int[np.ndarray, "height width"], radii_px: Sequence[int]
) -> Float64[np.ndarray, " radii"]:
    """Return boundary_recall at each radius, in the given order; the boundaries are computed once.

    Swap the two label maps to compute boundary_precision.

    >>> truth, labels = np.array([[0, 0, 1, 1, 1]]), np.array([[0, 0, 0, 0, 1]])
    >>> boundary_recalls(truth, labels, [2, 0, 1]).tolist()
    [1.0, 0.0, 0.5]
    """
    check_label_map("truth", truth)
    check_label_map("labels", labels)
    if truth.shape != labels.shape:
        raise InputError(f"truth {truth.shape} and labels {labels.shape} differ in shape: score maps of one image.")
    if min(radii_px, default=0) < 0:
        raise InputError(f"radius_px={min(radii_px)} is negative. Give 0 for exact agreement, or leave it out.")
    truth_boundaries, boundaries = boundary_mask(truth), boundary_mask(labels)
    n_wanted = np.count_nonzero(truth_boundaries)
    recalls, reach = np.ones(len(radii_px)), 0
    if n_wanted == 0:
        return recalls
    for index in np.argsort(radii_px):  # ascending: each dilation continues the previous one
        boundaries, reach = _dilate(boundaries, radii_px[index] - reach), radii_px[index]
        recalls[index] = np.count_nonzero(truth_boundaries & boundaries) / n_wanted
    return recalls


def boundary_precision(
    truth: Int[np.ndarray, "height width"], labels: Int[np.ndarray, "height width"], radius_px: int | None = None
) -> float:
    """Return the share of superpixel boundary pixels near a truth boundary pixel: boundary_recall with swapped roles.

    Stutz et al. count true positives on the truth's pixels instead; with their definition, swapping the arguments would
    not give recall.

    Parameters
    ----------
    truth, labels, radius_px
        As in `boundary_recall`.

    Returns
    -------
    float
        In 0..1; 1 for a single superpixel, which has no boundary.

    Raises
    ------
    InputError
        As in `boundary_recall`.

    Examples
    --------
    >>> truth, labels = np.array([[0, 0, 1, 1, 1, 1]]), np.array([[0, 0, 1, 1, 2, 2]])
    >>> boundary_precision(truth, labels, 0), boundary_recall(truth, labels, 0)
    (0.5, 1.0)
    """
    return boundary_recall(labels, truth, radius_px)


def boundary_mask(labels: Int[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Mark the pixels with a 4-neighbour of another label, on both sides of a boundary.

    >>> boundary_mask(np.array([[0, 0, 1, 1]])).astype(int).tolist()
    [[0, 1, 1, 0]]
    """
    mask: np.ndarray = _kernels.boundary_mask(np.ascontiguousarray(labels))
    return mask


def default_radius_px(shape: tuple[int, int]) -> int:
    """Return 0.0025 of the image diagonal in pixels, rounded half up.

    >>> default_radius_px((321, 481))
    1
    """
    return int(0.0025 * math.hypot(*shape) + 0.5)


def compactness(labels: Int[np.ndarray, "height width"]) -> float:
    """Return CO = sum_j |S_j|/N * 4 pi |S_j| / P_j^2.

    Each term divides an area by that of a disc of the same perimeter. P_j counts pixel sides that face another label or
    the image border.

    Parameters
    ----------
    labels
        (H, W) integers, ids of superpixels, from 0.

    Returns
    -------
    float
        In (0, pi/4]; pi/4 = 0.785 is reached by squares.

    Raises
    ------
    InputError
        If the map is empty or holds negative or very large ids.

    References
    ----------
    .. [1] Schick et al., "Measuring and evaluating the compactness of superpixels", ICPR 2012.

    Examples
    --------
    A square of 2 x 2 next to a line of 2 x 1 scores (4 * 4 pi 4 / 8^2 + 2 * 4 pi 2 / 6^2) / 6.

    >>> round(compactness(np.array([[0, 0, 1], [0, 0, 1]])), 4)
    0.7563
    """
    check_label_map("labels", labels)
    areas, perimeters = _kernels.areas_and_perimeters(np.ascontiguousarray(labels), int(labels.max()) + 1)
    present = areas > 0
    areas, perimeters = areas[present].astype(np.float64), perimeters[present].astype(np.float64)
    return float((areas * 4 * np.pi * areas / perimeters**2).sum() / labels.size)


def explained_variation(
    image_lab: Float[np.ndarray, "height width channels"], labels: Int[np.ndarray, "height width"]
) -> float:
    """Return EV = sum_j |S_j| |mu_j - mu|^2 / sum_p |x_p - mu|^2, where mu are mean colours.

    Parameters
    ----------
    image_lab
        (H, W, C) colours, Lab as a rule.
    labels
        As in `compactness`.

    Returns
    -------
    float
        In 0..1: 0 for one superpixel, 1 when each superpixel has one colour, and on an image of one colour.

    Raises
    ------
    InputError
        If the arrays differ in size, colours are not finite, or as in `compactness`.

    References
    ----------
    .. [1] Moore et al., "Superpixel lattices", CVPR 2008.

    Examples
    --------
    >>> image = np.array([0.0, 0.0, 1.0, 1.0]).reshape(1, 4, 1)
    >>> explained_variation(image, np.array([[0, 0, 1, 1]])), explained_variation(image, np.array([[0, 1, 0, 1]]))
    (1.0, 0.0)
    """
    check_label_map("labels", labels)
    if image_lab.shape[:2] != labels.shape:
        raise InputError(f"image {image_lab.shape} and labels {labels.shape} differ in size: give maps of one image.")
    if not np.isfinite(image_lab).all():
        raise InputError("image_lab holds NaN or infinite values. Expected finite colours: replace them.")
    flat = labels.ravel()
    # centred first: sums of squares of Lab values would cancel badly in float32
    pixels = image_lab.reshape(labels.size, -1).astype(np.float64)
    pixels -= pixels.mean(axis=0)
    total = float((pixels**2).sum())
    areas = np.maximum(np.bincount(flat), 1)
    sum_of_squares = sum(float((np.bincount(flat, channel) ** 2 / areas).sum()) for channel in pixels.T)
    return min(sum_of_squares / total, 1.0) if total > 0 else 1.0


def n_fragments(labels: Int[np.ndarray, "height width"]) -> int:
    """Return the number of 4-connected components minus the number of labels; 0 when each label is connected.

    >>> n_fragments(np.array([[0, 1, 0]])), n_fragments(np.array([[0, 1, 1]]))
    (1, 0)
    """
    check_label_map("labels", labels)
    n_labels = int(np.count_nonzero(np.bincount(labels.ravel())))
    return int(_kernels.count_components(np.ascontiguousarray(labels))) - n_labels


def _dilate(mask: np.ndarray, radius_px: int) -> np.ndarray:
    """Mark the pixels with a marked pixel within radius_px rows and columns."""
    for turn in (np.asarray, np.transpose):  # down and up, then right and left
        reach = 0
        while reach < min(radius_px, len(turn(mask))):
            # a longer step would leave a gap next to the border: the mask is cut off there before it is shifted
            step = min(radius_px - reach, reach + 1)
            grown = mask.copy()
            turn(grown)[step:] |= turn(mask)[:-step]
            turn(grown)[:-step] |= turn(mask)[step:]
            mask, reach = grown, reach + step
    return mask


def _check_table(table: np.ndarray) -> None:
    if table.size == 0 or (table < 0).any() or table.sum() < 1:
        raise InputError(
            f"contingency table of shape {table.shape} must count at least one pixel and nothing negative. "
            "Build it with core.arrays.contingency(truth, labels)."
        )


def check_label_map(name: str, labels: np.ndarray) -> None:
    """Raise InputError if a label map is empty or has ids below 0 or above its pixel count."""
    if labels.size == 0 or labels.min() < 0 or labels.max() >= labels.size:
        held = f"holds ids {labels.min()}..{labels.max()}" if labels.size else "is empty"
        raise InputError(
            f"{name} of shape {labels.shape} {held}. Expected ids from 0 without large gaps: "
            "renumber with core.arrays.relabel_consecutive."
        )
