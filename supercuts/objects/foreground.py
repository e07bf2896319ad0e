"""What every method finds on a graph, and what they share: features, likeness, softness.

In   node features (N, D), values per node
Out  Foreground
Not  no method, no pixels
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from supercuts.core.errors import InputError
from supercuts.objects.graphs import NodeGraph

MOST_NODES = 10_000  # a matrix of all pairs takes 0.8 GB
_TINY = 1e-12
_STEEPNESS = 2.0  # of the logistic curve, per standard deviation
_TIE = 1e-9  # values closer than this, relative to the largest, are equal: rounding must not choose between them


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """One object on a graph of N nodes.

    is_object  (N,) bool      never empty
    vector     (N,) float64   the method's own measure, higher on the object
    soft       (N,) float32   0..1: how surely a node is object; at least 0.5 inside and at most 0.5 outside
    seed       int            the node the object grew from, or its surest one
    score      float          how far the object stands out, 0..1: mean softness inside less that outside, by area
    """

    is_object: Bool[np.ndarray, " nodes"]
    vector: Float64[np.ndarray, " nodes"]
    soft: Float32[np.ndarray, " nodes"]
    seed: int
    score: float


def foreground(
    is_object: Bool[np.ndarray, " nodes"],
    vector: Float64[np.ndarray, " nodes"],
    soft: Float[np.ndarray, " nodes"],
    area: Int64[np.ndarray, " nodes"],
    seed: int | None = None,
) -> Foreground:
    """Return the object that was found; the whole image, of score 0, if nothing was.

    Softness on the wrong side of 0.5 becomes neutral, 0.5: that of another component, which the method left out. The
    seed is where the vector is highest inside, unless given.
    """
    if not is_object.any():
        is_object = np.ones_like(is_object)
    if seed is None:
        seed = first_largest(np.where(is_object, vector - vector.min(), 0))
    soft = np.where(is_object, np.maximum(soft, 0.5), np.minimum(soft, 0.5)).astype(np.float32)
    score = 0.0
    if not is_object.all():
        inside, outside = (float(np.average(soft[part], weights=area[part])) for part in (is_object, ~is_object))
        score = inside - outside
    return Foreground(is_object, vector, soft, seed, score)


def check_features(features: Float[np.ndarray, "nodes channels"], graph: NodeGraph) -> None:
    """Refuse features that do not fit the graph or are not finite, and graphs too large for a matrix of all pairs."""
    if graph.n_nodes > MOST_NODES:
        raise InputError(
            f"{graph.n_nodes} nodes are too many: methods join all pairs of at most {MOST_NODES}. Segment with fewer "
            "superpixels, or take features of fewer patches."
        )
    if len(features) != graph.n_nodes:
        raise InputError(f"{len(features)} rows of features do not fit {graph.n_nodes} nodes: give one row for each.")
    if features.shape[1] == 0:
        raise InputError("features have no channels: pool deep features (objects.features), or use a trained model.")
    if not np.isfinite(features).all():
        raise InputError(f"{(~np.isfinite(features)).sum()} of {features.size} features are not finite.")


def cosines(features: Float[np.ndarray, "nodes channels"]) -> Float64[np.ndarray, "nodes nodes"]:
    """Return the cosine of the angle between the features of each two nodes; 0 where there is none."""
    x = features.astype(np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), _TINY)
    return x @ x.T


def soften(
    vector: Float64[np.ndarray, " nodes"], threshold: float, area: Int64[np.ndarray, " nodes"]
) -> Float64[np.ndarray, " nodes"]:
    """Return 1 / (1 + exp(-2 (v - threshold) / s)) with s the spread around the threshold; 0.5 without any."""
    spread = float(np.sqrt(np.average((vector - threshold) ** 2, weights=area)))
    soft: np.ndarray = 1 / (1 + np.exp(-_STEEPNESS * (vector - threshold) / max(spread, _TINY)))
    return soft


def first_largest(values: Float64[np.ndarray, " nodes"]) -> int:
    """Return the first node of the largest value, >= 0; values equal but for rounding are ties."""
    return int((values >= values.max() * (1 - _TIE)).argmax())
