"""Precision and recall for objects and parts (Pont-Tuset and Marques, CVPR 2013 and PAMI 2016), several annotators.

In   contingency tables (truths, regions or leaves), trees as parents (M,) and altitudes (M,), label maps (H, W)
Out  precision, recall and F_op at T thresholds, and their ODS / OIS over images
Not  no files, no relabelling of pixels when a tree is given

With recall r = |G n S| / |G| and precision p = |G n S| / |S| of a truth region G and a predicted region S, a pair with
r and p >= gamma_object is an object on both sides; S is a part when p >= gamma_object and r >= gamma_part, and G one
when r >= gamma_object and p >= gamma_part. What is neither earns the share of it that regions of the other side fill
which lie in it (gamma_object of them or more): merged(S) = sum of p over G with r >= gamma_object > p, averaged over
annotators, and split(G) = sum of r over S with p >= gamma_object > r. Then

    precision = (n objects + beta * n parts + sum of merged, over predicted regions) / n predicted regions
    recall    = (n objects + beta * n parts + sum of split, over truth regions) / n truth regions of all annotators

where tiny regions do not count: of each partition only the largest regions are candidates, until 99 % of the image is
reached. They alone are counted, in denominators too, and only two candidates make an object or a part, but all regions
fill others. A predicted region is an object or else a part if it is one for any annotator. Constants and all this are
as in the authors' code (SEISM, src/measures/fop.hpp and mex_eval_segm.cpp), with two readings that free the result from
the order in which regions are numbered:

- The code takes one region after the other; which of equally large ones fall below 99 % depends on their numbers. Here
  either all or none of them are candidates: a region is one when the larger ones cover less than 99 %.
- Version 2 of the code adds up the image area from one row of the table, so that it is that of the first predicted
  region times their number. Here it is the area of the image, as in version 1.

All else is independent of order: at most one region can hold gamma_object > 1/2 of another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from supercuts.core import arrays
from supercuts.core.errors import InputError
from supercuts.metrics._kernels import objects_parts as _kernels_objects_parts
from supercuts.metrics.inputs import check_thresholds, check_tree, common_thresholds, map_thresholds, stack_tables
from supercuts.metrics.nodes import lifetimes, node_counts
from supercuts.metrics.region import THRESHOLDS
from supercuts.metrics.superpixel import check_label_map

GAMMA_OBJECT = 0.9  # share of a region that lies in another one, to count as inside
GAMMA_PART = 0.25  # share of a whole that its part fills at least
BETA = 0.1  # worth of a part, an object being 1
CANDIDATE_PERCENT = 99  # of the image, covered by the regions that count


@dataclass(frozen=True, slots=True, eq=False)
class ObjectsPartsScores:
    """Precision and recall of one image at T thresholds, in 0..1.

    thresholds  (T,) float64  ascending
    precision   (T,) float64  worth of the predicted regions, per region
    recall      (T,) float64  worth of the truth regions of all annotators, per region
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    def __post_init__(self) -> None:
        """Refuse series of different length."""
        if not self.thresholds.shape == self.precision.shape == self.recall.shape:
            raise InputError(
                f"precision {self.precision.shape} and recall {self.recall.shape} differ from thresholds "
                f"{self.thresholds.shape}. Give one value per threshold; tree_objects_parts does."
            )

    @property
    def f(self) -> np.ndarray:
        """The (T,) harmonic mean of precision and recall; 0 when both are."""
        return _f_measure(self.precision, self.recall)


@dataclass(frozen=True, slots=True)
class ObjectsPartsSummary:
    """Means of precision and recall over images and the F of these means; higher is better.

    ods: one threshold for all images; ois: the threshold of each image at which its own F is best.
    """

    ods_threshold: float
    ods_precision: float
    ods_recall: float
    ods_f: float
    ois_precision: float
    ois_recall: float
    ois_f: float


def tree_objects_parts(
    contingencies: Sequence[Int[np.ndarray, "_ leaves"]],
    parents: Int[np.ndarray, " nodes"],
    altitudes: Float[np.ndarray, " nodes"],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
) -> ObjectsPartsScores:
    """Score the cuts of a tree, which are those of region.tree_scores; one (truths, leaves) table per annotator.

    Truth regions of 8 and 8 pixels. Leaf 0 is the first one, leaves 1 and 2 are halves of the second one, joined at
    0.4; the root is at 0.8. Leaves: an object and two parts, 1.2 / 3; an object and a region that is filled, 2 / 2.
    Root: it is filled by two truth regions, each of which is only a part, 0.2 / 2.

    >>> tree = np.array([4, 3, 3, 4, 4]), np.array([0, 0, 0, 0.4, 0.8])
    >>> scores = tree_objects_parts([np.array([[8, 0, 0], [0, 4, 4]])], *tree, np.array([0.1, 0.5, 0.9]))
    >>> scores.precision.round(4).tolist(), scores.recall.round(4).tolist()
    ([0.4, 1.0, 1.0], [1.0, 1.0, 0.1])
    """
    table, starts = stack_tables(contingencies)
    n_leaves = table.shape[1]
    check_tree(parents, altitudes, n_leaves)
    check_thresholds(thresholds)
    lives = lifetimes(parents, altitudes, n_leaves, thresholds)
    series = _precision_recall(table, starts, node_counts(table, parents), lives, thresholds.size)
    return ObjectsPartsScores(np.asarray(thresholds, np.float64), *series)


def label_objects_parts(
    label_maps: Iterable[Int[np.ndarray, "height width"]],
    truths: Sequence[Int[np.ndarray, "height width"]],
    thresholds: Float[np.ndarray, " thresholds"] | None = None,
) -> ObjectsPartsScores:
    """Score any list of segmentations of one image; regions hold ids from 0. Without thresholds they are 1, 2, ....

    Truth regions of 2 and 2 pixels; the second map is one region, which both fill, and which makes both of them parts:

    >>> truth = np.array([[0, 0, 1, 1]])
    >>> scores = label_objects_parts([truth, np.zeros((1, 4), np.int32)], [truth])
    >>> scores.precision.tolist(), scores.recall.tolist()
    ([1.0, 1.0], [1.0, 0.1])
    """
    for truth in truths:
        check_label_map("truth", truth)
    rows = []
    for labels in label_maps:
        check_label_map("labels", labels)
        table, starts = stack_tables([arrays.contingency(truth, labels) for truth in truths])
        births = np.zeros(table.shape[1], np.int64)
        rows.append(_precision_recall(table, starts, np.ascontiguousarray(table.T), (births, births + 1), 1))
    thresholds = map_thresholds(thresholds, len(rows))
    precision, recall = np.array(rows)[..., 0].T
    return ObjectsPartsScores(thresholds, precision, recall)


def aggregate_objects_parts(scores: Sequence[ObjectsPartsScores]) -> ObjectsPartsSummary:
    """Return the figures over images: precision and recall are averaged, then F is taken; first of equal thresholds.

    F of the means and not the mean of the Fs; every image weighs the same, however many annotators it has.

    >>> sharp = ObjectsPartsScores(np.array([0.2, 0.6]), np.array([0.5, 1.0]), np.array([0.5, 0.5]))
    >>> summary = aggregate_objects_parts([sharp])
    >>> summary.ods_threshold, summary.ods_precision, summary.ods_recall, round(summary.ods_f, 4)
    (0.6, 1.0, 0.5, 0.6667)
    """
    thresholds = common_thresholds(scores)
    precision, recall = (np.stack(series) for series in zip(*((s.precision, s.recall) for s in scores), strict=True))
    mean = ObjectsPartsScores(thresholds, precision.mean(axis=0), recall.mean(axis=0))
    best = int(mean.f.argmax())
    images, own = np.arange(len(scores)), _f_measure(precision, recall).argmax(axis=1)
    chosen = (series[images, own].mean(keepdims=True) for series in (precision, recall))
    ois = ObjectsPartsScores(np.zeros(1), *chosen)  # at one threshold, which no longer counts
    return ObjectsPartsSummary(
        ods_threshold=float(thresholds[best]),
        ods_precision=float(mean.precision[best]),
        ods_recall=float(mean.recall[best]),
        ods_f=float(mean.f[best]),
        ois_precision=float(ois.precision[0]),
        ois_recall=float(ois.recall[0]),
        ois_f=float(ois.f[0]),
    )


def _precision_recall(
    table: np.ndarray, starts: np.ndarray, counts: np.ndarray, lives: tuple[np.ndarray, np.ndarray], n_cuts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall (cuts,) of regions with counts (regions, truths) that live in the cuts given."""
    n_annotators, truth_areas = starts.size - 1, table.sum(axis=1)
    areas = counts[:, : starts[1]].sum(axis=1)  # the same for each annotator
    n_pixels = truth_areas[: starts[1]].sum()
    annotator = np.repeat(np.arange(n_annotators), np.diff(starts))
    smallest = _kernels_objects_parts.smallest_candidates
    # annotators take the place of cuts: each truth region lives in one of them
    is_candidate = (
        truth_areas
        >= smallest(truth_areas, annotator, annotator + 1, n_pixels, CANDIDATE_PERCENT, n_annotators)[annotator]
    )
    found, matched, pieces = _kernels_objects_parts.objects_and_parts(
        counts,
        areas,
        truth_areas,
        is_candidate,
        *lives,
        smallest(areas, *lives, n_pixels, CANDIDATE_PERCENT, n_cuts),
        (GAMMA_OBJECT, GAMMA_PART, BETA),
        n_annotators,
    )
    worth = np.where(matched > 0, matched, pieces)[is_candidate]
    return found[0] / found[1], worth.mean(axis=0)


def _f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    total = precision + recall
    f: np.ndarray = 2 * precision * recall / np.where(total == 0, 1, total)
    return f
