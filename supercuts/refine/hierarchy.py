"""Refine a hierarchy: its cut starts a network on the image, whose regions become the leaves of a new tree.

In   Hierarchy with its image, RefineConfig
Out  Hierarchy whose leaves are the refined regions, with the network's class probabilities as embeddings
Not  no superpixels from pixels (pipeline.py), no files
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int32

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.graph.rag import RegionGraph, build_rag, contract
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.bands import preview, to_unit
from supercuts.images.color import color_features
from supercuts.merging.agglomerative import LinkageConfig, dissimilarity, merge_to_count, merge_tree
from supercuts.refine.config import RefineConfig
from supercuts.refine.fit import Example, Watch, fit, label, respond
from supercuts.superpixels.connectivity import connected_pieces

# a pipeline's user waits for it: few steps suffice to a network that starts from labels
IN_PIPELINE = RefineConfig(epochs=60, n_features=32, n_classes=64, nu=2.0)
REFINERS: Mapping[str, RefineConfig] = {
    "st": IN_PIPELINE,
    "sp": IN_PIPELINE.model_copy(update={"method": "sp", "nu": 0.0}),
}
_LINKAGE = LinkageConfig(boundary=1.0, color=0.3, embedding=0.5, small_exponent=0.3, small_area=0.005)
_LEAF_EXPONENT = 0.8


def refine_hierarchy(
    h: Hierarchy,
    config: RefineConfig | None = None,
    image: Float32[np.ndarray, "height width channels"] | None = None,
    watch: Watch | None = None,
) -> Hierarchy:
    """Return a hierarchy of the refined regions: at most as many leaves as h has, each one connected.

    The targets of the first steps are the finest cut of h that n_classes can number; the superpixels of method sp are
    the leaves of h. Connected pieces of equal label merge, small ones first, until they are no more than the leaves of
    h. Boundaries are those of h where it draws them. A level lies where it has as many regions as in h.

    image: what the network sees, in 0..1; unless given the RGB of h.
    """
    config = config or IN_PIPELINE
    if image is None:
        if h.image is None:
            raise InputError("the hierarchy holds no image to refine it on: give image=, or save it with image=True.")
        image = to_unit(h.image)
    initial = h.cut(regions=min(h.n_leaves, config.n_classes))
    example = Example(image, superpixels=h.labels, initial=initial)
    network = fit([example], config, watch)
    probabilities = respond(network, image)[0].softmax(dim=0).cpu().numpy()
    pieces = connected_pieces(label(network, example, config), np.zeros(h.shape, np.int32))
    seen = preview(image) if h.image is None else h.image
    color = color_features(seen if image.shape[2] == 3 else image)
    graph = build_rag(pieces, _boundary(h), color, np.ascontiguousarray(probabilities))
    region = _merge(graph, h.n_leaves, pieces.size)
    labels, leaves = region[pieces], contract(graph, region)
    tree = merge_tree(
        leaves,
        dissimilarity(leaves, _LINKAGE),
        small_area_px=_LINKAGE.small_area * labels.size,
        small_exponent=_LINKAGE.small_exponent,
    )
    levels = {name: _altitude(tree.altitudes, int(h.cut(level=name).max()) + 1) for name in h.levels}
    return Hierarchy(labels, tree.parents, tree.altitudes, leaves.embedding, seen, levels)


def refiner_config(refiner: str | RefineConfig | None) -> RefineConfig | None:
    """Return the settings of a refiner by name; None stays None."""
    if isinstance(refiner, str):
        check_choice("refiner", refiner, REFINERS)
        return REFINERS[refiner]
    return refiner


def _boundary(h: Hierarchy) -> Float32[np.ndarray, "height width"]:
    """Return for each pixel the altitude of the highest of its four edges."""
    contours = h.ucm()
    contours[0] = contours[-1] = contours[:, 0] = contours[:, -1] = 0  # the frame copies what is inside
    sides = (contours[:-1:2, 1::2], contours[2::2, 1::2], contours[1::2, :-1:2], contours[1::2, 2::2])
    highest: np.ndarray = np.maximum.reduce(sides)
    return highest


def _merge(graph: RegionGraph, n_leaves: int, n_pixels: int) -> Int32[np.ndarray, " nodes"]:
    """Return the leaf of each piece; the exponent is that by which the pipeline makes leaves: no sliver is one."""
    weights = dissimilarity(graph, _LINKAGE)
    n_regions = min(n_leaves, graph.n_nodes)
    return merge_to_count(
        graph, weights, n_regions, small_area_px=_LINKAGE.small_area * n_pixels, small_exponent=_LEAF_EXPONENT
    )


def _altitude(altitudes: Float32[np.ndarray, " nodes"], n_regions: int) -> float:
    """Return an altitude at which a binary tree is cut into as many regions, as near as ties allow."""
    n_leaves = (altitudes.size + 1) // 2
    heights = np.sort(altitudes[n_leaves:]).astype(np.float64)
    n_merges = n_leaves - n_regions
    below = heights[n_merges - 1] if n_merges > 0 else 0.0
    above = heights[n_merges] if 0 <= n_merges < heights.size else below
    return float((below + above) / 2 if n_merges >= 0 else 0.0)
