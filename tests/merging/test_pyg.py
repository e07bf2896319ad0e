import subprocess
import sys

import numpy as np
import torch
from torch_geometric.utils import is_undirected

from supercuts.graph.rag import build_rag
from supercuts.merging.pyg import DataLoader, graph_data


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


def test_importing_it_warns_of_nothing():
    done = subprocess.run([sys.executable, "-c", "import supercuts.merging.pyg"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
