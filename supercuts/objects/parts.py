"""Divide objects into parts: first the objects, then what is inside them.

In   Hierarchy, Objects found in it, features (N, D) of its leaves
Out  Parts, nested in the objects by construction; optionally the same numbers for the same parts in a set of images
Not  no discovery of objects (discover.py), no names of parts

The two stages are those of DeepCut (Aflalo et al., ICCVW 2023), whose second stage uses only the nodes of the object.
Each method is one entry of METHODS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Int64

from supercuts.core.checks import check_choice, check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.core.threads import Progress
from supercuts.hierarchy import _kernels
from supercuts.hierarchy.cuts import altitude_of_level, cut_by_altitude, cut_by_count, paint
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import color_features
from supercuts.objects.deep_spectral import spectral_pairs, spectral_regions
from supercuts.objects.deepcut import DeepCutConfig, deepcut
from supercuts.objects.node_graph import NodeGraph, check_features, label_graph
from supercuts.objects.result import Objects, Parts

_USUAL = 4  # parts of an object if neither the caller nor a level decides


@dataclass(frozen=True, slots=True, eq=False)
class PartTask:
    """Input of a registered method: one object, as leaves of a hierarchy.

    inside    (N,) bool  leaves of the object
    features  (L, D)     features of these leaves
    graph     NodeGraph  graph of these leaves
    k         int        number of parts; None: the method decides
    """

    hierarchy: Hierarchy
    inside: Bool[np.ndarray, " leaves"]
    features: Float[np.ndarray, "inside channels"]
    graph: NodeGraph
    k: int | None
    seed: int
    progress: Progress | None


def _by_tree(task: PartTask) -> Int64[np.ndarray, " inside"]:
    """Cut the tree of the object's leaves, into k regions or at the level "part"."""
    h = task.hierarchy
    parents, nodes = _kernels.tree.restrict(h._parents, task.inside)
    altitudes, n = h._altitudes[nodes], int(task.inside.sum())
    if task.k is None and "part" in h.levels:
        cut = cut_by_altitude(parents, altitudes, n, altitude_of_level(h.levels, "part"))
    else:
        cut = cut_by_count(parents, altitudes, n, min(task.k or _USUAL, n))
    return cut.region_of_leaf.astype(np.int64)


def _by_spectrum(task: PartTask) -> Int64[np.ndarray, " inside"]:
    """Cluster the eigenvectors of the object's own graph; if k is None, the largest gap between eigenvalues sets it."""
    check_features(task.features, task.graph)
    if task.graph.n_nodes == 1:
        return np.zeros(1, np.int64)
    n_vectors = max(task.k - 1, 1) if task.k else _USUAL  # k - 1 eigenvectors separate k parts
    pairs = spectral_pairs(task.features, task.graph, min(n_vectors, task.graph.n_nodes - 1))
    return spectral_regions(pairs, task.graph, task.k, task.seed)


def _by_deepcut(task: PartTask) -> Int64[np.ndarray, " inside"]:
    """Divide the object into k parts with a network optimised for their normalised cut."""
    check_features(task.features, task.graph)
    config = DeepCutConfig(n_parts=task.k or _USUAL, seed=task.seed)
    parts: np.ndarray = deepcut(task.features.astype(np.float32), None, config, task.progress).parts
    return parts


METHODS: dict[str, Callable[[PartTask], Int64[np.ndarray, " inside"]]] = {
    "tree": _by_tree,
    "spectral": _by_spectrum,
    "deepcut": _by_deepcut,
}


def find_parts(
    h: Hierarchy,
    objects: Objects,
    features: Float[np.ndarray, "leaves channels"] | None = None,
    k: int | None = None,
    method: str = "tree",
    seed: int = 0,
    progress: Progress | None = None,
) -> Parts:
    """Return the parts of each object, numbered by their first leaf, object by object.

    features  (N, D) of the leaves; None: h._embeddings
    k         number of parts of each object: exact for "tree", a maximum for the other methods, and never more than the
              object's leaves. None: "tree" uses the regions of the level "part", "spectral" the largest gap between
              eigenvalues; otherwise 4

    A leaf belongs to an object if most of its pixels do. Parts cover the object's mask exactly, except for pixels that
    the hierarchy's own mask excludes.
    """
    check_choice("method", method, METHODS)
    if k is not None:
        check_whole("k", k, remedy="Give how many parts an object should have.")
        check_in_range("k", k, 1, np.inf, remedy="Ask for at least one part.")
    if objects.saliency.shape != h.shape:
        raise InputError(
            f"objects of an image {objects.saliency.shape} do not fit a hierarchy {h.shape}: find them in it."
        )
    features = h._embeddings if features is None else features
    graph = label_graph(h._labels)
    areas = graph.area
    labels = np.zeros(h.shape, np.int32)
    object_of: list[int] = []
    for i, mask in enumerate(objects.masks & (h._labels >= 0)):
        if not mask.any():
            raise InputError(f"object {i} lies on masked pixels: find objects in this hierarchy.")
        covered = np.bincount(h._labels[mask], minlength=h.n_leaves)
        # leaves that lie mostly in the mask; if there are none, leaves that overlap it
        inside = 2 * covered > areas if (2 * covered > areas).any() else covered > 0
        task = PartTask(h, inside, features[inside], graph.subgraph(inside), k, seed, progress)
        part = np.full(h.n_leaves, -1, np.int32)
        part[inside] = _by_first_leaf(METHODS[method](task))
        if np.array_equal(covered, inside * areas):  # the mask is a union of leaves, like those from a tree
            painted = paint(np.where(inside, len(object_of) + 1 + part, 0).astype(np.int32), h._labels)
            labels += np.maximum(painted, 0)  # -1 where the hierarchy has no leaf
        else:
            labels = _paint_mask(labels, mask, part[h._labels], len(object_of))
        object_of += [i] * (int(labels.max()) - len(object_of))
    return Parts(labels, np.array(object_of, np.int32))


def _by_first_leaf(part: Int64[np.ndarray, " inside"]) -> Int64[np.ndarray, " inside"]:
    _, first, inverse = np.unique(part, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _paint_mask(
    labels: np.ndarray, mask: np.ndarray, part: np.ndarray, n_before: int
) -> Int32[np.ndarray, "height width"]:
    """Return the labels with the parts of one object; pixels of its mask that no part covers take the nearest part."""
    is_missing = mask & (part < 0)
    if is_missing.any():
        from scipy import ndimage  # slow to import

        nearest = ndimage.distance_transform_edt(~(mask & (part >= 0)), return_distances=False, return_indices=True)
        part = part[tuple(nearest)]
    inside = part[mask]
    is_found = np.bincount(inside) > 0  # a part whose leaves lie outside the mask gets no number
    painted = labels.copy()
    painted[mask] = (n_before + np.cumsum(is_found, dtype=np.int32))[inside]
    return painted


_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class PartDescriptors:
    """Descriptors for comparing the P parts of one image.

    features  (P, D) float64  mean features
    color     (P, 3) float64  mean Lab
    place     (P, 3) float64  row and column in the object's box, 0..1, and share of the object's area
    """

    features: Float64[np.ndarray, "parts channels"]
    color: Float64[np.ndarray, "parts 3"]
    place: Float64[np.ndarray, "parts 3"]


def describe_parts(
    h: Hierarchy, objects: Objects, parts: Parts, features: Float[np.ndarray, "leaves channels"] | None = None
) -> PartDescriptors:
    """Return the descriptors of the parts of one image; if features is None, use h.embeddings."""
    if h._image is None:
        raise InputError("the hierarchy holds no image to compare colours of. Save it with image=True.")
    features = h._embeddings if features is None else features
    n = parts.object_of.size
    inside = parts.labels > 0
    part = parts.labels[inside] - 1
    area = np.bincount(part, minlength=n).astype(np.float64)
    table = np.bincount(part * h.n_leaves + h._labels[inside], minlength=n * h.n_leaves).reshape(n, h.n_leaves)
    mean_features = table @ features.astype(np.float64) / area[:, None]
    color = color_features(h._image)[:, inside]
    mean_color = np.stack([np.bincount(part, band, minlength=n) for band in color], axis=1) / area[:, None]
    rows, columns = np.nonzero(inside)
    place = np.stack([np.bincount(part, axis, minlength=n) for axis in (rows, columns)], axis=1) / area[:, None]
    boxes = np.stack([_box(mask) for mask in objects.masks])[parts.object_of]
    place = (place - boxes[:, :2]) / np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    of_object = np.bincount(parts.object_of, area)
    share = (area / of_object[parts.object_of])[:, None]
    return PartDescriptors(mean_features, mean_color, np.concatenate([place, share], axis=1))


def share_parts(descriptors: Sequence[PartDescriptors], k: int, seed: int = 0) -> list[Int32[np.ndarray, " _"]]:
    """Return the shared number 1..k of each part of each image, by k-means over all parts; 1 is the most frequent.

    Features, colour and place weigh the same: each is divided by its spread over all parts. Fewer than k numbers occur
    if fewer parts differ; parts of one image may have the same number.
    """
    from sklearn.cluster import KMeans  # slow to import

    check_whole("k", k, remedy="Give how many kinds of parts there are.")
    check_in_range("k", k, 1, np.inf, remedy="There is at least one kind of parts.")
    if not descriptors:
        raise InputError("there are no parts: give the descriptors of at least one image.")
    groups = (np.concatenate([getattr(item, field.name) for item in descriptors]) for field in fields(PartDescriptors))
    scaled = np.concatenate([group / (np.sqrt(group.var(axis=0).sum()) + _TINY) for group in groups], axis=1)
    k = min(k, len(np.unique(scaled, axis=0)))
    clusters = KMeans(k, n_init=10, random_state=seed).fit_predict(scaled)
    rank = np.empty(k, np.int32)
    rank[np.argsort(-np.bincount(clusters, minlength=k), kind="stable")] = np.arange(1, k + 1)
    return np.split(rank[clusters], np.cumsum([len(item.place) for item in descriptors])[:-1])


def paint_shared(parts: Parts, numbers: Int32[np.ndarray, " parts"]) -> Int32[np.ndarray, "height width"]:
    """Return the (H, W) shared number of each pixel, 0 outside the objects."""
    painted: np.ndarray = np.concatenate([[0], numbers]).astype(np.int32)[parts.labels]
    return painted


def _box(mask: np.ndarray) -> np.ndarray:
    """Return the box y0, x0, y1, x1 of a whole mask, ends exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float64)
