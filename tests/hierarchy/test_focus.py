import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.hierarchy.tree import Hierarchy


def n_inside(cut, focus):
    area = np.bincount(cut.ravel())
    return int((2 * np.bincount(cut.ravel(), focus.ravel()) > area).sum())


def is_refined_by(coarse, fine):
    return len(set(zip(coarse.ravel().tolist(), fine.ravel().tolist(), strict=True))) == fine.max() + 1


def grid(n, focus_columns):
    """Return n x n leaves of one pixel: columns merge from left to right, then rows; and a focus on some columns."""
    labels = np.arange(n * n, dtype=np.int32).reshape(n, n)
    parents, altitudes, tops, node = np.zeros(2 * n * n - 1, np.int32), np.zeros(2 * n * n - 1, np.float32), [], n * n
    for column in range(n):
        top = labels[0, column]
        for row in range(1, n):
            parents[[top, labels[row, column]]], altitudes[node] = node, 0.1 + 0.01 * row + 0.001 * column
            top, node = node, node + 1
        tops.append(top)
    top = tops[0]
    for other in tops[1:]:
        parents[[top, other]], altitudes[node] = node, 0.5 + 0.001 * node
        top, node = node, node + 1
    parents[-1] = node - 1
    focus = np.zeros((n, n), bool)
    focus[:, focus_columns] = True
    return Hierarchy(labels, parents, altitudes, np.zeros((n * n, 0), np.float32)), focus


@given(data=st.data())
def test_cuts_in_focus_are_exact_and_nested(binary_hierarchies, data):
    h = data.draw(binary_hierarchies)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    focus = rng.random(h.shape) < rng.choice([0.2, 0.5, 0.8])
    budget = data.draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    made = [h.cut(regions=r, focus=focus, budget=budget) for r in range(1, h.n_leaves + 1)]
    assert [cut.max() + 1 for cut in made] == list(range(1, h.n_leaves + 1))
    for coarse, fine in itertools.pairwise(made):
        assert is_refined_by(coarse, fine)
        assert n_inside(coarse, focus) <= n_inside(fine, focus)
        short = n_inside(coarse, focus) < np.floor(budget * (fine.max() + 1) + 0.5)
        if (n_inside(fine, focus) > n_inside(coarse, focus)) != short:
            # the side that is short had to wait: no region of the coarse cut could be split to add to it
            for node in {int(n) for n in h.cut_nodes(regions=int(coarse.max()) + 1, focus=focus, budget=budget)}:
                parts = [np.isin(h.labels, h.leaves_of(int(c))) for c in h.children(node)]
                mask = np.isin(h.labels, h.leaves_of(node))
                if parts:
                    inside = sum(2 * focus[p].sum() > p.sum() for p in parts) - (2 * focus[mask].sum() > mask.sum())
                    assert (inside > 0) != short


def test_the_share_is_met_on_a_grid():
    h, focus = grid(8, slice(2, 5))  # 24 of 64 leaves
    for n_regions in range(12, 35):
        for budget in (0.5, 0.7):
            assert n_inside(h.cut(regions=n_regions, focus=focus, budget=budget), focus) == int(
                budget * n_regions + 0.5
            )
    assert n_inside(h.cut(regions=60, focus=focus, budget=0.9), focus) == 24  # no more leaves
    as_many = int(h.cut(granularity=0.8).max()) + 1
    expected = h.cut(regions=as_many, focus=focus, budget=0.7)
    np.testing.assert_array_equal(h.cut(granularity=0.8, focus=focus), expected)


def test_a_point_stands_for_what_it_selects(hand):
    focus = hand.select(point=(1, 3))
    np.testing.assert_array_equal(hand.cut(regions=3, focus=(1, 3)), hand.cut(regions=3, focus=focus))
    assert hand.cut(regions=3, focus=(1, 3), budget=0.7).tolist() == [[0, 0, 0, 0], [1, 1, 2, 2]]
    assert hand.cut(regions=3, focus=(1, 3), budget=0).tolist() == [[0, 0, 1, 1], [2, 2, 2, 2]]
    assert hand.cut_nodes(regions=3, focus=(1, 3)).tolist() == [5, 2, 6]


def test_small_children_stay_with_min_area(hand):
    focus = np.ones(hand.shape, bool)
    assert hand.cut(regions=5, focus=focus, min_area=2).max() + 1 == 4  # node 6 has children of one pixel


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"level": "part", "focus": (0, 0)}, r"focus shares out a number of regions: .* not level="),
        ({"altitude": 0.5, "focus": (0, 0)}, r"not altitude="),
        ({"regions": 2, "focus": np.ones((4, 2), bool)}, r"focus is bool \(4, 2\); expected a bool mask \(2, 4\)"),
        ({"regions": 2, "focus": np.ones((2, 4), int)}, r"focus is int64"),
        ({"regions": 2, "focus": (0, 9)}, r"point x=9 is outside 0..3"),
        ({"regions": 2, "focus": (0, 0), "budget": 1.5}, r"budget=1.5 is outside 0..1"),
        ({"regions": 6, "focus": (0, 0)}, r"regions=6 is outside 1..5"),
    ],
)
def test_refusals(as_installed, hand, keywords, message):
    with pytest.raises(InputError, match=message):
        hand.cut(**keywords)
