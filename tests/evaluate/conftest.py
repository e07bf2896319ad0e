import functools

import numpy as np
import pytest
from PIL import Image

from supercuts.datasets.sample import Sample

HALVES = np.repeat([[0, 0, 1, 1]], 4, axis=0).astype(np.int32)
WHOLE = np.zeros((4, 4), np.int32)


def stored(truths, _path):
    return truths


@pytest.fixture
def samples(tmp_path):
    """Two images of two halves: the first seen as halves and as one region, the second as halves."""
    made = []
    for name, truths in {"first": [HALVES, WHOLE], "second": [HALVES]}.items():
        path = tmp_path / f"{name}.png"
        Image.fromarray(np.repeat(HALVES[..., None] * 255, 3, axis=2).astype(np.uint8)).save(path)
        made.append(Sample(name, path, path, functools.partial(stored, truths)))
    return made


@pytest.fixture
def halves():
    return HALVES


@pytest.fixture
def whole():
    return WHOLE
