import numpy as np
import pytest
import scipy.linalg
from scipy import ndimage

from supercuts.objects.graphs import NodeGraph, grid_graph
from supercuts.objects.tokencut import LostConfig, TokenCutConfig, lost, tokencut


def reference(features, rows, columns, tau, eps, binary):
    """Return vector, seed and mask by the formulas of the paper, float64 and dense; the graph is a grid."""
    f = features / np.linalg.norm(features, axis=1, keepdims=True)
    a = f @ f.T
    e = np.where(a > tau, 1.0 if binary else a, eps)
    d = np.diag(e.sum(1))
    v = scipy.linalg.eigh(d - e, d, subset_by_index=[1, 1])[1][:, 0]
    part = v > v.mean()
    seed = np.abs(v).argmax()
    if not part[seed]:
        part, v = ~part, -v
    components = ndimage.label(part.reshape(rows, columns))[0].ravel()
    return v, seed, components == components[seed]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_it_equals_a_dense_reference(binary, seed):
    features = np.random.default_rng(seed).standard_normal((42, 8)) + 0.2
    v, at, mask = reference(features, 6, 7, 0.2, 1e-5, binary)
    found = tokencut(features, grid_graph(6, 7), TokenCutConfig(binary=binary))
    np.testing.assert_allclose(found.vector, v, atol=1e-8)
    np.testing.assert_array_equal(found.is_object, mask)
    assert found.seed == at


def blob(rows=8, columns=9, seed=0):
    """Return features of a grid with an object of 3 x 3 patches, and its mask."""
    is_object = np.zeros((rows, columns), bool)
    is_object[3:6, 4:7] = True
    rng = np.random.default_rng(seed)
    centers = np.array([[3.0, 0, 0, 0], [0, 3.0, 0, 0]])
    features = centers[is_object.ravel().astype(int)] + 0.3 * rng.standard_normal((rows * columns, 4))
    return features, is_object.ravel()


def test_an_object_is_found_and_another_component_is_neutral():
    features, is_object = blob()
    features[0] = features[40]
    found = tokencut(features, grid_graph(8, 9))
    np.testing.assert_array_equal(found.is_object, is_object)
    assert found.soft[0] == 0.5
    assert found.soft[is_object].min() > 0.5 > found.soft[~is_object][1:].max()


def test_a_superpixel_counts_as_many_patches_as_it_has_pixels():
    features, _ = blob()
    rng = np.random.default_rng(1)
    labels = np.arange(72).reshape(8, 9)
    labels[:, 1] = labels[:, 0]
    labels[6:] = labels[6]
    nodes, of_patch, area = np.unique(labels.ravel(), return_inverse=True, return_counts=True)
    few = features[nodes] + 0.1 * rng.standard_normal((len(nodes), 4))
    edges = np.unique(np.sort(of_patch[grid_graph(8, 9).edges], axis=1), axis=0)
    edges = edges[edges[:, 0] < edges[:, 1]].astype(np.int32)
    found = tokencut(few, NodeGraph(edges, area, area))
    expected = tokencut(few[of_patch], grid_graph(8, 9))
    np.testing.assert_array_equal(found.is_object[of_patch], expected.is_object)
    np.testing.assert_allclose(found.soft[of_patch], expected.soft, atol=1e-6)


def test_few_or_equal_nodes_have_an_object():
    assert tokencut(np.ones((1, 3)), grid_graph(1, 1)).is_object.tolist() == [True]
    assert tokencut(np.array([[1.0, 0], [0, 1]]), grid_graph(1, 2)).is_object.tolist() == [True, False]
    assert tokencut(np.ones((6, 3)), grid_graph(2, 3)).is_object.all()
    assert tokencut(np.zeros((6, 3)), grid_graph(2, 3)).is_object.all()


def reference_lost(features, rows, columns, k):
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
def test_it_equals_a_dense_reference_lost(k, seed):
    features = np.random.default_rng(seed).standard_normal((42, 8)) + 0.1
    at, votes, mask = reference_lost(features, 6, 7, k)
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
