import numpy as np
import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.graph.rag import build_rag
from supercuts.merging.deepcut import DeepCutConfig, _loss, deepcut, hop_edges


def grid_graph(rows, cols):
    labels = np.arange(rows * cols, dtype=np.int32).reshape(rows, cols).repeat(2, 0).repeat(2, 1)
    maps = [np.zeros(shape, np.float32) for shape in (labels.shape, (3, *labels.shape), (0, *labels.shape))]
    return build_rag(labels, *maps)


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
    edges = hop_edges(grid_graph(6, 8), hops)
    found = deepcut(features, edges, DeepCutConfig(loss=loss, steps=300, learning_rate=1e-2, seed=seed))
    np.testing.assert_array_equal(found.parts, is_right)
    np.testing.assert_allclose(found.soft.sum(1), 1, rtol=1e-5)


def test_correlation_clustering_uses_no_more_parts_than_it_needs():
    features, is_right = two_kinds()
    config = DeepCutConfig(loss="cc", n_parts=10, steps=300, learning_rate=1e-2)
    parts = deepcut(features, hop_edges(grid_graph(6, 8), ALL), config).parts
    assert parts.max() <= 3
    assert not set(parts[is_right]) & set(parts[~is_right])


def test_the_losses_are_those_of_the_dense_formulas():
    rng = np.random.default_rng(0)
    soft = torch.from_numpy(rng.dirichlet(np.ones(3), 5))
    weights = torch.from_numpy(rng.random((5, 5)))
    weights = (weights + weights.T) / 2
    pairs = torch.stack(torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")).reshape(2, -1)
    s, w = soft.numpy(), weights.numpy()
    ncut = -np.trace(s.T @ w @ s) / np.trace(s.T @ np.diag(w.sum(1)) @ s)
    gram = s.T @ s
    ncut += np.linalg.norm(gram / np.linalg.norm(gram) - np.eye(3) / np.sqrt(3))
    torch.set_default_dtype(torch.float64)
    try:
        assert _loss(soft, pairs, weights.flatten(), "ncut").item() == pytest.approx(ncut)
        assert _loss(soft, pairs, weights.flatten(), "cc").item() == pytest.approx(-(w * (s @ s.T)).sum())
    finally:
        torch.set_default_dtype(torch.float32)


def test_it_repeats_and_leaves_the_generator_alone():
    features, _ = two_kinds()
    edges = hop_edges(grid_graph(6, 8), 1)
    state = torch.random.get_rng_state()
    one, same = (deepcut(features, edges, DeepCutConfig(steps=5)) for _ in range(2))
    np.testing.assert_array_equal(one.soft, same.soft)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not np.array_equal(deepcut(features, edges, DeepCutConfig(steps=5, seed=1)).soft, one.soft)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_hops_are_counted_along_edges(hops):
    rows, cols = 4, 5
    place = np.array([(y, x) for y in range(rows) for x in range(cols)])
    distance = abs(place[:, None] - place[None]).sum(2)
    expected = np.argwhere((distance <= hops) & (np.arange(20)[:, None] < np.arange(20)))
    np.testing.assert_array_equal(hop_edges(grid_graph(rows, cols), hops), expected)


def test_what_cannot_be_clustered_is_refused():
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
