"""Write the region adjacency graph for networkx and graph programs.

In   a hierarchy, a path ending in .graphml or .json
Out  GraphML, or node-link JSON
Not  no layout

node-link JSON keeps lists (colour, embedding, centroid, box); GraphML has one attribute per number, such as color_0.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from supercuts.core.checks import check_choice
from supercuts.core.files import atomic_path
from supercuts.export.graphs import region_graph
from supercuts.export.partitions import partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    import networkx as nx


def write(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write the graph of one cut's regions, without one that of the superpixels."""
    check_suffix(path)
    part = partitions(hierarchy, how)[-1]
    graph = region_graph(hierarchy, part).to_networkx()
    for region, node in enumerate(part.nodes.tolist()):
        graph.nodes[region]["node"] = node
    write_graph(path, graph)


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Refuse what is neither GraphML nor JSON."""
    check_choice("suffix of a graph", Path(path).suffix.lower(), (".graphml", ".json"))


def write_graph(path: str | os.PathLike[str], graph: "nx.Graph") -> None:
    """Write a graph in the format that the suffix names."""
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
    """Return the graph with one attribute per number of a list: GraphML has no lists."""
    flat = graph.copy()
    for _, attributes in flat.nodes(data=True):
        for name in [name for name, value in attributes.items() if isinstance(value, list)]:
            attributes.update({f"{name}_{i}": number for i, number in enumerate(attributes.pop(name))})
    return flat
