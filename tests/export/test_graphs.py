import json
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.cluster import hierarchy as scipy_hierarchy

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.export.graphs import region_graph, to_linkage, tree_graph
from supercuts.export.rasters import partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging.gnn import Data, HeteroData


def joining_altitude(h, a, b):
    """Climb from two nodes to their lowest common ancestor."""
    above = {a, *h.ancestors(a).tolist()}
    return h.altitudes[min(above & {b, *h.ancestors(b).tolist()})]


def test_graph_worked_by_hand(small):
    graph = region_graph(small, partitions(small)[-1])
    assert graph.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert graph.border_length.tolist() == [1, 2, 1]
    assert graph.boundary.tolist() == [0.25, 0.75, 0.75]
    assert graph.area.tolist() == [2, 1, 3]
    np.testing.assert_array_equal(graph.embedding, small.embeddings)
    np.testing.assert_allclose(graph.embedding_distance, [8**0.5, 32**0.5, 8**0.5], rtol=1e-6)


def test_regions_of_a_cut_join_at_the_trees_altitude(ragged):
    (part,) = partitions(ragged, Granularity(regions=9))
    graph = region_graph(ragged, part)
    labels = ragged.cut(regions=9)
    assert graph.area.tolist() == np.bincount(labels.ravel()).tolist()
    touching = {
        tuple(sorted(pair))
        for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
        for pair in zip(a[a != b].tolist(), b[a != b].tolist(), strict=True)
    }
    assert [tuple(edge) for edge in graph.edges.tolist()] == sorted(touching)
    for (i, j), altitude in zip(graph.edges, graph.boundary, strict=True):
        assert altitude == np.float32(joining_altitude(ragged, int(part.nodes[i]), int(part.nodes[j])))


def test_without_an_image_there_is_no_colour(small):
    bare = type(small)(small.labels, small.parents, small.altitudes, small.embeddings)
    assert region_graph(bare, partitions(bare)[-1]).color.shape == (3, 0)


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


def is_same_grouping(first, second):
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(pairs) == len(set(first.tolist())) == len(set(second.tolist()))


def leaf_labels(h, **how):
    region = np.empty(h.n_leaves, int)
    region[h.labels] = h.cut(**how)
    return region


def test_fcluster_agrees_with_every_cut(ragged, tmp_path):
    ragged.export(tmp_path / "a.npy", "linkage")
    matrix = np.load(tmp_path / "a.npy")
    assert scipy_hierarchy.is_valid_linkage(matrix, throw=True)
    assert scipy_hierarchy.is_monotonic(matrix)
    for altitude in np.unique(ragged.altitudes):
        clusters = scipy_hierarchy.fcluster(matrix, altitude, "distance")
        assert is_same_grouping(clusters, leaf_labels(ragged, altitude=float(altitude)))


def test_dendrogram_and_cophenetic_distances_are_the_trees(ragged):
    matrix = to_linkage(ragged)
    drawn = scipy_hierarchy.dendrogram(matrix, no_plot=True)
    assert sorted(drawn["leaves"]) == list(range(ragged.n_leaves))
    heights = scipy_hierarchy.cophenet(matrix)
    pairs = list(zip(*np.triu_indices(ragged.n_leaves, 1), strict=True))
    for (i, j), height in list(zip(pairs, heights, strict=True))[::13]:
        common = set(ragged.ancestors(int(i)).tolist()) & set(ragged.ancestors(int(j)).tolist())
        assert height == ragged.altitudes[min(common)]


def test_counts_agree_on_a_binary_tree_without_ties():
    rng = np.random.default_rng(0)
    matrix = scipy_hierarchy.linkage(rng.random((30, 2)), "average")
    matrix[:, 2] /= matrix[:, 2].max()
    parents = np.arange(59, dtype=np.int32)
    for row, (a, b) in enumerate(matrix[:, :2].astype(int)):
        parents[[a, b]] = 30 + row
    altitudes = np.concatenate([np.zeros(30), matrix[:, 2]]).astype(np.float32)
    h = Hierarchy(np.arange(30, dtype=np.int32)[None], parents, altitudes, np.zeros((30, 0), np.float32))
    np.testing.assert_allclose(to_linkage(h), matrix, rtol=1e-6)
    for n in (1, 2, 7, 30):
        clusters = scipy_hierarchy.fcluster(to_linkage(h), n, "maxclust")
        assert is_same_grouping(clusters, relabel_consecutive(h.cut(regions=n))[0][0])


def test_one_superpixel_is_refused():
    one = Hierarchy(
        np.zeros((2, 2), np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32)
    )
    with pytest.raises(InputError, match="has no merge to write: segment with more superpixels"):
        to_linkage(one)


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


def test_hetero_data_hold_levels_neighbours_and_parents(ragged, tmp_path):
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
