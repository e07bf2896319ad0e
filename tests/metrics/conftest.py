"""Shared by tests of tree metrics: random trees and cuts by definition, as functions."""

import numpy as np
import pytest


def _random_tree(n_leaves, seed):
    """Return parents and altitudes of a tree with random merges, some of several children, some of equal altitude."""
    rng = np.random.default_rng(seed)
    parents, altitudes, roots = list(range(n_leaves)), [0.0] * n_leaves, list(range(n_leaves))
    while len(roots) > 1:
        children = rng.choice(roots, min(len(roots), int(rng.integers(2, 4))), replace=False).tolist()
        node = len(parents)
        parents.append(node)
        altitudes.append(max(altitudes[child] for child in children) + rng.choice([0.0, 0.11, 0.2]))
        for child in children:
            parents[child] = node
            roots.remove(child)
        roots.append(node)
    return np.array(parents, np.int32), np.array(altitudes, np.float32)


def _walked_cut(parents, altitudes, n_leaves, threshold):
    """Return the highest ancestor of each leaf that is no higher than the threshold, by definition."""
    tops = []
    for leaf in range(n_leaves):
        node = leaf
        while parents[node] != node and altitudes[parents[node]] <= threshold:
            node = parents[node]
        tops.append(node)
    return np.array(tops)


@pytest.fixture(scope="session")
def random_tree():
    return _random_tree


@pytest.fixture(scope="session")
def walked_cut():
    return _walked_cut
