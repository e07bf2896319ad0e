"""Region adjacency graph of a label map, with the attributes of its nodes and edges.

In   labels (H, W), -1 on invalid pixels, and PixelMaps
Out  RegionGraph, edges in lexicographic order; computed in one linear pass over the pixels, strip by strip
Not  no dissimilarity (merging), no torch
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, Shaped, UInt8

from supercuts.core.arrays import arrays_repr
from supercuts.core.errors import InputError
from supercuts.core.threads import in_threads
from supercuts.graph import _kernels
from supercuts.networks.maps import PixelMaps, color_maps

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True, eq=False)
class RegionGraph:
    """Graph of superpixels (nodes) and shared borders (edges); 4-connected, so diagonal contacts are not borders.

    Parameters
    ----------
    edges
        (E, 2) int32, node ids i < j, rows in lexicographic order.
    border_length
        (E,) float32, pixel pairs along the shared border.
    boundary
        (E,) float32, mean boundary probability along the border, 0..1.
    color_distance, embedding_distance
        (E,) float32, distance between the mean colours, and between the mean embeddings.
    area
        (N,) int64, pixels.
    centroid_yx
        (N, 2) float32, mean pixel coordinates.
    bbox
        (N, 4) int32, y0 x0 y1 x1, ends exclusive.
    color
        (N, C) float32, mean colour; Lab for RGB images.
    embedding
        (N, D) float32, mean embedding.
    embedding_variance
        (N,) float32, mean squared distance of pixel embeddings from the mean.

    Examples
    --------
    >>> labels, boundary = np.array([[0, 0, 1]], np.int32), np.array([[0, 0.5, 0.5]], np.float32)
    >>> graph = build_rag(labels, boundary, np.zeros((3, 1, 3), np.float32), np.zeros((1, 1, 3), np.float32))
    >>> graph.edges.tolist(), graph.boundary.tolist(), graph.area.tolist()
    ([[0, 1]], [0.5], [2, 1])
    """

    edges: Int32[np.ndarray, "edges 2"]
    border_length: Float32[np.ndarray, " edges"]
    boundary: Float32[np.ndarray, " edges"]
    color_distance: Float32[np.ndarray, " edges"]
    embedding_distance: Float32[np.ndarray, " edges"]
    area: Int64[np.ndarray, " nodes"]
    centroid_yx: Float32[np.ndarray, "nodes 2"]
    bbox: Int32[np.ndarray, "nodes 4"]
    color: Float32[np.ndarray, "nodes bands"]
    embedding: Float32[np.ndarray, "nodes channels"]
    embedding_variance: Float32[np.ndarray, " nodes"]

    __repr__ = arrays_repr

    @property
    def n_nodes(self) -> int:
        """Number of superpixels."""
        return int(self.area.size)

    @property
    def n_edges(self) -> int:
        """Number of pairs of superpixels that share a border."""
        return len(self.edges)

    def neighbors(self) -> tuple[Int64[np.ndarray, " nodes_plus_1"], Int32[np.ndarray, " twice_edges"]]:
        """Return the adjacency in CSR form.

        Returns
        -------
        starts : int64 (N + 1,)
            The neighbours of node i are ``ids[starts[i]:starts[i + 1]]``.
        ids : int32 (2E,)
            Node ids, ascending for each node.

        Examples
        --------
        >>> starts, ids = graph.neighbors()
        >>> starts.tolist(), ids.tolist()
        ([0, 1, 2], [1, 0])
        """
        directed = np.concatenate([self.edges, self.edges[:, ::-1]])
        directed = directed[np.lexsort((directed[:, 1], directed[:, 0]))]
        starts = np.zeros(self.n_nodes + 1, np.int64)
        np.cumsum(np.bincount(directed[:, 0], minlength=self.n_nodes), out=starts[1:])
        return starts, np.ascontiguousarray(directed[:, 1])

    def to_networkx(self) -> "nx.Graph":
        """Return the graph for networkx.

        Returns
        -------
        networkx.Graph
            Its node and edge attributes are named like the fields.

        Examples
        --------
        >>> graph.to_networkx().edges[0, 1]["boundary"]
        0.5
        """
        import networkx as nx

        graph = nx.Graph()
        for node in range(self.n_nodes):
            graph.add_node(
                node,
                area=int(self.area[node]),
                centroid_yx=tuple(self.centroid_yx[node].tolist()),
                bbox=tuple(self.bbox[node].tolist()),
                color=tuple(self.color[node].tolist()),
                embedding=self.embedding[node],
                embedding_variance=float(self.embedding_variance[node]),
            )
        names = ("border_length", "boundary", "color_distance", "embedding_distance")
        columns = [getattr(self, name).tolist() for name in names]
        for (i, j), *values in zip(self.edges.tolist(), *columns, strict=True):
            graph.add_edge(i, j, **dict(zip(names, values, strict=True)))
        return graph


def build_rag(
    labels: Int32[np.ndarray, "height width"],
    boundary: Float32[np.ndarray, "height width"],
    color: Float32[np.ndarray, "bands height width"],
    embeddings: Float32[np.ndarray, "channels height width"],
) -> RegionGraph:
    """Return the graph of `labels`, whose ids are 0..N-1, all present; a single region has no edges."""
    # the kernels do not check bounds
    if {boundary.shape, color.shape[1:], embeddings.shape[1:]} != {labels.shape}:
        raise InputError(
            f"boundary {boundary.shape}, color {color.shape} and embeddings {embeddings.shape} do not fit labels "
            f"{labels.shape}: give (H, W), (C, H, W) and (D, H, W) maps of one image."
        )
    return graph_of_maps(labels, PixelMaps(color, boundary, embeddings), is_connected=False)


def graph_of_maps(labels: Int32[np.ndarray, "height width"], maps: PixelMaps, is_connected: bool = True) -> RegionGraph:
    """Return the graph of `labels`, whose ids are 0..N-1, all present; pixels with -1 are ignored.

    is_connected: whether each region is connected; this bounds the number of edges and saves memory.
    """
    return _measure(labels, maps, is_connected, with_statistics=False)[0]


def graph_and_statistics(
    labels: Int32[np.ndarray, "height width"], maps: PixelMaps, is_connected: bool = True
) -> tuple[RegionGraph, "RegionStatistics"]:
    """Return what graph_of_maps returns, and the statistics of that graph, from one pass over the pixels.

    Pixel sides without a valid neighbour count as frame.
    """
    return _measure(labels, maps, is_connected, with_statistics=True)


def _measure(
    labels: np.ndarray, maps: PixelMaps, is_connected: bool, with_statistics: bool
) -> tuple[RegionGraph, "RegionStatistics"]:
    """Return the graph of `labels` and its statistics, which are empty without with_statistics."""
    n = _count_regions(labels, maps)
    colors, learned, squares = np.zeros((n, maps.n_colors)), np.zeros((n, len(maps.embeddings))), np.zeros(n)
    sums = np.zeros((n, 0))
    strips, waiting, lock = list(_strips(maps)), {}, threading.Lock()
    found: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def find_borders() -> None:
        found["borders"] = sum_borders(labels, maps, n, is_connected, with_statistics)

    def measure_nodes() -> None:
        found["nodes"] = _kernels.measure_nodes(labels, n)

    def add_strip(strip: tuple[int, int]) -> None:
        nonlocal sums
        waiting[strip[0]] = _sum_nodes(labels, maps, strip, n)
        with lock:  # add finished strips in order, so that sums are the same to the last bit
            while strips and strips[0][0] in waiting:
                finished = waiting.pop(strips.pop(0)[0])
                sums = finished if sums.size == 0 else np.add(sums, finished, out=sums)

    pixels, stride = maps.looked_up()[2], maps.embedding_stride
    add_embeddings = partial(_kernels.add_pixels, labels, pixels, stride, learned, squares)
    tasks: list[Callable[[], None]] = [find_borders, add_embeddings, measure_nodes]
    if with_statistics:
        tasks += [partial(add_strip, strip) for strip in strips.copy()]
    else:
        tasks.append(partial(_add_colors, labels, maps, colors))
    in_threads(lambda _, task: task(), tasks)  # each adds pixels in order, whatever the number of threads
    nodes, (keys, borders, frame) = found["nodes"], found["borders"]
    _check_none_missing("label", "pixel", nodes[0])
    if with_statistics:
        colors = sums[:, 5 : 5 + maps.n_colors]
    graph = graph_of_sums((keys, borders[:, 0], borders[:, 1]), nodes, colors, learned, squares)
    if with_statistics:
        _complete(sums, graph, maps.n_colors, borders, frame)
    sizes = np.array([maps.n_colors, len(maps.embeddings), 0 if maps.regions is None else len(maps.regions)])
    return graph, RegionStatistics(sums, borders, nodes[2].astype(np.float64), sizes)


def _strips(maps: PixelMaps) -> Iterator[tuple[int, int]]:
    """Yield the strips of maps; an image that is one strip is divided into four, for the threads."""
    strips, height = list(maps.strips()), maps.shape[0]
    if len(strips) > 1:
        yield from strips
        return
    n_rows = -(-height // 32) * 8  # first rows are multiples of 8 here too
    for top in range(0, height, n_rows):
        yield top, min(top + n_rows, height)


def sum_borders(
    labels: Int32[np.ndarray, "height width"],
    maps: PixelMaps,
    n_nodes: int,
    is_connected: bool,
    with_statistics: bool = False,
) -> tuple[Int64[np.ndarray, " edges"], Float64[np.ndarray, "edges border_sums"], Float64[np.ndarray, " nodes"]]:
    """Return ascending keys i * n_nodes + j of pairs i < j with a shared border, its sums, and sides on the frame.

    The sums are those of RegionStatistics. Without with_statistics only the first four of them are set.
    """
    # connected regions form a planar graph, with at most 3 N - 6 edges
    capacity, height = max(3 * n_nodes if is_connected else _kernels.count_border_pairs(labels), 1), len(labels)
    limits = np.array(LIMITS if with_statistics else ())
    if not with_statistics:
        strength, stride = np.zeros((1, 1), np.float32), max(labels.shape)
    elif maps.strength is None:
        strength, stride = maps.boundary_rows(0, height)[0], 1
    else:
        strength, stride = maps.strength.astype(np.float32, copy=False), maps.region_stride
    keys, sums, frame = np.empty(capacity, np.int64), np.zeros((capacity, 5 + limits.size)), np.zeros(n_nodes)
    table, n_edges = np.full(1 << max(2 * capacity - 1, 15).bit_length(), -1, np.int64), 0
    for top, bottom in maps.strips():
        boundary, first = maps.boundary_rows(top, min(bottom + 1, height))
        n_edges = _kernels.add_borders(
            labels, top, bottom, boundary, first, strength, stride, limits, table, keys, sums, n_edges, frame
        )
    order = np.argsort(keys[:n_edges])
    return keys[order], sums[order], frame


def region_means(
    labels: Int32[np.ndarray, "height width"], maps: PixelMaps
) -> tuple[Float32[np.ndarray, "regions bands"], Float32[np.ndarray, "regions channels"]]:
    """Return the mean colours and embeddings of the regions 0..R-1, all present; equal to those of graph_of_maps."""
    n_regions = _count_regions(labels, maps)
    area = np.zeros(n_regions, np.int64)
    for top, bottom in maps.strips():
        counts = np.bincount(labels[top:bottom].ravel() + 1, minlength=n_regions + 1)  # -1 comes first
        area += counts[1:]
    _check_none_missing("label", "pixel", area)
    colors, learned = np.zeros((n_regions, maps.n_colors)), np.zeros((n_regions, len(maps.embeddings)))
    pixels, stride, squares = maps.looked_up()[2], maps.embedding_stride, np.zeros(n_regions)
    add_embeddings = partial(_kernels.add_pixels, labels, pixels, stride, learned, squares)
    in_threads(lambda _, add: add(), [add_embeddings, partial(_add_colors, labels, maps, colors)])
    return (colors / area[:, None]).astype(np.float32), (learned / area[:, None]).astype(np.float32)


def _count_regions(labels: np.ndarray, maps: PixelMaps) -> int:
    if labels.shape != maps.shape:
        raise InputError(f"labels {labels.shape} and maps {maps.shape} differ in size: give maps of one image.")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (-1, -1)
    if low < (0 if maps.valid is None else -1) or high < 0:
        start = low if labels.size else "none"
        raise InputError(f"labels of shape {labels.shape} start at {start}; expected ids 0..N-1 on at least one pixel.")
    return high + 1


def _add_colors(labels: np.ndarray, maps: PixelMaps, sums: np.ndarray) -> None:
    """Add the colours of each label's pixels to sums (N, C)."""
    for top, bottom in maps.strips():
        _kernels.add_channels(labels, top, bottom, *maps.color_rows(top, bottom), sums)


def graph_of_sums(
    borders: tuple[np.ndarray, np.ndarray, np.ndarray],
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray],
    colors: np.ndarray,
    embeddings: np.ndarray,
    squares: np.ndarray,
) -> RegionGraph:
    """Return the graph made from sums over pixels.

    borders     keys low * N + high, lengths, and boundary sums, (E,) each, in ascending order of keys
    nodes       areas (N,), sums of positions (N, 2), bounding boxes (N, 4)
    colors      (N, C) sums; embeddings (N, D) sums; squares (N,) sums over all squared embedding channels
    """
    (keys, length, total), (area, position, bbox), n_nodes = borders, nodes, nodes[0].size
    edges = np.stack([keys // n_nodes, keys % n_nodes], axis=1).astype(np.int32)
    mean_color = (colors / area[:, None]).astype(np.float32)
    embedding = embeddings / area[:, None]
    variance = np.maximum(squares / area - (embedding**2).sum(1), 0).astype(np.float32)
    embedding = embedding.astype(np.float32)
    return RegionGraph(
        edges=edges,
        border_length=length.astype(np.float32),
        boundary=(total / np.maximum(length, 1)).astype(np.float32),
        color_distance=_kernels.edge_distances(edges, mean_color),
        embedding_distance=_kernels.edge_distances(edges, embedding),
        area=area,
        centroid_yx=(position / area[:, None]).astype(np.float32),
        bbox=bbox.astype(np.int32),
        color=mean_color,
        embedding=embedding,
        embedding_variance=variance,
    )


def contract(graph: RegionGraph, region: Int32[np.ndarray, " nodes"]) -> RegionGraph:
    """Return the graph after grouping nodes into regions 0..R-1; equal to build_rag of region[labels]."""
    if region.shape != (graph.n_nodes,) or region.min() < 0:
        raise InputError(f"region {region.shape} must name a region 0..R-1 for each of the {graph.n_nodes} nodes.")
    n_regions = int(region.max()) + 1
    _check_none_missing("region", "node", np.bincount(region, minlength=n_regions))
    edges, edge_of, is_border = group_edges(graph, region)
    length = np.bincount(edge_of, graph.border_length[is_border], minlength=len(edges))
    total = np.bincount(edge_of, (graph.boundary * graph.border_length)[is_border], minlength=len(edges))
    area = np.bincount(region, graph.area, minlength=n_regions).astype(np.int64)
    color, embedding = grouped_means(graph, region)
    # variance within the nodes plus the squared offset of their means
    squared = graph.embedding_variance + ((graph.embedding - embedding[region]) ** 2).sum(1)
    return RegionGraph(
        edges=edges,
        border_length=length.astype(np.float32),
        boundary=(total / np.maximum(length, 1)).astype(np.float32),
        color_distance=_kernels.edge_distances(edges, color),
        embedding_distance=_kernels.edge_distances(edges, embedding),
        area=area,
        centroid_yx=_mean_by_area(region, graph.centroid_yx, graph.area, area),
        bbox=join_boxes(graph.bbox, region),
        color=color,
        embedding=embedding,
        embedding_variance=_mean_by_area(region, squared[:, None], graph.area, area)[:, 0],
    )


def grouped_means(
    graph: RegionGraph, region: Int32[np.ndarray, " nodes"]
) -> tuple[Float32[np.ndarray, "regions bands"], Float32[np.ndarray, "regions channels"]]:
    """Return the mean colours and embeddings after grouping nodes into regions 0..R-1."""
    area = np.bincount(region, graph.area)
    return (
        _mean_by_area(region, graph.color, graph.area, area),
        _mean_by_area(region, graph.embedding, graph.area, area),
    )


def group_edges(
    graph: RegionGraph, region: Int32[np.ndarray, " nodes"]
) -> tuple[Int32[np.ndarray, "grouped 2"], Int64[np.ndarray, " borders"], Bool[np.ndarray, " edges"]]:
    """Return the edges after grouping nodes into regions, in lexicographic order.

    Also return the new edge of each old edge that stays, and the mask of old edges that stay. The others lie inside a
    region.
    """
    n_regions = int(region.max()) + 1
    ends = np.sort(region[graph.edges].astype(np.int64), axis=1)
    is_border = ends[:, 0] != ends[:, 1]
    keys, edge_of = np.unique(ends[is_border] @ [n_regions, 1], return_inverse=True)
    edges = np.stack([keys // n_regions, keys % n_regions], axis=1).astype(np.int32)
    return edges, edge_of.astype(np.int64), is_border


def join_boxes(
    bbox: Shaped[np.ndarray, "nodes 4"], region: Int32[np.ndarray, " nodes"]
) -> Shaped[np.ndarray, "regions 4"]:
    """Return the bounding boxes y0 x0 y1 x1 after grouping nodes into regions."""
    joined = np.empty((int(region.max()) + 1, 4), bbox.dtype)
    for side, outermost in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        joined[region, side] = bbox[:, side]
        outermost.at(joined[:, side], region, bbox[:, side])
    return joined


def _mean_by_area(region: np.ndarray, values: np.ndarray, node_area: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the (R, C) float32 means of node values (N, C), weighted by the node areas."""
    sums = np.zeros((area.size, values.shape[1]))
    np.add.at(sums, region, values * node_area[:, None])
    means: np.ndarray = (sums / area[:, None]).astype(np.float32)
    return means


def _check_none_missing(name: str, member: str, count: np.ndarray) -> None:
    if not count.all():
        raise InputError(
            f"{name} {int(count.argmin())} has no {member}; ids must be 0..{count.size - 1}, all present: "
            "use relabel_consecutive."
        )


N_BINS = 8  # bins of the histogram of each band
LIMITS = (0.1, 0.25, 0.5, 0.75, 0.9)  # thresholds of boundary probability; border pixels above each are counted


@dataclass(frozen=True, slots=True, eq=False)
class RegionStatistics:
    """Additive region statistics: a union has the sums, except that its perimeter loses the shared border.

    nodes  (N, K) float64  sums: area; perimeter, and the boundary probability along it; boundary and strength inside;
                           all bands, then their squares, then their histograms of N_BINS; the embedding and its squared
                           length; the region embedding and its squared length
    edges  (E, 5 + T) float64  sums over pixel pairs: count; mean boundary probability, its square, the higher value;
                           strength; pairs above each of the T LIMITS
    bbox   (N, 4) float64  y0 x0 y1 x1, ends exclusive
    sizes  (3,) int64      bands, channels of the embedding, channels of the region embedding
    """

    nodes: Float64[np.ndarray, "nodes sums"]
    edges: Float64[np.ndarray, "edges border_sums"]
    bbox: Float64[np.ndarray, "nodes 4"]
    sizes: np.ndarray


def _sum_nodes(labels: np.ndarray, maps: PixelMaps, strip: tuple[int, int], n_nodes: int) -> np.ndarray:
    """Return the (N, K) sums over the pixels of a strip, except for borders and embeddings."""
    boundary, first = maps.boundary_rows(*strip)
    color, first_color = maps.color_rows(*strip)
    strength, regions, stride, first_coarse = boundary, np.zeros((0, 1, 1), np.float32), 1, first
    if maps.strength is not None and maps.regions is not None:
        stride = maps.region_stride
        first_coarse = strip[0] // stride
        coarse = slice(first_coarse, -(-strip[1] // stride))
        strength = maps.strength[coarse].astype(np.float32, copy=False)
        regions = np.ascontiguousarray(maps.regions[:, coarse], np.float32)
    lab = ([0, -40, -40], [100, 40, 40])  # a and b rarely exceed 40
    n_lab = maps.n_colors - maps.n_bands
    low, high = ([*side[:n_lab], *([end] * maps.n_bands)] for side, end in zip(lab, (0, 100), strict=True))
    bins = np.linspace(low, high, N_BINS + 1, axis=1)[:, 1:-1].astype(np.float32)
    sums: np.ndarray = _kernels.sum_nodes(
        labels, strip, boundary, first, strength, regions, stride, first_coarse, color, first_color, bins,
        (len(maps.embeddings), n_nodes),
    )  # fmt: skip
    return sums


def _complete(sums: np.ndarray, graph: RegionGraph, n_colors: int, borders: np.ndarray, frame: np.ndarray) -> None:
    """Set the perimeters and the embeddings in the (N, K) sums of nodes."""
    ends = graph.edges.ravel()
    for column in range(2):  # borders count for the perimeters on both sides
        sums[:, 1 + column] = np.bincount(ends, np.repeat(borders[:, column], 2), minlength=graph.n_nodes)
    sums[:, 1] += frame
    first = 5 + (2 + N_BINS) * n_colors
    mean = graph.embedding.astype(np.float64)
    sums[:, first : first + mean.shape[1]] = mean * graph.area[:, None]
    sums[:, first + mean.shape[1]] = (graph.embedding_variance + (mean**2).sum(1)) * graph.area


def contract_statistics(
    statistics: RegionStatistics, graph: RegionGraph, region: Int32[np.ndarray, " nodes"]
) -> RegionStatistics:
    """Return the statistics after grouping the nodes of `graph` into regions 0..R-1.

    They match contract(graph, region), with borders in the same order.
    """
    grouped, edge_of, is_border = group_edges(graph, region)
    edges = np.zeros((len(grouped), statistics.edges.shape[1]))
    np.add.at(edges, edge_of, statistics.edges[is_border])
    nodes = np.zeros((int(region.max()) + 1, statistics.nodes.shape[1]))
    np.add.at(nodes, region, statistics.nodes)
    # borders inside a region leave its perimeter: subtract their length and the boundary along them
    inside = region[graph.edges[~is_border, 0]]
    np.subtract.at(nodes[:, 1:3], inside, 2 * statistics.edges[~is_border, :2])
    return RegionStatistics(nodes, edges, join_boxes(statistics.bbox, region), statistics.sizes)


def leaf_graph(
    labels: Int32[np.ndarray, "height width"],
    contours: Float32[np.ndarray, "rows columns"],
    embeddings: Float32[np.ndarray, "leaves features"],
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> RegionGraph:
    """Return the region adjacency graph of a tree's leaves, measured from its labels, contour map and image.

    boundary is the altitude at which the tree joins two leaves. color is the mean Lab, or (N, 0) without an image.
    embedding is that of the leaves. Its variance is set to 0, because trees do not store it.
    """
    pixels = np.zeros((*labels.shape, 0), np.uint8) if image is None else image
    graph = graph_of_maps(labels, color_maps(pixels, valid=labels >= 0), is_connected=False)
    ends = embeddings[graph.edges]
    return replace(
        graph,
        boundary=_joining_altitudes(labels, contours, len(embeddings)),
        embedding=embeddings,
        embedding_distance=np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).astype(np.float32),
    )


def _joining_altitudes(labels: np.ndarray, contours: np.ndarray, n_leaves: int) -> Float32[np.ndarray, " edges"]:
    """Return the altitude at which each pair of neighbours joins, pairs i < j in lexicographic order."""
    # for each pair of 4-neighbours: both leaves, and the contour between the pixels
    sides = [
        (labels[:, :-1], labels[:, 1:], contours[1::2, 2:-1:2]),
        (labels[:-1], labels[1:], contours[2:-1:2, 1::2]),
    ]
    first, second, altitude = (np.concatenate([side[i].ravel() for side in sides]) for i in range(3))
    is_border = (first != second) & (first >= 0) & (second >= 0)
    pairs = np.sort(np.stack([first, second], axis=1)[is_border].astype(np.int64), axis=1)
    position = np.unique(pairs @ [n_leaves, 1], return_index=True)[1]
    altitudes: np.ndarray = altitude[is_border][position]
    return altitudes
