"""Region agreement with several annotators, as the BSDS500 benchmark measures it (Arbelaez et al., PAMI 2011)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Int, Int32

from supercuts.core import arrays
from supercuts.core.arrays import arrays_repr
from supercuts.core.errors import InputError
from supercuts.metrics._kernels import regions as _kernels
from supercuts.metrics.inputs import check_thresholds, check_tree, common_thresholds, map_thresholds, stack_tables
from supercuts.metrics.nodes import lifetimes, node_counts
from supercuts.metrics.superpixel import check_label_map

THRESHOLDS = np.arange(1, 100) / 100  # the benchmark's 99 thresholds


@dataclass(frozen=True, slots=True, eq=False)
class RegionScores:
    """Region scores of one image at T thresholds; the benchmark adds or averages them over images.

    thresholds                (T,) float64  ascending
    overlap                   (T,) float64  sum of area x best overlap over all regions of all annotators, in pixels
    rand_index                (T,) float64  mean over annotators
    variation_of_information  (T,) float64  mean over annotators, in bits
    n_regions                 (T,) int64    number of predicted regions
    best_overlap              float         the same sum, with each truth region at its own best threshold
    area                      float         sum of the areas of all truth regions: annotators x pixels
    """

    thresholds: np.ndarray
    overlap: np.ndarray
    rand_index: np.ndarray
    variation_of_information: np.ndarray
    n_regions: np.ndarray
    best_overlap: float
    area: float

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if the series differ in length."""
        series = (self.overlap, self.rand_index, self.variation_of_information, self.n_regions)
        if any(values.shape != self.thresholds.shape for values in series):
            raise InputError(
                f"shapes {[values.shape for values in series]} differ from thresholds {self.thresholds.shape}. "
                "Give one value per threshold; tree_scores and label_scores do."
            )

    @property
    def covering(self) -> np.ndarray:
        """The (T,) segmentation covering of this image, over all annotators."""
        return self.overlap / self.area


@dataclass(frozen=True, slots=True)
class RegionSummary:
    """The benchmark's figures over a set of images; covering and PRI: higher is better, VI: lower is better.

    ods: one threshold for all images; ois: the best threshold of each image; best: that of each truth region.
    """

    covering_ods: float
    covering_ois: float
    covering_best: float
    pri_ods: float
    pri_ois: float
    vi_ods: float
    vi_ois: float
    covering_threshold: float
    pri_threshold: float
    vi_threshold: float


def segmentation_covering(contingency: Int[np.ndarray, "truths regions"]) -> float:
    """Return how well predicted regions cover the truth: (1/N) sum_i |G_i| max_j |G_i n S_j| / |G_i u S_j|.

    Empty rows and columns are ignored.

    Parameters
    ----------
    contingency
        (truths, regions) integers, pixels in each pair of a true and a predicted region, as
        `supercuts.core.arrays.contingency` counts them.

    Returns
    -------
    float
        In (0, 1]; 1 for equal partitions.

    Raises
    ------
    InputError
        If the table counts no pixel, or a negative number.

    References
    ----------
    .. [1] Arbelaez et al., "Contour detection and hierarchical image segmentation", PAMI 2011, section 3.1.2 (truth
       covered by prediction).

    Examples
    --------
    Truth regions have 2 and 2 pixels, predicted ones 1 and 3; the covering is (2 * 1/2 + 2 * 2/3) / 4.

    >>> round(segmentation_covering(np.array([[1, 1], [0, 2]])), 4)
    0.5833
    """
    overlap, _, _ = _score_one(contingency)
    return float(overlap / contingency.sum())


def rand_index(contingency: Int[np.ndarray, "truths regions"]) -> float:
    """Return the share of pixel pairs on which truth and prediction agree (together in both, or apart in both).

    RI = 1 - ((sum_i |G_i|^2 + sum_j |S_j|^2) / 2 - sum_ij n_ij^2) / (N (N - 1) / 2). The probabilistic Rand index [1]_
    is its mean over annotators.

    Parameters
    ----------
    contingency
        As in `segmentation_covering`.

    Returns
    -------
    float
        In 0..1; 1 for equal partitions, and for a single pixel, which has no pairs.

    Raises
    ------
    InputError
        As in `segmentation_covering`.

    References
    ----------
    .. [1] Unnikrishnan et al., "Toward objective evaluation of image segmentation algorithms", PAMI 2007.

    Examples
    --------
    The truth is {a b} {c d}, the prediction {a} {b c d}. Three of six pairs agree: c-d, a-c and a-d.

    >>> round(rand_index(np.array([[1, 1], [0, 2]])), 4)
    0.5
    """
    _, index, _ = _score_one(contingency)
    return float(index)


def variation_of_information(contingency: Int[np.ndarray, "truths regions"]) -> float:
    """Return H(G|S) + H(S|G) = H(G) + H(S) - 2 I(G; S).

    Logarithms are to base 2, as in the BSDS500 benchmark.

    Parameters
    ----------
    contingency
        As in `segmentation_covering`.

    Returns
    -------
    float
        Bits, from 0 for equal partitions.

    Raises
    ------
    InputError
        As in `segmentation_covering`.

    References
    ----------
    .. [1] Meila, "Comparing clusterings: An axiomatic view", ICML 2005.

    Examples
    --------
    The truth is one region, the prediction two halves; only H(S|G) = 1 bit remains.

    >>> variation_of_information(np.array([[2, 2]]))
    1.0
    """
    _, _, information = _score_one(contingency)
    return float(information)


def tree_scores(
    contingencies: Sequence[Int[np.ndarray, "_ leaves"]],
    parents: Int[np.ndarray, " nodes"],
    altitudes: Float[np.ndarray, " nodes"],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
) -> RegionScores:
    """Score the cuts of a tree: the regions at threshold a are the maximal nodes of altitude <= a, or leaves.

    contingencies holds one (truths, leaves) table per annotator; leaves are nodes 0..n-1. Thresholds must ascend; they
    are compared in the precision of the altitudes. Pixels are not read: the tables' columns are added per region.

    Example: two leaves equal the two truth regions and merge at 0.5. Covering is 1 below 0.5, and 1/2 from 0.5 on.

    >>> scores = tree_scores([np.array([[2, 0], [0, 2]])], np.array([2, 2, 2]), np.array([0.0, 0.0, 0.5]))
    >>> scores.covering[[0, 48, 49, 98]].tolist()
    [1.0, 1.0, 0.5, 0.5]
    """
    table, starts = stack_tables(contingencies)
    check_tree(parents, altitudes, table.shape[1])
    check_thresholds(thresholds)
    best = np.zeros(table.shape[0])
    scores = _kernels.score_cuts(table, starts, parents, altitudes, thresholds.astype(altitudes.dtype), best)
    areas = table.sum(axis=1)
    return RegionScores(
        thresholds=np.asarray(thresholds, np.float64),
        overlap=scores[0],
        rand_index=scores[1],
        variation_of_information=scores[2],
        n_regions=scores[3].astype(np.int64),
        best_overlap=float(best @ areas),
        area=float(areas.sum()),
    )


def region_label_scores(
    label_maps: Iterable[Int[np.ndarray, "height width"]],
    truths: Sequence[Int[np.ndarray, "height width"]],
    thresholds: Float[np.ndarray, " thresholds"] | None = None,
) -> RegionScores:
    """Score a list of segmentations of one image, with region ids from 0; default thresholds are 1, 2, ....

    >>> truth = np.array([[0, 0, 1, 1]])
    >>> region_label_scores([truth, np.zeros((1, 4), np.int32)], [truth]).covering.tolist()
    [1.0, 0.5]
    """
    for truth in truths:
        check_label_map("truth", truth)
    rows, best = [], None
    for labels in label_maps:
        check_label_map("labels", labels)
        table, starts = stack_tables([arrays.contingency(truth, labels) for truth in truths])
        best = np.zeros(table.shape[0]) if best is None else best
        rows.append((*_kernels.score_table(table, starts, best), np.count_nonzero(table.sum(axis=0))))
    if best is None:
        raise InputError("label_maps is empty. Give at least one segmentation of the image.")
    overlap, rand, information, n_regions = np.array(rows, np.float64).T
    areas = np.concatenate([np.bincount(truth.ravel()) for truth in truths])
    return RegionScores(
        thresholds=np.arange(1.0, len(rows) + 1) if thresholds is None else np.asarray(thresholds, np.float64),
        overlap=overlap,
        rand_index=rand,
        variation_of_information=information,
        n_regions=n_regions.astype(np.int64),
        best_overlap=float(best @ areas),
        area=float(areas.sum()),
    )


def ucm_labels(ucm: Float[np.ndarray, "rows columns"], threshold: float) -> Int32[np.ndarray, "height width"]:
    """Return the regions 0..R-1 of a (2H + 1, 2W + 1) ultrametric contour map at a threshold, as the benchmark does.

    Regions are the 8-connected components of ucm <= threshold (MATLAB's bwlabel), read at the odd indices: the pixels.

    >>> ucm = np.zeros((3, 5))
    >>> ucm[:, 2] = 0.5  # one contour between two pixels
    >>> ucm_labels(ucm, 0.4).tolist(), ucm_labels(ucm, 0.5).tolist()
    ([[0, 1]], [[0, 0]])
    """
    if min(ucm.shape) < 3 or ucm.shape[0] % 2 == 0 or ucm.shape[1] % 2 == 0:
        raise InputError(
            f"ucm has shape {ucm.shape}: expected (2H + 1, 2W + 1), both odd, for an image (H, W). "
            "Give the double-size map (`ucm2` in BSDS500 files), not the one of image size."
        )
    components, _ = scipy.ndimage.label(ucm <= ucm.dtype.type(threshold), structure=np.ones((3, 3)))
    return arrays.relabel_consecutive(components[1::2, 1::2])[0]


def aggregate(scores: Sequence[RegionScores]) -> RegionSummary:
    """Return the benchmark's figures over images: covering adds overlaps and areas, PRI and VI average over images.

    Images with more annotators therefore weigh more in the covering. The first of equally good thresholds is reported.

    >>> truth = np.array([[0, 0, 1, 1]])
    >>> summary = aggregate([region_label_scores([truth, np.zeros((1, 4), np.int32)], [truth])])
    >>> summary.covering_ods, summary.covering_threshold, summary.vi_ods
    (1.0, 1.0, 0.0)
    """
    thresholds = common_thresholds(scores)
    overlap = np.stack([image.overlap for image in scores])
    rand = np.stack([image.rand_index for image in scores])
    information = np.stack([image.variation_of_information for image in scores])
    area = sum(image.area for image in scores)
    covering, pri, vi = overlap.sum(axis=0) / area, rand.mean(axis=0), information.mean(axis=0)
    return RegionSummary(
        covering_ods=float(covering.max()),
        covering_ois=float(overlap.max(axis=1).sum() / area),
        covering_best=float(sum(image.best_overlap for image in scores) / area),
        pri_ods=float(pri.max()),
        pri_ois=float(rand.max(axis=1).mean()),
        vi_ods=float(vi.min()),
        vi_ois=float(information.min(axis=1).mean()),
        covering_threshold=float(thresholds[covering.argmax()]),
        pri_threshold=float(thresholds[pri.argmax()]),
        vi_threshold=float(thresholds[vi.argmin()]),
    )


def _score_one(contingency: np.ndarray) -> tuple[float, float, float]:
    table, starts = stack_tables([contingency])
    overlap, index, information = _kernels.score_table(table, starts, np.zeros(table.shape[0]))
    return overlap, index, information


@dataclass(frozen=True, slots=True, eq=False)
class PooledIoU:
    """Sums of best IoUs of one image, per annotator (A) and threshold (T); they are added over images.

    thresholds  (T,) float64    ascending
    sums        (A, T) float64  sum over the annotator's regions of the best IoU
    n_regions   (A,) int64      regions of the annotator
    """

    thresholds: np.ndarray
    sums: np.ndarray
    n_regions: np.ndarray

    def __post_init__(self) -> None:
        """Raise InputError unless sums is (annotators, thresholds) and every annotator has a region."""
        if self.sums.shape != (self.n_regions.size, self.thresholds.size) or not (self.n_regions > 0).all():
            raise InputError(
                f"sums {self.sums.shape} of annotators with {self.n_regions} regions at {self.thresholds.size} "
                "thresholds: expected (annotators, thresholds) and a region each; tree_pooled_iou returns them."
            )

    @property
    def fine(self) -> int:
        """Index of the annotator with most regions; ties take the first, as in the published evaluation."""
        return int(self.n_regions.argmax())

    @property
    def coarse(self) -> int:
        """Index of the annotator with fewest regions; ties take the first, as in the published evaluation."""
        return int(self.n_regions.argmin())


@dataclass(frozen=True, slots=True)
class PooledIoUSummary:
    """The figures over a set of images at the one threshold that is best for `mean`; higher is better.

    mean_ois is `mean` with a threshold per image: the best for the mean of the image's own three values. That mean
    weighs regions differently from pooling, so mean_ois can be slightly lower than `mean`.
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
    """Score the cuts of a tree, defined as in region.tree_scores; each annotator has one (truths, leaves) table.

    Example: two leaves equal the two truth regions and merge at 0.5. Each best IoU is 1 below 0.5, and 1/2 from 0.5 on.

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
    """Score a list of segmentations of one image, with region ids from 0; default thresholds are 1, 2, ....

    Example: truth regions have 2 and 2 pixels. The second map cuts one pixel off the first region: IoUs 1/2 and 2/3.

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

    Example: two images of one annotator each. The first has two regions with IoUs adding up to 1.5, then 1; the second
    has one region with IoU 0.5, then 1:

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
    best_cuts = (sums / n_regions[..., None]).mean(axis=0).argmax(axis=1)
    chosen = np.take_along_axis(sums, best_cuts[None, :, None], axis=2)[..., 0]
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
    """Return the (A, cuts) sums of each annotator's best IoUs; `lives` holds each region's first and end cut."""
    best = _kernels.best_jaccard(counts, areas, table.sum(axis=1), *lives, n_cuts)
    sums: np.ndarray = np.add.reduceat(best, starts[:-1], axis=0)
    return sums


def _three(image: PooledIoU) -> tuple[np.ndarray, np.ndarray]:
    """Return sums (3, T) and numbers of regions (3,): of all annotators together, the fine one, the coarse one."""
    rows = [image.fine, image.coarse]
    return (
        np.concatenate([image.sums.sum(axis=0)[None], image.sums[rows]]),
        np.concatenate([[image.n_regions.sum()], image.n_regions[rows]]),
    )
