"""Superpixels of scikit-image for method sp; those of SuperCuts are a label map that the caller hands over.

In   (H, W, C) float32 in 0..1
Out  labels (H, W) int32, 0..N-1
Not  no SSN: pipeline.py makes those
"""

import warnings

import numpy as np
from jaxtyping import Float32, Int32

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.refine.config import PartitionConfig


def partition(
    image: Float32[np.ndarray, "height width channels"], config: PartitionConfig
) -> Int32[np.ndarray, "height width"]:
    """Return superpixels by "slic" (of RGB on Lab) or "felzenszwalb"."""
    from skimage.segmentation import felzenszwalb, slic

    if config.method == "ssn":
        raise InputError("partition.method=ssn needs a model: give the labels of its superpixels, or slic.")
    if config.method == "felzenszwalb":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of more than three channels, which are meant
            labels = felzenszwalb(image, config.scale, config.sigma, config.min_size, channel_axis=-1)
    else:
        is_rgb = image.shape[2] == 3
        labels = slic(image, config.n_segments, config.compactness, channel_axis=-1, convert2lab=is_rgb, start_label=0)
    return relabel_consecutive(labels)[0]
