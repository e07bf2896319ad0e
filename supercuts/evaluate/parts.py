"""Score the parts found in images: against people's regions, or at the keypoints of parts.

In   Parts and Objects of an image, the Hierarchy they were chosen from, a PartTruth
Out  PartScores per image; figures over images by name, and by name of the part
Not  no finding of parts, no files

Keypoints (Choudhury et al., NeurIPS 2021): the labels found at all visible keypoints of all images, concatenated, are
compared with the keypoints' parts by NMI and ARI. "Full" takes the labels found in the whole image, where background is
one more label; "FG" those found in the image cropped to the object's box, where a keypoint on background takes the
nearest part. Both suppose that a method numbers its parts alike in all images. One that does not is judged by the mean
of the NMI of each image, which is another figure and not that of published tables.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int32

from supercuts.core.arrays import contingency
from supercuts.datasets.annotations import PartTruth
from supercuts.evaluate.objects import NodeLimits, check_same_image, limits_of, mean
from supercuts.hierarchy.tree import Hierarchy
from supercuts.metrics.nodes import best_node_jaccard
from supercuts.metrics.objects import clustering_agreement, mask_iou
from supercuts.objects.result import Objects, Parts


@dataclass(frozen=True, slots=True, eq=False)
class KeypointLabels:
    """What was found at the V visible keypoints of one image.

    parts  (V,) int64  the keypoint's part, 0..P-1
    full   (V,) int64  the label in the whole image, 0 background
    fg     (V,) int64  the nearest part in the image cropped to the object's box
    nmi    float       of full with parts, in this image alone
    """

    parts: np.ndarray
    full: np.ndarray
    fg: np.ndarray
    nmi: float


@dataclass(frozen=True, slots=True, eq=False)
class PartScores:
    """Scores of one image, in 0..1; None where the dataset does not say.

    names          P of them       of the true parts
    best_node      (P,) float64    Jaccard index of each true part with the best node of the tree; None: no regions
    matched_iou    (P,) float64    with the part found for it: pairs are one to one and of the highest sum, 0 without
    object_iou     float           of the object found and the union of the true parts
    object_limits  NodeLimits      of the tree, for that union
    nested         float           share of the parts found that lie in the object found with every pixel
    n_parts        int             parts found
    keypoints      KeypointLabels
    """

    names: tuple[str, ...]
    best_node: np.ndarray | None
    matched_iou: np.ndarray | None
    object_iou: float | None
    object_limits: NodeLimits | None
    nested: float
    n_parts: int
    keypoints: KeypointLabels | None = None


def score_parts(
    parts: Parts, objects: Objects, truth: PartTruth, hierarchy: Hierarchy, in_box: Parts | None = None
) -> PartScores:
    """Score what was found in one image; in_box: in the image cropped to the true box, for keypoints."""
    nested, n_parts = share_nested(parts, objects), int(parts.object_of.size)
    keypoints = None if in_box is None else keypoint_labels(parts, in_box, truth)
    if truth.labels is None or not truth.labels.any():
        return PartScores(truth.names, None, None, None, None, nested, n_parts, keypoints)
    check_same_image(truth.labels.shape, parts.labels.shape)
    check_same_image(truth.labels.shape, hierarchy.labels.shape)
    table = contingency(truth.labels, hierarchy.labels)[1:]
    areas = np.bincount(hierarchy.labels.ravel(), minlength=hierarchy.n_leaves)
    true_object = truth.labels > 0
    return PartScores(
        names=truth.names,
        best_node=best_node_jaccard(table, hierarchy.parents, areas),
        matched_iou=matched_iou(contingency(truth.labels, parts.labels)),
        object_iou=mask_iou(objects.mask, true_object),
        object_limits=limits_of(hierarchy, true_object),
        nested=nested,
        n_parts=n_parts,
        keypoints=keypoints,
    )


def matched_iou(table: Int[np.ndarray, "_ _"]) -> Float[np.ndarray, " parts"]:
    """Return the IoU of each true part with the part matched to it, one to one, so that the sum is highest.

    table: pixels of each true and each found label; row and column 0 are background, which nothing is matched to.

    Two true parts, of which the first is found in two pieces:

    >>> matched_iou(np.array([[9, 0, 0], [0, 3, 1], [2, 0, 2]])).round(4).tolist()
    [0.75, 0.4]
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    shared = table[1:, 1:]
    union = table.sum(axis=1)[1:, None] + table.sum(axis=0)[None, 1:] - shared
    iou = shared / np.maximum(union, 1)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    matched = np.zeros(len(shared))
    matched[rows] = iou[rows, columns]
    return matched


def share_nested(parts: Parts, objects: Objects) -> float:
    """Return the share of the parts found all of whose pixels lie in the objects found; 1 without parts."""
    check_same_image(objects.saliency.shape, parts.labels.shape)
    n_parts = parts.object_of.size
    outside = np.bincount(parts.labels[~objects.mask], minlength=n_parts + 1)[1:]
    return float((outside == 0).mean()) if n_parts else 1.0


def keypoint_labels(parts: Parts, in_box: Parts, truth: PartTruth) -> KeypointLabels | None:
    """Return the labels at the visible keypoints; None for a truth without keypoints or box."""
    if truth.keypoints_yx is None or truth.visible is None or truth.box_yxyx is None:
        return None
    places = truth.keypoints_yx[truth.visible]
    corner = clipped_box(truth.box_yxyx, parts.labels.shape)[:2]
    true_parts, full = np.flatnonzero(truth.visible), labels_at(parts.labels, places)
    fg = labels_at(nearest_part(in_box.labels), places - corner)
    return KeypointLabels(true_parts, full, fg, clustering_agreement(true_parts, full).nmi)


def labels_at(labels: Int[np.ndarray, "height width"], places_yx: Float[np.ndarray, "points 2"]) -> np.ndarray:
    """Return the (V,) int64 labels at the nearest pixels; a keypoint on or beyond the far edge takes the last pixel.

    >>> labels_at(np.array([[1, 2], [3, 4]]), np.array([[0.4, 0.6], [2.0, -1.0]])).tolist()
    [2, 3]
    """
    places = np.floor(places_yx + 0.5).astype(np.int64)  # not rint, which rounds halves to even
    rows, columns = (places.clip(0, np.array(labels.shape) - 1)).T
    found: np.ndarray = labels[rows, columns].astype(np.int64)
    return found


def nearest_part(labels: Int32[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Return the label of the nearest part for each pixel of background; all background stays so.

    >>> nearest_part(np.array([[1, 0, 0, 0, 2]], np.int32)).tolist()[0][1::2]
    [1, 2]
    """
    from scipy import ndimage  # slow to import

    if not labels.any():
        return labels
    rows, columns = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    nearest: np.ndarray = labels[rows, columns]
    return nearest


def clipped_box(box_yxyx: Int[np.ndarray, "4"], shape: tuple[int, ...]) -> np.ndarray:
    """Return the part of a box y0, x0, y1, x1 within the image, of one pixel at least.

    >>> clipped_box(np.array([-2, 1, 9, 1]), (4, 5)).tolist()
    [0, 1, 4, 2]
    """
    size = np.array(shape[:2])
    start = box_yxyx[:2].clip(0, size - 1)
    return np.concatenate([start, box_yxyx[2:].clip(start + 1, size)])


def summarise_parts(scores: Sequence[PartScores]) -> dict[str, float]:
    """Return the figures over images by name; NaN where no image has what a figure is of.

    Scores of parts are averaged over the parts of an image, then over images. NMI and ARI are of all keypoints at once.
    """
    found = [one.keypoints for one in scores if one.keypoints is not None and one.keypoints.parts.size]
    limits = [one.object_limits for one in scores if one.object_limits is not None]
    return {
        "best_node": mean([None if one.best_node is None else float(one.best_node.mean()) for one in scores]),
        "matched_iou": mean([None if one.matched_iou is None else float(one.matched_iou.mean()) for one in scores]),
        "object_iou": mean([one.object_iou for one in scores]),
        "object_best_node": mean([one.best_node for one in limits]),
        "object_best_union": mean([one.best_union for one in limits]),
        "nested": mean([one.nested for one in scores]),
        "n_parts": mean([one.n_parts for one in scores]),
        **_agreement(found),
    }


def by_part(scores: Sequence[PartScores]) -> dict[str, dict[str, float]]:
    """Return, for each name of a part in alphabetic order, how many there are and the mean of their scores."""
    rows = defaultdict(list)
    for one in scores:
        if one.best_node is not None and one.matched_iou is not None:
            for name, *values in zip(one.names, one.best_node, one.matched_iou, strict=True):
                rows[name].append(values)
    return {
        name: {
            "n": len(values),
            **dict(zip(("best_node", "matched_iou"), np.mean(values, axis=0).tolist(), strict=True)),
        }
        for name, values in sorted(rows.items())
    }


def _agreement(found: Sequence[KeypointLabels]) -> dict[str, float]:
    """Return NMI and ARI, times 100 as they are published."""
    if not found:
        return dict.fromkeys(("nmi_fg", "ari_fg", "nmi_full", "ari_full", "nmi_per_image"), float("nan"))
    parts = np.concatenate([one.parts for one in found])
    fg = clustering_agreement(parts, np.concatenate([one.fg for one in found]))
    full = clustering_agreement(parts, np.concatenate([one.full for one in found]))
    return {
        "nmi_fg": 100 * fg.nmi,
        "ari_fg": 100 * fg.ari,
        "nmi_full": 100 * full.nmi,
        "ari_full": 100 * full.ari,
        "nmi_per_image": 100 * mean([one.nmi for one in found]),
    }
