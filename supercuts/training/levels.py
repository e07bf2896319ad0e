"""Choose the altitudes of the levels: cuts with as many regions as the coarsest, median and finest annotator.

In   trees of images, and how their annotators divide the leaves
Out  an altitude for each level, and how well it does
Not  no merging, no files

Numbers are compared by their geometric means over the images. Scores of agreement would choose badly: covering and the
Rand index, which weigh regions by their area, are nearly the same at 10 and at 30 regions beside an annotator who drew
30, most of them small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from supercuts.hierarchy.cuts import LEVELS
from supercuts.merging.agglomerative import MergeTree
from supercuts.metrics.region import THRESHOLDS, tree_scores


@dataclass(frozen=True, slots=True)
class Level:
    """One level as it was calibrated.

    altitude         to cut at, 0..1
    rand_index       of these cuts and the annotators, mean over the images
    covering         of the annotators by these cuts, mean over the images
    regions          in these cuts, median over the images
    truth_regions    that the annotators drew, median over the images
    """

    altitude: float
    rand_index: float
    covering: float
    regions: float
    truth_regions: float


def calibrate_levels(trees: Sequence[MergeTree], tables: Sequence[Sequence[np.ndarray]]) -> dict[str, Level]:
    """Return the levels; tables are, for each image and annotator, a (regions, N) array of pixel counts."""
    levels = {}
    for rank, name in enumerate(LEVELS):
        chosen = [_of_rank(of_image, rank) for of_image in tables]
        scores = [
            tree_scores([table], tree.parents, tree.altitudes, THRESHOLDS)
            for tree, table in zip(trees, chosen, strict=True)
        ]
        counts, wanted = np.stack([score.n_regions for score in scores]), [len(table) for table in chosen]
        at = int(np.abs(np.log(counts).mean(0) - np.log(wanted).mean()).argmin())
        levels[name] = Level(
            float(THRESHOLDS[at]),
            float(np.mean([score.rand_index[..., at] for score in scores])),
            float(np.mean([score.covering[at] for score in scores])),
            float(np.median(counts[:, at])),
            float(np.median(wanted)),
        )
    return levels


def _of_rank(tables: Sequence[np.ndarray], rank: int) -> np.ndarray:
    """Return the annotator with the fewest, the (upper) median or the most regions."""
    ranked = sorted(tables, key=len)
    return ranked[(0, len(ranked) // 2, -1)[rank]]
