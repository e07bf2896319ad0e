import itertools

import numpy as np
import pytest
import torch

from supercuts.networks import ssn
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels import soft_kmeans
from supercuts.superpixels.compiled_kmeans import assign, candidates, pixel_features
from supercuts.superpixels.grid import Grid

SHAPES = [(1, 1, 1, 1), (3, 1, 2, 1), (17, 23, 4, 5), (24, 36, 3, 6), (20, 31, 20, 31), (61, 23, 13, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_learned", [0, 5])
@pytest.mark.parametrize("n_threads", ["1", "3"])
def test_values_are_those_of_the_differentiable_form(monkeypatch, shape, n_learned, n_threads):
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    grid, config = Grid(*shape), SSNConfig()
    rng = np.random.default_rng(0)
    color = rng.uniform(0, 100, (3, *shape[:2])).astype(np.float32)
    embeddings = rng.normal(0, 3, (n_learned, *shape[:2])).astype(np.float32)
    features = pixel_features(color, embeddings, grid, config)
    with torch.inference_mode():
        layout = soft_kmeans.make_layout(grid)
        tensors = [torch.from_numpy(x)[None] for x in (color, embeddings)]
        expected = ssn.pixel_features(*tensors, grid, config)
        soft = soft_kmeans.soft_kmeans(soft_kmeans.to_cells(expected, layout), layout, 4)
    np.testing.assert_array_equal(features.transpose(2, 0, 1), expected[0])
    np.testing.assert_array_equal(candidates(grid), layout.near)
    found = assign(features, grid, 4)
    np.testing.assert_array_equal(found.weights, soft.weights[0])
    np.testing.assert_array_equal(found.centers, soft.centers[0])


def test_candidates_by_hand():
    # cells 0 1 / 2 3; 4 where there is none
    np.testing.assert_array_equal(candidates(Grid(2, 2, 2, 2))[0], [4, 4, 4, 4, 0, 1, 4, 2, 3])
    np.testing.assert_array_equal(candidates(Grid(2, 2, 2, 2))[3], [0, 1, 4, 2, 3, 4, 4, 4, 4])


@pytest.mark.parametrize("last", [2, 3, 4])
def test_iterations_end_once_centres_move_no_farther_than_the_tolerance(last):
    grid = Grid(24, 36, 3, 6)
    color = np.random.default_rng(0).uniform(0, 100, (3, 24, 36)).astype(np.float32)
    features = pixel_features(color, np.zeros((0, 24, 36), np.float32), grid, SSNConfig())
    centers = [assign(features, grid, n).centers for n in range(1, 7)]
    moves = [np.linalg.norm(b - a, axis=1).mean() for a, b in itertools.pairwise(centers)]  # in 2, 3, ...
    assert min(moves[: last - 2], default=np.inf) > moves[last - 2]
    found = assign(features, grid, 6, tolerance=1.001 * float(moves[last - 2]))
    np.testing.assert_array_equal(found.centers, centers[last - 1])
    np.testing.assert_array_equal(found.weights, assign(features, grid, last).weights)
