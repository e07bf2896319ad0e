import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.hierarchy._kernels import clicks as _kernels_clicks
from supercuts.hierarchy.clicks import foreground_probability, node_features, object_at_clicks
from supercuts.hierarchy.tree import Hierarchy


def labellings(node, children, mixed, foreground, n_leaves):
    """Return the probability of every set of foreground leaves at or below a node, by enumeration."""
    leaves = [node] if node < n_leaves else []
    below = {frozenset(): 1.0}
    for child in children[node]:
        of_child = labellings(child, children, mixed, foreground, n_leaves)
        leaves += max(of_child, key=len)
        joined = {}
        for one, p in below.items():
            for other, q in of_child.items():
                joined[one | other] = joined.get(one | other, 0) + p * q
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
    found = _kernels_clicks.foreground_of_leaves(h.parents, mixed, foreground, clicked)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def scene():
    """Return an image of a disc on a plain ground, 64 leaves in a grid, the disc merging late with what is around."""
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
    # a click beside it on the disc itself: not all of the disc is the object
    assert h.select(points={1: [(30, 30)], 2: [(40, 30)]}).sum() < disc.sum()


def test_many_clicks_do_not_underflow():
    h, _ = scene()
    clicked = (np.arange(64) % 2 + 1).astype(np.int64)
    probability = foreground_probability(h.labels, h.parents, h.altitudes, 64, clicked)
    np.testing.assert_allclose(probability, clicked == 1)
    chosen = object_at_clicks(h.labels, h.parents, h.altitudes, 64, clicked)
    np.testing.assert_array_equal(chosen, clicked == 1)


def test_hand_worked_features(hand):
    features = node_features(hand.labels, hand.parents, hand.altitudes, 5)
    assert features.shape == (9, 4)
    np.testing.assert_allclose(features[6, :3], [np.log(0.125 / 0.875), 0, np.log(2 / 8)], rtol=1e-6)
    np.testing.assert_allclose(features[8, 1], np.log(3), rtol=1e-6)  # the root is its own parent
    # both pixels of node 6 lie on the lower side, one of them on the right one too
    assert features[6, 3] == pytest.approx(3 / (2 * np.sqrt(2)))
