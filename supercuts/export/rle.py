"""Run lengths of every node of a tree, as pycocotools writes them.

In   a hierarchy
Out  {"size": [H, W], "counts": text} per node
Not  no files
"""

from typing import Any

import numpy as np

from supercuts.core.checks import check_installed
from supercuts.hierarchy.tree import Hierarchy


def node_rles(hierarchy: Hierarchy) -> list[dict[str, Any]]:
    """Return the compressed run lengths of each of the M nodes; an inner node's are merged from its children's."""
    check_installed(("pycocotools",), extra="export")
    from pycocotools import mask

    height, width = hierarchy.shape
    rles = mask.frPyObjects(_leaf_counts(hierarchy), height, width)
    children: list[list[int]] = [[] for _ in range(hierarchy.n_nodes)]
    for node, parent in enumerate(hierarchy.parents[:-1].tolist()):
        children[parent].append(node)
    for node in range(hierarchy.n_leaves, hierarchy.n_nodes):  # children come before their parent
        rles.append(mask.merge([rles[child] for child in children[node]]))
    return [{"size": [height, width], "counts": rle["counts"].decode("ascii")} for rle in rles]


def _leaf_counts(hierarchy: Hierarchy) -> list[dict[str, Any]]:
    """Return the uncompressed run lengths of each leaf: pixels outside, inside, outside, ... down the columns."""
    flat = hierarchy.labels.ravel(order="F")
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    ends = np.concatenate([starts[1:], [flat.size]])
    starts, ends = starts[flat[starts] >= 0], ends[flat[starts] >= 0]
    by_leaf = np.argsort(flat[starts], kind="stable")
    borders = np.stack([starts, ends], axis=1)[by_leaf]
    n_runs = np.cumsum(np.bincount(flat[starts], minlength=hierarchy.n_leaves))[:-1]
    size = list(hierarchy.shape)
    return [
        {"size": size, "counts": np.diff(runs.ravel(), prepend=0, append=flat.size).tolist()}
        for runs in np.split(borders, n_runs)
    ]
