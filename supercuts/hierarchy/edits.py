"""Edit a merge tree by hand: merge, split and lock regions so that every cut respects the edits; undo.

merge  the union of two nodes becomes a node in the place of the first, at its lowest possible altitude
split  no region holds two children of a node: all but the largest move to the root, below a merge that is always undone
lock   a node is a region of every cut: nothing below it is divided, and it moves to the root in the same way
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from supercuts.core.arrays import arrays_repr
from supercuts.core.checks import check_choice
from supercuts.core.errors import ConstraintError, InputError
from supercuts.hierarchy import _kernels, regions
from supercuts.hierarchy._kernels import FORCED, FREE, FROZEN
from supercuts.hierarchy.cuts import Limits, number_regions

_N_GROUPS = {"merge": (2, 2), "split": (2, np.inf), "lock": (1, 1)}
KINDS = tuple(_N_GROUPS)
_APART = "holds regions that are kept apart: undo() their split or lock first."


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One edit, stored as groups of leaves: one per node for merge and lock, one per child for split."""

    kind: str
    groups: tuple[Int32[np.ndarray, " _"], ...]  # leaf ids; groups differ in size

    __repr__ = arrays_repr

    def __str__(self) -> str:
        """Return the kind and the group sizes, for error messages."""
        return f"{self.kind} of {' and '.join(str(group.size) for group in self.groups)} leaves"


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A tree and the limits that edits set for its cuts.

    parents    (M,) int32
    altitudes  (M,) float32
    limits     Limits
    """

    parents: Int32[np.ndarray, " nodes"]
    altitudes: Float32[np.ndarray, " nodes"]
    limits: Limits = Limits()  # noqa: RUF009 -- frozen, so sharing it is safe

    __repr__ = arrays_repr


@dataclass(frozen=True, slots=True, eq=False)
class Edits:
    """History of a tree: the original tree, the edits in order, and the limits that they set."""

    before: Tree
    steps: tuple[Edit, ...]
    limits: Limits

    __repr__ = arrays_repr


def describe_edit(parents: Int32[np.ndarray, " nodes"], n_leaves: int, kind: str, nodes: Sequence[int]) -> Edit:
    """Return the edit of nodes of the current tree, as groups of leaves; raise ConstraintError if it is impossible."""
    leaves = [regions.leaves_of(parents, n_leaves, node) for node in nodes]
    if kind == "merge" and np.intersect1d(leaves[0], leaves[1]).size:
        raise ConstraintError(
            f"nodes {nodes[0]} and {nodes[1]} cannot merge: one holds the other. Give two nodes without common leaves."
        )
    if kind == "split":
        below = regions.children(parents, nodes[0])
        if not below.size:
            raise ConstraintError(
                f"node {nodes[0]} is a leaf and cannot be split: segment with a larger superpixels= for finer leaves."
            )
        leaves = [regions.leaves_of(parents, n_leaves, int(child)) for child in below]
        leaves.sort(key=len, reverse=True)
    return Edit(kind, tuple(leaves))


def advance(tree: Tree, n_leaves: int, steps: Sequence[Edit], n_done: int = 0) -> Tree:
    """Return the tree after all edits; the given tree already contains the first n_done of them.

    Raise ConstraintError if the last edit contradicts an earlier one, which the message names. Edits arrive one by one.
    """
    for step in steps[n_done:]:
        _check(step)
        tree = _APPLY[step.kind](tree, n_leaves, step)
    for step in steps:
        if not _holds(tree, n_leaves, step):
            raise ConstraintError(
                f"the {steps[-1]} contradicts the earlier {step}, which holds at every granularity: undo() that one "
                "first, or choose other nodes."
            )
    return tree


def _check(edit: Edit) -> None:
    """Raise InputError unless the edit has valid groups; edits that are read from files may be invalid."""
    check_choice("kind", edit.kind, KINDS)
    fewest, largest = _N_GROUPS[edit.kind]
    leaves = np.concatenate(edit.groups)
    if not fewest <= len(edit.groups) <= largest or np.unique(leaves).size < leaves.size:
        raise InputError(
            f"the {edit} is none: merge takes two sets without common leaves, split two or more, lock one."
        )


def _merge(tree: Tree, n_leaves: int, edit: Edit) -> Tree:
    a, b = (_node_of(tree.parents, n_leaves, group) for group in edit.groups)
    rank = _ranks(tree, n_leaves)
    if rank[tree.parents[a]] == FROZEN or rank[tree.parents[b]] == FROZEN:
        raise ConstraintError(f"the {edit} lies inside a locked region, which is already one: undo() the lock first.")
    if FORCED in (rank[a], rank[b]):
        raise ConstraintError(f"the {edit} {_APART}")
    new = tree.parents.size
    parents = np.append(tree.parents, tree.parents[a])
    parents[[a, b]] = new
    altitudes = np.append(tree.altitudes, max(tree.altitudes[a], tree.altitudes[b]))
    return _tidy(parents, altitudes, np.append(rank, FREE), n_leaves, new - 1)


def _split(tree: Tree, n_leaves: int, edit: Edit) -> Tree:
    node = _node_of(tree.parents, n_leaves, np.concatenate(edit.groups))
    rank = _ranks(tree, n_leaves)
    if rank[node] == FROZEN:
        raise ConstraintError(f"the {edit} lies inside a locked region, which stays whole: undo() the lock first.")
    if rank[node] == FORCED:
        return tree  # its children are apart already
    children = [_node_of(tree.parents, n_leaves, group) for group in edit.groups[1:]]
    return _hang_from_root(tree.parents, tree.altitudes, rank, n_leaves, children)


def _lock(tree: Tree, n_leaves: int, edit: Edit) -> Tree:
    node = _node_of(tree.parents, n_leaves, edit.groups[0])
    rank = _ranks(tree, n_leaves)
    if rank[node] == FORCED:
        raise ConstraintError(f"the {edit} {_APART}")
    altitudes = tree.altitudes.copy()
    is_below = _kernels.tree.mark_descendants(tree.parents, np.array([node]))
    is_below[:n_leaves] = False
    rank[is_below], altitudes[is_below] = FROZEN, 0
    is_apart = node == tree.parents.size - 1 or rank[tree.parents[node]] == FORCED
    return _hang_from_root(tree.parents, altitudes, rank, n_leaves, [] if is_apart else [node])


_APPLY = {"merge": _merge, "split": _split, "lock": _lock}


def _holds(tree: Tree, n_leaves: int, edit: Edit) -> bool:
    """Return whether a tree respects an edit."""
    is_forced = np.zeros(tree.parents.size, bool)
    is_forced[tree.parents.size - tree.limits.n_forced :] = True
    part = number_regions(tree.parents, is_forced, n_leaves).region_of_leaf  # parts that every cut separates
    if edit.kind == "split":
        parts = np.concatenate([np.unique(part[group]) for group in edit.groups])
        return bool(np.unique(parts).size == parts.size)
    leaves = np.concatenate(edit.groups)
    is_one = bool((part == part[leaves[0]]).sum() == leaves.size) if edit.kind == "lock" else True
    return is_one and _find(tree.parents, n_leaves, leaves) is not None


def _find(parents: np.ndarray, n_leaves: int, leaves: np.ndarray) -> int | None:
    """Return the lowest node with exactly these leaves, or None."""
    is_wanted = np.zeros(n_leaves, np.int64)
    is_wanted[leaves] = 1
    n_wanted, n_below = (_kernels.tree.sum_to_root(parents, ones) for ones in (is_wanted, np.ones(n_leaves, np.int64)))
    nodes = np.flatnonzero((n_wanted == n_below) & (n_wanted == leaves.size))
    return int(nodes[0]) if nodes.size else None


def _node_of(parents: np.ndarray, n_leaves: int, leaves: np.ndarray) -> int:
    node = _find(parents, n_leaves, leaves)
    if node is None:
        raise InputError(f"no node has exactly the {leaves.size} leaves of the edit: it belongs to another hierarchy.")
    return node


def _ranks(tree: Tree, n_leaves: int) -> np.ndarray:
    rank = np.full(tree.parents.size, FREE)
    rank[n_leaves : n_leaves + tree.limits.n_frozen] = FROZEN
    rank[tree.parents.size - tree.limits.n_forced :] = FORCED
    return rank


def _hang_from_root(
    parents: np.ndarray, altitudes: np.ndarray, rank: np.ndarray, n_leaves: int, nodes: list[int]
) -> Tree:
    """Move each node to a new root, next to the old one; this merge is always undone."""
    root = parents.size - 1
    for node in nodes:
        parents = np.append(parents, parents.size)
        parents[[root, node]] = parents.size - 1
        root = parents.size - 1
    n_new = len(nodes)
    altitudes = np.append(altitudes, np.ones(n_new, np.float32))
    return _tidy(parents, altitudes, np.append(rank, np.full(n_new, FORCED)), n_leaves, root)


def _tidy(parents: np.ndarray, altitudes: np.ndarray, rank: np.ndarray, n_leaves: int, root: int) -> Tree:
    parents, altitudes = parents.astype(np.int32), altitudes.astype(np.float32)
    parents, altitudes, n_frozen, n_forced = _kernels.queries.tidy(parents, altitudes, rank, n_leaves, root)
    return Tree(parents, altitudes, Limits(n_forced, n_frozen))
