import numpy as np
import pytest

from supercuts.networks.predict import predict
from supercuts.settings import PIXEL_CONFIG
from supercuts.superpixels.leaves import make_leaves


@pytest.fixture
def maps():
    image = np.random.default_rng(0).integers(0, 40, (30, 44, 3)).astype(np.uint8)
    image[:, 22:] += 180
    return predict(image, None)


@pytest.mark.parametrize("n_leaves", [1, 7, 60, 30 * 44])
def test_exactly_as_many_leaves_as_asked_for(maps, n_leaves):
    labels, graph = make_leaves(maps, n_leaves, None, PIXEL_CONFIG)
    assert np.array_equal(np.unique(labels), np.arange(n_leaves))
    assert graph.n_nodes == n_leaves


def test_no_leaf_leaves_its_cell(maps):
    cells = (np.arange(30)[:, None] // 15 * 2 + np.arange(44) // 11 % 2).astype(np.int32)
    labels, _ = make_leaves(maps, 40, None, PIXEL_CONFIG, cells)
    assert labels.max() == 39
    assert all(np.unique(cells[labels == i]).size == 1 for i in range(40))
