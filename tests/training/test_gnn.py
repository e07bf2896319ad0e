import numpy as np
import pytest

from supercuts.datasets.bsds500 import BSDS500
from supercuts.merging.affinity import feature_names
from supercuts.merging.gnn import GNNConfig, edge_probabilities
from supercuts.networks.ssn import SSN, SSNConfig
from supercuts.training.affinity import by_boundary, describe
from supercuts.training.gnn import GNNTrainingConfig, graphs_of, learn_gnn


@pytest.fixture(scope="module")
def images(training_root):
    network = SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)).eval()
    return [describe(sample, network, 40) for sample in BSDS500(training_root, "train+val")]


def boundary_affinity(images):
    return by_boundary(len(feature_names(images[0].statistics)))


def test_an_image_gives_its_leaves_and_coarser_graphs(images):
    graphs = graphs_of(images[0], boundary_affinity(images), 5, np.random.default_rng(0))
    assert graphs[0].num_nodes == 40
    assert all(4 <= graph.num_nodes <= 40 for graph in graphs)
    assert len({graph.num_nodes for graph in graphs}) > 2
    for graph in graphs:
        assert graph.y.shape == (graph.num_edges,)
        assert set(graph.y.tolist()) <= {0.0, 0.5}  # one of two annotators draws the one border
        assert graph.weight.sum().item() == pytest.approx(1)
    assert set(graphs[0].y.tolist()) == {0.0, 0.5}


def test_the_network_learns_which_edges_separate(images):
    config = GNNTrainingConfig(epochs=40, graphs=3, batch_size=4)
    affinity = boundary_affinity(images)
    network = learn_gnn(images, affinity, config, GNNConfig(hidden=16, layers=2))
    assert not network.training
    image = images[0]
    probability = edge_probabilities(image.graph, image.statistics, network)
    wanted = graphs_of(image, affinity, 1, np.random.default_rng(0))[0].y.numpy()
    assert probability[wanted == 0.5].mean() > 3 * probability[wanted == 0].mean()
    again = learn_gnn(images, affinity, config, GNNConfig(hidden=16, layers=2))
    np.testing.assert_array_equal(edge_probabilities(image.graph, image.statistics, again), probability)
