import numpy as np
import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.objects import deepcut as module
from supercuts.objects.deepcut import (
    CC,
    NCUT,
    DeepCutConfig,
    _Network,
    cc_loss,
    deepcut,
    deepcut_object,
    ncut_loss,
)
from supercuts.objects.node_graph import NodeGraph, grid_graph

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
    actual = deepcut_object(features, grid_graph(8, 9), config.model_copy(update={**FAST, "seed": seed}))
    np.testing.assert_array_equal(actual.is_object, is_object)
    np.testing.assert_array_equal(actual.soft > 0.5, is_object)
    assert is_object[actual.seed]


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
        actual = deepcut_object(features, grid_graph(1, n), config)
        assert actual.is_object.any()
        assert np.isfinite(actual.soft).all()


def test_nothing_is_written_and_progress_is_reported(tmp_path, monkeypatch):
    """The original kept the network's first state in ./model.pt, where two runs collide."""
    monkeypatch.chdir(tmp_path)
    told = []
    features, _ = blob()
    deepcut_object(features, grid_graph(8, 9), DeepCutConfig(steps=2), lambda *now: told.append(now))
    assert told == [(1, 2), (2, 2)]
    assert list(tmp_path.iterdir()) == []


def grid_edges(rows, cols, hops):
    """Return the pairs i < j of places at most `hops` steps apart on a grid."""
    place = np.array([(y, x) for y in range(rows) for x in range(cols)])
    distance = abs(place[:, None] - place[None]).sum(2)
    is_upper = np.arange(rows * cols)[:, None] < np.arange(rows * cols)
    return np.argwhere((distance <= hops) & is_upper).astype(np.int32)


def two_kinds(rows=6, cols=8, noise=0.3, seed=0):
    """Return a grid whose left and right halves have features of two kinds."""
    is_right = np.arange(rows * cols) % cols >= cols // 2
    rng = np.random.default_rng(seed)
    centers = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0]])
    features = centers[is_right.astype(int)] + noise * rng.standard_normal((rows * cols, 4))
    return features.astype(np.float32), is_right


ALL = 13  # hops between opposite corners of the grid: every pair is an edge


@pytest.mark.parametrize(("loss", "hops"), [("ncut", 1), ("ncut", 2), ("cc", ALL)])
@pytest.mark.parametrize("seed", range(3))
def test_two_kinds_of_nodes_are_two_parts(loss, hops, seed):
    features, is_right = two_kinds(seed=seed)
    edges = grid_edges(6, 8, hops)
    actual = deepcut(features, edges, DeepCutConfig(loss=loss, steps=300, learning_rate=1e-2, seed=seed))
    np.testing.assert_array_equal(actual.parts, is_right)
    np.testing.assert_allclose(actual.soft.sum(1), 1, rtol=1e-5)


def test_correlation_clustering_uses_no_more_parts_than_it_needs():
    features, is_right = two_kinds()
    config = DeepCutConfig(loss="cc", n_parts=10, steps=300, learning_rate=1e-2)
    parts = deepcut(features, grid_edges(6, 8, ALL), config).parts
    assert parts.max() <= 3
    assert not set(parts[is_right]) & set(parts[~is_right])


@pytest.mark.parametrize("is_sparse", [False, True])
def test_the_losses_are_those_of_the_dense_formulas(is_sparse):
    rng = np.random.default_rng(0)
    soft = torch.from_numpy(rng.dirichlet(np.ones(3), 5))
    weights = torch.from_numpy(rng.random((5, 5)))
    weights = (weights + weights.T) / 2
    s, w = soft.numpy(), weights.numpy()
    ncut = -np.trace(s.T @ w @ s) / np.trace(s.T @ np.diag(w.sum(1)) @ s)
    gram = s.T @ s
    ncut += np.linalg.norm(gram / np.linalg.norm(gram) - np.eye(3) / np.sqrt(3))
    weights = weights.to_sparse() if is_sparse else weights
    assert ncut_loss(soft, weights).item() == pytest.approx(ncut, abs=1e-12)
    assert cc_loss(soft, weights).item() == pytest.approx(-(w * (s @ s.T)).sum(), abs=1e-12)


def dense_weights(features, config):
    """Return the weights of the loss and of messages by the formulas of the paper, in float64."""
    f = features.astype(np.float64)
    products = f @ f.T
    if config.loss == "ncut":
        w = np.maximum(products, 0) / products.max()
        messages = w.copy()
    else:
        w = (products - products.max() / config.sensitivity) / products.max()
        messages = np.maximum(w, 0)
    missing = np.diag(messages) == 0  # a loop of weight 1 where none is, before all weights are divided
    messages[missing, missing] = 1 / products.max()
    return w, messages


def dense_forward(network, features, messages):
    """Return S by the formulas of the layers, without dropout, in float64."""
    p = {name: value.double().numpy() for name, value in network.state_dict().items()}
    degree = messages.sum(1)
    x = messages / np.sqrt(np.outer(degree, degree)) @ features.astype(np.float64) @ p["conv.weight"].T + p["bias"]
    elu = lambda values: np.where(values > 0, values, np.expm1(np.minimum(values, 0)))  # noqa: E731
    logits = elu(elu(x) @ p["head.1.weight"].T + p["head.1.bias"]) @ p["head.4.weight"].T + p["head.4.bias"]
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


@pytest.mark.parametrize("loss", ["ncut", "cc"])
@pytest.mark.parametrize("steps", [1, 20])
def test_weights_assignments_and_loss_are_those_of_a_dense_reference(monkeypatch, loss, steps):
    made = []

    class Kept(_Network):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(module, "_Network", Kept)
    features, _ = two_kinds(3, 4)
    features[5] *= 0.1  # its weight with itself is missing in correlation clustering
    config = DeepCutConfig(loss=loss, n_parts=3, steps=steps, learning_rate=1e-2)
    actual = deepcut(features, None, config)
    weights, messages = dense_weights(features, config)
    s = dense_forward(made[0], features, messages)
    np.testing.assert_allclose(actual.soft, s, atol=1e-5)
    np.testing.assert_array_equal(actual.soft.argmax(1), s.argmax(1))
    s = actual.soft.astype(np.float64)
    gram = s.T @ s
    expected = -(weights * (s @ s.T)).sum()
    if loss == "ncut":
        expected /= (weights.sum(1)[:, None] * s**2).sum()
        expected += np.linalg.norm(gram / np.linalg.norm(gram) - np.eye(3) / np.sqrt(3))
    assert actual.loss == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", ["ncut", "cc"])
def test_all_pairs_given_as_edges_are_the_dense_graph(loss):
    features, _ = two_kinds()
    config = DeepCutConfig(loss=loss, steps=20)
    dense, sparse = (deepcut(features, edges, config) for edges in (None, grid_edges(6, 8, ALL)))
    np.testing.assert_allclose(dense.soft, sparse.soft, atol=1e-4)
    np.testing.assert_array_equal(dense.parts, sparse.parts)
    assert dense.loss == pytest.approx(sparse.loss, abs=1e-4)


def test_progress_is_reported_each_step():
    features, _ = two_kinds()
    told = []
    deepcut(features, None, DeepCutConfig(steps=3), lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_it_repeats_and_leaves_the_generator_alone():
    features, _ = two_kinds()
    edges = grid_edges(6, 8, 1)
    state = torch.random.get_rng_state()
    one, same = (deepcut(features, edges, DeepCutConfig(steps=5)) for _ in range(2))
    np.testing.assert_array_equal(one.soft, same.soft)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not np.array_equal(deepcut(features, edges, DeepCutConfig(steps=5, seed=1)).soft, one.soft)


def test_features_that_cannot_be_clustered_are_refused():
    features, _ = two_kinds()
    with pytest.raises(InputError, match=r"edges name nodes 0\.\.99, but there are 48"):
        deepcut(features, np.array([[0, 99]], np.int32))
    features[3, 1] = np.nan
    with pytest.raises(InputError, match="1 of 192 features are not finite"):
        deepcut(features, np.array([[0, 1]], np.int32))


def test_a_single_node_is_one_part():
    assert deepcut(np.ones((1, 3), np.float32), np.empty((0, 2), np.int32), DeepCutConfig(steps=2)).parts.tolist() == [
        0
    ]
