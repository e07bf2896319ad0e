"""Hierarchies of images worked on in strips: large ones, with more bands, or with pixels that are not valid.

In   a Scene, a network and what was learned for it, settings
Out  Hierarchy; labels are -1 where a pixel is not valid
Not  no reading of files; other images go the shorter way of pipeline.py, to the same leaves

    Scene -> predict_stored -> StoredMaps -> cluster_strips -> build_rag_strips -> smooth_strips -> ... -> merge

Superpixels of large images are found at half the size, or less, as far as the number asked for allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32

from supercuts.config import PipelineConfig
from supercuts.core.errors import InputError
from supercuts.graph.rag import RegionGraph, contract
from supercuts.graph.strips import build_rag_strips, region_statistics_strips
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.bands import preview, to_unit
from supercuts.images.scenes import Scene
from supercuts.merging.affinity import Affinity
from supercuts.merging.agglomerative import LinkageConfig, MergeTree, dissimilarity, merge_to_count
from supercuts.merging.registry import Regions, merge
from supercuts.networks.network import Network
from supercuts.networks.ssn_config import SSNConfig
from supercuts.networks.tiles import Way, predict_stored
from supercuts.superpixels.cluster import ClusterConfig, cluster
from supercuts.superpixels.pyramid import doubled, halved, is_halved
from supercuts.superpixels.smooth import SmoothConfig
from supercuts.superpixels.stored import StoredMaps, is_large, without_network
from supercuts.superpixels.strips import MASKED, cluster_strips, connected, smooth_strips

# bands that the network does not see show in the colour alone, which has to count
_WITH_BANDS = LinkageConfig(boundary=1.0, color=1.0, small_exponent=0.3, small_area=0.005)


@dataclass(frozen=True, slots=True)
class LeafSettings:
    """What decides the leaves besides the maps; the fields are those of pipeline.PipelineConfig."""

    ssn: SSNConfig
    oversampling: float
    cluster: ClusterConfig
    leaves: LinkageConfig
    smooth: SmoothConfig


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A network, or None, and what was learned for it; the fields are those of pipeline.Model."""

    network: Network | None
    levels: Mapping[str, float]
    affinity: Affinity | None = None
    gnn: Any = None  # an EdgeGNN, whose module imports torch


def make_leaves(
    maps: StoredMaps, n_leaves: int, settings: LeafSettings
) -> tuple[Int32[np.ndarray, "height width"], RegionGraph]:
    """Return labels of `n_leaves` superpixels and their graph.

    There are more only where valid pixels fall into more connected pieces, and fewer only if there are fewer pixels.
    """
    labels, means = _find_leaves(maps, n_leaves, settings)
    return labels, build_rag_strips(labels, maps, means.n_nodes)


def make_tree(labels: Int32[np.ndarray, "height width"], maps: StoredMaps, regions: Regions) -> MergeTree:
    """Return the tree over the leaves; `regions` holds their graph and what was learned, without statistics."""
    statistics = None
    if regions.affinity is not None or regions.gnn is not None:
        statistics = region_statistics_strips(labels, regions.graph, maps)
    return merge(Regions(regions.graph, regions.config, statistics, regions.affinity, regions.gnn))


def _n_cells(shape: tuple[int, int], n_valid: int, n_leaves: int, settings: LeafSettings) -> int:
    """Return the cells of a grid that covers the whole image: those without a valid pixel are not counted on."""
    n_pixels = shape[0] * shape[1]
    return min(int(np.ceil(settings.oversampling * n_leaves * (n_pixels / n_valid))), n_pixels)


def _find_leaves(
    maps: StoredMaps, n_leaves: int, settings: LeafSettings
) -> tuple[Int32[np.ndarray, "height width"], RegionGraph]:
    """Return the labels of make_leaves, and a graph of these superpixels whose means were those before smoothing."""
    n_leaves = min(n_leaves, maps.n_valid)
    n_cells = _n_cells(maps.shape, maps.n_valid, n_leaves, settings)
    if is_halved(maps.shape, n_cells):
        coarse, graph = _find_leaves(halved(maps), n_leaves, settings)
        labels, n = doubled(coarse, maps.shape), graph.n_nodes
        if maps.valid is None:
            smooth_strips(labels, maps, graph.color, graph.embedding, settings.smooth)
            return labels, graph
        labels[~maps.valid] = MASKED  # which may cut superpixels into pieces
        labels, n = connected(labels, n)
        graph = build_rag_strips(labels, maps, n)
    else:
        labels, n = _superpixels(maps, n_cells, settings)
        if n < n_leaves:  # nearly as many leaves as pixels: start from the pixels themselves
            labels, n = _pixels(maps), maps.n_valid
        graph = build_rag_strips(labels, maps, n)
        smooth_strips(labels, maps, graph.color, graph.embedding, settings.smooth)
        graph = build_rag_strips(labels, maps, n)
    return labels, _merge_down(labels, graph, maps, n_leaves, settings)


def _superpixels(
    maps: StoredMaps, n_cells: int, settings: LeafSettings
) -> tuple[Int32[np.ndarray, "height width"], int]:
    """Return superpixels and their number; the shorter way gives the same ones and takes more memory."""
    if maps.valid is None and not is_large(maps.shape):
        found = cluster(maps.rows(0, maps.shape[0]), n_cells, settings.cluster, settings.ssn)
        return found.labels, found.n
    return cluster_strips(maps, n_cells, settings.cluster, settings.ssn)


def _merge_down(
    labels: Int32[np.ndarray, "height width"],
    graph: RegionGraph,
    maps: StoredMaps,
    n_leaves: int,
    settings: LeafSettings,
) -> RegionGraph:
    """Merge the most alike superpixels and smooth the borders, in place; return the graph between the two."""
    small_px, exponent = settings.leaves.small_area * maps.n_valid, settings.leaves.small_exponent
    weights = dissimilarity(graph, settings.leaves)
    region = merge_to_count(graph, weights, n_leaves, small_area_px=small_px, small_exponent=exponent)
    _rename(labels, region)
    merged = contract(graph, region)
    smooth_strips(labels, maps, merged.color, merged.embedding, settings.smooth)
    return merged


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


def segment_scene(scene: Scene, tile: Way, wanted: int, learned: Learned, config: PipelineConfig) -> Hierarchy:
    """Return the hierarchy of an image that the network sees in this way.

    Bands that the network does not see count as colour; what was learned knows nothing of them, so regions then merge
    by boundary and colour, and there are no levels.
    """
    network, is_learned = learned.network, scene.bands.shape[2] == 0
    if config.merging.method == "gnn" and not is_learned:
        raise InputError('merging="gnn" was learned without these bands: leave them out, or use agglomerative.')
    ssn = SSNConfig() if network is None else network.config
    settings = LeafSettings(ssn, config.oversampling, config.cluster, config.leaves, config.smooth)
    rgb, bands = _colors(scene)
    if network is None:
        maps = without_network(rgb, bands, scene.valid)
    else:
        n_valid = int(np.prod(scene.shape) if scene.valid is None else np.count_nonzero(scene.valid))
        stride = 2 if is_halved(scene.shape, _n_cells(scene.shape, n_valid, wanted, settings)) else 1
        maps = predict_stored(scene.pixels, bands, network, tile, config.views, scene.valid, stride)
    labels, graph = make_leaves(maps, wanted, settings)
    merging = config.merging if is_learned else config.merging.model_copy(update={"linkage": _WITH_BANDS})
    affinity, gnn = (learned.affinity, learned.gnn) if is_learned else (None, None)
    tree = make_tree(labels, maps, Regions(graph, merging, None, affinity, gnn))
    levels = dict(learned.levels) if is_learned else {}
    return Hierarchy(labels, tree.parents, tree.altitudes, graph.embedding, preview(scene.pixels), levels)


def _colors(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return RGB (H, W, 3 or 0) and the bands compared as colour beside it."""
    if scene.pixels.dtype == np.uint8:
        return scene.pixels, scene.bands
    nothing = np.zeros((*scene.shape, 0), np.uint8)
    if scene.bands.shape[2] == 0:
        return nothing, scene.pixels
    return nothing, np.concatenate([scene.pixels, to_unit(scene.bands)], axis=2)
