"""TokenCut: separate an object by the second eigenvector of a binary graph of all pairs.

Wang et al., "TokenCut: Segmenting objects in images and videos with self-supervised transformer and normalized cut",
PAMI 2023. On the patches of a grid, whose areas are 1, this is the published method; a superpixel counts as one patch
per pixel, both in the graph and in averages. MaskCut: Wang et al., "Cut and learn for unsupervised object detection and
instance segmentation", CVPR 2023.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from supercuts.core.checks import check_in_range
from supercuts.objects.node_graph import (
    Foreground,
    NodeGraph,
    check_features,
    cosines,
    first_largest,
    foreground,
    smallest_eigenpairs,
    soften,
)


class TokenCutConfig(BaseModel, frozen=True, extra="forbid"):
    """Affinities between nodes; defaults are the original's."""

    tau: float = 0.2  # cosine above which two nodes are similar
    eps: PositiveFloat = 1e-5  # affinity of dissimilar nodes, which keeps the graph connected
    binary: bool = True  # affinity of similar nodes is 1; if False, their cosine


def tokencut(
    features: Float[np.ndarray, "nodes channels"], graph: NodeGraph, config: TokenCutConfig | None = None
) -> Foreground:
    """Return the object found in a graph.

    >>> from supercuts.objects.node_graph import grid_graph
    >>> features = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    >>> tokencut(features, grid_graph(1, 4)).is_object.tolist()
    [False, False, False, True]
    """
    config = config or TokenCutConfig()
    check_features(features, graph)
    likeness = cosines(features)
    affinity = np.where(likeness > config.tau, 1.0 if config.binary else likeness.clip(0), config.eps)
    vector = smallest_eigenpairs(affinity, graph.area, 1).vectors[:, 0]
    threshold = float(np.average(vector, weights=graph.area))
    # the entry of largest magnitude is positive already; the original flips the vector for that
    seed = first_largest(vector)
    part = graph.component_of(vector > threshold, seed)
    return foreground(part, vector, soften(vector, threshold, graph.area), graph.area, seed)


class LostConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings for the expansion of the seed."""

    k: PositiveInt | None = 100  # number of nodes of lowest degree the seed may expand to; None: use `share`
    share: PositiveFloat = 0.15  # the same as a share of the area; 100 patches are about this share of a photograph


def lost(
    features: Float[np.ndarray, "nodes channels"], graph: NodeGraph, config: LostConfig | None = None
) -> Foreground:
    """Return the object found in a graph.

    The degree of a node is the area of the nodes with a positive product; the seed is the node of lowest degree. Of the
    k lowest nodes, those similar to the seed vote with their products, weighted by area; a positive sum is object.

    >>> from supercuts.objects.node_graph import grid_graph
    >>> features = np.array([[1.0, 0], [1, 0], [1, 0], [-1, 1]])
    >>> lost(features, grid_graph(1, 4)).is_object.tolist()
    [False, False, False, True]
    """
    config = config or LostConfig()
    check_features(features, graph)
    x = features.astype(np.float64)
    products = x @ x.T
    lowest_first = np.argsort((products > 0) @ graph.area, kind="stable")
    seed = int(lowest_first[0])
    if config.k is None:
        before = np.cumsum(graph.area[lowest_first]) - graph.area[lowest_first]
        expandable = lowest_first[before < config.share * graph.area.sum()]
    else:
        expandable = lowest_first[: config.k]
    similar = expandable[products[seed, expandable] > 0]
    votes: np.ndarray = graph.area[similar] @ products[similar]
    inside = votes > 0
    inside[seed] = True  # the seed votes for itself unless its features are all 0
    return foreground(graph.component_of(inside, seed), votes, soften(votes, 0.0, graph.area), graph.area, seed)


Find = Callable[[Float[np.ndarray, "nodes channels"], NodeGraph], Foreground]


class MaskCutConfig(BaseModel, frozen=True, extra="forbid"):
    """Limits for objects after the first."""

    least_area: float = Field(default=0.01, ge=0, le=1)  # minimum share of the image
    most_area: float = Field(default=0.5, gt=0, le=1)  # maximum share of the image
    most_border: float = Field(default=0.5, ge=0, le=1)  # maximum share of the image border; more is background


def maskcut(
    features: Float[np.ndarray, "nodes channels"],
    graph: NodeGraph,
    find: Find,
    n: int,
    config: MaskCutConfig | None = None,
) -> list[Foreground]:
    """Return 1 to `n` objects: the first is always accepted, later ones only within the limits of `config`.

    If n > 1, each object is its largest component. Nodes taken by earlier objects are 0 in `vector` and `soft`, and are
    ignored in the score.
    """
    check_in_range("n", n, 1, np.inf, remedy="Ask for at least one object.")
    config = config or MaskCutConfig()
    is_left = np.ones(graph.n_nodes, bool)
    objects: list[Foreground] = []
    while len(objects) < n and is_left.any():
        left = graph.subgraph(is_left)
        cut = find(features[is_left], left)
        if n > 1:
            cut = foreground(left.largest_component(cut.is_object), cut.vector, cut.soft, left.area)
        cut = _spread(cut, is_left)
        if objects and not _is_sensible(cut, graph, config):
            break
        objects.append(cut)
        is_left &= ~cut.is_object
    return objects


def _spread(cut: Foreground, is_left: np.ndarray) -> Foreground:
    """Return an object found on the remaining nodes as an object on all nodes."""
    n = is_left.size
    is_object, vector, soft = np.zeros(n, bool), np.zeros(n), np.zeros(n, np.float32)
    is_object[is_left], vector[is_left], soft[is_left] = cut.is_object, cut.vector, cut.soft
    return Foreground(is_object, vector, soft, int(np.flatnonzero(is_left)[cut.seed]), cut.score)


def _is_sensible(cut: Foreground, graph: NodeGraph, config: MaskCutConfig) -> bool:
    share = graph.area[cut.is_object].sum() / graph.area.sum()
    border = graph.border[cut.is_object].sum() / max(graph.border.sum(), 1)
    return bool(config.least_area <= share <= config.most_area and border <= config.most_border)
