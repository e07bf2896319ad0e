"""LOST: an object grows from the node that is like the fewest others.

In   node features (N, D), not normalised, NodeGraph
Out  Foreground: the connected component that holds the seed
Not  no eigenvectors

Simeoni et al., "Localizing objects with self-supervised transformers and no labels", BMVC 2021.
"""

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, PositiveFloat, PositiveInt

from supercuts.objects.foreground import Foreground, check_features, foreground, soften
from supercuts.objects.graphs import NodeGraph


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

    >>> from supercuts.objects.graphs import grid_graph
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
