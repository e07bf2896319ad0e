import numpy as np
import pytest

from supercuts.merging.agglomerative import MergeTree
from supercuts.training.levels import calibrate_levels


def test_levels_fit_the_coarsest_the_median_and_the_finest_annotator():
    # four leaves of ten pixels: {0, 1} at 0.2, {2, 3} at 0.5, all at 0.8
    tree = MergeTree(np.array([4, 4, 5, 5, 6, 6, 6], np.int32), np.array([0, 0, 0, 0, 0.2, 0.5, 0.8], np.float32))
    fine = 10 * np.eye(4, dtype=np.int64)
    middle = np.array([fine[0] + fine[1], fine[2] + fine[3]])
    coarse = fine.sum(0, keepdims=True)
    levels = calibrate_levels([tree, tree], [[middle, fine, coarse], [fine, coarse, middle]])
    assert list(levels) == ["scene", "object", "part"]
    assert levels["scene"].altitude >= 0.8 > levels["object"].altitude >= 0.5 > 0.2 > levels["part"].altitude
    assert [level.rand_index for level in levels.values()] == pytest.approx([1, 1, 1])
    assert [level.covering for level in levels.values()] == pytest.approx([1, 1, 1])
    assert [(level.regions, level.truth_regions) for level in levels.values()] == [(1, 1), (2, 2), (4, 4)]
