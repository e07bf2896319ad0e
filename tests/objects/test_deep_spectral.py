import numpy as np
import pytest
import scipy.linalg
from sklearn.neighbors import NearestNeighbors

from supercuts.core.errors import InputError
from supercuts.objects.deep_spectral import (
    DeepSpectralConfig,
    color_affinity,
    deep_spectral,
    spectral_pairs,
    spectral_regions,
)
from supercuts.objects.node_graph import EigenPairs, NodeGraph, grid_graph


def reference(features, n_vectors, color_part=0.0):
    """Return eigenvalues and vectors by the formulas of the paper, float64 and dense, without the constant vector."""
    f = features / np.linalg.norm(features, axis=1, keepdims=True)
    w = np.maximum(f @ f.T, 0)
    w = w / w.max() + color_part
    degree = w.sum(1)
    d = np.diag(np.where(degree < 1e-12, 1, degree))
    values, vectors = scipy.linalg.eigh(d - w, d, subset_by_index=[1, n_vectors])
    for k in range(n_vectors):
        if 0.5 < (vectors[:, k] > 0).mean() < 1:
            vectors[:, k] = -vectors[:, k]
    return values, vectors


def random_features(seed, n=42):
    return np.random.default_rng(seed).standard_normal((n, 8)) + 0.3


def random_color(n=42, seed=0):
    return np.random.default_rng(seed).random((n, 5))


@pytest.mark.parametrize("color_weight", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_it_equals_a_dense_reference(seed, color_weight):
    # an odd number of nodes: no vector is positive on exactly half of them
    features, color = random_features(seed, 35), random_color(35)
    config = DeepSpectralConfig(color_weight=color_weight)
    values, vectors = reference(features, 3, color_weight * color_affinity(color, config))
    actual = spectral_pairs(features, grid_graph(5, 7), 3, config, color)
    np.testing.assert_allclose(actual.values, values, atol=1e-10)
    np.testing.assert_allclose(actual.vectors, vectors, atol=1e-8)
    np.testing.assert_array_equal(deep_spectral(features, grid_graph(5, 7), config, color).is_object, vectors[:, 0] > 0)


def test_the_color_graph_counts_neighbours_both_ways():
    color, expected = random_color(30), np.zeros((30, 30))
    for k, weight in ((20, 2.0), (10, 0.1)):
        points = color * [1, 1, 1, weight, weight]
        for i, row in enumerate(NearestNeighbors(n_neighbors=k).fit(points).kneighbors(points)[1]):
            for j in row:
                expected[i, j] += 1
                expected[j, i] += 1
    np.testing.assert_array_equal(color_affinity(color, DeepSpectralConfig()), expected)
    # fewer nodes than neighbours: all of them
    assert (color_affinity(color[:3], DeepSpectralConfig()) == 4).all()


def three_kinds():
    """Return an 8 x 9 grid with two objects of different kinds, and the kind of each patch."""
    kind = np.zeros((8, 9), int)
    kind[2:5, 1:4], kind[3:7, 5:8] = 1, 2
    rng = np.random.default_rng(0)
    return np.eye(4)[kind.ravel()] * 3 + 0.2 * rng.standard_normal((72, 4)), kind.ravel()


@pytest.mark.parametrize("n_regions", [3, None])
def test_regions_are_those_of_three_kinds_and_the_background_is_zero(n_regions):
    features, kind = three_kinds()
    graph = grid_graph(8, 9)
    regions = spectral_regions(spectral_pairs(features, graph, 4), graph, n_regions)
    assert len({*zip(kind.tolist(), regions.tolist(), strict=True)}) == 3
    np.testing.assert_array_equal(regions == 0, kind == 0)


def test_renumbering_does_not_mix_up_regions():
    """The original swapped 0 and the background in place, while nodes of both numbers were still to come."""
    vectors = np.array([[0.0], [0.0], [1.0], [1.0], [2.0], [2.0]])
    border = np.array([0, 0, 0, 0, 3, 3])
    for order in (np.arange(6), np.arange(6)[::-1]):
        graph = NodeGraph(np.empty((0, 2), np.int32), np.ones(6, int), border[order])
        regions = spectral_regions(EigenPairs(np.array([0.1]), vectors[order]), graph, 3)
        assert (regions == 0).tolist() == (border[order] > 0).tolist()
        assert len(np.unique(regions)) == 3
        assert len({*zip(vectors[order, 0], regions, strict=True)}) == 3


def test_signs_and_regions_go_by_area():
    features = np.array([[1.0, 0.2], [1, 0.1], [0, 1]])
    edges = np.array([[0, 1], [1, 2]], np.int32)
    small, large = (NodeGraph(edges, np.array([1, 1, a]), np.ones(3, int)) for a in (1, 5))
    assert deep_spectral(features, small).is_object.tolist() == [False, False, True]
    assert deep_spectral(features, large).is_object.tolist() == [True, True, False]


def test_parts_without_affinity_are_separated():
    features = np.repeat(np.eye(2), [5, 3], axis=0)
    assert deep_spectral(features, grid_graph(2, 4)).is_object.tolist() == [False] * 5 + [True] * 3


def test_few_or_equal_nodes_have_an_object_and_a_region():
    for n in (1, 2, 6):
        graph = grid_graph(1, n)
        assert deep_spectral(np.ones((n, 3)), graph).is_object.all()
        assert spectral_regions(spectral_pairs(np.ones((n, 3)), graph, 3), graph).tolist() == [0] * n
    assert deep_spectral(np.eye(2), grid_graph(1, 2)).is_object.sum() == 1


def test_a_color_graph_needs_colors():
    with pytest.raises(InputError, match="needs color: give r g b y x"):
        deep_spectral(np.eye(2), grid_graph(1, 2), DeepSpectralConfig(color_weight=1))
