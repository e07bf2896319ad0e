import dataclasses
import inspect
from fractions import Fraction

import numpy as np
import pytest
import scipy.io
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as draw_arrays
from scipy.optimize import linear_sum_assignment

from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.datasets.bsds500 import read_segmentations
from supercuts.metrics.objects import (
    ClusteringScores,
    ObjectsPartsScores,
    aggregate_objects_parts,
    box_iou,
    clustering_agreement,
    corloc,
    f_beta_curve,
    is_localised,
    label_objects_parts,
    labels_at,
    mask_accuracy,
    mask_iou,
    matched_iou,
    max_f_beta,
    nearest_part,
    share_nested,
    tree_objects_parts,
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


THRESHOLDS = np.array([-0.5, 0.0, 0.1, 0.11, 0.3, 0.55, 5.0])
GAMMA_OBJECT, GAMMA_PART, BETA = Fraction(9, 10), Fraction(1, 4), Fraction(1, 10)
seeds = st.integers(0, 9999)


def candidates(labels):
    """Return the ids of regions of which the larger ones cover less than 99 % of the pixels."""
    ids, areas = np.unique(labels, return_counts=True)
    return {i for i, area in zip(ids, areas, strict=True) if 100 * areas[areas > area].sum() < 99 * labels.size}


def shares(truth, labels):
    """Return {(truth id, predicted id): (recall, precision)} of regions that meet, as exact fractions."""
    actual = {}
    for i in np.unique(truth):
        for j in np.unique(labels[truth == i]):
            shared = int(((truth == i) & (labels == j)).sum())
            actual[i, j] = Fraction(shared, int((truth == i).sum())), Fraction(shared, int((labels == j).sum()))
    return actual


def by_definition(labels, truths):
    """Return precision and recall with sets and exact fractions, one region after the other."""
    wanted = candidates(labels)
    tables = [(shares(truth, labels), candidates(truth)) for truth in truths]
    precisions, recalls = [], []
    for j in wanted:
        pairs = [(rp, i in truth_wanted) for table, truth_wanted in tables for (i, k), rp in table.items() if k == j]
        if any(min(rp) >= GAMMA_OBJECT and counts for rp, counts in pairs):
            precisions.append(1)
        elif any(rp[1] >= GAMMA_OBJECT and rp[0] >= GAMMA_PART and counts for rp, counts in pairs):
            precisions.append(BETA)
        else:
            precisions.append(sum(p for (r, p), _ in pairs if r >= GAMMA_OBJECT > p) / Fraction(len(truths)))
    for table, truth_wanted in tables:
        for i in truth_wanted:
            pairs = [(rp, j in wanted) for (k, j), rp in table.items() if k == i]
            if any(min(rp) >= GAMMA_OBJECT and counts for rp, counts in pairs):
                recalls.append(1)
            elif any(rp[0] >= GAMMA_OBJECT and rp[1] >= GAMMA_PART and counts for rp, counts in pairs):
                recalls.append(BETA)
            else:
                recalls.append(sum(r for (r, p), _ in pairs if p >= GAMMA_OBJECT > r))
    return float(sum(precisions) / Fraction(len(precisions))), float(sum(recalls) / Fraction(len(recalls)))


def draw_scene(seed, n_truths=3):
    """Return a label map and truths (10, 12) that merge common pieces, with some stray pixels and tiny regions."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(8, 0.5))
    pieces = np.sort(rng.choice(8, 120, p=weights))  # in one run each, so that transposing is no relabelling of runs

    def draw():
        labels = rng.integers(0, rng.integers(1, 9), 8)[pieces]
        stray = rng.random(120) < rng.choice([0, 0.02, 0.08])
        return relabel_consecutive(np.where(stray, rng.integers(0, 10, 120), labels).reshape(10, 12))[0]

    return draw(), [draw() for _ in range(n_truths)]


@given(seeds)
def test_scores_match_definition_on_sets_and_fractions(seed):
    labels, truths = draw_scene(seed)
    scores = label_objects_parts([labels, truths[1]], truths)
    expected = [by_definition(prediction, truths) for prediction in (labels, truths[1])]
    np.testing.assert_allclose(np.c_[scores.precision, scores.recall], expected)


@given(st.integers(1, 12), seeds)
def test_tree_scores_match_label_scores_of_walked_cuts(random_tree, walked_cut, n_leaves, seed):
    rng = np.random.default_rng(seed)
    parents, altitudes = random_tree(n_leaves, seed)
    areas = rng.choice([1, 1, 5, 30], n_leaves)
    leaves = np.repeat(np.arange(n_leaves), areas)[None]
    # truths made of nodes, so that objects and parts occur
    truths = [relabel_consecutive(walked_cut(parents, altitudes, n_leaves, t))[0][leaves] for t in (0.0, 0.25, 0.45)]
    truths.append(relabel_consecutive(np.where(rng.random(leaves.shape) < 0.1, 0, truths[0]))[0])
    cuts = [walked_cut(parents, altitudes, n_leaves, np.float32(t)) for t in THRESHOLDS]
    expected = label_objects_parts([relabel_consecutive(cut)[0][leaves] for cut in cuts], truths, THRESHOLDS)
    got = tree_objects_parts([contingency(truth, leaves) for truth in truths], parents, altitudes, THRESHOLDS)
    for name in ("thresholds", "precision", "recall", "f"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), err_msg=name)


@given(seeds)
def test_relabelling_and_transposing_change_nothing(seed):
    labels, truths = draw_scene(seed)
    rng = np.random.default_rng(seed)

    def changed(ids):
        return rng.permutation(ids.max() + 1)[ids].T

    expected = label_objects_parts([labels], truths)
    got = label_objects_parts([changed(labels)], [changed(truth) for truth in truths[::-1]])
    assert (got.precision[0], got.recall[0]) == pytest.approx((expected.precision[0], expected.recall[0]))


@given(seeds)
def test_ranges_symmetry_and_perfection(seed):
    labels, truths = draw_scene(seed)
    scores = label_objects_parts([labels], truths)
    for series in (scores.precision, scores.recall, scores.f):
        assert ((series >= 0) & (series <= 1 + 1e-12)).all()
    # with one annotator the roles can be swapped
    one, swapped = label_objects_parts([labels], truths[:1]), label_objects_parts(truths[:1], [labels])
    assert (one.precision[0], one.recall[0]) == pytest.approx((swapped.recall[0], swapped.precision[0]))
    perfect = label_objects_parts([labels], [labels, labels])
    assert (perfect.precision[0], perfect.recall[0], perfect.f[0]) == (1, 1, 1)


def runs(*areas):
    return np.repeat(np.arange(len(areas)), areas)[None]


@pytest.mark.parametrize(
    ("labels", "truth", "precision", "recall"),
    [
        # object: 9 of 10 pixels on both sides; the other pair shares 10 of 11 and 10 of 10
        (runs(9, 11), runs(10, 10), 1, 1),
        # 8 of 10 are a part and fill the first truth; the second one is a part, and fills 10 of 12
        (runs(8, 12), runs(10, 10), (0.1 + 10 / 12) / 2, (8 / 10 + 0.1) / 2),
        # two halves in one truth region are parts, and fill it
        (runs(5, 5), runs(10), 0.1, 1),
        # quarters are parts, smaller ones are not: 2 of 10 is nothing, but fills
        (runs(2, 3, 5), runs(10), (0 + 0.1 + 0.1) / 3, 1),
        # the truth's parts: 5 and 3 of 10 are, 2 is not
        (runs(10), runs(2, 3, 5), 1, (0 + 0.1 + 0.1) / 3),
        # one pixel of 200 is no candidate: it lies in the object beside the rest of it
        (runs(199, 1), runs(200), 1, 1),
        # 2 of 100: the 98 are less than 99 %, so that it counts, as neither object nor part
        (runs(98, 2), runs(100), 1 / 2, 1),
        # the first truth is a part and fills half of the first prediction; the second prediction is a part as well
        (runs(30, 10), runs(15, 25), (15 / 30 + 0.1) / 2, (0.1 + 10 / 25) / 2),
    ],
)
def test_hand_worked_pairs(labels, truth, precision, recall):
    scores = label_objects_parts([labels], [truth])
    assert (scores.precision[0], scores.recall[0]) == pytest.approx((precision, recall))


def test_hand_worked_annotators():
    # the halves: objects for the second annotator, parts for the first one; the first one's whole is filled by them
    scores = label_objects_parts([runs(5, 5), runs(10)], [runs(10), runs(5, 5)])
    np.testing.assert_allclose(scores.recall, [1, (1 + 0.1 + 0.1) / 3])
    np.testing.assert_allclose(scores.precision, [1, 1])
    # an object, and a region filled by 5 / 10 + 5 / 10 for the first of two annotators and by nothing for the second
    np.testing.assert_allclose(label_objects_parts([runs(10, 90)], [runs(5, 5, 90), runs(50, 50)]).precision, [1.5 / 2])


def test_equally_large_regions_count_all_or_not_at_all():
    # 98 + 1 reach 99 %: taken one by one, the order of numbers would choose between the last two
    labels = runs(98, 1, 1)
    scores = label_objects_parts([labels], [runs(100)])
    assert scores.precision[0] == pytest.approx(1 / 3)
    # 99 reach it alone
    assert label_objects_parts([runs(99, 1)], [runs(100)]).precision[0] == 1


def test_tiny_regions_make_no_object_but_fill():
    # truth regions of 990, 6 and 4 of 1000 pixels: only the first counts; a perfect prediction of all is perfect
    truth = runs(990, 6, 4)
    assert label_objects_parts([truth], [truth]).recall[0] == 1
    # the 8 pixels are no object, though equal to a truth region, for both are tiny; the split truth is filled by them
    scores = label_objects_parts([runs(500, 492, 8)], [runs(1000)])
    assert (scores.precision[0], scores.recall[0]) == pytest.approx((0.2 / 2, 1))
    # 6 of the 10 pixels of a tiny truth region are no part of it; 4 are themselves tiny
    assert label_objects_parts([runs(980, 5, 5, 4, 6)], [runs(990, 10)]).precision[0] == pytest.approx(1 / 4)


def test_one_region_inputs_are_defined():
    single = tree_objects_parts([np.array([[3]])], np.array([0]), np.zeros(1))
    assert (single.f == 1).all()
    gaps = label_objects_parts([np.array([[0, 0, 3, 3]])], [np.array([[0, 0, 2, 2]])])
    assert gaps.f.tolist() == [1]


def test_f_is_zero_without_precision_and_recall():
    scores = ObjectsPartsScores(np.array([1.0, 2.0]), np.array([0.0, 0.5]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(scores.f, [0, 2 / 3])


def test_aggregate_takes_f_of_means():
    thresholds = np.array([0.2, 0.6])
    one = ObjectsPartsScores(thresholds, np.array([1.0, 0.2]), np.array([0.2, 0.2]))  # F 1/3, 1/5
    two = ObjectsPartsScores(thresholds, np.array([0.0, 0.8]), np.array([0.1, 0.4]))  # F 0, 8/15
    summary = aggregate_objects_parts([one, two])
    # means: precision 0.5, 0.5; recall 0.15, 0.3
    expected = {
        "ods_threshold": 0.6,
        "ods_precision": 0.5,
        "ods_recall": 0.3,
        "ods_f": 0.375,
        "ois_precision": 0.9,
        "ois_recall": 0.3,
        "ois_f": 0.45,
    }
    assert dataclasses.asdict(summary) == pytest.approx(expected)
    nothing = ObjectsPartsScores(thresholds, np.zeros(2), np.zeros(2))
    assert (aggregate_objects_parts([nothing]).ods_f, aggregate_objects_parts([nothing]).ois_f) == (0, 0)


TABLE, PARENTS, ALTITUDES = np.array([[2, 0], [0, 2]]), np.array([2, 2, 2]), np.array([0, 0, 0.5])
PIXELS = np.zeros((1, 2), np.int32)


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda: tree_objects_parts([], PARENTS, ALTITUDES), "at least one truth"),
        (lambda: tree_objects_parts([TABLE, 2 * TABLE], PARENTS, ALTITUDES), "with one label map"),
        (lambda: tree_objects_parts([TABLE], np.array([2, 0, 2]), ALTITUDES), "order nodes leaves first"),
        (lambda: tree_objects_parts([TABLE], PARENTS, ALTITUDES, np.array([0.5, 0.5])), "sort them"),
        (lambda: label_objects_parts([], [PIXELS]), "at least one segmentation"),
        (lambda: label_objects_parts([PIXELS], []), "at least one truth"),
        (lambda: label_objects_parts([PIXELS - 1], [PIXELS]), "relabel_consecutive"),
        (lambda: label_objects_parts([PIXELS], [PIXELS - 1]), "relabel_consecutive"),
        (lambda: label_objects_parts([PIXELS], [PIXELS], np.array([0.1, 0.2])), "give one for each"),
        (lambda: aggregate_objects_parts([]), "scores of at least one"),
        (lambda: ObjectsPartsScores(np.ones(2), np.ones(2), np.ones(1)), "tree_objects_parts does"),
    ],
)
def test_bad_inputs_are_refused(call, remedy):
    with pytest.raises(InputError, match=remedy):
        call()


@pytest.mark.dataset
def test_reference_segmentations_match_definition(data_root):
    folder, scores = data_root / "bsds_bench_reference", []
    for path in sorted((folder / "groundTruth").glob("*.mat")):
        segs = scipy.io.loadmat(folder / "segs" / path.name)["segs"][0]
        truths = read_segmentations(path)
        scores.append(label_objects_parts([relabel_consecutive(s.astype(np.int32))[0] for s in segs], truths))
        coarsest = int(np.argmin([labels.max() for labels in segs]))
        expected = by_definition(segs[coarsest], truths)
        assert (scores[-1].precision[coarsest], scores[-1].recall[coarsest]) == pytest.approx(expected)
        assert label_objects_parts(truths[:1], truths[:1]).f[0] == 1
    summary = aggregate_objects_parts(scores)
    assert 0 < summary.ods_f <= summary.ois_f < 1


def test_matching_is_that_of_the_hungarian_method():
    rng = np.random.default_rng(0)
    truth, labels = rng.integers(0, 5, (20, 20)), rng.integers(0, 8, (20, 20))
    iou = np.array(
        [
            [((truth == i) & (labels == j)).sum() / ((truth == i) | (labels == j)).sum() for j in range(1, 8)]
            for i in range(1, 5)
        ]
    )
    actual = matched_iou(contingency(truth, labels))
    assert actual.sum() == pytest.approx(iou[linear_sum_assignment(-iou)].sum())
    assert matched_iou(contingency(truth, np.zeros_like(truth))).tolist() == [0] * 4


def test_keypoints_are_rows_before_columns_and_those_on_the_far_edge_take_the_last_pixel():
    labels = np.arange(6).reshape(2, 3)
    # the defect of the original: x used as row, and an index equal to the size
    assert labels_at(labels, np.array([[0, 2], [1, 0], [2, 3], [1.5, 2.5], [-0.4, 0.5]], float)).tolist() == [
        2,
        3,
        5,
        5,
        1,
    ]


def test_background_takes_the_nearest_part_unless_there_is_none():
    labels = np.array([[0, 0, 0, 2, 0], [1, 0, 0, 0, 0]], np.int32)
    assert nearest_part(labels).tolist() == [[1, 1, 2, 2, 2], [1, 1, 2, 2, 2]]
    assert not nearest_part(np.zeros((2, 2), np.int32)).any()


def test_parts_that_stick_out_of_the_object_are_not_nested():
    mask = np.array([[False, True, True, True], [False, True, True, False]])
    parts = np.array([[0, 1, 2, 2], [0, 1, 2, 2]])
    assert share_nested(parts, mask) == 0.5
    assert share_nested(np.zeros((2, 4), np.int32), mask) == 1
