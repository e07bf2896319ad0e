import numpy as np
import pytest
import torch

from supercuts.superpixels import soft_kmeans, ssn
from supercuts.superpixels.compiled_kmeans import assign, candidates, pixel_features
from supercuts.superpixels.config import SSNConfig
from supercuts.superpixels.grid import Grid


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 2, 1), (17, 23, 4, 5), (24, 36, 3, 6), (20, 31, 20, 31)])
@pytest.mark.parametrize("n_learned", [0, 5])
def test_values_are_those_of_the_differentiable_form(shape, n_learned):
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
