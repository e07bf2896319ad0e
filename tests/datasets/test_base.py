from pathlib import Path

import numpy as np

from supercuts.datasets.base import Sample


def test_truths_are_read_from_the_truth_path_at_every_access():
    asked = []

    def read(path):
        asked.append(path)
        return [np.zeros((2, 3), np.int32)]

    sample = Sample("one", Path("one.jpg"), Path("one.mat"), read)
    assert asked == []  # nothing is read before it is asked for
    assert sample.truths[0].shape == (2, 3)
    assert len(sample.truths) == 1
    assert asked == [Path("one.mat")] * 2
