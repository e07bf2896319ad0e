from itertools import pairwise

import numpy as np
import torch

from supercuts.export.graphs import region_graph
from supercuts.export.partitions import partitions
from supercuts.merging.pyg import Data, HeteroData


def test_data_is_read_without_pickled_code(ragged, tmp_path):
    ragged.export(tmp_path / "a.pt", "pyg")
    data = Data.from_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    data.validate()
    expected = region_graph(ragged, partitions(ragged)[-1])
    assert data.is_undirected()
    assert (data.num_nodes, data.num_edges) == (ragged.n_leaves, 2 * expected.n_edges)
    np.testing.assert_array_equal(data.edge_index[:, : expected.n_edges].T, expected.edges)
    np.testing.assert_allclose(data.x[:, -1] * ragged.labels.size, ragged.areas()[: ragged.n_leaves], rtol=1e-5)
    assert data.node.tolist() == list(range(ragged.n_leaves))


def test_one_cut(ragged, tmp_path):
    ragged.export(tmp_path / "a.pt", "pyg", level="object")
    data = Data.from_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    assert data.node.tolist() == ragged.cut_nodes(level="object").tolist()


LEVELS = ["scene", "object", "part", "superpixels"]


def test_hetero_data_knows_levels_neighbours_and_parents(ragged, tmp_path):
    ragged.export(tmp_path / "a.pt", "pyg-levels")
    data = HeteroData.from_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    data.validate()
    assert data.node_types == LEVELS
    for coarse, fine in pairwise(LEVELS):
        child, parent = data[fine, "in", coarse].edge_index
        assert child.tolist() == list(range(data[fine].num_nodes))
        finer = ragged.labels if fine == "superpixels" else ragged.cut(level=fine)
        np.testing.assert_array_equal(parent.numpy()[finer], ragged.cut(level=coarse))
        torch.testing.assert_close(data[coarse, "holds", fine].edge_index, torch.stack([parent, child]))
    assert data["part", "touches", "part"].edge_attr.shape[1] == 4
