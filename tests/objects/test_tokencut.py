import numpy as np
import pytest
import scipy.linalg
from scipy import ndimage

from supercuts.core.errors import InputError
from supercuts.objects.node_graph import NodeGraph, foreground, grid_graph
from supercuts.objects.tokencut import LostConfig, MaskCutConfig, TokenCutConfig, lost, maskcut, tokencut


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
    actual = tokencut(features, grid_graph(6, 7), TokenCutConfig(binary=binary))
    np.testing.assert_allclose(actual.vector, v, atol=1e-8)
    np.testing.assert_array_equal(actual.is_object, mask)
    assert actual.seed == at


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
    actual = tokencut(features, grid_graph(8, 9))
    np.testing.assert_array_equal(actual.is_object, is_object)
    assert actual.soft[0] == 0.5
    assert actual.soft[is_object].min() > 0.5 > actual.soft[~is_object][1:].max()


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
    actual = tokencut(few, NodeGraph(edges, area, area))
    expected = tokencut(few[of_patch], grid_graph(8, 9))
    np.testing.assert_array_equal(actual.is_object[of_patch], expected.is_object)
    np.testing.assert_allclose(actual.soft[of_patch], expected.soft, atol=1e-6)


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
    actual = lost(features, grid_graph(6, 7), LostConfig(k=k))
    assert actual.seed == at
    np.testing.assert_allclose(actual.vector, votes, atol=1e-10)
    np.testing.assert_array_equal(actual.is_object, mask)


def test_superpixels_expand_by_area():
    features = np.array([[1.0, 0.1], [1, 0.2], [-1, 3], [-0.5, 3]])
    area = np.array([50, 40, 6, 4])
    edges = np.array([[0, 1], [1, 2], [2, 3]], np.int32)
    actual = lost(features, NodeGraph(edges, area, area), LostConfig(k=None, share=0.1))
    # degrees by area are 90, 94, 10 and 50; a tenth of it holds the third and the fourth, which vote
    assert actual.seed == 2
    np.testing.assert_allclose(actual.vector, area[2:] @ (features[2:] @ features.T))
    assert actual.is_object.tolist() == [False, False, True, True]


def test_few_or_empty_nodes_have_an_object():
    assert lost(np.ones((1, 3)), grid_graph(1, 1)).is_object.tolist() == [True]
    assert lost(np.zeros((2, 3)), grid_graph(1, 2)).is_object.tolist() == [True, False]
    assert lost(np.ones((6, 3)), grid_graph(2, 3)).is_object.all()


GRID = grid_graph(10, 12)


def two_objects():
    """Return features of a 10 x 12 grid with objects of 12 and 9 patches, and their masks."""
    kind = np.zeros((10, 12), int)
    kind[2:6, 2:5], kind[5:8, 7:10] = 1, 2
    rng = np.random.default_rng(0)
    return np.eye(4)[kind.ravel()] * 3 + 0.2 * rng.standard_normal((120, 4)), kind.ravel()


def test_objects_are_found_one_by_one_until_nothing_sensible_is_left():
    features, kind = two_objects()
    actual = maskcut(features, GRID, tokencut, 5)
    assert len(actual) == 2
    assert {tuple(item.is_object) for item in actual} == {tuple(kind == 1), tuple(kind == 2)}
    first, second = actual
    assert not second.soft[first.is_object].any()
    assert not (first.is_object & second.is_object).any()
    assert second.is_object[second.seed]
    # the first object's nodes do not count as background of the second
    rest = ~first.is_object & ~second.is_object
    assert second.score == pytest.approx(second.soft[second.is_object].mean() - second.soft[rest].mean(), abs=1e-6)


def test_one_object_is_the_methods_own():
    features, _ = two_objects()
    alone, expected = maskcut(features, GRID, lost, 1)[0], lost(features, GRID)
    for name in ("is_object", "vector", "soft"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(expected, name))
    assert (alone.seed, alone.score) == (expected.seed, expected.score)


NUMBERS = np.arange(120.0)[:, None]  # the index as feature shows a method which nodes are left


def in_turn(*masks):
    """Return a method that finds these (N,) masks one after the other."""
    left = list(masks)

    def find(numbers, graph):
        inside = left.pop(0)[numbers[:, 0].astype(int)]
        return foreground(inside, inside.astype(float), inside.astype(float), graph.area)

    return find


def rectangle(y0, y1, x0, x1):
    mask = np.zeros((10, 12), bool)
    mask[y0:y1, x0:x1] = True
    return mask.ravel()


@pytest.mark.parametrize(
    "further",
    [rectangle(8, 9, 8, 9), rectangle(4, 10, 0, 12), rectangle(3, 10, 0, 12)],
    ids=["small", "border", "large"],
)
def test_small_large_and_background_regions_are_not_further_objects(further):
    config = MaskCutConfig(least_area=0.02)
    start = rectangle(1, 3, 3, 6)
    assert len(maskcut(NUMBERS, GRID, in_turn(start, further), 2, config)) == 1
    assert len(maskcut(NUMBERS, GRID, in_turn(start, rectangle(5, 7, 5, 8)), 2, config)) == 2
    # the first object is always returned
    assert len(maskcut(NUMBERS, GRID, in_turn(further), 1, config)) == 1


def test_of_several_objects_each_is_its_largest_component():
    both = rectangle(1, 3, 1, 3) | rectangle(5, 8, 5, 8)
    one = maskcut(NUMBERS, GRID, in_turn(both, rectangle(9, 10, 9, 10)), 2)[0]
    np.testing.assert_array_equal(one.is_object, rectangle(5, 8, 5, 8))
    np.testing.assert_array_equal(one.soft[rectangle(1, 3, 1, 3)], 0.5)


def test_it_ends_when_every_node_is_taken():
    assert len(maskcut(np.ones((1, 2)), grid_graph(1, 1), tokencut, 3)) == 1
    with pytest.raises(InputError, match="n=0"):
        maskcut(np.ones((1, 2)), grid_graph(1, 1), tokencut, 0)
