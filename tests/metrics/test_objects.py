import inspect

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as draw_arrays

from supercuts.core.errors import InputError
from supercuts.metrics.objects import (
    ClusteringScores,
    box_iou,
    clustering_agreement,
    corloc,
    f_beta_curve,
    is_localised,
    mask_accuracy,
    mask_iou,
    max_f_beta,
)

MASK_METRICS = [mask_iou, mask_accuracy]

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
pairs = shapes.flatmap(lambda shape: st.tuples(draw_arrays(bool, shape), draw_arrays(bool, shape)))
# 8-bit maps, which lie on the thresholds, and values between them
levels = st.one_of(st.integers(0, 255).map(lambda j: j / 255), st.floats(0, 1))
maps = st.tuples(shapes, st.sampled_from([np.float16, np.float32, np.float64])).flatmap(
    lambda given: st.tuples(
        draw_arrays(np.float64, given[0], elements=levels).map(lambda a: a.astype(given[1])),
        draw_arrays(bool, given[0]),
    )
)
points = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*[draw_arrays(np.int64, n, elements=st.integers(-3, 3)) for _ in range(2)])
)
corners = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 7), st.integers(1, 7))
boxes = st.lists(corners.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])), min_size=1, max_size=4).map(np.array)


def drawn(box):
    """Return the pixels of a half-open box."""
    mask = np.zeros((14, 14), bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


# masks


def test_mask_metrics_match_hand_worked_masks():
    predicted = np.array([[True, True, False, False], [True, False, False, False]])
    truth = np.array([[False, True, True, False], [True, False, False, False]])
    assert mask_iou(predicted, truth) == 2 / 4
    assert mask_accuracy(predicted, truth) == 6 / 8


@given(pairs)
def test_mask_metrics_match_scikit_learn(pair):
    flat = [mask.ravel() for mask in pair]
    assert mask_iou(*pair) == pytest.approx(sklearn.metrics.jaccard_score(*flat, zero_division=1.0))
    assert mask_accuracy(*pair) == pytest.approx(sklearn.metrics.accuracy_score(*flat))


@given(pairs)
def test_mask_metrics_are_symmetric_and_bounded(pair):
    predicted, truth = pair
    for metric in MASK_METRICS:
        assert 0 <= metric(predicted, truth) <= 1
        assert metric(predicted, truth) == metric(truth, predicted) == metric(predicted.T, truth.T)
        assert metric(truth, truth) == 1
    # agreement on the background counts for accuracy only
    assert mask_accuracy(~predicted, ~truth) == mask_accuracy(predicted, truth)


def test_empty_masks_are_defined():
    empty, whole = np.zeros((2, 3), bool), np.ones((2, 3), bool)
    for metric in MASK_METRICS:
        assert metric(empty, empty) == metric(whole, whole) == 1
        assert metric(empty, whole) == metric(whole, empty) == 0


# F-beta


def curve_by_definition(saliency, truth):
    """Return F from precision and recall, one threshold after the other."""
    curve = []
    for k in range(255):
        predicted = saliency > saliency.dtype.type(k / 255)
        hits = (predicted & truth).sum()
        precision = hits / predicted.sum() if predicted.any() else 1.0
        recall = hits / truth.sum() if truth.any() else 1.0
        below = 0.3 * precision + recall
        curve.append(1.3 * precision * recall / below if below else 0.0)
    return np.array(curve)


@given(maps)
def test_f_beta_curve_matches_precision_and_recall_by_threshold(case):
    np.testing.assert_allclose(f_beta_curve(*case), curve_by_definition(*case), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_level_j_of_an_8_bit_map_exceeds_the_thresholds_below_j(dtype):
    truth = np.array([[True]])
    for j in range(256):
        curve = f_beta_curve(np.array([[j]], dtype) / dtype(255), truth)
        assert curve.tolist() == [1.0] * j + [0.0] * (255 - j)


@given(maps)
def test_f_beta_is_bounded_transposable_and_perfect_for_the_truth(case):
    saliency, truth = case
    curve = f_beta_curve(saliency, truth)
    assert (curve >= 0).all()
    assert (curve <= 1).all()
    np.testing.assert_array_equal(f_beta_curve(saliency.T, truth.T), curve)
    np.testing.assert_array_equal(f_beta_curve(truth.astype(saliency.dtype), truth), np.ones(255))


def test_f_beta_of_empty_masks_is_defined():
    empty, whole, dark = np.zeros((2, 2), bool), np.ones((2, 2), bool), np.zeros((2, 2))
    assert set(f_beta_curve(dark, empty)) == {1.0}  # precision 1, recall 1
    assert set(f_beta_curve(dark, whole)) == {0.0}  # precision 1, recall 0
    assert set(f_beta_curve(dark + 1, empty)) == {0.0}  # precision 0, recall 1


def test_precision_weighs_more_than_recall():
    truth = np.array([[True, True, False, False]])
    half_found = f_beta_curve(np.array([[1.0, 0.0, 0.0, 0.0]]), truth)  # p = 1, r = 1/2
    half_wrong = f_beta_curve(np.array([[1.0, 1.0, 1.0, 1.0]]), truth)  # p = 1/2, r = 1
    assert half_found[0] == pytest.approx(1.3 * 0.5 / 0.8)
    assert half_wrong[0] == pytest.approx(1.3 * 0.5 / 1.15)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_max_f_beta_takes_one_threshold_for_all_images(seeds):
    curves = np.stack([np.random.default_rng(seed).random(255) for seed in seeds])
    expected = max(sum(curve[k] for curve in curves) / len(curves) for k in range(255))
    assert max_f_beta(curves) == pytest.approx(expected)
    assert max_f_beta(curves[::-1]) == pytest.approx(expected)
    assert max_f_beta(curves) <= curves.max(axis=1).mean() + 1e-12


# boxes


@given(boxes, boxes)
def test_box_iou_matches_iou_of_drawn_boxes(predicted, truth):
    iou = box_iou(predicted, truth)
    expected = [[mask_iou(drawn(ours), drawn(theirs)) for theirs in truth] for ours in predicted]
    np.testing.assert_allclose(iou, expected, atol=1e-15)
    np.testing.assert_array_equal(box_iou(truth, predicted), iou.T)
    swapped = [1, 0, 3, 2]  # rows for columns
    np.testing.assert_array_equal(box_iou(predicted[:, swapped], truth[:, swapped]), iou)


@given(boxes, st.floats(0.01, 100), st.floats(-50, 50))
def test_box_iou_does_not_depend_on_scale_and_place(given, scale, shift):
    moved = given * scale + shift
    iou = box_iou(moved, moved)
    np.testing.assert_allclose(iou, box_iou(given, given), atol=1e-9)
    assert (iou <= 1).all()
    assert (np.diag(iou) == 1).all()


def test_small_integers_do_not_wrap_round():
    around, high = np.array([[-100, -100, 120, 100]], np.int8), np.array([[0, 0, 250, 200]], np.uint8)
    for box in (around, high):
        assert box_iou(box, box).tolist() == box_iou(box, box.astype(float)).tolist() == [[1.0]]


def test_boxes_are_half_open():
    touching = box_iou(np.array([[0, 0, 2, 2]]), np.array([[2, 0, 4, 2], [0, 2, 2, 4]]))
    assert touching.tolist() == [[0.0, 0.0]]
    # VOC, 1-based and inclusive: columns 1..10 and 6..15 of the same rows share 5 of 15
    voc_xyxy = np.array([[1, 1, 10, 4], [6, 1, 15, 4]])
    converted = np.stack([voc_xyxy[:, 1] - 1, voc_xyxy[:, 0] - 1, voc_xyxy[:, 3], voc_xyxy[:, 2]], axis=1)
    assert box_iou(converted[:1], converted[1:])[0, 0] == 5 / 15


def test_boxes_without_area_and_no_boxes_are_defined():
    line, box = np.array([[1, 1, 1, 5]]), np.array([[0, 0, 4, 5]])
    assert box_iou(line, box).tolist() == box_iou(line, line).tolist() == [[0.0]]
    none = np.zeros((0, 4), int)
    assert box_iou(none, box).shape == (0, 1)
    assert box_iou(box, none).shape == (1, 0)
    assert is_localised(box[0], none) is False


@pytest.mark.parametrize(("width", "expected"), [(4, False), (5, True), (10, True), (20, True), (21, False)])
def test_half_overlap_localises(width, expected):
    truth = np.array([[50, 50, 60, 60], [0, 0, 1, 10]])
    assert is_localised(np.array([0, 0, 1, width]), truth) is expected
    assert is_localised(np.array([0.0, 0.0, 0.3, width * 0.3]), truth * 0.3) is expected


def test_corloc_is_a_share_of_images():
    assert corloc(np.array([True, False, False])) == 1 / 3
    assert corloc(np.array([True])) == 1
    assert corloc(np.array([False])) == 0


# parts


@given(points)
def test_clustering_agreement_matches_scikit_learn(case):
    scores = clustering_agreement(*case)
    assert scores.nmi == pytest.approx(sklearn.metrics.normalized_mutual_info_score(*case), abs=1e-9)
    assert scores.ari == pytest.approx(sklearn.metrics.adjusted_rand_score(*case), abs=1e-12)


@given(points, st.integers(0, 99))
def test_clustering_agreement_depends_on_the_partition_only(case, seed):
    truth, predicted = case
    rng = np.random.default_rng(seed)
    expected = clustering_agreement(truth, predicted)
    ids, order = rng.choice(1000, 7, replace=False), rng.permutation(truth.size)
    for other in [(ids[truth + 3], -ids[predicted + 3]), (truth[order], predicted[order]), (predicted, truth)]:
        scores = clustering_agreement(*other)
        assert scores.nmi == pytest.approx(expected.nmi, abs=1e-12)
        assert scores.ari == pytest.approx(expected.ari, abs=1e-12)
    assert 0 <= expected.nmi <= 1
    assert -0.5 <= expected.ari <= 1
    perfect = clustering_agreement(truth, ids[truth + 3])
    assert (perfect.nmi, perfect.ari) == (pytest.approx(1), 1)


def test_degenerate_clusterings_score_as_in_scikit_learn():
    one, all_apart, halves = np.zeros(4, int), np.arange(4), np.array([0, 0, 1, 1])
    crossed = np.array([0, 1, 0, 1])
    empty, point = np.zeros(0, int), np.array([7])
    expected = {
        "one cluster each": (one, one, 1, 1),
        "all apart in both": (all_apart, all_apart, 1, 1),
        "one cluster against two": (one, halves, 0, 0),
        "one cluster against all apart": (one, all_apart, 0, 0),
        "independent": (halves, crossed, 0, -0.5),
        "one point": (point, point, 1, 1),
        "no point": (empty, empty, 1, 1),
    }
    for case, (truth, predicted, nmi, ari) in expected.items():
        assert clustering_agreement(truth, predicted) == ClusteringScores(nmi, ari), case
        assert sklearn.metrics.normalized_mutual_info_score(truth, predicted) == nmi, case
        assert sklearn.metrics.adjusted_rand_score(truth, predicted) == ari, case


def test_pairs_of_a_whole_data_set_do_not_overflow():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 15, 200_000)
    predicted = np.where(rng.random(truth.size) < 0.3, rng.integers(0, 4, truth.size), truth % 4)
    scores = clustering_agreement(truth, predicted)
    assert scores.nmi == pytest.approx(sklearn.metrics.normalized_mutual_info_score(truth, predicted))
    assert scores.ari == pytest.approx(sklearn.metrics.adjusted_rand_score(truth, predicted))


# refusals


@pytest.mark.parametrize("metric", [mask_iou, mask_accuracy, f_beta_curve])
def test_masks_of_different_images_and_no_pixels_are_refused(metric):
    dtype = float if metric is f_beta_curve else bool
    with pytest.raises(InputError, match="score masks of one image"):
        metric(np.zeros((0, 3), dtype), np.zeros((0, 3), bool))
    # unwrapped: while tests enforce annotations, those would refuse first
    with pytest.raises(InputError, match=r"\(2, 3\) and truth \(3, 2\) .* score masks of one image"):
        inspect.unwrap(metric)(np.zeros((2, 3), dtype), np.zeros((3, 2), bool))


@pytest.mark.parametrize("value", [-0.1, 1.01, 255.0, np.nan])
def test_saliency_outside_its_range_is_refused(value):
    with pytest.raises(InputError, match="divide an 8-bit map by 255"):
        f_beta_curve(np.array([[0.5, value]]), np.array([[True, False]]))


@pytest.mark.parametrize("box", [[2, 0, 1, 1], [0, 3, 5, 2], [0.0, 0.0, np.nan, 1.0], [0.0, 0.0, 1.0, np.inf]])
def test_boxes_with_crossed_corners_are_refused(box):
    good, bad = np.array([[0, 0, 2, 2]]), np.array([[0, 0, 1, 1], box])
    for arguments, name in [((good, bad), "truth_yxyx"), ((bad, good), "predicted_yxyx")]:
        with pytest.raises(InputError, match=f"{name} holds .* order the corners, and convert x, y, width, height"):
            box_iou(*arguments)
    with pytest.raises(InputError, match="order the corners"):
        is_localised(bad[1], good)


def test_empty_data_sets_and_unequal_lengths_are_refused():
    with pytest.raises(InputError, match="Give is_localised of at least one image"):
        corloc(np.zeros(0, bool))
    with pytest.raises(InputError, match="Stack the f_beta_curve of at least one image"):
        max_f_beta(np.zeros((0, 255)))
    with pytest.raises(InputError, match="label the same points"):
        inspect.unwrap(clustering_agreement)(np.zeros(2, int), np.zeros(3, int))
