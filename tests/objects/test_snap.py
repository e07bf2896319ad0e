import itertools

import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.hierarchy.tree import Hierarchy
from supercuts.objects.snap import snap_to_tree


def random_tree(n, seed):
    """Return a binary hierarchy of n leaves of 1 to 6 pixels."""
    rng = np.random.default_rng(seed)
    parents = np.arange(2 * n - 1, dtype=np.int32)
    roots = list(range(n))
    for node in range(n, 2 * n - 1):
        for _ in range(2):
            parents[roots.pop(rng.integers(len(roots)))] = node
        roots.append(node)
    labels = np.repeat(np.arange(n), rng.integers(1, 7, n)).astype(np.int32)[None]
    altitudes = np.concatenate([np.zeros(n), np.linspace(0.1, 1, n - 1)]).astype(np.float32)
    return Hierarchy(labels, parents, altitudes, np.zeros((n, 0), np.float32))


def all_unions(h):
    """Return (nodes, mask of leaves) of every union of disjoint nodes."""
    below = [set(h.leaves_of(node).tolist()) for node in range(h.n_nodes)]
    unions = []
    for size in range(1, h.n_leaves + 1):
        for nodes in itertools.combinations(range(h.n_nodes), size):
            leaves = [leaf for node in nodes for leaf in below[node]]
            if len(leaves) == len(set(leaves)):
                unions.append((size, np.isin(np.arange(h.n_leaves), leaves)))
    return unions


def value(h, soft, penalty, size, mask):
    areas = h.areas()
    return ((soft - 0.5) * areas[: h.n_leaves])[mask].sum() - size * penalty * areas[-1]


@pytest.mark.parametrize("penalty", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_no_union_agrees_more(seed, penalty):
    h, soft = random_tree(6, seed), np.random.default_rng(seed).random(6)
    best = max(value(h, soft, penalty, *union) for union in all_unions(h))
    mask = snap_to_tree(h, soft, penalty)
    found = max(value(h, soft, penalty, size, other) for size, other in all_unions(h) if (other == mask).all())
    assert found == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_binary_mask_comes_back_without_a_penalty(seed):
    h = random_tree(30, seed)
    inside = np.random.default_rng(seed).random(30) < 0.4
    np.testing.assert_array_equal(snap_to_tree(h, inside.astype(float), 0.0), inside)


@pytest.mark.parametrize("max_nodes", [1, 2, 4])
def test_a_union_has_at_most_so_many_nodes(max_nodes):
    h, soft = random_tree(8, 3), np.random.default_rng(3).random(8)
    mask = snap_to_tree(h, soft, 0.0, max_nodes)
    assert min(size for size, other in all_unions(h) if (other == mask).all()) <= max_nodes


def test_a_stray_leaf_and_a_hole_follow_their_region():
    # leaves 0..3 make node 8 by way of 6 and 7; 4 and 5 make 9
    parents = np.array([6, 6, 7, 7, 9, 9, 8, 8, 10, 10, 10], np.int32)
    labels = np.repeat(np.arange(6, dtype=np.int32), 4)[None]
    altitudes = np.array([0] * 6 + [0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
    h = Hierarchy(labels, parents, altitudes, np.zeros((6, 0), np.float32))
    soft = np.array([0.9, 0.9, 0.45, 0.9, 0.52, 0.1])
    assert snap_to_tree(h, soft, 0.01).tolist() == [True, True, True, True, False, False]


def test_the_union_is_never_empty():
    h = random_tree(5, 0)
    assert snap_to_tree(h, np.zeros(5)).sum() == 1
    assert snap_to_tree(h, np.full(5, 0.5)).all()
    one = Hierarchy(
        np.zeros((2, 2), np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32)
    )
    assert snap_to_tree(one, np.array([0.2])).tolist() == [True]


def test_what_does_not_fit_is_refused():
    h = random_tree(5, 0)
    with pytest.raises(InputError, match=r"5 numbers in 0\.\.1"):
        snap_to_tree(h, np.full(5, 1.5))
    with pytest.raises(InputError, match="penalty=2"):
        snap_to_tree(h, np.zeros(5), 2)
    with pytest.raises(InputError, match="max_nodes=0"):
        snap_to_tree(h, np.zeros(5), max_nodes=0)
