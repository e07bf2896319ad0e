"""Input checks shared by the metrics: tables of several annotators, trees, thresholds, images to aggregate."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Num

from supercuts.core.errors import InputError


@runtime_checkable  # the tests check annotations at run time
class ThresholdScores(Protocol):
    """Scores of one image at several thresholds."""

    @property
    def thresholds(self) -> np.ndarray:
        """(T,) numbers, ascending."""


def stack_tables(
    contingencies: Sequence[Int[np.ndarray, "_ regions"]],
) -> tuple[Int[np.ndarray, "truths regions"], Int[np.ndarray, " starts"]]:
    """Return the annotators' tables, stacked and int64, and the first row of each, followed by the row count.

    >>> table, starts = stack_tables([np.array([[1, 1], [0, 2]]), np.array([[1, 3]])])
    >>> table.tolist(), starts.tolist()
    ([[1, 1], [0, 2], [1, 3]], [0, 2, 3])
    """
    if not contingencies:
        raise InputError("There are no annotators: give at least one truth segmentation.")
    columns = [table.sum(axis=0) for table in contingencies]
    if any(column.shape != columns[0].shape or (column != columns[0]).any() for column in columns):
        raise InputError(
            f"contingency tables {[table.shape for table in contingencies]} differ in their column sums: expected the "
            "pixel counts of the same regions in each. Build all of them with one label map."
        )
    if columns[0].sum() < 1 or any((table < 0).any() for table in contingencies):
        raise InputError(
            "A contingency table counts pixels: it needs a pixel and no negative count. Use contingency()."
        )
    starts = np.cumsum([0, *(table.shape[0] for table in contingencies)])
    return np.concatenate(contingencies).astype(np.int64), starts


def check_tree(parents: Int[np.ndarray, " _"], altitudes: Float[np.ndarray, " _"], n_leaves: int) -> None:
    """Raise InputError unless the arrays are a tree of n_leaves leaves: leaves first, root last, rising altitudes."""
    n_nodes = parents.size
    if altitudes.size != n_nodes or n_nodes < max(n_leaves, 1):
        raise InputError(
            f"{n_nodes} parents, {altitudes.size} altitudes and {n_leaves} leaves do not make a tree: expected as many "
            "parents as altitudes and at least one node per leaf. Build the tables from the tree's own labels."
        )
    first = np.maximum(np.arange(1, n_nodes), n_leaves)  # lowest valid id of each node's parent
    if parents[-1] != n_nodes - 1 or (parents[:-1] < first).any() or (parents[:-1] >= n_nodes).any():
        raise InputError(
            f"parents[i] must exceed i and not be one of the {n_leaves} leaves, and the last node be its own parent: "
            "order nodes leaves first."
        )
    if (altitudes[parents] < altitudes).any() or np.isnan(altitudes).any():
        raise InputError("A parent lies below its child, or an altitude is NaN: make altitudes rise towards the root.")


def check_thresholds(thresholds: Num[np.ndarray, " _"]) -> None:
    """Raise InputError if there are no thresholds, one is NaN, or they do not ascend strictly."""
    if thresholds.size == 0 or not (np.diff(thresholds) > 0).all() or np.isnan(thresholds).any():
        raise InputError(f"thresholds={thresholds} must hold one value or more and rise: sort them.")


def map_thresholds(thresholds: Num[np.ndarray, " thresholds"] | None, n_maps: int) -> Float[np.ndarray, " {n_maps}"]:
    """Return the thresholds of n_maps segmentations of one image, one each; if None, 1, 2, ....

    >>> map_thresholds(None, 3).tolist()
    [1.0, 2.0, 3.0]
    """
    if n_maps == 0:
        raise InputError("label_maps is empty. Give at least one segmentation of the image.")
    if thresholds is None:
        return np.arange(1.0, n_maps + 1)
    check_thresholds(thresholds)
    if thresholds.size != n_maps:
        raise InputError(f"{thresholds.size} thresholds for {n_maps} label maps: give one for each, or none.")
    return np.asarray(thresholds, np.float64)


def common_thresholds(scores: Sequence[ThresholdScores]) -> Num[np.ndarray, " thresholds"]:
    """Return the thresholds of all images; raise InputError without images or if their thresholds differ."""
    if not scores:
        raise InputError("There are no images to aggregate: give the scores of at least one.")
    for index, image in enumerate(scores):
        if not np.array_equal(image.thresholds, scores[0].thresholds):
            raise InputError(
                f"image {index} has {image.thresholds.size} thresholds, image 0 has {scores[0].thresholds.size}, or "
                "their values differ: score every image at the same thresholds."
            )
    return scores[0].thresholds
