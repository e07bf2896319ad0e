"""One tree worked by hand, with every optional field."""

import jaxtyping
import numpy as np
import pytest

from supercuts.hierarchy.tree import Hierarchy


@pytest.fixture
def small():
    """2x3 pixels, leaves 0 0 1 / 2 2 2; 3 = {0, 1} at .25, 4 = root at .75."""
    return Hierarchy(
        labels=np.array([[0, 0, 1], [2, 2, 2]], dtype=np.int32),
        parents=np.array([3, 3, 4, 4, 4], dtype=np.int32),
        altitudes=np.array([0, 0, 0, 0.25, 0.75], dtype=np.float32),
        embeddings=np.arange(6, dtype=np.float32).reshape(3, 2),
        image=np.arange(18, dtype=np.uint8).reshape(2, 3, 3),
        levels={"scene": 0.75, "object": 0.5, "part": 0.1},
    )


@pytest.fixture
def as_installed():
    """Switch the array annotations off, as they are outside the tests, so that our own refusals are reached."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
