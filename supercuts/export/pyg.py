"""Write the region adjacency graph for PyTorch Geometric.

In   a hierarchy, a path ending in .pt
Out  the dict of a Data, which torch.load(weights_only=True) reads: Data.from_dict makes it one again
Not  no features of its own (merging/pyg.py); torch and torch_geometric are imported when a graph is made
"""

import io
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from supercuts.core.checks import check_choice
from supercuts.core.files import atomic_path
from supercuts.export.graphs import region_graph
from supercuts.export.partitions import Partition, partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData


def write_pyg(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write the graph of one cut's regions, without one that of the superpixels."""
    check_suffix(path)
    write_dict(path, to_data(hierarchy, partitions(hierarchy, how)[-1]).to_dict())


def to_data(hierarchy: Hierarchy, part: Partition) -> "Data":
    """Return the graph as Data: what merging.pyg.graph_data gives, and node (R,), the tree node of each region."""
    import torch

    from supercuts.merging.pyg import graph_data

    data = graph_data(region_graph(hierarchy, part))
    data.node = torch.from_numpy(part.nodes.astype("int64"))
    return data


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Refuse another suffix than torch's."""
    check_choice("suffix of a torch file", Path(path).suffix.lower(), (".pt", ".pth"))


def write_dict(path: str | os.PathLike[str], values: dict[Any, Any]) -> None:
    """Write a dict of tensors."""
    import torch

    content = io.BytesIO()  # torch reports a full disk as a RuntimeError of its own
    torch.save(values, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def write_pyg_levels(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
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
