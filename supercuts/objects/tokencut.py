"""TokenCut: an object is what the second eigenvector of a binary graph of all pairs sets apart.

In   node features (N, D), NodeGraph
Out  Foreground: the connected component that holds the strongest node
Not  no bilateral solver: snap.py fits the object to the tree

Wang et al., "TokenCut: Segmenting objects in images and videos with self-supervised transformer and normalized cut",
PAMI 2023. On the patches of a grid, whose areas are 1, this is the published method; superpixels count as
many patches as they have pixels, in the graph and in the mean.
"""

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, PositiveFloat

from supercuts.objects.eigen import smallest_eigenpairs
from supercuts.objects.foreground import Foreground, check_features, cosines, first_largest, foreground, soften
from supercuts.objects.graphs import NodeGraph


class TokenCutConfig(BaseModel, frozen=True, extra="forbid"):
    """How alike two nodes are joined; values are the original's."""

    tau: float = 0.2  # cosine above which two nodes are alike
    eps: PositiveFloat = 1e-5  # affinity of those that are not: the graph stays connected
    binary: bool = True  # affinity of nodes that are alike is 1; else their cosine


def tokencut(
    features: Float[np.ndarray, "nodes channels"], graph: NodeGraph, config: TokenCutConfig | None = None
) -> Foreground:
    """Return the object of a graph.

    >>> from supercuts.objects.graphs import grid_graph
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
