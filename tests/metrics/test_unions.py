import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.metrics.nodes import best_node_jaccard
from supercuts.metrics.unions import best_union_jaccard


def leaves_below(parents, n_leaves):
    below = np.zeros((parents.size, n_leaves), bool)
    below[:n_leaves] = np.eye(n_leaves, dtype=bool)
    for node in range(parents.size - 1):
        below[parents[node]] |= below[node]
    return below


def by_trying_all(inside, areas, truth_area, parents, k):
    below = leaves_below(parents, areas.size)
    best = 0.0
    for n in range(1, k + 1):
        for chosen in itertools.combinations(range(parents.size), n):
            leaves = below[list(chosen)].any(axis=0)
            shared, covered = inside[leaves].sum(), areas[leaves].sum()
            best = max(best, shared / (truth_area + covered - shared))
    return best


def a_tree(rng, n_leaves, binary):
    """Return parents of a random tree, leaves first; nodes of two children, or of two to four."""
    parents, alive = list(range(n_leaves)), list(range(n_leaves))
    while len(alive) > 1:
        n = min(2 if binary else int(rng.integers(2, 5)), len(alive))
        joined = rng.choice(alive, n, replace=False)
        new = len(parents)
        parents.append(new)
        for node in joined:
            parents[node] = new
        alive = [node for node in alive if node not in joined] + [new]
    return np.array(parents)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_it_is_what_trying_all_unions_finds(seed, n_leaves, k, binary):
    rng = np.random.default_rng(seed)
    parents = a_tree(rng, n_leaves, binary)
    areas = rng.integers(1, 9, n_leaves)
    inside = rng.integers(0, areas + 1)
    outside = int(rng.integers(0, 3))  # a part of the region that no leaf holds
    truth_area = int(inside.sum()) + outside
    found = best_union_jaccard(inside, areas, truth_area, parents, k)
    if truth_area:
        assert found == pytest.approx(by_trying_all(inside, areas, truth_area, parents, k))
    else:
        assert found == 0


@given(st.integers(0, 10_000))
def test_one_node_is_the_best_node_and_more_are_never_worse(seed):
    rng = np.random.default_rng(seed)
    parents = a_tree(rng, 30, True)
    areas = rng.integers(1, 50, 30)
    inside = rng.integers(0, areas + 1)
    series = [best_union_jaccard(inside, areas, int(inside.sum()), parents, k) for k in (1, 2, 3, 30, 99)]
    assert series == sorted(series)
    assert series[3] == series[4]
    assert series[0] == pytest.approx(best_node_jaccard(inside[None], parents, areas)[0])


def test_a_region_that_no_leaf_meets_scores_nothing():
    parents, areas = np.array([2, 2, 2]), np.array([3, 3])
    assert best_union_jaccard(np.zeros(2, int), areas, 5, parents, 2) == 0
    assert best_union_jaccard(np.zeros(2, int), areas, 0, parents, 2) == 0


@pytest.mark.parametrize(
    ("inside", "truth_area", "k", "message"),
    [
        ([4, 0], 4, 1, "count np.bincount"),
        ([2, 2], 3, 1, "count np.bincount"),
        ([1, 1], 3, 0, "k=0 is outside"),
    ],
)
def test_impossible_counts_are_refused(inside, truth_area, k, message):
    arguments = np.array(inside), np.array([3, 3]), truth_area, np.array([2, 2, 2])
    with pytest.raises(InputError, match=message):
        best_union_jaccard(*arguments, k)
