import json

import networkx as nx
import pytest

from supercuts.export.networkx_tree import tree_graph


@pytest.mark.parametrize("suffix", [".graphml", ".json"])
def test_networkx_reads_the_tree(ragged, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    ragged.export(path, "networkx-tree")
    if suffix == ".graphml":
        graph = nx.read_graphml(path, node_type=int)
    else:
        graph = nx.node_link_graph(json.loads(path.read_text()), edges="edges")
    assert nx.is_arborescence(graph)
    for node in range(ragged.n_nodes):
        assert sorted(graph.successors(node)) == ragged.children(node).tolist()
        assert graph.nodes[node]["altitude"] == pytest.approx(float(ragged.altitudes[node]))
        assert graph.nodes[node]["area"] == ragged.areas()[node]
        assert nx.descendants(graph, node) & set(range(ragged.n_leaves)) | {node} == (
            set(ragged.leaves_of(node).tolist()) | {node}
        )


def test_attributes_are_those_of_the_region_table(small):
    assert tree_graph(small).nodes[3] == {
        "area": 3,
        "bbox_yxyx": [0, 0, 1, 3],
        "centroid_yx": [0.0, 1.0],
        "altitude": 0.25,
        "level": "object",
    }
