"""Several objects, by seeking one, taking it out of the graph and seeking again.

In   node features (N, D), NodeGraph, a method that finds one object
Out  the objects in the order they were found, disjoint
Not  no method of its own

After MaskCut: Wang et al., "Cut and learn for unsupervised object detection and instance segmentation", CVPR 2023. It
sets the affinities of found patches to nearly nothing and seeks among all; here found nodes leave the graph.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, Field

from supercuts.core.checks import check_in_range
from supercuts.objects.foreground import Foreground, foreground
from supercuts.objects.graphs import NodeGraph

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
