import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.hierarchy import regions
from supercuts.hierarchy._kernels import tree

# leaves 0..3; 4 = {0, 1} at 0.25, 5 = {2, 3} at 0.5, 6 the root at 0.75
PARENTS = np.array([4, 4, 5, 5, 6, 6, 6], np.int32)
ALTITUDES = np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], np.float32)
LABELS = np.array([[0, 0, 1, 2], [0, 0, 1, 3]], np.int32)
LEVELS = {"scene": 0.6, "object": 0.3}


def test_relatives_match_hand_worked_tree():
    np.testing.assert_array_equal(regions.children(PARENTS, 6), [4, 5])
    assert regions.children(PARENTS, 2).size == 0
    np.testing.assert_array_equal(regions.ancestors(PARENTS, 1), [4, 6])
    assert regions.ancestors(PARENTS, 6).size == 0
    np.testing.assert_array_equal(regions.leaves_of(PARENTS, 4, 5), [2, 3])
    np.testing.assert_array_equal(regions.leaves_of(PARENTS, 4, 6), [0, 1, 2, 3])
    np.testing.assert_array_equal(regions.leaves_of(PARENTS, 4, 3), [3])


def test_table_matches_hand_worked_tree():
    table = regions.region_table(LABELS, PARENTS, ALTITUDES, 4, LEVELS)
    np.testing.assert_array_equal(table.area, [4, 2, 1, 1, 6, 2, 8])
    np.testing.assert_array_equal(table.bbox_yxyx[4], [0, 0, 2, 3])
    np.testing.assert_array_equal(table.bbox_yxyx[5], [0, 3, 2, 4])
    np.testing.assert_allclose(table.centroid_yx[5], [0.5, 3])
    np.testing.assert_allclose(table.centroid_yx[6], [0.5, 1.5])
    np.testing.assert_array_equal(table.parent, PARENTS)
    np.testing.assert_array_equal(table.altitude, ALTITUDES)


def test_a_parent_holds_its_childrens_pixels():
    table = regions.region_table(LABELS, PARENTS, ALTITUDES, 4, {})
    for node in range(4, 7):
        assert table.area[node] == table.area[regions.children(PARENTS, node)].sum()


@pytest.mark.parametrize("node", [-1, 7, 1.0, True, "1", None, [1], 10**30])
def test_what_is_no_node_of_the_tree_is_refused(node, as_installed):
    with pytest.raises(InputError, match=r"^node=.* is (outside 0\.\.6|not a whole number)\. Leaves come first"):
        regions.check_node(7, node)


def test_a_tree_over_some_leaves_leaves_out_nodes_of_one_child():
    parents, nodes = tree.restrict(PARENTS, np.array([True, True, False, True]))
    assert parents.tolist() == [3, 3, 4, 4, 4]
    assert ALTITUDES[nodes].tolist() == [0, 0, 0, 0.25, 0.75]
    parents, nodes = tree.restrict(PARENTS, np.array([False, False, True, False]))
    assert (parents.tolist(), ALTITUDES[nodes].tolist()) == ([0], [0])
    parents, _ = tree.restrict(PARENTS, np.ones(4, bool))
    np.testing.assert_array_equal(parents, PARENTS)


def test_an_image_is_unlike_photographs_by_variance_and_only_with_levels_by_clear_boundaries():
    clear, blurred = np.full(800, 0.5, np.float32), np.full(800, 0.02, np.float32)
    clear[:400] = blurred[:400] = 0
    areas = np.append(np.full(400, 20), np.full(400, 8000))
    embeddings = np.repeat(np.array([[-4], [4]], np.float32), 200, axis=0)  # variance 16
    assert not regions.is_unlike_photographs(embeddings, clear, areas, LEVELS)
    assert regions.is_unlike_photographs(embeddings, blurred, areas, LEVELS)
    assert not regions.is_unlike_photographs(embeddings, blurred, areas, {})
    assert regions.is_unlike_photographs(embeddings * 0.8, clear, areas, {})  # variance 10
    assert regions.is_unlike_photographs(embeddings * 0.8, clear, areas, LEVELS)
    assert not regions.is_unlike_photographs(embeddings * 0, blurred, areas // 10, LEVELS)  # 2 pixels a leaf
    assert not regions.is_unlike_photographs(embeddings[1:] * 0, clear[1:], areas[1:], LEVELS)  # 399 leaves
