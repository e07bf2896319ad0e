"""Score the objects found in images: masks, soft masks and boxes against people's, and what the tree would allow.

In   Objects, the Hierarchy they were chosen from, an ObjectTruth
Out  ObjectScores per image; figures over images by name
Not  no finding of objects, no files
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from supercuts.core.errors import InputError
from supercuts.datasets.annotations import ObjectTruth
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.selection import best_union
from supercuts.hierarchy.tree import Hierarchy
from supercuts.metrics.nodes import best_node_jaccard
from supercuts.metrics.objects import MIN_IOU, box_iou, corloc, f_beta_curve, mask_accuracy, mask_iou, max_f_beta
from supercuts.objects.result import Objects

N_UNITED = 3  # nodes that best_union may join


@dataclass(frozen=True, slots=True, eq=False)
class NodeLimits:
    """The best Jaccard index with one mask that a selection of nodes can reach: bounds of every object mask."""

    best_node: float
    best_union: float  # of at most N_UNITED nodes


@dataclass(frozen=True, slots=True, eq=False)
class ObjectScores:
    """Scores of one image, in 0..1; None where the dataset has no masks, no boxes, or this image no object.

    iou, accuracy  of the mask of all objects found with that of all true ones
    f_beta_curve   (255,) F-beta of the soft mask at thresholds k/255
    box_iou        best IoU of the box of the first object with any true box: the object is localised from 0.5 on
    limits         of the tree, for the mask of all true objects; None where objects were not sought on a tree
    n_objects      objects found
    """

    iou: float | None
    accuracy: float | None
    f_beta_curve: np.ndarray | None
    box_iou: float | None
    limits: NodeLimits | None
    n_objects: int


def score_objects(found: Objects, truth: ObjectTruth, hierarchy: Hierarchy | None) -> ObjectScores:
    """Score what was found in one image."""
    mask = truth.mask
    if mask is not None:
        check_same_image(mask.shape, found.saliency.shape)
    boxes = truth.boxes_yxyx
    return ObjectScores(
        iou=None if mask is None else mask_iou(found.mask, mask),
        accuracy=None if mask is None else mask_accuracy(found.mask, mask),
        f_beta_curve=None if mask is None else f_beta_curve(found.saliency, mask),
        box_iou=None if boxes is None else float(box_iou(found.boxes_yxyx[:1], boxes).max(initial=0)),
        limits=None if hierarchy is None or mask is None or not mask.any() else limits_of(hierarchy, mask),
        n_objects=int(found.scores.size),
    )


def limits_of(hierarchy: Hierarchy, mask: Bool[np.ndarray, "height width"]) -> NodeLimits:
    """Return how well one node, and at most three nodes together, can match a mask that is not empty.

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
    check_same_image(mask.shape, hierarchy.labels.shape)
    n = hierarchy.n_leaves
    inside, areas = np.bincount(hierarchy.labels[mask], minlength=n), np.bincount(hierarchy.labels.ravel(), minlength=n)
    node = best_node_jaccard(inside[None], hierarchy.parents, areas)[0]
    return NodeLimits(float(node), _best_union_jaccard(inside, areas, hierarchy.parents))


def _best_union_jaccard(inside: np.ndarray, areas: np.ndarray, parents: np.ndarray) -> float:
    if not inside.any():
        return 0.0
    chosen = best_union(parents, inside, areas, N_UNITED)
    shared, covered = (_kernels.sum_to_root(parents, one)[chosen].sum() for one in (inside, areas))
    return float(shared / (inside.sum() + covered - shared))


def summarise_objects(scores: Sequence[ObjectScores]) -> dict[str, float]:
    """Return the figures over images by name; NaN where no image has what a figure is of.

    Means over images, but F-beta: curves are averaged first, then the best threshold is taken. An image whose true
    mask is empty has no node to be matched and counts in no limit.
    """
    curves = [one.f_beta_curve for one in scores if one.f_beta_curve is not None]
    hits = [one.box_iou >= MIN_IOU for one in scores if one.box_iou is not None]
    limits = [one.limits for one in scores if one.limits is not None]
    return {
        "iou": mean([one.iou for one in scores]),
        "accuracy": mean([one.accuracy for one in scores]),
        "max_f_beta": max_f_beta(np.stack(curves)) if curves else float("nan"),
        "corloc": corloc(np.array(hits)) if hits else float("nan"),
        "box_iou": mean([one.box_iou for one in scores]),
        "best_node": mean([one.best_node for one in limits]),
        "best_union": mean([one.best_union for one in limits]),
        "n_objects": mean([one.n_objects for one in scores]),
    }


def mean(values: Sequence[float | None]) -> float:
    """Return the mean of those that are not None; NaN of none.

    >>> mean([1.0, None, 2.0])
    1.5
    """
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def check_same_image(truth: tuple[int, ...], predicted: tuple[int, ...]) -> None:
    """Refuse an annotation of another size than the image."""
    if truth != predicted:
        raise InputError(
            f"the annotation is {truth}, the image {predicted} (rows, columns). The two files belong to different "
            "images, or one was resized: unpack the dataset again."
        )
