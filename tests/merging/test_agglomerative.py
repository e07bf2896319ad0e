import higra
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.graph.rag import RegionGraph, build_rag
from supercuts.hierarchy.cuts import cut_by_count
from supercuts.merging.agglomerative import LinkageConfig, dissimilarity, merge_to_count, merge_tree


def graph_of(edges, lengths, areas):
    """Return a graph with nothing but what merging reads."""
    edges = np.array(edges, np.int32).reshape(-1, 2)
    n_edges, n_nodes = len(edges), len(areas)
    return RegionGraph(
        edges=edges,
        border_length=np.array(lengths, np.float32),
        boundary=np.zeros(n_edges, np.float32),
        color_distance=np.zeros(n_edges, np.float32),
        embedding_distance=np.zeros(n_edges, np.float32),
        area=np.array(areas, np.int64),
        centroid_yx=np.zeros((n_nodes, 2), np.float32),
        bbox=np.zeros((n_nodes, 4), np.int32),
        color=np.zeros((n_nodes, 3), np.float32),
        embedding=np.zeros((n_nodes, 0), np.float32),
    )


def graph_of_labels(labels):
    shape = labels.shape
    return build_rag(
        labels, np.zeros(shape, np.float32), np.zeros((3, *shape), np.float32), np.zeros((0, *shape), np.float32)
    )


def weights_of(graph, seed):
    """Return weights in 0..1 that are all different."""
    return np.random.default_rng(seed).permutation(np.linspace(0.01, 0.99, graph.n_edges)).astype(np.float32)


@st.composite
def weighted_graphs(draw, max_side=8):
    """Draw the region graph of a label map, and distinct weights whose means over borders are distinct too."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=max_side))
    labels, _ = relabel_consecutive(draw(arrays(np.int64, shape, elements=st.integers(0, 15))))
    graph = graph_of_labels(labels)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return graph, rng.random(graph.n_edges, np.float32)


def quadrants(width=8):
    """Return a large graph: a mosaic of nearest random points."""
    rng = np.random.default_rng(3)
    points = rng.random((200, 2)) * (60, 80)
    ys, xs = np.indices((60, 80))
    nearest = ((ys[..., None] - points[:, 0]) ** 2 + (xs[..., None] - points[:, 1]) ** 2).argmin(axis=2)
    return graph_of_labels(relabel_consecutive(nearest)[0])
