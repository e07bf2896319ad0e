import numpy as np
import pytest
from pydantic import ValidationError

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.graph.rag import graph_and_statistics
from supercuts.merging.affinity import feature_names
from supercuts.merging.agglomerative import merge_tree
from supercuts.merging.gnn import EdgeGNN, statistics_data
from supercuts.merging.mergers import MergingConfig, Regions, merge
from supercuts.networks.maps import PixelMaps
from supercuts.training.affinity import by_boundary


@pytest.fixture
def described():
    rng = np.random.default_rng(0)
    labels = relabel_consecutive(rng.integers(0, 40, (8, 10)).repeat(3, 0).repeat(3, 1))[0]
    shape = labels.shape
    maps = PixelMaps(
        rng.random((3, *shape), np.float32), rng.random(shape, np.float32), rng.random((2, *shape), np.float32)
    )
    return graph_and_statistics(labels, maps, is_connected=False)


@pytest.mark.parametrize("method", ["agglomerative", "spectral"])
def test_every_merger_makes_a_tree_with_and_without_a_learned_affinity(described, method):
    graph, statistics = described
    config = MergingConfig(method=method)
    affinity = by_boundary(len(feature_names(statistics)))
    for regions in (Regions(graph, config), Regions(graph, config, statistics, affinity)):
        tree = merge(regions)
        n = graph.n_nodes
        assert tree.parents.size == tree.altitudes.size == 2 * n - 1
        assert (tree.parents[:-1] > np.arange(2 * n - 2)).all()
        assert (np.diff(tree.altitudes[n:]) >= 0).all()
        assert tree.altitudes[-1] <= 1


def test_the_learned_probability_replaces_the_hand_made_one(described):
    graph, statistics = described
    config = MergingConfig()
    learned = Regions(graph, config, statistics, by_boundary(len(feature_names(statistics)))).probability()
    np.testing.assert_allclose(learned, graph.boundary, atol=1e-6)
    made = Regions(graph, config).probability()
    assert (made >= learned - 1e-6).all()
    assert (made > learned + 1e-6).any()


def test_without_an_affinity_it_is_linkage_of_the_hand_made_distance(described):
    graph, _ = described
    config = MergingConfig()
    config = config.model_copy(update={"linkage": config.linkage.model_copy(update={"color": 0, "small_exponent": 0})})
    np.testing.assert_array_equal(merge(Regions(graph, config)).parents, merge_tree(graph, graph.boundary).parents)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValidationError, match=r"method='ward' is unknown\. Choose one of: agglomerative"):
        MergingConfig(method="ward")


def test_a_graph_neural_network_must_have_been_learned(described):
    graph, statistics = described
    data = statistics_data(graph, statistics)
    config = MergingConfig(method="gnn")
    network = EdgeGNN(data.x.shape[1], data.edge_attr.shape[1]).eval()
    assert merge(Regions(graph, config, statistics, gnn=network)).parents.size == 2 * graph.n_nodes - 1
    with pytest.raises(
        InputError, match="needs a model with a graph neural network: learn one with supercuts calibrate MODEL --gnn"
    ):
        merge(Regions(graph, config, statistics))
