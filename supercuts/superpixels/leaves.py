"""Superpixels of one image, exactly as many as requested: the leaves of its tree.

In   PixelMaps, a network's settings, LeavesConfig; optional a learned affinity, cells that superpixels must not cross
Out  labels (H, W), -1 for invalid pixels; the RegionGraph of the superpixels
Not  the tree (merging/)

Superpixels of large images are computed at half the size, repeatedly halved while cells keep enough pixels.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int32, Shaped
from pydantic import BaseModel, Field

from supercuts.core.arrays import channels_last
from supercuts.core.threads import in_threads
from supercuts.graph.rag import (
    RegionGraph,
    RegionStatistics,
    graph_and_statistics,
    graph_of_maps,
    grouped_means,
    region_means,
)
from supercuts.merging.affinity import Affinity, AffinityConfig, merge_to_count_by_affinity
from supercuts.merging.agglomerative import LinkageConfig, dissimilarity, merge_to_count
from supercuts.merging.priors import within_cells
from supercuts.networks.maps import PixelMaps, as_half, as_single, halved_pixels, is_large
from supercuts.networks.network import Network
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels._kernels import pixels as _kernels
from supercuts.superpixels.cluster import ClusterConfig, SmoothConfig, cluster, smooth
from supercuts.superpixels.grid import connected, connected_pieces

_CELL_PIXELS = 256  # least pixels per grid cell after halving; with 128, boundary recall fell by 0.02
_LINES = 32  # rows halved at once, so few that their memory is reused; even


def is_halved(shape: tuple[int, int], n_cells: int) -> bool:
    """Return whether superpixels from a grid of `n_cells` cells are computed at half the size; only in large images."""
    return is_large(shape) and shape[0] * shape[1] >= 4 * _CELL_PIXELS * n_cells


def halved(maps: PixelMaps) -> PixelMaps:
    """Return the maps at half the size: means of 2 x 2 valid pixels.

    A pixel is valid if any of its four pixels is. Maps that hold one value for several pixels stay as they are.
    """
    is_flat = maps.boundary.shape == (1, 1)
    strength, regions = maps.strength, maps.regions
    if maps.region_stride == 1:
        strength = None if strength is None else _halved_maps(strength[None])[0]
        regions = None if regions is None else _halved_maps(regions)
    return PixelMaps(
        _halved_maps(maps.color, maps.valid),
        maps.boundary if is_flat else _halved_maps(maps.boundary[None])[0],
        maps.embeddings if maps.embedding_stride > 1 else _halved_maps(maps.embeddings),
        strength=strength,
        regions=regions,
        region_stride=max(maps.region_stride // 2, 1),
        embedding_stride=max(maps.embedding_stride // 2, 1),
        bands=None if maps.bands is None else _halved_maps(maps.bands, maps.valid),
        valid=None if maps.valid is None else _any_of_four(maps.valid),
    )


def doubled(labels: Int32[np.ndarray, "h w"], shape: tuple[int, int]) -> Int32[np.ndarray, "height width"]:
    """Return labels of shape `shape` in which each input label covers 2 x 2 pixels."""
    full_size = np.empty(shape, np.int32)
    _kernels.double(labels, full_size)
    return full_size


def _halved_maps(
    maps: Shaped[np.ndarray, "channels height width"], valid: Bool[np.ndarray, "height width"] | None = None
) -> Shaped[np.ndarray, "channels h w"]:
    """Return the means of 2 x 2 pixels, in the type of the maps; numba has no float16, so they go through float32."""
    if maps.flags.c_contiguous and len(maps) > 1:  # channel by channel, so that memory is read in order
        planes = np.empty((len(maps), -(-maps.shape[1] // 2), -(-maps.shape[2] // 2)), maps.dtype)
        for plane, half in zip(maps, planes, strict=True):
            half[:] = _halved_maps(plane[None], valid)[0]
        return planes
    if maps.dtype != np.float16:
        return halved_pixels(channels_last(maps), valid).transpose(2, 0, 1)
    n, height, width = maps.shape
    half = np.empty((-(-height // 2), -(-width // 2), n), np.float16)

    def halve_lines(_: int, top: int) -> None:
        rows = as_single(channels_last(maps[:, top : top + _LINES]))
        half[top // 2 : (top + _LINES) // 2] = as_half(halved_pixels(rows))

    if n:  # numba would compile the kernels again for an empty array
        in_threads(halve_lines, range(0, height, _LINES))
    return half.transpose(2, 0, 1)


def _any_of_four(valid: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "h w"]:
    rows = np.logical_or.reduceat(valid, range(0, valid.shape[0], 2), axis=0)
    return np.logical_or.reduceat(rows, range(0, valid.shape[1], 2), axis=1)


Cells = Int32[np.ndarray, "height width"]
_Found = tuple[Int32[np.ndarray, "height width"], np.ndarray, np.ndarray]  # labels; mean colours and embeddings
_ROWS = 256  # rows renamed at once


class LeavesConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of make_leaves."""

    oversampling: float = Field(default=4.0, ge=1)  # cells of the SSN grid per requested leaf
    cluster: ClusterConfig = ClusterConfig()
    # how cells merge into leaves, by the learned affinity if there is one, else by hand-made distances; a strong weight
    # on size makes leaves even and avoids slivers: two regions of different segments merged in error cost the accuracy
    # the pixels of the smaller one; two perceptrons judge small regions as well as four
    affinity: AffinityConfig = AffinityConfig(small_exponent=0.8, small_area=0.01, members=2)
    leaves: LinkageConfig = LinkageConfig(boundary=1.0, color=1.0, small_exponent=0.8, small_area=0.01)
    smooth: SmoothConfig = SmoothConfig()


def map_stride(shape: tuple[int, int], n_valid: int, n_leaves: int, config: LeavesConfig) -> int:
    """Return the stride of the embeddings that `n_leaves` leaves need: 2 if superpixels are computed at half size."""
    return 2 if is_halved(shape, count_cells(shape, n_valid, n_leaves, config.oversampling)) else 1


def make_leaves(
    maps: PixelMaps,
    n_leaves: int,
    network: Network | None,
    config: LeavesConfig,
    cells: Cells | None = None,
    affinity: Affinity | None = None,
) -> Int32[np.ndarray, "height width"]:
    """Return labels of exactly `n_leaves` superpixels.

    Superpixels of a finer grid are merged, first those that annotators are least likely to separate (`affinity`) or, if
    it is None, the most similar ones. There are more than `n_leaves` only if the valid pixels form more connected
    pieces, and fewer only if there are fewer pixels. Borders are smoothed before merging, so that it compares more
    accurate superpixels, and again after it. If `cells` is not None, no superpixel crosses a border of a cell, and
    borders are smoothed only once, before the cells cut the superpixels.
    """
    ssn, n_leaves = SSNConfig() if network is None else network.config, min(n_leaves, maps.n_valid)
    if cells is None:
        labels = _find(maps, n_leaves, ssn, config, affinity)[0]
    else:
        labels = _within(cells, maps, n_leaves, ssn, config, affinity)
    return labels


def count_cells(shape: tuple[int, int], n_valid: int, n_leaves: int, oversampling: float) -> int:
    """Return the number of grid cells for the whole image, raised to make up for cells without a valid pixel."""
    n_pixels = shape[0] * shape[1]
    return min(int(np.ceil(oversampling * n_leaves * (n_pixels / n_valid))), n_pixels)


def _find(maps: PixelMaps, n_leaves: int, ssn: SSNConfig, config: LeavesConfig, affinity: Affinity | None) -> _Found:
    """Return labels of `n_leaves` superpixels, and the mean colours and embeddings used to smooth them."""
    if not is_halved(maps.shape, count_cells(maps.shape, maps.n_valid, n_leaves, config.oversampling)):
        labels = _smooth(_start(maps, n_leaves, ssn, config), maps, config)
        return _merge_down(labels, maps, n_leaves, config, affinity)
    coarse, color, embedding = _find(halved(maps), n_leaves, ssn, config, affinity)
    labels = doubled(coarse, maps.shape)
    if maps.valid is None:
        return smooth(labels, maps, color, embedding, config.smooth, in_place=True), color, embedding
    labels[~maps.valid] = -1  # may cut superpixels into pieces
    labels, _ = connected(labels)
    return _merge_down(labels, maps, n_leaves, config, affinity)


def _within(
    cells: Cells, maps: PixelMaps, n_leaves: int, ssn: SSNConfig, config: LeavesConfig, affinity: Affinity | None
) -> np.ndarray:
    """Return labels of `n_leaves` superpixels, each inside one cell."""
    fine = connected_pieces(_smooth(_start(maps, n_leaves, ssn, config), maps, config), cells)
    graph, statistics = _graph(fine, maps, affinity)
    cell = np.empty(graph.n_nodes + 1, np.int32)
    cell[fine] = cells  # invalid pixels, -1, write to the last entry, which belongs to no node
    inside = within_cells(graph, cell[:-1], n_leaves)
    if statistics is not None:
        is_inside = cell[graph.edges[:, 0]] == cell[graph.edges[:, 1]]
        statistics = replace(statistics, edges=statistics.edges[is_inside])
    return _rename(fine, _merge(inside, n_leaves, maps, config, affinity, statistics))


def _start(maps: PixelMaps, n_leaves: int, ssn: SSNConfig, config: LeavesConfig) -> np.ndarray:
    """Return at least `n_leaves` superpixels; single pixels if clustering yields fewer."""
    n_cells = count_cells(maps.shape, maps.n_valid, n_leaves, config.oversampling)
    clustered = cluster(maps, n_cells, config.cluster, ssn)
    if clustered.n >= n_leaves:
        return clustered.labels
    labels = np.full(maps.shape, -1, np.int32)
    labels[np.ones(maps.shape, np.bool_) if maps.valid is None else maps.valid] = np.arange(maps.n_valid)
    return labels


def _smooth(labels: np.ndarray, maps: PixelMaps, config: LeavesConfig) -> np.ndarray:
    return smooth(labels, maps, *region_means(labels, maps), config.smooth, in_place=True)


def _merge_down(
    labels: np.ndarray, maps: PixelMaps, n_leaves: int, config: LeavesConfig, affinity: Affinity | None
) -> _Found:
    """Merge the most similar superpixels, then smooth the borders of the merged regions by their means."""
    graph, statistics = _graph(labels, maps, affinity if labels.max() >= n_leaves else None)
    region = _merge(graph, n_leaves, maps, config, affinity, statistics)
    color, embedding = grouped_means(graph, region)
    labels = smooth(_rename(labels, region), maps, color, embedding, config.smooth, in_place=True)
    return labels, color, embedding


def _graph(
    labels: np.ndarray, maps: PixelMaps, affinity: Affinity | None
) -> tuple[RegionGraph, RegionStatistics | None]:
    """Return the graph of superpixels, and the statistics from which an affinity judges whether they merge."""
    return (graph_of_maps(labels, maps), None) if affinity is None else graph_and_statistics(labels, maps)


def _merge(
    graph: RegionGraph,
    n_leaves: int,
    maps: PixelMaps,
    config: LeavesConfig,
    affinity: Affinity | None,
    statistics: RegionStatistics | None,
) -> np.ndarray:
    if affinity is not None and statistics is not None:
        return merge_to_count_by_affinity(graph, statistics, affinity, config.affinity, n_leaves)
    area, exponent = config.leaves.small_area * maps.n_valid, config.leaves.small_exponent
    weights = dissimilarity(graph, config.leaves)
    return merge_to_count(graph, weights, n_leaves, small_area_px=area, small_exponent=exponent)


def _rename(labels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Replace each label by its region in place, a few rows at a time."""
    new = np.append(region, -1).astype(np.int32)  # the last entry keeps -1
    for top in range(0, len(labels), _ROWS):
        labels[top : top + _ROWS] = new[labels[top : top + _ROWS]]
    return labels
