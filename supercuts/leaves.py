"""The superpixels of one image as the leaves of its tree: exactly as many as asked for.

In   PixelMaps, a network's settings, PipelineConfig; cells that no superpixel may leave
Out  labels (H, W), the RegionGraph of the superpixels
Not  no tree (merging/), no large images (large.py does the same in strips)
"""

import numpy as np
from jaxtyping import Int32

from supercuts.config import PipelineConfig
from supercuts.graph.rag import RegionGraph, build_rag, grouped_means, region_means
from supercuts.merging.agglomerative import dissimilarity, merge_to_count
from supercuts.merging.priors import within_cells
from supercuts.networks.network import Network
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels.cluster import cluster
from supercuts.superpixels.connectivity import connected_pieces
from supercuts.superpixels.result import PixelMaps
from supercuts.superpixels.smooth import smooth


def make_leaves(
    maps: PixelMaps,
    n_leaves: int,
    network: Network | None,
    config: PipelineConfig,
    cells: Int32[np.ndarray, "height width"] | None = None,
) -> tuple[Int32[np.ndarray, "height width"], RegionGraph]:
    """Return labels of exactly `n_leaves` superpixels and their graph: a finer grid, of which the most alike merge.

    Borders are smoothed before the merging, which then compares truer superpixels, and after it. No superpixel crosses
    a border of the cells; with cells only the first smoothing is done, which comes before they cut.
    """
    ssn = SSNConfig() if network is None else network.config
    n_pixels = maps.boundary.size
    n_cells = min(int(np.ceil(config.oversampling * n_leaves)), n_pixels)
    fine = cluster(maps, n_cells, config.cluster, ssn).labels
    if fine.max() < n_leaves - 1:  # nearly as many leaves as pixels: start from the pixels themselves
        fine = np.arange(n_pixels, dtype=np.int32).reshape(maps.shape)
    fine = smooth(fine, maps, *region_means(fine, maps.color, maps.embeddings), config.smooth)
    graph = _build_rag(fine, maps)
    if cells is not None:
        fine = connected_pieces(fine, cells)
        graph = _build_rag(fine, maps)
        cell = np.empty(graph.n_nodes, np.int32)
        cell[fine] = cells
        graph = within_cells(graph, cell, n_leaves)
    small = {"small_area_px": config.leaves.small_area * n_pixels, "small_exponent": config.leaves.small_exponent}
    region = merge_to_count(graph, dissimilarity(graph, config.leaves), n_leaves, **small)
    if cells is not None:
        return region[fine], _build_rag(region[fine], maps)
    labels = smooth(region[fine], maps, *grouped_means(graph, region), config.smooth)
    return labels, _build_rag(labels, maps)


def _build_rag(labels: Int32[np.ndarray, "height width"], maps: PixelMaps) -> RegionGraph:
    return build_rag(labels, maps.boundary, maps.color, maps.embeddings)
