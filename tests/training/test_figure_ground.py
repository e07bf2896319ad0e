import numpy as np
import pytest

import supercuts
from supercuts.hierarchy.tree import Hierarchy
from supercuts.objects.figure_ground import leaf_saliency
from supercuts.training.affinity import PerceptronTrainingConfig
from supercuts.training.figure_ground import figure_of_segments, learn_figure_ground, sum_of_figure


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
    found = sum_of_figure(h, [fine, whole, coarse])
    np.testing.assert_allclose(found[1:4], [(1 + ground) / 2, (1 + ground) / 2, 1 + ground])
    np.testing.assert_allclose(found[0], 10 * (ground + around) / 2)


def test_squares_are_told_from_their_background():
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
