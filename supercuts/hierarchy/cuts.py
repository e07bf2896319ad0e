"""Cut a merge tree into regions at a chosen granularity.

In   parents (M,) int32, altitudes (M,) float32 -- leaves first, root last; areas (M,) int64 for min_area
Out  Cut: the tree node of each region (R,) and the region of each leaf (N,); paint() maps leaf values to pixels
Not  no I/O, no torch, no randomness; never writes to the inputs

Merges are sorted by altitude, highest first, and by node id, highest first, among equal altitudes. Every cut undoes
the first merges of this order, so any two cuts of a tree are nested, whatever their keywords.
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Int64, Shaped

from supercuts.core.checks import check_choice, check_exactly_one, check_in_range
from supercuts.core.errors import ConstraintError, InputError
from supercuts.hierarchy import _kernels


def split_in_focus(
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    labels: Int32[np.ndarray, "height width"],
    focus: Bool[np.ndarray, "height width"],
    n_regions: int,
    budget: float,
    is_splittable: Bool[np.ndarray, " nodes"],
    n_forced: int,
) -> Bool[np.ndarray, " nodes"]:
    """Return the merges to undo so that budget * n_regions regions, rounded half up, lie in the focus.

    A region lies in the focus if more than half of its pixels do. Regions are split one by one in an order that does
    not depend on n_regions, so cuts of the same focus and budget are nested. The n_forced highest nodes are split
    first. Each later split adds a region to the side (in or out of the focus) that has too few, highest altitude first.
    The share is missed only if no region can be split to add to that side: at the first few splits, or once one side
    has only leaves.
    """
    if focus.dtype != np.bool_ or focus.shape != labels.shape:
        raise InputError(
            f"focus is {focus.dtype} {focus.shape}; expected a bool mask {labels.shape} or a point (y, x) in it."
        )
    check_in_range("budget", budget, 0, 1, remedy="It is the share of the regions inside the focus.")
    n_leaves = int(labels.max()) + 1
    leaf_inside = np.bincount(labels[focus & (labels >= 0)], minlength=n_leaves)
    area = _kernels.tree.sum_to_root(parents, _kernels.tree.count_pixels(labels, n_leaves))
    is_inside = 2 * _kernels.tree.sum_to_root(parents, leaf_inside) > area
    is_split: np.ndarray = _kernels.queries.split_by_budget(
        parents, altitudes, n_leaves, is_inside, is_splittable, n_forced, n_regions, float(budget)
    )
    return is_split


LEVELS = ("scene", "object", "part")  # coarsest first


def check_levels(levels: Mapping[str, float]) -> dict[str, float]:
    """Return the levels as floats, coarsest first; raise InputError for unknown names or altitudes not in 0..1."""
    for name, altitude in levels.items():
        check_choice("level name", name, LEVELS)
        check_in_range(f"levels[{name!r}]", altitude, 0, 1, remedy="A level is an altitude of the tree: recalibrate.")
    return {name: float(levels[name]) for name in LEVELS if name in levels}


def altitude_of_level(levels: Mapping[str, float], level: str) -> float:
    """Return the altitude to cut at: the highest of this level and all finer ones, so that levels nest.

    >>> altitude_of_level({"scene": 0.6, "object": 0.2, "part": 0.3}, "object")
    0.3
    """
    check_choice("level", level, LEVELS)
    if not levels:
        raise InputError(
            f"level={level!r} needs calibrated levels and this hierarchy has none: cut by regions=, granularity= or "
            "altitude=, or segment with a model that carries levels."
        )
    check_choice("level", level, [name for name in LEVELS if name in levels])
    return max(levels[name] for name in LEVELS[LEVELS.index(level) :] if name in levels)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One partition of the leaves; regions are numbered 0..R-1 in the order of their first (lowest) leaf.

    nodes           (R,) int32   tree node of each region
    region_of_leaf  (N,) int32   region of each leaf, 0..R-1
    """

    nodes: Int32[np.ndarray, " regions"]
    region_of_leaf: Int32[np.ndarray, " leaves"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits set by edits: the n_forced highest nodes are always split, the n_frozen lowest inner nodes never."""

    n_forced: int = 0
    n_frozen: int = 0


@dataclass(frozen=True, slots=True)
class Focus:
    """Share `budget` (0..1) of the regions to place inside the mask (H, W)."""

    mask: Bool[np.ndarray, "height width"]
    budget: float


@dataclass(frozen=True, slots=True)
class Granularity:
    """Granularity of a cut: exactly one of the first four fields, optionally with min_area."""

    regions: int | None = None
    level: str | None = None
    altitude: float | None = None
    granularity: float | None = None
    min_area: int | None = None


def cut_by_count(
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
    n_regions: int,
    is_splittable: Bool[np.ndarray, " nodes"] | None = None,
) -> Cut:
    """Undo the n_regions - 1 highest merges; the regions that remain are the cut.

    If nodes have more than two children, the count may be out of reach; the cut then has the nearest smaller count.
    A merge that is not splittable stays, and so do all merges below it, which also lowers the count.

    >>> parents, altitudes = np.array([3, 3, 4, 4, 4], np.int32), np.array([0, 0, 0, 0.2, 0.9], np.float32)
    >>> cut_by_count(parents, altitudes, 3, 2).region_of_leaf.tolist()
    [0, 0, 1]
    """
    n_regions = _whole_number("regions", n_regions)
    remedy = f"The tree has {n_leaves} leaves: ask for fewer regions or segment with a larger superpixels=."
    check_in_range("regions", n_regions, 1, n_leaves, remedy=remedy)
    highest_first = n_leaves + np.argsort(altitudes[n_leaves:], kind="stable")[::-1]  # ties: parents before children
    n_new = np.bincount(parents[:-1], minlength=parents.size)[highest_first] - 1
    n_undone = int(np.searchsorted(np.cumsum(n_new), n_regions - 1, side="right"))
    is_split = np.zeros(parents.size, dtype=bool)
    is_split[highest_first[:n_undone]] = True
    return number_regions(parents, is_split if is_splittable is None else is_split & is_splittable, n_leaves)


def cut_by_altitude(
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
    altitude: float,
    is_splittable: Bool[np.ndarray, " nodes"] | None = None,
) -> Cut:
    """Return the cut into the largest nodes of at most this altitude (compared in float32, as in the tree)."""
    check_in_range("altitude", altitude, 0, 1, remedy="0 undoes every merge above 0, 1 gives one region.")
    is_split = altitudes > np.float32(altitude)
    return number_regions(parents, is_split if is_splittable is None else is_split & is_splittable, n_leaves)


def count_of_granularity(granularity: float, n_leaves: int) -> int:
    """Return the number of regions for a granularity, on a log scale from 1 (0) to all leaves (1).

    >>> [count_of_granularity(g, 400) for g in (0, 0.25, 0.5, 1)]
    [1, 4, 20, 400]
    """
    check_in_range("granularity", granularity, 0, 1, remedy="0 gives one region, 1 gives every leaf.")
    return min(n_leaves, max(1, round(math.exp(granularity * math.log(n_leaves)))))


def splittable_nodes(
    parents: Int32[np.ndarray, " nodes"], areas: Int64[np.ndarray, " nodes"], min_area: float
) -> Bool[np.ndarray, " nodes"]:
    """Return whether all children of a node have at least min_area pixels, for every node."""
    check_in_range(
        "min_area", min_area, 0, math.inf, remedy="Give the pixels of the smallest region that may be split off."
    )
    smallest: np.ndarray = _kernels.tree.smallest_child(parents, areas)
    return smallest >= min_area


def cut_tree(
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    labels: Int32[np.ndarray, "height width"],
    n_leaves: int,
    levels: Mapping[str, float],
    how: Granularity,
    limits: Limits | None = None,
    focus: Focus | None = None,
) -> Cut:
    """Cut by the keyword that is set; with min_area, a merge with a smaller child stays, and so do all below it.

    A focus needs regions or granularity. The limits of edits take precedence over everything else.
    """
    options: dict[str, object] = {
        "regions": how.regions, "level": how.level, "altitude": how.altitude, "granularity": how.granularity
    }  # fmt: skip
    keyword = check_exactly_one("A cut", options)
    limits = limits or Limits()
    allowed = np.ones(parents.size, bool)
    if how.min_area is not None:
        allowed = splittable_nodes(parents, node_areas(labels, parents, n_leaves), how.min_area)
    allowed[n_leaves : n_leaves + limits.n_frozen] = False
    forced = slice(parents.size - limits.n_forced, None)
    allowed[forced] = True
    altitudes = altitudes.copy()
    altitudes[forced] = np.inf  # above every possible altitude=, so always split
    if keyword in ("level", "altitude"):
        if focus is not None:
            raise InputError(f"focus shares out a number of regions: give regions= or granularity=, not {keyword}=.")
        altitude = how.altitude if how.level is None else altitude_of_level(levels, how.level)
        assert altitude is not None  # check_exactly_one above
        return cut_by_altitude(parents, altitudes, n_leaves, altitude, allowed)
    n_regions = how.regions
    if how.granularity is not None:
        n_regions = count_of_granularity(how.granularity, n_leaves)
    assert n_regions is not None  # check_exactly_one above
    n_regions = _within_limits(parents, n_leaves, n_regions, limits, is_strict=keyword == "regions")
    if focus is None:
        return cut_by_count(parents, altitudes, n_leaves, n_regions, allowed)
    mask, budget = focus.mask, focus.budget
    is_split = split_in_focus(parents, altitudes, labels, mask, n_regions, budget, allowed, limits.n_forced)
    return number_regions(parents, is_split, n_leaves)


def _within_limits(parents: np.ndarray, n_leaves: int, n_regions: int, limits: Limits, is_strict: bool) -> int:
    """Return the count clipped to the range that edits allow; if strict, raise ConstraintError instead of clipping."""
    n_regions = _whole_number("regions", n_regions)
    remedy = f"The tree has {n_leaves} leaves: ask for fewer regions or segment with a larger superpixels=."
    check_in_range("regions", n_regions, 1, n_leaves, remedy=remedy)
    # splitting a node of c children adds c - 1 regions
    fewest = 1 + int((parents[:-1] >= parents.size - limits.n_forced).sum()) - limits.n_forced
    most = n_leaves - int((parents[:-1] < n_leaves + limits.n_frozen).sum()) + limits.n_frozen
    if is_strict and not fewest <= n_regions <= most:
        raise ConstraintError(
            f"regions={n_regions} is outside {fewest}..{most}, which the edits of this hierarchy leave: locked regions "
            "are not divided, and splits and locks are kept apart. Ask for a count in that range, or undo() an edit."
        )
    return min(max(n_regions, fewest), most)


def number_regions(parents: Int32[np.ndarray, " nodes"], is_split: Bool[np.ndarray, " nodes"], n_leaves: int) -> Cut:
    """Return the regions that remain if these merges are undone, unless a merge above them is not.

    Uncompiled, because numba takes longer to import than everything else that a cut from a file needs.
    """
    nodes, leaves, parents = np.arange(parents.size), np.arange(n_leaves), parents.astype(np.intp)
    is_undone, above = is_split, parents
    while not is_undone[parents].all(where=is_undone):  # double the number of ancestors that are taken into account
        is_undone, above = is_undone & is_undone[above], above[above]
    top = np.where(is_undone[parents], nodes, parents)
    top[-1] = nodes[-1]
    while not np.array_equal(top, above := top[top]):
        top = above
    first = np.empty_like(nodes)
    first[top[leaves[::-1]]] = leaves[::-1]  # the lowest leaf is assigned last
    first_of_leaf = first[top[leaves]]
    is_first = first_of_leaf == leaves
    number = np.cumsum(is_first, dtype=np.int32) - np.int32(1)
    return Cut(top[leaves[is_first]].astype(np.int32), number[first_of_leaf])


def node_areas(
    labels: Int32[np.ndarray, "height width"], parents: Int32[np.ndarray, " nodes"], n_leaves: int
) -> Int64[np.ndarray, " nodes"]:
    """Return the area of every node in pixels."""
    areas: np.ndarray = _kernels.tree.sum_to_root(parents, _kernels.tree.count_pixels(labels, n_leaves))
    return areas


def paint(
    values: Shaped[np.ndarray, " leaves"], labels: Int[np.ndarray, "height width"]
) -> Shaped[np.ndarray, "height width"]:
    """Return the (H, W) map of leaf values; pixels without a leaf are -1 for signed integers, else 0 or False."""
    out = np.empty(labels.shape, dtype=values.dtype)
    masked_value = np.array([-1 if values.dtype.kind == "i" else 0], values.dtype)
    # mode="wrap" maps -1 to the last entry; the default mode would copy the output once more
    return np.take(np.concatenate([values, masked_value]), labels, out=out, mode="wrap")


def _whole_number(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{name}={value!r} is not a whole number: give an int, or granularity=0..1.") from None
