"""From an image to its hierarchy: the one place where the stages are wired.

In   an image (what read_image takes; of other than 3 channels what read_bands takes), a network and its calibration
Out  Hierarchy with exactly the leaves asked for
Not  no algorithms, no training, no files but weights

    image -> predict -> PixelMaps -> cluster -> Superpixels -> build_rag -> RegionGraph -> merge -> Hierarchy

Regions merge by the affinity that was learned for the network (supercuts calibrate); without one by hand-made
distances.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float32, Int32, UInt8
from PIL import Image
from pydantic import BaseModel, Field, PositiveInt
from torch import nn

from supercuts.backbones.registry import DINO
from supercuts.core.checks import check_choice, check_in_range, check_whole
from supercuts.core.errors import ImageError, InputError
from supercuts.graph.rag import RegionGraph, build_rag, contract
from supercuts.graph.statistics import region_statistics
from supercuts.hierarchy.georeferenced import georeferenced
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.bands import preview, read_pixels, to_unit
from supercuts.images.io import read_image
from supercuts.merging.affinity import Affinity
from supercuts.merging.agglomerative import LinkageConfig, dissimilarity, merge_to_count
from supercuts.merging.deepcut import Progress
from supercuts.merging.perceptrons import Perceptrons
from supercuts.merging.priors import (
    Masks,
    cells_of_masks,
    check_priors,
    members_of_masks,
    merge_with_priors,
    within_cells,
)
from supercuts.merging.registry import MERGERS, MergingConfig, Regions, merge
from supercuts.objects.discover import discover
from supercuts.objects.parts import find_parts
from supercuts.objects.result import Objects, Parts
from supercuts.refine.config import RefineConfig
from supercuts.refine.hierarchy import refine_hierarchy, refiner_config
from supercuts.superpixels.checkpoint import TORCH_SUFFIXES, load_network, read_calibration
from supercuts.superpixels.cluster import ClusterConfig, cluster
from supercuts.superpixels.connectivity import connected_pieces
from supercuts.superpixels.predict import VIEWS, Pixels, ViewsConfig, predict
from supercuts.superpixels.result import PixelMaps
from supercuts.superpixels.smooth import SmoothConfig, smooth
from supercuts.superpixels.ssn import SSN, SSNConfig

EMBEDDED = ("compact",)  # models whose weights are in the package
ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor  # what read_image and read_bands take
Priors = Sequence[np.ndarray] | np.ndarray  # boolean masks (H, W)
Refiner = str | RefineConfig


class PipelineConfig(BaseModel, frozen=True, extra="forbid"):
    """Everything that decides a hierarchy besides the weights."""

    superpixels: PositiveInt = 600  # leaves when the caller does not say
    oversampling: float = Field(default=3.0, ge=1)  # cells of the SSN grid for each leaf asked for
    views: ViewsConfig = ViewsConfig()
    cluster: ClusterConfig = ClusterConfig()
    # from cells down to the leaves: strongly by size, so leaves are even and none is a sliver
    leaves: LinkageConfig = LinkageConfig(boundary=1.0, color=1.0, small_exponent=0.8, small_area=0.01)
    smooth: SmoothConfig = SmoothConfig()
    merging: MergingConfig = MergingConfig()  # from the leaves to the root


# without a network the boundary map is empty: regions are told apart by colour
_BY_COLOR = LinkageConfig(boundary=0.0, color=1.0)
PIXEL_CONFIG = PipelineConfig(leaves=_BY_COLOR, merging=MergingConfig(linkage=_BY_COLOR))
# nor has the original SSN_DINO one; its embedding counts as it does in SSN, beside 0.26 Lab (colour is Lab / 100)
_BY_EMBEDDING = LinkageConfig(boundary=0.0, color=1.0, embedding=1 / 26)
ORIGINAL_CONFIG = PipelineConfig(leaves=_BY_EMBEDDING, merging=MergingConfig(linkage=_BY_EMBEDDING))
# a network that tells classes apart (refine/learned.py): two that no pixel shares are 7 apart; colour decides ties
_BY_CLASS = LinkageConfig(boundary=0.5, color=0.1, embedding=0.5 / 7)
CLASS_CONFIG = PipelineConfig(
    leaves=_BY_CLASS.model_copy(update={"color": 1.0, "small_exponent": 0.8, "small_area": 0.01}),
    merging=MergingConfig(linkage=_BY_CLASS.model_copy(update={"small_exponent": 0.3, "small_area": 0.005})),
)


class Model:
    """A network and its calibration, ready to segment images.

    >>> import supercuts
    >>> model = supercuts.load("compact")
    >>> h = model.segment(np.zeros((32, 48, 3), np.uint8), superpixels=12)
    >>> h.n_leaves, h.cut(regions=3).max()
    (12, np.int32(2))
    """

    def __init__(
        self,
        network: SSN | None,
        levels: dict[str, float] | None = None,
        config: PipelineConfig | None = None,
        affinity: Affinity | None = None,
        gnn: nn.Module | None = None,
        figure_ground: Perceptrons | None = None,
    ) -> None:
        """Take a network in eval mode (None: SSN_pix, which sees colour and position only)."""
        self.network = None if network is None else network.to(memory_format=torch.channels_last)
        self.levels = levels or {}
        self.affinity = affinity
        self.gnn = gnn
        self.figure_ground = figure_ground
        self.config = config or default_config(network)

    @overload
    def segment(
        self, image: list[Any], superpixels: int | None = None, *, refiner: Refiner | None = None
    ) -> list[Hierarchy]: ...
    @overload
    def segment(
        self,
        image: ImageSource,
        superpixels: int | None = None,
        priors: Priors | None = None,
        refiner: Refiner | None = None,
    ) -> Hierarchy: ...
    def segment(
        self,
        image: object,
        superpixels: int | None = None,
        priors: Priors | None = None,
        refiner: Refiner | None = None,
    ) -> Hierarchy | list[Hierarchy]:
        """Return the hierarchy of an image: a path, PIL image, numpy array or torch tensor; a list gives a list.

        An image has as many channels as the network was trained on: 3 are RGB, which grey pictures are turned into;
        others come as (H, W, C) arrays, (C, H, W) tensors, .npy or .tif files.

        The tree has exactly `superpixels` leaves (fewer only if the image has fewer pixels). The same input always
        gives the same output, whatever the number of threads.

        priors: boolean masks (H, W) that another tool drew, say a detector. Each is a union of leaves, and those that
        nest or are disjoint are nodes of the tree; of masks that cross, the first ones are.

        refiner: "sp", "st" or a RefineConfig: a network fitted to this image redraws the regions, in a minute or so;
        the leaves are then fewer, and no priors are kept.
        """
        if isinstance(image, list):
            if priors is not None:
                raise InputError("priors are masks of one image: segment the images of a list one by one.")
            return [self._segment_one(one, superpixels, refiner=refiner) for one in image]
        return self._segment_one(image, superpixels, priors, refiner)

    def objects(
        self,
        source: "ImageSource | Hierarchy",
        n: int = 1,
        method: str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Objects:
        """Return at most `n` objects of an image or of its hierarchy, best first; n=1: all that stands out as one.

        method    tree (what people would draw as a figure before a background), tokencut, deep_spectral, lost, deepcut
                  or deepcut_cc; these compare the keys of a vision transformer if the model has one, else embeddings.
                  Unless given, tree where it has been learned and tokencut elsewhere
        seed      of deepcut, which optimises a network on the image
        progress  is told each of its steps: progress(step, of so many)
        """
        h = source if isinstance(source, Hierarchy) else self.segment(source)
        method = method or ("tokencut" if self.figure_ground is None else "tree")
        features = None if method == "tree" else self.leaf_features(h)
        return discover(h, features, method, n, seed=seed, progress=progress, judge=self.figure_ground)

    def parts(
        self,
        source: "ImageSource | Hierarchy",
        k: int | None = None,
        method: str | None = None,
        n: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        objects: Objects | None = None,
    ) -> Parts:
        """Return the parts of at most `n` objects of an image or of its hierarchy.

        k        parts of each object; None: the method decides
        method   tree (regions of the tree inside the object, unless given), spectral or deepcut
        seed, progress  as in objects, which finds the objects first
        objects  those to divide, found before; n is then of no account
        """
        h = source if isinstance(source, Hierarchy) else self.segment(source)
        found = objects or self.objects(h, n, seed=seed)
        method = method or "tree"
        features = None if method == "tree" else self.leaf_features(h)
        return find_parts(h, found, features, k, method, seed, progress)

    def leaf_features(self, h: Hierarchy) -> Float32[np.ndarray, "leaves channels"]:
        """Return what leaves are compared by to find objects and parts: pooled keys of a transformer, or embeddings."""
        if not hasattr(getattr(self.network, "backbone", None), "vit"):
            return h.embeddings
        if h.image is None:
            raise InputError("the hierarchy holds no image, whose keys are wanted. Save it with image=True.")
        from supercuts.objects.keys import dino_keys  # imports timm

        return dino_keys(self, h.image).pool(h.labels, h.n_leaves)

    def _segment_one(
        self, image: object, superpixels: int | None, priors: Priors | None = None, refiner: Refiner | None = None
    ) -> Hierarchy:
        settings = refiner_config(refiner)
        wanted = self.config.superpixels if superpixels is None else superpixels
        check_whole("superpixels", wanted, remedy="Give how many leaves the tree should have.")
        check_in_range("superpixels", wanted, 1, np.inf, remedy="Ask for at least one.")
        channels = 3 if self.network is None else self.network.config.channels
        pixels = read_channels(image, channels)
        masks = None if priors is None or len(priors) == 0 else check_priors(priors, pixels.shape[:2])
        h = segment(pixels, self.network, self.levels, int(wanted), self.config, self.affinity, self.gnn, masks)
        return georeferenced(h if settings is None else refine_hierarchy(h, settings, to_unit(pixels)), image)


def load(
    model: str | os.PathLike[str] = "compact",
    config: PipelineConfig | None = None,
    *,
    merging: str | None = None,
    views: str | None = None,
) -> Model:
    """Return a model: "compact", whose weights are in the package, or a .safetensors file of `supercuts train`.

    A checkpoint (.pth, .pt, .ckpt) of the original SSN_DINO is read too. `merging` replaces how the tree is made:
    "agglomerative", "spectral" or "gnn"; `views` how often the network sees an image: "one", "flip" or "many", whose
    boundaries are the best and which takes several times as long.
    """
    path = weights_path(model)
    network, levels = load_network(path)
    calibration = read_calibration(path)
    config = config or default_config(network)
    if merging is not None:
        check_choice("merging", merging, MERGERS)
        config = config.model_copy(update={"merging": config.merging.model_copy(update={"method": merging})})
    if views is not None:
        check_choice("views", views, VIEWS)
        config = config.model_copy(update={"views": VIEWS[views]})
    affinity, figure_ground = (calibration.of(kind) for kind in ("affinity", "figure_ground"))
    gnn = None
    if config.merging.method == "gnn":
        from supercuts.merging.gnn import EdgeGNN  # imports torch_geometric, which takes seconds

        if not calibration.of("gnn"):
            raise InputError(f"{path} holds no graph neural network. Learn one: supercuts calibrate {path} --gnn.")
        gnn = EdgeGNN.from_arrays(calibration.of("gnn"), calibration.gnn_config)
    return Model(
        network,
        levels,
        config,
        Affinity.from_arrays(affinity) if affinity else None,
        gnn,
        Perceptrons.from_arrays(figure_ground) if figure_ground else None,
    )


def default_config(network: SSN | None) -> PipelineConfig:
    """Return the settings for a network: those for colours and embeddings alone if it has no boundary map."""
    if network is None:
        return PIXEL_CONFIG
    return ORIGINAL_CONFIG if network.config.head == "original" else PipelineConfig()


def weights_path(model: str | os.PathLike[str]) -> Path:
    """Return the file of a model's weights: one of the package by name, else the path itself."""
    name = os.fspath(model)
    if name in EMBEDDED:
        return Path(__file__).parent / "weights" / f"{name}.safetensors"
    if name in DINO:
        raise InputError(
            f"model={name!r} is a backbone without superpixels of its own. Train them (python train_ssn_dino.py "
            f"model.backbone={name}, then supercuts.load of the run's model.safetensors), or use compact."
        )
    if not name.endswith((".safetensors", *TORCH_SUFFIXES)):
        raise InputError(
            f"model={name!r} is unknown. Give one of {', '.join(EMBEDDED)} or a path ending in .safetensors, or in "
            f"{', '.join(TORCH_SUFFIXES)} for a checkpoint of the original SSN_DINO."
        )
    return Path(name)


def read_channels(source: object, channels: int | None = None) -> Pixels:
    """Return uint8 RGB of an image of three channels, else its channels as float32 in 0..1.

    Arrays and files are as read_image and read_bands take them. An image of another number of channels than asked for
    is refused; asked for three, pictures are turned into RGB as read_image does.
    """
    is_npy = isinstance(source, str | os.PathLike) and os.fsdecode(source).lower().endswith(".npy")
    if channels == 3 and not is_npy:
        return read_image(source)
    pixels = read_pixels(source)
    height, width, found = pixels.shape
    if channels not in (None, found):
        name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else f"{type(source).__name__} image"
        turned = (
            f" If its channels come first, transpose it to ({width}, {found}, {height})." if height == channels else ""
        )
        raise ImageError(
            f"{name}: {height} rows, {width} columns and {found} channels, but the model was trained on {channels}. "
            f"Give those {channels}, in their order.{turned}"
        )
    return pixels if found == 3 else to_unit(pixels)


def segment(
    image: Pixels,
    network: SSN | None,
    levels: dict[str, float],
    n_leaves: int,
    config: PipelineConfig,
    affinity: Affinity | None = None,
    gnn: nn.Module | None = None,
    masks: Masks | None = None,
) -> Hierarchy:
    """Return the hierarchy of an image with min(n_leaves, H * W) leaves, which respects the masks of priors."""
    maps = predict(image, network, config.views)
    cells = None if masks is None else cells_of_masks(masks)
    labels, graph = make_leaves(maps, min(n_leaves, image.shape[0] * image.shape[1]), network, config, cells)
    is_learned = affinity is not None or gnn is not None
    statistics = region_statistics(labels, graph, maps) if is_learned else None
    regions = Regions(graph, config.merging, statistics, affinity, gnn)
    if masks is None:
        tree = merge(regions)
    else:
        tree = merge_with_priors(regions, members_of_masks(masks, labels, graph.n_nodes))
    return Hierarchy(
        labels=labels,
        parents=tree.parents,
        altitudes=tree.altitudes,
        embeddings=graph.embedding,
        image=preview(image),
        levels=dict(levels),
    )


def segment_by_maps(
    image: UInt8[np.ndarray, "height width 3"], maps: PixelMaps, n_leaves: int, config: PipelineConfig = CLASS_CONFIG
) -> Hierarchy:
    """Return the hierarchy with min(n_leaves, H * W) leaves that another network's maps of the image give."""
    check_in_range("n_leaves", n_leaves, 1, np.inf, remedy="Ask for at least one superpixel.")
    labels, graph = make_leaves(maps, min(n_leaves, maps.boundary.size), None, config)
    tree = merge(Regions(graph, config.merging))
    return Hierarchy(labels, tree.parents, tree.altitudes, graph.embedding, image=preview(image))


def make_leaves(
    maps: PixelMaps,
    n_leaves: int,
    network: SSN | None,
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
    fine, graph = _smooth(fine, _build_rag(fine, maps), maps, config)
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
    return _smooth(region[fine], contract(graph, region), maps, config)


def _smooth(
    labels: Int32[np.ndarray, "height width"], graph: RegionGraph, maps: PixelMaps, config: PipelineConfig
) -> tuple[Int32[np.ndarray, "height width"], RegionGraph]:
    smoothed = smooth(labels, maps, graph.color, graph.embedding, config.smooth)
    return smoothed, _build_rag(smoothed, maps)


def _build_rag(labels: Int32[np.ndarray, "height width"], maps: PixelMaps) -> RegionGraph:
    return build_rag(labels, maps.boundary, maps.color, maps.embeddings)
