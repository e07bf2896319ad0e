"""Write the levels as one heterogeneous graph for PyTorch Geometric.

In   a hierarchy, a path ending in .pt
Out  the dict of a HeteroData: a node type a level, its region adjacency graph, and who lies in whom
Not  no nodes of the tree between the levels; torch and torch_geometric are imported when a graph is made
"""

import os
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from supercuts.export.partitions import partitions
from supercuts.export.pyg import check_suffix, to_data, write_dict
from supercuts.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def write(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write every level and the superpixels."""
    check_suffix(path)
    write_dict(path, to_hetero_data(hierarchy).to_dict())


def to_hetero_data(hierarchy: Hierarchy) -> "HeteroData":
    """Return the levels as HeteroData.

    node types  scene, object, part, superpixels, each with x, pos and node as in pyg.to_data
    edge types  (level, "touches", level) with edge_index and edge_attr, (finer, "in", coarser) and
                (coarser, "holds", finer) with edge_index, between each level and the next
    """
    import torch

    from supercuts.merging.pyg import HeteroData

    data = HeteroData()
    parts = partitions(hierarchy)
    for part in parts:
        graph = to_data(hierarchy, part)
        for name in ("x", "pos", "node"):
            data[part.name][name] = graph[name]
        data[part.name, "touches", part.name].edge_index = graph.edge_index
        data[part.name, "touches", part.name].edge_attr = graph.edge_attr
    for coarse, fine in pairwise(parts):
        parent = np.empty(fine.nodes.size + 1, np.int64)
        parent[fine.labels] = coarse.labels  # -1 to the last, which is no region
        parent = parent[:-1]
        inside = torch.from_numpy(np.stack([np.arange(parent.size), parent]))
        data[fine.name, "in", coarse.name].edge_index = inside
        data[coarse.name, "holds", fine.name].edge_index = inside.flip(0)
    return data
