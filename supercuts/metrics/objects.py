"""Quality of object masks, boxes and parts that were predicted without labels.

Definitions are those of unsupervised object discovery. CorLoc, mask and saliency metrics follow TokenCut (Wang et al.,
CVPR 2022); agreement of parts with keypoints follows Choudhury et al. (NeurIPS 2021).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, Real

from supercuts.core import arrays
from supercuts.core.arrays import arrays_repr
from supercuts.core.errors import InputError
from supercuts.metrics._kernels import regions as _kernels
from supercuts.metrics.inputs import check_thresholds, check_tree, common_thresholds, map_thresholds, stack_tables
from supercuts.metrics.nodes import lifetimes, node_counts
from supercuts.metrics.region import THRESHOLDS
from supercuts.metrics.superpixel import check_label_map

BETA_SQUARED = 0.3  # weight of recall against precision in F-beta; below 1, precision weighs more
N_THRESHOLDS = 255
MIN_IOU = 0.5


@dataclass(frozen=True, slots=True)
class ClusteringScores:
    """Agreement of two labellings of the same points; higher is better, 1 for equal ones.

    nmi: normalised mutual information, in 0..1; ari: adjusted Rand index, in -0.5..1 and about 0 by chance.
    """

    nmi: float
    ari: float


def mask_iou(predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]) -> float:
    """Return the intersection over union of two masks, |P n T| / |P u T|.

    Symmetric. Data sets report its mean over images.

    Parameters
    ----------
    predicted, truth
        (H, W) bool.

    Returns
    -------
    float
        In 0..1; 1 when both are empty.

    Raises
    ------
    InputError
        If the masks differ in shape or have no pixel.

    Examples
    --------
    The masks share one of three pixels:

    >>> round(mask_iou(np.array([[True, True, False]]), np.array([[False, True, True]])), 4)
    0.3333
    """
    _check_same_image("predicted", predicted, truth)
    union = np.count_nonzero(predicted | truth)
    return float(np.count_nonzero(predicted & truth) / union) if union else 1.0


def mask_accuracy(predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]) -> float:
    """Return the share of pixels on which two masks agree, |P = T| / (H W).

    In 0..1 and symmetric; 1 when both are empty. Data sets report its mean over images.

    >>> round(mask_accuracy(np.array([[True, True, False]]), np.array([[False, True, False]])), 4)
    0.6667
    """
    _check_same_image("predicted", predicted, truth)
    return float(np.count_nonzero(predicted == truth) / truth.size)


def f_beta_curve(
    saliency: Float[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
) -> Float64[np.ndarray, "255"]:
    """Return F = (1 + b) p r / (b p + r), b = beta^2 = 0.3, of the masks saliency > k/255 for k = 0..254.

    p and r are precision and recall over pixels. An empty prediction has precision 1, an empty truth recall 1, and F is
    0 if p = r = 0: F is 1 if both masks are empty and 0 if only one is. Thresholds, comparison and conventions are
    those of TokenCut's metric.py [1]_. Thresholds are rounded to the precision of the saliency, so a pixel j/255 of an
    8-bit map does not exceed threshold j.

    Parameters
    ----------
    saliency
        (H, W) floats in 0..1.
    truth
        (H, W) bool.

    Returns
    -------
    float64 (255,)
        F at each threshold, 0..1.

    Raises
    ------
    InputError
        If the maps differ in shape or have no pixel, or if the saliency is not in 0..1.

    References
    ----------
    .. [1] Wang et al., "Self-supervised transformers for unsupervised object discovery using normalized cut",
       CVPR 2022.

    Examples
    --------
    Up to k = 127, both bright pixels are predicted: p = 1/2, r = 1, F = 1.3 * 0.5 / (0.3 * 0.5 + 1). From k = 128 on,
    only the true pixel is predicted.

    >>> curve = f_beta_curve(np.array([[1.0, 0.5, 0.0]]), np.array([[True, False, False]]))
    >>> curve[[0, 127, 128, 254]].round(4).tolist()
    [0.5652, 0.5652, 1.0, 1.0]
    """
    _check_same_image("saliency", saliency, truth)
    if not (saliency.min() >= 0 and saliency.max() <= 1):
        raise InputError(
            f"saliency holds values {saliency.min()}..{saliency.max()}. Expected 0..1 without NaN: divide an 8-bit map "
            "by 255, clip a map that overshoots."
        )
    thresholds = (np.arange(N_THRESHOLDS) / N_THRESHOLDS).astype(saliency.dtype)
    nearest = np.minimum(np.rint(saliency * N_THRESHOLDS), N_THRESHOLDS - 1).astype(np.int64)
    n_exceeded = nearest + (saliency > thresholds[nearest])  # 0..255; thresholds before the nearest are exceeded
    n_bins = N_THRESHOLDS + 1
    histogram = np.bincount((n_exceeded + n_bins * truth).ravel(), minlength=2 * n_bins).reshape(2, n_bins)
    wrong, right = histogram[:, :0:-1].cumsum(axis=1)[:, ::-1]  # [k]: pixels that exceed more than k thresholds
    # F in terms of counts instead of p and r, so that equal masks give exactly 1
    total = right + wrong + BETA_SQUARED * histogram[1].sum()
    curve = np.ones(N_THRESHOLDS)
    np.divide(right + BETA_SQUARED * right, total, out=curve, where=total > 0)
    return curve


def max_f_beta(curves: Float[np.ndarray, "images 255"]) -> float:
    """Return max_k mean_i F_i(k): curves averaged over images, then the best common threshold.

    Defined as in TokenCut's metric.py.

    Parameters
    ----------
    curves
        (images, 255) floats, the `f_beta_curve` of each image.

    Returns
    -------
    float
        In 0..1, and at most the mean of the images' own maxima.

    Raises
    ------
    InputError
        If there is no curve.

    Examples
    --------
    The best thresholds of two images differ, so no threshold is best for both.

    >>> curves = np.zeros((2, 255))
    >>> curves[0, 10], curves[1, 20] = 1.0, 0.5
    >>> max_f_beta(curves)
    0.5
    """
    if len(curves) == 0:
        raise InputError("curves is empty. Stack the f_beta_curve of at least one image.")
    return float(curves.mean(axis=0).max())


def box_iou(
    predicted_yxyx: Real[np.ndarray, "predicted 4"], truth_yxyx: Real[np.ndarray, "truths 4"]
) -> Float64[np.ndarray, "predicted truths"]:
    """Return the intersection over union of each predicted box with each true box.

    A box is y0, x0, y1, x1 in pixels, half-open: it holds rows y0..y1 - 1 and columns x0..x1 - 1, and its area is
    (y1 - y0) (x1 - x0). A box without area has IoU 0 with every box, itself included. VOC boxes are 1-based xmin, ymin,
    xmax, ymax and include the last pixel; convert them to (ymin - 1, xmin - 1, ymax, xmax).

    Parameters
    ----------
    predicted_yxyx, truth_yxyx
        (P, 4) and (T, 4) boxes.

    Returns
    -------
    float64 (P, T)
        In 0..1.

    Raises
    ------
    InputError
        If a box ends before it begins or is not finite.

    Examples
    --------
    Boxes of 2 x 2 pixels; the first true box shares one column with the predicted box:

    >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 3], [0, 0, 2, 2], [0, 2, 2, 4]])).round(4).tolist()
    [[0.3333, 1.0, 0.0]]
    """
    _check_boxes("predicted_yxyx", predicted_yxyx)
    _check_boxes("truth_yxyx", truth_yxyx)
    # converted to float64 first: products of small integer types would overflow
    predicted, truth = predicted_yxyx.astype(np.float64)[:, None], truth_yxyx.astype(np.float64)[None]
    sides = np.minimum(predicted[..., 2:], truth[..., 2:]) - np.maximum(predicted[..., :2], truth[..., :2])
    intersection = np.maximum(sides, 0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (predicted, truth)]
    union = areas[0] + areas[1] - intersection
    overlap = np.zeros(union.shape)
    np.divide(intersection, union, out=overlap, where=union > 0)
    return overlap


def is_localised(predicted_yxyx: Real[np.ndarray, "4"], truth_yxyx: Real[np.ndarray, "truths 4"]) -> bool:
    """Return whether the one predicted box of an image has IoU >= 0.5 with any true box.

    Parameters
    ----------
    predicted_yxyx
        (4,) box, as in `box_iou`.
    truth_yxyx
        (T, 4) boxes.

    Returns
    -------
    bool
        False without true boxes.

    Raises
    ------
    InputError
        As in `box_iou`.

    Examples
    --------
    The prediction is the upper half of a true box, then its upper third:

    >>> truth = np.array([[0, 0, 6, 4], [8, 8, 9, 9]])
    >>> is_localised(np.array([0, 0, 3, 4]), truth), is_localised(np.array([0, 0, 2, 4]), truth)
    (True, False)
    """
    return bool((box_iou(predicted_yxyx[None], truth_yxyx) >= MIN_IOU).any())


def corloc(hits: Bool[np.ndarray, " images"]) -> float:
    """Return CorLoc, the share of images whose predicted box is localised.

    Parameters
    ----------
    hits
        (images,) bool, `is_localised` of each image.

    Returns
    -------
    float
        In 0..1; published tables use per cent.

    Raises
    ------
    InputError
        If there is no image.

    Examples
    --------
    >>> corloc(np.array([True, False, True, True]))
    0.75
    """
    if hits.size == 0:
        raise InputError("hits is empty. Give is_localised of at least one image.")
    return float(hits.mean())


def clustering_agreement(truth: Int[np.ndarray, " points"], predicted: Int[np.ndarray, " points"]) -> ClusteringScores:
    """Return the agreement of predicted and true labels over all points of a data set; ids need not correspond.

    NMI = I(T; P) / ((H(T) + H(P)) / 2); ARI = (sum of pairs together in both - expected) / (maximum - expected) [1]_,
    with the maximum averaged over both sides. Both are symmetric. scikit-learn computes them, also for single clusters
    and no points (1 if both sides are equal, 0 otherwise). Parts are scored at the visible keypoints of all images,
    concatenated [2]_; a mean over images is another figure.

    Parameters
    ----------
    truth, predicted
        (points,) integers.

    Returns
    -------
    ClusteringScores
        Scores nmi in 0..1 and ari in -0.5..1; 1 for equal labellings.

    Raises
    ------
    InputError
        If the arrays differ in length.

    References
    ----------
    .. [1] Hubert & Arabie, "Comparing partitions", Journal of Classification 1985.
    .. [2] Choudhury et al., "Unsupervised part discovery from contrastive reconstruction", NeurIPS 2021.

    Examples
    --------
    The truth is {a b} {c d}, the prediction {a b} {c} {d}. I = H(T) = log 2 and H(P) = 1.5 log 2. One of six pairs is
    together in both, two in the truth, one in the prediction; 2 * 1 / 6 are expected: (1 - 1/3) / (3/2 - 1/3).

    >>> scores = clustering_agreement(np.array([7, 7, 9, 9]), np.array([0, 0, 1, 2]))
    >>> round(scores.nmi, 4), round(scores.ari, 4)
    (0.8, 0.5714)
    """
    if truth.shape != predicted.shape:
        raise InputError(
            f"truth {truth.shape} and predicted {predicted.shape} differ in length: label the same points."
        )
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # slow to import

    nmi, ari = normalized_mutual_info_score(truth, predicted), adjusted_rand_score(truth, predicted)
    return ClusteringScores(nmi=min(max(float(nmi), 0.0), 1.0), ari=float(ari))


def _check_same_image(name: str, array: np.ndarray, truth: np.ndarray) -> None:
    if array.shape != truth.shape or truth.size == 0:
        raise InputError(
            f"{name} {array.shape} and truth {truth.shape} differ in shape or are empty: score masks of one image."
        )


def _check_boxes(name: str, boxes: np.ndarray) -> None:
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all()):
        raise InputError(
            f"{name} holds a box that ends before it begins, or is not finite. Expected rows y0, x0, y1, x1 with "
            "y0 <= y1 and x0 <= x1: order the corners, and convert x, y, width, height."
        )


GAMMA_OBJECT = 0.9  # smallest share of a region within another one to count as inside
GAMMA_PART = 0.25  # smallest share of an object that a part fills
BETA = 0.1  # worth of a part, relative to 1 for an object
CANDIDATE_PERCENT = 99  # percentage of the image that the candidate regions, the largest ones, cover


@dataclass(frozen=True, slots=True, eq=False)
class ObjectsPartsScores:
    """Precision and recall of one image at T thresholds, in 0..1.

    thresholds  (T,) float64  ascending
    precision   (T,) float64  mean worth of the predicted candidate regions
    recall      (T,) float64  mean worth of the candidate truth regions of all annotators
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if the series differ in length."""
        if not self.thresholds.shape == self.precision.shape == self.recall.shape:
            raise InputError(
                f"precision {self.precision.shape} and recall {self.recall.shape} differ from thresholds "
                f"{self.thresholds.shape}. Give one value per threshold; tree_objects_parts does."
            )

    @property
    def f(self) -> np.ndarray:
        """The (T,) harmonic mean of precision and recall; 0 when both are 0."""
        return _f_measure(self.precision, self.recall)


@dataclass(frozen=True, slots=True)
class ObjectsPartsSummary:
    """Means of precision and recall over images and the F of these means; higher is better.

    ods: one threshold for all images; ois: for each image, the threshold of its own best F.
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
    """Score the cuts of a tree, defined as in region.tree_scores; each annotator has one (truths, leaves) table.

    Example: truth regions have 8 and 8 pixels. Leaf 0 is the first one; leaves 1 and 2 are halves of the second one and
    merge at 0.4; the root is at 0.8. In the cut into leaves, precision is 1.2 / 3 (an object and two parts) and recall
    is 2 / 2 (an object and a region that the parts fill). In the cut at the root, two truth regions fill the root, so
    precision is 1; each is only a part of it, so recall is 0.2 / 2.

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
    """Score a list of segmentations of one image, with region ids from 0; default thresholds are 1, 2, ....

    Example: truth regions have 2 and 2 pixels. The second map is one region; both truth regions fill it as its parts:

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
    """Return the figures over images: precision and recall are averaged, then F is computed from these means.

    Every image has the same weight, whatever its number of annotators. The first of equally good thresholds is taken.

    >>> sharp = ObjectsPartsScores(np.array([0.2, 0.6]), np.array([0.5, 1.0]), np.array([0.5, 0.5]))
    >>> summary = aggregate_objects_parts([sharp])
    >>> summary.ods_threshold, summary.ods_precision, summary.ods_recall, round(summary.ods_f, 4)
    (0.6, 1.0, 0.5, 0.6667)
    """
    thresholds = common_thresholds(scores)
    precision, recall = (np.stack(series) for series in zip(*((s.precision, s.recall) for s in scores), strict=True))
    mean = ObjectsPartsScores(thresholds, precision.mean(axis=0), recall.mean(axis=0))
    best = int(mean.f.argmax())
    images, best_cuts = np.arange(len(scores)), _f_measure(precision, recall).argmax(axis=1)
    chosen = (series[images, best_cuts].mean(keepdims=True) for series in (precision, recall))
    ois = ObjectsPartsScores(np.zeros(1), *chosen)  # the threshold no longer matters: 0
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
    """Return precision and recall (cuts,) of regions; counts is (regions, truths), lives their first and end cuts."""
    n_annotators, truth_areas = starts.size - 1, table.sum(axis=1)
    areas = counts[:, : starts[1]].sum(axis=1)  # equal for all annotators
    n_pixels = truth_areas[: starts[1]].sum()
    annotator = np.repeat(np.arange(n_annotators), np.diff(starts))
    smallest = _kernels.smallest_candidates
    # annotators play the role of cuts: each truth region belongs to exactly one annotator
    is_candidate = (
        truth_areas
        >= smallest(truth_areas, annotator, annotator + 1, n_pixels, CANDIDATE_PERCENT, n_annotators)[annotator]
    )
    n_found, matched, pieces = _kernels.objects_and_parts(
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
    return n_found[0] / n_found[1], worth.mean(axis=0)


def _f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    total = precision + recall
    f: np.ndarray = 2 * precision * recall / np.where(total == 0, 1, total)
    return f


def matched_iou(table: Int[np.ndarray, "_ _"]) -> Float[np.ndarray, " parts"]:
    """Return the IoU of each true part with its predicted part in the one-to-one matching of highest total IoU.

    table counts the pixels of each pair of true and predicted label; row and column 0, background, are not matched.

    Example: the first of two true parts was found in two pieces:

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


def share_nested(parts: Int[np.ndarray, "height width"], objects: Bool[np.ndarray, "height width"]) -> float:
    """Return the share of the predicted parts 1..P that lie entirely within the predicted objects; 1 without parts.

    >>> share_nested(np.array([[1, 1, 2, 2]]), np.array([[True, True, True, False]]))
    0.5
    """
    n_parts = int(parts.max(initial=0))
    outside = np.bincount(parts[~objects], minlength=n_parts + 1)[1:]
    return float((outside == 0).mean()) if n_parts else 1.0


def labels_at(labels: Int[np.ndarray, "height width"], places_yx: Float[np.ndarray, "points 2"]) -> np.ndarray:
    """Return the (V,) int64 labels at the nearest pixels; keypoints outside the image read the pixel at its edge.

    >>> labels_at(np.array([[1, 2], [3, 4]]), np.array([[0.4, 0.6], [2.0, -1.0]])).tolist()
    [2, 3]
    """
    places = np.floor(places_yx + 0.5).astype(np.int64)  # not rint, which rounds halves to even
    rows, columns = (places.clip(0, np.array(labels.shape) - 1)).T
    values: np.ndarray = labels[rows, columns].astype(np.int64)
    return values


def nearest_part(labels: Int32[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Return the labels with each background pixel set to the nearest part; an image without parts is unchanged.

    >>> nearest_part(np.array([[1, 0, 0, 0, 2]], np.int32)).tolist()[0][1::2]
    [1, 2]
    """
    from scipy import ndimage  # slow to import

    if not labels.any():
        return labels
    rows, columns = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    nearest: np.ndarray = labels[rows, columns]
    return nearest
