"""Boundary agreement with several annotators, as the BSDS500 benchmark measures it (Arbelaez et al., PAMI 2011)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int

from supercuts.core.arrays import arrays_repr
from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.metrics._kernels import boundary as _kernels
from supercuts.metrics.inputs import check_thresholds, common_thresholds
from supercuts.metrics.region import THRESHOLDS

TOLERANCE = 0.0075  # largest distance of matched pixels, as a share of the image diagonal; the benchmark's value
_COUNTS = ("n_truth", "n_truth_matched", "n_predicted", "n_predicted_matched")


@dataclass(frozen=True, slots=True, eq=False)
class BoundaryScores:
    """Pixel counts of one image at T thresholds; the benchmark adds them over images.

    thresholds           (T,) float64  ascending
    n_truth              (T,) int64    boundary pixels of all annotators together
    n_truth_matched      (T,) int64    truth pixels matched to a predicted pixel; annotators are matched separately
    n_predicted          (T,) int64    predicted boundary pixels
    n_predicted_matched  (T,) int64    predicted pixels matched to a pixel of at least one annotator
    """

    thresholds: np.ndarray
    n_truth: np.ndarray
    n_truth_matched: np.ndarray
    n_predicted: np.ndarray
    n_predicted_matched: np.ndarray

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if the series differ in length."""
        series = [getattr(self, name) for name in _COUNTS]
        if any(values.shape != self.thresholds.shape for values in series):
            raise InputError(
                f"shapes {[values.shape for values in series]} differ from thresholds {self.thresholds.shape}. "
                "Give one count per threshold; map_scores, ucm_scores and label_scores do."
            )

    @property
    def recall(self) -> np.ndarray:
        """The (T,) share of truth pixels that are matched; 0 without truth pixels, as in the benchmark."""
        recall: np.ndarray = self.n_truth_matched / np.maximum(self.n_truth, 1)
        return recall

    @property
    def precision(self) -> np.ndarray:
        """The (T,) share of predicted pixels that are matched; 0 without predicted pixels, as in the benchmark."""
        precision: np.ndarray = self.n_predicted_matched / np.maximum(self.n_predicted, 1)
        return precision

    @property
    def f(self) -> np.ndarray:
        """The (T,) harmonic mean of recall and precision; 0 when both are 0."""
        return _f_measure(self.recall, self.precision)


@dataclass(frozen=True, slots=True)
class BoundaryPoint:
    """A point of the precision-recall curve."""

    threshold: float
    recall: float
    precision: float
    f: float


@dataclass(frozen=True, slots=True)
class BoundarySummary:
    """The benchmark's figures over a set of images; higher is better.

    ods: one threshold for all images; ois: the best threshold of each image; ap: average precision.
    """

    ods_threshold: float
    ods_recall: float
    ods_precision: float
    ods_f: float
    ois_recall: float
    ois_precision: float
    ois_f: float
    ap: float


def map_scores(
    strength: Float[np.ndarray, "height width"],
    truths: Sequence[Bool[np.ndarray, "_ _"]],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
    tolerance: float = TOLERANCE,
) -> BoundaryScores:
    """Score a soft boundary map: pixels of strength >= threshold are thinned, then matched with each annotator's.

    Maps after non-maximum suppression are scored the same way: thinning does not change their lines. Scores at one
    threshold do not depend on the others.

    Parameters
    ----------
    strength
        (H, W) boundary strengths.
    truths
        (H, W) bool boundary map of each annotator.
    thresholds
        (T,) strengths, ascending; they are compared in the precision of the map.
    tolerance
        Largest distance of matched pixels, as a share of the image diagonal, 0..1.

    Returns
    -------
    BoundaryScores
        Counts of matched pixels at each threshold.

    Raises
    ------
    InputError
        If maps are empty, differ in shape or hold NaN, if thresholds do not ascend, or if `tolerance` is out of range.

    References
    ----------
    .. [1] Arbelaez et al., "Contour detection and hierarchical image segmentation", PAMI 2011.

    Examples
    --------
    A line of strength 0.5 lies one column from the annotator's line. The image is 20 x 100, so matched pixels may be
    0.76 pixels apart at the benchmark's tolerance and 1.02 at a tolerance of 0.01:

    >>> truth, strength = np.zeros((20, 100), bool), np.zeros((20, 100))
    >>> truth[:, 40], strength[:, 41] = True, 0.5
    >>> [map_scores(strength, [truth], np.array([0.4, 0.6]), t).f.tolist() for t in (0.0075, 0.01)]
    [[0.0, 0.0], [1.0, 0.0]]
    """
    _check_inputs(strength.shape, truths, tolerance)
    check_thresholds(thresholds)
    if np.isnan(strength).any():
        raise InputError("strength holds NaN. Expected a boundary strength at every pixel: replace NaN, by 0 say.")
    rising = thresholds.astype(strength.dtype)
    masks = _kernels.threshold_and_thin(np.ascontiguousarray(strength), rising)
    return _mask_scores(masks, truths, np.asarray(thresholds, np.float64), tolerance)


def ucm_scores(
    ucm: Float[np.ndarray, "rows columns"],
    truths: Sequence[Bool[np.ndarray, "_ _"]],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
    tolerance: float = TOLERANCE,
) -> BoundaryScores:
    """Score an ultrametric contour map: `map_scores` of its values at each pixel's lower right corner.

    Parameters
    ----------
    ucm
        (2H + 1, 2W + 1) contour strengths, such as `Hierarchy.ucm`.
    truths, thresholds, tolerance
        As in `map_scores`.

    Returns
    -------
    BoundaryScores
        As in `map_scores`.

    Raises
    ------
    InputError
        If the map is not of double size, or as in `map_scores`.

    Examples
    --------
    >>> ucm = np.zeros((3, 5))
    >>> ucm[:, 2] = 0.5  # one contour between two pixels
    >>> ucm_scores(ucm, [np.array([[True, False]])], np.array([0.5, 0.6])).f.tolist()
    [1.0, 0.0]
    """
    return map_scores(ucm_strength(ucm), truths, thresholds, tolerance)


def boundary_label_scores(
    label_maps: Sequence[Int[np.ndarray, "_ _"]],
    truths: Sequence[Bool[np.ndarray, "_ _"]],
    thresholds: Float[np.ndarray, " thresholds"] | None = None,
    tolerance: float = TOLERANCE,
) -> BoundaryScores:
    """Score a list of segmentations of one image by their boundaries; default thresholds are 1, 2, ....

    >>> labels = np.array([[0, 0, 1, 1]])
    >>> boundary_label_scores([labels], [np.array([[False, True, False, False]])]).f.tolist()
    [1.0]
    """
    if len(label_maps) == 0:
        raise InputError("label_maps is empty. Give at least one segmentation of the image.")
    for labels in label_maps:
        _check_inputs(labels.shape, truths, tolerance)
    masks = np.stack([thin_boundaries(labels) for labels in label_maps])
    thresholds = np.arange(1.0, len(masks) + 1) if thresholds is None else np.asarray(thresholds, np.float64)
    check_thresholds(thresholds)
    if thresholds.size != len(masks):
        raise InputError(f"{thresholds.size} thresholds for {len(masks)} label maps: give one for each, or none.")
    return _mask_scores(masks, truths, thresholds, tolerance)


def ucm_strength(ucm: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "height width"]:
    """Return the boundary strength (H, W) of a contour map (2H + 1, 2W + 1): pixel (y, x) reads [2y + 2, 2x + 2].

    >>> ucm_strength(np.arange(15.0).reshape(3, 5)).tolist()
    [[12.0, 14.0]]
    """
    if min(ucm.shape) < 3 or ucm.shape[0] % 2 == 0 or ucm.shape[1] % 2 == 0:
        raise InputError(
            f"ucm has shape {ucm.shape}: expected (2H + 1, 2W + 1), both odd, for an image (H, W). "
            "Give the double-size map (`ucm2` in BSDS500 files); one of image size goes to map_scores."
        )
    return np.ascontiguousarray(ucm[2::2, 2::2])


def label_boundaries(labels: Int[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Mark the pixels whose lower right corner lies on a boundary: labels differ within the 2 x 2 block around it.

    Equals the benchmark's seg2bdry(..., 'imageSize'). The last row and column have no such block, so only differences
    along that row or column count; the last pixel is never marked.

    >>> label_boundaries(np.array([[0, 0, 0], [0, 0, 1], [0, 0, 1]])).astype(int).tolist()
    [[0, 1, 1], [0, 1, 0], [0, 1, 0]]
    """
    below, right = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    below[:-1] = labels[:-1] != labels[1:]
    right[:, :-1] = labels[:, :-1] != labels[:, 1:]
    marked = below | right
    marked[:, :-1] |= below[:, 1:]
    marked[:-1] |= right[1:]
    return marked


def thin_boundaries(labels: Int[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Return the thinned label_boundaries: the `Boundaries` that BSDS500 stores with each annotator's `Segmentation`.

    >>> thin_boundaries(np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])).astype(int).tolist()
    [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    """
    return thin(label_boundaries(labels))


def thin(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Thin lines to a width of one pixel without breaking them, as MATLAB's bwmorph(mask, 'thin', inf) does.

    Runs parallel thinning with two subiterations until nothing changes (Lam, Lee and Suen, PAMI 1992, page 879).

    >>> mask = np.zeros((5, 7), bool)
    >>> mask[1:4, 1:6] = True
    >>> np.argwhere(thin(mask)).tolist()
    [[2, 2], [2, 3], [2, 4]]
    """
    thinned: np.ndarray = _kernels.thin(np.ascontiguousarray(mask))
    return thinned


def match_boundaries(
    predicted: Bool[np.ndarray, "height width"],
    truth: Bool[np.ndarray, "height width"],
    tolerance: float = TOLERANCE,
) -> tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Return masks of the matched pixels of the prediction and of the truth: as many one-to-one pairs as possible.

    Two pixels may be matched if they are at most `tolerance` times the image diagonal apart. The benchmark's
    correspondPixels minimises the sum of distances, where an unmatched pixel costs a hundred times the allowed
    distance; it may miss a few possible pairs. This function also prefers near pixels, but does not minimise the sum.

    Example: predicted columns 1 and 2 both lie near column 1 of the truth, which has only one pixel to match:

    >>> predicted, truth = np.array([[0, 1, 1, 0]], bool), np.array([[0, 1, 0, 0]], bool)
    >>> [side.astype(int).tolist() for side in match_boundaries(predicted, truth, 0.5)]
    [[[0, 1, 0, 0]], [[0, 1, 0, 0]]]
    """
    _check_inputs(predicted.shape, [truth], tolerance)
    masks, matched = np.ascontiguousarray(predicted)[None], np.zeros((1, *predicted.shape), bool)
    offsets = _offsets(predicted.shape, tolerance)
    counts = _kernels.match_all(masks, np.ascontiguousarray(truth), offsets, matched, np.zeros(1, np.int64))
    return matched[0], counts


def best_point(scores: BoundaryScores) -> BoundaryPoint:
    """Return the point of largest F on the curve, interpolated linearly in 100 steps between thresholds.

    Example: recall is 1 and precision 0.5 at one threshold, the reverse at the next. Both are 0.75 halfway: the best F.

    >>> two, four = np.array([4, 4]), np.array([8, 4])
    >>> point = best_point(BoundaryScores(np.array([0.2, 0.4]), two, np.array([4, 2]), four, np.array([4, 4])))
    >>> round(point.threshold, 2), round(point.f, 2)
    (0.3, 0.75)
    """
    return _best_on_curve(scores.thresholds, scores.recall, scores.precision)


def aggregate_boundary(scores: Sequence[BoundaryScores]) -> BoundarySummary:
    """Return the benchmark's figures over images: counts are added, then divided.

    ODS is the best point of the curve of all images, interpolated as in best_point. OIS adds the counts of each image
    at its own best threshold, not interpolated; ties take the highest threshold. AP is the area below the precision,
    interpolated at recalls 0, 0.01, ... 1; precision is 0 at recalls that the curve does not reach.

    >>> three, four = np.array([3, 3]), np.array([4, 4])
    >>> summary = aggregate_boundary([BoundaryScores(np.array([0.3, 0.6]), four, three, four, four)])
    >>> round(summary.ods_recall, 4), summary.ods_precision, round(summary.ods_f, 4)
    (0.75, 1.0, 0.8571)
    """
    common_thresholds(scores)
    curve = total_boundary(scores)
    chosen = total_boundary([_at(image, image.f.size - 1 - int(image.f[::-1].argmax())) for image in scores])
    ods = best_point(curve)
    return BoundarySummary(
        ods_threshold=ods.threshold,
        ods_recall=ods.recall,
        ods_precision=ods.precision,
        ods_f=ods.f,
        ois_recall=float(chosen.recall[0]),
        ois_precision=float(chosen.precision[0]),
        ois_f=float(chosen.f[0]),
        ap=_average_precision(curve.recall, curve.precision),
    )


def _at(scores: BoundaryScores, index: int) -> BoundaryScores:
    """Return the scores at one threshold; its value is set to 0, because it no longer matters."""
    return BoundaryScores(np.zeros(1), *(getattr(scores, name)[index : index + 1] for name in _COUNTS))


def total_boundary(scores: Sequence[BoundaryScores]) -> BoundaryScores:
    """Return the sum of the scores of all images."""
    totals = (np.sum([getattr(image, name) for image in scores], axis=0) for name in _COUNTS)
    return BoundaryScores(scores[0].thresholds, *totals)


def _mask_scores(
    masks: np.ndarray, truths: Sequence[np.ndarray], thresholds: np.ndarray, tolerance: float
) -> BoundaryScores:
    """Match each of the (T, H, W) masks with each annotator and count the matched pixels."""
    offsets = _offsets(masks.shape[1:], tolerance)
    matched = np.zeros(masks.shape, bool)  # predicted pixels matched by any annotator so far
    n_matched = np.zeros((len(truths), len(masks)), np.int64)
    for truth, row in zip(truths, n_matched, strict=True):
        _kernels.match_all(masks, np.ascontiguousarray(truth), offsets, matched, row)
    return BoundaryScores(
        thresholds=thresholds,
        n_truth=np.full(len(masks), sum(int(np.count_nonzero(truth)) for truth in truths), np.int64),
        n_truth_matched=n_matched.sum(axis=0),
        n_predicted=np.count_nonzero(masks, axis=(1, 2)),
        n_predicted_matched=np.count_nonzero(matched, axis=(1, 2)),
    )


def _offsets(shape: tuple[int, ...], tolerance: float) -> np.ndarray:
    """Return the (K, 2) int64 offsets (row, column) to the pixels within the tolerance, nearest first."""
    reach = tolerance * math.hypot(*shape)
    side = np.arange(-math.floor(reach), math.floor(reach) + 1)
    steps = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    squares = (steps**2).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    within: np.ndarray = steps[order][squares[order] <= reach**2]
    return within


def _f_measure(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    total = recall + precision
    f: np.ndarray = 2 * recall * precision / np.where(total == 0, 1, total)
    return f


def _best_on_curve(thresholds: np.ndarray, recall: np.ndarray, precision: np.ndarray) -> BoundaryPoint:
    curve = np.stack([thresholds, recall, precision])
    steps = np.linspace(0, 1, 100)
    pieces = curve[:, 1:, None] * steps + curve[:, :-1, None] * (1 - steps)
    points = np.concatenate([curve[:, :1], pieces.reshape(3, -1)], axis=1)
    f = _f_measure(points[1], points[2])
    best = int(f.argmax())
    threshold, best_recall, best_precision = points[:, best].tolist()
    return BoundaryPoint(threshold, best_recall, best_precision, float(f[best]))


def _average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    recalls, first = np.unique(recall, return_index=True)
    if recalls.size < 2:
        return 0.0  # the benchmark's value for a curve of one point
    interpolated = np.interp(np.linspace(0, 1, 101), recalls, precision[first], left=0, right=0)
    return float(interpolated.sum() * 0.01)


def _check_inputs(shape: tuple[int, ...], truths: Sequence[np.ndarray], tolerance: float) -> None:
    check_in_range("tolerance", tolerance, 0, 1, remedy=f"Give a share of the image diagonal; {TOLERANCE} is usual.")
    if len(truths) == 0:
        raise InputError("There are no annotators: give at least one boundary map.")
    for truth in truths:
        if truth.shape != shape or truth.size == 0:
            raise InputError(
                f"truth {truth.shape} and prediction {shape} differ in shape or are empty: score maps of one image."
            )


def suppress_non_maxima(
    strength: Float[np.ndarray, "height width"], radius_px: int = 1, margin_px: int = 5, tolerance: float = 1.01
) -> Float[np.ndarray, "height width"]:
    """Keep boundary strength where nothing within radius_px across the boundary is `tolerance` times as strong.

    The orientation comes from second derivatives of the map smoothed by a triangle of radius 4; neighbours are
    interpolated linearly. The returned values come from the map smoothed by a triangle of radius 1. They fade out
    linearly over the outer margin_px pixels, where the orientation is unreliable. Source: edgesNms of Dollar and
    Zitnick, Fast Edge Detection Using Structured Forests (PAMI 2015).

    Example: only the crest of a ridge of three columns remains; smoothing has lowered it from 0.8 to 0.6:

    >>> strength = np.zeros((20, 21))
    >>> strength[:, 9:12] = 0.4, 0.8, 0.4
    >>> suppress_non_maxima(strength)[10, 8:13].round(2).tolist()
    [0.0, 0.0, 0.6, 0.0, 0.0]
    """
    check_in_range("radius_px", radius_px, 1, 100, remedy="1 is usual.")
    if strength.size == 0 or not np.isfinite(strength).all():
        raise InputError(f"strength of shape {strength.shape} is empty or holds NaN or infinity: give finite values.")
    smooth = _smooth(strength.astype(np.float64), 1)
    angle = _across(smooth)
    rows, columns = np.ogrid[: strength.shape[0], : strength.shape[1]]
    is_maximum = np.ones(strength.shape, bool)
    for step in (*range(-radius_px, 0), *range(1, radius_px + 1)):
        places = np.stack([rows + step * np.sin(angle), columns + step * np.cos(angle)])
        is_maximum &= smooth * tolerance >= scipy.ndimage.map_coordinates(smooth, places, order=1, mode="nearest")
    height, width = strength.shape
    thinned: np.ndarray = np.where(is_maximum, smooth, 0) * _fade(height, margin_px)[:, None] * _fade(width, margin_px)
    return thinned.astype(strength.dtype)


def _across(smooth: np.ndarray) -> np.ndarray:
    """Return the angle across the boundary at each pixel, from the x axis towards growing rows."""
    by_row, by_column = _gradient(_smooth(smooth, 4))
    row_row, row_column = _gradient(by_row)
    _, column_column = _gradient(by_column)
    # not np.sign: its 0 would turn the angle of an exactly horizontal boundary by 90 degrees
    turned = np.where(row_column > 0, -row_row, row_row)
    angle: np.ndarray = np.mod(np.arctan(turned / (column_column + 1e-5)), np.pi)
    return angle


def _smooth(values: np.ndarray, radius_px: int) -> np.ndarray:
    side = np.arange(1.0, radius_px + 1)
    weights = np.concatenate([side, [radius_px + 1], side[::-1]])
    weights /= weights.sum()
    by_row: np.ndarray = scipy.ndimage.correlate1d(values, weights, axis=0, mode="reflect")
    smoothed: np.ndarray = scipy.ndimage.correlate1d(by_row, weights, axis=1, mode="reflect")
    return smoothed


def _gradient(values: np.ndarray) -> list[np.ndarray]:
    # np.gradient needs two values on each axis; along an axis of one pixel the gradient is 0
    return [np.gradient(values, axis=axis) if n > 1 else np.zeros_like(values) for axis, n in enumerate(values.shape)]


def _fade(length: int, margin_px: int) -> np.ndarray:
    """Return (length,) factors that rise from 0 at both ends to 1 at min(margin_px, length // 2)."""
    margin = max(min(margin_px, length // 2), 1)
    place = np.arange(length)
    factors: np.ndarray = np.minimum(np.minimum(place, length - 1 - place) / margin, 1)
    return factors
