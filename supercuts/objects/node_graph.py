"""Shared parts of graph-based object discovery: nodes, similarities, eigenvectors, the foreground."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64
from scipy.sparse.linalg import ArpackNoConvergence

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.graph.rag import sum_borders
from supercuts.hierarchy.regions import image_area
from supercuts.networks.maps import color_maps


@dataclass(frozen=True, slots=True, eq=False)
class NodeGraph:
    """Nodes, their adjacency and their weights.

    edges   (E, 2) int32  ids i < j of adjacent nodes
    area    (N,) int64    number of pixels; 1 for every patch, as in the published methods
    border  (N,) int64    number of pixels, or patches, on the outermost rows and columns of the image
    """

    edges: Int32[np.ndarray, "edges 2"]
    area: Int64[np.ndarray, " nodes"]
    border: Int64[np.ndarray, " nodes"]

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.area.size)

    def subgraph(self, is_kept: Bool[np.ndarray, " nodes"]) -> "NodeGraph":
        """Return the graph of the kept nodes, renumbered in their order."""
        number = np.cumsum(is_kept, dtype=np.int32) - 1
        edges = self.edges[is_kept[self.edges].all(1)]
        return NodeGraph(number[edges].astype(np.int32), self.area[is_kept], self.border[is_kept])

    def components(self, is_inside: Bool[np.ndarray, " nodes"]) -> Int64[np.ndarray, " nodes"]:
        """Return the connected component of each node inside, 1.. in order of first node; 0 outside."""
        inner = self.edges[is_inside[self.edges].all(1)]
        n = self.n_nodes
        matrix = scipy.sparse.coo_array((np.ones(len(inner), np.int8), (inner[:, 0], inner[:, 1])), shape=(n, n))
        components = scipy.sparse.csgraph.connected_components(matrix, directed=False)[1]
        numbers = np.zeros(n, np.int64)
        _, first, inverse = np.unique(components[is_inside], return_index=True, return_inverse=True)
        numbers[is_inside] = np.argsort(np.argsort(first))[inverse] + 1
        return numbers

    def component_of(self, is_inside: Bool[np.ndarray, " nodes"], seed: int) -> Bool[np.ndarray, " nodes"]:
        """Return the connected component of the nodes inside that holds `seed`; empty if the seed lies outside."""
        numbers = self.components(is_inside)
        return np.asarray(is_inside & (numbers == numbers[seed]))

    def largest_component(self, is_inside: Bool[np.ndarray, " nodes"]) -> Bool[np.ndarray, " nodes"]:
        """Return the connected component of largest area; ties go to the first. It is empty if nothing is inside."""
        numbers = self.components(is_inside)
        areas = np.bincount(numbers, np.where(is_inside, self.area, 0))
        return np.asarray(is_inside & (numbers == areas.argmax()))


def grid_graph(rows: int, columns: int) -> NodeGraph:
    """Return the graph of a grid of patches in row-major order, each adjacent to its four neighbours.

    >>> grid_graph(2, 2).edges.tolist()
    [[0, 1], [0, 2], [1, 3], [2, 3]]
    """
    check_in_range("rows", rows, 1, np.inf, remedy="A grid has at least one patch.")
    check_in_range("columns", columns, 1, np.inf, remedy="A grid has at least one patch.")
    return label_graph(np.arange(rows * columns, dtype=np.int32).reshape(rows, columns))


def label_graph(labels: Int32[np.ndarray, "height width"]) -> NodeGraph:
    """Return the graph of the superpixels 0..N-1 of a label map; diagonal contact does not make an edge.

    Raise InputError if a superpixel is missing. Masked pixels, of label -1, belong to no node. The image's border runs
    along the masked outside, not along holes.
    """
    if labels.size == 0 or labels.min() < -1 or labels.max() < 0:
        raise InputError(f"labels of shape {labels.shape} must hold ids 0..N-1 on at least one pixel, -1 on others.")
    n = int(labels.max()) + 1
    is_valid = labels >= 0
    area = np.bincount(labels[is_valid], minlength=n)
    if not area.all():
        raise InputError(f"label {int(area.argmin())} has no pixel; ids must be 0..{n - 1}: use relabel_consecutive.")
    edges, _ = label_borders(labels, n)
    padded = np.pad(image_area(labels), 1)
    is_inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return NodeGraph(
        edges=edges[np.lexsort(edges.T[::-1])].astype(np.int32),
        area=area.astype(np.int64),
        border=np.bincount(labels[is_valid & ~is_inner], minlength=n).astype(np.int64),
    )


def label_borders(
    labels: Int32[np.ndarray, "height width"], n: int
) -> tuple[Int64[np.ndarray, "edges 2"], Int64[np.ndarray, " edges"]]:
    """Return the pairs i < j of the labels 0..n-1 that share a border, and the border lengths in pixel pairs."""
    no_bands = np.zeros((*labels.shape, 0), np.uint8)
    keys, sums, _ = sum_borders(labels, color_maps(no_bands, valid=labels >= 0), n, is_connected=False)
    return np.stack([keys // n, keys % n], axis=1), sums[:, 0].astype(np.int64)


MOST_NODES = 10_000  # a matrix of all pairs takes 0.8 GB
_TINY = 1e-12
_STEEPNESS = 2.0  # steepness of the logistic curve, per standard deviation
_TIE = 1e-9  # relative difference below which values are ties, so that rounding does not choose between them


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """One object on a graph of N nodes.

    is_object  (N,) bool      never empty
    vector     (N,) float64   the method's own measure, higher on the object
    soft       (N,) float32   confidence that a node is object, 0..1; at least 0.5 inside and at most 0.5 outside
    seed       int            node that the object grew from, or its node of highest `vector`
    score      float          contrast of the object, 0..1: area-weighted mean of `soft` inside minus that outside
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
    """Return the object; if `is_object` is empty, return the whole image with score 0.

    Softness on the wrong side of 0.5, as in another component that the method left out, becomes 0.5. If seed is None,
    it is the node inside with the highest `vector`.
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
    """Raise InputError if features do not fit the graph or are not finite, or if the graph is too large."""
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
    """Return the cosine of the angle between the features of each pair of nodes; 0 for features of length 0."""
    x = features.astype(np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), _TINY)
    return x @ x.T


def soften(
    vector: Float64[np.ndarray, " nodes"], threshold: float, area: Int64[np.ndarray, " nodes"]
) -> Float64[np.ndarray, " nodes"]:
    """Return 1 / (1 + exp(-2 (v - threshold) / s)) with s the spread around the threshold; 0.5 if s is 0."""
    spread = float(np.sqrt(np.average((vector - threshold) ** 2, weights=area)))
    soft: np.ndarray = 1 / (1 + np.exp(-_STEEPNESS * (vector - threshold) / max(spread, _TINY)))
    return soft


def first_largest(values: Float64[np.ndarray, " nodes"]) -> int:
    """Return the first node of the largest value, which is >= 0; values that differ only by rounding are ties."""
    return int((values >= values.max() * (1 - _TIE)).argmax())


_DENSE = 400  # number of nodes up to which a dense solver is faster
_LEAST_DEGREE = 1e-12  # degree below which a node is isolated
_NO_STRUCTURE = 1e-9
_EIGENVALUE_TIE = 1e-6


class EigenPairs(NamedTuple):
    """Eigenpairs of (D - W) v = mu D v, ascending, without the constant vector.

    values   (K,) float64    0..2; one more 0 for each further component of a disconnected graph
    vectors  (N, K) float64  v' D v = 1 for areas of mean 1, the entry of largest magnitude positive; columns are 0 if
                             the graph has fewer eigenvectors, or no structure
    """

    values: np.ndarray
    vectors: np.ndarray


def smallest_eigenpairs(
    affinity: Float64[np.ndarray, "nodes nodes"], area: Int64[np.ndarray, " nodes"], n_vectors: int
) -> EigenPairs:
    """Return `n_vectors` pairs for W = a_i a_j affinity_ij, D its row sums (Shi & Malik, PAMI 2000, equation 6).

    A node of area a counts as a equal nodes, so a superpixel weighs as much as its pixels; equal areas give the
    published problem. Affinities are symmetric and non-negative.

    Isolated nodes, whose rows sum to less than 1e-12, get D = 1. Memory and time grow with N^2.
    """
    check_in_range("n_vectors", n_vectors, 1, np.inf, remedy="Ask for at least one.")
    n = len(area)
    weight = area / area.mean()
    matrix = affinity * weight[:, None] * weight
    degree = matrix.sum(1)
    is_alone = degree < _LEAST_DEGREE
    root = np.sqrt(np.where(is_alone, 1.0, degree))
    matrix /= root[:, None]
    matrix /= root
    constant = np.where(is_alone, 0.0, root)
    constant /= max(float(np.linalg.norm(constant)), _LEAST_DEGREE)
    matrix -= np.outer(constant, constant)
    values, vectors = np.ones(n_vectors), np.zeros((n, n_vectors))
    n_found = min(n_vectors, n - 1)
    if n_found and abs(matrix).max() > _NO_STRUCTURE:
        matrix -= 2 * np.outer(constant, constant)  # the constant vector's eigenvalue is now the lowest, -2
        largest, vectors_found = _largest(matrix, n_found)
        values[:n_found], vectors[:, :n_found] = (1 - largest).clip(0, 2), vectors_found / root[:, None]
    return EigenPairs(values, vectors * _signs(vectors))


def _largest(matrix: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k largest eigenvalues of a symmetric matrix, descending, and unit eigenvectors (N, k)."""
    n = len(matrix)
    if n > _DENSE and 4 * k < n:
        try:
            # fixed start vector, because scipy's is random
            values, vectors = scipy.sparse.linalg.eigsh(matrix, k, which="LA", v0=np.cos(np.arange(n)))
            order = np.argsort(-values)
            return values[order], vectors[:, order]
        except ArpackNoConvergence:
            pass
    values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[n - k, n - 1])
    return values[::-1], vectors[:, ::-1]


def _signs(vectors: np.ndarray) -> np.ndarray:
    """Return +1 or -1 for each column; ties go to the first entry, so that rounding does not choose the sign."""
    size = abs(vectors)
    chosen = (size >= (1 - _EIGENVALUE_TIE) * size.max(0)).argmax(0)
    return np.where(vectors[chosen, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
