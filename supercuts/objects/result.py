"""Results of object and part discovery."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from supercuts.core.arrays import arrays_repr
from supercuts.core.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects found in one image, best first; there is always at least one.

    Parameters
    ----------
    masks
        (K, H, W) bool, disjoint, none empty.
    scores
        (K,) float32, 0..1, in non-increasing order.
    saliency
        (H, W) float32, 0..1, higher where a pixel is more likely to belong to an object.

    Raises
    ------
    InputError
        If masks are empty or overlap, or if shapes do not fit.

    Examples
    --------
    >>> masks = np.array([[[True, True, False, True]]])
    >>> objects = Objects(masks, np.ones(1, np.float32), masks[0].astype(np.float32))
    >>> objects.boxes_yxyx.tolist()
    [[0, 0, 1, 2]]
    """

    masks: Bool[np.ndarray, "objects height width"]
    scores: Float32[np.ndarray, " objects"]
    saliency: Float32[np.ndarray, "height width"]

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if masks are empty or overlap, or if shapes do not fit."""
        n_objects = self.scores.size
        if n_objects == 0 or self.masks.shape != (n_objects, *self.saliency.shape):
            raise InputError(
                f"masks {self.masks.shape}, scores {self.scores.shape} and saliency {self.saliency.shape} do not fit: "
                "give (K, H, W), (K,) and (H, W) with at least one object."
            )
        covered = self.masks.sum(axis=0, dtype=np.int32)
        if not self.masks.any(axis=(1, 2)).all() or covered.max() > 1:
            raise InputError("masks of objects must be disjoint and none empty: give each pixel to one object.")

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        """The (H, W) mask of all objects together."""
        return np.asarray(self.masks.any(axis=0))

    @property
    def boxes_yxyx(self) -> Int64[np.ndarray, "objects 4"]:
        """The box (y0, x0, y1, x1), ends exclusive, of each mask's largest 4-connected component."""
        return np.stack([box_of_largest_component(mask) for mask in self.masks])


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The parts of the objects of one image, nested in them by construction.

    Parameters
    ----------
    labels
        (H, W) int32, 0 outside the objects, 1..P the parts; every number occurs.
    object_of
        (P,) int32, object, 0..K-1, that contains part 1..P.

    Raises
    ------
    InputError
        If labels have gaps.

    Examples
    --------
    >>> Parts(np.array([[0, 1, 2]], np.int32), np.array([0, 0], np.int32)).object_of.tolist()
    [0, 0]
    """

    labels: Int32[np.ndarray, "height width"]
    object_of: Int32[np.ndarray, " parts"]

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if labels have gaps."""
        low = int(self.labels.min(initial=0))
        present = np.flatnonzero(np.bincount(self.labels.ravel() - low)) + low
        expected = np.arange(self.object_of.size + 1)
        if not np.array_equal(present[present > 0], expected[1:]) or low < 0:
            raise InputError(
                f"labels hold {present[:10]}; expected 0 (background) and every part 1..{self.object_of.size}, one for "
                "each entry of object_of."
            )


def box_of_largest_component(mask: Bool[np.ndarray, "height width"]) -> Int64[np.ndarray, "4"]:
    """Return (y0, x0, y1, x1), ends exclusive, of the largest 4-connected component; ties go to the first.

    >>> box_of_largest_component(np.array([[True, False, False], [False, True, True]])).tolist()
    [1, 1, 2, 3]
    """
    from scipy import ndimage  # slow to import

    components, n = ndimage.label(mask)
    if n == 0:
        raise InputError("the mask is empty: it has no box.")
    largest = int(np.bincount(components.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(components)[largest]
    return np.array([rows.start, columns.start, rows.stop, columns.stop], np.int64)
