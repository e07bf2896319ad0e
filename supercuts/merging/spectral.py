"""Spectral merging: eigenvectors of the region adjacency graph's normalised Laplacian.

In   RegionGraph and the probability that each edge separates
Out  a spectral embedding of the nodes; distances of neighbours in it; k-way clusters; MergeTree
Not  no learned probabilities (affinity.py), no pixels

Shi & Malik, "Normalized cuts and image segmentation", PAMI 2000. The hierarchy applies the globalisation of Arbelaez et
al., "Contour detection and hierarchical image segmentation", PAMI 2011, section 3.3, to regions instead of pixels: the
weight of a border is the change of the eigenvectors across it, each divided by the root of its eigenvalue.

Results repeat on every machine: signs, bases of equal eigenvalues, and the order of components, all of which a solver
leaves open, are fixed. Components of the graph are solved one by one.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError
from supercuts.graph.rag import RegionGraph, leaf_graph
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging.agglomerative import MergeTree, merge_tree

if TYPE_CHECKING:
    from scipy.sparse import csr_array
else:
    csr_array = Any  # importing scipy.sparse would change the warning filters

_DENSE = 200  # nodes; up to this size a dense solver is faster than a sparse one
_SHIFT = -1e-3  # just below the smallest eigenvalue, 0, so that the shifted matrix can be factorised
_LEAST_GAP = 1e-3  # eigenvalues below this count as zero
_EQUAL = 1e-8  # eigenvalues closer than this count as equal
_LEAST_WEIGHT = 1e-6  # lowest weight per border pixel pair, so that both sides of any edge stay connected


class SpectralConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings that turn probabilities into edge weights, and eigenvectors into a tree."""

    sigma: PositiveFloat = 0.05  # weight of an edge = border length * exp(-probability / sigma)
    eigenvectors: PositiveInt = 16  # number, without the constant one
    share: float = Field(default=0.6, ge=0, le=1)  # share of the spectral distance; the rest is the edge's probability
    # dissimilarities of small regions are lowered, as in AffinityConfig
    small_exponent: NonNegativeFloat = 0.3
    small_area: NonNegativeFloat = 0.002


class SpectralEmbedding(NamedTuple):
    """Smallest eigenpairs of I - D^-1/2 W D^-1/2, without the constant one.

    values   (K,) float64    ascending, 0..2; one more 0 for each further component of the graph
    vectors  (N, K) float64  D^-1/2 times the eigenvectors (those of Shi & Malik's generalised problem), scaled to a
                             largest entry of 1
    """

    values: np.ndarray
    vectors: np.ndarray


def edge_weights(
    graph: RegionGraph, probability: Float[np.ndarray, " edges"], sigma: float
) -> Float64[np.ndarray, " edges"]:
    """Return the weight of each edge, higher for longer borders and lower probabilities of separation."""
    if probability.shape != (graph.n_edges,) or not ((probability >= 0) & (probability <= 1)).all():
        raise InputError(
            f"probabilities of shape {probability.shape} must be {graph.n_edges} numbers in 0..1, one for each edge."
        )
    likeness = np.exp(-probability.astype(np.float64) / sigma)
    weights: np.ndarray = graph.border_length * np.maximum(likeness, _LEAST_WEIGHT)
    return weights


def spectral_embedding(
    edges: Int32[np.ndarray, "edges 2"], weights: Float[np.ndarray, " edges"], n_nodes: int, n_vectors: int
) -> SpectralEmbedding:
    """Return at most `n_vectors` eigenpairs (a graph of N nodes has N - 1) of a graph with positive weights.

    The graph may have several components. Above 200 nodes the solver is sparse (shift-invert Lanczos, scipy's eigsh),
    so memory grows only with the number of edges.
    """
    check_in_range("n_vectors", n_vectors, 1, np.inf, remedy="Ask for at least one.")
    if weights.shape != (len(edges),) or not np.isfinite(weights).all() or (weights <= 0).any():
        raise InputError(
            f"weights of shape {weights.shape} must be {len(edges)} finite numbers > 0, one for each edge."
        )
    import scipy.sparse.csgraph

    ends = (edges[:, 0], edges[:, 1])
    one_way = scipy.sparse.coo_array((weights.astype(np.float64), ends), shape=(n_nodes, n_nodes))
    matrix = (one_way + one_way.T).tocsr()
    n_parts, part = scipy.sparse.csgraph.connected_components(matrix, directed=False)
    values, vectors = [], []
    for i in range(n_parts):
        nodes = np.flatnonzero(part == i)
        part_vectors, of_part = _solve(matrix[nodes][:, nodes], n_vectors + 1)
        values.append(part_vectors)
        vectors.append(np.zeros((n_nodes, len(part_vectors))))
        vectors[-1][nodes] = of_part
    all_values, all_vectors = np.concatenate(values), np.concatenate(vectors, axis=1)
    order = np.argsort(all_values, kind="stable")[1 : n_vectors + 1]
    return SpectralEmbedding(all_values[order], all_vectors[:, order])


def spectral_distance(
    edges: Int32[np.ndarray, "edges 2"], embedding: SpectralEmbedding
) -> Float64[np.ndarray, " edges"]:
    """Return the change of the eigenvectors across each edge, relative to the largest change: 0..1."""
    change = abs(embedding.vectors[edges[:, 0]] - embedding.vectors[edges[:, 1]])
    total = (change / np.sqrt(np.maximum(embedding.values, _EQUAL))).sum(1)
    highest: np.ndarray = total / max(total.max(initial=0), np.finfo(np.float64).tiny)
    return highest


def merge_spectral(
    graph: RegionGraph, probability: Float[np.ndarray, " edges"], config: SpectralConfig | None = None
) -> MergeTree:
    """Merge by average linkage over a weighted mean of each edge's probability and spectral distance."""
    config = config or SpectralConfig()
    weights = edge_weights(graph, probability, config.sigma)
    embedding = spectral_embedding(graph.edges, weights, graph.n_nodes, config.eigenvectors)
    mixed = (1 - config.share) * probability + config.share * spectral_distance(graph.edges, embedding)
    small_area_px = config.small_area * float(graph.area.sum())
    return merge_tree(graph, mixed, small_area_px=small_area_px, small_exponent=config.small_exponent)


def spectral_clusters(
    hierarchy: Hierarchy,
    n_regions: int | None = None,
    *,
    method: str = "kmeans",
    config: SpectralConfig | None = None,
    seed: int = 0,
) -> Int32[np.ndarray, "height width"]:
    """Partition the superpixels of a hierarchy by k-way normalised cuts of their region adjacency graph.

    A cut of the tree decides on each border separately; spectral clustering weighs all borders of the graph together.
    The weight between two neighbours falls with the altitude at which the tree joins them.

    Parameters
    ----------
    hierarchy
        Hierarchy whose altitudes are probabilities in 0..1, such as those from `Model.segment`.
    n_regions
        Number of clusters, 1 to the number of superpixels. If None, the largest gap between eigenvalues decides [1]_.
    method
        "kmeans" clusters the first `n_regions` eigenvectors; "discretize" rotates them towards indicators [2]_.
    config
        `sigma` and, if `n_regions` is None, `eigenvectors` are used.
    seed
        Seed of k-means.

    Returns
    -------
    int32 (H, W)
        Clusters 0..K-1 in scan order, -1 on masked pixels. Clusters need not be connected.

    Raises
    ------
    InputError
        If `n_regions` or `method` is out of range.

    References
    ----------
    .. [1] Shi & Malik, "Normalized cuts and image segmentation", PAMI 2000.
    .. [2] Yu & Shi, "Multiclass spectral clustering", ICCV 2003.

    Examples
    --------
    Four superpixels in a row, of which the tree joins the first two and the last two early:

    >>> labels, parents = np.array([[0, 1, 2, 3]], np.int32), np.array([4, 4, 5, 5, 6, 6, 6], np.int32)
    >>> altitudes = np.array([0, 0, 0, 0, 0.1, 0.1, 0.9], np.float32)
    >>> spectral_clusters(Hierarchy(labels, parents, altitudes, np.zeros((4, 0), np.float32)), 2).tolist()
    [[0, 0, 1, 1]]
    """
    check_choice("method", method, ("kmeans", "discretize"))
    graph = leaf_graph(hierarchy._labels, hierarchy.ucm(), hierarchy._embeddings)
    clusters = _clusters(graph, graph.boundary, n_regions, method, config or SpectralConfig(), seed)
    labels = np.where(hierarchy._labels >= 0, clusters[hierarchy._labels], -1)
    return labels.astype(np.int32)


def _clusters(
    graph: RegionGraph,
    probability: Float[np.ndarray, " edges"],
    n_regions: int | None,
    method: str,
    config: SpectralConfig,
    seed: int,
) -> Int64[np.ndarray, " nodes"]:
    """Return the cluster 0..k-1 of each node, numbered by first node."""
    from sklearn.cluster import KMeans  # slow to import

    n = graph.n_nodes
    if n_regions is not None:
        check_in_range("n_regions", n_regions, 1, n, remedy="Each cluster has at least one superpixel.")
    if n_regions == 1 or n == 1:
        return np.zeros(n, np.int64)
    weights = edge_weights(graph, probability, config.sigma)
    n_vectors = config.eigenvectors if n_regions is None else n_regions
    values, vectors = spectral_embedding(graph.edges, weights, n, min(n_vectors, n - 1))
    k = _eigengap(values) if n_regions is None else n_regions
    columns = np.concatenate([np.ones((n, 1)), vectors[:, : k - 1]], axis=1)
    rows = columns / np.linalg.norm(columns, axis=1, keepdims=True)
    if method == "kmeans":
        clusters = KMeans(k, n_init=4, random_state=seed).fit_predict(rows, sample_weight=graph.area.astype(np.float64))
    else:
        clusters = _discretize(rows)
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int64)[inverse]


def _eigengap(values: Float[np.ndarray, " vectors"]) -> int:
    """Return the number of clusters, at least 2, by the largest gap between logarithms of eigenvalues (0, values...).

    Logarithms are used because the spectrum inside each cluster of a planar graph has gaps too, but its eigenvalues do
    not differ by orders of magnitude.

    >>> _eigengap(np.array([0.01, 0.02, 0.5, 0.9]))
    3
    """
    return int(np.argmax(np.diff(np.log(values + _LEAST_GAP)))) + 2 if values.size > 1 else 2


def _discretize(rows: Float64[np.ndarray, "nodes vectors"]) -> Int64[np.ndarray, " nodes"]:
    """Return the clusters from the rotation that brings unit rows (N, K) closest to indicators (Yu & Shi, 2003)."""
    # start from rows that are as orthogonal as possible
    rotation = np.zeros((rows.shape[1], rows.shape[1]))
    nearness = np.zeros(len(rows))
    chosen = 0
    for k in range(rows.shape[1]):
        rotation[:, k] = rows[chosen]
        nearness += abs(rows @ rotation[:, k])
        chosen = int(nearness.argmin())
    before, parts = 0.0, np.zeros(len(rows), np.int64)
    for _ in range(100):
        parts = (rows @ rotation).argmax(1).astype(np.int64)
        left, sizes, right = np.linalg.svd(np.eye(rows.shape[1])[parts].T @ rows)
        if abs(sizes.sum() - before) < 1e-9:
            break
        before = sizes.sum()
        rotation = (left @ right).T
    return parts


def _solve(matrix: csr_array, n_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n_pairs (at most) smallest eigenpairs of a connected graph, ascending, the constant one first."""
    import scipy.sparse.linalg

    n = matrix.shape[0]
    if n == 1:
        return np.zeros(1), np.ones((1, 1))
    n_pairs = min(n_pairs, n)
    root = np.sqrt(np.asarray(matrix.sum(axis=1)).ravel())
    scaled = scipy.sparse.diags_array(1 / root)
    laplacian = scipy.sparse.eye_array(n) - scaled @ matrix @ scaled
    if n <= _DENSE or n_pairs >= n - 1:
        values, vectors = scipy.linalg.eigh(laplacian.toarray(), subset_by_index=[0, n_pairs - 1])
    else:
        # a fixed start vector, because scipy's default is random
        start = np.cos(np.arange(n))
        values, vectors = scipy.sparse.linalg.eigsh(laplacian.tocsc(), n_pairs, sigma=_SHIFT, v0=start)
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
    vectors = _fix_basis(values, vectors) / root[:, None]
    size = abs(vectors)
    # scale by the first of the nearly largest entries, so that rounding cannot choose between opposite signs
    largest = vectors[(size >= (1 - 1e-6) * size.max(0)).argmax(0), np.arange(n_pairs)]
    return values.clip(0, 2), vectors / largest


def _fix_basis(values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Replace the vectors of equal eigenvalues by a basis that depends only on the space that they span."""
    import scipy.linalg

    fixed = vectors.copy()
    starts = np.flatnonzero(np.diff(values, prepend=-1.0) > _EQUAL)
    for low, high in zip(starts, [*starts[1:], values.size], strict=True):
        if high - low > 1:
            space = vectors[:, low:high]
            # columns of the projector space @ space.T; the choice of columns depends only on the projector
            pivots = scipy.linalg.qr(space.T, mode="r", pivoting=True)[1][: high - low]
            fixed[:, low:high] = np.linalg.qr(space @ space[np.sort(pivots)].T)[0]
    return fixed
