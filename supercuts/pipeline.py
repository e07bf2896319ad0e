"""From an image to its hierarchy: the one place where the stages are wired.

In   a Scene, a network and what was learned for it, the settings
Out  Hierarchy with exactly the leaves asked for
Not  no algorithms, no training, no files

    Scene -> predict_stored -> PixelMaps -> make_leaves (cluster, smooth, merge) -> RegionGraph -> merge -> Hierarchy

Regions merge by the affinity that was learned for the network (supercuts calibrate); without one by hand-made
distances.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.graph.rag import region_statistics
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import preview
from supercuts.images.scenes import Scene
from supercuts.merging.affinity import Affinity, Perceptrons
from supercuts.merging.agglomerative import LinkageConfig
from supercuts.merging.priors import Masks, cells_of_masks, members_of_masks, merge_with_priors
from supercuts.merging.registry import Regions, merge
from supercuts.networks.maps import PixelMaps
from supercuts.networks.network import Network
from supercuts.networks.predict import choose_tile, predict_stored
from supercuts.settings import CLASS_CONFIG, PipelineConfig
from supercuts.superpixels.leaves import count_cells, is_halved, make_leaves

if TYPE_CHECKING:
    from torch import nn

    GNN = nn.Module
else:
    GNN = Any  # naming it would import torch, which the engine "onnx" does without

# bands that the network does not see show in the colour alone, which has to count
_WITH_BANDS = LinkageConfig(boundary=1.0, color=1.0, small_exponent=0.3, small_area=0.005)
# where names are that this module had before
_MOVED = {
    **dict.fromkeys(("Model", "load"), "supercuts.model"),
    **dict.fromkeys(("ORIGINAL_CONFIG", "PIXEL_CONFIG", "default_config"), "supercuts.settings"),
    **dict.fromkeys(("EMBEDDED", "weights_path"), "supercuts.networks.network"),
    "read_channels": "supercuts.images.io",
}


def __getattr__(name: str) -> Any:
    """Return what has moved elsewhere, under its old name."""
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MOVED[name]), name)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What segments images.

    network        None: colour and position alone (SSN_pix)
    levels         altitudes of the named levels
    affinity       how probable it is that people separate two regions
    gnn            an EdgeGNN, which says the same of all regions at once
    figure_ground  how probable it is that a region is figure
    """

    network: Network | None
    levels: Mapping[str, float] = field(default_factory=dict)
    affinity: Affinity | None = None
    gnn: GNN | None = None
    figure_ground: Perceptrons | None = None


def segment(
    scene: Scene,
    learned: Learned,
    n_leaves: int,
    config: PipelineConfig,
    masks: Masks | None = None,
    tile: int | None = None,
    maps: PixelMaps | None = None,
) -> Hierarchy:
    """Return the hierarchy of an image with at most so many leaves, which respects the masks of priors.

    There are fewer leaves only if there are fewer valid pixels, and more only if those are in more pieces.

    tile  as Model.segment takes it
    maps  what predict gives of the image, if it was asked before
    """
    learned, config = _for_bands(scene, learned, config)
    maps = _look(scene, learned.network, n_leaves, config, tile) if maps is None else maps
    cells = None if masks is None else cells_of_masks(masks)
    labels, graph = make_leaves(maps, n_leaves, learned.network, config, cells)
    is_learned = learned.affinity is not None or learned.gnn is not None
    statistics = region_statistics(labels, graph, maps) if is_learned else None
    regions = Regions(graph, config.merging, statistics, learned.affinity, learned.gnn)
    members = None if masks is None else members_of_masks(masks, labels, graph.n_nodes)
    tree = merge(regions) if members is None else merge_with_priors(regions, members)
    levels = dict(learned.levels)
    return Hierarchy(labels, tree.parents, tree.altitudes, graph.embedding, preview(scene.pixels), levels)


def _look(scene: Scene, network: Network | None, n_leaves: int, config: PipelineConfig, tile: int | None) -> PixelMaps:
    """Return the maps of an image, which the network sees as asked for or as suits its size."""
    way = choose_tile(tile, scene.shape, network, config.views)
    n_valid = int(np.prod(scene.shape) if scene.valid is None else np.count_nonzero(scene.valid))
    stride = 2 if is_halved(scene.shape, count_cells(scene.shape, n_valid, n_leaves, config.oversampling)) else 1
    return predict_stored(scene.pixels, scene.bands, network, way, config.views, scene.valid, stride)


def _for_bands(scene: Scene, learned: Learned, config: PipelineConfig) -> tuple[Learned, PipelineConfig]:
    """Return what regions merge by: where bands count as colour that the network does not see, these and boundaries.

    What was learned knows nothing of such bands, and there are no levels.
    """
    if scene.bands.shape[2] == 0:
        return learned, config
    if config.merging.method == "gnn":
        raise InputError('merging="gnn" was learned without these bands: leave them out, or use agglomerative.')
    merging = config.merging.model_copy(update={"linkage": _WITH_BANDS})
    return Learned(learned.network, {}), config.model_copy(update={"merging": merging})


def segment_by_maps(
    image: UInt8[np.ndarray, "height width 3"], maps: PixelMaps, n_leaves: int, config: PipelineConfig = CLASS_CONFIG
) -> Hierarchy:
    """Return the hierarchy with min(n_leaves, H * W) leaves that another network's maps of the image give."""
    check_in_range("n_leaves", n_leaves, 1, np.inf, remedy="Ask for at least one superpixel.")
    labels, graph = make_leaves(maps, n_leaves, None, config)
    tree = merge(Regions(graph, config.merging))
    return Hierarchy(labels, tree.parents, tree.altitudes, graph.embedding, image=preview(image))
