"""Write the tree as a linkage matrix of scipy.

In   a hierarchy, a path ending in .npy
Out  (N - 1, 4) float64, as scipy.cluster.hierarchy.linkage returns it: leaves are the superpixels
Not  no drawing: scipy's dendrogram does that
"""

import io
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.tree import Hierarchy


def write(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the matrix as a .npy file."""
    check_choice("suffix of a linkage matrix", Path(path).suffix.lower(), (".npy",))
    matrix = to_linkage(hierarchy)
    with atomic_path(path) as temporary:
        buffer = io.BytesIO()  # numpy itself counts the bytes that a full disk does not take, but does not say why
        np.save(buffer, matrix, allow_pickle=False)
        temporary.write_bytes(buffer.getbuffer())


def to_linkage(hierarchy: Hierarchy) -> Float64[np.ndarray, "merges 4"]:
    """Return the matrix: fcluster(matrix, a, "distance") groups superpixels as cut(altitude=a) does.

    Rows rise, equals by node id. A node of more than two children becomes several merges at its altitude.

    >>> h = Hierarchy(
    ...     labels=np.array([[0, 1, 2]], dtype=np.int32),
    ...     parents=np.array([3, 3, 4, 4, 4], dtype=np.int32),
    ...     altitudes=np.array([0, 0, 0, 0.25, 0.75], dtype=np.float32),
    ...     embeddings=np.zeros((3, 0), dtype=np.float32),
    ... )
    >>> to_linkage(h).tolist()
    [[0.0, 1.0, 0.25, 2.0], [2.0, 3.0, 0.75, 3.0]]
    """
    n_leaves, parents = hierarchy.n_leaves, hierarchy.parents
    if n_leaves == 1:
        raise InputError("a tree of one superpixel has no merge to write: segment with more superpixels.")
    inner = n_leaves + np.argsort(
        hierarchy.altitudes[n_leaves:], kind="stable"
    )  # children first: they never lie higher
    place = np.empty(hierarchy.n_nodes, np.int64)
    place[inner] = np.arange(inner.size)
    child = np.argsort(place[parents[:-1]], kind="stable")  # all nodes but the root, grouped by their parents
    parent = parents[child]
    is_first = np.diff(parent, prepend=-1) != 0
    row = np.cumsum(~is_first) - 1  # the merge that adds this child to the ones before it in its group
    cluster = np.arange(hierarchy.n_nodes)
    is_last = np.roll(is_first, -1)
    cluster[parent[is_last]] = n_leaves + row[is_last]
    follows_first = np.roll(is_first, 1)
    before = np.where(follows_first, cluster[np.roll(child, 1)], n_leaves + row - 1)
    size = _kernels.sum_to_root(parents, np.ones(n_leaves, np.int64))[child]
    total = np.cumsum(size)
    total -= (total - size)[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]  # counted within each group
    ends = np.sort(np.stack([before, cluster[child]], axis=1), axis=1)
    matrix: np.ndarray = np.column_stack([ends, hierarchy.altitudes[parent], total])[~is_first].astype(np.float64)
    return matrix
