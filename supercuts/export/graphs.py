"""Export regions and trees as graphs or linkage matrices, for networkx, scipy and PyTorch Geometric."""

import io
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.export.rasters import Partition, partitions
from supercuts.graph.rag import RegionGraph, contract, leaf_graph
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    import networkx as nx
    from torch_geometric.data import Data, HeteroData


def region_graph(hierarchy: Hierarchy, part: Partition) -> RegionGraph:
    """Return the graph of the regions of a partition, as `leaf_graph` measures it."""
    leaves = leaf_graph(hierarchy._labels, hierarchy.ucm(), hierarchy._embeddings, hierarchy._image)
    return contract(leaves, part.region_of_leaf(hierarchy))


def write_rag(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write the graph of one cut's regions; if `how` is None, that of the superpixels."""
    check_graphml(path)
    part = partitions(hierarchy, how)[-1]
    graph = region_graph(hierarchy, part).to_networkx()
    for region, node in enumerate(part.nodes.tolist()):
        graph.nodes[region]["node"] = node
    write_graph(path, graph)


def check_graphml(path: str | os.PathLike[str]) -> None:
    """Raise InputError unless the suffix is that of GraphML or JSON."""
    check_choice("suffix of a graph", Path(path).suffix.lower(), (".graphml", ".json"))


def write_graph(path: str | os.PathLike[str], graph: "nx.Graph") -> None:
    """Write a graph in the format given by the suffix, .graphml or .json."""
    import networkx as nx

    for _, attributes in graph.nodes(data=True):
        attributes.update({name: _plain(value) for name, value in attributes.items()})
    if Path(path).suffix.lower() == ".json":
        text = json.dumps(nx.node_link_data(graph, edges="edges"))
    else:
        text = "\n".join(nx.generate_graphml(_flat(graph)))
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else list(value) if isinstance(value, tuple) else value


def _flat(graph: "nx.Graph") -> "nx.Graph":
    """Return the graph with each list attribute split into one attribute per number: GraphML has no lists."""
    flat = graph.copy()
    for _, attributes in flat.nodes(data=True):
        for name in [name for name, value in attributes.items() if isinstance(value, list)]:
            attributes.update({f"{name}_{i}": number for i, number in enumerate(attributes.pop(name))})
    return flat


def write_tree(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the whole tree as a directed graph."""
    check_graphml(path)
    write_graph(path, tree_graph(hierarchy))


def tree_graph(hierarchy: Hierarchy) -> "nx.DiGraph":
    """Return the tree, edges from parent to child; nodes have area, bbox_yxyx, centroid_yx, altitude and level."""
    import networkx as nx

    columns = hierarchy.region_table().to_dict()
    nodes, parents = columns.pop("node"), columns.pop("parent")
    graph = nx.DiGraph()
    for node, *values in zip(nodes, *columns.values(), strict=True):
        graph.add_node(node, **dict(zip(columns, values, strict=True)))
    graph.add_edges_from(zip(parents[:-1], nodes[:-1], strict=True))
    return graph


def write_linkage(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the linkage matrix as a .npy file."""
    check_choice("suffix of a linkage matrix", Path(path).suffix.lower(), (".npy",))
    matrix = to_linkage(hierarchy)
    with atomic_path(path) as temporary:
        buffer = io.BytesIO()  # on a full disk, np.save to a file reports a byte count but not the cause
        np.save(buffer, matrix, allow_pickle=False)
        temporary.write_bytes(buffer.getbuffer())


def to_linkage(hierarchy: Hierarchy) -> Float64[np.ndarray, "merges 4"]:
    """Return the linkage matrix: fcluster(matrix, a, "distance") groups superpixels as cut(altitude=a) does.

    Rows ascend by altitude, ties by node id. A node of more than two children becomes several merges at its altitude.

    >>> h = Hierarchy(
    ...     labels=np.array([[0, 1, 2]], dtype=np.int32),
    ...     parents=np.array([3, 3, 4, 4, 4], dtype=np.int32),
    ...     altitudes=np.array([0, 0, 0, 0.25, 0.75], dtype=np.float32),
    ...     embeddings=np.zeros((3, 0), dtype=np.float32),
    ... )
    >>> to_linkage(h).tolist()
    [[0.0, 1.0, 0.25, 2.0], [2.0, 3.0, 0.75, 3.0]]
    """
    n_leaves, parents = hierarchy.n_leaves, hierarchy._parents
    if n_leaves == 1:
        raise InputError("a tree of one superpixel has no merge to write: segment with more superpixels.")
    inner = n_leaves + np.argsort(
        hierarchy._altitudes[n_leaves:], kind="stable"
    )  # children come first: they are never higher than their parent
    place = np.empty(hierarchy.n_nodes, np.int64)
    place[inner] = np.arange(inner.size)
    child = np.argsort(place[parents[:-1]], kind="stable")  # all nodes but the root, grouped by their parents
    parent = parents[child]
    is_first = np.diff(parent, prepend=-1) != 0
    row = np.cumsum(~is_first) - 1  # merge that adds this child to the earlier ones of its group
    cluster = np.arange(hierarchy.n_nodes)
    is_last = np.roll(is_first, -1)
    cluster[parent[is_last]] = n_leaves + row[is_last]
    follows_first = np.roll(is_first, 1)
    before = np.where(follows_first, cluster[np.roll(child, 1)], n_leaves + row - 1)
    size = _kernels.sum_to_root(parents, np.ones(n_leaves, np.int64))[child]
    total = np.cumsum(size)
    total -= (total - size)[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]  # sums restart with each group
    ends = np.sort(np.stack([before, cluster[child]], axis=1), axis=1)
    matrix: np.ndarray = np.column_stack([ends, hierarchy._altitudes[parent], total])[~is_first].astype(np.float64)
    return matrix


def write_pyg(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write the graph of one cut's regions; if `how` is None, that of the superpixels."""
    check_graph_suffix(path)
    write_dict(path, to_data(hierarchy, partitions(hierarchy, how)[-1]).to_dict())


def to_data(hierarchy: Hierarchy, part: Partition) -> "Data":
    """Return the region adjacency graph of one cut for PyTorch Geometric.

    Parameters
    ----------
    hierarchy
        Hierarchy that was cut.
    part
        Cut of `supercuts.export.rasters.partitions`.

    Returns
    -------
    torch_geometric.data.Data
        Tensors x, pos, edge_index and edge_attr, and node (R,), the tree node of each region.

    Examples
    --------
    >>> labels, parents = np.array([[0, 1]], np.int32), np.array([2, 2, 2], np.int32)
    >>> h = Hierarchy(labels, parents, np.array([0, 0, 0.5], np.float32), np.zeros((2, 3), np.float32))
    >>> to_data(h, partitions(h)[-1]).edge_index.tolist()
    [[0, 1], [1, 0]]
    """
    import torch

    from supercuts.merging.gnn import graph_data

    data = graph_data(region_graph(hierarchy, part))
    data.node = torch.from_numpy(part.nodes.astype("int64"))
    return data


def check_graph_suffix(path: str | os.PathLike[str]) -> None:
    """Raise InputError unless the suffix is .pt or .pth."""
    check_choice("suffix of a torch file", Path(path).suffix.lower(), (".pt", ".pth"))


def write_dict(path: str | os.PathLike[str], values: dict[Any, Any]) -> None:
    """Write a dict of tensors."""
    import torch

    content = io.BytesIO()  # written in memory: torch reports a full disk as a RuntimeError instead of an OSError
    torch.save(values, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def write_pyg_levels(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write every level and the superpixels."""
    check_graph_suffix(path)
    write_dict(path, to_hetero_data(hierarchy).to_dict())


def to_hetero_data(hierarchy: Hierarchy) -> "HeteroData":
    """Return the levels as HeteroData.

    node types  scene, object, part, superpixels, each with x, x_columns, pos and node as in to_data
    edge types  (level, "touches", level) with edge_index, edge_attr and edge_attr_columns, (finer, "in", coarser) and
                (coarser, "holds", finer) with edge_index, between each level and the next
    """
    import torch

    from supercuts.merging.gnn import HeteroData

    data = HeteroData()
    parts = partitions(hierarchy)
    for part in parts:
        graph = to_data(hierarchy, part)
        for name in ("x", "x_columns", "pos", "node"):
            data[part.name][name] = graph[name]
        data[part.name, "touches", part.name].edge_index = graph.edge_index
        data[part.name, "touches", part.name].edge_attr = graph.edge_attr
        data[part.name, "touches", part.name].edge_attr_columns = graph.edge_attr_columns
    for coarse, fine in pairwise(parts):
        parent = np.empty(fine.nodes.size + 1, np.int64)
        parent[fine.labels] = coarse.labels  # invalid pixels (-1) write to the extra last element
        parent = parent[:-1]
        inside = torch.from_numpy(np.stack([np.arange(parent.size), parent]))
        data[fine.name, "in", coarse.name].edge_index = inside
        data[coarse.name, "holds", fine.name].edge_index = inside.flip(0)
    return data
