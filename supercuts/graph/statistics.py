"""Sums over regions and borders that stay exact when regions merge: what learned affinities are computed from.

In   a label map, its RegionGraph and the PixelMaps it was made from
Out  RegionStatistics
Not  no means, no features of pairs (merging/affinity.py), no torch
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32

from supercuts.core.errors import InputError
from supercuts.core.threads import in_threads
from supercuts.graph import _kernels_statistics
from supercuts.graph.rag import RegionGraph, group_edges, join_boxes
from supercuts.superpixels.result import PixelMaps

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
    """Return the statistics of `graph`, which is that of `labels`; both are of the size of `maps`."""
    if labels.shape != maps.shape:
        raise InputError(f"labels {labels.shape} and maps {maps.shape} differ in size: give maps of one image.")
    strength, regions, stride = maps.boundary, maps.embeddings[:0], 1
    if maps.strength is not None and maps.regions is not None:
        strength, regions, stride = maps.strength, maps.regions, maps.region_stride
    n_bands = len(maps.color)
    lows, highs = color_ranges(3, 0) if n_bands == 3 else color_ranges(0, n_bands)
    n = graph.n_nodes
    keys = graph.edges[:, 0].astype(np.int64) * n + graph.edges[:, 1]
    sums: dict[str, np.ndarray] = {}

    def sum_nodes() -> None:
        sums["nodes"] = _kernels_statistics.sum_nodes(
            labels, maps.boundary, strength, regions, stride, maps.color, lows, highs, len(maps.embeddings), N_BINS, n
        )

    def sum_edges() -> None:
        sums["edges"], sums["around"] = _kernels_statistics.sum_edges(
            labels, maps.boundary, strength, stride, keys, np.array(LIMITS), n
        )

    in_threads(lambda _, add: add(), [sum_nodes, sum_edges])
    nodes = sums["nodes"]
    nodes[:, 1:3] += sums["around"]  # to the frame, which is part of perimeters
    set_embeddings(nodes, graph, n_bands)
    sizes = np.array([n_bands, len(maps.embeddings), len(regions)])
    return RegionStatistics(nodes, sums["edges"], graph.bbox.astype(np.float64), sizes)


def color_ranges(n_lab: int, n_bands: int) -> tuple[Float64[np.ndarray, " bands"], Float64[np.ndarray, " bands"]]:
    """Return the lowest and highest values that histograms tell apart, of Lab (n_lab = 3) and of bands beside it."""
    lab = ([0, -40, -40], [100, 40, 40])  # a and b are seldom more
    lows, highs = (
        np.array([*side[:n_lab], *([end] * n_bands)], np.float64) for side, end in zip(lab, (0, 100), strict=True)
    )
    return lows, highs


def set_embeddings(nodes: Float64[np.ndarray, "nodes sums"], graph: RegionGraph, n_bands: int) -> None:
    """Set the embedding's sums, which are those of its mean and variance: no second pass over its maps."""
    at = 5 + (2 + N_BINS) * n_bands
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
