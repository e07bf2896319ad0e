"""Write the merge tree for networkx and graph programs.

In   a hierarchy, a path ending in .graphml or .json
Out  a directed graph, from each node to its children: GraphML, or node-link JSON
Not  no pixels
"""

import os
from typing import TYPE_CHECKING

from supercuts.export.networkx_rag import check_suffix, write_graph
from supercuts.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    import networkx as nx


def write(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the whole tree."""
    check_suffix(path)
    write_graph(path, tree_graph(hierarchy))


def tree_graph(hierarchy: Hierarchy) -> "nx.DiGraph":
    """Return the tree; nodes carry area, bbox_yxyx, centroid_yx, altitude and level."""
    import networkx as nx

    columns = hierarchy.region_table().to_dict()
    nodes, parents = columns.pop("node"), columns.pop("parent")
    graph = nx.DiGraph()
    for node, *values in zip(nodes, *columns.values(), strict=True):
        graph.add_node(node, **dict(zip(columns, values, strict=True)))
    graph.add_edges_from(zip(parents[:-1], nodes[:-1], strict=True))
    return graph
