import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.hierarchy import cuts
from supercuts.hierarchy.cuts import LEVELS, altitude_of_level, check_levels
from supercuts.hierarchy.tree import Hierarchy


def slow_cut_by_count(parents, altitudes, n_leaves, n_regions):
    """Binary trees only: node by node, without the kernels."""
    n_nodes = parents.size
    lowest_first = np.lexsort((np.arange(n_nodes), altitudes))
    split = set(lowest_first[n_nodes - (n_regions - 1) :].tolist())
    region = np.arange(n_nodes)
    for node in range(n_nodes - 2, -1, -1):
        if parents[node] not in split:
            region[node] = region[parents[node]]
    return region[:n_leaves]


def slow_cut_by_altitude(h, altitude):
    """Climb from each leaf to the highest node that is not above the altitude."""
    tops = []
    for leaf in range(h.n_leaves):
        node = leaf
        while h.parents[node] != node and h.altitudes[h.parents[node]] <= np.float32(altitude):
            node = int(h.parents[node])
        tops.append(node)
    return tops


def first_seen(ids):
    """Number ids in the order in which they first occur."""
    order = {}
    return [order.setdefault(int(i), len(order)) for i in ids]


def per_leaf(h, labels):
    """Return the region of each leaf; every pixel of the leaf must agree."""
    regions = [np.unique(labels[h.labels == leaf]) for leaf in range(h.n_leaves)]
    assert all(r.size == 1 for r in regions)
    return [int(r[0]) for r in regions]


def is_refined_by(coarse, fine):
    return len(set(zip(coarse.ravel().tolist(), fine.ravel().tolist(), strict=True))) == fine.max() + 1


def all_cuts(h, **also):
    """Return cuts by every keyword."""
    made = [h.cut(regions=r, **also) for r in range(1, h.n_leaves + 1)]
    made += [h.cut(altitude=a, **also) for a in (0, 0.2, 1 / 3, 0.5, 0.9, 1)]
    made += [h.cut(granularity=g, **also) for g in (0, 0.3, 0.7, 1)]
    return made + [h.cut(level=name, **also) for name in h.levels]


def test_hand_worked_cuts(hand):
    assert hand.cut(regions=1).tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]
    assert hand.cut(regions=2).tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert hand.cut(regions=3).tolist() == [[0, 0, 0, 0], [1, 1, 2, 2]]
    assert hand.cut(regions=4).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert hand.cut(regions=5).tolist() == hand.labels.tolist()
    assert hand.cut(altitude=0.2).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert hand.cut(altitude=0.125).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert hand.cut(level="object").tolist() == hand.cut(regions=2).tolist()
    assert hand.cut(granularity=0.5).tolist() == hand.cut(regions=2).tolist()  # round(sqrt(5))
    assert hand.cut_nodes(regions=4).tolist() == [0, 1, 2, 6]
    assert hand.cut(regions=4).dtype == hand.cut_nodes(regions=4).dtype == np.int32


def test_hand_worked_min_area(hand):
    assert hand.cut(regions=5, min_area=2).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert hand.cut(regions=5, min_area=3).tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert hand.cut(regions=2, min_area=5).max() == 0
    assert hand.cut_nodes(altitude=0, min_area=3).tolist() == [5, 7]


def test_regions_are_numbered_by_their_lowest_leaf_not_by_node():
    h = Hierarchy(
        labels=np.array([[0, 1, 2]], dtype=np.int32),
        parents=np.array([3, 4, 3, 4, 4], dtype=np.int32),
        altitudes=np.array([0, 0, 0, 0.1, 0.2], dtype=np.float32),
        embeddings=np.zeros((3, 0), dtype=np.float32),
    )
    assert h.cut(regions=2).tolist() == [[0, 1, 0]]
    assert h.cut_nodes(regions=2).tolist() == [3, 1]


def test_altitude_is_compared_in_float32():
    h = Hierarchy(
        labels=np.array([[0, 1]], dtype=np.int32),
        parents=np.array([2, 2, 2], dtype=np.int32),
        altitudes=np.array([0, 0, 0.3], dtype=np.float32),  # float32(0.3) > 0.3
        embeddings=np.zeros((2, 0), dtype=np.float32),
    )
    assert h.cut(altitude=0.3).max() == 0
    assert h.cut(altitude=0.2999).max() == 1


@given(data=st.data())
def test_count_is_exact_and_matches_the_slow_cut(binary_hierarchies, data):
    h = data.draw(binary_hierarchies)
    for n_regions in range(1, h.n_leaves + 1):
        labels = h.cut(regions=n_regions)
        assert np.unique(labels).tolist() == list(range(n_regions))
        slow = slow_cut_by_count(h.parents, h.altitudes, h.n_leaves, n_regions)
        assert per_leaf(h, labels) == first_seen(slow)
        assert h.cut_nodes(regions=n_regions).tolist() == list(dict.fromkeys(slow.tolist()))


@given(data=st.data())
def test_non_binary_trees_give_the_nearest_count_not_above(hierarchies, data):
    h = data.draw(hierarchies)
    reachable = {int(h.cut(regions=r).max()) + 1 for r in range(1, h.n_leaves + 1)}
    assert {1, h.n_leaves} <= reachable
    for n_regions in range(1, h.n_leaves + 1):
        assert h.cut(regions=n_regions).max() + 1 == max(r for r in reachable if r <= n_regions)
    # one more merge undone at a time: as many counts as inner nodes, plus the uncut root
    assert len(reachable) == h.n_nodes - h.n_leaves + 1


@given(data=st.data(), altitude=st.sampled_from([0.0, 0.25, 1 / 3, 0.4, 2 / 3, 0.9, 1.0]))
def test_altitude_matches_the_slow_cut(hierarchies, data, altitude):
    h = data.draw(hierarchies)
    assert per_leaf(h, h.cut(altitude=altitude)) == first_seen(slow_cut_by_altitude(h, altitude))


@given(data=st.data(), min_area=st.integers(0, 20))
def test_every_pair_of_cuts_is_nested(hierarchies, data, min_area):
    h = data.draw(hierarchies)
    for made in (all_cuts(h), all_cuts(h, min_area=min_area)):
        made.sort(key=np.max)
        assert all(is_refined_by(coarse, fine) for coarse, fine in itertools.pairwise(made))


@given(data=st.data(), min_area=st.integers(0, 20))
def test_min_area_coarsens_and_leaves_no_small_region(hierarchies, data, min_area):
    h = data.draw(hierarchies)
    for plain, filtered in zip(all_cuts(h), all_cuts(h, min_area=min_area), strict=True):
        assert is_refined_by(filtered, plain)
        if filtered.max() > 0:  # one region has nothing to be merged with
            assert np.bincount(filtered.ravel()).min() >= min_area


@given(data=st.data())
def test_levels_are_nested_even_when_calibrated_out_of_order(hierarchies, data):
    h = data.draw(hierarchies)
    made = [h.cut(level=name) for name in ("scene", "object", "part") if name in h.levels]
    assert all(is_refined_by(coarse, fine) for coarse, fine in itertools.pairwise(made))


@given(n_leaves=st.integers(1, 5000), steps=st.lists(st.floats(0, 1), min_size=2))
def test_granularity_is_monotone_between_one_and_all(n_leaves, steps):
    counts = [cuts.count_of_granularity(g, n_leaves) for g in sorted(steps)]
    assert counts == sorted(counts)
    assert cuts.count_of_granularity(0, n_leaves) == 1
    assert cuts.count_of_granularity(1, n_leaves) == n_leaves
    assert all(1 <= count <= n_leaves for count in counts)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, r"exactly one of regions, level, altitude, granularity; got nothing"),
        ({"regions": 2, "altitude": 0.5}, r"exactly one of .*got regions=2, altitude=0.5"),
        ({"min_area": 5}, r"exactly one"),
        ({"regions": 6}, r"regions=6 is outside 1..5. The tree has 5 leaves: ask for fewer regions or segment"),
        ({"regions": 0}, r"regions=0 is outside 1..5"),
        ({"altitude": 1.5}, r"altitude=1.5 is outside 0..1. 0 undoes every merge"),
        ({"altitude": float("nan")}, r"altitude=nan is outside"),
        ({"granularity": -0.1}, r"granularity=-0.1 is outside 0..1. 0 gives one region"),
        ({"level": "detail"}, r"level='detail' is unknown. Choose one of: scene, object, part"),
        ({"regions": 2, "min_area": -1}, r"min_area=-1 is outside .*smallest region that may be split off"),
    ],
)
def test_refusals(hand, keywords, message):
    with pytest.raises(InputError, match=message):
        hand.cut(**keywords)
    with pytest.raises(InputError, match=message):
        hand.cut_nodes(**keywords)


def test_counts_may_be_numpy_integers_but_not_fractions(as_installed, hand):
    assert hand.cut_nodes(regions=np.int64(2)).tolist() == [5, 7]
    with pytest.raises(InputError, match=r"regions=2.5 is not a whole number: give an int, or granularity"):
        hand.cut(regions=2.5)


def test_refuses_a_level_without_calibration(hand):
    without = Hierarchy(hand.labels, hand.parents, hand.altitudes, hand.embeddings)
    with pytest.raises(InputError, match=r"this hierarchy has none: cut by regions="):
        without.cut(level="object")
    scene_only = Hierarchy(hand.labels, hand.parents, hand.altitudes, hand.embeddings, levels={"scene": 0.5})
    with pytest.raises(InputError, match=r"level='object' is unknown. Choose one of: scene."):
        scene_only.cut(level="object")


def test_levels_run_from_coarse_to_fine():
    assert LEVELS == ("scene", "object", "part")


def test_a_level_is_never_finer_than_the_next():
    levels = {"scene": 0.2, "object": 0.6, "part": 0.4}
    assert [altitude_of_level(levels, name) for name in LEVELS] == [0.6, 0.6, 0.4]


@pytest.mark.parametrize(
    ("levels", "message"), [({"part": 1.1}, "outside 0..1"), ({"leaf": 0.1}, "scene, object, part")]
)
def test_check_levels_refuses(levels, message):
    with pytest.raises(InputError, match=message):
        check_levels(levels)


def n_inside(cut, focus):
    area = np.bincount(cut.ravel())
    return int((2 * np.bincount(cut.ravel(), focus.ravel()) > area).sum())


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
            # the smaller side had to wait: no region of the coarse cut could be split to add to it
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


def test_a_point_stands_for_the_region_it_selects(hand):
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
def test_refusals_focus(as_installed, hand, keywords, message):
    with pytest.raises(InputError, match=message):
        hand.cut(**keywords)
