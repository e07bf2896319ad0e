from contextlib import nullcontext

import numpy as np
import pytest

import supercuts
from supercuts.datasets.bsds500 import BSDS500
from supercuts.hierarchy.cuts import LEVELS
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging.agglomerative import MergeTree
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig
from supercuts.objects.figure_ground import leaf_saliency
from supercuts.training.affinity import PerceptronTrainingConfig
from supercuts.training.calibrate import (
    CalibrationConfig,
    calibrate_levels,
    figure_of_segments,
    learn_calibration,
    learn_figure_ground,
    sum_of_figure,
)


@pytest.fixture(scope="module")
def samples(training_root):
    return BSDS500(training_root, "train+val")


@pytest.fixture(scope="module")
def network():
    return SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)).eval()


def test_all_that_a_network_needs_is_learned_and_each_pass_over_the_images_reported(network, samples):
    passes, steps = [], []

    def track(items, description):
        passes.append((description, len(items)))
        return items

    def working(description):
        steps.append(description)
        return nullcontext()

    calibration, levels = learn_calibration(network, samples, CalibrationConfig(leaves=30), track, working)
    rounds = ["", ", merged by the affinity"]
    kinds = [f"superpixels{views}{by}" for by in rounds for views in ("", " of many views")]
    assert passes == [(kind, 4) for kind in (*kinds, "hierarchies")]
    assert steps == ["learning a first affinity", "learning the affinity", "learning figure and ground"]
    assert calibration.of("affinity").keys() == calibration.of("figure_ground").keys()
    assert calibration.of("gnn") == {}
    assert calibration.levels == {name: levels[name].altitude for name in LEVELS}

    again, _ = learn_calibration(network, samples, CalibrationConfig(leaves=30))
    for name, values in calibration.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values)


def test_the_seed_decides_the_random_start(network, samples):
    first, second = (learn_calibration(network, samples[:2], CalibrationConfig(leaves=30, seed=s))[0] for s in (0, 1))
    for kind in ("affinity", "figure_ground"):
        assert any(not np.array_equal(first.of(kind)[name], second.of(kind)[name]) for name in first.of(kind))


def test_levels_fit_the_coarsest_the_median_and_the_finest_annotator():
    # four leaves of ten pixels: {0, 1} at 0.2, {2, 3} at 0.5, all at 0.8
    tree = MergeTree(np.array([4, 4, 5, 5, 6, 6, 6], np.int32), np.array([0, 0, 0, 0, 0.2, 0.5, 0.8], np.float32))
    fine = 10 * np.eye(4, dtype=np.int64)
    middle = np.array([fine[0] + fine[1], fine[2] + fine[3]])
    coarse = fine.sum(0, keepdims=True)
    levels = calibrate_levels([tree, tree], [[middle, fine, coarse], [fine, coarse, middle]])
    assert list(levels) == ["scene", "object", "part"]
    assert levels["scene"].altitude >= 0.8 > levels["object"].altitude >= 0.5 > 0.2 > levels["part"].altitude
    assert [level.rand_index for level in levels.values()] == pytest.approx([1, 1, 1])
    assert [level.covering for level in levels.values()] == pytest.approx([1, 1, 1])
    assert [(level.regions, level.truth_regions) for level in levels.values()] == [(1, 1), (2, 2), (4, 4)]


def squares(seed):
    """Return an image with a square that the frame does not cut, and its segmentation."""
    rng = np.random.default_rng(seed)
    y, x = rng.integers(5, 25, 2)
    truth = np.zeros((50, 60), np.int32)
    truth[y : y + 20, x : x + 25] = 1
    colors = rng.integers(0, 256, (2, 3))
    return (colors[truth] + rng.integers(-5, 6, (50, 60, 3))).clip(0, 255).astype(np.uint8), truth


def test_a_segment_is_figure_the_less_the_frame_cuts_it():
    truth = np.zeros((40, 40), np.int32)
    truth[10:20, 10:20] = 1  # inside
    truth[0:20, 25:35] = 2  # ten pixels of the frame, 200 in all
    background, inside, cut = figure_of_segments(truth)
    assert inside == 1
    assert cut == pytest.approx(np.exp(-2 * 10**2 / 200))
    assert background < 1e-3


def test_the_coarser_half_of_the_annotators_decides():
    labels = np.array([[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]], np.int32)
    h = Hierarchy(
        labels,
        np.array([4, 3, 3, 4, 4], np.int32),
        np.array([0, 0, 0, 0.2, 0.9], np.float32),
        np.zeros((3, 0), np.float32),
    )
    whole, coarse, fine = np.zeros((3, 4), np.int32), (labels > 0).astype(np.int32), labels
    ground = figure_of_segments(whole)[0]
    around = figure_of_segments(coarse)[0]
    actual = sum_of_figure(h, [fine, whole, coarse])
    np.testing.assert_allclose(actual[1:4], [(1 + ground) / 2, (1 + ground) / 2, 1 + ground])
    np.testing.assert_allclose(actual[0], 10 * (ground + around) / 2)


def test_squares_are_separated_from_their_background():
    model = supercuts.load("compact")
    pictures = [squares(seed) for seed in range(9)]
    trees = [model.segment(image, superpixels=30) for image, _ in pictures]
    config = PerceptronTrainingConfig(members=2, hidden=8, epochs=60, batch_size=64)
    judge = learn_figure_ground(trees[:8], [[truth] for _, truth in pictures[:8]], config)
    again = learn_figure_ground(trees[:8], [[truth] for _, truth in pictures[:8]], config)
    np.testing.assert_array_equal(judge.first, again.first)
    saliency = leaf_saliency(trees[8], judge)[trees[8].labels]
    truth = pictures[8][1] == 1
    assert saliency[truth].mean() > saliency[~truth].mean() + 0.5
