"""Leaves and tree of an image that is worked on in strips: large ones, and those with pixels that are not valid.

In   StoredMaps, settings of the stages, what was learned for merging
Out  labels (H, W), -1 where a pixel is not valid; their graph; the merge tree
Not  no network, no reading of files; images that fit in memory go the shorter way of pipeline.py, to the same leaves

    StoredMaps -> cluster_strips -> build_rag_strips -> smooth_strips -> merge_to_count -> ... -> merge
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from supercuts.graph.rag import RegionGraph, contract
from supercuts.graph.strips import build_rag_strips, region_statistics_strips
from supercuts.merging.agglomerative import LinkageConfig, MergeTree, dissimilarity, merge_to_count
from supercuts.merging.registry import Regions, merge
from supercuts.superpixels.cluster import ClusterConfig
from supercuts.superpixels.smooth import SmoothConfig
from supercuts.superpixels.config import SSNConfig
from supercuts.superpixels.stored import StoredMaps
from supercuts.superpixels.strips import cluster_strips, smooth_strips


@dataclass(frozen=True, slots=True)
class LeafSettings:
    """What decides the leaves besides the maps; the fields are those of pipeline.PipelineConfig."""

    ssn: SSNConfig
    oversampling: float
    cluster: ClusterConfig
    leaves: LinkageConfig
    smooth: SmoothConfig


def make_leaves(
    maps: StoredMaps, n_leaves: int, settings: LeafSettings
) -> tuple[Int32[np.ndarray, "height width"], RegionGraph]:
    """Return labels of `n_leaves` superpixels and their graph.

    There are more only where valid pixels fall into more connected pieces, and fewer only if there are fewer pixels.
    """
    n_valid, (height, width) = maps.n_valid, maps.shape
    n_leaves = min(n_leaves, n_valid)
    # the grid covers the whole image: cells without a valid pixel are not counted on
    wanted = settings.oversampling * n_leaves * (height * width / n_valid)
    n_cells = min(int(np.ceil(wanted)), height * width)
    labels, n = cluster_strips(maps, n_cells, settings.cluster, settings.ssn)
    if n < n_leaves:  # nearly as many leaves as pixels: start from the pixels themselves
        labels, n = _pixels(maps), n_valid
    graph = _smooth(labels, build_rag_strips(labels, maps, n), maps, settings.smooth)
    small = {"small_area_px": settings.leaves.small_area * n_valid, "small_exponent": settings.leaves.small_exponent}
    region = merge_to_count(graph, dissimilarity(graph, settings.leaves), n_leaves, **small)
    _rename(labels, region)
    return labels, _smooth(labels, contract(graph, region), maps, settings.smooth)


def make_tree(labels: Int32[np.ndarray, "height width"], maps: StoredMaps, regions: Regions) -> MergeTree:
    """Return the tree over the leaves; `regions` holds their graph and what was learned, without statistics."""
    statistics = None
    if regions.affinity is not None or regions.gnn is not None:
        statistics = region_statistics_strips(labels, regions.graph, maps)
    return merge(Regions(regions.graph, regions.config, statistics, regions.affinity, regions.gnn))


def _smooth(labels: np.ndarray, graph: RegionGraph, maps: StoredMaps, config: SmoothConfig) -> RegionGraph:
    """Smooth the labels in place; return their new graph."""
    smooth_strips(labels, maps, graph.color, graph.embedding, config)
    return build_rag_strips(labels, maps, graph.n_nodes)


def _pixels(maps: StoredMaps) -> np.ndarray:
    if maps.valid is None:
        return np.arange(maps.n_valid, dtype=np.int32).reshape(maps.shape)
    labels = np.full(maps.shape, -1, np.int32)
    labels[maps.valid] = np.arange(maps.n_valid)
    return labels


def _rename(labels: np.ndarray, region: np.ndarray) -> None:
    """Replace each label by its region in place, a few rows at a time."""
    new = np.append(region, -1).astype(np.int32)  # -1, the last, stays
    for top in range(0, len(labels), 256):
        labels[top : top + 256] = new[labels[top : top + 256]]
