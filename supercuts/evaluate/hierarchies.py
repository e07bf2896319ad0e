"""Score hierarchies as the BSDS500 benchmark does, and by their objects, parts and nodes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from supercuts.core.arrays import arrays_repr, contingency
from supercuts.core.errors import InputError
from supercuts.datasets.sample import Sample
from supercuts.evaluate.parallel import bootstrap_95, check_truths, naming, pair
from supercuts.hierarchy.contours import contour_tree
from supercuts.metrics import boundary, nodes, objects, region
from supercuts.metrics.boundary import BoundaryScores, suppress_non_maxima, thin_boundaries
from supercuts.metrics.nodes import NodeScores
from supercuts.metrics.objects import ObjectsPartsScores
from supercuts.metrics.region import THRESHOLDS, PooledIoU, RegionScores
from supercuts.metrics.superpixel import check_label_map


@runtime_checkable  # the tests check annotations at run time
class TreeArrays(Protocol):
    """A tree whose regions can be scored: leaf ids of pixels, parents and altitudes, leaves first."""

    @property
    def labels(self) -> np.ndarray:
        """(H, W) integers: the leaf of each pixel."""

    @property
    def parents(self) -> np.ndarray:
        """(M,) integers above their index; the root, last, is its own parent."""

    @property
    def altitudes(self) -> np.ndarray:
        """(M,) floats that rise towards the root."""


@runtime_checkable
class ContouredTree(TreeArrays, Protocol):
    """A tree that draws its contour map, as supercuts.Hierarchy does."""

    def ucm(self) -> np.ndarray:
        """Return the (2H+1, 2W+1) contour map."""


@dataclass(frozen=True, slots=True, eq=False)
class HierarchyScores:
    """Scores of one image for every benchmark; None where they are undefined or were not requested.

    regions        covering, PRI, VI; None for soft boundary maps
    objects_parts  F of objects and parts; None for soft boundary maps
    pooled_iou     mIoU of Kim and Kanezaki; None for soft boundary maps
    nodes          best node, best cut and best disjoint nodes; None for results that are not a tree
    boundaries     matched boundary pixels; None if not requested
    """

    regions: RegionScores | None = None
    objects_parts: ObjectsPartsScores | None = None
    pooled_iou: PooledIoU | None = None
    nodes: NodeScores | None = None
    boundaries: BoundaryScores | None = None

    __repr__ = arrays_repr


_AGGREGATE: dict[str, Callable[[Any], Any]] = {
    "regions": region.aggregate,
    "objects_parts": objects.aggregate_objects_parts,
    "pooled_iou": region.aggregate_pooled_iou,
    "nodes": nodes.aggregate_nodes,
    "boundaries": boundary.aggregate_boundary,
}
_PREFIX = {"objects_parts": "objects_parts_", "pooled_iou": "miou_", "boundaries": "boundary_"}


@dataclass(frozen=True, slots=True, eq=False)
class HierarchyTable:
    """Hierarchy scores over a dataset; names and scores, one per image, are in the order of the samples."""

    names: tuple[str, ...]
    scores: tuple[HierarchyScores, ...]

    __repr__ = arrays_repr

    @property
    def figures(self) -> dict[str, float]:
        """All figures over all images by name: `covering_ods`, `boundary_ods_f`, `boundary_ap`, ...."""
        return summarise(self.scores)

    def interval_95(self) -> dict[str, tuple[float, float]]:
        """Return the 95 % bootstrap interval over images of each figure."""
        return bootstrap_95(summarise, self.scores)


def score_hierarchy(
    hierarchy: ContouredTree,
    truths: Sequence[np.ndarray],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
    boundaries: bool = True,
) -> HierarchyScores:
    """Score a hierarchy at every threshold (altitude <= threshold is merged) against all annotators' (H, W) truths."""
    ucm = np.asarray(hierarchy.ucm()) if boundaries else None
    return _score_tree(hierarchy, ucm, truths, thresholds)


def score_disjoint_nodes(hierarchy: TreeArrays, truth: np.ndarray, background: int | None = 0) -> nodes.DisjointNodes:
    """Return the best disjoint nodes for the objects of a truth (H, W); pixels of label `background` are no object.

    The order of the objects is that of their labels. Their mean index is an upper bound of the score of any tracker
    that chooses among the nodes of the tree.
    """
    table = contingency(np.unique(truth, return_inverse=True)[1].reshape(truth.shape), np.asarray(hierarchy.labels))
    is_object = np.unique(truth) != background
    return nodes.best_disjoint_nodes(table[is_object], hierarchy.parents, table.sum(axis=0))


def score_contour_map(
    ucm: Float[np.ndarray, "rows columns"],
    truths: Sequence[np.ndarray],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
    boundaries: bool = True,
) -> HierarchyScores:
    """Score a double-size contour map (the benchmark's ucm2), in the precision of its own values.

    >>> ucm, truth = np.zeros((3, 5)), np.array([[0, 1]])
    >>> ucm[:, 2] = 0.5
    >>> figures = summarise([score_contour_map(ucm, [truth])])
    >>> figures["covering_ods"], figures["boundary_ods_f"]
    (1.0, 1.0)
    """
    return _score_tree(contour_tree(ucm), ucm if boundaries else None, truths, thresholds)


def score_segmentations(
    label_maps: Sequence[Int[np.ndarray, "_ _"]], truths: Sequence[np.ndarray], boundaries: bool = True
) -> HierarchyScores:
    """Score a list of segmentations of one image, nested or not, at the thresholds 1, 2, ...."""
    if len(label_maps) == 0:
        raise InputError("There are no segmentations: give at least one label map of the image.")
    for labels in label_maps:
        check_label_map("labels", labels)
        check_truths(labels.shape, truths)
    thin_truths = [thin_boundaries(truth) for truth in truths] if boundaries else []
    return HierarchyScores(
        regions=region.region_label_scores(label_maps, truths),
        objects_parts=objects.label_objects_parts(label_maps, truths),
        pooled_iou=region.label_pooled_iou(label_maps, truths),
        boundaries=boundary.boundary_label_scores(label_maps, thin_truths) if boundaries else None,
    )


def score_soft_map(
    strength: Float[np.ndarray, "height width"],
    truths: Sequence[np.ndarray],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
    nms: bool = False,
) -> HierarchyScores:
    """Score a soft boundary map; nms=True applies non-maximum suppression first, which thick responses need."""
    check_truths(strength.shape, truths)
    thin_truths = [thin_boundaries(truth) for truth in truths]
    strength = suppress_non_maxima(strength) if nms else strength
    return HierarchyScores(boundaries=boundary.map_scores(strength, thin_truths, thresholds))


def score_regions(
    tree: TreeArrays, truths: Sequence[np.ndarray], thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS
) -> RegionScores:
    """Return only the covering, PRI and VI of a tree."""
    return region.tree_scores(_tables(tree, truths), tree.parents, tree.altitudes, thresholds)


def evaluate_hierarchies(
    predictions: Callable[[np.ndarray], ContouredTree] | Iterable[ContouredTree],
    samples: Sequence[Sample],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
    boundaries: bool = True,
) -> HierarchyTable:
    """Score the hierarchies of a data set as the BSDS500 benchmark does, and by their objects, parts and nodes.

    Parameters
    ----------
    predictions
        Hierarchies, one per sample in the same order, or a function that returns one for each RGB image.
    samples
        Images with their annotations, such as `BSDS500`.
    thresholds
        (T,) altitudes to cut at, ascending.
    boundaries
        Whether to score boundaries, which takes most of the time.

    Returns
    -------
    HierarchyTable
        Scores of each image; ``figures`` and ``interval_95()`` summarise them.

    Raises
    ------
    InputError
        If there are no samples, or not one prediction of the right size for each.

    Examples
    --------
    >>> from pathlib import Path
    >>> from supercuts.hierarchy.tree import Hierarchy
    >>> photo = Sample("photo", Path("photo.png"), Path("photo.mat"), lambda _: [np.array([[0, 0, 1, 1]], np.int32)])
    >>> labels, parents = np.array([[0, 0, 1, 1]], np.int32), np.array([2, 2, 2], np.int32)
    >>> h = Hierarchy(labels, parents, np.array([0, 0, 0.5], np.float32), np.zeros((2, 0), np.float32))
    >>> evaluate_hierarchies([h], [photo], boundaries=False).figures["covering_ods"]
    1.0
    """
    scores = []
    for sample, _, hierarchy in pair(predictions, samples):
        with naming(sample.name):
            scores.append(score_hierarchy(hierarchy, sample.truths, thresholds, boundaries))
    return HierarchyTable(tuple(sample.name for sample in samples), tuple(scores))


def summarise(scores: Sequence[HierarchyScores]) -> dict[str, float]:
    """Return the figures of every benchmark for which all images have scores."""
    if len(scores) == 0:
        raise InputError("There are no images to summarise: give the scores of at least one.")
    figures: dict[str, float] = {}
    for field in fields(HierarchyScores):
        parts = [getattr(image, field.name) for image in scores]
        if all(part is not None for part in parts):
            values: Mapping[str, float] = asdict(_AGGREGATE[field.name](parts))
            figures |= {_PREFIX.get(field.name, "") + name: value for name, value in values.items()}
    return figures


def _score_tree(
    tree: TreeArrays, ucm: np.ndarray | None, truths: Sequence[np.ndarray], thresholds: np.ndarray
) -> HierarchyScores:
    tables = _tables(tree, truths)
    thin_truths = [] if ucm is None else [thin_boundaries(truth) for truth in truths]
    return HierarchyScores(
        regions=region.tree_scores(tables, tree.parents, tree.altitudes, thresholds),
        objects_parts=objects.tree_objects_parts(tables, tree.parents, tree.altitudes, thresholds),
        pooled_iou=region.tree_pooled_iou(tables, tree.parents, tree.altitudes, thresholds),
        nodes=nodes.tree_nodes(tables, tree.parents, tree.altitudes),
        boundaries=None if ucm is None else boundary.ucm_scores(ucm, thin_truths, thresholds),
    )


def _tables(tree: TreeArrays, truths: Sequence[np.ndarray]) -> list[np.ndarray]:
    labels = tree.labels  # read once: a Hierarchy returns a copy each time
    check_label_map("hierarchy.labels", labels)
    check_truths(labels.shape, truths)
    return [contingency(truth, labels) for truth in truths]
