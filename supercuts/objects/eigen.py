"""The eigenvectors that normalised cuts of a dense affinity start from.

In   affinities (N, N) between all nodes, their areas
Out  EigenPairs: the smallest of the generalised problem, without the constant one
Not  no affinities of features, no partitions; sparse graphs are in merging/spectral.py
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from jaxtyping import Float64, Int64
from scipy.sparse.linalg import ArpackNoConvergence

from supercuts.core.checks import check_in_range

_DENSE = 400  # nodes up to which a dense solver is quicker
_LEAST_DEGREE = 1e-12  # below it a node is alone
_NO_STRUCTURE = 1e-9
_TIE = 1e-6


class EigenPairs(NamedTuple):
    """Eigenpairs of (D - W) v = mu D v, ascending, without the constant vector.

    values   (K,) float64    0..2; 0 again for each further part of a graph that falls apart
    vectors  (N, K) float64  v' D v = 1 for areas of mean 1, the entry of largest size positive; 0 where a graph has
                             fewer, or no structure
    """

    values: np.ndarray
    vectors: np.ndarray


def smallest_eigenpairs(
    affinity: Float64[np.ndarray, "nodes nodes"], area: Int64[np.ndarray, " nodes"], n_vectors: int
) -> EigenPairs:
    """Return `n_vectors` pairs for W = a_i a_j affinity_ij, D its row sums (Shi & Malik, PAMI 2000, equation 6).

    Areas count as if every node were that many equal ones, so a superpixel weighs what its pixels would; equal areas
    give the problem as published. Affinities are symmetric and not negative.

    Rows that sum to less than 1e-12 get D = 1: such a node belongs to nothing. Memory and time grow with N^2.
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
        largest, found = _largest(matrix, n_found)
        values[:n_found], vectors[:, :n_found] = (1 - largest).clip(0, 2), found / root[:, None]
    return EigenPairs(values, vectors * _signs(vectors))


def _largest(matrix: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k largest eigenvalues of a symmetric matrix, descending, and unit eigenvectors (N, k)."""
    n = len(matrix)
    if n > _DENSE and 4 * k < n:
        try:
            # a start of our own: scipy's is random
            values, vectors = scipy.sparse.linalg.eigsh(matrix, k, which="LA", v0=np.cos(np.arange(n)))
            order = np.argsort(-values)
            return values[order], vectors[:, order]
        except ArpackNoConvergence:
            pass
    values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[n - k, n - 1])
    return values[::-1], vectors[:, ::-1]


def _signs(vectors: np.ndarray) -> np.ndarray:
    """Return +1 or -1 for each column; rounding must not choose between entries of equal size and opposite signs."""
    size = abs(vectors)
    chosen = (size >= (1 - _TIE) * size.max(0)).argmax(0)
    return np.where(vectors[chosen, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
