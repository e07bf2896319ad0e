"""Parts that mean the same in every image: descriptors of the parts of many images, clustered together.

In   Hierarchy, Objects, Parts and leaf features of each image
Out  PartDescriptors; the shared number of each part of each image
Not  no finding of parts, no files
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Float64, Int32

from supercuts.core.checks import check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.color import color_features
from supercuts.objects.result import Objects, Parts

_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class PartDescriptors:
    """What the P parts of one image are compared by.

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
    """Return the descriptors of the parts of one image; without features h.embeddings are taken."""
    if h.image is None:
        raise InputError("the hierarchy holds no image, whose colours are compared. Save it with image=True.")
    features = h.embeddings if features is None else features
    n = parts.object_of.size
    inside = parts.labels > 0
    part = parts.labels[inside] - 1
    area = np.bincount(part, minlength=n).astype(np.float64)
    table = np.bincount(part * h.n_leaves + h.labels[inside], minlength=n * h.n_leaves).reshape(n, h.n_leaves)
    mean_features = table @ features.astype(np.float64) / area[:, None]
    color = color_features(h.image)[:, inside]
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

    Features, colour and place weigh the same: each is divided by its spread over all parts. Fewer numbers than k occur
    if fewer parts differ; parts of one image may have the same number.
    """
    from sklearn.cluster import KMeans  # slow to import

    check_whole("k", k, remedy="Give how many kinds of parts there are.")
    check_in_range("k", k, 1, np.inf, remedy="There is at least one kind of parts.")
    if not descriptors:
        raise InputError("there are no parts: give the descriptors of at least one image.")
    groups = (np.concatenate([getattr(one, field.name) for one in descriptors]) for field in fields(PartDescriptors))
    scaled = np.concatenate([group / (np.sqrt(group.var(axis=0).sum()) + _TINY) for group in groups], axis=1)
    k = min(k, len(np.unique(scaled, axis=0)))
    clusters = KMeans(k, n_init=10, random_state=seed).fit_predict(scaled)
    rank = np.empty(k, np.int32)
    rank[np.argsort(-np.bincount(clusters, minlength=k), kind="stable")] = np.arange(1, k + 1)
    return np.split(rank[clusters], np.cumsum([len(one.place) for one in descriptors])[:-1])


def paint_shared(parts: Parts, numbers: Int32[np.ndarray, " parts"]) -> Int32[np.ndarray, "height width"]:
    """Return the (H, W) shared number of each pixel, 0 outside the objects."""
    painted: np.ndarray = np.concatenate([[0], numbers]).astype(np.int32)[parts.labels]
    return painted


def _box(mask: np.ndarray) -> np.ndarray:
    """Return y0, x0, y1, x1 of all of a mask, ends exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float64)
