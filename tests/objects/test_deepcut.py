import numpy as np
import pytest

from supercuts.merging.deepcut import DeepCutConfig, deepcut
from supercuts.objects.deepcut import CC, NCUT, deepcut_object
from supercuts.objects.graphs import NodeGraph, grid_graph

FAST = {"steps": 100, "learning_rate": 1e-2}


def blob(rows=8, columns=9, seed=0):
    """Return features of a grid with an object of 6 x 6 patches, half of them, and its mask."""
    is_object = np.zeros((rows, columns), bool)
    is_object[1:7, 1:7] = True
    rng = np.random.default_rng(seed)
    centers = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0]])
    features = centers[is_object.ravel().astype(int)] + 0.3 * rng.standard_normal((rows * columns, 4))
    return features.astype(np.float32), is_object.ravel()


@pytest.mark.parametrize("config", [NCUT, CC], ids=["ncut", "cc"])
@pytest.mark.parametrize("seed", range(3))
def test_the_background_is_the_part_with_the_border(config, seed):
    features, is_object = blob(seed=seed)
    found = deepcut_object(features, grid_graph(8, 9), config.model_copy(update={**FAST, "seed": seed}))
    np.testing.assert_array_equal(found.is_object, is_object)
    np.testing.assert_array_equal(found.soft > 0.5, is_object)
    assert is_object[found.seed]


def test_two_parts_are_softly_those_of_the_network():
    features, _ = blob()
    config = DeepCutConfig(**FAST)
    soft = deepcut(features, None, config).soft
    background = soft.argmax(1)[0]
    np.testing.assert_allclose(
        deepcut_object(features, grid_graph(8, 9), config).soft, 1 - soft[:, background], atol=1e-5
    )


def test_the_border_decides_and_not_the_number_of_nodes():
    """The original took the largest cluster, or two of four corners, for the background."""
    features, is_object = blob()
    border = np.where(is_object, 0, 1)
    graph = NodeGraph(grid_graph(8, 9).edges, np.ones(72, int), border)
    turned = NodeGraph(graph.edges, graph.area, 1 - border)
    config = DeepCutConfig(**FAST)
    np.testing.assert_array_equal(deepcut_object(features, graph, config).is_object, is_object)
    np.testing.assert_array_equal(deepcut_object(features, turned, config).is_object, ~is_object)


@pytest.mark.parametrize("config", [NCUT, CC], ids=["ncut", "cc"])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_one_equal_or_no_foreground_node_does_no_harm(config, n):
    """A single superpixel in front, or none, broke the original."""
    config = config.model_copy(update={"steps": 3})
    for features in (np.ones((n, 3), np.float32), np.zeros((n, 3), np.float32)):
        found = deepcut_object(features, grid_graph(1, n), config)
        assert found.is_object.any()
        assert np.isfinite(found.soft).all()


def test_nothing_is_written_and_progress_is_told(tmp_path, monkeypatch):
    """The original kept the network's first state in ./model.pt, where two runs collide."""
    monkeypatch.chdir(tmp_path)
    told = []
    features, _ = blob()
    deepcut_object(features, grid_graph(8, 9), DeepCutConfig(steps=2), lambda *now: told.append(now))
    assert told == [(1, 2), (2, 2)]
    assert list(tmp_path.iterdir()) == []
