import subprocess
import sys

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.utils import is_undirected

from supercuts.core.errors import FileFormatError
from supercuts.graph.rag import build_rag, graph_and_statistics
from supercuts.merging import gnn as module
from supercuts.merging.agglomerative import merge_tree
from supercuts.merging.gnn import (
    DataLoader,
    EdgeGNN,
    GNNConfig,
    edge_probabilities,
    graph_data,
    merge_by_gnn,
    node_features,
    statistics_data,
)
from supercuts.networks.maps import PixelMaps


@pytest.fixture
def described(make_mosaic):
    """Return the function that makes a graph and its statistics; turn numbers the regions the other way round."""

    def make(n=40, n_regions=2, seed=0, turn=False):
        labels, maps = make_mosaic(n, (30, 40), n_regions, seed)
        labels = labels.max() - labels if turn else labels
        return graph_and_statistics(labels, maps, is_connected=False)

    return make


def network_for(graph, statistics, **changes):
    data = statistics_data(graph, statistics)
    torch.manual_seed(0)
    return EdgeGNN(data.x.shape[1], data.edge_attr.shape[1], GNNConfig(hidden=8, **changes)).eval()


@pytest.mark.parametrize("n_regions", [0, 2])
def test_node_features_are_means_over_pixels(described, n_regions):
    graph, statistics = described(n_regions=n_regions)
    features = node_features(statistics)
    assert features.shape == (graph.n_nodes, 6 + 3 + 3 + 2 + 1 + n_regions + 1)
    np.testing.assert_allclose(np.exp(features[:, 0]).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(features[:, 6:9], graph.color, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features[:, 12:14], graph.embedding, rtol=1e-4, atol=1e-5)
    assert (features[:, [9, 10, 11, 14, -1]] >= 0).all()
    assert ((features[:, 2:6] >= 0) & (features[:, 2:6] <= 1)).all()


def test_the_order_of_nodes_does_not_matter(described):
    (graph, first), (turned, second) = described(), described(turn=True)
    network = network_for(graph, first)
    last = graph.n_nodes - 1
    rows = dict(zip(map(tuple, graph.edges.tolist()), edge_probabilities(graph, first, network), strict=True))
    for (i, j), value in zip(turned.edges.tolist(), edge_probabilities(turned, second, network), strict=True):
        assert value == pytest.approx(rows[last - j, last - i], rel=1e-4)


def test_graphs_of_a_batch_do_not_see_each_other(described):
    (graph, first), (other_graph, second) = described(), described(25, seed=3)
    network = network_for(graph, first)
    with torch.inference_mode():
        together = network(
            Batch.from_data_list([statistics_data(graph, first), statistics_data(other_graph, second)])
        ).sigmoid()
    alone = [edge_probabilities(*pair, network) for pair in ((graph, first), (other_graph, second))]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4)


def test_edges_hear_of_each_other(described):
    graph, statistics = described()
    network = network_for(graph, statistics)
    before = edge_probabilities(graph, statistics, network)
    statistics.edges[0, 1] *= 0.1
    changed = edge_probabilities(graph, statistics, network) != before
    assert 1 < changed.sum() < changed.size  # three layers do not reach all


def test_a_single_round_is_average_linkage(described, monkeypatch):
    graph, statistics = described()
    monkeypatch.setattr(module, "edge_probabilities", lambda graph, *_: graph.boundary.astype(np.float64))
    tree = merge_by_gnn(graph, statistics, network_for(graph, statistics, keep=1e-6, small_exponent=0))
    expected = merge_tree(graph, graph.boundary)
    np.testing.assert_array_equal(tree.parents, expected.parents)
    np.testing.assert_allclose(tree.altitudes, expected.altitudes, atol=1e-6)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_rounds_make_one_whole_tree(described, keep):
    graph, statistics = described(80)
    tree = merge_by_gnn(graph, statistics, network_for(graph, statistics, keep=keep))
    n = graph.n_nodes
    assert tree.parents.size == 2 * n - 1
    assert (tree.parents[:-1] > np.arange(2 * n - 2)).all()
    assert (np.bincount(tree.parents[:-1])[n:] == 2).all()
    assert (np.diff(tree.altitudes[n:]) >= 0).all()


@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_linkage_in_rounds_is_linkage_at_once(described, monkeypatch, keep):
    graph, statistics = described(60)
    monkeypatch.setattr(module, "edge_probabilities", lambda graph, *_: graph.boundary.astype(np.float64))
    tree = merge_by_gnn(graph, statistics, network_for(graph, statistics, keep=keep, small_exponent=0))
    expected = merge_tree(graph, graph.boundary)
    np.testing.assert_array_equal(tree.parents, expected.parents)
    np.testing.assert_allclose(tree.altitudes, expected.altitudes, atol=1e-5)


def test_a_single_region_is_a_tree(described):
    labels = np.zeros((4, 4), np.int32)
    maps = PixelMaps(*(np.zeros(shape, np.float32) for shape in ((3, 4, 4), (4, 4), (2, 4, 4))))
    other = described(n_regions=0)
    tree = merge_by_gnn(*graph_and_statistics(labels, maps), network_for(*other))
    assert tree.parents.tolist() == [0]


def test_a_network_comes_back_from_its_arrays(described):
    graph, statistics = described()
    network = network_for(graph, statistics, keep=0.4)
    back = EdgeGNN.from_arrays(network.arrays(), network.config.model_dump_json())
    assert back.config == network.config
    expected = edge_probabilities(graph, statistics, network)
    np.testing.assert_array_equal(edge_probabilities(graph, statistics, back), expected)


def test_arrays_of_something_else_are_refused(described):
    network = network_for(*described())
    without = {name: values for name, values in network.arrays().items() if name != "output.bias"}
    for arrays, config in ((without, "{}"), ({}, "{}"), (network.arrays(), '{"hidden": 0}')):
        with pytest.raises(FileFormatError, match="do not fit a graph neural network"):
            EdgeGNN.from_arrays(arrays, config)


def some_graph(seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(12, dtype=np.int32).reshape(3, 4).repeat(2, 0).repeat(3, 1)
    maps = (rng.random(labels.shape), rng.random((3, *labels.shape)), rng.random((2, *labels.shape)))
    return build_rag(labels, *(values.astype(np.float32) for values in maps))


def test_data_hold_the_graph_in_both_directions():
    graph = some_graph()
    data = graph_data(graph)
    data.validate()
    assert (data.num_nodes, data.num_edges) == (graph.n_nodes, 2 * graph.n_edges)
    assert is_undirected(data.edge_index, data.edge_attr)
    np.testing.assert_array_equal(data.edge_index[:, : graph.n_edges].T, graph.edges)
    np.testing.assert_array_equal(data.edge_attr[: graph.n_edges, 1], graph.boundary)
    np.testing.assert_array_equal(data.x[:, :3], graph.color)
    np.testing.assert_allclose(data.x[:, -1], np.full(12, 1 / 12), rtol=1e-6)


def test_graphs_of_several_images_make_a_batch():
    batch = next(iter(DataLoader([graph_data(some_graph(seed)) for seed in range(3)], batch_size=3)))
    assert batch.num_nodes == 36
    assert batch.edge_index[:, -1].min() >= 24
    assert torch.bincount(batch.batch).tolist() == [12, 12, 12]


def test_importing_it_does_not_warn():
    done = subprocess.run([sys.executable, "-c", "import supercuts.merging.gnn"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
