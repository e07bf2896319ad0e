"""Mean IoU pooled over all truth regions of a data set, as Kim, Kanezaki and Tanaka report it (IEEE TIP 2020).

In   contingency tables (truths, regions or leaves), trees as parents (M,) and altitudes (M,), label maps (H, W)
Out  sums of best IoUs of A annotators at T thresholds, and their means over all regions of all images
Not  no files, no categories: a region is matched with the prediction it overlaps most, whatever it shows

Every truth region takes its largest IoU with a predicted region; several may take the same one. The mean over the
regions of all images is taken at once, so that an image with many regions weighs more. BSDS500 has three figures:
`all` annotators, only the `fine` one of each image, who drew most regions, and only the `coarse` one, who drew fewest;
`mean` is the mean of the three. With one annotation per image, as in Pascal VOC, all four are equal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from supercuts.core import arrays
from supercuts.core.errors import InputError
from supercuts.metrics._kernels import nodes as _kernels_nodes
from supercuts.metrics.inputs import check_thresholds, check_tree, common_thresholds, map_thresholds, stack_tables
from supercuts.metrics.nodes import lifetimes, node_counts
from supercuts.metrics.region import THRESHOLDS
from supercuts.metrics.superpixel import check_label_map


@dataclass(frozen=True, slots=True, eq=False)
class PooledIoU:
    """What one image contributes: sums that add over images, at T thresholds, of each of A annotators.

    thresholds  (T,) float64    ascending
    sums        (A, T) float64  sum over the annotator's regions of the best IoU
    n_regions   (A,) int64      regions of the annotator
    """

    thresholds: np.ndarray
    sums: np.ndarray
    n_regions: np.ndarray

    def __post_init__(self) -> None:
        """Refuse sums that do not belong to the annotators and thresholds, and annotators without regions."""
        if self.sums.shape != (self.n_regions.size, self.thresholds.size) or not (self.n_regions > 0).all():
            raise InputError(
                f"sums {self.sums.shape} of annotators with {self.n_regions} regions at {self.thresholds.size} "
                "thresholds: expected (annotators, thresholds) and a region each; tree_pooled_iou gives them."
            )

    @property
    def fine(self) -> int:
        """The annotator with most regions, the first of several: the choice of the published evaluation."""
        return int(self.n_regions.argmax())

    @property
    def coarse(self) -> int:
        """The annotator with fewest regions, the first of several: the choice of the published evaluation."""
        return int(self.n_regions.argmin())


@dataclass(frozen=True, slots=True)
class PooledIoUSummary:
    """The figures over a set of images, higher is better: one threshold for all of them, the best for `mean`.

    mean_ois is the `mean` with, for each image, the threshold that is best for the mean of its own three values. These
    weigh the image's regions otherwise than pooling does, so that mean_ois can fall below `mean`, by little.
    """

    all: float
    fine: float
    coarse: float
    mean: float
    threshold: float
    mean_ois: float


def tree_pooled_iou(
    contingencies: Sequence[Int[np.ndarray, "_ leaves"]],
    parents: Int[np.ndarray, " nodes"],
    altitudes: Float[np.ndarray, " nodes"],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
) -> PooledIoU:
    """Score the cuts of a tree, which are those of region.tree_scores; one (truths, leaves) table per annotator.

    Two leaves that are the two truth regions, merged at 0.5: each is matched by 1, then by 1/2.

    >>> scores = tree_pooled_iou([np.array([[2, 0], [0, 2]])], np.array([2, 2, 2]), np.array([0.0, 0.0, 0.5]))
    >>> scores.sums[0, [0, 48, 49, 98]].tolist(), scores.n_regions.tolist()
    ([2.0, 2.0, 1.0, 1.0], [2])
    """
    table, starts = stack_tables(contingencies)
    n_leaves = table.shape[1]
    check_tree(parents, altitudes, n_leaves)
    check_thresholds(thresholds)
    areas = node_counts(table[: starts[1]].sum(axis=0)[None], parents)[:, 0]
    lives = lifetimes(parents, altitudes, n_leaves, thresholds)
    return PooledIoU(
        thresholds=np.asarray(thresholds, np.float64),
        sums=_sums(table, starts, node_counts(table, parents), areas, lives, thresholds.size),
        n_regions=np.add.reduceat(table.any(axis=1).astype(np.int64), starts[:-1]),
    )


def label_pooled_iou(
    label_maps: Iterable[Int[np.ndarray, "height width"]],
    truths: Sequence[Int[np.ndarray, "height width"]],
    thresholds: Float[np.ndarray, " thresholds"] | None = None,
) -> PooledIoU:
    """Score any list of segmentations of one image; regions hold ids from 0. Without thresholds they are 1, 2, ....

    Truth regions of 2 and 2 pixels; the second map cuts off one pixel of the first: 1/2 and 2/3.

    >>> truth = np.array([[0, 0, 1, 1]])
    >>> label_pooled_iou([truth, np.array([[0, 1, 1, 1]])], [truth]).sums.round(4).tolist()
    [[2.0, 1.1667]]
    """
    for truth in truths:
        check_label_map("truth", truth)
    columns = []
    for labels in label_maps:
        check_label_map("labels", labels)
        table, starts = stack_tables([arrays.contingency(truth, labels) for truth in truths])
        areas, births = table[: starts[1]].sum(axis=0), np.zeros(table.shape[1], np.int64)
        columns.append(_sums(table, starts, np.ascontiguousarray(table.T), areas, (births, births + 1), 1))
    return PooledIoU(
        thresholds=map_thresholds(thresholds, len(columns)),
        sums=np.concatenate(columns, axis=1),
        n_regions=np.array([np.count_nonzero(np.bincount(truth.ravel())) for truth in truths]),
    )


def aggregate_pooled_iou(scores: Sequence[PooledIoU]) -> PooledIoUSummary:
    """Return the figures over images; the first of equally good thresholds is taken.

    One image, one annotator of two regions, IoUs that add up to 1.5 and 1; another of one region and IoU 0.5, then 1:

    >>> two = PooledIoU(np.array([0.2, 0.6]), np.array([[1.5, 1.0]]), np.array([2]))
    >>> one = PooledIoU(np.array([0.2, 0.6]), np.array([[0.5, 1.0]]), np.array([1]))
    >>> summary = aggregate_pooled_iou([two, one])
    >>> round(summary.mean, 4), summary.threshold, round(summary.mean_ois, 4)
    (0.6667, 0.2, 0.8333)
    """
    thresholds = common_thresholds(scores)
    sums, n_regions = (np.stack(series, axis=1) for series in zip(*map(_three, scores), strict=True))
    pooled = sums.sum(axis=1) / n_regions.sum(axis=1)[:, None]
    mean = pooled.mean(axis=0)
    best = int(mean.argmax())
    own = (sums / n_regions[..., None]).mean(axis=0).argmax(axis=1)
    chosen = np.take_along_axis(sums, own[None, :, None], axis=2)[..., 0]
    return PooledIoUSummary(
        all=float(pooled[0, best]),
        fine=float(pooled[1, best]),
        coarse=float(pooled[2, best]),
        mean=float(mean[best]),
        threshold=float(thresholds[best]),
        mean_ois=float((chosen.sum(axis=1) / n_regions.sum(axis=1)).mean()),
    )


def _sums(
    table: np.ndarray,
    starts: np.ndarray,
    counts: np.ndarray,
    areas: np.ndarray,
    lives: tuple[np.ndarray, np.ndarray],
    n_cuts: int,
) -> np.ndarray:
    """Return each annotator's sums (A, cuts) of best IoUs with regions (counts, areas) that live in the cuts given."""
    best = _kernels_nodes.best_jaccard(counts, areas, table.sum(axis=1), *lives, n_cuts)
    sums: np.ndarray = np.add.reduceat(best, starts[:-1], axis=0)
    return sums


def _three(image: PooledIoU) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums (3, T) and the numbers of regions (3,) of all annotators, the fine and the coarse one."""
    rows = [image.fine, image.coarse]
    return (
        np.concatenate([image.sums.sum(axis=0)[None], image.sums[rows]]),
        np.concatenate([[image.n_regions.sum()], image.n_regions[rows]]),
    )
