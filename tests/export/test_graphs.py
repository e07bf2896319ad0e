import numpy as np

from supercuts.export.graphs import region_graph
from supercuts.export.partitions import partitions
from supercuts.hierarchy.cuts import Granularity


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


def test_regions_of_a_cut_join_where_the_tree_says(ragged):
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
