import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.objects.foreground import foreground
from supercuts.objects.graphs import grid_graph
from supercuts.objects.maskcut import MaskCutConfig, maskcut
from supercuts.objects.tokencut import lost, tokencut

GRID = grid_graph(10, 12)


def two_objects():
    """Return features of a 10 x 12 grid with objects of 12 and 9 patches, and their masks."""
    kind = np.zeros((10, 12), int)
    kind[2:6, 2:5], kind[5:8, 7:10] = 1, 2
    rng = np.random.default_rng(0)
    return np.eye(4)[kind.ravel()] * 3 + 0.2 * rng.standard_normal((120, 4)), kind.ravel()


def test_objects_are_found_one_by_one_and_then_nothing_sensible_is_left():
    features, kind = two_objects()
    found = maskcut(features, GRID, tokencut, 5)
    assert len(found) == 2
    assert {tuple(one.is_object) for one in found} == {tuple(kind == 1), tuple(kind == 2)}
    first, second = found
    assert not second.soft[first.is_object].any()
    assert not (first.is_object & second.is_object).any()
    assert second.is_object[second.seed]
    # what was taken does not count as background of the second
    rest = ~first.is_object & ~second.is_object
    assert second.score == pytest.approx(second.soft[second.is_object].mean() - second.soft[rest].mean(), abs=1e-6)


def test_one_object_is_what_the_method_finds():
    features, _ = two_objects()
    alone, expected = maskcut(features, GRID, lost, 1)[0], lost(features, GRID)
    for name in ("is_object", "vector", "soft"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(expected, name))
    assert (alone.seed, alone.score) == (expected.seed, expected.score)


NUMBERS = np.arange(120.0)[:, None]  # as features: a method sees which nodes are left


def in_turn(*masks):
    """Return a method that finds these (N,) masks one after the other."""
    left = list(masks)

    def find(numbers, graph):
        inside = left.pop(0)[numbers[:, 0].astype(int)]
        return foreground(inside, inside.astype(float), inside.astype(float), graph.area)

    return find


def rectangle(y0, y1, x0, x1):
    mask = np.zeros((10, 12), bool)
    mask[y0:y1, x0:x1] = True
    return mask.ravel()


@pytest.mark.parametrize(
    "further",
    [rectangle(8, 9, 8, 9), rectangle(4, 10, 0, 12), rectangle(3, 10, 0, 12)],
    ids=["small", "border", "large"],
)
def test_what_is_small_large_or_background_is_no_further_object(further):
    config = MaskCutConfig(least_area=0.02)
    start = rectangle(1, 3, 3, 6)
    assert len(maskcut(NUMBERS, GRID, in_turn(start, further), 2, config)) == 1
    assert len(maskcut(NUMBERS, GRID, in_turn(start, rectangle(5, 7, 5, 8)), 2, config)) == 2
    # the first one is an answer whatever it is
    assert len(maskcut(NUMBERS, GRID, in_turn(further), 1, config)) == 1


def test_of_several_objects_each_is_its_largest_component():
    both = rectangle(1, 3, 1, 3) | rectangle(5, 8, 5, 8)
    one = maskcut(NUMBERS, GRID, in_turn(both, rectangle(9, 10, 9, 10)), 2)[0]
    np.testing.assert_array_equal(one.is_object, rectangle(5, 8, 5, 8))
    np.testing.assert_array_equal(one.soft[rectangle(1, 3, 1, 3)], 0.5)


def test_it_ends_when_every_node_is_taken():
    assert len(maskcut(np.ones((1, 2)), grid_graph(1, 1), tokencut, 3)) == 1
    with pytest.raises(InputError, match="n=0"):
        maskcut(np.ones((1, 2)), grid_graph(1, 1), tokencut, 0)
