"""Deep spectral methods: find an object, or several regions, by the eigenvectors of a graph of all pairs of nodes.

Melas-Kyriazi et al., "Deep spectral methods: A surprisingly strong baseline for unsupervised semantic segmentation and
localization", CVPR 2022. A superpixel counts as one patch per pixel.
"""

import numpy as np
from jaxtyping import Float, Float64, Int64
from pydantic import BaseModel, NonNegativeFloat, PositiveInt

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.objects.node_graph import (
    EigenPairs,
    Foreground,
    NodeGraph,
    check_features,
    cosines,
    foreground,
    smallest_eigenpairs,
    soften,
)

_TINY = 1e-12


class DeepSpectralConfig(BaseModel, frozen=True, extra="forbid"):
    """Affinities between nodes; defaults are the original's."""

    color_weight: NonNegativeFloat = 0.0  # weight of the colour graph relative to the feature graph
    # neighbours of each node in the colour graph: their number, and the weight of position relative to colour
    neighbors: tuple[tuple[PositiveInt, NonNegativeFloat], ...] = ((20, 2.0), (10, 0.1))


def deep_spectral(
    features: Float[np.ndarray, "nodes channels"],
    graph: NodeGraph,
    config: DeepSpectralConfig | None = None,
    color: Float[np.ndarray, "nodes 5"] | None = None,
) -> Foreground:
    """Return where the first eigenvector is positive, in one or more components; for `color` see spectral_pairs.

    >>> from supercuts.objects.node_graph import grid_graph
    >>> features = np.array([[1.0, 0], [1, 0], [1, 0.1], [0, 1]])
    >>> deep_spectral(features, grid_graph(1, 4)).is_object.tolist()
    [False, False, False, True]
    """
    vector = spectral_pairs(features, graph, 1, config, color).vectors[:, 0]
    return foreground(vector > 0, vector, soften(vector, 0.0, graph.area), graph.area)


def spectral_pairs(
    features: Float[np.ndarray, "nodes channels"],
    graph: NodeGraph,
    n_vectors: int,
    config: DeepSpectralConfig | None = None,
    color: Float[np.ndarray, "nodes 5"] | None = None,
) -> EigenPairs:
    """Return the smallest eigenpairs without the constant one, each positive on at most half of the area.

    W = max(F F', 0) / maximum + color_weight * W_color, with rows of F of length 1. `color` holds the mean r g b y x of
    each node, all in 0..1; it is required only with a color_weight.
    """
    config = config or DeepSpectralConfig()
    check_features(features, graph)
    affinity = cosines(features).clip(0)
    affinity /= max(affinity.max(), _TINY)
    if config.color_weight:
        if color is None:
            raise InputError(f"color_weight={config.color_weight} needs color: give r g b y x of each node, in 0..1.")
        affinity += config.color_weight * color_affinity(color, config)
    values, vectors = smallest_eigenpairs(affinity, graph.area, n_vectors)
    share = (graph.area @ (vectors > 0)) / graph.area.sum()
    return EigenPairs(values, vectors * np.where((share > 0.5) & (share < 1), -1.0, 1.0))


def color_affinity(
    color: Float[np.ndarray, "nodes 5"], config: DeepSpectralConfig
) -> Float64[np.ndarray, "nodes nodes"]:
    """Return how often two nodes are neighbours in colour and weighted position, in either direction (KNN matting).

    Every node is its own first neighbour, as in the original.
    """
    from scipy.spatial import cKDTree  # slow to import

    n = len(color)
    counts = np.zeros((n, n))
    rows = np.arange(n)
    for n_neighbors, weight in config.neighbors:
        points = color.astype(np.float64) * [1, 1, 1, weight, weight]
        nearest = cKDTree(points).query(points, np.arange(1, min(n_neighbors, n) + 1))[1]
        counts[np.repeat(rows, nearest.shape[1]), nearest.ravel()] += 1
    return counts + counts.T


def spectral_regions(
    pairs: EigenPairs, graph: NodeGraph, n_regions: int | None = None, seed: int = 0
) -> Int64[np.ndarray, " nodes"]:
    """Return the region of each node by k-means on all eigenvectors, weighted by area; 0 is the background.

    The background holds most of the image border. If n_regions is None, the largest gap between eigenvalues, except the
    first gap, sets it. Fewer regions result if fewer nodes differ.
    """
    from sklearn.cluster import KMeans  # slow to import

    n = graph.n_nodes
    if n_regions is None:
        n_regions = _eigengap(pairs.values)
    check_in_range("n_regions", n_regions, 1, np.inf, remedy="Ask for at least one.")
    n_regions = min(n_regions, len(np.unique(pairs.vectors, axis=0)))
    clusters = KMeans(n_regions, n_init=4, random_state=seed).fit_predict(pairs.vectors, sample_weight=graph.area)
    background = int(np.bincount(clusters, graph.border, minlength=n_regions).argmax())
    # renumber by a table: swapping in place would mix up the two regions
    number = np.arange(n_regions)
    number[[background, 0]] = number[[0, background]]
    regions: np.ndarray = number[clusters].astype(np.int64).reshape(n)
    return regions


def _eigengap(values: np.ndarray) -> int:
    gaps = np.diff(np.concatenate([[0.0], values]))
    return int(gaps[1:].argmax()) + 2 if gaps.size > 1 else 2
