"""What a superpixel method returns.

In   label maps
Out  Superpixels
Not  no graph, no tree
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32


@dataclass(frozen=True, slots=True, eq=False)
class Superpixels:
    """A partition of an image into connected superpixels.

    labels  (H, W) int32  ids 0..N-1 in scan order, each one 4-connected component; -1 where a pixel is not valid
    n       int           N
    """

    labels: Int32[np.ndarray, "height width"]
    n: int
