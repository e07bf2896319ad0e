import numpy as np
import pytest

from supercuts.core.errors import FileFormatError, InputError
from supercuts.graph.rag import build_rag, graph_and_statistics
from supercuts.merging.affinity import (
    Affinity,
    AffinityConfig,
    Perceptrons,
    edge_features,
    feature_names,
    merge_and_judge,
    merge_by_affinity,
    merge_to_count_by_affinity,
    separation,
)
from supercuts.merging.agglomerative import merge_tree
from supercuts.training.affinity import by_boundary

PLAIN = AffinityConfig(small_exponent=0, growth=1, fine_altitude=0)


def described(labels, maps):
    return graph_and_statistics(labels, maps, is_connected=False)


def random_affinity(n_features, members=2, hidden=4, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((members, n_features + 1, hidden), (members, hidden + 1, hidden), (members, hidden + 1))
    weights = [rng.standard_normal(shape, np.float32) / 2 for shape in shapes]
    return Affinity(rng.random(n_features, np.float32), rng.random(n_features, np.float32), *weights)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_regions", [0, 2])
def test_an_affinity_of_the_boundary_alone_is_average_linkage(make_mosaic, seed, n_regions):
    graph, statistics = described(*make_mosaic(seed=seed, n_regions=n_regions))
    tree = merge_by_affinity(graph, statistics, by_boundary(len(feature_names(statistics))), PLAIN)
    expected = merge_tree(graph, graph.boundary)
    np.testing.assert_array_equal(tree.parents, expected.parents)
    np.testing.assert_allclose(tree.altitudes, expected.altitudes, atol=1e-6)


@pytest.mark.parametrize("n_regions", [0, 2])
def test_features_kept_while_merging_equal_features_from_scratch(make_mosaic, n_regions):
    labels, maps = make_mosaic(30, n_regions=n_regions)
    graph, statistics = described(labels, maps)
    affinity = random_affinity(len(feature_names(statistics)))
    tree, judged = merge_and_judge(graph, statistics, affinity, PLAIN)
    n = graph.n_nodes
    assert len(judged.features) > graph.n_edges
    for row in range(graph.n_edges, len(judged.features), 7):
        a, b = judged.nodes[row]
        top = np.arange(tree.parents.size)  # every leaf's region once the newer of the two had been made
        for node in range(tree.parents.size - 2, -1, -1):
            if tree.parents[node] <= max(a, b):
                top[node] = top[tree.parents[node]]
        ids, region = np.unique(top[:n], return_inverse=True)
        merged = region.astype(np.int32)[labels]
        after, again = described(merged, maps)
        pair = sorted((int(np.searchsorted(ids, a)), int(np.searchsorted(ids, b))))
        edge = int(np.flatnonzero((after.edges == pair).all(1))[0])
        np.testing.assert_allclose(judged.features[row], edge_features(after, again)[edge], rtol=2e-4, atol=2e-4)


def test_the_order_of_a_pair_does_not_matter(make_mosaic):
    labels, maps = make_mosaic(25)
    turned = labels.max() - labels
    (graph, first), (other_graph, second) = described(labels, maps), described(turned, maps)
    rows = {tuple(pair): row for pair, row in zip(graph.edges.tolist(), edge_features(graph, first), strict=True)}
    for (i, j), row in zip(other_graph.edges.tolist(), edge_features(other_graph, second), strict=True):
        np.testing.assert_allclose(row, rows[labels.max() - j, labels.max() - i], rtol=1e-5, atol=1e-5)


def test_separation_is_the_mean_logit_of_the_perceptrons():
    affinity = random_affinity(5, members=3)
    features = np.random.default_rng(1).standard_normal((20, 5)).astype(np.float32)
    x = (features - affinity.mean) * affinity.scale
    logits = []
    for first, second, last in zip(affinity.first, affinity.second, affinity.last, strict=True):
        hidden = np.maximum(x @ first[:-1] + first[-1], 0)
        logits.append(np.maximum(hidden @ second[:-1] + second[-1], 0) @ last[:-1] + last[-1])
    expected = 1 / (1 + np.exp(-np.mean(logits, axis=0)))
    np.testing.assert_allclose(separation(features, affinity), expected, rtol=1e-5)


def test_each_feature_has_a_name_of_its_own(make_mosaic):
    for n_regions in (0, 2):
        graph, statistics = described(*make_mosaic(10, n_regions=n_regions))
        names = feature_names(statistics)
        assert len(set(names)) == len(names) == edge_features(graph, statistics).shape[1]


@pytest.mark.parametrize("growth", [1.0, 1.1, 100.0])
def test_trees_are_whole_and_rise_to_the_root(make_mosaic, growth):
    graph, statistics = described(*make_mosaic(200))
    config = AffinityConfig(growth=growth)
    tree = merge_by_affinity(graph, statistics, random_affinity(len(feature_names(statistics))), config)
    n = graph.n_nodes
    assert tree.parents.size == 2 * n - 1
    assert (tree.parents[:-1] > np.arange(2 * n - 2)).all()
    assert (np.bincount(tree.parents[:-1])[n:] == 2).all()
    assert (np.diff(tree.altitudes[n:]) >= 0).all()
    assert 0 <= tree.altitudes[n] <= tree.altitudes[-1] <= 1


@pytest.mark.parametrize("n_regions", [1, 5, 11])
def test_merging_stops_at_the_count_that_the_tree_passes(make_mosaic, n_regions):
    labels, maps = make_mosaic(30)
    graph, statistics = described(labels, maps)
    affinity = random_affinity(len(feature_names(statistics)))
    region = merge_to_count_by_affinity(graph, statistics, affinity, PLAIN, n_regions)
    parents = merge_by_affinity(graph, statistics, affinity, PLAIN).parents
    n_left = parents.size - n_regions + 1  # the nodes made by the first merges
    top = np.arange(parents.size)
    for node in range(n_left - 1, -1, -1):
        if parents[node] < n_left:
            top[node] = top[parents[node]]
    expected = np.unique(top[: graph.n_nodes], return_inverse=True)[1]
    assert region.max() + 1 == n_regions
    assert len(np.unique(np.stack([region, expected]), axis=1).T) == n_regions


@pytest.mark.parametrize("n", [1, 2])
def test_the_first_members_judge_alone(make_mosaic, n):
    graph, statistics = described(*make_mosaic(60))
    whole = random_affinity(len(feature_names(statistics)), members=3)
    first = Affinity(whole.mean, whole.scale, whole.first[:n].copy(), whole.second[:n].copy(), whole.last[:n].copy())
    some = PLAIN.model_copy(update={"members": n})
    expected, actual = (merge_by_affinity(graph, statistics, *how) for how in ((first, PLAIN), (whole, some)))
    np.testing.assert_array_equal(actual.parents, expected.parents)
    np.testing.assert_array_equal(actual.altitudes, expected.altitudes)
    assert (merge_by_affinity(graph, statistics, whole, PLAIN).altitudes != expected.altitudes).any()


def test_small_regions_merge_early(make_mosaic):
    labels = np.zeros((20, 30), np.int32)
    labels[:, 10:] = 1
    labels[:, 20:] = 2
    labels[5, 25] = 3
    maps = make_mosaic(shape=(20, 30))[1]
    graph, statistics = described(labels, maps)
    config = AffinityConfig(small_exponent=2, small_area=0.1)
    tree = merge_by_affinity(graph, statistics, by_boundary(len(feature_names(statistics))), config)
    assert tree.parents[3] == tree.parents[2] == 4


@pytest.mark.parametrize("fine_altitude", [0.0, 0.3, 0.7, 1.0])
def test_fine_merges_are_ordered_by_area_as_well(make_mosaic, fine_altitude):
    graph, statistics = described(*make_mosaic(80))
    affinity, fine, e = random_affinity(len(feature_names(statistics))), fine_altitude, 0.5
    plain = merge_by_affinity(graph, statistics, affinity, PLAIN)
    config = PLAIN.model_copy(update={"fine_altitude": fine, "fine_exponent": e})
    tree = merge_by_affinity(graph, statistics, affinity, config)
    regions, altitudes = members_of(plain.parents), dict(zip(members_of(tree.parents), tree.altitudes, strict=True))
    assert set(altitudes) == set(regions)  # the regions stay
    assert (np.diff(tree.altitudes[graph.n_nodes :]) >= 0).all()
    assert (tree.parents[:-1] > np.arange(tree.parents.size - 1)).all()
    expected = plain.altitudes.astype(np.float64)
    area = np.array([sum(graph.area[leaf] for leaf in region) for region in regions])
    for node in range(graph.n_nodes, plain.parents.size):
        children = np.flatnonzero(plain.parents[:node] == node)
        if expected[node] < fine:
            share = 2 * area[children].min() / area[-1]
            expected[node] = fine * (expected[node] / fine * share**e) ** (1 / (1 + e))
        expected[node] = max(expected[node], *expected[children])
    np.testing.assert_allclose([altitudes[region] for region in regions], expected, rtol=1e-6)
    assert (fine == 0) == np.array_equal(tree.altitudes, plain.altitudes)


def members_of(parents):
    """Return the leaves of each node, as frozen sets."""
    n = (parents.size + 1) // 2
    below = [{node} if node < n else set() for node in range(parents.size)]
    for node in range(parents.size - 1):
        below[parents[node]] |= below[node]
    return [frozenset(leaves) for leaves in below]


def test_a_single_region_is_a_tree_and_statistics_of_another_graph_are_refused(make_mosaic):
    labels = np.arange(2, dtype=np.int32).repeat(8).reshape(4, 4)
    _, statistics = described(labels, make_mosaic(shape=(4, 4))[1])
    lonely = build_rag(np.zeros((4, 4), np.int32), *(np.zeros(s, np.float32) for s in ((4, 4), (3, 4, 4), (2, 4, 4))))
    with pytest.raises(InputError, match="statistics of 2 regions and 1 borders do not fit a graph of 1 and 0"):
        merge_by_affinity(lonely, statistics, by_boundary(len(feature_names(statistics))))
    single, alone = described(np.zeros((4, 4), np.int32), make_mosaic(shape=(4, 4))[1])
    tree = merge_by_affinity(single, alone, by_boundary(len(feature_names(alone))))
    assert tree.parents.tolist() == [0]


def test_an_affinity_of_other_features_is_refused(make_mosaic):
    graph, statistics = described(*make_mosaic(10))
    n_features = len(feature_names(statistics))
    with pytest.raises(InputError, match=rf"learned on {n_features + 1} features, but there are {n_features}"):
        merge_by_affinity(graph, statistics, by_boundary(n_features + 1))


def random_perceptrons(n_features=6, members=2, hidden=4):
    rng = np.random.default_rng(0)
    shapes = ((members, n_features + 1, hidden), (members, hidden + 1, hidden), (members, hidden + 1))
    weights = [rng.standard_normal(shape, np.float32) / 2 for shape in shapes]
    return Perceptrons(rng.random(n_features, np.float32), rng.random(n_features, np.float32), *weights)


def with_bias(x):
    return np.append(x, 1.0)


def test_the_probability_is_that_of_the_mean_logit():
    perceptrons = random_perceptrons()
    features = np.random.default_rng(1).standard_normal((5, 6), np.float32)
    for row, actual in zip(features.astype(float), perceptrons.probability(features), strict=True):
        x = with_bias((row - perceptrons.mean) * perceptrons.scale)
        members = zip(perceptrons.first, perceptrons.second, perceptrons.last, strict=True)
        logits = [with_bias(np.maximum(with_bias(np.maximum(x @ a, 0)) @ b, 0)) @ c for a, b, c in members]
        assert actual == pytest.approx(1 / (1 + np.exp(-np.mean(logits))), abs=1e-5)


def test_arrays_come_back_and_others_are_refused():
    perceptrons = random_perceptrons()
    back = Perceptrons.from_arrays(perceptrons.arrays())
    for name, values in perceptrons.arrays().items():
        np.testing.assert_array_equal(getattr(back, name), values)
    with pytest.raises(FileFormatError, match="have the arrays mean, scale, first, second, last, not mean"):
        Perceptrons.from_arrays({"mean": perceptrons.mean})
    with pytest.raises(FileFormatError, match="do not fit each other"):
        Perceptrons.from_arrays(perceptrons.arrays() | {"scale": perceptrons.scale[:-1]})


def test_features_of_another_number_are_refused():
    with pytest.raises(InputError, match="learned on 6 features, but there are 4"):
        random_perceptrons().probability(np.zeros((3, 4), np.float32))
