from types import SimpleNamespace

import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.metrics.inputs import check_thresholds, check_tree, common_thresholds, map_thresholds, stack_tables

PARENTS, ALTITUDES = np.array([3, 3, 4, 4, 4]), np.array([0, 0, 0, 0.2, 0.6])


def test_tables_are_stacked_in_order_as_int64():
    table, starts = stack_tables([np.array([[1, 1], [0, 2]], np.int32), np.array([[1, 3]], np.int32)])
    assert table.tolist() == [[1, 1], [0, 2], [1, 3]]
    assert starts.tolist() == [0, 2, 3]
    assert table.dtype == np.int64


@pytest.mark.parametrize(
    ("tables", "remedy"),
    [
        ([], "at least one truth"),
        ([np.array([[2, 2]]), np.array([[1, 3]])], "with one label map"),
        ([np.array([[-1, 1]])], r"Use contingency\(\)"),
        ([np.zeros((1, 2), int)], r"Use contingency\(\)"),
    ],
)
def test_bad_tables_are_refused(tables, remedy):
    with pytest.raises(InputError, match=remedy):
        stack_tables(tables)


@pytest.mark.parametrize(
    ("parents", "altitudes", "n_leaves"),
    [
        (PARENTS, ALTITUDES, 3),
        (PARENTS.astype(np.int32), ALTITUDES.astype(np.float32), 3),
        (np.array([0]), np.array([0.0]), 1),  # one leaf is a tree
        (np.array([2, 2, 2]), np.array([0.1, 0.1, 0.1]), 2),
    ],
)
def test_trees_are_accepted(parents, altitudes, n_leaves):
    check_tree(parents, altitudes, n_leaves)


@pytest.mark.parametrize(
    ("parents", "altitudes", "n_leaves", "remedy"),
    [
        (PARENTS, ALTITUDES[:4], 3, "from the tree's own labels"),
        (PARENTS, ALTITUDES, 6, "from the tree's own labels"),
        (PARENTS[:0], ALTITUDES[:0], 0, "from the tree's own labels"),
        (np.array([3, 0, 4, 4, 4]), ALTITUDES, 3, "order nodes leaves first"),
        (np.array([3, 3, 4, 4, 3]), ALTITUDES, 3, "order nodes leaves first"),
        (np.array([3, 3, 5, 4, 4]), ALTITUDES, 3, "order nodes leaves first"),
        (np.array([2, 3, 4, 4, 4]), ALTITUDES, 3, "not be one of the 3 leaves"),  # leaf 2 has a child
        (np.array([1, 1]), np.zeros(2), 2, "not be one of the 2 leaves"),
        (PARENTS, np.array([0, 0, 0, 0.7, 0.6]), 3, "rise towards the root"),
        (PARENTS, np.array([0, 0, 0, 0.2, np.nan]), 3, "rise towards the root"),
    ],
)
def test_bad_trees_are_refused(parents, altitudes, n_leaves, remedy):
    with pytest.raises(InputError, match=remedy):
        check_tree(parents, altitudes, n_leaves)


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [0.5, 0.4], [np.nan], [0.1, np.nan]])
def test_thresholds_that_do_not_rise_are_refused(thresholds):
    with pytest.raises(InputError, match="sort them"):
        check_thresholds(np.array(thresholds, np.float64))


def test_maps_are_listed_at_their_thresholds_or_counted():
    assert map_thresholds(None, 2).tolist() == [1, 2]
    assert map_thresholds(np.array([3, 7]), 2).tolist() == [3.0, 7.0]
    with pytest.raises(InputError, match="at least one segmentation"):
        map_thresholds(None, 0)
    with pytest.raises(InputError, match="2 thresholds for 3 label maps: give one for each, or none"):
        map_thresholds(np.array([0.1, 0.2]), 3)
    with pytest.raises(InputError, match="sort them"):
        map_thresholds(np.array([0.2, 0.1]), 2)


def test_thresholds_of_images_must_be_the_same():
    first, same, fewer, second = (SimpleNamespace(thresholds=np.array(t)) for t in ([1, 2], [1, 2], [1], [1, 3]))
    assert common_thresholds([first, same]).tolist() == [1, 2]
    with pytest.raises(InputError, match="scores of at least one"):
        common_thresholds([])
    for image in (fewer, second):
        with pytest.raises(InputError, match=r"image 2 has . thresholds, image 0 has 2, .* at the same thresholds"):
            common_thresholds([first, same, image])
