"""TokenCut: separate an object by the second eigenvector of a binary graph of all pairs.

Wang et al., "TokenCut: Segmenting objects in images and videos with self-supervised transformer and normalized cut",
PAMI 2023. On the patches of a grid, whose areas are 1, this is the published method; superpixels count as
many patches as they have pixels, in the graph and in the mean. MaskCut: Wang et al., "Cut and learn for unsupervised
object detection and instance segmentation", CVPR 2023.
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
    """How alike two nodes are joined; values are the original's."""

    tau: float = 0.2  # cosine above which two nodes are alike
    eps: PositiveFloat = 1e-5  # affinity of those that are not: the graph stays connected
    binary: bool = True  # affinity of nodes that are alike is 1; else their cosine


def tokencut(
    features: Float[np.ndarray, "nodes channels"], graph: NodeGraph, config: TokenCutConfig | None = None
) -> Foreground:
    """Return the object of a graph.

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
    # eigenpairs come with their entry of largest size positive: the original turns them round for that
    seed = first_largest(vector)
    part = graph.component_of(vector > threshold, seed)
    return foreground(part, vector, soften(vector, threshold, graph.area), graph.area, seed)


class LostConfig(BaseModel, frozen=True, extra="forbid"):
    """How far the seed expands."""

    k: PositiveInt | None = 100  # nodes of lowest degree the seed may expand to; None: by `share`
    share: PositiveFloat = 0.15  # of the area, for superpixels: 100 patches are about that of a photograph


def lost(
    features: Float[np.ndarray, "nodes channels"], graph: NodeGraph, config: LostConfig | None = None
) -> Foreground:
    """Return the object of a graph.

    The seed is the node of lowest degree, the area of the nodes with a positive product; those of the k lowest that are
    like the seed vote with their products, each by its area, and a positive sum is object.

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
    inside[seed] = True  # it votes for itself; only features of zeros do not
    return foreground(graph.component_of(inside, seed), votes, soften(votes, 0.0, graph.area), graph.area, seed)


Find = Callable[[Float[np.ndarray, "nodes channels"], NodeGraph], Foreground]


class MaskCutConfig(BaseModel, frozen=True, extra="forbid"):
    """When a further object is none."""

    least_area: float = Field(default=0.01, ge=0, le=1)  # of the image
    most_area: float = Field(default=0.5, gt=0, le=1)  # of the image
    most_border: float = Field(default=0.5, ge=0, le=1)  # of the image border: more is background


def maskcut(
    features: Float[np.ndarray, "nodes channels"],
    graph: NodeGraph,
    find: Find,
    n: int,
    config: MaskCutConfig | None = None,
) -> list[Foreground]:
    """Return at most `n` objects, at least one: the first is taken as it is, further ones only if they are sensible.

    Of several, each is its largest component. Nodes that were taken before are 0 in `vector` and `soft`, and do not
    count in the score.
    """
    check_in_range("n", n, 1, np.inf, remedy="Ask for at least one object.")
    config = config or MaskCutConfig()
    is_left = np.ones(graph.n_nodes, bool)
    found: list[Foreground] = []
    while len(found) < n and is_left.any():
        left = graph.subgraph(is_left)
        one = find(features[is_left], left)
        if n > 1:
            one = foreground(left.largest_component(one.is_object), one.vector, one.soft, left.area)
        one = _spread(one, is_left)
        if found and not _is_sensible(one, graph, config):
            break
        found.append(one)
        is_left &= ~one.is_object
    return found


def _spread(one: Foreground, is_left: np.ndarray) -> Foreground:
    """Return what was found among the nodes left, on all nodes."""
    n = is_left.size
    is_object, vector, soft = np.zeros(n, bool), np.zeros(n), np.zeros(n, np.float32)
    is_object[is_left], vector[is_left], soft[is_left] = one.is_object, one.vector, one.soft
    return Foreground(is_object, vector, soft, int(np.flatnonzero(is_left)[one.seed]), one.score)


def _is_sensible(one: Foreground, graph: NodeGraph, config: MaskCutConfig) -> bool:
    share = graph.area[one.is_object].sum() / graph.area.sum()
    border = graph.border[one.is_object].sum() / max(graph.border.sum(), 1)
    return bool(config.least_area <= share <= config.most_area and border <= config.most_border)
