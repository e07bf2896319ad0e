"""Trees for the tests of this folder: one worked by hand, and a strategy that draws random valid ones."""

import jaxtyping
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import strategies as st

from supercuts.hierarchy.tree import Hierarchy

LEVELS = {"scene": 0.75, "object": 0.5, "part": 0.25}


@pytest.fixture
def hand():
    """2x4 pixels, leaves 0 0 1 1 / 2 2 3 4; 5 = {0, 1} at .25, 6 = {3, 4} at .125, 7 = {2, 6} at .5, root 8 at .75."""
    return Hierarchy(
        labels=np.array([[0, 0, 1, 1], [2, 2, 3, 4]], dtype=np.int32),
        parents=np.array([5, 5, 7, 6, 6, 8, 7, 8, 8], dtype=np.int32),
        altitudes=np.array([0, 0, 0, 0, 0, 0.25, 0.125, 0.5, 0.75], dtype=np.float32),
        embeddings=np.arange(10, dtype=np.float32).reshape(5, 2),
        levels=LEVELS,
    )


@pytest.fixture
def as_installed():
    """Switch the array annotations off, as outside the tests, to reach our own error messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def hierarchies():
    """Strategy: connected leaves on a small grid, merged along the region adjacency graph in random order."""
    return st.builds(
        random_hierarchy,
        seed=st.integers(0, 2**32 - 1),
        shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        n_seeds=st.integers(1, 12),
        n_altitudes=st.sampled_from([1, 3, 1000]),  # few altitudes: many ties
        is_binary=st.booleans(),
    )


@pytest.fixture(scope="session")
def binary_hierarchies(hierarchies):
    return hierarchies.filter(lambda h: h.n_nodes == 2 * h.n_leaves - 1)


def random_hierarchy(seed, shape, n_seeds, n_altitudes, is_binary):
    rng = np.random.default_rng(seed)
    labels = voronoi(rng, shape, n_seeds)
    n_leaves = labels.max() + 1
    parents, altitudes = random_merges(rng, labels, n_leaves, n_altitudes)
    if not is_binary:
        parents, altitudes = collapse(rng, parents, altitudes, n_leaves)
    return Hierarchy(
        labels=labels.astype(np.int32),
        parents=np.array(parents, dtype=np.int32),
        altitudes=np.array(altitudes, dtype=np.float32),
        embeddings=rng.random((n_leaves, rng.integers(0, 3)), dtype=np.float32),
        image=rng.integers(0, 256, (*shape, 3), dtype=np.uint8) if rng.random() < 0.5 else None,
        levels={name: float(rng.random()) for name in ("object", "part", "scene") if rng.random() < 0.7},
    )


def voronoi(rng, shape, n_seeds):
    seeds = rng.random((n_seeds, 2)) * shape
    yx = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    nearest = ((yx[:, :, None] - seeds) ** 2).sum(axis=-1).argmin(axis=-1)
    labels, n_leaves = np.zeros(shape, dtype=int), 0
    for seed in range(n_seeds):  # a discrete Voronoi cell may fall apart into several 4-connected pieces
        pieces, n_pieces = scipy.ndimage.label(nearest == seed)
        labels[pieces > 0] = n_leaves + pieces[pieces > 0] - 1
        n_leaves += n_pieces
    return labels


def random_merges(rng, labels, n_leaves, n_altitudes):
    pairs = np.concatenate([
        np.stack([labels[:, 1:].ravel(), labels[:, :-1].ravel()], axis=1),
        np.stack([labels[1:].ravel(), labels[:-1].ravel()], axis=1),
    ])  # fmt: skip
    parents, altitudes, top = list(range(n_leaves)), [0.0] * n_leaves, np.arange(n_leaves)
    for node in range(n_leaves, 2 * n_leaves - 1):
        open_pairs = top[pairs]
        open_pairs = open_pairs[open_pairs[:, 0] != open_pairs[:, 1]]
        a, b = open_pairs[rng.integers(len(open_pairs))]
        parents[a] = parents[b] = node
        parents.append(node)
        altitudes.append(max(altitudes[a], altitudes[b], rng.integers(0, n_altitudes + 1) / n_altitudes))
        top[(top == a) | (top == b)] = node
    return parents, altitudes


def collapse(rng, parents, altitudes, n_leaves):
    """Hand the children of some inner nodes to their parent, so that inner nodes may have more than two."""
    gone = [node for node in range(n_leaves, len(parents) - 1) if rng.random() < 0.4]
    for node in reversed(gone):
        parents = [parents[node] if parent == node else parent for parent in parents]
    kept = [node for node in range(len(parents)) if node not in gone]
    return [kept.index(parents[node]) for node in kept], [altitudes[node] for node in kept]
