"""Score predicted objects and parts against annotations, and compute the upper bounds that the tree allows."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from supercuts.core.arrays import arrays_repr, contingency
from supercuts.core.errors import InputError
from supercuts.datasets.annotations import ObjectTruth, PartTruth
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.selection import best_union
from supercuts.hierarchy.tree import Hierarchy
from supercuts.metrics.nodes import best_node_jaccard
from supercuts.metrics.objects import (
    MIN_IOU,
    box_iou,
    clustering_agreement,
    corloc,
    f_beta_curve,
    labels_at,
    mask_accuracy,
    mask_iou,
    matched_iou,
    max_f_beta,
    nearest_part,
    share_nested,
)
from supercuts.objects.result import Objects, Parts

N_UNITED = 3  # maximum number of nodes in a union


@dataclass(frozen=True, slots=True, eq=False)
class NodeLimits:
    """The best Jaccard indices of tree nodes with one mask: upper bounds for every predicted object mask."""

    best_node: float
    best_union: float  # index of the best union of at most N_UNITED nodes


@dataclass(frozen=True, slots=True, eq=False)
class ObjectScores:
    """Scores of one image, in 0..1; None where the dataset has no masks, no boxes, or this image no object.

    iou, accuracy  agreement of the mask of all predicted objects with that of all true ones
    f_beta_curve   (255,) F-beta of the soft mask at thresholds k/255
    box_iou        best IoU of the first object's box with any true box; from 0.5 on, the object is localised
    limits         upper bounds of the tree for the mask of all true objects; None without a tree
    n_objects      number of predicted objects
    """

    iou: float | None
    accuracy: float | None
    f_beta_curve: np.ndarray | None
    box_iou: float | None
    limits: NodeLimits | None
    n_objects: int

    __repr__ = arrays_repr


def score_objects(objects: Objects, truth: ObjectTruth, hierarchy: Hierarchy | None) -> ObjectScores:
    """Score the objects predicted in one image."""
    mask = truth.mask
    if mask is not None:
        check_same_image(mask.shape, objects.saliency.shape)
    boxes = truth.boxes_yxyx
    return ObjectScores(
        iou=None if mask is None else mask_iou(objects.mask, mask),
        accuracy=None if mask is None else mask_accuracy(objects.mask, mask),
        f_beta_curve=None if mask is None else f_beta_curve(objects.saliency, mask),
        box_iou=None if boxes is None else float(box_iou(objects.boxes_yxyx[:1], boxes).max(initial=0)),
        limits=None if hierarchy is None or mask is None or not mask.any() else limits_of(hierarchy, mask),
        n_objects=int(objects.scores.size),
    )


def limits_of(hierarchy: Hierarchy, mask: Bool[np.ndarray, "height width"]) -> NodeLimits:
    """Return the best Jaccard index of one node, and of a union of at most three, with a mask that is not empty.

    >>> h = Hierarchy(
    ...     labels=np.array([[0, 1, 2]], np.int32),
    ...     parents=np.array([3, 3, 4, 4, 4], np.int32),
    ...     altitudes=np.array([0, 0, 0, 0.2, 0.6], np.float32),
    ...     embeddings=np.zeros((3, 0), np.float32),
    ... )
    >>> limits = limits_of(h, np.array([[True, False, True]]))
    >>> round(limits.best_node, 4), limits.best_union
    (0.6667, 1.0)
    """
    check_same_image(mask.shape, hierarchy._labels.shape)
    n = hierarchy.n_leaves
    inside, areas = (
        np.bincount(hierarchy._labels[mask], minlength=n),
        np.bincount(hierarchy._labels.ravel(), minlength=n),
    )
    node = best_node_jaccard(inside[None], hierarchy._parents, areas)[0]
    return NodeLimits(float(node), _best_union_jaccard(inside, areas, hierarchy._parents))


def _best_union_jaccard(inside: np.ndarray, areas: np.ndarray, parents: np.ndarray) -> float:
    if not inside.any():
        return 0.0
    chosen = best_union(parents, inside, areas, N_UNITED)
    shared, covered = (_kernels.sum_to_root(parents, counts)[chosen].sum() for counts in (inside, areas))
    return float(shared / (inside.sum() + covered - shared))


def summarise_objects(scores: Sequence[ObjectScores]) -> dict[str, float]:
    """Return the figures over images by name; a figure is NaN if no image has the score that it summarises.

    Figures are means over images. Only for F-beta, curves are averaged before the best threshold is taken. Images with
    an empty true mask have no limits and are left out of those means.
    """
    curves = [score.f_beta_curve for score in scores if score.f_beta_curve is not None]
    hits = [score.box_iou >= MIN_IOU for score in scores if score.box_iou is not None]
    limits = [score.limits for score in scores if score.limits is not None]
    return {
        "iou": mean([score.iou for score in scores]),
        "accuracy": mean([score.accuracy for score in scores]),
        "max_f_beta": max_f_beta(np.stack(curves)) if curves else float("nan"),
        "corloc": corloc(np.array(hits)) if hits else float("nan"),
        "box_iou": mean([score.box_iou for score in scores]),
        "best_node": mean([score.best_node for score in limits]),
        "best_union": mean([score.best_union for score in limits]),
        "n_objects": mean([score.n_objects for score in scores]),
    }


def mean(values: Sequence[float | None]) -> float:
    """Return the mean of the values that are not None; NaN if there are none.

    >>> mean([1.0, None, 2.0])
    1.5
    """
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def check_same_image(truth: tuple[int, ...], predicted: tuple[int, ...]) -> None:
    """Raise InputError if an annotation and its image differ in size."""
    if truth != predicted:
        raise InputError(
            f"the annotation is {truth}, the image {predicted} (rows, columns). The two files belong to different "
            "images, or one was resized: unpack the dataset again."
        )


@dataclass(frozen=True, slots=True, eq=False)
class KeypointLabels:
    """True and predicted labels of the V visible keypoints of one image.

    parts  (V,) int64  true part of the keypoint, 0..P-1
    full   (V,) int64  predicted label in the whole image, 0 for background
    fg     (V,) int64  nearest predicted part in the image cropped to the object's box
    nmi    float       NMI of full and parts in this image alone
    """

    parts: np.ndarray
    full: np.ndarray
    fg: np.ndarray
    nmi: float


@dataclass(frozen=True, slots=True, eq=False)
class PartScores:
    """Scores of one image, in 0..1; None where the dataset lacks the annotation.

    names          P strings       names of the true parts
    best_node      (P,) float64    Jaccard index of each true part with the best node of the tree; None: no regions
    matched_iou    (P,) float64    IoU of each true part with its match, one to one, of highest total; 0 if unmatched
    object_iou     float           IoU of the predicted object and the union of the true parts
    object_limits  NodeLimits      upper bounds of the tree for that union
    nested         float           share of the predicted parts that lie entirely within the predicted object
    n_parts        int             number of predicted parts
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

    __repr__ = arrays_repr


def score_parts(
    parts: Parts, objects: Objects, truth: PartTruth, hierarchy: Hierarchy, in_box: Parts | None = None
) -> PartScores:
    """Score the parts predicted in one image; in_box: those predicted in its crop to the true box, for keypoints."""
    check_same_image(objects.saliency.shape, parts.labels.shape)
    nested, n_parts = share_nested(parts.labels, objects.mask), int(parts.object_of.size)
    keypoints = None if in_box is None else keypoint_labels(parts, in_box, truth)
    if truth.labels is None or not truth.labels.any():
        return PartScores(truth.names, None, None, None, None, nested, n_parts, keypoints)
    check_same_image(truth.labels.shape, parts.labels.shape)
    check_same_image(truth.labels.shape, hierarchy._labels.shape)
    table = contingency(truth.labels, hierarchy._labels)[1:]
    areas = np.bincount(hierarchy._labels.ravel(), minlength=hierarchy.n_leaves)
    true_object = truth.labels > 0
    return PartScores(
        names=truth.names,
        best_node=best_node_jaccard(table, hierarchy._parents, areas),
        matched_iou=matched_iou(contingency(truth.labels, parts.labels)),
        object_iou=mask_iou(objects.mask, true_object),
        object_limits=limits_of(hierarchy, true_object),
        nested=nested,
        n_parts=n_parts,
        keypoints=keypoints,
    )


def keypoint_labels(parts: Parts, in_box: Parts, truth: PartTruth) -> KeypointLabels | None:
    """Return the labels at the visible keypoints; None if the truth has no keypoints or no box."""
    if truth.keypoints_yx is None or truth.visible is None or truth.box_yxyx is None:
        return None
    places = truth.keypoints_yx[truth.visible]
    corner = clipped_box(truth.box_yxyx, parts.labels.shape)[:2]
    true_parts, full = np.flatnonzero(truth.visible), labels_at(parts.labels, places)
    fg = labels_at(nearest_part(in_box.labels), places - corner)
    return KeypointLabels(true_parts, full, fg, clustering_agreement(true_parts, full).nmi)


def clipped_box(box_yxyx: Int[np.ndarray, "4"], shape: tuple[int, ...]) -> np.ndarray:
    """Return the part of a box y0, x0, y1, x1 that lies within the image, at least one pixel.

    >>> clipped_box(np.array([-2, 1, 9, 1]), (4, 5)).tolist()
    [0, 1, 4, 2]
    """
    size = np.array(shape[:2])
    start = box_yxyx[:2].clip(0, size - 1)
    return np.concatenate([start, box_yxyx[2:].clip(start + 1, size)])


def summarise_parts(scores: Sequence[PartScores]) -> dict[str, float]:
    """Return the figures over images by name; a figure is NaN if no image has the score that it summarises.

    Scores of parts are averaged over the parts of an image, then over images. NMI and ARI pool all keypoints.
    """
    keypoints = [part.keypoints for part in scores if part.keypoints is not None and part.keypoints.parts.size]
    limits = [part.object_limits for part in scores if part.object_limits is not None]
    return {
        "best_node": mean([None if part.best_node is None else float(part.best_node.mean()) for part in scores]),
        "matched_iou": mean([None if part.matched_iou is None else float(part.matched_iou.mean()) for part in scores]),
        "object_iou": mean([part.object_iou for part in scores]),
        "object_best_node": mean([part.best_node for part in limits]),
        "object_best_union": mean([part.best_union for part in limits]),
        "nested": mean([part.nested for part in scores]),
        "n_parts": mean([part.n_parts for part in scores]),
        **_agreement(keypoints),
    }


def by_part(scores: Sequence[PartScores]) -> dict[str, dict[str, float]]:
    """Return, for each part name in alphabetical order, the number of parts and the means of their scores."""
    rows = defaultdict(list)
    for score in scores:
        if score.best_node is not None and score.matched_iou is not None:
            for name, *values in zip(score.names, score.best_node, score.matched_iou, strict=True):
                rows[name].append(values)
    return {
        name: {
            "n": len(values),
            **dict(zip(("best_node", "matched_iou"), np.mean(values, axis=0).tolist(), strict=True)),
        }
        for name, values in sorted(rows.items())
    }


def _agreement(keypoints: Sequence[KeypointLabels]) -> dict[str, float]:
    """Return NMI and ARI times 100, as published."""
    if not keypoints:
        return dict.fromkeys(("nmi_fg", "ari_fg", "nmi_full", "ari_full", "nmi_per_image"), float("nan"))
    parts = np.concatenate([labels.parts for labels in keypoints])
    fg = clustering_agreement(parts, np.concatenate([labels.fg for labels in keypoints]))
    full = clustering_agreement(parts, np.concatenate([labels.full for labels in keypoints]))
    return {
        "nmi_fg": 100 * fg.nmi,
        "ari_fg": 100 * fg.ari,
        "nmi_full": 100 * full.nmi,
        "ari_full": 100 * full.ari,
        "nmi_per_image": 100 * mean([labels.nmi for labels in keypoints]),
    }
