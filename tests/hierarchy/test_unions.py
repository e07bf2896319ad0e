import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.hierarchy.unions import best_union


def overlap(masks, chosen, target):
    union = np.logical_or.reduce([masks[node] for node in chosen])
    return (union & target).sum() / (union | target).sum()


def count(labels, target, n_leaves):
    flat = labels.ravel()
    inside, areas = np.bincount(flat, target.ravel(), minlength=n_leaves), np.bincount(flat, minlength=n_leaves)
    return inside.astype(np.int64), areas.astype(np.int64)


def test_hand_worked_union(hand):
    target = np.array([[1, 1, 1, 1], [0, 0, 1, 1]], bool)  # leaves 0 and 1 (node 5), 3 and 4 (node 6)
    inside, areas = count(hand.labels, target, hand.n_leaves)
    assert best_union(hand.parents, inside, areas, 2).tolist() == [5, 6]
    assert best_union(hand.parents, inside, areas, 5).tolist() == [5, 6]  # no more nodes than needed
    assert best_union(hand.parents, inside, areas, 1).tolist() == [8]  # 6 of 8 pixels; node 5 has 4 of 6
    assert best_union(hand.parents, inside, areas, 2).dtype == np.int32


@given(data=st.data())
def test_no_union_of_as_many_nodes_is_better(hierarchies, data):
    h = data.draw(hierarchies.filter(lambda h: h.n_nodes <= 15))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    target = rng.random(h.shape) < rng.choice([0.1, 0.5, 0.9])
    target[rng.integers(h.shape[0]), rng.integers(h.shape[1])] = True
    k = data.draw(st.integers(1, 4))
    masks = [np.isin(h.labels, h.leaves_of(node)) for node in range(h.n_nodes)]
    unions = [chosen for n in range(1, k + 1) for chosen in itertools.combinations(range(h.n_nodes), n)]
    best = max(overlap(masks, chosen, target) for chosen in unions)
    found = best_union(h.parents, *count(h.labels, target, h.n_leaves), k)
    assert 1 <= len(found) <= k
    assert np.sum([masks[node] for node in found], axis=0).max() == 1  # disjoint
    assert overlap(masks, found, target) == best
    assert len(found) == min(len(c) for c in unions if overlap(masks, c, target) == best)


def test_a_deep_tree_and_a_budget_of_all_leaves():
    n = 2000
    parents = np.minimum(np.arange(2 * n - 1) + n, 2 * n - 2)  # a caterpillar: every node takes up one more leaf
    parents[0], parents[1:n], parents[n:] = (
        n,
        np.arange(n, 2 * n - 1),
        np.minimum(np.arange(n, 2 * n - 1) + 1, 2 * n - 2),
    )
    inside, areas = np.arange(n) % 2, np.ones(n, np.int64)
    found = best_union(parents.astype(np.int32), inside, areas, n)
    np.testing.assert_array_equal(found, np.flatnonzero(inside))
    # with few nodes: 1/2 of a run of leaves is the most, whatever the run
    assert len(best_union(parents.astype(np.int32), inside, areas, 5)) <= 5


@pytest.mark.parametrize(
    ("inside", "areas", "k", "message"),
    [
        ([1, 0, 0], [1, 1, 1], 0, r"k=0 is outside 1..inf. Give the most nodes"),
        ([1, 0], [1, 1, 1], 1, r"inside \(2,\) and areas \(3,\) do not fit a tree of 5 nodes"),
        ([0, 0, 0], [1, 1, 1], 1, r"inside holds 0..0 pixels, 0 in all; .* draw the target inside"),
        ([2, 0, 0], [1, 1, 1], 1, r"expected 0 to the leaf's area"),
        ([-1, 1, 1], [1, 1, 1], 1, r"inside holds -1..1"),
    ],
)
def test_refusals(inside, areas, k, message, as_installed):
    parents = np.array([3, 3, 4, 4, 4], np.int32)
    with pytest.raises(InputError, match=message):
        best_union(parents, np.array(inside), np.array(areas), k)
