"""Superpixels of other libraries, each behind one function: an image and a setting in, a label map out.

In   RGB images (H, W, 3) uint8; a setting: a number of superpixels, or the method's own parameters
Out  label maps (H, W) int32, as the method leaves them or made connected
Not  no scores; parameters are the libraries' defaults, or what their documentation recommends, unless named here
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import skimage.color
import skimage.filters
import skimage.graph
import skimage.segmentation

from supercuts.core.arrays import relabel_consecutive
from supercuts.superpixels._kernels.cluster import label_components

Method = Callable[[np.ndarray, Any], np.ndarray]
COUNTS = (50, 120, 250, 450, 700, 1100, 1700)  # requested; the actual numbers are counted


@dataclass(frozen=True, slots=True)
class Peer:
    """A method, the settings of its sweep, and the package it needs.

    connect: its stray components are merged into their neighbours, so every superpixel is connected.
    """

    method: Method
    settings: tuple[Any, ...] = COUNTS
    package: str = "scikit-image"
    connect: bool = False


def segment(peer: Peer, image: np.ndarray, setting: Any) -> np.ndarray:
    """Return a peer's label map, ids 0..N-1."""
    labels = relabel_consecutive(peer.method(image, setting))[0]
    return connect(labels) if peer.connect else labels


def connect(labels: np.ndarray) -> np.ndarray:
    """Return the labels with every component but the largest of its label merged across its longest border."""
    component, n = label_components(labels)
    area = np.bincount(component.ravel(), minlength=n)
    owner = np.zeros(n, np.int64)
    owner[component.ravel()] = labels.ravel()
    largest = np.lexsort((area, owner))  # the last of each label
    is_main = np.zeros(n, bool)
    is_main[largest[np.append(np.diff(owner[largest]) > 0, True)]] = True
    low, high, length = _borders(component)
    target = np.where(is_main, np.arange(n), -1)
    while (target < 0).any():
        a, b = np.concatenate([low, high]), np.concatenate([high, low])
        reaches = (target[a] < 0) & (target[b] >= 0)
        a, b, shared = a[reaches], b[reaches], np.concatenate([length, length])[reaches]
        order = np.lexsort((shared, a))
        last = order[np.append(np.diff(a[order]) > 0, True)]
        target[a[last]] = target[b[last]]
    return relabel_consecutive(owner[target][component])[0]


def _borders(component: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of neighbouring components, lower id first, and the pixel pairs they share."""
    across, down = (component[:, :-1], component[:, 1:]), (component[:-1], component[1:])
    first, second = (np.concatenate([across[i].ravel(), down[i].ravel()]) for i in (0, 1))
    differ = first != second
    low, high = np.minimum(first, second)[differ], np.maximum(first, second)[differ]
    pairs, length = np.unique(np.stack([low, high], axis=1), axis=0, return_counts=True)
    return pairs[:, 0], pairs[:, 1], length


# scikit-image


def slic(image: np.ndarray, count: int) -> np.ndarray:
    """Achanta et al., PAMI 2012; compactness 10."""
    return skimage.segmentation.slic(image, n_segments=count, start_label=0)


def felzenszwalb(image: np.ndarray, setting: tuple[float, int]) -> np.ndarray:
    """Felzenszwalb and Huttenlocher, IJCV 2004; (scale, min_size), sigma 0.8."""
    scale, min_size = setting
    return skimage.segmentation.felzenszwalb(image, scale=scale, sigma=0.8, min_size=min_size)


def quickshift(image: np.ndarray, setting: tuple[float, float]) -> np.ndarray:
    """Vedaldi and Soatto, ECCV 2008; (kernel_size, max_dist), ratio 1."""
    kernel_size, max_dist = setting
    return skimage.segmentation.quickshift(image, kernel_size=kernel_size, max_dist=max_dist, rng=0)


def watershed(image: np.ndarray, count: int) -> np.ndarray:
    """Flooding of the gradient from `count` markers on a grid."""
    return skimage.segmentation.watershed(_gradient(image), markers=count)


def compact_watershed(image: np.ndarray, count: int) -> np.ndarray:
    """Neubert and Protzel, ICPR 2014; compactness 0.001 for a gradient in 0..1."""
    return skimage.segmentation.watershed(_gradient(image), markers=count, compactness=0.001)


def merge_hierarchical(image: np.ndarray, threshold: float) -> np.ndarray:
    """Merge SLIC's 1600 superpixels by mean colour until no two neighbours are nearer than the threshold."""
    labels = slic(image, COUNTS[-1])
    graph = skimage.graph.rag_mean_color(image, labels)
    return skimage.graph.merge_hierarchical(
        labels, graph, thresh=threshold, rag_copy=False, in_place_merge=True,
        merge_func=merge_mean_color, weight_func=mean_color_distance,
    )  # fmt: skip


def cut_normalized(image: np.ndarray, threshold: float) -> np.ndarray:
    """Shi and Malik, PAMI 2000, on SLIC's 400 superpixels, similarity of mean colours."""
    labels = slic(image, 400)
    graph = skimage.graph.rag_mean_color(image, labels, mode="similarity")
    return skimage.graph.cut_normalized(labels, graph, thresh=threshold, rng=0)


def _gradient(image: np.ndarray) -> np.ndarray:
    return skimage.filters.sobel(skimage.color.rgb2gray(image))


def merge_mean_color(graph: Any, source: int, target: int) -> None:
    """Add the colours of merged regions, like scikit-image's example of merge_hierarchical."""
    graph.nodes[target]["total color"] += graph.nodes[source]["total color"]
    graph.nodes[target]["pixel count"] += graph.nodes[source]["pixel count"]
    graph.nodes[target]["mean color"] = graph.nodes[target]["total color"] / graph.nodes[target]["pixel count"]


def mean_color_distance(graph: Any, _source: int, target: int, neighbor: int) -> dict[str, float]:
    """Return the weight of an edge: how far apart the mean colours are."""
    difference = graph.nodes[target]["mean color"] - graph.nodes[neighbor]["mean color"]
    return {"weight": float(np.linalg.norm(difference))}


# OpenCV: smoothed a little and in Lab, as its documentation advises


def _cv_slic(algorithm: str, enforce: bool) -> Method:
    def method(image: np.ndarray, count: int) -> np.ndarray:
        import cv2

        side = round(math.sqrt(image.shape[0] * image.shape[1] / count))
        made = cv2.ximgproc.createSuperpixelSLIC(_cv_lab(image), getattr(cv2.ximgproc, algorithm), side, 10.0)
        made.iterate(10)
        if enforce:
            made.enforceLabelConnectivity(25)
        return made.getLabels()

    return method


def _cv_lsc(enforce: bool) -> Method:
    def method(image: np.ndarray, count: int) -> np.ndarray:
        import cv2

        side = round(math.sqrt(image.shape[0] * image.shape[1] / count))
        made = cv2.ximgproc.createSuperpixelLSC(_cv_lab(image), side, 0.075)
        made.iterate(10)
        if enforce:
            made.enforceLabelConnectivity(25)
        return made.getLabels()

    return method


def cv_seeds(image: np.ndarray, setting: tuple[int, int]) -> np.ndarray:
    """Van den Bergh et al., IJCV 2015; (count, levels), prior 2, 5 histogram bins; it makes few different counts."""
    import cv2

    count, n_levels = setting
    height, width = image.shape[:2]
    made = cv2.ximgproc.createSuperpixelSEEDS(width, height, 3, count, n_levels, 2, 5)
    made.iterate(_cv_lab(image, blur=False), 10)
    return made.getLabels()


def cv_scan_segment(image: np.ndarray, count: int) -> np.ndarray:
    """Loke et al., 2021, F-DBSCAN; 8 slices, small superpixels merged."""
    import cv2

    height, width = image.shape[:2]
    made = cv2.ximgproc.createScanSegment(width, height, count, 8, True)
    made.iterate(_cv_lab(image, blur=False))
    return made.getLabels()


def _cv_lab(image: np.ndarray, blur: bool = True) -> np.ndarray:
    import cv2

    blurred = cv2.GaussianBlur(image, (3, 3), 0) if blur else image
    return cv2.cvtColor(blurred, cv2.COLOR_RGB2Lab)


# Higra: hierarchies of the 4-adjacency graph weighted by Lab distance, cut to at most `count` regions


def _higra(hierarchy: Callable[[Any, Any, np.ndarray], tuple[Any, np.ndarray]]) -> Method:
    def method(image: np.ndarray, count: int) -> np.ndarray:
        import higra as hg

        graph = hg.get_4_adjacency_graph(image.shape[:2])
        lab = skimage.color.rgb2lab(image).reshape(-1, 3)
        weights = hg.weight_graph(graph, lab, hg.WeightFunction.L2)
        tree, altitudes = hierarchy(hg, graph, weights)
        explorer = hg.HorizontalCutExplorer(tree, altitudes)
        cut = explorer.horizontal_cut_from_num_regions(count, at_least=False)
        return np.asarray(cut.labelisation_leaves(tree)).reshape(image.shape[:2])

    return method


def _by_area(hg: Any, graph: Any, weights: np.ndarray) -> tuple[Any, np.ndarray]:
    return hg.watershed_hierarchy_by_area(graph, weights)


def _by_volume(hg: Any, graph: Any, weights: np.ndarray) -> tuple[Any, np.ndarray]:
    return hg.watershed_hierarchy_by_volume(graph, weights)


def _quasi_flat_zones(hg: Any, graph: Any, weights: np.ndarray) -> tuple[Any, np.ndarray]:
    return hg.quasi_flat_zone_hierarchy(graph, weights)


_CV, HIGRA = "opencv-contrib-python-headless", "higra"
_SEEDS = ((60, 4), (150, 4), (450, 4), (700, 4), (1100, 3), (2000, 2))
PEERS: dict[str, Peer] = {
    "scikit-image slic": Peer(slic),
    "scikit-image felzenszwalb": Peer(
        felzenszwalb, ((3, 8), (10, 20), (25, 35), (60, 60), (100, 100), (200, 200), (400, 500)), connect=True
    ),
    "scikit-image quickshift": Peer(quickshift, ((2, 5), (3, 7), (4, 11), (5, 18)), connect=True),
    "scikit-image watershed": Peer(watershed),
    "scikit-image compact watershed": Peer(compact_watershed),
    "scikit-image merge_hierarchical": Peer(merge_hierarchical, (2.0, 5.0, 10.0, 20.0)),
    "scikit-image cut_normalized": Peer(cut_normalized, (0.1, 0.5)),
    "OpenCV SLIC": Peer(_cv_slic("SLIC", True), package=_CV, connect=True),
    "OpenCV SLICO": Peer(_cv_slic("SLICO", True), package=_CV, connect=True),
    "OpenCV MSLIC": Peer(_cv_slic("MSLIC", True), (50, 450, 1100, 1700), package=_CV, connect=True),
    "OpenCV LSC": Peer(_cv_lsc(True), package=_CV, connect=True),
    "OpenCV LSC, as it comes": Peer(_cv_lsc(False), (120, 250, 450, 700, 1100), package=_CV),
    "OpenCV SEEDS": Peer(cv_seeds, _SEEDS, package=_CV, connect=True),
    "OpenCV SEEDS, as it comes": Peer(cv_seeds, _SEEDS, package=_CV),
    "OpenCV ScanSegment": Peer(cv_scan_segment, package=_CV, connect=True),
    "OpenCV ScanSegment, as it comes": Peer(cv_scan_segment, package=_CV),
    "Higra watershed by area": Peer(_higra(_by_area), package=HIGRA),
    "Higra watershed by volume": Peer(_higra(_by_volume), package=HIGRA),
    "Higra quasi-flat zones": Peer(_higra(_quasi_flat_zones), package=HIGRA),
}
