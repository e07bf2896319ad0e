"""Explain image classifiers by regions: segments for LIME, and a masker with our tree for SHAP."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int32, Shaped

from supercuts.core.checks import check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.export.graphs import to_linkage
from supercuts.hierarchy.tree import Hierarchy
from supercuts.model import Model, load


def lime_segments(
    n_segments: int = 50, model: Model | None = None
) -> Callable[[np.ndarray], Int32[np.ndarray, "height width"]]:
    """Return a segmentation_fn for LIME that gives exactly `n_segments` segments.

    Parameters
    ----------
    n_segments
        Number of segments, from 1; fewer only if the image has fewer pixels.
    model
        Model that segments; if None, "compact".

    Returns
    -------
    callable
        Function from an image, as for `Model.segment`, to int32 (H, W) segments 0..N-1, a cut of its hierarchy.

    Raises
    ------
    InputError
        If `n_segments` is below 1.

    Examples
    --------
    >>> segmentation_fn = lime_segments(7)
    >>> len(np.unique(segmentation_fn(np.zeros((20, 30, 3), np.uint8))))
    7
    """
    check_whole("n_segments", n_segments, remedy="Give the number of segments.")
    check_in_range("n_segments", n_segments, 1, np.inf, remedy="Ask for at least one.")

    def segmentation_fn(image: np.ndarray) -> Int32[np.ndarray, "height width"]:
        segmenter = load("compact") if model is None else model
        h = segmenter.segment(image, max(n_segments, segmenter.config.superpixels))
        return h.cut(regions=min(n_segments, h.n_leaves))

    return segmentation_fn


class ShapMasker:
    """Masker for shap.PartitionExplainer that hides regions, with our tree as the partition tree.

    ``shap.maskers.Image`` splits an image along its axes instead. Features are the superpixels, so the values have the
    shape (1, N, outputs); `to_pixels` maps those of one output to the image.

    Parameters
    ----------
    hierarchy
        Hierarchy of the image to explain, of at least two superpixels.
    hidden
        What replaces hidden pixels: a number, a colour (C,) or an image (H, W, C), such as a blurred one; if None, the
        mean colour of the image.

    Examples
    --------
    >>> labels, parents = np.array([[0, 1, 1]], np.int32), np.array([2, 2, 2], np.int32)
    >>> h = Hierarchy(labels, parents, np.array([0, 0, 0.5], np.float32), np.zeros((2, 0), np.float32))
    >>> masker = ShapMasker(h, hidden=0)
    >>> masker(np.array([False, True]), np.full((1, 3, 1), 9))[0].ravel().tolist()
    [0, 9, 9]
    >>> masker.to_pixels(np.array([0.5, 2.0])).tolist()
    [[0.5, 2.0, 2.0]]
    """

    image_data = True
    immutable_outputs = True  # each call returns a new array
    fixed_background = False  # the colour of hidden pixels depends on the image

    def __init__(self, hierarchy: Hierarchy, hidden: Any = None) -> None:
        self.labels = hierarchy.labels
        self.shape = (1, hierarchy.n_leaves)
        self.clustering = to_linkage(hierarchy)
        self.hidden = hidden
        self.mask_shapes = lambda *_: [self.shape[1:]]  # shap asks for the shape of the values

    def __call__(
        self, mask: Bool[np.ndarray, " leaves"] | None, x: Shaped[np.ndarray, "height width channels"]
    ) -> tuple[np.ndarray]:
        """Return the image (1, H, W, C) with only the superpixels that are true in the mask; None hides all."""
        image = np.asarray(x)
        if image.shape[:2] != self.labels.shape:
            raise InputError(f"the image has shape {image.shape}, its hierarchy {self.labels.shape}. Give its image.")
        is_shown = np.append(np.zeros(self.shape[1], bool) if mask is None else mask, True)  # last: invalid pixels
        hidden = image.mean(axis=(0, 1)) if self.hidden is None else self.hidden
        return (np.where(is_shown[self.labels][..., None], image, hidden).astype(image.dtype)[None],)

    def to_pixels(self, values: Float64[np.ndarray, " leaves"]) -> Float64[np.ndarray, "height width"]:
        """Return the value of each pixel's superpixel; invalid pixels get 0.

        Parameters
        ----------
        values
            (N,) float64, value of each superpixel for one output, such as ``explanation.values[0, :, 0]``.

        Returns
        -------
        float64 (H, W)
            Map to draw over the image.

        Examples
        --------
        >>> masker.to_pixels(np.array([1.0, 3.0])).tolist()
        [[1.0, 3.0, 3.0]]
        """
        pixels: np.ndarray = np.append(values, 0.0)[self.labels]
        return pixels
