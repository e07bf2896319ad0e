from itertools import pairwise

import numpy as np
import torch

from supercuts.merging.pyg import HeteroData

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
