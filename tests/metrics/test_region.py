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
    RegionScores,
    aggregate,
    label_scores,
    rand_index,
    segmentation_covering,
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
    expected = label_scores(pair, pair)
    renamed, spread = [permuted(labels, seed) for labels in pair], [gapped(labels, seed) for labels in pair]
    for labels, truths in [(renamed, pair), (pair, spread), (spread, renamed), ([a.T for a in pair],) * 2]:
        assert_same_scores(label_scores(labels, truths), expected)


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
    scores = label_scores([labels, truth], [truth, labels])
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
    # nothing but pairs that should be together; of six, two are
    assert [metric(halves) for metric in METRICS] == pytest.approx([1 / 2, 1 / 3, 1])
    assert [metric(halves.T) for metric in METRICS] == pytest.approx([1 / 2, 1 / 3, 1])
    assert [metric(pixels) for metric in METRICS] == pytest.approx([1 / 4, 0, 2])
    assert [metric(np.array([[1]])) for metric in METRICS] == [1, 1, 0]
    pixel = np.zeros((1, 1), np.int32)
    by_label = label_scores([pixel], [pixel])
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
    expected = label_scores([relabel_consecutive(cut)[0][leaves] for cut in cuts], truths, thresholds)
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
    scores = label_scores([whole, halves], [whole, halves])
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
        label_scores([], [truth])
    with pytest.raises(InputError, match="at least one truth"):
        label_scores([truth], [])
    with pytest.raises(InputError, match="relabel_consecutive"):
        label_scores([truth - 1], [truth])
    with pytest.raises(InputError, match="one value per threshold"):
        label_scores([truth], [truth], np.array([0.1, 0.2]))
    with pytest.raises(InputError, match="scores of at least one"):
        aggregate([])
    with pytest.raises(InputError, match=r"image 1 has 2 thresholds, image 0 has 1, .* at the same thresholds"):
        aggregate([label_scores([truth], [truth]), label_scores([truth, truth], [truth])])


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
        scores.append(label_scores(label_maps, read_segmentations(path), thresholds))
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
