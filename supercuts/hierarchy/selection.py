"""Select regions by a point, a box, scribbles or clicks; find the union of nodes that fits a target best.

In   labels (H, W), parents (M,) of a valid tree; the user's marks in (y, x) pixels
Out  mask (H, W) bool, or label map (H, W) int32
Not  no granularity: the caller computes the cut first
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from supercuts.core.checks import check_choice, check_in_range, check_whole, shown
from supercuts.core.errors import InputError
from supercuts.hierarchy import _kernels
from supercuts.hierarchy.cuts import Cut, node_areas, paint
from supercuts.hierarchy.regions import frame_contact


def best_union(
    parents: Int32[np.ndarray, " nodes"],
    inside: Int64[np.ndarray, " leaves"],
    areas: Int64[np.ndarray, " leaves"],
    k: int,
) -> Int32[np.ndarray, " chosen"]:
    """Return the 1..k disjoint nodes whose union has the highest intersection over union with a target.

    Among equally good unions, one with the fewest nodes is returned. All sums are integers, so the result is exact.
    Takes a handful of rounds of O(N k) steps.

    Parameters
    ----------
    parents
        (M,) int32, parent of each node, leaves first, root last.
    inside
        (N,) int64, target pixels in each leaf.
    areas
        (N,) int64, all pixels of each leaf.
    k
        Largest number of nodes, from 1.

    Returns
    -------
    int32 (C,)
        Node ids, ascending.

    Raises
    ------
    InputError
        If `k` is below 1, or if the counts do not fit the tree or hold no target pixel.

    Examples
    --------
    >>> parents = np.array([4, 4, 5, 5, 6, 6, 6], np.int32)
    >>> best_union(parents, np.array([10, 10, 10, 0]), np.array([10, 10, 10, 10]), 2).tolist()
    [2, 4]
    """
    remedy = "Give the most nodes that the union may have."
    check_whole("k", k, remedy=remedy)
    check_in_range("k", k, 1, np.inf, remedy=remedy)
    if inside.size != areas.size or not 0 < areas.size <= parents.size:
        raise InputError(
            f"inside {inside.shape} and areas {areas.shape} do not fit a tree of {parents.size} nodes: give one count "
            "for each leaf."
        )
    if (inside < 0).any() or (inside > areas).any() or not inside.any():
        raise InputError(
            f"inside holds {inside.min()}..{inside.max()} pixels, {inside.sum()} in all; expected 0 to the leaf's area "
            "in each, and at least one: draw the target inside the image."
        )
    inside_below = _kernels.tree.sum_to_root(parents, inside)
    areas_below = _kernels.tree.sum_to_root(parents, areas)
    target = int(inside.sum())
    chosen: np.ndarray = np.array([parents.size - 1], np.int32)
    while True:
        common = int(inside_below[chosen].sum())
        union = int(areas_below[chosen].sum()) + target - common
        # a union has a higher common / union than the chosen one exactly if its gains sum to more than theirs
        gain = inside_below * (union + common) - areas_below * common
        better = _kernels.queries.highest_gain(parents, gain, inside.size, min(k, inside.size)).astype(np.int32)
        is_best = gain[better].sum() <= gain[chosen].sum()
        chosen = better  # if the sums are equal, this one has the fewest nodes
        if is_best:
            return chosen


# typed Any: each coordinate is checked separately; integers and floats of Python, numpy, pandas, torch, JSON are valid
Point = Any  # (y, x)
Box = Any  # (y0, x0, y1, x1)
Points = Any  # {1: points, 2: points}
Strokes = Any  # {label: points of one stroke, or several such strokes}


def check_selection_options(mark: str, grow: int, shrink: int, max_nodes: int, has_granularity: bool) -> None:
    """Raise InputError for keywords that have no effect on this kind of mark."""
    if mark != "point" and has_granularity:
        raise InputError(f"{mark}= finds its own granularity: leave out regions, level, altitude and granularity.")
    for name, value, lowest, owner in (
        ("grow", grow, 0, "point"),
        ("shrink", shrink, 0, "point"),
        ("max_nodes", max_nodes, 1, "box"),
    ):
        check_whole(name, value, remedy="It counts nodes of the tree.")
        check_in_range(name, value, lowest, np.inf, remedy="It counts nodes of the tree.")
        if value != lowest and mark != owner:
            raise InputError(f"{name}={value} has no effect on {mark}=: leave it out, or give {owner}=.")


def node_at_point(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    cut: Cut,
    point: Point,
    steps: int,
) -> int:
    """Return the node `steps` above the cut's region at pixel (y, x); if negative, below it, towards the pixel's leaf.

    Every step adds or removes pixels; steps end at the root and at the leaf.
    """
    y, x = pixel_of(labels.shape, point)
    leaf = labels[y, x]
    if leaf < 0:
        raise InputError(f"point={(y, x)} lies on masked pixels: give a point in the image.")
    path = np.concatenate([[leaf], _kernels.tree.climb(parents, leaf)])
    start = int(np.flatnonzero(path == cut.nodes[cut.region_of_leaf[leaf]])[0])
    return int(path[np.clip(start + steps, 0, path.size - 1)])


def pixel_of(shape: tuple[int, ...], point: Point) -> tuple[int, int]:
    """Return the pixel (y, x) whose centre is nearest to a point; pixel centres are at whole numbers.

    Raise InputError unless the point is two numbers inside the image.

    >>> pixel_of((4, 5), (1.6, np.float32(2)))
    (2, 2)
    """
    remedy = f"point is (y, x) in an image of {shape[0]} rows and {shape[1]} columns."
    y, x = _whole_numbers("point", point, 2, remedy)
    check_in_range("point y", y, 0, shape[0] - 1, remedy=remedy)
    check_in_range("point x", x, 0, shape[1] - 1, remedy=remedy)
    return y, x


def _whole_numbers(name: str, argument: object, n: int, remedy: str) -> list[int]:
    """Return n numbers, rounded; raise InputError for another count, NaN, text and other non-numbers."""
    try:
        values = np.asarray(argument)
        if (
            values.dtype.kind == "O"
        ):  # numbers of other libraries, such as Decimal; text among them becomes NaN and is rejected below
            values = np.array([float(value) if not isinstance(value, str) else np.nan for value in values.ravel()])
    except (TypeError, ValueError, RuntimeError):  # ragged lists, None, tensors on a GPU or with a gradient
        values = np.empty(0)
    if values.dtype.kind not in "iuf" or values.shape != (n,) or not np.isfinite(values).all():
        raise InputError(f"{name}={shown(argument)} is not {n} numbers. {remedy}")
    return [int(value) for value in np.rint(values.astype(np.float64))]


def nodes_of_box(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    n_leaves: int,
    box: Box,
    max_nodes: int,
) -> Int32[np.ndarray, " chosen"]:
    """Return the 1..max_nodes nodes whose union has the highest IoU with the box (y0, x0, y1, x1).

    The ends are exclusive. Masked pixels do not count. Among equally good single nodes, return the lowest id, which is
    never an ancestor of the others; among equally good unions, one with the fewest nodes.
    """
    height, width = labels.shape
    remedy = f"box is (y0, x0, y1, x1) in an image of {height} rows and {width} columns; the ends are exclusive."
    y0, x0, y1, x1 = _whole_numbers("box", box, 4, remedy)
    box = (y0, x0, y1, x1)
    if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
        raise InputError(
            f"box={box} is not a box in an image of {height} rows and {width} columns: give (y0, x0, y1, x1) "
            f"with 0 <= y0 < y1 <= {height} and 0 <= x0 < x1 <= {width}; the ends are exclusive."
        )
    leaf_inside = _kernels.tree.count_pixels(np.ascontiguousarray(labels[y0:y1, x0:x1]), n_leaves)
    n_inside = int(leaf_inside.sum())
    if n_inside == 0:
        raise InputError(f"box={box} lies on masked pixels: draw it over pixels of the image.")
    if max_nodes != 1:
        return best_union(parents, leaf_inside, _kernels.tree.count_pixels(labels, n_leaves), max_nodes)
    inside = _kernels.tree.sum_to_root(parents, leaf_inside)
    union = node_areas(labels, parents, n_leaves) + n_inside - inside
    node: np.ndarray = np.argmax(inside / union, keepdims=True).astype(np.int32)
    return node


def mask_of_nodes(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    n_leaves: int,
    nodes: Int32[np.ndarray, " chosen"],
) -> Bool[np.ndarray, "height width"]:
    """Return the (H, W) mask of the pixels in any of the nodes."""
    return paint(_kernels.tree.mark_descendants(parents, nodes)[:n_leaves], labels)


def clicked_leaves(
    labels: Int32[np.ndarray, "height width"], n_leaves: int, points: Points
) -> Int64[np.ndarray, " leaves"]:
    """Return 1 for leaves with clicks on the object, 2 for leaves with clicks next to it, 0 for others.

    A leaf with both, which cannot be divided, gets the more frequent label, or 1 in a tie.
    """
    votes = np.zeros((n_leaves, 3), np.int64)
    remedy = "Give points={1: [(y, x), ...], 2: [...]}: 1 marks the object, 2 the background."
    if not isinstance(points, Mapping):
        raise InputError(f"points={shown(points)} is not a mapping. {remedy}")
    for label, of_label in points.items():
        check_choice("points label", label, (1, 2))
        for point in _rows(f"points[{label}]", of_label, remedy):
            y, x = pixel_of(labels.shape, point)
            if labels[y, x] >= 0:  # ignore clicks on masked pixels
                votes[labels[y, x], int(label)] += 1
    if not votes[:, 1].any():
        raise InputError(
            "points hold no click on the object: give at least one as points={1: [(y, x), ...]}; 2 is background."
        )
    clicked: np.ndarray = votes.argmax(axis=1)
    return clicked


def draw_strokes(shape: tuple[int, ...], scribbles: Strokes) -> Int32[np.ndarray, "height width"]:
    """Draw strokes as scribbles (H, W): straight lines, one pixel wide, between consecutive points (y, x).

    scribbles maps each label, 1 or higher, to one stroke (a list of points) or several (a list of such lists). Later
    strokes overwrite earlier ones.

    >>> draw_strokes((2, 4), {1: [(0, 0), (0, 2)], 2: [[(1, 3)], [(1, 0)]]}).tolist()
    [[1, 1, 1, 0], [2, 0, 0, 2]]
    """
    labels = np.zeros(shape, np.int32)
    for label, strokes in scribbles.items():
        remedy = "Labels of scribbles count from 1: 1 = foreground, 2 = background."
        check_whole("scribbles label", label, remedy=remedy)
        check_in_range("scribbles label", label, 1, np.iinfo(np.int32).max, remedy=remedy)
        name, remedy = f"scribbles[{label}]", "Give one stroke, a list of points (y, x), or a list of strokes."
        rows = _rows(name, strokes, remedy)
        is_one = bool(rows) and _is_row_of_numbers(rows[0])
        for points in [rows] if is_one else rows:
            stroke = [pixel_of(shape, point) for point in _rows(name, points, remedy)]
            for start, end in zip(stroke, [*stroke[1:], *stroke[-1:]], strict=True):
                n_pixels = int(np.abs(np.subtract(end, start)).max()) + 1
                y, x = np.rint(np.linspace(start, end, n_pixels)).astype(np.int64).T
                labels[y, x] = label
    return labels


def _rows(name: str, value: Any, remedy: str) -> list[Any]:
    """Return the rows of a sequence, an array or a table as a list."""
    value = value.to_numpy() if hasattr(value, "to_numpy") else value  # a pandas table would iterate over its columns
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise InputError(f"{name}={shown(value)} is not a list. {remedy}")
    try:
        return list(value)
    except TypeError:  # a 0-d array
        raise InputError(f"{name}={shown(value)} is not a list. {remedy}") from None


def _is_row_of_numbers(row: object) -> bool:
    try:
        numbers = np.asarray(row)
    except (ValueError, RuntimeError):  # strokes of different lengths; a tensor with a gradient
        return False
    return numbers.ndim <= 1 and numbers.size > 0


def segment_scribbles(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    n_leaves: int,
    scribbles: Strokes,
) -> Int32[np.ndarray, "height width"]:
    """Spread scribbles over the image along the tree; every pixel gets one of the labels.

    Scribbles are an array (H, W), 0 = unlabelled, or strokes for draw_strokes.

    A leaf with scribbles gets the label of most of its scribbled pixels. Any other leaf gets the label of its lowest
    ancestor with scribbles. If that ancestor has several labels, the one that covers most of its pixels wins, after its
    children with scribbles have been resolved in the same way. Ties go to the lowest label.
    """
    if isinstance(scribbles, Mapping):
        scribbles = draw_strokes(labels.shape, scribbles)
    if not isinstance(scribbles, np.ndarray):
        raise InputError(
            f"scribbles={scribbles!r:.80} is neither an array (H, W) of labels nor a mapping. Give {{1: strokes, "
            "2: strokes}, each a list of points (y, x) or several such lists."
        )
    _check_scribbles(labels.shape, scribbles)
    marked = np.flatnonzero((scribbles != 0) & (labels >= 0))
    if marked.size == 0:
        raise InputError("scribbles lie on masked pixels: mark at least one pixel of the image.")
    values, index = np.unique(scribbles.ravel()[marked].astype(np.int32), return_inverse=True)
    pairs = labels.ravel()[marked].astype(np.int64) * values.size + index
    votes = np.bincount(pairs, minlength=n_leaves * values.size).reshape(n_leaves, values.size)
    leaf_label = np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
    leaf_areas = _kernels.tree.count_pixels(labels, n_leaves)
    return paint(values[_kernels.tree.spread_labels(parents, leaf_areas, leaf_label, values.size)], labels)


def _check_scribbles(shape: tuple[int, ...], scribbles: np.ndarray) -> None:
    if scribbles.shape != shape or scribbles.dtype.kind not in "iub":
        raise InputError(
            f"scribbles are {scribbles.dtype} {scribbles.shape}; expected whole numbers {shape}: draw them on an "
            "array of the image's height and width, 0 = unlabelled, 1 = foreground, 2 = background."
        )
    if scribbles.min() < 0 or scribbles.max() > np.iinfo(np.int32).max:
        raise InputError(
            f"scribbles hold {scribbles.min()}..{scribbles.max()}; labels are 0 (unlabelled) and positive int32 "
            "numbers: renumber them."
        )
    if not scribbles.any():
        raise InputError("scribbles are all 0 (unlabelled): mark at least one pixel with a label from 1 up.")


# Weights of a constant and of the four click_features. _MIXED predicts whether a child of a mixed node is mixed too,
# _FOREGROUND whether an unmixed node is foreground. Fitted by logistic regression on 206 images of ECSSD
# (benchmarks/clicks.py --fit); small weights are 0. The weights of _MIXED are then scaled by 0.6 and its constant is
# raised by 1, which gives the highest mean IoU over ten clicks on the same images.
_MIXED = np.array([2.0, 0.9, -0.75, 0.0, -0.2])
_FOREGROUND = np.array([1.7, 0.0, 0.0, 0.27, -3.95])
_LEAST_ALTITUDE = 0.002  # altitudes are clipped to this and 1 minus this: 0 and 1 have no finite logit
_MOST_FRAME = 3.0


def foreground_probability(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
    clicked: Int64[np.ndarray, " leaves"],
) -> Float64[np.ndarray, " leaves"]:
    """Return the foreground probability of each leaf; clicked is 1 on the object, 2 next to it, 0 without a click."""
    features = click_features(labels, parents, altitudes, n_leaves)
    # a node that merges late but whose parts merged early is one object; large nodes tend to be foreground, nodes
    # along the image frame background
    mixed, foreground = (1 / (1 + np.exp(-(w[0] + features @ w[1:]))) for w in (_MIXED, _FOREGROUND))
    probability: np.ndarray = _kernels.queries.foreground_of_leaves(parents, mixed, foreground, clicked)
    return probability


def object_at_clicks(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
    clicked: Int64[np.ndarray, " leaves"],
) -> Bool[np.ndarray, " leaves"]:
    """Return a mask of the leaves that are probably object: always those with label 1, never those with label 2."""
    return foreground_probability(labels, parents, altitudes, n_leaves, clicked) > 0.5


def click_features(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
) -> Float64[np.ndarray, "nodes 4"]:
    """Return for each node the logits of its altitude and its parent's, the log of its area share, its frame contact.

    Frame contact is the number of pixels on the image frame divided by 2 sqrt(area), at most 3.
    """
    area = _kernels.tree.sum_to_root(parents, _kernels.tree.count_pixels(labels, n_leaves))
    on_frame = _kernels.tree.sum_to_root(parents, frame_contact(labels, n_leaves))
    contact = np.minimum(on_frame / (2 * np.sqrt(area)), _MOST_FRAME)
    altitude = altitudes.astype(np.float64).clip(_LEAST_ALTITUDE, 1 - _LEAST_ALTITUDE)
    logit = np.log(altitude / (1 - altitude))
    return np.stack([logit, logit[parents], np.log(area / area[-1]), contact], axis=1)
