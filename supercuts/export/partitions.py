"""Which partitions of a hierarchy a file gets.

In   a hierarchy, how to cut it or None
Out  Partition: a name, labels per pixel, the tree node of each region
Not  no files
"""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Int32

from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy

SUPERPIXELS = "superpixels"


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """A cut and its name.

    name    scene, object, part; superpixels: the leaves; cut: any other
    labels  (H, W) int32  0..R-1, -1 where the hierarchy has no leaf
    nodes   (R,) int32    the tree node of each region
    """

    name: str
    labels: Int32[np.ndarray, "height width"]
    nodes: Int32[np.ndarray, " regions"]

    def region_of_leaf(self, hierarchy: Hierarchy) -> Int32[np.ndarray, " leaves"]:
        """Return the region of each superpixel."""
        region = np.empty(hierarchy.n_leaves + 1, np.int32)
        region[hierarchy.labels] = self.labels  # -1 to the last, which is no leaf
        return region[:-1]


def partitions(hierarchy: Hierarchy, how: Granularity | None = None) -> list[Partition]:
    """Return the one that `how` asks for; without it each calibrated level, coarsest first, and the superpixels."""
    if how is not None:
        return [_cut(hierarchy, how, how.level or "cut")]
    levels = [_cut(hierarchy, Granularity(level=level), level) for level in hierarchy.levels]
    return [*levels, Partition(SUPERPIXELS, hierarchy.labels, np.arange(hierarchy.n_leaves, dtype=np.int32))]


def _cut(hierarchy: Hierarchy, how: Granularity, name: str) -> Partition:
    keywords = asdict(how)
    return Partition(name, hierarchy.cut(**keywords), hierarchy.cut_nodes(**keywords))
