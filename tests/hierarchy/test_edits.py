import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import ConstraintError, InputError


def leaf_cut(h, **keywords):
    """Return the region of each leaf."""
    _, first = np.unique(h.labels, return_index=True)
    return h.cut(**keywords).ravel()[first]


def all_cuts(h):
    """Return leaf cuts at every granularity that the edits allow."""
    made = [leaf_cut(h, altitude=a) for a in (0, 0.1, 0.25, 0.5, 0.75, 0.99, 1)]
    made += [leaf_cut(h, granularity=g) for g in (0, 0.4, 0.8, 1)]
    made += [leaf_cut(h, level=name) for name in h.levels]
    for n_regions in range(1, h.n_leaves + 1):
        try:
            made.append(leaf_cut(h, regions=n_regions))
        except ConstraintError:
            continue
        assert made[-1].max() + 1 == n_regions or h.n_nodes < 2 * h.n_leaves - 1
    return made


def check_kept(h, kind, groups):
    """Assert that every cut keeps to an edit."""
    for cut in all_cuts(h):
        of_groups = [set(cut[group].tolist()) for group in groups]
        union = np.concatenate(groups)
        if kind == "split":
            assert all(not a & b for a, b in itertools.combinations(of_groups, 2))
        elif kind == "lock":
            assert len(of_groups[0]) == 1
            assert (cut == cut[union[0]]).sum() == union.size
        elif all(len(regions) == 1 for regions in of_groups):
            # two whole regions may still be apart only where their union is being divided: at no cut beyond theirs
            assert of_groups[0] == of_groups[1] or {int((cut == cut[g[0]]).sum()) for g in groups} == {
                group.size for group in groups
            }


def test_merge_by_hand(hand):
    merged = hand.merge(1, 3)  # leaf 3, beside 4 in node 6, moves to leaf 1, beside 0 in node 5
    assert merged.n_leaves == 5
    assert merged.n_nodes == 9
    assert leaf_cut(merged, regions=4).tolist() == [0, 1, 2, 1, 3]
    assert leaf_cut(merged, altitude=0).tolist() == [0, 1, 2, 1, 3]  # leaves merge at altitude 0
    assert leaf_cut(merged, regions=2).tolist() == [0, 0, 1, 0, 1]  # node 7 without leaf 3 merges at .5, 5 at .25
    assert leaf_cut(hand.merge(3, 1), regions=2).tolist() == [0, 1, 1, 1, 1]  # the first one stays where it is
    whole = hand.merge(5, 6)
    assert leaf_cut(whole, regions=2).tolist() == [0, 0, 1, 0, 0]


def test_merging_the_only_children_of_a_node_lowers_it(hand):
    merged = hand.merge(2, 6)  # node 7, at .5, is what merges them: now at .125, that of node 6
    assert leaf_cut(merged, altitude=0.125).tolist() == [0, 1, 2, 2, 2]
    assert leaf_cut(merged, regions=3).tolist() == [0, 1, 2, 2, 2]


def test_split_by_hand(hand):
    apart = hand.split(6)  # leaves 3 and 4
    assert leaf_cut(apart, altitude=1).tolist() == [0, 0, 0, 0, 1]
    assert leaf_cut(apart, regions=2).tolist() == [0, 0, 0, 0, 1]
    assert leaf_cut(apart, regions=3).tolist() == [0, 0, 1, 1, 2]
    with pytest.raises(ConstraintError, match=r"regions=1 is outside 2..5, which the edits .* undo\(\) an edit"):
        apart.cut(regions=1)
    assert leaf_cut(apart, granularity=0).max() == 1  # the nearest that is possible


def test_lock_by_hand(hand):
    locked = hand.lock(7)  # leaves 2, 3, 4
    assert leaf_cut(locked, regions=2).tolist() == [0, 0, 1, 1, 1]
    assert leaf_cut(locked, regions=3).tolist() == [0, 1, 2, 2, 2]
    assert leaf_cut(locked, granularity=1).tolist() == [0, 1, 2, 2, 2]
    assert leaf_cut(locked, altitude=0).tolist() == [0, 1, 2, 2, 2]
    with pytest.raises(ConstraintError, match=r"regions=4 is outside 2..3"):
        locked.cut(regions=4)
    assert leaf_cut(hand.lock(hand.root), granularity=1).max() == 0
    assert (
        leaf_cut(locked, regions=2).tolist() == leaf_cut(locked.lock(7), regions=2).tolist()
    )  # 7 is node 5 now: {0, 1}


def test_undo_restores_the_previous_hierarchy(hand):
    first = hand.merge(5, 6)
    second = first.split(first.root)
    back = second.undo()
    np.testing.assert_array_equal(back.parents, first.parents)
    np.testing.assert_array_equal(back.altitudes, first.altitudes)
    original = back.undo()
    np.testing.assert_array_equal(original.parents, hand.parents)
    assert original.edits is None
    with pytest.raises(InputError, match="no edit to undo"):
        original.undo()


def test_contradictions_are_named(hand):
    with pytest.raises(ConstraintError, match="nodes 5 and 0 cannot merge: one holds the other"):
        hand.merge(5, 0)
    with pytest.raises(ConstraintError, match="node 2 is a leaf and cannot be split"):
        hand.split(2)
    locked = hand.lock(6)
    inside = int(locked.parents[3])
    with pytest.raises(ConstraintError, match="split of 1 and 1 leaves lies inside a locked region"):
        locked.split(inside)
    with pytest.raises(ConstraintError, match="merge of 1 and 1 leaves lies inside a locked region"):
        locked.merge(3, 4)
    with pytest.raises(ConstraintError, match="merge of 1 and 2 leaves contradicts the earlier lock of 2 leaves"):
        locked.merge(0, inside)
    with pytest.raises(ConstraintError, match="inside a locked region"):
        locked.merge(0, 3)
    with pytest.raises(ConstraintError, match="lock of 5 leaves holds regions that are kept apart"):
        locked.lock(locked.root)
    locked = hand.lock(0).lock(1)
    others = next(int(node) for node in locked.children(locked.root) if node != 1)  # a root that locks have made
    with pytest.raises(ConstraintError, match="merge of 1 and 4 leaves holds regions that are kept apart"):
        locked.merge(1, others)
    apart = hand.split(6)
    with pytest.raises(ConstraintError, match="merge of 1 and 1 leaves contradicts the earlier split of 1 and 1"):
        apart.merge(3, 4)
    merged = hand.merge(0, 1)
    with pytest.raises(ConstraintError, match="contradicts the earlier merge of 1 and 1"):
        merged.split(int(merged.parents[0]))
    with pytest.raises(InputError, match=r"node=9 is outside 0..8"):
        hand.lock(9)


@given(data=st.data())
def test_edits_hold_at_every_granularity(hierarchies, data):
    h = data.draw(hierarchies)
    for _ in range(data.draw(st.integers(1, 5))):
        kind = data.draw(st.sampled_from(["merge", "split", "lock"]))
        nodes = [data.draw(st.integers(0, h.root)) for _ in range(2 if kind == "merge" else 1)]
        before = h
        try:
            h = getattr(h, kind)(*nodes)
        except ConstraintError:
            continue
        for step in h.edits.steps:  # Hierarchy has checked that the tree is an ultrametric
            check_kept(h, step.kind, step.groups)
        np.testing.assert_array_equal(h.undo().parents, before.parents)
        np.testing.assert_array_equal(h.undo().altitudes, before.altitudes)
        cuts = all_cuts(h)
        for a, b in itertools.product(cuts, cuts):  # nested
            if a.max() <= b.max():
                assert len(set(zip(a.tolist(), b.tolist(), strict=True))) == b.max() + 1


@given(data=st.data())
def test_a_merge_changes_no_cut_that_has_both_in_one_region_by_itself(hierarchies, data):
    h = data.draw(hierarchies.filter(lambda h: h.n_leaves >= 2))
    node = data.draw(st.integers(h.n_leaves, h.root))
    children = h.children(node).tolist()
    if len(children) != 2:
        return
    merged = h.merge(*children)
    for altitude in (0.25, 0.5, 0.9):
        if altitude >= h.altitudes[node]:
            np.testing.assert_array_equal(merged.cut(altitude=altitude), h.cut(altitude=altitude))
