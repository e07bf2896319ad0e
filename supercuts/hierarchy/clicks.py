"""Find the object that clicks point at: some on it, some beside it.

In   labels (H, W), parents (M,), altitudes (M,) of a valid tree; the leaves clicked on and beside the object
Out  the probability (N,) that each leaf belongs to the object
Not  no state: every answer follows from the tree and all clicks so far

A tree node is foreground, background, or mixed; below a mixed node each child is one of the three again. How likely
each is follows from how the node lies in the tree; clicks rule out what contradicts them. Summing over all labellings
is exact and takes two passes over the tree.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from supercuts.hierarchy._kernels import clicks as _kernels_clicks
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.regions import frame_contact

# weights of 1 and of node_features: whether a node below a mixed one is mixed too; and foreground if it is not.
# Logistic regression on 206 images of ECSSD (benchmarks/clicks.py --fit) without what counted little; those of "mixed"
# are 0.6 of the fitted ones, its constant 1 higher: the highest mean IoU over ten clicks on the same images
_MIXED = np.array([2.0, 0.9, -0.75, 0.0, -0.2])
_FOREGROUND = np.array([1.7, 0.0, 0.0, 0.27, -3.95])
_LEAST_ALTITUDE = 0.002  # altitudes of 0 and 1 have no logit
_MOST_FRAME = 3.0


def foreground_probability(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
    clicked: Int64[np.ndarray, " leaves"],
) -> Float64[np.ndarray, " leaves"]:
    """Return the probability of each leaf; clicked: 1 where a leaf was clicked on, 2 beside the object, 0 elsewhere."""
    features = node_features(labels, parents, altitudes, n_leaves)
    # a node that merges late but is made of what merged early is one thing; large nodes are foreground rather than
    # small ones; what runs along the frame of the image is background
    mixed, foreground = (1 / (1 + np.exp(-(w[0] + features @ w[1:]))) for w in (_MIXED, _FOREGROUND))
    probability: np.ndarray = _kernels_clicks.foreground_of_leaves(parents, mixed, foreground, clicked)
    return probability


def object_at_clicks(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
    clicked: Int64[np.ndarray, " leaves"],
) -> Bool[np.ndarray, " leaves"]:
    """Return which leaves are more likely object than not; those clicked on always are, those beside it never."""
    return foreground_probability(labels, parents, altitudes, n_leaves, clicked) > 0.5


def node_features(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
) -> Float64[np.ndarray, "nodes 4"]:
    """Return of each node: logits of its altitude and of its parent's, log of its share of the image, frame contact.

    Frame contact is the pixels on the frame of the image over twice the side of a square of the node's area, at most 3.
    """
    area = _kernels.sum_to_root(parents, _kernels.count_pixels(labels, n_leaves))
    on_frame = _kernels.sum_to_root(parents, frame_contact(labels, n_leaves))
    contact = np.minimum(on_frame / (2 * np.sqrt(area)), _MOST_FRAME)
    altitude = altitudes.astype(np.float64).clip(_LEAST_ALTITUDE, 1 - _LEAST_ALTITUDE)
    logit = np.log(altitude / (1 - altitude))
    return np.stack([logit, logit[parents], np.log(area / area[-1]), contact], axis=1)
