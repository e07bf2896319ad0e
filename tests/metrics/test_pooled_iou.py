import dataclasses
import itertools

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.datasets.bsds500 import read_segmentations
from supercuts.metrics.pooled_iou import PooledIoU, aggregate_pooled_iou, label_pooled_iou, tree_pooled_iou

THRESHOLDS = np.array([-0.5, 0.0, 0.1, 0.11, 0.3, 0.55, 5.0])
FIGURES = ("all", "fine", "coarse", "mean")
seeds = st.integers(0, 999)


def draw(rng, n_labels):
    return relabel_consecutive(rng.integers(0, n_labels, (5, 6)))[0]


def best_ious(truth, labels):
    """Return the best IoU of each truth region by counting pixels."""
    found = []
    for i in np.unique(truth):
        masks = [labels == j for j in np.unique(labels)]
        found.append(max(((truth == i) & mask).sum() / ((truth == i) | mask).sum() for mask in masks))
    return found


def figures_by_lists(images, index):
    """Return all, fine, coarse: means of one list of best IoUs each, image by image; index[image] is the label map."""
    everyone, fine, coarse = [], [], []
    for (label_maps, truths), chosen in zip(images, index, strict=True):
        found = [best_ious(truth, label_maps[chosen]) for truth in truths]
        everyone += itertools.chain.from_iterable(found)
        fine += max(found, key=len)  # the first of the longest
        coarse += min(found, key=len)
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
def test_tree_scores_match_label_scores_of_walked_cuts(random_tree, walked_cut, n_leaves, seed):
    rng = np.random.default_rng(seed)
    parents, altitudes = random_tree(n_leaves, seed)
    leaves = np.concatenate([np.arange(n_leaves), rng.integers(0, n_leaves, 30 - n_leaves)]).reshape(5, 6)
    truths = [draw(rng, k) for k in (1, 3, 7)]
    cuts = [walked_cut(parents, altitudes, n_leaves, np.float32(t)) for t in THRESHOLDS]
    expected = label_pooled_iou([relabel_consecutive(cut)[0][leaves] for cut in cuts], truths, THRESHOLDS)
    got = tree_pooled_iou([contingency(truth, leaves) for truth in truths], parents, altitudes, THRESHOLDS)
    np.testing.assert_allclose(got.sums, expected.sums)
    np.testing.assert_array_equal(got.n_regions, expected.n_regions)
    np.testing.assert_array_equal(got.thresholds, THRESHOLDS)


@given(seeds)
def test_relabelling_and_transposing_change_nothing(seed):
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


TABLE, PARENTS, ALTITUDES = np.array([[2, 0], [0, 2]]), np.array([2, 2, 2]), np.array([0, 0, 0.5])
PIXELS = np.zeros((1, 2), np.int32)


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda: tree_pooled_iou([], PARENTS, ALTITUDES), "at least one truth"),
        (lambda: tree_pooled_iou([TABLE, 2 * TABLE], PARENTS, ALTITUDES), "with one label map"),
        (lambda: tree_pooled_iou([TABLE], np.array([2, 0, 2]), ALTITUDES), "order nodes leaves first"),
        (lambda: tree_pooled_iou([TABLE], PARENTS, ALTITUDES, np.array([0.5, 0.5])), "sort them"),
        (lambda: label_pooled_iou([], [PIXELS]), "at least one segmentation"),
        (lambda: label_pooled_iou([PIXELS], []), "at least one truth"),
        (lambda: label_pooled_iou([PIXELS - 1], [PIXELS]), "relabel_consecutive"),
        (lambda: label_pooled_iou([PIXELS], [PIXELS - 1]), "relabel_consecutive"),
        (lambda: label_pooled_iou([PIXELS], [PIXELS], np.array([0.1, 0.2])), "give one for each"),
        (lambda: aggregate_pooled_iou([]), "scores of at least one"),
        (lambda: PooledIoU(np.ones(2), np.ones((1, 1)), np.ones(1, int)), "tree_pooled_iou gives them"),
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
