import numpy as np
import pytest
from scipy import ndimage

from supercuts.objects.graphs import NodeGraph, grid_graph
from supercuts.objects.lost import LostConfig, lost


def reference(features, rows, columns, k):
    """Return seed, votes and mask by the formulas of the paper, in float64; the graph is a grid."""
    a = features @ features.T
    positive = a > 0
    np.fill_diagonal(positive, False)
    order = np.argsort(positive.sum(1), kind="stable")
    seed = order[0]
    similar = [p for p in order[:k] if a[seed, p] > 0]
    votes = a[similar].sum(0)
    components = ndimage.label((votes > 0).reshape(rows, columns))[0].ravel()
    return seed, votes, components == components[seed]


@pytest.mark.parametrize("k", [1, 5, 100])
@pytest.mark.parametrize("seed", range(5))
def test_it_equals_a_dense_reference(k, seed):
    features = np.random.default_rng(seed).standard_normal((42, 8)) + 0.1
    at, votes, mask = reference(features, 6, 7, k)
    found = lost(features, grid_graph(6, 7), LostConfig(k=k))
    assert found.seed == at
    np.testing.assert_allclose(found.vector, votes, atol=1e-10)
    np.testing.assert_array_equal(found.is_object, mask)


def test_superpixels_expand_by_area():
    features = np.array([[1.0, 0.1], [1, 0.2], [-1, 3], [-0.5, 3]])
    area = np.array([50, 40, 6, 4])
    edges = np.array([[0, 1], [1, 2], [2, 3]], np.int32)
    found = lost(features, NodeGraph(edges, area, area), LostConfig(k=None, share=0.1))
    # degrees by area are 90, 94, 10 and 50; a tenth of it holds the third and the fourth, which vote
    assert found.seed == 2
    np.testing.assert_allclose(found.vector, area[2:] @ (features[2:] @ features.T))
    assert found.is_object.tolist() == [False, False, True, True]


def test_few_or_empty_nodes_have_an_object():
    assert lost(np.ones((1, 3)), grid_graph(1, 1)).is_object.tolist() == [True]
    assert lost(np.zeros((2, 3)), grid_graph(1, 2)).is_object.tolist() == [True, False]
    assert lost(np.ones((6, 3)), grid_graph(2, 3)).is_object.all()
