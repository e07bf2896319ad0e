"""Separate figure from ground on the tree: predict which of the annotators' regions the image's frame does not cut.

The cues are those of classical saliency detection: contrast to the frame (Wei et al., "Geodesic saliency", ECCV 2012),
contact with it (Zhu et al., "Saliency optimization from robust background detection", CVPR 2014), rarity and local
contrast (Perazzi et al., "Saliency filters", CVPR 2012), position and shape, evaluated at every node as in Jiang et
al., "Salient object detection: a discriminative regional feature integration approach" (CVPR 2013). Training uses no
object masks, only the regions that annotators drew in BSDS500's images.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from pydantic import BaseModel, Field, PositiveInt

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.hierarchy._kernels import tree as tree_kernels
from supercuts.hierarchy._kernels.tree import sum_rows_to_root
from supercuts.hierarchy.cuts import cut_by_count
from supercuts.hierarchy.regions import image_area
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import color_features
from supercuts.merging.affinity import Perceptrons
from supercuts.objects import _kernels
from supercuts.objects.node_graph import Foreground, NodeGraph, foreground, label_borders

_SPREADS = (0.3, 0.7)  # widths of the similarity kernel, in standard deviations of the image
_NEIGHBORHOOD = 0.25  # standard deviation of local contrast, as a share of the image's sides
_LEAST_GAP = 1e-3  # minimum weight of a node, also if its parent is not higher
_TINY = 1e-9

CONTRASTS = (
    *(f"{name}, spread {spread}" for spread in _SPREADS for name in ("likeness to the frame", "likeness to the image")),
    "local contrast",
    "mean distance to the frame",
    "least distance to the frame",
)
FEATURES = (
    *(f"{kind}: {name}" for kind in ("color", "embedding") for name in CONTRASTS),
    "altitude of joining the frame: mean",
    "altitude of joining the frame: lowest",
    "centre: row",
    "centre: columns from the middle",
    "centre: rows from the middle",
    "centre: from the middle",
    "deviation of rows",
    "deviation of columns",
    "deviations to area",
    "deviation from the middle",
    "area: logarithm",
    "area",
    "frame: share",
    "frame: to the root of the area",
    "frame: upper side",
    "frame: lower side",
    "frame: left and right side",
    "frame: sides touched",
    "frame: share of the outline",
    "outline: mean altitude",
    "outline: mean altitude, 0 at the frame",
    "outline: compactness",
    "altitude",
    "altitude of the parent",
    "altitude to the parent",
    "area: share of the parent",
    *(f"{name} of {band}" for band in ("L", "a", "b") for name in ("mean", "deviation")),
    "embedding: distance to the sibling",
    "embedding: distance to the rest",
)


class FigureGroundConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings for turning saliency into objects."""

    threshold: float = Field(default=0.65, gt=0, lt=1)  # threshold of saliency, which spans 0..1 in every image
    least_area: float = Field(default=0.005, ge=0, le=1)  # minimum share of the image for objects after the first
    references: PositiveInt = 400  # regions that leaves are compared with; time grows with leaves * references


def figures(
    h: Hierarchy, graph: NodeGraph, judge: Perceptrons, n: int = 1, config: FigureGroundConfig | None = None
) -> list[Foreground]:
    """Return all salient components as one object or, if n > 1, at most n components as separate objects."""
    config = config or FigureGroundConfig()
    saliency = leaf_saliency(h, judge, config)
    # piecewise linear: 0 at 0, 0.5 at the threshold, 1 at 1
    low, high = saliency / config.threshold, (saliency - config.threshold) / (1 - config.threshold)
    soft = np.where(high > 0, 0.5 + high / 2, low / 2)
    vector = saliency.astype(np.float64)
    union = foreground(soft > 0.5, vector, soft, graph.area)
    if n == 1:
        return [union]
    component = graph.components(union.is_object)
    mass = np.bincount(component, graph.area * saliency)
    mass[0] = -1  # number 0 is the outside
    area = np.bincount(component, graph.area)
    best = np.argsort(-mass, kind="stable")[: min(n, mass.size - 1)]
    large = [best[0], *(k for k in best[1:] if area[k] >= config.least_area * graph.area.sum())]
    return [foreground(component == k, vector, soft, graph.area) for k in large]


def leaf_saliency(
    h: Hierarchy, judge: Perceptrons, config: FigureGroundConfig | None = None
) -> Float32[np.ndarray, " leaves"]:
    """Return the saliency of each leaf, stretched to 0..1 over the image; all 0 if no leaf differs from another.

    The saliency of a leaf is a weighted mean over its ancestors; those that are large and stand out from their parents
    weigh most.
    """
    features = figure_features(h, config)
    values = judge.probability(features)
    area = h.areas()
    area = area / area[-1]
    gap = (h._altitudes[h._parents] - h._altitudes).astype(np.float64)
    weights = np.sqrt(area) * (gap + _LEAST_GAP)
    weights[-1] = 0 if h.n_nodes > 1 else 1
    mean = _kernels.average_to_root(h._parents, values, weights, h.n_leaves)
    stretched: np.ndarray = (mean - mean.min()) / max(np.ptp(mean), _TINY)
    return stretched.astype(np.float32)


def figure_features(h: Hierarchy, config: FigureGroundConfig | None = None) -> Float32[np.ndarray, "nodes features"]:
    """Return the features of each node, in the order of FEATURES; contrasts are means over its leaves.

    If the image has a mask, positions are relative to the box of its valid pixels, and the frame is their outer edge,
    also inside the box; edges of holes are not part of the frame.
    """
    if h._image is None:
        raise InputError("the hierarchy holds no image to find objects by. Save it with image=True.")
    config = config or FigureGroundConfig()
    n = h.n_leaves
    box = h.region_table().bbox_yxyx[-1] if h.is_masked else np.array([0, 0, *h.shape])
    inside = np.s_[box[0] : box[2], box[1] : box[3]]
    labels = np.ascontiguousarray(h._labels[inside])
    leaves = _kernels.sum_leaves(labels, image_area(labels), color_features(h._image[inside]), n)
    contrasts = _leaf_contrasts(h, leaves, config.references)
    embedding = _scaled(h._embeddings.astype(np.float64), leaves[:, 0])
    weighted = leaves[:, :1] * np.concatenate([contrasts, embedding], axis=1)
    sums = tree_kernels.sum_rows_to_root(h._parents, np.concatenate([leaves, weighted], axis=1))
    area = sums[:, 0]
    joins = _kernels.frame_altitudes(h._parents, h._altitudes, sums[:, 15], n)
    joins = tree_kernels.sum_rows_to_root(h._parents, joins * leaves[:, :1]) / area[:, None]
    n_contrasts = contrasts.shape[1]
    columns = [
        sums[:, _kernels.N_SUMS : _kernels.N_SUMS + n_contrasts] / area[:, None],
        joins,
        _position(sums),
        _frame(sums, labels.shape),
        _outline(h, sums),
        _spread_of_color(sums),
        _embedding_contrast(sums[:, _kernels.N_SUMS + n_contrasts :], area, h._parents),
    ]
    return np.ascontiguousarray(np.concatenate(columns, axis=1), np.float32)


def border_edges(h: Hierarchy) -> tuple[Int64[np.ndarray, "edges 2"], Int64[np.ndarray, " edges"]]:
    """Return the pairs of leaves that share a border, and the lengths of the borders in pixel pairs."""
    return label_borders(h._labels, h.n_leaves)


def _scaled(values: Float64[np.ndarray, "leaves dims"], area: np.ndarray) -> Float64[np.ndarray, "leaves dims"]:
    """Return the values in units of their root mean squared distance from the image's mean."""
    centred = values - np.average(values, axis=0, weights=area)
    scaled: np.ndarray = centred / (np.sqrt(np.average((centred**2).sum(1), weights=area)) + _TINY)
    return scaled


def _leaf_contrasts(h: Hierarchy, leaves: np.ndarray, n_references: int) -> Float64[np.ndarray, "leaves contrasts"]:
    """Return the contrast of each leaf with the frame, the image and its surroundings, in colour and in embedding."""
    n = h.n_leaves
    region = cut_by_count(h._parents, h._altitudes, n, min(n_references, n)).region_of_leaf
    area, frame = (np.bincount(region, leaves[:, k]) for k in (0, 15))
    groups = np.zeros((area.size, n))
    groups[region, np.arange(n)] = leaves[:, 0] / area[region]
    place = leaves[:, 1:3] / leaves[:, :1]
    kernel = np.exp(-_squared_distances(place, groups @ place) / (2 * _NEIGHBORHOOD**2)) * (area / area.sum())
    kernel /= kernel.sum(1, keepdims=True)
    at_frame = frame > 0
    columns = []
    for values in (leaves[:, 5:8] / leaves[:, :1], h._embeddings.astype(np.float64)):
        scaled = _scaled(values, leaves[:, 0])
        squared = _squared_distances(scaled, groups @ scaled)
        for spread in _SPREADS:
            likeness = np.exp(-squared / (2 * spread**2))
            columns += [likeness @ (frame / frame.sum()), likeness @ (area / area.sum())]
        distance = np.sqrt(squared)
        columns += [(distance * kernel).sum(1), distance @ (frame / frame.sum()), distance[:, at_frame].min(1)]
    return np.stack(columns, axis=1)


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    clipped: np.ndarray = np.maximum(squared, 0).astype(np.float32)  # precise enough, and faster
    return clipped


def _position(sums: np.ndarray) -> np.ndarray:
    area = sums[:, 0]
    y, x = sums[:, 1] / area, sums[:, 2] / area
    vy, vx = np.maximum(sums[:, 3] / area - y**2, 0), np.maximum(sums[:, 4] / area - x**2, 0)
    share = area / area[-1]
    from_middle = np.hypot(y - 0.5, x - 0.5)
    return np.stack(
        [
            y,
            abs(x - 0.5),
            abs(y - 0.5),
            from_middle,
            np.sqrt(vy),
            np.sqrt(vx),
            12 * np.sqrt(vy * vx) / share,  # 1 for a rectangle
            np.sqrt(vy + vx + from_middle**2),
            np.log(share),
            share,
        ],
        axis=1,
    )


def _frame(sums: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    height, width = shape
    top, left, bottom, right, frame = sums[:, 11:16].T
    n_sides = (sums[:, 11:15] > 0).sum(1)
    sides = (left + right) / (2 * height)
    return np.stack(
        [frame / frame[-1], frame / np.sqrt(sums[:, 0]), top / width, bottom / width, sides, n_sides], axis=1
    )


def _outline(h: Hierarchy, sums: np.ndarray) -> np.ndarray:
    area, frame = sums[:, 0], sums[:, 15]
    length, strength = _kernels.sum_outlines(h._parents, h._altitudes, *border_edges(h)).T
    altitude = h._altitudes.astype(np.float64)
    above = altitude[h._parents]
    return np.stack(
        [
            frame / (frame + length + _TINY),
            strength / (length + _TINY),
            strength / (frame + length + _TINY),
            4 * np.pi * area / np.maximum(frame + length, 1) ** 2,  # an island in a hole has neither frame nor border
            altitude,
            above,
            above - altitude,
            area / area[h._parents],
        ],
        axis=1,
    )


def _spread_of_color(sums: np.ndarray) -> np.ndarray:
    mean, squared = sums[:, 5:8] / sums[:, :1], sums[:, 8:11] / sums[:, :1]
    deviation = np.sqrt(np.maximum(squared - mean**2, 0))
    return np.stack([mean, deviation], axis=2).reshape(len(sums), 6)


def _embedding_contrast(sums: np.ndarray, area: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Return the distance of the mean embedding from the rest of the parent, and of the image; 0 without a rest."""
    columns = []
    for surrounding in (parents, np.full_like(parents, parents.size - 1)):
        rest = area[surrounding] - area
        contrast_mean = (sums[surrounding] - sums) / np.maximum(rest, 1)[:, None]
        distance = np.sqrt(((sums / area[:, None] - contrast_mean) ** 2).sum(1))
        columns.append(np.where(rest > 0, distance, 0))
    return np.stack(columns, axis=1)


_HALVINGS = 40


def snap_to_tree(
    h: Hierarchy,
    soft: Float[np.ndarray, " leaves"],
    penalty: float = 0.001,
    max_nodes: int | None = None,
) -> Bool[np.ndarray, " leaves"]:
    """Return the union of nodes with the largest sum of (soft - 0.5) * area over its leaves, minus `penalty` per node.

    soft       probability that a leaf is inside, or the share of it that is, 0..1
    penalty    minimum gain of a node, as a share of the image's area. With penalty 0 a binary mask is returned
               unchanged; higher penalties give fewer and larger nodes
    max_nodes  maximum number of nodes in the union, reached by raising the penalty

    The result is exact, by dynamic programming from the leaves to the root (each node as a whole, or the best of its
    children). The union is never empty: if no node gains more than its penalty, it is the node of largest gain; ties go
    to the highest node.
    """
    if soft.shape != (h.n_leaves,) or not ((soft >= 0) & (soft <= 1)).all():
        raise InputError(f"soft of shape {soft.shape} must be {h.n_leaves} numbers in 0..1, one for each leaf.")
    check_in_range("penalty", penalty, 0, 1, remedy="It is a share of the image's area.")
    if max_nodes is not None:
        check_in_range("max_nodes", max_nodes, 1, np.inf, remedy="A union has at least one node.")
    areas = h.areas()
    leaf_gains = (soft.astype(np.float64) - 0.5) * areas[: h.n_leaves]
    gains = sum_rows_to_root(h._parents, leaf_gains[:, None])[:, 0]
    low = penalty * areas[-1]
    top = _kernels.best_union(h._parents, gains, low)
    if max_nodes is not None and top.sum() > max_nodes:
        high = float(gains.max())  # no node gains more
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if _kernels.best_union(h._parents, gains, middle).sum() > max_nodes:
                low = middle
            else:
                high = middle
        top = _kernels.best_union(h._parents, gains, high)
    if not top.any():
        top[np.flatnonzero(gains == gains.max())[-1]] = True
    inside: np.ndarray = _kernels.mark_below(h._parents, top)[: h.n_leaves]
    return inside
