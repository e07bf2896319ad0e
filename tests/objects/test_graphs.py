import numpy as np
import pytest
from scipy import ndimage

from supercuts.core.errors import InputError
from supercuts.graph.rag import build_rag
from supercuts.objects.graphs import grid_graph, label_graph


def random_labels(seed, shape=(17, 23), n=40):
    """Return the nearest of some random points at each pixel, numbered without gaps."""
    rng = np.random.default_rng(seed)
    points = rng.random((n, 2)) * shape
    places = np.stack(np.indices(shape), axis=-1)[:, :, None]
    nearest = ((places - points) ** 2).sum(-1).argmin(-1)
    return np.unique(nearest, return_inverse=True)[1].reshape(shape).astype(np.int32)


@pytest.mark.parametrize("seed", range(3))
def test_edges_and_areas_are_those_of_the_region_graph(seed):
    labels = random_labels(seed)
    graph = label_graph(labels)
    rag = build_rag(labels, *(np.zeros(shape, np.float32) for shape in (labels.shape, (3, 17, 23), (0, 17, 23))))
    np.testing.assert_array_equal(graph.edges, rag.edges)
    np.testing.assert_array_equal(graph.area, rag.area)


def test_a_grid_joins_patches_side_by_side_and_counts_its_frame():
    graph = grid_graph(2, 3)
    assert graph.edges.tolist() == [[0, 1], [0, 3], [1, 2], [1, 4], [2, 5], [3, 4], [4, 5]]
    assert graph.area.tolist() == [1] * 6
    assert grid_graph(3, 4).border.reshape(3, 4).tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    assert grid_graph(1, 1).edges.shape == (0, 2)


def test_the_border_is_counted_in_pixels_once_each():
    labels = np.zeros((4, 5), np.int32)
    labels[:, 3:] = 1
    assert label_graph(labels).border.tolist() == [8, 6]


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_the_picture(seed):
    rng = np.random.default_rng(seed)
    inside = rng.random((9, 11)) < 0.5
    graph = grid_graph(9, 11)
    expected = ndimage.label(inside)[0]
    found = graph.components(inside.ravel()).reshape(9, 11)
    np.testing.assert_array_equal(found, expected)
    seed_node = int(np.flatnonzero(inside)[7])
    np.testing.assert_array_equal(
        graph.component_of(inside.ravel(), seed_node), (expected == expected.ravel()[seed_node]).ravel()
    )
    largest = np.bincount(expected.ravel())[1:].argmax() + 1
    np.testing.assert_array_equal(graph.largest_component(inside.ravel()), (expected == largest).ravel())


def test_a_seed_outside_has_no_component():
    graph = grid_graph(1, 3)
    assert not graph.component_of(np.array([False, True, True]), 0).any()
    assert not graph.largest_component(np.zeros(3, bool)).any()


def test_a_subgraph_keeps_what_lies_within():
    graph = grid_graph(2, 3).subgraph(np.array([True, True, False, False, True, True]))
    assert graph.edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert graph.n_nodes == 4


def test_a_label_without_pixels_is_refused():
    """Label 0 without pixels gave an undefined centre in the original."""
    with pytest.raises(InputError, match=r"label 0 has no pixel; ids must be 0\.\.1: relabel_consecutive"):
        label_graph(np.ones((2, 2), np.int32))
    with pytest.raises(InputError, match="must hold ids"):
        label_graph(np.full((2, 2), -1, np.int32))


def test_pixels_that_a_mask_left_out_are_in_no_node():
    labels = random_labels(0, n=12)
    n = labels.max() + 1
    padded = np.pad(labels, ((2, 0), (1, 3)), constant_values=-1)
    one, other = label_graph(labels), label_graph(padded)
    np.testing.assert_array_equal(one.edges, other.edges)
    np.testing.assert_array_equal(one.area, other.area)
    np.testing.assert_array_equal(one.border, other.border)
    holed = labels.copy()
    holed[5:12, 8] = -1
    graph = label_graph(holed)
    assert graph.n_nodes == n
    assert graph.area.sum() == labels.size - 7
    np.testing.assert_array_equal(graph.border, label_graph(labels).border)  # a hole is no border
    sides = [(holed[:, :-1], holed[:, 1:]), (holed[:-1], holed[1:])]
    pairs = {tuple(sorted(p)) for a, b in sides for p in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)}
    assert [tuple(edge) for edge in graph.edges.tolist()] == sorted((a, b) for a, b in pairs if a != b and a >= 0)
