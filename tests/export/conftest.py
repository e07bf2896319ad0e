"""One tree worked by hand, with every optional field; trees of any size."""

import jaxtyping
import numpy as np
import pytest
from scipy.spatial import KDTree

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


@pytest.fixture
def voronoi():
    """Return random_hierarchy."""
    return random_hierarchy


def random_hierarchy(seed=0, n_leaves=60, shape=(40, 50), arity=2, ties=True):
    """Voronoi cells joined at random; arity: most children of a node; ties: with many equal altitudes."""
    rng = np.random.default_rng(seed)
    pixels = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    centres = rng.permutation(pixels.reshape(-1, 2))[:n_leaves]
    open_nodes, parents, altitudes = list(range(n_leaves)), [-1] * n_leaves, [0.0] * n_leaves
    while len(open_nodes) > 1:
        new = len(parents)
        for _ in range(min(int(rng.integers(2, arity + 1)), len(open_nodes))):
            parents[open_nodes.pop(int(rng.integers(len(open_nodes))))] = new
        open_nodes.append(new)
        parents.append(new)
        altitudes.append(altitudes[-1] + rng.integers(0 if ties else 1, 3) / (2 * n_leaves))
    return Hierarchy(
        labels=KDTree(centres).query(pixels)[1].astype(np.int32),
        parents=np.array(parents, np.int32),
        altitudes=np.array(altitudes, np.float32),
        embeddings=rng.random((n_leaves, 3), dtype=np.float32),
        image=rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        levels={"scene": 0.6, "object": 0.2, "part": 0.3},
    )
