import itertools
import json

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.hierarchy import selection
from supercuts.hierarchy._kernels import queries as _kernels_clicks
from supercuts.hierarchy.selection import best_union, click_features, foreground_probability, object_at_clicks
from supercuts.hierarchy.tree import Hierarchy


def leaves_below(h):
    """Return the leaf set of every node, built by hand."""
    sets = [{leaf} for leaf in range(h.n_leaves)] + [set() for _ in range(h.n_nodes - h.n_leaves)]
    for node in range(h.n_nodes - 1):
        sets[h.parents[node]] |= sets[node]
    return sets


def slow_segment(h, scribbles):
    """Resolve each node recursively; return the label of each leaf."""
    area = np.bincount(h.labels.ravel())
    label = {}
    for leaf in range(h.n_leaves):
        drawn = scribbles[(h.labels == leaf) & (scribbles > 0)]
        if drawn.size:
            label[leaf] = int(np.bincount(drawn).argmax())
    for node, leaves in enumerate(leaves_below(h)):  # ascending: the lowest ancestors settle first
        if node < h.n_leaves or not any(leaf in label for leaf in leaves):
            continue
        cover = np.bincount([label[leaf] for leaf in leaves if leaf in label],
                            weights=[area[leaf] for leaf in leaves if leaf in label])  # fmt: skip
        label |= {leaf: int(cover.argmax()) for leaf in leaves if leaf not in label}
    return [label[leaf] for leaf in range(h.n_leaves)]


def test_point_takes_the_region_of_the_chosen_granularity(hand):
    assert hand.select(point=(1, 3)).tolist() == [[False] * 4, [True] * 4]  # object, the default
    assert hand.select(point=(1, 3), level="part").tolist() == [[False] * 4, [False, False, True, True]]
    assert hand.select(point=(1, 3), regions=1).all()
    assert hand.select(point=(1, 3), altitude=0).sum() == 1
    assert hand.select(point=(0, 0), granularity=1).tolist() == [[True, True, False, False], [False] * 4]
    assert hand.select(point=(1, 3)).dtype == bool


def test_point_without_levels_takes_the_middle_granularity(hand):
    without = Hierarchy(hand.labels, hand.parents, hand.altitudes, hand.embeddings)
    np.testing.assert_array_equal(without.select(point=(0, 0)), hand.select(point=(0, 0), granularity=0.5))


@given(data=st.data())
def test_points_of_one_cut_tile_the_image(hierarchies, data):
    h = data.draw(hierarchies)
    labels = h.cut(granularity=0.6)
    for y, x in np.ndindex(*h.shape):
        np.testing.assert_array_equal(h.select(point=(y, x), granularity=0.6), labels == labels[y, x])


def test_hand_worked_box(hand):
    assert hand.select(box=(1, 0, 2, 4)).tolist() == [[False] * 4, [True] * 4]  # exactly node 7
    assert hand.select(box=(1, 2, 2, 4)).tolist() == [[False] * 4, [False, False, True, True]]  # exactly node 6
    assert hand.select(box=(0, 0, 2, 4)).all()
    assert hand.select(box=(0, 0, 1, 3)).tolist() == [[True] * 4, [False] * 4]  # node 5: 3/4, leaf 0: 2/3


@given(data=st.data())
def test_box_finds_the_best_overlap(hierarchies, data):
    h = data.draw(hierarchies)
    y0, x0 = data.draw(st.integers(0, h.shape[0] - 1)), data.draw(st.integers(0, h.shape[1] - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, h.shape[0])), data.draw(st.integers(x0 + 1, h.shape[1]))
    box = np.zeros(h.shape, dtype=bool)
    box[y0:y1, x0:x1] = True
    masks = [np.isin(h.labels, list(leaves)) for leaves in leaves_below(h)]
    overlaps = [(box & mask).sum() / (box | mask).sum() for mask in masks]
    np.testing.assert_array_equal(h.select(box=(y0, x0, y1, x1)), masks[int(np.argmax(overlaps))])


def test_hand_worked_scribbles(hand):
    scribbles = np.zeros((2, 4), dtype=np.uint8)
    scribbles[0, 0], scribbles[1, 3] = 1, 2
    # leaf 1 joins 0 in node 5; leaf 3 joins 4 in node 6; leaf 2 joins them in node 7
    assert hand.segment_scribbles(scribbles).tolist() == [[1, 1, 1, 1], [2, 2, 2, 2]]
    assert hand.select(scribbles=scribbles).tolist() == [[True] * 4, [False] * 4]
    scribbles[1, 2] = 7
    # 7 and 2 meet in node 6 with a pixel each: leaf 2 takes the lower label
    assert hand.segment_scribbles(scribbles).tolist() == [[1, 1, 1, 1], [2, 2, 7, 2]]
    assert hand.segment_scribbles(scribbles).dtype == np.int32


def test_an_untouched_subtree_takes_the_label_that_covers_most_of_its_lowest_scribbled_ancestor(hand):
    scribbles = np.zeros((2, 4), dtype=np.int64)
    scribbles[1, 0], scribbles[1, 3] = 3, 1  # leaf 2 (2 pixels) is 3; leaf 4, and with it 3, is 1: 2 pixels as well
    assert hand.segment_scribbles(scribbles).tolist() == [[1, 1, 1, 1], [3, 3, 1, 1]]
    scribbles[1, 2] = 3
    assert hand.segment_scribbles(scribbles).tolist() == [[3, 3, 3, 3], [3, 3, 3, 1]]


def test_a_leaf_scribbled_twice_takes_the_majority():
    one = Hierarchy(
        np.zeros((1, 4), np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32)
    )
    assert one.segment_scribbles(np.array([[2, 1, 2, 0]])).tolist() == [[2, 2, 2, 2]]
    assert one.segment_scribbles(np.array([[2, 1, 0, 0]])).tolist() == [[1, 1, 1, 1]]
    assert one.select(scribbles=np.array([[False, True, False, False]])).all()
    assert not one.select(scribbles=np.array([[0, 2, 0, 0]])).any()


@given(data=st.data())
def test_scribbles_match_the_slow_version(hierarchies, data):
    h = data.draw(hierarchies)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    scribbles = rng.integers(1, 4, h.shape) * (rng.random(h.shape) < 0.15)
    scribbles[rng.integers(h.shape[0]), rng.integers(h.shape[1])] = 2
    labels = h.segment_scribbles(scribbles)
    assert set(np.unique(labels)) <= set(np.unique(scribbles[scribbles > 0]))
    np.testing.assert_array_equal(labels, np.array(slow_segment(h, scribbles))[h.labels])


@given(data=st.data())
def test_grow_and_shrink_walk_from_leaf_to_root(hierarchies, data):
    h = data.draw(hierarchies)
    y, x = data.draw(st.integers(0, h.shape[0] - 1)), data.draw(st.integers(0, h.shape[1] - 1))
    path = [h.labels[y, x], *h.ancestors(int(h.labels[y, x]))]
    for steps, node in enumerate(path):
        expected = np.isin(h.labels, h.leaves_of(int(node)))
        np.testing.assert_array_equal(h.select(point=(y, x), regions=h.n_leaves, grow=steps), expected)
        np.testing.assert_array_equal(h.select(point=(y, x), regions=1, shrink=len(path) - 1 - steps), expected)
    assert h.select(point=(y, x), grow=100).all()
    np.testing.assert_array_equal(h.select(point=(y, x), shrink=100), h.labels == h.labels[y, x])
    np.testing.assert_array_equal(h.select(point=(y, x), grow=1, shrink=1), h.select(point=(y, x)))


def test_hand_worked_box_of_several_nodes(hand):
    assert hand.select(box=(0, 2, 2, 4)).tolist() == [[False, False, True, True], [False] * 4]  # leaf 1, as node 6: 2/4
    expected = [[False, False, True, True]] * 2
    assert hand.select(box=(0, 2, 2, 4), max_nodes=2).tolist() == expected  # leaf 1 and node 6
    assert hand.select(box=(0, 2, 2, 4), max_nodes=5).tolist() == expected


def test_strokes_are_drawn_as_straight_lines():
    drawn = selection.draw_strokes((4, 5), {3: [[(0, 0), (0, 4), (3, 4)], [(3, 0)]], 1: [(1, 1), (3, 3)]})
    assert drawn.tolist() == [[3, 3, 3, 3, 3], [0, 1, 0, 0, 3], [0, 0, 1, 0, 3], [3, 0, 0, 1, 3]]
    assert drawn.dtype == np.int32
    assert not selection.draw_strokes((2, 2), {1: [], 2: [[]]}).any()


def test_strokes_and_arrays_segment_alike(hand):
    drawn = np.array([[1, 0, 0, 0], [0, 0, 0, 2]])
    strokes = {1: [(0, 0)], 2: [[(1, 3)]]}
    np.testing.assert_array_equal(hand.segment_scribbles(strokes), hand.segment_scribbles(drawn))
    np.testing.assert_array_equal(hand.select(scribbles=strokes), hand.select(scribbles=drawn))


def test_a_leaf_clicked_for_both_takes_the_majority(hand):
    points = {1: [(0, 0), (0, 2)], 2: [(0, 2), (0, 3), (1, 0)]}
    assert selection.clicked_leaves(hand.labels, 5, points).tolist() == [1, 2, 2, 0, 0]
    assert selection.clicked_leaves(hand.labels, 5, {1: [(0, 2)], 2: [(0, 3)]}).tolist() == [0, 1, 0, 0, 0]


@given(data=st.data())
def test_clicks_hold_for_their_leaves(hierarchies, data):
    h = data.draw(hierarchies)
    pixel = st.tuples(st.integers(0, h.shape[0] - 1), st.integers(0, h.shape[1] - 1))
    points = {1: data.draw(st.lists(pixel, min_size=1, max_size=4)), 2: data.draw(st.lists(pixel, max_size=4))}
    mask = h.select(points=points)
    assert mask.dtype == bool
    clicked = selection.clicked_leaves(h.labels, h.n_leaves, points)[h.labels]
    assert mask[clicked == 1].all()
    assert not mask[clicked == 2].any()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, r"exactly one of point, points, scribbles, box; got nothing"),
        ({"point": (0, 0), "box": (0, 0, 1, 1)}, r"exactly one of .*got point=\(0, 0\), box="),
        ({"point": (2, 0)}, r"point y=2 is outside 0..1. point is \(y, x\) in an image of 2 rows and 4 columns"),
        ({"point": (0, -1)}, r"point x=-1 is outside 0..3"),
        ({"point": (0, 0), "level": "part", "regions": 2}, r"exactly one of regions"),
        ({"box": (0, 0, 3, 4)}, r"box=\(0, 0, 3, 4\) is not a box .*give \(y0, x0, y1, x1\)"),
        ({"box": (1, 0, 1, 4)}, r"is not a box"),
        ({"box": (0, 0, 1, 4), "level": "part"}, r"box= finds its own granularity: leave out"),
        ({"scribbles": np.ones((2, 4), int), "regions": 2}, r"scribbles= finds its own granularity"),
        ({"scribbles": np.ones((4, 2), int)}, r"scribbles are int64 \(4, 2\); expected whole numbers \(2, 4\)"),
        ({"scribbles": np.ones((2, 4))}, r"scribbles are float64"),
        ({"scribbles": np.full((2, 4), -1)}, r"scribbles hold -1..-1; .*renumber"),
        ({"scribbles": {0: [(0, 0)]}}, r"scribbles label=0 is outside 1..*1 = foreground"),
        ({"scribbles": {1: [(0, 0), (0, 4)]}}, r"point x=4 is outside 0..3"),
        ({"scribbles": {1: []}}, r"all 0 \(unlabelled\)"),
        ({"points": {2: [(0, 0)]}}, r"no click on the object: give at least one as points={1"),
        ({"points": {1: [(0, 0)], 3: [(0, 0)]}}, r"points label=3 is unknown"),
        ({"points": {1: [(0, 9)]}}, r"point x=9 is outside 0..3"),
        ({"points": {1: [(0, 0)]}, "level": "part"}, r"points= finds its own granularity"),
        ({"points": {1: [(0, 0)]}, "grow": 1}, r"grow=1 has no effect on points=: leave it out, or give point="),
        ({"point": (0, 0), "max_nodes": 2}, r"max_nodes=2 has no effect on point=: leave it out, or give box="),
        ({"point": (0, 0), "shrink": -1}, r"shrink=-1 is outside 0..inf. It counts nodes"),
        ({"box": (0, 0, 1, 4), "max_nodes": 0}, r"max_nodes=0 is outside 1"),
        ({"scribbles": np.zeros((2, 4), int)}, r"all 0 \(unlabelled\): mark at least one pixel"),
    ],
)
def test_refusals(hand, keywords, message):
    with pytest.raises(InputError, match=message):
        hand.select(**keywords)


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
    actual = best_union(h.parents, *count(h.labels, target, h.n_leaves), k)
    assert 1 <= len(actual) <= k
    assert np.sum([masks[node] for node in actual], axis=0).max() == 1  # disjoint
    assert overlap(masks, actual, target) == best
    assert len(actual) == min(len(c) for c in unions if overlap(masks, c, target) == best)


def test_a_deep_tree_and_a_budget_of_all_leaves():
    n = 2000
    parents = np.minimum(np.arange(2 * n - 1) + n, 2 * n - 2)  # a caterpillar: every node takes up one more leaf
    parents[0], parents[1:n], parents[n:] = (
        n,
        np.arange(n, 2 * n - 1),
        np.minimum(np.arange(n, 2 * n - 1) + 1, 2 * n - 2),
    )
    inside, areas = np.arange(n) % 2, np.ones(n, np.int64)
    actual = best_union(parents.astype(np.int32), inside, areas, n)
    np.testing.assert_array_equal(actual, np.flatnonzero(inside))
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
def test_refusals_unions(inside, areas, k, message, as_installed):
    parents = np.array([3, 3, 4, 4, 4], np.int32)
    with pytest.raises(InputError, match=message):
        best_union(parents, np.array(inside), np.array(areas), k)


def labellings(node, children, mixed, foreground, n_leaves):
    """Return the probability of every set of foreground leaves at or below a node, by enumeration."""
    leaves = [node] if node < n_leaves else []
    below = {frozenset(): 1.0}
    for child in children[node]:
        of_child = labellings(child, children, mixed, foreground, n_leaves)
        leaves += max(of_child, key=len)
        joined = {}
        for first, p in below.items():
            for second, q in of_child.items():
                joined[first | second] = joined.get(first | second, 0) + p * q
        below = joined
    is_mixed = mixed[node] if node >= n_leaves else 0
    out = {key: p * is_mixed for key, p in below.items()} if is_mixed else {}
    for key, p in ((frozenset(leaves), foreground[node]), (frozenset(), 1 - foreground[node])):
        out[key] = out.get(key, 0) + (1 - is_mixed) * p
    return out


@given(data=st.data())
def test_probabilities_are_those_of_all_labellings(hierarchies, data):
    h = data.draw(hierarchies.filter(lambda h: h.n_leaves <= 7))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    mixed, foreground = rng.uniform(0.05, 0.95, (2, h.n_nodes))
    clicked = rng.choice(3, h.n_leaves, p=[0.6, 0.2, 0.2])
    all_of_them = labellings(h.root, [h.children(n).tolist() for n in range(h.n_nodes)], mixed, foreground, h.n_leaves)
    assert sum(all_of_them.values()) == pytest.approx(1)
    on, beside = set(np.flatnonzero(clicked == 1)), set(np.flatnonzero(clicked == 2))
    left = {key: p for key, p in all_of_them.items() if on <= key and not beside & key}
    expected = [sum(p for key, p in left.items() if leaf in key) / sum(left.values()) for leaf in range(h.n_leaves)]
    actual = _kernels_clicks.foreground_of_leaves(h.parents, mixed, foreground, clicked)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def scene():
    """Return an image of a disc on a plain ground, 64 leaves in a grid, the disc merging late with its surroundings."""
    y, x = np.mgrid[:64, :64]
    labels = (y // 8 * 8 + x // 8).astype(np.int32)
    is_disc = ((np.arange(64) // 8 - 3.5) ** 2 + (np.arange(64) % 8 - 3.5) ** 2) < 5
    parents, altitudes = np.zeros(127, np.int32), np.zeros(127, np.float32)
    tops, node = [], 64
    for part in (np.flatnonzero(is_disc), np.flatnonzero(~is_disc)):
        top = part[0]
        for leaf in part[1:]:
            parents[[top, leaf]], altitudes[node] = node, 0.05
            top, node = node, node + 1
        tops.append(top)
    parents[[*tops, node]], altitudes[node] = node, 0.9
    return Hierarchy(labels, parents, altitudes, np.zeros((64, 0), np.float32)), is_disc[labels]


def test_one_click_takes_the_object_that_it_lies_on():
    h, disc = scene()
    np.testing.assert_array_equal(h.select(points={1: [(30, 30)]}), disc)
    np.testing.assert_array_equal(h.select(points={1: [(30, 30)], 2: [(2, 2)]}), disc)
    # a background click on the disc itself: not all of the disc is the object
    assert h.select(points={1: [(30, 30)], 2: [(40, 30)]}).sum() < disc.sum()


def test_many_clicks_do_not_underflow():
    h, _ = scene()
    clicked = (np.arange(64) % 2 + 1).astype(np.int64)
    probability = foreground_probability(h.labels, h.parents, h.altitudes, 64, clicked)
    np.testing.assert_allclose(probability, clicked == 1)
    chosen = object_at_clicks(h.labels, h.parents, h.altitudes, 64, clicked)
    np.testing.assert_array_equal(chosen, clicked == 1)


def test_hand_worked_features(hand):
    features = click_features(hand.labels, hand.parents, hand.altitudes, 5)
    assert features.shape == (9, 4)
    np.testing.assert_allclose(features[6, :3], [np.log(0.125 / 0.875), 0, np.log(2 / 8)], rtol=1e-6)
    np.testing.assert_allclose(features[8, 1], np.log(3), rtol=1e-6)  # the root is its own parent
    # both pixels of node 6 lie on the lower side, one of them on the right one too
    assert features[6, 3] == pytest.approx(3 / (2 * np.sqrt(2)))


KINDS = {
    "integers": lambda rows: rows,
    "floats": lambda rows: [tuple(float(value) for value in row) for row in rows],
    "fractions": lambda rows: [tuple(value + 0.4 for value in row) for row in rows],
    "numpy": lambda rows: np.array(rows),
    "float32": lambda rows: np.array(rows, np.float32),
    "tensor": lambda rows: torch.tensor(rows),
    "JSON": lambda rows: json.loads(json.dumps(rows)),
    "pandas": lambda rows: (
        pandas.DataFrame(rows, columns=["y", "x"][: len(rows[0])] or None) if len(rows[0]) == 2 else np.array(rows)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_coordinates_come_in_every_kind_of_number(hand, kind):
    made = KINDS[kind]
    point, box = made([(0, 1)]), made([(0, 1, 2, 3)])
    first = point.iloc[0] if kind == "pandas" else point[0]
    np.testing.assert_array_equal(hand.select(point=first, regions=3), hand.select(point=(0, 1), regions=3))
    np.testing.assert_array_equal(hand.select(box=box[0]), hand.select(box=(0, 1, 2, 3)))
    np.testing.assert_array_equal(
        hand.select(points={1: point, 2: made([(1, 3)])}), hand.select(points={1: [(0, 1)], 2: [(1, 3)]})
    )
    np.testing.assert_array_equal(hand.select(points={1.0: point}), hand.select(points={1: [(0, 1)]}))
    strokes = {1: made([(0, 0), (0, 1)]), 2: [made([(1, 3)])]}
    expected = {1: [(0, 0), (0, 1)], 2: [[(1, 3)]]}
    np.testing.assert_array_equal(hand.segment_scribbles(strokes), hand.segment_scribbles(expected))
    np.testing.assert_array_equal(hand.cut(regions=2, focus=first), hand.cut(regions=2, focus=(0, 1)))


@pytest.mark.parametrize(
    "marks",
    [
        {"point": (0, 0, 1)},
        {"point": 3},
        {"point": ("0", "1")},
        {"point": (None, 1)},
        {"point": (float("nan"), 1)},
        {"point": (0, float("inf"))},
        {"point": (1j, 0)},
        {"point": (True, False)},
        {"point": [[0, 1]]},
        {"point": (0, 1e30)},
        {"point": {"y": 0, "x": 1}},
        {"points": {1: (0, 1)}},
        {"points": np.ones((9, 9))},
        {"scribbles": {1: [torch.zeros(2, requires_grad=True)]}},
        {"points": [(0, 1)]},
        {"points": {1: 5}},
        {"points": {1: "ab"}},
        {"points": {1: None}},
        {"points": {"1": [(0, 1)]}},
        {"points": {1: [(0, 1, 2)]}},
        {"box": (0, 0, 1, 1, 0.9)},
        {"box": (0, 0, 1)},
        {"box": ((0, 0), (1, 1))},
        {"box": "0,0,1,1"},
        {"box": (0.2, 0.2, 0.4, 0.4)},
        {"scribbles": {1: (0, 1)}},
        {"scribbles": {1: 3}},
        {"scribbles": [(0, 1)]},
        {"scribbles": {1: [[(0, 1)], 5]}},
        {"scribbles": {1: [(0, "1")]}},
        {"scribbles": {"a": [(0, 1)]}},
    ],
    ids=str,
)
def test_malformed_coordinates_are_refused_with_the_remedy(hand, marks):
    with pytest.raises(InputError, match=r"[Gg]ive|is \(y|Choose one of|count from 1"):
        hand.select(**marks)
    if "point" in marks:
        with pytest.raises(InputError):
            hand.cut(regions=2, focus=marks["point"])
