import dataclasses
import itertools

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as draw_arrays

from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.datasets.bsds500 import read_segmentations
from supercuts.metrics.region import (
    THRESHOLDS,
    PooledIoU,
    RegionScores,
    aggregate,
    aggregate_pooled_iou,
    label_pooled_iou,
    rand_index,
    region_label_scores,
    segmentation_covering,
    tree_pooled_iou,
    tree_scores,
    ucm_labels,
    variation_of_information,
)

METRICS = [segmentation_covering, rand_index, variation_of_information]
SERIES = ["overlap", "rand_index", "variation_of_information", "n_regions"]

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))


def label_maps(shape):
    return draw_arrays(np.int32, shape, elements=st.integers(0, 4)).map(lambda a: relabel_consecutive(a)[0])


pairs = shapes.flatmap(lambda shape: st.tuples(label_maps(shape), label_maps(shape)))


def permuted(labels, seed):
    return np.random.default_rng(seed).permutation(labels.max() + 1)[labels].astype(np.int32)


def gapped(labels, seed):
    """Give the regions any ids that a label map may hold: below the pixel count, with gaps."""
    ids = np.random.default_rng(seed).choice(labels.size, labels.max() + 1, replace=False)
    return ids[labels].astype(np.int32)


def random_tree(n_leaves, seed):
    """Return parents and altitudes of a tree with random merges, some of several children, some of equal altitude."""
    rng = np.random.default_rng(seed)
    parents, altitudes, roots = list(range(n_leaves)), [0.0] * n_leaves, list(range(n_leaves))
    while len(roots) > 1:
        children = rng.choice(roots, min(len(roots), int(rng.integers(2, 4))), replace=False).tolist()
        node = len(parents)
        parents.append(node)
        altitudes.append(max(altitudes[child] for child in children) + rng.choice([0.0, 0.11, 0.2]))
        for child in children:
            parents[child] = node
            roots.remove(child)
        roots.append(node)
    return np.array(parents, np.int32), np.array(altitudes, np.float32)


def cut_by_walking_up(parents, altitudes, n_leaves, threshold):
    """Return the highest ancestor of each leaf that is no higher than the threshold, by definition."""
    tops = []
    for leaf in range(n_leaves):
        node = leaf
        while parents[node] != node and altitudes[parents[node]] <= threshold:
            node = parents[node]
        tops.append(node)
    return np.array(tops)


@given(pairs)
def test_metrics_match_definitions_on_sets_and_pairs(pair):
    truth, labels = (a.ravel() for a in pair)
    n = truth.size
    regions = [set(np.flatnonzero(truth == i)) for i in np.unique(truth)]
    segments = [set(np.flatnonzero(labels == j)) for j in np.unique(labels)]
    covering = sum(len(g) * max(len(g & s) / len(g | s) for s in segments) for g in regions) / n
    agreeing = [(truth[a] == truth[b]) == (labels[a] == labels[b]) for a, b in itertools.combinations(range(n), 2)]
    joint = np.array([[len(g & s) for s in segments] for g in regions]) / n

    def entropy(p):
        p = p[p > 0]
        return -(p * np.log2(p)).sum()

    vi = 2 * entropy(joint) - entropy(joint.sum(axis=0)) - entropy(joint.sum(axis=1))
    table = contingency(*pair)
    assert segmentation_covering(table) == pytest.approx(covering)
    assert rand_index(table) == pytest.approx(np.mean(agreeing) if agreeing else 1.0)
    assert variation_of_information(table) == pytest.approx(vi, abs=1e-12)


@given(pairs, st.integers(0, 99))
def test_relabelling_and_transposing_change_nothing(pair, seed):
    truth, labels = pair
    for metric in METRICS:
        expected = pytest.approx(metric(contingency(truth, labels)))
        assert metric(contingency(permuted(truth, seed), permuted(labels, seed + 1))) == expected
        assert metric(contingency(gapped(truth, seed), gapped(labels, seed + 1))) == expected
        assert metric(contingency(truth.T, labels.T)) == expected


def assert_same_scores(got, expected):
    for name in [*SERIES, "best_overlap", "area", "thresholds"]:
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-12, err_msg=name)


@given(pairs, st.integers(0, 99))
def test_relabelling_and_transposing_change_no_label_scores(pair, seed):
    # either map is annotator and prediction in turn
    expected = region_label_scores(pair, pair)
    renamed, spread = [permuted(labels, seed) for labels in pair], [gapped(labels, seed) for labels in pair]
    for labels, truths in [(renamed, pair), (pair, spread), (spread, renamed), ([a.T for a in pair],) * 2]:
        assert_same_scores(region_label_scores(labels, truths), expected)


@given(st.integers(1, 12), st.integers(0, 999))
def test_order_of_leaves_and_annotators_changes_no_tree_scores(n_leaves, seed):
    rng = np.random.default_rng(seed)
    parents, altitudes = random_tree(n_leaves, seed)
    tables = [rng.multinomial(9, np.full(n_truths, 1 / n_truths), n_leaves).T for n_truths in (1, 3)]  # 9 pixels a leaf
    order = rng.permutation(n_leaves)
    moved = np.concatenate([parents[:n_leaves][order], parents[n_leaves:]])  # new leaf i is old leaf order[i]
    shuffled = [table[rng.permutation(len(table))][:, order] for table in reversed(tables)]
    assert_same_scores(tree_scores(shuffled, moved, altitudes), tree_scores(tables, parents, altitudes))


@given(pairs)
def test_ranges_symmetry_and_perfection(pair):
    truth, labels = pair
    table = contingency(truth, labels)
    assert 0 < segmentation_covering(table) <= 1
    assert 0 <= rand_index(table) <= 1
    assert 0 <= variation_of_information(table) <= np.log2(truth.size) + 1e-9
    # covering has a direction; the others do not
    assert rand_index(table.T) == pytest.approx(rand_index(table))
    assert variation_of_information(table.T) == pytest.approx(variation_of_information(table))
    same = contingency(truth, truth)
    assert segmentation_covering(same) == 1
    assert rand_index(same) == 1
    assert variation_of_information(same) == 0
    scores = region_label_scores([labels, truth], [truth, labels])
    assert (scores.covering > 0).all()
    assert (scores.covering <= 1).all()
    assert scores.best_overlap == scores.area == 2 * truth.size  # each annotator's map is among the predictions


@given(shapes.flatmap(label_maps), st.integers(0, 99))
def test_perfect_prediction_is_perfect_whatever_its_ids(truth, seed):
    table = contingency(truth, gapped(truth, seed))
    assert segmentation_covering(table) == rand_index(table) == 1
    assert variation_of_information(table) == pytest.approx(0, abs=1e-12)


def test_one_region_and_one_pixel_are_defined():
    whole, halves, pixels = np.array([[4]]), np.array([[2, 2]]), np.array([[1, 1, 1, 1]])
    assert [metric(whole) for metric in METRICS] == [1, 1, 0]
    # all pairs should be together; two of six are
    assert [metric(halves) for metric in METRICS] == pytest.approx([1 / 2, 1 / 3, 1])
    assert [metric(halves.T) for metric in METRICS] == pytest.approx([1 / 2, 1 / 3, 1])
    assert [metric(pixels) for metric in METRICS] == pytest.approx([1 / 4, 0, 2])
    assert [metric(np.array([[1]])) for metric in METRICS] == [1, 1, 0]
    pixel = np.zeros((1, 1), np.int32)
    by_label = region_label_scores([pixel], [pixel])
    by_tree = tree_scores([np.array([[1]])], np.array([0]), np.array([0.0]), np.array([1.0]))
    assert_same_scores(by_label, by_tree)
    assert (by_label.covering[0], by_label.n_regions[0]) == (1, 1)
    assert dataclasses.astuple(aggregate([by_label])) == (1, 1, 1, 1, 1, 0, 0, 1, 1, 1)


def test_covering_is_of_the_truth_by_the_prediction():
    table = np.array([[4, 0, 0], [0, 1, 1]])
    assert segmentation_covering(table) == pytest.approx((4 * 1 + 2 / 2) / 6)
    assert segmentation_covering(table.T) == pytest.approx((4 * 1 + 1 / 2 + 1 / 2) / 6)


@given(st.integers(1, 12), st.integers(0, 999))
def test_tree_scores_match_label_scores_of_walked_cuts(n_leaves, seed):
    rng = np.random.default_rng(seed)
    parents, altitudes = random_tree(n_leaves, seed)
    leaves = np.concatenate([np.arange(n_leaves), rng.integers(0, n_leaves, 30 - n_leaves)]).reshape(5, 6)
    truths = [relabel_consecutive(rng.integers(0, k, (5, 6)))[0] for k in (1, 3, 7)]
    thresholds = np.array([0.0, 0.1, 0.11, 0.3, 0.55, 5.0])
    cuts = [cut_by_walking_up(parents, altitudes, n_leaves, np.float32(t)) for t in thresholds]
    expected = region_label_scores([relabel_consecutive(cut)[0][leaves] for cut in cuts], truths, thresholds)
    got = tree_scores([contingency(truth, leaves) for truth in truths], parents, altitudes, thresholds)
    assert_same_scores(got, expected)
    assert got.n_regions[-1] == 1


def test_thresholds_meet_altitudes_in_their_own_precision():
    # float32(0.1) exceeds 0.1: comparing in float64 would keep the leaves apart
    altitudes = np.array([0, 0, 0.1], np.float32)
    scores = tree_scores([np.array([[1, 1]])], np.array([2, 2, 2]), altitudes, np.array([0.05, 0.1]))
    assert scores.n_regions.tolist() == [2, 1]


def test_label_scores_match_hand_worked_pair_of_annotators():
    whole, halves = np.zeros((2, 2), np.int32), np.array([[0, 0], [1, 1]], np.int32)
    scores = region_label_scores([whole, halves], [whole, halves])
    # whole against halves: two regions of 2 pixels, each overlaps the whole by 1/2
    np.testing.assert_allclose(scores.overlap, [4 + 2, 2 + 4])
    np.testing.assert_allclose(scores.covering, [6 / 8, 6 / 8])
    np.testing.assert_allclose(scores.rand_index, [(1 + 1 / 3) / 2] * 2)
    np.testing.assert_allclose(scores.variation_of_information, [0.5, 0.5])
    assert scores.n_regions.tolist() == [1, 2]
    assert scores.thresholds.tolist() == [1, 2]
    assert (scores.best_overlap, scores.area) == (8, 8)


def image_scores(overlap, rand, information, best, area):
    return RegionScores(
        np.array([0.2, 0.6]), np.array(overlap), np.array(rand), np.array(information), np.ones(2), best, area
    )


def test_aggregate_matches_hand_worked_images():
    few = image_scores([6.0, 2.0], [0.9, 0.5], [1.0, 2.0], 7.0, 10.0)
    many = image_scores([10.0, 20.0], [0.5, 0.7], [2.0, 0.4], 24.0, 30.0)
    summary = aggregate([few, many])
    assert dataclasses.asdict(summary) == pytest.approx(
        {
            "covering_ods": 22 / 40,
            "covering_ois": 26 / 40,
            "covering_best": 31 / 40,
            "pri_ods": 0.7,
            "pri_ois": 0.8,
            "vi_ods": 1.2,
            "vi_ois": 0.7,
            "covering_threshold": 0.6,
            "pri_threshold": 0.2,
            "vi_threshold": 0.6,
        }
    )


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_ods_is_no_better_than_ois_and_best(seeds):
    images = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        truths = [relabel_consecutive(rng.integers(0, 3, (4, 4)))[0] for _ in range(2)]
        parents, altitudes = random_tree(16, seed)
        images.append(tree_scores([contingency(t, np.arange(16).reshape(4, 4)) for t in truths], parents, altitudes))
    summary = aggregate(images)
    assert summary.covering_ods <= summary.covering_ois + 1e-12 <= summary.covering_best + 2e-12 <= 1 + 3e-12
    assert summary.pri_ods <= summary.pri_ois + 1e-12
    assert summary.vi_ods >= summary.vi_ois - 1e-12
    for image in images:
        assert (np.diff(image.n_regions) <= 0).all()


def test_ucm_labels_follow_hand_drawn_map():
    ucm = np.zeros((5, 5))
    ucm[2, :] = 0.3  # upper row | lower row
    ucm[2:, 2] = 0.7  # lower left | lower right
    for threshold, expected in [(0.2, [[0, 0], [1, 2]]), (0.3, [[0, 0], [0, 0]]), (0.9, [[0, 0], [0, 0]])]:
        np.testing.assert_array_equal(ucm_labels(ucm, threshold), expected)
    ucm[2, :] = 0.7
    np.testing.assert_array_equal(ucm_labels(ucm, 0.5), [[0, 0], [1, 2]])


def test_ucm_labels_join_through_an_open_corner():
    # bwlabel is 8-connected by default: a contour with a hole at its corner does not separate
    ucm = np.zeros((5, 5))
    ucm[2, :] = ucm[:, 2] = 0.7
    assert ucm_labels(ucm, 0.5).max() == 3
    ucm[2, 2] = 0.1
    assert ucm_labels(ucm, 0.5).max() == 0


@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (1, 5)])
def test_single_size_ucm_is_refused(shape):
    with pytest.raises(InputError, match="Give the double-size map"):
        ucm_labels(np.zeros(shape), 0.5)


TABLES = [np.array([[2, 0], [0, 2]])]
PARENTS, ALTITUDES = np.array([2, 2, 2]), np.array([0.0, 0.0, 0.5])


@pytest.mark.parametrize(
    ("tables", "parents", "altitudes", "thresholds", "remedy"),
    [
        ([], PARENTS, ALTITUDES, THRESHOLDS, "at least one truth"),
        ([*TABLES, np.array([[1, 3]])], PARENTS, ALTITUDES, THRESHOLDS, "with one label map"),
        ([np.array([[-1, 1]])], PARENTS, ALTITUDES, THRESHOLDS, r"Use contingency\(\)"),
        ([np.zeros((1, 2), int)], PARENTS, ALTITUDES, THRESHOLDS, r"Use contingency\(\)"),
        (TABLES, PARENTS[:1], ALTITUDES[:1], THRESHOLDS, "from the tree's own labels"),
        (TABLES, np.array([2, 0, 2]), ALTITUDES, THRESHOLDS, "order nodes leaves first"),
        (TABLES, np.array([2, 2, 1]), ALTITUDES, THRESHOLDS, "order nodes leaves first"),
        (TABLES, np.array([2, 3, 2]), ALTITUDES, THRESHOLDS, "order nodes leaves first"),
        (TABLES, PARENTS, np.array([0.0, 0.6, 0.5]), THRESHOLDS, "rise towards the root"),
        (TABLES, PARENTS, np.array([0.0, 0.0, np.nan]), THRESHOLDS, "rise towards the root"),
        (TABLES, PARENTS, ALTITUDES, np.array([0.5, 0.5]), "sort them"),
        (TABLES, PARENTS, ALTITUDES, np.array([]), "sort them"),
    ],
)
def test_bad_trees_are_refused(tables, parents, altitudes, thresholds, remedy):
    with pytest.raises(InputError, match=remedy):
        tree_scores(tables, parents, altitudes, thresholds)


def test_bad_label_scores_and_aggregates_are_refused():
    truth = np.zeros((1, 2), np.int32)
    with pytest.raises(InputError, match="at least one segmentation"):
        region_label_scores([], [truth])
    with pytest.raises(InputError, match="at least one truth"):
        region_label_scores([truth], [])
    with pytest.raises(InputError, match="relabel_consecutive"):
        region_label_scores([truth - 1], [truth])
    with pytest.raises(InputError, match="one value per threshold"):
        region_label_scores([truth], [truth], np.array([0.1, 0.2]))
    with pytest.raises(InputError, match="scores of at least one"):
        aggregate([])
    with pytest.raises(InputError, match=r"image 1 has 2 thresholds, image 0 has 1, .* at the same thresholds"):
        aggregate([region_label_scores([truth], [truth]), region_label_scores([truth, truth], [truth])])


def reference_scores(folder, form):
    """Return the scores of the five reference images from `ucm2` at five thresholds, or from their `segs`."""
    scores = []
    for path in sorted((folder / "groundTruth").glob("*.mat"), key=lambda path: int(path.stem)):
        given = scipy.io.loadmat(folder / form / path.name)
        if form == "ucm2":
            thresholds = np.arange(1, 6) / 6
            label_maps = [ucm_labels(given["ucm2"], threshold) for threshold in thresholds]
        else:
            thresholds = None
            label_maps = [relabel_consecutive(labels.astype(np.int32))[0] for labels in given["segs"][0]]
        scores.append(region_label_scores(label_maps, read_segmentations(path), thresholds))
    return scores


@pytest.mark.dataset
@pytest.mark.parametrize(("form", "tables"), [("ucm2", ["test_1"]), ("segs", ["test_4", "test_5"])])
def test_official_benchmark_tables_are_reproduced(data_root, form, tables):
    scores = reference_scores(data_root / "bsds_bench_reference", form)
    got = aggregate(scores)
    covering = sum(image.overlap for image in scores) / sum(image.area for image in scores)
    rand = np.mean([image.rand_index for image in scores], axis=0)
    information = np.mean([image.variation_of_information for image in scores], axis=0)
    thresholds = scores[0].thresholds
    cover = [got.covering_threshold, got.covering_ods, got.covering_ois, got.covering_best]
    rand_voi = [got.pri_threshold, got.pri_ods, got.pri_ois, got.vi_threshold, got.vi_ods, got.vi_ois]
    per_image = [(image.thresholds[image.covering.argmax()], image.covering.max()) for image in scores]
    for table in tables:
        expected = {
            name: np.loadtxt(data_root / "bsds_bench_reference" / table / f"{name}.txt")
            for name in ("eval_cover", "eval_cover_th", "eval_cover_img", "eval_RI_VOI", "eval_RI_VOI_thr")
        }
        np.testing.assert_allclose(cover, expected["eval_cover"], atol=1e-5)
        np.testing.assert_allclose(rand_voi, expected["eval_RI_VOI"], atol=1e-5)
        np.testing.assert_allclose(np.c_[thresholds, covering], expected["eval_cover_th"], atol=1e-5)
        np.testing.assert_allclose(np.c_[thresholds, rand, information], expected["eval_RI_VOI_thr"], atol=1e-5)
        np.testing.assert_allclose(per_image, expected["eval_cover_img"][:, 1:3], atol=1e-5)


THRESHOLDS_POOLED_IOU = np.array([-0.5, 0.0, 0.1, 0.11, 0.3, 0.55, 5.0])
FIGURES = ("all", "fine", "coarse", "mean")
seeds = st.integers(0, 999)


def draw(rng, n_labels):
    return relabel_consecutive(rng.integers(0, n_labels, (5, 6)))[0]


def best_ious(truth, labels):
    """Return the best IoU of each truth region by counting pixels."""
    actual = []
    for i in np.unique(truth):
        masks = [labels == j for j in np.unique(labels)]
        actual.append(max(((truth == i) & mask).sum() / ((truth == i) | mask).sum() for mask in masks))
    return actual


def figures_by_lists(images, index):
    """Return all, fine, coarse: means of one list of best IoUs each, image by image; index[image] is the label map."""
    everyone, fine, coarse = [], [], []
    for (label_maps, truths), chosen in zip(images, index, strict=True):
        actual = [best_ious(truth, label_maps[chosen]) for truth in truths]
        everyone += itertools.chain.from_iterable(actual)
        fine += max(actual, key=len)  # the first of the longest
        coarse += min(actual, key=len)
    return [np.mean(values) for values in (everyone, fine, coarse)]


def draw_images(seed, n_images=3):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, (n_images, 3))
    return [([draw(rng, k) for k in (1, 4, 9)], [draw(rng, k) for k in row[: rng.integers(1, 4)]]) for row in sizes]


@given(seeds)
def test_figures_match_lists_of_ious_over_all_images(seed):
    images = draw_images(seed)
    scores = [label_pooled_iou(*image) for image in images]
    by_map = [figures_by_lists(images, [chosen] * len(images)) for chosen in range(3)]
    best = int(np.argmax([np.mean(values) for values in by_map]))
    summary = aggregate_pooled_iou(scores)
    assert [getattr(summary, name) for name in FIGURES] == pytest.approx([*by_map[best], np.mean(by_map[best])])
    assert np.mean(by_map[int(summary.threshold) - 1]) == pytest.approx(summary.mean)
    own = [int(np.argmax([np.mean(figures_by_lists([image], [chosen])) for chosen in range(3)])) for image in images]
    assert summary.mean_ois == pytest.approx(np.mean(figures_by_lists(images, own)))


@given(st.integers(1, 12), seeds)
def test_tree_scores_match_label_scores_of_walked_cuts_pooled_iou(random_tree, walked_cut, n_leaves, seed):
    rng = np.random.default_rng(seed)
    parents, altitudes = random_tree(n_leaves, seed)
    leaves = np.concatenate([np.arange(n_leaves), rng.integers(0, n_leaves, 30 - n_leaves)]).reshape(5, 6)
    truths = [draw(rng, k) for k in (1, 3, 7)]
    cuts = [walked_cut(parents, altitudes, n_leaves, np.float32(t)) for t in THRESHOLDS_POOLED_IOU]
    expected = label_pooled_iou([relabel_consecutive(cut)[0][leaves] for cut in cuts], truths, THRESHOLDS_POOLED_IOU)
    got = tree_pooled_iou([contingency(truth, leaves) for truth in truths], parents, altitudes, THRESHOLDS_POOLED_IOU)
    np.testing.assert_allclose(got.sums, expected.sums)
    np.testing.assert_array_equal(got.n_regions, expected.n_regions)
    np.testing.assert_array_equal(got.thresholds, THRESHOLDS_POOLED_IOU)


@given(seeds)
def test_relabelling_and_transposing_change_nothing_pooled_iou(seed):
    label_maps, truths = draw_images(seed, 1)[0]
    rng = np.random.default_rng(seed)

    def changed(labels):
        return rng.permutation(labels.max() + 1)[labels].T

    expected = label_pooled_iou(label_maps, truths)
    got = label_pooled_iou([changed(labels) for labels in label_maps], [changed(truth) for truth in truths])
    np.testing.assert_allclose(got.sums, expected.sums)


@given(seeds)
def test_perfect_predictions_reach_one_and_nothing_exceeds_it(seed):
    label_maps, truths = draw_images(seed, 1)[0]
    perfect = aggregate_pooled_iou([label_pooled_iou(truths[:1], truths[:1])])
    assert dataclasses.astuple(perfect) == (1, 1, 1, 1, 1, 1)  # and the threshold is 1
    scores = label_pooled_iou(label_maps, truths)
    assert ((scores.sums > 0) & (scores.sums <= scores.n_regions[:, None] + 1e-12)).all()


def test_hand_worked_image_of_two_annotators():
    whole, three = np.zeros((1, 6), np.int32), np.array([[0, 0, 0, 1, 1, 2]])
    halves = np.array([[0, 0, 0, 1, 1, 1]])
    scores = label_pooled_iou([halves], [whole, three])
    # the whole is half covered; 3 of 3, 2 of 3, 1 of 3
    np.testing.assert_allclose(scores.sums, [[1 / 2], [1 + 2 / 3 + 1 / 3]])
    assert (scores.fine, scores.coarse) == (1, 0)
    summary = aggregate_pooled_iou([scores])
    expected = [2.5 / 4, 2 / 3, 1 / 2]
    assert dataclasses.astuple(summary) == pytest.approx((*expected, np.mean(expected), 1.0, np.mean(expected)))


def test_one_annotator_makes_all_figures_equal():
    truth, labels = np.array([[0, 0, 1, 2]]), np.array([[0, 1, 1, 1]])
    summary = aggregate_pooled_iou([label_pooled_iou([labels], [truth])])
    assert [getattr(summary, name) for name in FIGURES] == pytest.approx([(1 / 2 + 1 / 3 + 1 / 3) / 3] * 4)


def test_first_annotator_wins_ties():
    scores = PooledIoU(np.ones(1), np.ones((4, 1)), np.array([3, 2, 3, 2]))
    assert (scores.fine, scores.coarse) == (0, 1)


def test_aggregate_pools_regions_and_chooses_one_threshold():
    thresholds = np.array([0.2, 0.6])
    few = PooledIoU(thresholds, np.array([[0.9, 0.1]]), np.array([1]))
    many = PooledIoU(thresholds, np.array([[1.0, 3.0]]), np.array([4]))
    summary = aggregate_pooled_iou([few, many])
    assert dataclasses.astuple(summary) == pytest.approx((*[3.1 / 5] * 4, 0.6, 3.9 / 5))


def test_gaps_in_ids_and_one_region_inputs_are_defined():
    gap = np.array([[0, 0, 2, 2]])
    scores = label_pooled_iou([np.array([[0, 0, 3, 3]])], [gap])
    assert (scores.sums.tolist(), scores.n_regions.tolist()) == ([[2.0]], [2])
    tree = tree_pooled_iou([np.array([[2, 0], [0, 0], [0, 2]])], np.array([2, 2, 2]), np.array([0, 0, 0.5]))
    assert (tree.sums[0, 0], tree.n_regions.tolist()) == (2.0, [2])
    single = tree_pooled_iou([np.array([[3]])], np.array([0]), np.zeros(1))
    assert (single.sums == 1).all()


TABLE, PARENTS_POOLED_IOU, ALTITUDES_POOLED_IOU = np.array([[2, 0], [0, 2]]), np.array([2, 2, 2]), np.array([0, 0, 0.5])
PIXELS = np.zeros((1, 2), np.int32)


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda: tree_pooled_iou([], PARENTS_POOLED_IOU, ALTITUDES_POOLED_IOU), "at least one truth"),
        (lambda: tree_pooled_iou([TABLE, 2 * TABLE], PARENTS_POOLED_IOU, ALTITUDES_POOLED_IOU), "with one label map"),
        (lambda: tree_pooled_iou([TABLE], np.array([2, 0, 2]), ALTITUDES_POOLED_IOU), "order nodes leaves first"),
        (lambda: tree_pooled_iou([TABLE], PARENTS_POOLED_IOU, ALTITUDES_POOLED_IOU, np.array([0.5, 0.5])), "sort them"),
        (lambda: label_pooled_iou([], [PIXELS]), "at least one segmentation"),
        (lambda: label_pooled_iou([PIXELS], []), "at least one truth"),
        (lambda: label_pooled_iou([PIXELS - 1], [PIXELS]), "relabel_consecutive"),
        (lambda: label_pooled_iou([PIXELS], [PIXELS - 1]), "relabel_consecutive"),
        (lambda: label_pooled_iou([PIXELS], [PIXELS], np.array([0.1, 0.2])), "give one for each"),
        (lambda: aggregate_pooled_iou([]), "scores of at least one"),
        (lambda: PooledIoU(np.ones(2), np.ones((1, 1)), np.ones(1, int)), "tree_pooled_iou returns them"),
        (lambda: PooledIoU(np.ones(1), np.ones((1, 1)), np.zeros(1, int)), "a region each"),
    ],
)
def test_bad_inputs_are_refused(call, remedy):
    with pytest.raises(InputError, match=remedy):
        call()


@pytest.mark.dataset
def test_reference_segmentations_match_lists_of_ious(data_root):
    folder, images = data_root / "bsds_bench_reference", []
    for path in sorted((folder / "groundTruth").glob("*.mat"))[:2]:
        segs = scipy.io.loadmat(folder / "segs" / path.name)["segs"][0]
        maps = [relabel_consecutive(labels.astype(np.int32))[0] for labels in segs]
        images.append(([maps[0], maps[-1]], read_segmentations(path)))
    summary = aggregate_pooled_iou([label_pooled_iou(*image) for image in images])
    by_map = [figures_by_lists(images, [chosen] * 2) for chosen in range(2)]
    best = int(np.argmax([np.mean(values) for values in by_map]))
    assert [getattr(summary, name) for name in FIGURES] == pytest.approx([*by_map[best], np.mean(by_map[best])])
    perfect = aggregate_pooled_iou([label_pooled_iou(truths[:1], truths[:1]) for _, truths in images])
    assert perfect.mean == 1
