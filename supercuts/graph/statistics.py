"""Sums over regions and borders that stay exact when regions merge: what learned affinities are computed from.

In   a label map, its RegionGraph and the PixelMaps it was made from
Out  RegionStatistics
Not  no means, no features of pairs (merging/affinity.py), no torch
"""

import threading
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32

from supercuts.core.errors import InputError
from supercuts.core.threads import in_threads
from supercuts.graph._kernels import statistics as _kernels
from supercuts.graph.rag import RegionGraph, group_edges, join_boxes
from supercuts.networks.maps import PixelMaps

N_BINS = 8  # of the histogram of each band
LIMITS = (0.1, 0.25, 0.5, 0.75, 0.9)  # boundary probabilities that border pixels are counted above


@dataclass(frozen=True, slots=True, eq=False)
class RegionStatistics:
    """Additive statistics: those of a union are the sums, but for the border that vanishes from the perimeter.

    nodes  (N, K) float64  area; perimeter, and the boundary probability along it; boundary and strength inside; each
                           band's sum, then its squares, then its histogram of N_BINS; the embedding and its squared
                           length; the region embedding and its squared length
    edges  (E, 5 + T) float64  pixel pairs; their mean boundary probability, its square, the higher of the two; their
                           strength; the pairs above each of the T LIMITS
    bbox   (N, 4) float64  y0 x0 y1 x1, ends exclusive
    sizes  (3,) int64      bands, channels of the embedding, channels of the region embedding
    """

    nodes: Float64[np.ndarray, "nodes sums"]
    edges: Float64[np.ndarray, "edges border_sums"]
    bbox: Float64[np.ndarray, "nodes 4"]
    sizes: np.ndarray


def region_statistics(
    labels: Int32[np.ndarray, "height width"], graph: RegionGraph, maps: PixelMaps
) -> RegionStatistics:
    """Return the statistics of `graph`, which is that of `labels`; a side without a valid neighbour is frame."""
    if labels.shape != maps.shape:
        raise InputError(f"labels {labels.shape} and maps {maps.shape} differ in size: give maps of one image.")
    n, strips = graph.n_nodes, list(maps.strips())
    edges, frame = np.zeros((graph.n_edges, 5 + len(LIMITS))), np.zeros(n)
    waiting, lock, nodes = {}, threading.Lock(), [np.zeros((n, 0))]

    def add(_: int, strip: tuple[int, int] | None) -> None:
        if strip is None:
            _add_borders(labels, graph, maps, edges, frame)
            return
        waiting[strip[0]] = _sum_nodes(labels, maps, strip, n)
        with lock:  # in the order of the strips, as many as are done: the sums are the same to the last bit
            while strips and strips[0][0] in waiting:
                one = waiting.pop(strips.pop(0)[0])
                nodes[0] = one if nodes[0].size == 0 else np.add(nodes[0], one, out=nodes[0])

    in_threads(add, [None, *strips])
    sums = nodes[0]
    ends = graph.edges.ravel()
    for column in range(2):  # borders are part of the perimeters on both sides
        sums[:, 1 + column] = np.bincount(ends, np.repeat(edges[:, column], 2), minlength=n)
    sums[:, 1] += frame
    _set_embeddings(sums, graph, maps.n_colors)
    sizes = np.array([maps.n_colors, len(maps.embeddings), 0 if maps.regions is None else len(maps.regions)])
    return RegionStatistics(sums, edges, graph.bbox.astype(np.float64), sizes)


def _add_borders(labels: np.ndarray, graph: RegionGraph, maps: PixelMaps, edges: np.ndarray, frame: np.ndarray) -> None:
    height, limits = labels.shape[0], np.array(LIMITS)
    keys = graph.edges[:, 0].astype(np.int64) * graph.n_nodes + graph.edges[:, 1]
    if maps.strength is None:
        strength, stride = maps.boundary_rows(0, height)[0], 1
    else:
        strength, stride = maps.strength.astype(np.float32, copy=False), maps.region_stride
    for top, bottom in maps.strips():
        boundary, first = maps.boundary_rows(top, min(bottom + 1, height))
        _kernels.add_borders(labels, top, bottom, boundary, first, strength, stride, keys, limits, edges, frame)


def _sum_nodes(labels: np.ndarray, maps: PixelMaps, strip: tuple[int, int], n_nodes: int) -> np.ndarray:
    """Return the (N, K) sums over the pixels of a strip, without those along borders and of embeddings."""
    boundary, first = maps.boundary_rows(*strip)
    color, first_color = maps.color_rows(*strip)
    strength, regions, stride, first_coarse = boundary, np.zeros((0, 1, 1), np.float32), 1, first
    if maps.strength is not None and maps.regions is not None:
        stride = maps.region_stride
        first_coarse = strip[0] // stride
        coarse = slice(first_coarse, -(-strip[1] // stride))
        strength = maps.strength[coarse].astype(np.float32, copy=False)
        regions = np.ascontiguousarray(maps.regions[:, coarse], np.float32)
    lab = ([0, -40, -40], [100, 40, 40])  # a and b are seldom more
    n_lab = maps.n_colors - maps.n_bands
    ranges = np.array(
        [[*side[:n_lab], *([end] * maps.n_bands)] for side, end in zip(lab, (0, 100), strict=True)], np.float64
    )
    sums: np.ndarray = _kernels.sum_nodes(
        labels, strip, boundary, first, strength, regions, stride, first_coarse, color, first_color, ranges,
        (len(maps.embeddings), N_BINS, n_nodes),
    )  # fmt: skip
    return sums


def _set_embeddings(nodes: np.ndarray, graph: RegionGraph, n_colors: int) -> None:
    """Set the embedding's sums, which are those of its mean and variance: no second pass over its maps."""
    at = 5 + (2 + N_BINS) * n_colors
    mean = graph.embedding.astype(np.float64)
    nodes[:, at : at + mean.shape[1]] = mean * graph.area[:, None]
    nodes[:, at + mean.shape[1]] = (graph.embedding_variance + (mean**2).sum(1)) * graph.area


def contract_statistics(
    statistics: RegionStatistics, graph: RegionGraph, region: Int32[np.ndarray, " nodes"]
) -> RegionStatistics:
    """Return the statistics of the regions 0..R-1 that `region` groups the nodes of `graph` into.

    They are those of rag.contract(graph, region), borders in the same order.
    """
    grouped, edge_of, is_border = group_edges(graph, region)
    edges = np.zeros((len(grouped), statistics.edges.shape[1]))
    np.add.at(edges, edge_of, statistics.edges[is_border])
    nodes = np.zeros((int(region.max()) + 1, statistics.nodes.shape[1]))
    np.add.at(nodes, region, statistics.nodes)
    # what lies inside a region is no part of its perimeter: its length, and the boundary along it
    inside = region[graph.edges[~is_border, 0]]
    np.subtract.at(nodes[:, 1:3], inside, 2 * statistics.edges[~is_border, :2])
    return RegionStatistics(nodes, edges, join_boxes(statistics.bbox, region), statistics.sizes)
