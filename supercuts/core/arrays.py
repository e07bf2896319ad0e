"""Small array functions that several stages share."""

from dataclasses import fields
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from supercuts.core.errors import InputError

_MOST_SHOWN = 8  # numbers in an array that a repr writes out


def relabel_consecutive(labels: Int[np.ndarray, "..."]) -> tuple[Int[np.ndarray, "..."], int]:
    """Return labels renumbered 0..R-1 in ascending order of the old ids, int32 of the same shape, and R."""
    ids, inverse = np.unique(labels, return_inverse=True)
    return inverse.reshape(labels.shape).astype(np.int32), int(ids.size)


def channels_last(maps: Shaped[np.ndarray, "channels height width"]) -> Shaped[np.ndarray, "height width channels"]:
    """Return maps with all channels of a pixel adjacent in memory; copies only if necessary.

    Scattered access to pixels then reads one place in memory per pixel, not one per channel.
    """
    return np.ascontiguousarray(maps.transpose(1, 2, 0))


def frozen(array: np.ndarray) -> np.ndarray:
    """Return an array whose memory nobody else uses, after making it and the arrays it is a view of read-only."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner.flags.writeable = False
        owner = owner.base
    return array


def is_frozen(array: np.ndarray) -> bool:
    """Return whether an array and all arrays it is a view of are read-only, and numpy allocated the memory."""
    owner: object = array
    while type(owner) is np.ndarray and not owner.flags.writeable:
        owner = owner.base
    return owner is None


def contingency(
    truth: Int[np.ndarray, "..."], prediction: Int[np.ndarray, "..."]
) -> Int[np.ndarray, "truths predictions"]:
    """Return the table with [i, j] the number of pixels of truth region i and predicted region j.

    Parameters
    ----------
    truth, prediction
        Integers of one shape, ids 0..n-1; rows and columns extend to the highest id of each.

    Returns
    -------
    int64 (truths, predictions)
        Numbers of pixels.

    Raises
    ------
    InputError
        If the arrays differ in shape.

    Examples
    --------
    >>> contingency(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])).tolist()
    [[1, 1], [0, 2]]
    """
    if truth.shape != prediction.shape:
        raise InputError(
            f"truth {truth.shape} and prediction {prediction.shape} differ in shape: score label maps of one image."
        )
    n_truth = int(truth.max()) + 1 if truth.size else 0
    n_prediction = int(prediction.max()) + 1 if prediction.size else 0
    flat = truth.astype(np.int64).ravel() * n_prediction + prediction.ravel()
    return np.bincount(flat, minlength=n_truth * n_prediction).reshape(n_truth, n_prediction)


def arrays_repr(result: Any) -> str:
    """Return the repr of a dataclass of arrays: its name, with the type and shape of each array."""
    parts = []
    for field in fields(result):
        value = getattr(result, field.name)
        is_large = isinstance(value, np.ndarray) and value.size > _MOST_SHOWN
        parts.append(f"{field.name}={f'{value.dtype} {value.shape}' if is_large else repr(value)}")
    return f"{type(result).__name__}({', '.join(parts)})"
