"""What a superpixel method returns.

In   label maps and the per-pixel maps they were made from
Out  Superpixels
Not  no graph, no tree
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32


@dataclass(frozen=True, slots=True, eq=False)
class PixelMaps:
    """What is known of each pixel before it is grouped.

    color       (C, H, W) float32  CIE Lab of RGB; of C other bands 100 times each (images.color.color_features)
    boundary    (H, W) float32     boundary probability, 0..1
    embeddings  (D, H, W) float32  learned channels; D = 0 without a network. Best laid out in memory as (H, W, D)

    Of networks with region_channels, one value for region_stride x region_stride pixels:
    strength  (h, w) float32     share of people who draw a boundary nearby, 0..1
    regions   (R, h, w) float32  region embedding
    """

    color: Float32[np.ndarray, "bands height width"]
    boundary: Float32[np.ndarray, "height width"]
    embeddings: Float32[np.ndarray, "channels height width"]
    strength: Float32[np.ndarray, "_ _"] | None = None
    regions: Float32[np.ndarray, "_ _ _"] | None = None
    region_stride: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.boundary.shape
        return height, width


@dataclass(frozen=True, slots=True, eq=False)
class Superpixels:
    """A partition of an image into connected superpixels.

    labels  (H, W) int32  ids 0..N-1 in scan order, each one 4-connected component
    n       int           N
    """

    labels: Int32[np.ndarray, "height width"]
    n: int
