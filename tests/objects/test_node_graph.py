import numpy as np
import pytest
import scipy.linalg
from scipy import ndimage

from supercuts.core.errors import InputError
from supercuts.graph.rag import build_rag
from supercuts.objects import node_graph
from supercuts.objects.node_graph import (
    check_features,
    cosines,
    first_largest,
    foreground,
    grid_graph,
    label_graph,
    smallest_eigenpairs,
    soften,
)


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
    actual = graph.components(inside.ravel()).reshape(9, 11)
    np.testing.assert_array_equal(actual, expected)
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


def test_a_subgraph_keeps_its_inner_edges():
    graph = grid_graph(2, 3).subgraph(np.array([True, True, False, False, True, True]))
    assert graph.edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert graph.n_nodes == 4


def test_a_label_without_pixels_is_refused():
    """Label 0 without pixels gave an undefined centre in the original."""
    with pytest.raises(InputError, match=r"label 0 has no pixel; ids must be 0\.\.1: use relabel_consecutive"):
        label_graph(np.ones((2, 2), np.int32))
    with pytest.raises(InputError, match="must hold ids"):
        label_graph(np.full((2, 2), -1, np.int32))


def test_pixels_that_a_mask_left_out_are_in_no_node():
    labels = random_labels(0, n=12)
    n = labels.max() + 1
    padded = np.pad(labels, ((2, 0), (1, 3)), constant_values=-1)
    first, second = label_graph(labels), label_graph(padded)
    np.testing.assert_array_equal(first.edges, second.edges)
    np.testing.assert_array_equal(first.area, second.area)
    np.testing.assert_array_equal(first.border, second.border)
    holed = labels.copy()
    holed[5:12, 8] = -1
    graph = label_graph(holed)
    assert graph.n_nodes == n
    assert graph.area.sum() == labels.size - 7
    np.testing.assert_array_equal(graph.border, label_graph(labels).border)  # a hole is not a border
    sides = [(holed[:, :-1], holed[:, 1:]), (holed[:-1], holed[1:])]
    pairs = {tuple(sorted(p)) for a, b in sides for p in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)}
    assert [tuple(edge) for edge in graph.edges.tolist()] == sorted((a, b) for a, b in pairs if a != b and a >= 0)


AREA = np.array([1, 2, 3])


@pytest.mark.parametrize(
    ("is_object", "soft", "score"),
    [
        ([False, True, True], [0.25, 0.5, 1.0], 4 / 5 - 0.25),
        ([True, False, False], [0.25, 0.5, 1.0], 0),
        ([True] * 3, [0.25, 0.5, 1], 0),
    ],
)
def test_the_score_is_the_contrast_by_area(is_object, soft, score):
    actual = foreground(np.array(is_object), np.zeros(3), np.array(soft), AREA)
    assert actual.score == pytest.approx(score)


def test_an_empty_object_becomes_the_whole_image_and_left_out_nodes_are_neutral():
    soft, vector = np.array([0.9, 0.8, 0.2]), np.array([-3.0, 2.0, 0.0])
    actual = foreground(np.array([True, False, False]), vector, soft, AREA)
    np.testing.assert_allclose(actual.soft, [0.9, 0.5, 0.2])
    assert actual.seed == 0
    assert foreground(np.array([True, False, True]), vector, soft, AREA).seed == 2
    assert foreground(np.array([True, False, True]), vector, soft, AREA, 0).seed == 0
    everything = foreground(np.zeros(3, bool), vector, soft, AREA)
    assert everything.is_object.all()
    np.testing.assert_allclose(everything.soft, [0.9, 0.8, 0.5])


def test_softness_is_half_at_the_threshold_and_rises():
    vector = np.array([-1.0, 0.5, 3.0])
    soft = soften(vector, 0.5, AREA)
    spread = np.sqrt((1 * 1.5**2 + 3 * 2.5**2) / 6)
    np.testing.assert_allclose(soft, 1 / (1 + np.exp(-2 * (vector - 0.5) / spread)))
    np.testing.assert_allclose(soften(np.zeros(3), 0.0, AREA), 0.5)


def test_cosines_of_features_of_zeros_are_zero():
    actual = cosines(np.array([[2.0, 0], [0, 0], [3, 3]]))
    np.testing.assert_allclose(actual, [[1, 0, 0.5**0.5], [0, 0, 0], [0.5**0.5, 0, 1]])


def test_ties_go_to_the_first():
    assert first_largest(np.array([0.1, 1.0 - 1e-12, 1.0])) == 1
    assert first_largest(np.zeros(3)) == 0


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        (np.zeros((2, 3)), "2 rows of features do not fit 4 nodes"),
        (np.zeros((4, 0)), "no channels"),
        (np.full((4, 2), np.nan), "8 of 8 features are not finite"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, problem):
    with pytest.raises(InputError, match=problem):
        check_features(features, grid_graph(2, 2))


def test_more_nodes_than_fit_in_memory_are_refused():
    with pytest.raises(InputError, match=r"10201 nodes are too many: .* Segment with fewer"):
        check_features(np.zeros((101**2, 1)), grid_graph(101, 101))


def random_affinity(n, seed):
    rng = np.random.default_rng(seed)
    w = rng.random((n, n))
    return (w + w.T) / 2


@pytest.mark.parametrize("n", [2, 7, 30])
@pytest.mark.parametrize("solver", ["dense", "sparse"])
def test_pairs_are_those_of_the_generalised_problem(monkeypatch, n, solver):
    monkeypatch.setattr(node_graph, "_DENSE", 200 if solver == "dense" else 0)
    w, k = random_affinity(n, n), min(n - 1, 4)
    d = np.diag(w.sum(1))
    values, vectors = scipy.linalg.eigh(d - w, d, subset_by_index=[1, k])
    actual = smallest_eigenpairs(w, np.full(n, 5), k)
    np.testing.assert_allclose(actual.values, values, atol=1e-10)
    signs = np.sign((vectors * actual.vectors).sum(0))
    # areas of 5 are areas of 1: they are relative
    np.testing.assert_allclose(actual.vectors, vectors * signs, atol=1e-8)


def test_a_node_counts_as_often_as_it_has_pixels():
    w, area = random_affinity(6, 0), np.array([1, 3, 2, 1, 4, 2])
    of_pixel = np.repeat(np.arange(6), area)
    many = smallest_eigenpairs(w[of_pixel][:, of_pixel], np.ones(area.sum(), int), 2)
    few = smallest_eigenpairs(w, area, 2)
    np.testing.assert_allclose(few.values, many.values, atol=1e-10)
    ratio = many.vectors / few.vectors[of_pixel]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-6)


def test_two_parts_of_a_graph_are_separated():
    w = scipy.linalg.block_diag(np.ones((3, 3)), np.ones((2, 2)))
    actual = smallest_eigenpairs(w, np.ones(5, int), 1)
    assert actual.values[0] == pytest.approx(0, abs=1e-12)
    vector = actual.vectors[:, 0]
    np.testing.assert_allclose(vector, [vector[0]] * 3 + [vector[3]] * 2)
    assert vector[0] * vector[3] < 0


def test_a_node_that_is_like_none_has_eigenvalue_one():
    w = scipy.linalg.block_diag(random_affinity(4, 1), 0.0)
    d = np.diag([*w.sum(1)[:4], 1.0])
    values = scipy.linalg.eigh(d - w, d, eigvals_only=True)
    np.testing.assert_allclose(smallest_eigenpairs(w, np.ones(5, int), 3).values, values[1:4], atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_without_structure_vectors_are_zero(n):
    actual = smallest_eigenpairs(np.ones((n, n)), np.arange(1, n + 1), 2)
    np.testing.assert_array_equal(actual.vectors, 0)
    np.testing.assert_array_equal(actual.values, 1)


def test_no_vectors_are_refused():
    with pytest.raises(InputError, match="n_vectors=0"):
        smallest_eigenpairs(np.ones((2, 2)), np.ones(2, int), 0)
