import higra
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import ValidationError

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.graph.rag import RegionGraph, build_rag
from supercuts.hierarchy.cuts import cut_by_count
from supercuts.merging.agglomerative import LinkageConfig, dissimilarity, merge_to_count, merge_tree


def graph_of(edges, lengths, areas):
    """Return a graph with nothing but what merging reads."""
    edges = np.array(edges, np.int32).reshape(-1, 2)
    n_edges, n_nodes = len(edges), len(areas)
    return RegionGraph(
        edges=edges,
        border_length=np.array(lengths, np.float32),
        boundary=np.zeros(n_edges, np.float32),
        color_distance=np.zeros(n_edges, np.float32),
        embedding_distance=np.zeros(n_edges, np.float32),
        area=np.array(areas, np.int64),
        centroid_yx=np.zeros((n_nodes, 2), np.float32),
        bbox=np.zeros((n_nodes, 4), np.int32),
        color=np.zeros((n_nodes, 3), np.float32),
        embedding=np.zeros((n_nodes, 0), np.float32),
        embedding_variance=np.zeros(n_nodes, np.float32),
    )


def graph_of_labels(labels):
    maps = [np.zeros(shape, np.float32) for shape in (labels.shape, (3, *labels.shape), (0, *labels.shape))]
    return build_rag(labels, *maps)


def mosaic():
    """Return a graph of 200 regions of all sizes: the pixels nearest to random points."""
    points = np.random.default_rng(3).random((200, 2)) * (60, 80)
    ys, xs = np.indices((60, 80))
    nearest = ((ys[..., None] - points[:, 0]) ** 2 + (xs[..., None] - points[:, 1]) ** 2).argmin(axis=2)
    graph = graph_of_labels(relabel_consecutive(nearest)[0])
    return graph, np.random.default_rng(4).random(graph.n_edges, np.float32)


@st.composite
def weighted_graphs(draw, max_side=8):
    """Draw the region graph of a label map with random weights: no two and no two means of them are equal."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=max_side))
    labels, _ = relabel_consecutive(draw(arrays(np.int64, shape, elements=st.integers(0, 15))))
    graph = graph_of_labels(labels)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return graph, rng.random(graph.n_edges, np.float32)


def altitudes_of_pairs(parents, altitudes, n_leaves):
    """Return (N, N): the altitude of the lowest common ancestor of each two leaves."""
    members = [[leaf] for leaf in range(n_leaves)] + [[] for _ in range(len(parents) - n_leaves)]
    pairs = np.zeros((n_leaves, n_leaves))
    for node, parent in enumerate(parents[:-1]):
        pairs[np.ix_(members[node], members[parent])] = altitudes[parent]
        pairs[np.ix_(members[parent], members[node])] = altitudes[parent]
        members[parent] = members[parent] + members[node]
    return pairs


def slow_merges(graph, weights, small_area_px, small_exponent):
    """Return merges as sets of leaves, and their keys: every key of every pair is computed before every merge."""
    regions = [frozenset([i]) for i in range(graph.n_nodes)]
    merges = []
    while True:
        keys = {}
        for i, first in enumerate(regions):
            for second in regions[:i]:
                shared = [k for k, (a, b) in enumerate(graph.edges.tolist()) if (a in first) + (b in first) == 1
                          and (a in second) + (b in second) == 1]  # fmt: skip
                if shared:
                    smaller = min(graph.area[list(first)].sum(), graph.area[list(second)].sum())
                    mean = np.average(weights[shared].astype(float), weights=graph.border_length[shared])
                    keys[first, second] = mean * min(1, smaller / small_area_px) ** small_exponent
        if not keys:
            return merges
        first, second = min(keys, key=keys.get)
        regions = [region for region in regions if region not in (first, second)] + [first | second]
        merges.append((first | second, keys[first, second]))


def leaves_of_nodes(parents, n_leaves):
    members = [frozenset([leaf]) for leaf in range(n_leaves)] + [frozenset()] * (len(parents) - n_leaves)
    for node, parent in enumerate(parents[:-1]):
        members[parent] |= members[node]
    return members


def test_hand_worked_tree():
    # 0 1 over 2 3; {0, 1} and {2, 3} then share borders of length 3 and 1: (3 * 0.4 + 1 * 0.8) / 4 = 0.5
    graph = graph_of([(0, 1), (0, 2), (1, 3), (2, 3)], [1, 3, 1, 2], [4, 4, 4, 4])
    weights = np.array([0.1, 0.4, 0.8, 0.3], np.float32)
    tree = merge_tree(graph, weights)
    assert tree.parents.tolist() == [4, 4, 5, 5, 6, 6, 6]
    np.testing.assert_allclose(tree.altitudes, [0, 0, 0, 0, 0.1, 0.3, 0.5])
    assert [merge_to_count(graph, weights, n).tolist() for n in (1, 2, 3, 4)] == [
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1, 2],
        [0, 1, 2, 3],
    ]


def test_hand_worked_small_region_merges_first():
    # a row 0 1 2: the pixel 2 counts (1 / 4) ** 0.5 of its 0.6, which is less than 0.5
    graph = graph_of([(0, 1), (1, 2)], [1, 1], [9, 9, 1])
    weights = np.array([0.5, 0.6], np.float32)
    assert merge_tree(graph, weights).parents.tolist() == [3, 3, 4, 4, 4]
    tree = merge_tree(graph, weights, small_area_px=4.0, small_exponent=0.5)
    assert tree.parents.tolist() == [4, 3, 3, 4, 4]
    np.testing.assert_allclose(tree.altitudes[3:], [0.3, 0.5])


@given(weighted_graphs())
def test_tree_matches_higra(case):
    graph, weights = case
    if graph.n_edges:
        check_against_higra(graph, weights)


def test_large_tree_matches_higra():
    check_against_higra(*mosaic())


def check_against_higra(graph, weights):
    reference = higra.UndirectedGraph(graph.n_nodes)
    reference.add_edges(graph.edges[:, 0], graph.edges[:, 1])
    expected, heights = higra.binary_partition_tree_average_linkage(
        reference, weights.astype(np.float64), graph.border_length.astype(np.float64)
    )
    tree = merge_tree(graph, weights)
    np.testing.assert_array_equal(tree.parents, expected.parents())
    np.testing.assert_allclose(
        altitudes_of_pairs(tree.parents, tree.altitudes, graph.n_nodes),
        altitudes_of_pairs(expected.parents(), heights, graph.n_nodes),
        atol=1e-6,
    )


@given(weighted_graphs(max_side=5), st.sampled_from([1.0, 3.0, 8.0]), st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0]))
def test_small_regions_merge_as_recomputing_every_key_does(case, small_area_px, small_exponent):
    graph, weights = case
    expected = slow_merges(graph, weights, small_area_px, small_exponent)
    tree = merge_tree(graph, weights, small_area_px=small_area_px, small_exponent=small_exponent)
    made = leaves_of_nodes(tree.parents, graph.n_nodes)[graph.n_nodes :]
    assert made == [region for region, _ in expected]
    keys = np.maximum.accumulate([key for _, key in expected]) if expected else []
    np.testing.assert_allclose(tree.altitudes[graph.n_nodes :], keys, atol=1e-6)


@given(weighted_graphs(), st.sampled_from([0.0, 0.5, 2.0]))
def test_altitudes_rise_to_the_root(case, small_exponent):
    graph, weights = case
    tree = merge_tree(graph, weights, small_area_px=5.0, small_exponent=small_exponent)
    n_leaves = graph.n_nodes
    assert tree.parents.size == tree.altitudes.size == 2 * n_leaves - 1
    assert (tree.parents[:-1] > np.arange(2 * n_leaves - 2)).all()
    assert tree.parents[-1] == 2 * n_leaves - 2
    assert (np.bincount(tree.parents[:-1], minlength=2 * n_leaves - 1)[n_leaves:] == 2).all()
    assert (tree.altitudes[:n_leaves] == 0).all()
    assert (tree.altitudes <= tree.altitudes[tree.parents]).all()
    assert tree.altitudes.max() <= 1
    assert tree.parents.dtype == np.int32
    assert tree.altitudes.dtype == np.float32


def test_altitudes_above_one_are_clipped():
    tree = merge_tree(graph_of([(0, 1), (1, 2)], [1, 1], [1, 1, 1]), np.array([3.0, 0.5], np.float32))
    np.testing.assert_allclose(tree.altitudes, [0, 0, 0, 0.5, 1])


@given(weighted_graphs(), st.randoms(use_true_random=False))
def test_numbering_of_the_nodes_does_not_matter(case, random):
    graph, weights = case
    new_id = np.array(random.sample(range(graph.n_nodes), graph.n_nodes), np.int64)
    ends = np.sort(new_id[graph.edges], axis=1)
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    area = np.empty(graph.n_nodes, np.int64)
    area[new_id] = graph.area
    renumbered = graph_of(ends[order], graph.border_length[order], area)
    how = {"small_area_px": 4.0, "small_exponent": 0.5}
    tree, other = merge_tree(graph, weights, **how), merge_tree(renumbered, weights[order], **how)
    pairs = altitudes_of_pairs(other.parents, other.altitudes, graph.n_nodes)
    np.testing.assert_allclose(
        altitudes_of_pairs(tree.parents, tree.altitudes, graph.n_nodes), pairs[np.ix_(new_id, new_id)], atol=1e-6
    )


def test_equal_weights_merge_in_the_order_of_the_edges():
    row = graph_of([(0, 1), (1, 2), (2, 3)], [1, 1, 1], [1, 1, 1, 1])
    tree = merge_tree(row, np.full(3, 0.5, np.float32))
    assert tree.parents[:2].tolist() == [4, 4]
    np.testing.assert_allclose(tree.altitudes[4:], 0.5)


@given(weighted_graphs(), st.integers(1, 3))
def test_ties_are_broken_alike_every_time(case, n_values):
    graph, weights = case
    tied = (np.floor(weights * n_values) / n_values).astype(np.float32)
    first, again = merge_tree(graph, tied), merge_tree(graph, tied.copy())
    np.testing.assert_array_equal(first.parents, again.parents)
    np.testing.assert_array_equal(first.altitudes, again.altitudes)


@given(weighted_graphs(), st.sampled_from([0.0, 0.7]), st.integers(1, 60))
def test_partition_is_a_cut_of_the_tree_with_the_same_weights(case, small_exponent, n_regions):
    graph, weights = case
    n_regions = min(n_regions, graph.n_nodes)
    how = {"small_area_px": 6.0, "small_exponent": small_exponent}
    region = merge_to_count(graph, weights, n_regions, **how)
    tree = merge_tree(graph, weights, **how)
    assert region.dtype == np.int32
    ids, first_node = np.unique(region, return_index=True)
    assert ids.tolist() == list(range(n_regions))
    assert (np.diff(first_node) > 0).all()
    cut = cut_by_count(tree.parents, tree.altitudes, graph.n_nodes, n_regions)
    np.testing.assert_array_equal(region, cut.region_of_leaf)


def test_one_node_is_its_own_root():
    graph = graph_of([], [], [7])
    tree = merge_tree(graph, np.zeros(0, np.float32))
    assert (tree.parents.tolist(), tree.altitudes.tolist()) == ([0], [0])
    assert merge_to_count(graph, np.zeros(0, np.float32), 1).tolist() == [0]


def test_parts_that_do_not_touch_join_at_altitude_one():
    graph = graph_of([(0, 1), (3, 4)], [1, 1], [1, 1, 1, 1, 1])
    weights = np.array([0.3, 0.2], np.float32)
    tree = merge_tree(graph, weights)
    # {3, 4} = 5 at 0.2, {0, 1} = 6 at 0.3; then the free nodes 2, 5, 6 in order: {2, 5} = 7, {6, 7} = 8
    assert tree.parents.tolist() == [6, 6, 7, 5, 5, 7, 8, 8, 8]
    np.testing.assert_allclose(tree.altitudes[5:], [0.2, 0.3, 1, 1])
    assert merge_to_count(graph, weights, 1).tolist() == [0, 0, 1, 2, 2], "a graph of three parts stays in three"


@pytest.mark.parametrize("n_nodes", [2, 3, 8])
def test_graph_without_edges_joins_all_nodes_at_altitude_one(n_nodes):
    tree = merge_tree(graph_of([], [], [1] * n_nodes), np.zeros(0, np.float32))
    assert (tree.altitudes[n_nodes:] == 1).all()
    assert sorted(tree.parents[:-1].tolist()) == sorted(2 * list(range(n_nodes, 2 * n_nodes - 1)))


def test_dissimilarity_is_the_weighted_sum_of_distances():
    labels = np.array([[0, 1]], np.int32)
    lab = np.array([[[10.0, 40.0]], [[0.0, 40.0]], [[0.0, 0.0]]], np.float32)  # 50 apart
    graph = build_rag(labels, np.array([[0.2, 0.6]], np.float32), lab, np.array([[[1.0, 4.0]]], np.float32))
    config = LinkageConfig(boundary=2.0, color=0.5, embedding=0.1)
    np.testing.assert_allclose(dissimilarity(graph, config), [2 * 0.4 + 0.5 * 0.5 + 0.1 * 3], rtol=1e-6)
    assert dissimilarity(graph_of([], [], [1]), config).shape == (0,)


@pytest.mark.parametrize("field", LinkageConfig.model_fields)
def test_negative_or_unknown_settings_are_refused(field):
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        LinkageConfig(**{field: -0.1})
    with pytest.raises(ValidationError, match="Extra inputs"):
        LinkageConfig(**{f"{field}s": 1.0})


@pytest.mark.parametrize("weights", [[0.1, np.nan], [0.1, np.inf], [0.1, -0.1], [0.1], [0.1, 0.2, 0.3]])
def test_weights_that_are_not_one_finite_number_an_edge_are_refused(weights):
    graph = graph_of([(0, 1), (1, 2)], [1, 1], [1, 1, 1])
    with pytest.raises(InputError, match="must be 2 finite numbers >= 0, one for each edge"):
        merge_tree(graph, np.array(weights, np.float32))
    with pytest.raises(InputError, match="must be 2 finite numbers >= 0, one for each edge"):
        merge_to_count(graph, np.array(weights, np.float32), 2)


@pytest.mark.parametrize("n_regions", [0, -1, 4])
def test_impossible_counts_are_refused(n_regions):
    graph = graph_of([(0, 1), (1, 2)], [1, 1], [1, 1, 1])
    with pytest.raises(InputError, match=rf"n_regions={n_regions} is outside 1\.\.3\. Ask for fewer regions"):
        merge_to_count(graph, np.array([0.1, 0.2], np.float32), n_regions)
