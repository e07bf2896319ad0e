"""From an image to its hierarchy: the only module that connects the stages.

In   a Scene, a network with its calibration, the settings
Out  Hierarchy with the requested number of leaves
Not  no algorithms, no training, no files

    Scene -> predict_stored -> PixelMaps -> make_leaves (cluster, smooth, merge) -> RegionGraph -> merge -> Hierarchy

Regions merge by the affinity that was learned for the network (supercuts calibrate), or by hand-made distances
without one.
"""

import importlib
from typing import Any

import numpy as np
from jaxtyping import UInt8

from supercuts.core.arrays import frozen
from supercuts.core.checks import check_in_range
from supercuts.graph.rag import graph_and_statistics, graph_of_maps
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import preview
from supercuts.images.scenes import Scene
from supercuts.merging.mergers import Regions, merge
from supercuts.merging.priors import Masks, members_of_masks, merge_with_priors, nest_masks
from supercuts.networks.maps import PixelMaps
from supercuts.networks.network import Network
from supercuts.networks.predict import choose_tile, predict_stored
from supercuts.settings import CLASS_CONFIG, Learned, PipelineConfig, adapted_to_bands
from supercuts.superpixels.leaves import make_leaves, map_stride


def segment(
    scene: Scene,
    learned: Learned,
    n_leaves: int,
    config: PipelineConfig,
    masks: Masks | None = None,
    tile: int | None = None,
    maps: PixelMaps | None = None,
) -> Hierarchy:
    """Return the hierarchy of an image with n_leaves leaves; every mask that nests in the others is a node.

    There are fewer leaves only if there are fewer valid pixels, and more only if these form more connected pieces.

    tile  see Model.segment
    maps  predictions for the image; if None, the network computes them
    """
    learned, config = adapted_to_bands(learned, config, scene.bands.shape[2])
    maps = _predict(scene, learned.network, n_leaves, config, tile) if maps is None else maps
    cells = None
    if masks is not None:
        valid = np.ones(scene.shape, np.bool_) if scene.valid is None else scene.valid
        masks, cells = nest_masks(masks, valid, n_leaves)
    labels = make_leaves(maps, n_leaves, learned.network, config, cells, learned.affinity)
    is_learned = learned.affinity is not None or learned.gnn is not None
    graph, statistics = graph_and_statistics(labels, maps) if is_learned else (graph_of_maps(labels, maps), None)
    regions = Regions(graph, config.merging, statistics, learned.affinity, learned.gnn)
    members = None if masks is None else members_of_masks(masks, labels, graph.n_nodes)
    tree = merge(regions) if members is None else merge_with_priors(regions, members)
    levels = dict(learned.levels)
    # frozen: large images take their memory twice if the hierarchy copies the labels
    return Hierarchy(frozen(labels), tree.parents, tree.altitudes, graph.embedding, preview(scene.pixels), levels)


def _predict(
    scene: Scene, network: Network | None, n_leaves: int, config: PipelineConfig, tile: int | None
) -> PixelMaps:
    """Return the maps of an image, predicted whole, in tiles or in rows, depending on `tile` and the image size."""
    network = None if network is None else network.for_image(scene.shape)
    way = choose_tile(tile, scene.shape, network)
    n_valid = int(np.prod(scene.shape) if scene.valid is None else np.count_nonzero(scene.valid))
    stride = map_stride(scene.shape, n_valid, n_leaves, config)
    return predict_stored(scene.pixels, scene.bands, network, way, config.views, scene.valid, stride)


def segment_by_maps(
    image: UInt8[np.ndarray, "height width 3"], maps: PixelMaps, n_leaves: int, config: PipelineConfig = CLASS_CONFIG
) -> Hierarchy:
    """Return the hierarchy of an image from maps of another network.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    maps
        Colour, boundary probabilities and embeddings of its pixels.
    n_leaves
        Number of leaves, from 1; at most H * W.
    config
        Settings of the pipeline.

    Returns
    -------
    Hierarchy
        A tree without levels.

    Raises
    ------
    InputError
        If `n_leaves` is below 1.

    Examples
    --------
    >>> image, color = np.zeros((8, 8, 3), np.uint8), np.zeros((3, 8, 8), np.float32)
    >>> boundary, embeddings = np.zeros((8, 8), np.float32), np.zeros((4, 8, 8), np.float32)
    >>> segment_by_maps(image, PixelMaps(color, boundary, embeddings), 4)
    Hierarchy(8x8, 4 leaves, no levels)
    """
    check_in_range("n_leaves", n_leaves, 1, np.inf, remedy="Ask for at least one superpixel.")
    labels = make_leaves(maps, n_leaves, None, config)
    graph = graph_of_maps(labels, maps)
    tree = merge(Regions(graph, config.merging))
    return Hierarchy(labels, tree.parents, tree.altitudes, graph.embedding, image=preview(image))


def __getattr__(name: str) -> Any:
    if name != "Model":  # supercuts.Model, documented at this path in earlier versions
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("supercuts.model").Model
