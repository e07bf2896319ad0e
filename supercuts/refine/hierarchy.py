"""Refine a hierarchy: fit a network to the image, starting from a cut; its regions become leaves of a new tree."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.graph.rag import contract, graph_of_maps
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import color_features, preview, to_unit
from supercuts.merging.agglomerative import LinkageConfig, dissimilarity, merge_to_count, merge_tree
from supercuts.networks.maps import PixelMaps
from supercuts.networks.predict import filled
from supercuts.refine.fit import Example, Watch, fit, label, respond
from supercuts.refine.refine_config import RefineConfig
from supercuts.superpixels.grid import connected

# a network that starts from labels needs fewer steps; with its own labels as targets it would soon keep only a few.
# Chosen on val of benchmarks/textures.py
IN_PIPELINE = RefineConfig(method="sp", epochs=90, initial_steps=90, half_steps=45, n_features=32, n_classes=150)
REFINERS: Mapping[str, RefineConfig] = {
    "st": IN_PIPELINE.model_copy(update={"method": "st", "nu": 0.5}),
    "sp": IN_PIPELINE,
}
_LEAF_EXPONENT = 0.8


def refine_hierarchy(
    h: Hierarchy,
    config: RefineConfig | None = None,
    image: Float32[np.ndarray, "height width channels"] | None = None,
    watch: Watch | None = None,
) -> Hierarchy:
    """Return a hierarchy of regions that a network fitted to the image redraws.

    The targets of the first steps are the finest cut of `h` that ``n_classes`` can number; the superpixels of method sp
    are the leaves of `h`. Connected pieces of equal label merge, small ones first, until there are no more than `h` has
    leaves. Their dissimilarity is that in `h`, the distance of the network's mean class probabilities, which are alike
    where it confuses the regions of the cut, and a little of colour (``linkage``). A level is placed where it has
    as many regions as in `h`. Masked pixels are a class and a superpixel of their own; the network's input there is the
    mean of the valid pixels.

    Parameters
    ----------
    h
        Hierarchy to refine.
    config
        Settings of the network and of the fit; if None, method sp [1]_ with 90 epochs.
    image
        (H, W, C) float32 input of the network, in 0..1; if None, the RGB image of `h`.
    watch
        Called with each step of the fit.

    Returns
    -------
    Hierarchy
        Its leaves are connected, at most as many as `h` has.

    Raises
    ------
    InputError
        If there is no image, or if `image` is of another size.

    References
    ----------
    .. [1] Kanezaki, "Unsupervised image segmentation by backpropagation", ICASSP 2018.

    Examples
    --------
    >>> import supercuts
    >>> image = np.zeros((16, 24, 3), np.uint8)
    >>> image[:, 12:] = 255
    >>> h = supercuts.load("compact").segment(image, superpixels=6)
    >>> refine_hierarchy(h, RefineConfig(epochs=2, n_features=4, n_classes=4)).n_leaves <= 6
    True
    """
    config = config or IN_PIPELINE
    if image is None:
        if h._image is None:
            raise InputError("the hierarchy holds no image to refine it on: give image=, or save it with image=True.")
        image = to_unit(h._image)
    valid = h._labels >= 0 if h.is_masked else None
    image = image if valid is None else filled(image, valid)
    initial = h.cut(regions=min(h.n_leaves, max(config.n_classes - h.is_masked, 1)))
    superpixels = h._labels
    if valid is not None:
        initial, superpixels = (np.where(valid, ids, ids.max() + 1).astype(np.int32) for ids in (initial, h._labels))
    example = Example(image, superpixels=superpixels, initial=initial)
    network = fit([example], config, watch)
    probabilities = respond(network, image)[0].softmax(dim=0).cpu().numpy()
    image_shown = preview(image) if h._image is None else h._image
    color = color_features(image_shown if image.shape[2] == 3 else image)
    return tree_of(
        h, label(network, example, config), np.ascontiguousarray(probabilities), color, image_shown, config.linkage
    )


def tree_of(
    h: Hierarchy,
    labels: Int32[np.ndarray, "height width"],
    probabilities: Float32[np.ndarray, "classes height width"],
    color: Float32[np.ndarray, "bands height width"],
    image: UInt8[np.ndarray, "height width 3"],
    linkage: LinkageConfig,
) -> Hierarchy:
    """Return the tree over the connected pieces of `labels`, with altitudes of h as boundary strengths."""
    valid = h._labels >= 0 if h.is_masked else None
    pieces, _ = connected(labels if valid is None else np.where(valid, labels, -1).astype(np.int32))
    graph = graph_of_maps(pieces, PixelMaps(color, np.zeros((1, 1), np.float32), probabilities, valid=valid))
    graph = replace(graph, boundary=_altitudes_between(h, graph.edges, _leaf_of_most_pixels(h, pieces)))
    small = linkage.small_area * float(graph.area.sum())
    n_leaves = min(h.n_leaves, graph.n_nodes)
    region = merge_to_count(
        graph, dissimilarity(graph, linkage), n_leaves, small_area_px=small, small_exponent=_LEAF_EXPONENT
    )
    leaves = contract(graph, region)
    tree = merge_tree(
        leaves, dissimilarity(leaves, linkage), small_area_px=small, small_exponent=linkage.small_exponent
    )
    levels = {name: _altitude_of(tree.altitudes, int(h.cut(level=name).max()) + 1) for name in h.levels}
    leaf = np.append(region, -1).astype(np.int32)  # the last element keeps -1 for masked pixels
    return Hierarchy(
        leaf[pieces],
        tree.parents,
        tree.altitudes,
        leaves.embedding,
        image,
        levels,
        None,
        h.georeference,
        h.source_name,
    )


def refiner_config(refiner: str | RefineConfig | None) -> RefineConfig | None:
    """Return the settings of a refiner by name; None stays None."""
    if isinstance(refiner, str):
        check_choice("refiner", refiner, REFINERS)
        return REFINERS[refiner]
    return refiner


def _leaf_of_most_pixels(h: Hierarchy, pieces: Int32[np.ndarray, "height width"]) -> Int32[np.ndarray, " pieces"]:
    """Return, for each piece, the leaf of h that covers most of it; ties go to the first."""
    is_valid = pieces >= 0
    pairs, counts = np.unique(pieces[is_valid].astype(np.int64) * h.n_leaves + h._labels[is_valid], return_counts=True)
    piece, leaf = pairs // h.n_leaves, pairs % h.n_leaves
    order = np.lexsort((leaf, -counts, piece))
    first = np.unique(piece[order], return_index=True)[1]
    return leaf[order][first].astype(np.int32)


def _altitudes_between(
    h: Hierarchy, edges: Int32[np.ndarray, "edges 2"], leaf: Int32[np.ndarray, " pieces"]
) -> Float32[np.ndarray, " edges"]:
    """Return the altitude at which the leaves of the two pieces of each edge become one region of h.

    Leaves are used, not pixels along the border: a border that moved by a pixel lies inside a leaf, where h has none.
    """
    low, high = leaf[edges].T.copy()
    while (differ := low != high).any():  # the node with the lower id is never an ancestor of the other
        low, high = np.minimum(low, high), np.maximum(low, high)
        low[differ] = h._parents[low[differ]]
    altitudes: np.ndarray = h._altitudes[low]
    return altitudes


def _altitude_of(altitudes: Float32[np.ndarray, " nodes"], n_regions: int) -> float:
    """Return an altitude that cuts a binary tree into `n_regions` regions, as closely as ties allow."""
    n_leaves = (altitudes.size + 1) // 2
    heights = np.sort(altitudes[n_leaves:]).astype(np.float64)
    n_merges = n_leaves - n_regions
    below = heights[n_merges - 1] if n_merges > 0 else 0.0
    above = heights[n_merges] if 0 <= n_merges < heights.size else below
    return float((below + above) / 2 if n_merges >= 0 else 0.0)
