"""Region graph and statistics of an image that is worked on in strips of rows; pixels that are not valid have no part.

In   labels (H, W), -1 where a pixel is not valid, and StoredMaps
Out  RegionGraph as rag.build_rag, RegionStatistics as statistics.region_statistics of the whole maps
Not  no dissimilarity, no torch
"""

import numpy as np
from jaxtyping import Int32

from supercuts.core.errors import InputError
from supercuts.core.threads import in_threads, thread_count
from supercuts.graph import _kernels, _kernels_statistics, _kernels_strips
from supercuts.graph.rag import RegionGraph, graph_of_sums
from supercuts.graph.statistics import LIMITS, N_BINS, RegionStatistics, color_ranges, set_embeddings
from supercuts.superpixels.stored import StoredMaps


def build_rag_strips(
    labels: Int32[np.ndarray, "height width"], maps: StoredMaps, n_nodes: int, is_connected: bool = True
) -> RegionGraph:
    """Return the graph of `labels`, superpixels 0..N-1 that are all present; connected ones take less memory."""
    if labels.shape != maps.shape:
        raise InputError(f"labels {labels.shape} and maps {maps.shape} differ in size: give maps of one image.")
    area, position, bbox, n_pairs = _kernels_strips.measure_nodes(labels, n_nodes)
    if not area.all():
        raise InputError(f"label {int(area.argmin())} has no pixel; ids must be 0..{n_nodes - 1}, all present.")
    # the graph of connected regions is planar: at most 3 N - 6 edges
    most = max(min(n_pairs, 3 * n_nodes) if is_connected else n_pairs, 1)
    keys, length, total, sums, squares = _sum_strips(labels, maps, n_nodes, most)
    n_colors = maps.n_colors
    return graph_of_sums((keys, length, total), (area, position, bbox), sums[:, :n_colors], sums[:, n_colors:], squares)


def region_statistics_strips(
    labels: Int32[np.ndarray, "height width"], graph: RegionGraph, maps: StoredMaps
) -> RegionStatistics:
    """Return the statistics of `graph`, which is that of `labels`."""
    n, height = graph.n_nodes, labels.shape[0]
    keys = graph.edges[:, 0].astype(np.int64) * n + graph.edges[:, 1]
    edges = np.zeros((keys.size, 5 + len(LIMITS)))
    strength = maps.boundary_rows(0, height) if maps.strength is None else maps.strength.astype(np.float32, copy=False)
    n_regions = 0 if maps.regions is None else len(maps.regions)
    nodes = _sum_all_nodes(labels, maps, n)
    stride = 1 if maps.strength is None else maps.region_stride
    for top, bottom in maps.strips():
        boundary = maps.boundary_rows(top, min(bottom + 1, height))
        _kernels_strips.add_border_sums(
            labels, top, bottom, boundary, strength, stride, keys, np.array(LIMITS), edges, nodes
        )
    for end in (0, 1):  # the border is part of the perimeters on both sides
        np.add.at(nodes[:, 1:3], graph.edges[:, end], edges[:, :2])
    set_embeddings(nodes, graph, maps.n_colors)
    sizes = np.array([maps.n_colors, len(maps.embeddings), n_regions])
    return RegionStatistics(nodes, edges, graph.bbox.astype(np.float64), sizes)


def _sum_strips(
    labels: np.ndarray, maps: StoredMaps, n_nodes: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return keys, border lengths and boundary sums of the edges, by key, and sums of colour and embedding (N, C)."""
    height = labels.shape[0]
    table, keys = _kernels_strips.empty_table(most), np.empty(most, np.int64)
    length, total, n_edges = np.zeros(most, np.int64), np.zeros(most), 0
    colors, embeddings = np.zeros((n_nodes, maps.n_colors)), np.zeros((n_nodes, len(maps.embeddings)))
    squares, unused = np.zeros(n_nodes), np.zeros(n_nodes)

    def add_edges() -> None:
        nonlocal n_edges
        for top, bottom in maps.strips():
            boundary = maps.boundary_rows(top, min(bottom + 1, height))
            n_edges = _kernels_strips.add_edges(
                labels, top, bottom, boundary, n_nodes, table, keys, length, total, n_edges
            )  # fmt: skip

    def add_colors() -> None:
        for top, bottom in maps.strips():
            _kernels.add_channels(labels, top, bottom, maps.color(top, bottom), colors, unused)

    def add_embeddings() -> None:
        bits, stride = maps.embedding_bits, maps.embedding_stride
        _kernels_strips.add_stored(labels, 0, height, bits, stride, embeddings, squares)

    # each adds in the order of the pixels, whatever the number of threads
    in_threads(lambda _, add: add(), [add_embeddings, add_edges, add_colors])
    order = np.argsort(keys[:n_edges])
    return keys[order], length[order], total[order], np.concatenate([colors, embeddings], axis=1), squares


def _sum_all_nodes(labels: np.ndarray, maps: StoredMaps, n_nodes: int) -> np.ndarray:
    """Return the (N, K) sums over all pixels, perimeters 0: strip after strip, some at once."""
    strips, at_once, nodes = list(maps.strips()), thread_count(), None
    for first in range(0, len(strips), at_once):
        some = strips[first : first + at_once]
        sums: dict[int, np.ndarray] = {}

        def add(_: int, strip: tuple[int, int], sums: dict[int, np.ndarray] = sums) -> None:
            sums[strip[0]] = _sum_nodes(labels[slice(*strip)], maps, *strip, n_nodes)

        in_threads(add, some)
        for top, _ in some:  # in order: so the sums are the same to the last bit
            nodes = sums[top] if nodes is None else np.add(nodes, sums[top], out=nodes)
    assert nodes is not None  # there is at least one strip
    return nodes


def _sum_nodes(part: np.ndarray, maps: StoredMaps, top: int, bottom: int, n_nodes: int) -> np.ndarray:
    """Return the (N, K) sums over the pixels of a strip, perimeters 0."""
    rows = maps.rows(top, bottom, n_embedding=0)  # the graph has summed them up
    strength, regions, stride = rows.boundary, rows.embeddings[:0], 1
    if rows.strength is not None and rows.regions is not None:
        strength, regions, stride = rows.strength, rows.regions, rows.region_stride
    lows, highs = color_ranges(maps.rgb.shape[2], maps.bands.shape[2])
    labels = np.where(part < 0, n_nodes, part).astype(np.int32)  # what is not valid is summed up apart
    sums: np.ndarray = _kernels_statistics.sum_nodes(
        labels, rows.boundary, strength, regions, stride, rows.color, lows, highs, len(maps.embeddings), N_BINS,
        n_nodes + 1,
    )[:n_nodes]  # fmt: skip
    sums[:, 1] = 0  # the strip's own frame
    return sums
