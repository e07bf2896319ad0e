from collections import Counter

import numpy as np
import pytest

from supercuts.refine.vote import majority_vote


@pytest.mark.parametrize("seed", range(3))
def test_votes_are_those_counted_one_superpixel_at_a_time(seed):
    rng = np.random.default_rng(seed)
    labels, superpixels = rng.integers(0, 5, (20, 30)), rng.integers(0, 40, (20, 30))
    voted = majority_vote(labels, superpixels, 5)
    for i in np.unique(superpixels):
        counts = Counter(labels[superpixels == i].tolist())
        expected = min(label for label, count in counts.items() if count == max(counts.values()))
        assert set(voted[superpixels == i].tolist()) == {expected}


def test_superpixels_of_one_pixel_change_nothing():
    labels = np.arange(6).reshape(2, 3) % 4
    np.testing.assert_array_equal(majority_vote(labels, np.arange(6).reshape(2, 3), 4), labels)
