import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import supercuts
from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.graph.rag import build_rag
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging import spectral
from supercuts.merging.agglomerative import merge_tree
from supercuts.merging.spectral import (
    SpectralConfig,
    edge_weights,
    merge_spectral,
    spectral_distance,
    spectral_embedding,
)


def graph_of_labels(labels):
    maps = [np.zeros(shape, np.float32) for shape in (labels.shape, (3, *labels.shape), (0, *labels.shape))]
    return build_rag(labels, *maps)


def grid_graph(rows, cols):
    return graph_of_labels(np.arange(rows * cols, dtype=np.int32).reshape(rows, cols).repeat(2, 0).repeat(3, 1))


def random_graph(n=300, seed=0):
    points = np.random.default_rng(seed).random((n, 2)) * (60, 80)
    ys, xs = np.indices((60, 80))
    nearest = ((ys[..., None] - points[:, 0]) ** 2 + (xs[..., None] - points[:, 1]) ** 2).argmin(axis=2)
    graph = graph_of_labels(relabel_consecutive(nearest)[0])
    return graph, np.random.default_rng(seed + 1).random(graph.n_edges)


def dense(edges, weights, n):
    """Return all eigenpairs of the generalised problem (D - W) x = v D x."""
    matrix = np.zeros((n, n))
    matrix[edges[:, 0], edges[:, 1]] = weights
    matrix += matrix.T
    return scipy.linalg.eigh(np.diag(matrix.sum(0)) - matrix, np.diag(matrix.sum(0)))


@pytest.mark.parametrize("n", [20, 150, 300])  # dense and sparse solvers
def test_embedding_solves_the_generalised_problem(n):
    graph, probability = random_graph(n)
    weights = edge_weights(graph, probability, 0.3)
    values, vectors = spectral_embedding(graph.edges, weights, graph.n_nodes, 7)
    expected, of_each = dense(graph.edges, weights, graph.n_nodes)
    np.testing.assert_allclose(values, expected[1:8], rtol=1e-6, atol=1e-10)
    for k in range(7):
        same = of_each[:, k + 1] / of_each[abs(of_each[:, k + 1]).argmax(), k + 1]
        np.testing.assert_allclose(abs(vectors[:, k]).max(), 1)
        np.testing.assert_allclose(vectors[:, k] * np.sign(vectors[:, k] @ same), same, atol=1e-5)


def test_sparse_and_dense_solvers_agree_to_the_sign(monkeypatch):
    graph, probability = random_graph(150)
    weights = edge_weights(graph, probability, 0.3)
    first = spectral_embedding(graph.edges, weights, graph.n_nodes, 7)
    monkeypatch.setattr(spectral, "_DENSE", 10)
    second = spectral_embedding(graph.edges, weights, graph.n_nodes, 7)
    np.testing.assert_allclose(first.vectors, second.vectors, atol=1e-6)


def test_equal_eigenvalues_have_one_basis(monkeypatch):
    # a square grid of equal weights is symmetric: most of its eigenvalues are double
    graph = grid_graph(6, 6)
    weights = np.ones(graph.n_edges)
    values, vectors = spectral_embedding(graph.edges, weights, 36, 8)
    assert (np.diff(values) < 1e-9).sum() >= 3
    solve = scipy.linalg.eigh

    def turned(matrix, **options):
        """Return another basis of each space of equal eigenvalues."""
        actual, basis = solve(matrix, **options)
        for k in range(len(actual) - 1):
            if actual[k + 1] - actual[k] < 1e-9:
                a, b = basis[:, k].copy(), basis[:, k + 1].copy()
                basis[:, k], basis[:, k + 1] = 0.6 * a - 0.8 * b, -0.8 * a - 0.6 * b
        return actual, -basis

    monkeypatch.setattr(scipy.linalg, "eigh", turned)
    again = spectral_embedding(graph.edges, weights, 36, 8)
    # the last space may be cut in two: then only a part of it exists
    whole = np.flatnonzero(values < values[-1] - 1e-9)
    np.testing.assert_allclose(again.vectors[:, whole], vectors[:, whole], atol=1e-7)


def test_parts_of_a_graph_are_solved_one_by_one():
    edges = np.array([[0, 1], [1, 2], [3, 4]], np.int32)
    values, vectors = spectral_embedding(edges, np.array([1.0, 2.0, 1.0]), 6, 10)
    assert values.size == 5  # one constant vector less than nodes
    np.testing.assert_allclose(values[:2], 0, atol=1e-12)
    # two of the three constant vectors, one for each part, are left
    assert sorted(map(tuple, (vectors[:, :2] != 0).T.tolist()))[0] == (False,) * 5 + (True,)
    assert (np.count_nonzero(vectors[:, 2:], axis=0) <= 3).all()


@given(st.integers(0, 20), st.integers(2, 40))
def test_values_are_in_range_and_ascend(seed, n):
    graph, probability = random_graph(n, seed)
    values, vectors = spectral_embedding(graph.edges, edge_weights(graph, probability, 0.1), graph.n_nodes, 5)
    assert ((values >= 0) & (values <= 2)).all()
    assert (np.diff(values) >= 0).all()
    assert vectors.shape == (graph.n_nodes, min(5, graph.n_nodes - 1))
    np.testing.assert_allclose(vectors.max(0), 1)


def test_weights_fall_with_probability_and_never_vanish():
    graph = grid_graph(1, 3)
    weights = edge_weights(graph, np.array([0.0, 1.0]), 0.01)
    np.testing.assert_allclose(weights, [2, 2e-6])  # borders of two pixel pairs


def two_halves():
    """Return a grid graph and probabilities that separate its left from its right half."""
    graph = grid_graph(6, 8)
    column = np.arange(48) % 8
    crosses = (column[graph.edges] < 4).sum(1) == 1
    return graph, np.where(crosses, 0.5, 0.1), column


def test_the_spectral_distance_is_highest_where_the_graph_falls_apart():
    graph, probability, _ = two_halves()
    embedding = spectral_embedding(graph.edges, edge_weights(graph, probability, 0.1), 48, 3)
    distance = spectral_distance(graph.edges, embedding)
    assert distance.max() == 1
    assert distance[probability == 0.5].min() > distance[probability == 0.1].max()


def test_a_gap_in_a_boundary_is_bridged():
    graph, probability, column = two_halves()
    crossing = np.flatnonzero(probability == 0.5)
    probability[crossing[2]] = 0.1  # a local linkage would walk through these
    tree = merge_spectral(graph, probability, SpectralConfig(sigma=0.1, share=1, eigenvectors=1, small_exponent=0))
    last = tree.parents.size - 1
    children = np.flatnonzero(tree.parents[:-1] == last)
    side = np.arange(tree.parents.size)
    for node in range(last - 1, -1, -1):
        side[node] = node if node in children else side[tree.parents[node]]
    assert len({(int(side[i]), bool(column[i] < 4)) for i in range(48)}) == 2


def test_without_spectral_share_it_is_average_linkage():
    graph, probability = random_graph(80)
    tree = merge_spectral(graph, probability, SpectralConfig(share=0, small_exponent=0))
    expected = merge_tree(graph, probability)
    np.testing.assert_array_equal(tree.parents, expected.parents)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_discretisation_finds_the_rotation_of_indicators(k):
    rng = np.random.default_rng(k)
    truth = np.concatenate([np.arange(k), rng.integers(0, k, 60)])
    turn = np.linalg.qr(rng.standard_normal((k, k)))[0]
    rows = np.eye(k)[truth] @ turn + 0.1 * rng.standard_normal((60 + k, k))
    parts = spectral._discretize(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert len(set(zip(truth.tolist(), parts.tolist(), strict=True))) == k


@pytest.mark.parametrize("method", ["kmeans", "discretize"])
def test_parts_are_connected_by_their_weights(method):
    graph, probability, column = two_halves()
    parts = spectral._clusters(graph, probability, 2, method, SpectralConfig(), 0)
    np.testing.assert_array_equal(parts, column >= 4)


def test_the_number_of_parts_is_found_by_the_gap():
    graph = grid_graph(4, 12)
    block = np.arange(48) % 12 // 4
    crosses = block[graph.edges[:, 0]] != block[graph.edges[:, 1]]
    parts = spectral._clusters(graph, np.where(crosses, 0.9, 0.0), None, "kmeans", SpectralConfig(sigma=0.1), 0)
    np.testing.assert_array_equal(parts, block)
    assert spectral._eigengap(np.array([0.3])) == 2


@pytest.mark.parametrize("n", [1, 5])
def test_one_part_holds_all(n):
    graph = grid_graph(1, n)
    assert spectral._clusters(graph, np.full(n - 1, 0.5), 1, "kmeans", SpectralConfig(), 0).tolist() == [0] * n
    assert merge_spectral(graph, np.full(n - 1, 0.5)).parents.size == 2 * n - 1


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_invalid_probabilities_are_refused(value):
    with pytest.raises(InputError, match=r"probabilities of shape \(2,\) must be 2 numbers in 0\.\.1"):
        merge_spectral(grid_graph(1, 3), np.array([0.5, value]))


def test_empty_weights_are_refused():
    with pytest.raises(InputError, match="must be 1 finite numbers > 0"):
        spectral_embedding(np.array([[0, 1]], np.int32), np.zeros(1), 2, 1)


@pytest.mark.parametrize("method", ["kmeans", "discretize"])
def test_clusters_of_a_hierarchy_follow_its_weakest_links(method):
    # a row of four superpixels: the tree joins 0-1 and 2-3 early and the two pairs late
    labels = np.arange(4, dtype=np.int32).repeat(6)[None].repeat(6, 0)
    altitudes = np.array([0, 0, 0, 0, 0.05, 0.05, 0.9], np.float32)
    h = Hierarchy(labels, np.array([4, 4, 5, 5, 6, 6, 6], np.int32), altitudes, np.zeros((4, 0), np.float32))
    expected = (np.arange(24) >= 12).astype(np.int32)[None].repeat(6, 0)
    np.testing.assert_array_equal(supercuts.spectral_clusters(h, 2, method=method), expected)
    np.testing.assert_array_equal(supercuts.spectral_clusters(h, method=method), expected)
    assert supercuts.spectral_clusters(h, 4, method=method).tolist() == labels.tolist()


def test_masked_pixels_belong_to_no_cluster():
    labels = np.array([[0, 0, -1, 1, 1]], np.int32)
    h = Hierarchy(
        labels, np.array([2, 2, 2], np.int32), np.array([0, 0, 0.5], np.float32), np.zeros((2, 0), np.float32)
    )
    assert supercuts.spectral_clusters(h, 1).tolist() == [[0, 0, -1, 0, 0]]
    assert supercuts.spectral_clusters(h, 2).tolist() == [[0, 0, -1, 1, 1]]


@pytest.mark.parametrize(("given", "problem"), [({"n_regions": 5}, "n_regions=5"), ({"method": "dbscan"}, "dbscan")])
def test_clusters_that_cannot_be_are_refused(given, problem):
    labels = np.zeros((2, 2), np.int32)
    h = Hierarchy(labels, np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32))
    with pytest.raises(InputError, match=problem):
        supercuts.spectral_clusters(h, **given)
