from dataclasses import dataclass

import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.datasets.bsds500 import read_segmentations
from supercuts.evaluate.hierarchies import (
    HierarchyTable,
    evaluate_hierarchies,
    score_contour_map,
    score_disjoint_nodes,
    score_hierarchy,
    score_regions,
    score_segmentations,
    score_soft_map,
    summarise,
)
from supercuts.evaluate.results import ContourMap, SoftMap, read_hierarchy_result
from supercuts.metrics.boundary import thin_boundaries


@dataclass(frozen=True)
class Tree:
    """Two leaves that merge at 0.5."""

    labels: np.ndarray
    parents = np.array([2, 2, 2], np.int32)
    altitudes = np.array([0, 0, 0.5], np.float32)

    def ucm(self):
        return contours()


def contours():
    ucm = np.zeros((9, 9), np.float32)
    ucm[:, 4] = 0.5
    return ucm


def test_regions_at_the_99_thresholds(halves, whole):
    scores = score_regions(Tree(halves), [halves, whole])
    np.testing.assert_allclose(scores.thresholds, np.arange(1, 100) / 100)
    assert scores.n_regions.tolist() == [2] * 49 + [1] * 50
    np.testing.assert_allclose(scores.covering, 0.75)
    assert scores.best_overlap == scores.area == 32


def test_a_tree_and_its_contour_map_score_alike(halves, whole):
    thresholds = np.array([0.2, 0.8])
    of_tree = score_hierarchy(Tree(halves), [halves, whole], thresholds)
    of_map = score_contour_map(contours(), [halves, whole], thresholds)
    assert summarise([of_tree]) == summarise([of_map])
    assert of_tree.boundaries.n_predicted.tolist() == [4, 0]
    assert summarise([of_tree])["best_node"] == 1


def test_perfect_results_score_perfectly(halves):
    for scores in (score_contour_map(contours(), [halves]), score_segmentations([halves], [halves])):
        figures = summarise([scores])
        for name in ("covering_ods", "covering_best", "pri_ods", "boundary_ods_f", "objects_parts_ods_f", "miou_mean"):
            assert figures[name] == pytest.approx(1), name
        assert figures["vi_ods"] == 0


def test_segmentations_have_thresholds_one_two_three(halves, whole):
    scores = score_segmentations([halves, whole], [halves])
    assert scores.regions.thresholds.tolist() == scores.boundaries.thresholds.tolist() == [1, 2]
    assert scores.regions.n_regions.tolist() == [2, 1]
    assert scores.nodes is None
    with pytest.raises(InputError, match="give at least one label map"):
        score_segmentations([], [halves])


def test_soft_maps_have_boundaries_alone(halves):
    strength = thin_boundaries(halves) * 0.6
    scores = score_soft_map(strength, [halves], np.array([0.5, 0.7]))
    assert scores.boundaries.f.tolist() == [1, 0]
    assert scores.regions is scores.nodes is scores.pooled_iou is scores.objects_parts is None
    assert all(name.startswith("boundary_") for name in summarise([scores]))


def test_non_maximum_suppression_thins_soft_maps():
    truth = np.zeros((40, 60), np.int32)
    truth[:, 30:] = 1
    across = np.abs(np.arange(60) - 29.0)
    strength = np.tile(np.exp(-((across / 2) ** 2)), (40, 1))
    plain = score_soft_map(strength, [truth], np.array([0.05]))
    suppressed = score_soft_map(strength, [truth], np.array([0.05]), nms=True)
    assert suppressed.boundaries.precision[0] == 1
    assert plain.boundaries.precision[0] < 1 or plain.boundaries.recall[0] < 1


def test_boundaries_may_be_left_out(halves):
    assert score_hierarchy(Tree(halves), [halves], boundaries=False).boundaries is None
    assert score_contour_map(contours(), [halves], boundaries=False).boundaries is None
    assert score_segmentations([halves], [halves], boundaries=False).boundaries is None


def test_hierarchies_are_aggregated_over_images(samples, halves):
    table = evaluate_hierarchies(lambda image: Tree(halves), samples)
    assert table.names == ("first", "second")
    # first: 24 of 32 everywhere; second: 16 of 16, then 8
    assert table.figures["covering_ods"] == pytest.approx(40 / 48)
    assert table.figures["covering_threshold"] == pytest.approx(0.01)
    assert table.figures["vi_ods"] == pytest.approx((0.5 + 0) / 2)
    again = evaluate_hierarchies([Tree(halves)] * 2, samples, np.array([0.2, 0.8]), boundaries=False)
    assert again.figures["covering_ods"] == pytest.approx(40 / 48)
    assert "boundary_ods_f" not in again.figures
    low, high = again.interval_95()["covering_ods"]
    assert low == pytest.approx(0.75)
    assert high == pytest.approx(1)


def test_figures_are_those_that_all_images_have(halves):
    with_boundaries, without = (score_hierarchy(Tree(halves), [halves], boundaries=item) for item in (True, False))
    table = HierarchyTable(("a", "b"), (with_boundaries, without))
    assert "covering_ods" in table.figures
    assert "boundary_ods_f" not in table.figures
    with pytest.raises(InputError, match="at least one"):
        summarise([])


def test_truths_must_fit(halves):
    with pytest.raises(InputError, match="score label maps of one image"):
        score_hierarchy(Tree(halves[:2]), [halves])
    with pytest.raises(InputError, match="relabel_consecutive"):
        score_hierarchy(Tree(halves - 1), [halves])
    with pytest.raises(InputError, match="at least one truth"):
        score_soft_map(np.zeros((4, 4)), [])


# the official benchmark


def reference_scores(folder, form):
    """Return the scores of the five reference images, each read and scored as `supercuts evaluate` does."""
    # linspace as in the benchmark: grey values of the PNG lie on 1/3 and 2/3
    thresholds = np.linspace(1 / 6, 5 / 6, 5)
    for path in sorted((folder / "groundTruth").glob("*.mat"), key=lambda path: int(path.stem)):
        truths = read_segmentations(path)
        file = folder / form / f"{path.stem}{'.png' if form == 'png' else '.mat'}"
        result = read_hierarchy_result(file, truths[0].shape)
        if isinstance(result, ContourMap):
            yield score_contour_map(result.ucm, truths, thresholds)
        elif isinstance(result, SoftMap):
            yield score_soft_map(result.strength, truths, thresholds)
        else:
            yield score_segmentations(result.label_maps, truths)


@pytest.mark.dataset
@pytest.mark.parametrize(
    ("form", "tables"), [("ucm2", ["test_1"]), ("png", ["test_2"]), ("segs", ["test_3", "test_4", "test_5"])]
)
def test_official_tables_are_reproduced_from_files(data_root, form, tables):
    folder = data_root / "bsds_bench_reference"
    scores = list(reference_scores(folder, form))
    figures, images = summarise(scores), [summarise([image]) for image in scores]
    for table in tables:
        for file, names, tolerance in OFFICIAL:
            if (path := folder / table / f"{file}.txt").is_file():
                expected = np.loadtxt(path)
                if file.endswith("_img"):
                    got = [[image[name] for name in names] for image in images]
                    expected = expected[:, 2 : 2 + len(names)]
                else:
                    got = [figures[name] for name in names]
                np.testing.assert_allclose(got, expected, atol=tolerance, err_msg=f"{table} {file}")


OFFICIAL = (
    ("eval_cover", ("covering_threshold", "covering_ods", "covering_ois", "covering_best"), 1e-5),
    ("eval_cover_img", ("covering_ods",), 1e-5),
    ("eval_RI_VOI", ("pri_threshold", "pri_ods", "pri_ois", "vi_threshold", "vi_ods", "vi_ois"), 1e-5),
    (
        "eval_bdry",
        tuple(
            f"boundary_{name}"
            for name in (
                "ods_threshold",
                "ods_recall",
                "ods_precision",
                "ods_f",
                "ois_recall",
                "ois_precision",
                "ois_f",
                "ap",
            )
        ),
        2e-3,
    ),
    ("eval_bdry_img", ("boundary_ods_recall", "boundary_ods_precision", "boundary_ods_f"), 2e-3),
)


def test_objects_are_scored_by_disjoint_nodes_without_the_background():
    tree = Tree(np.array([[0, 0, 0, 1, 1]]))
    best = score_disjoint_nodes(tree, np.array([[7, 7, 0, 0, 0]]))
    assert (best.node.tolist(), best.score) == ([0], pytest.approx(2 / 3))
    best = score_disjoint_nodes(tree, np.array([[7, 7, 0, 3, 3]]), background=None)  # labels 0, 3, 7
    assert (best.node.tolist(), best.jaccard.round(2).tolist()) == ([0, 1, 0], [0.33, 1.0, 0.67])
