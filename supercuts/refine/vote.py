"""Majority vote of labels within superpixels: the refinement of method sp.

In   labels and superpixels, (H, W) or flat, ids from 0
Out  labels of the same shape, constant within each superpixel
Not  no superpixels are made here
"""

import numpy as np
from jaxtyping import Int, Int32


def majority_vote(
    labels: Int[np.ndarray, "*shape"], superpixels: Int[np.ndarray, "*shape"], n_classes: int
) -> Int32[np.ndarray, "*shape"]:
    """Return the most frequent label of each pixel's superpixel, the smallest of equally frequent ones.

    >>> majority_vote(np.array([3, 1, 1, 2, 0]), np.array([0, 0, 0, 1, 1]), 4).tolist()
    [1, 1, 1, 0, 0]
    """
    n_superpixels = int(superpixels.max()) + 1
    votes = np.bincount(
        superpixels.ravel().astype(np.int64) * n_classes + labels.ravel(), minlength=n_superpixels * n_classes
    )
    winner: np.ndarray = votes.reshape(n_superpixels, n_classes).argmax(axis=1).astype(np.int32)
    voted: np.ndarray = winner[superpixels]
    return voted
