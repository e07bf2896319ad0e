import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from supercuts.metrics.lifetimes import lifetimes, node_counts

THRESHOLDS = np.array([-0.5, 0.0, 0.1, 0.11, 0.3, 0.55, 5.0])


def ancestors(parents, node):
    found = {node}
    while parents[node] != node:
        node = parents[node]
        found.add(node)
    return found


@given(st.integers(1, 12), st.integers(0, 999))
def test_nodes_live_in_the_cuts_that_walking_up_finds(random_tree, walked_cut, n_leaves, seed):
    parents, altitudes = random_tree(n_leaves, seed)
    births, deaths = lifetimes(parents, altitudes, n_leaves, THRESHOLDS)
    for cut, threshold in enumerate(THRESHOLDS.astype(np.float32)):
        alive = np.flatnonzero((births <= cut) & (cut < deaths))
        assert alive.tolist() == sorted(set(walked_cut(parents, altitudes, n_leaves, threshold)))


@given(st.integers(1, 12), st.integers(0, 999))
def test_counts_are_sums_over_the_leaves_below(random_tree, n_leaves, seed):
    parents, _ = random_tree(n_leaves, seed)
    table = np.random.default_rng(seed).integers(0, 9, (3, n_leaves))
    counts = node_counts(table, parents)
    for node in range(parents.size):
        below = [leaf for leaf in range(n_leaves) if node in ancestors(parents, leaf)]
        np.testing.assert_array_equal(counts[node], table[:, below].sum(axis=1))


def test_thresholds_meet_altitudes_in_their_own_precision():
    # float32(0.1) exceeds 0.1: comparing in float64 would keep the leaves apart
    births, deaths = lifetimes(np.array([2, 2, 2]), np.array([0, 0, 0.1], np.float32), 2, np.array([0.05, 0.1]))
    assert births.tolist() == [0, 0, 1]
    assert deaths.tolist() == [1, 1, 2]
