"""Learn what is foreground from how people divide images: no object masks are needed.

In   hierarchies of images that the network was not trained on, with their annotators' segmentations
Out  Perceptrons that judge the nodes of a hierarchy (objects/figure_ground.py)
Not  no files

A segment that somebody drew counts as figure the less the image's frame cuts it: exp(-2 f^2 / a), of f pixels on the
frame and a in all, which is the boundary connectivity of Zhu et al. (CVPR 2014) with human segments in place of
superpixels. Annotators who divide an image coarsely draw objects; those who divide it finely draw their parts. So the
half of the annotators with the fewest segments is learned from.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int32

from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging.perceptrons import Perceptrons
from supercuts.objects.figure_ground import node_features
from supercuts.training.affinity import PerceptronTrainingConfig, fit

_FALL = 2.0  # how fast a segment that meets the frame stops being figure


def learn_figure_ground(
    hierarchies: Sequence[Hierarchy],
    truths: Sequence[Sequence[np.ndarray]],
    config: PerceptronTrainingConfig | None = None,
) -> Perceptrons:
    """Return the perceptrons; truths are, for each image, one (H, W) segmentation per annotator."""
    features = [node_features(h) for h in hierarchies]
    targets, weights = [], []
    for h, of_image in zip(hierarchies, truths, strict=True):
        area = h.areas()
        targets.append(sum_of_figure(h, of_image) / area)
        weights.append(area / h.labels.size)  # large nodes decide about many pixels
    weight = np.concatenate(weights)
    return fit(
        np.concatenate(features),
        np.concatenate(targets).astype(np.float32),
        weight / weight.mean(),
        config or PerceptronTrainingConfig(),
    )


def sum_of_figure(h: Hierarchy, truths: Sequence[Int32[np.ndarray, "height width"]]) -> Float64[np.ndarray, " nodes"]:
    """Return the sum over the pixels of each node of how much they are figure, the mean over the coarser annotators."""
    coarser = sorted(truths, key=lambda truth: int(truth.max()))[: (len(truths) + 1) // 2]
    figure = np.mean([figure_of_segments(truth)[truth] for truth in coarser], axis=0)
    leaves = np.bincount(h.labels.ravel(), figure.ravel(), minlength=h.n_leaves)
    sums: np.ndarray = _kernels.sum_rows_to_root(h.parents, leaves[:, None])[:, 0]
    return sums


def figure_of_segments(truth: Int32[np.ndarray, "height width"]) -> Float64[np.ndarray, " segments"]:
    """Return how much each segment is figure, 0..1: 1 for those that do not touch the frame.

    >>> truth = np.zeros((20, 20), np.int32)
    >>> truth[5:15, 5:15] = 1
    >>> figure_of_segments(truth).round(3).tolist()
    [0.0, 1.0]
    """
    framed = np.ones(truth.shape, bool)
    framed[1:-1, 1:-1] = False
    area = np.bincount(truth.ravel())
    on_frame = np.bincount(truth[framed], minlength=area.size)
    figure: np.ndarray = np.exp(-_FALL * on_frame**2 / np.maximum(area, 1))
    return figure
