import json

import networkx as nx
import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.export.graphs import region_graph
from supercuts.export.partitions import partitions


def read(path):
    if path.suffix == ".graphml":
        return nx.read_graphml(path, node_type=int)
    return nx.node_link_graph(json.loads(path.read_text()), edges="edges")


@pytest.mark.parametrize("suffix", [".graphml", ".json"])
def test_networkx_reads_nodes_edges_and_attributes(ragged, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    ragged.export(path, "networkx-rag")
    expected, graph = region_graph(ragged, partitions(ragged)[-1]), read(path)
    assert sorted(tuple(sorted(edge)) for edge in graph.edges) == [tuple(edge) for edge in expected.edges.tolist()]
    assert [graph.nodes[node]["area"] for node in range(ragged.n_leaves)] == expected.area.tolist()
    for (i, j), boundary in zip(expected.edges.tolist(), expected.boundary.tolist(), strict=True):
        assert graph.edges[i, j]["boundary"] == pytest.approx(boundary)
    first = graph.nodes[0]
    embedding = first["embedding"] if suffix == ".json" else [first[f"embedding_{i}"] for i in range(3)]
    np.testing.assert_allclose(embedding, ragged.embeddings[0])


def test_regions_of_a_cut_name_their_tree_nodes(ragged, tmp_path):
    ragged.export(tmp_path / "a.json", "networkx-rag", regions=5)
    graph = read(tmp_path / "a.json")
    assert [graph.nodes[region]["node"] for region in sorted(graph)] == ragged.cut_nodes(regions=5).tolist()


def test_another_suffix_is_refused(small, tmp_path):
    with pytest.raises(InputError, match=r"suffix of a graph='.gexf' is unknown. Choose one of: .graphml, .json"):
        small.export(tmp_path / "a.gexf", "networkx-rag")
