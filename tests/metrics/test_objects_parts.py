import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.datasets.bsds500 import read_segmentations
from supercuts.metrics.objects_parts import (
    ObjectsPartsScores,
    aggregate_objects_parts,
    label_objects_parts,
    tree_objects_parts,
)

THRESHOLDS = np.array([-0.5, 0.0, 0.1, 0.11, 0.3, 0.55, 5.0])
GAMMA_OBJECT, GAMMA_PART, BETA = Fraction(9, 10), Fraction(1, 4), Fraction(1, 10)
seeds = st.integers(0, 9999)


def candidates(labels):
    """Return the ids of regions of which the larger ones cover less than 99 % of the pixels."""
    ids, areas = np.unique(labels, return_counts=True)
    return {i for i, area in zip(ids, areas, strict=True) if 100 * areas[areas > area].sum() < 99 * labels.size}


def shares(truth, labels):
    """Return {(truth id, predicted id): (recall, precision)} of regions that meet, as exact fractions."""
    found = {}
    for i in np.unique(truth):
        for j in np.unique(labels[truth == i]):
            shared = int(((truth == i) & (labels == j)).sum())
            found[i, j] = Fraction(shared, int((truth == i).sum())), Fraction(shared, int((labels == j).sum()))
    return found


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
