import numpy as np
import pytest

from supercuts.datasets.bsds500 import BSDS500
from supercuts.merging.affinity import Judgements, merge_by_affinity, separation
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig
from supercuts.training.affinity import (
    AffinityTrainingConfig,
    PerceptronTrainingConfig,
    by_boundary,
    describe_leaves,
    fit_perceptrons,
    learn_affinity,
    share_that_separates,
)

SHORT = AffinityTrainingConfig(members=2, hidden=8, epochs=30, batch_size=64)


def test_a_pair_is_separated_by_those_for_whom_most_pixels_lie_in_different_segments():
    # leaves 0..3; nodes 4 = {0, 1}, 5 = {2, 3}, 6 = all
    parents = np.array([4, 4, 5, 5, 6, 6, 6])
    halves = np.array([[9, 5, 0, 1], [0, 4, 6, 9]])
    whole = np.array([[9, 9, 6, 10]])
    three = np.array([[9, 0, 0, 0], [0, 9, 1, 0], [0, 0, 5, 10]])
    pairs = np.array([[0, 1], [1, 2], [4, 5], [2, 3]])
    shares = share_that_separates(Judgements(np.zeros((4, 1), np.float32), pairs), parents, [halves, whole, three])
    np.testing.assert_allclose(shares, np.array([1, 2, 2, 0]) / 3, atol=1e-6)


def test_the_affinity_of_the_boundary_is_its_mean():
    features = np.array([[0.0, -2.0, 1.0], [0.0, 3.0, 1.0]], np.float32)
    np.testing.assert_allclose(separation(features, by_boundary(3)), 1 / (1 + np.exp([2.0, -3.0])), rtol=1e-6)


@pytest.mark.parametrize("region_channels", [0, 2])
def test_an_affinity_is_learned_from_images(training_root, region_channels):
    config = SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3, region_channels=region_channels)
    network = SSN(config).eval()
    images = [describe_leaves(sample, network, 40) for sample in BSDS500(training_root, "val")]
    assert [image.graph.n_nodes for image in images] == [40, 40]
    assert [table.shape for table in images[0].tables] == [(2, 40), (1, 40)]
    affinity = learn_affinity(images, SHORT)
    tree = merge_by_affinity(images[0].graph, images[0].statistics, affinity)
    assert tree.parents.size == 79
    # one of two annotators draws the one border
    assert 0.3 < tree.altitudes[-1] < 0.7
    assert tree.altitudes[60] < 0.2


SHORT_PERCEPTRONS = PerceptronTrainingConfig(members=2, hidden=8, epochs=30, batch_size=64)


def test_fitting_finds_a_probability_that_depends_on_the_features():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 5, (4000, 3)).astype(np.float32)
    expected = np.where(features[:, 0] > 3, 0.9, 0.2).astype(np.float32)
    perceptrons = fit_perceptrons(features, expected, np.ones(4000), SHORT_PERCEPTRONS)
    clear = abs(features[:, 0] - 3) > 1
    np.testing.assert_allclose(perceptrons.probability(features[clear]).mean(), expected[clear].mean(), atol=0.02)
    assert abs(perceptrons.probability(features[clear]) - expected[clear]).mean() < 0.06


def test_fitting_is_repeatable_and_seeded():
    rng = np.random.default_rng(0)
    features, targets = rng.random((300, 4), np.float32), rng.random(300, np.float32)
    first, same = (fit_perceptrons(features, targets, np.ones(300), SHORT_PERCEPTRONS) for _ in range(2))
    second = fit_perceptrons(features, targets, np.ones(300), SHORT_PERCEPTRONS.model_copy(update={"seed": 5}))
    np.testing.assert_array_equal(first.first, same.first)
    assert not np.array_equal(first.first, second.first)
    assert not np.array_equal(first.first[0], first.first[1])
