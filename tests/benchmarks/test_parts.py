import importlib
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("parts")


def test_components_of_clusters_are_pieces_and_the_smallest_join_the_nearest_colour(parts):
    """Superpixels 0 and 3 are of one cluster and apart; 3, the smallest, is nearer in colour to 2 than to 1."""
    cells = np.array([[0, 0, 1, 1, 1, 3], [0, 0, 2, 2, 2, 2]], np.int32)
    clusters, colors = np.array([0, 1, 2, 0], np.int32), np.array([[0, 0, 0], [50, 0, 0], [10, 0, 0], [0, 0, 0.0]])
    assert parts.connected(clusters, colors, cells, 4).tolist() == [0, 1, 2, 3]
    merged = parts.connected(clusters, colors, cells, 3)
    assert merged[3] == merged[2] != merged[0]
    assert len(set(parts.connected(clusters, colors, cells, 1).tolist())) == 1


def test_superpixels_of_one_cluster_that_touch_are_one_region(parts):
    cells = np.array([[0, 1, 2]], np.int32)
    actual = parts.connected(np.array([5, 5, 1], np.int32), np.zeros((3, 3)), cells, 3)
    assert actual.tolist() == [0, 0, 1]


def test_mean_colours_are_of_superpixels_numbered_without_gaps(parts):
    image = np.array([[[255, 255, 255], [255, 255, 255], [0, 0, 0]]], np.uint8)
    colors, cells = parts.mean_lab(image, np.array([[7, 7, 9]]))
    assert cells.tolist() == [[0, 0, 1]]
    np.testing.assert_allclose(colors, [[100, 0, 0], [0, 0, 0]], atol=0.1)


def test_each_true_part_takes_its_best_region_and_background_does_not_count(parts):
    truth = np.array([[0, 0, 1, 2]], np.int32)
    assert parts.mean_best(truth, np.array([[0, 0, 1, 1]], np.int32)) == 0.5
    assert parts.mean_best(truth, np.array([[3, 3, 0, 1]], np.int32)) == 1  # a region may be empty
