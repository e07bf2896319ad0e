import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.objects.result import Objects, Parts, box_of_largest_component

TWO = np.array([[[1, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]], bool)


def make(masks=TWO, scores=(0.9, 0.5)):
    return Objects(masks, np.array(scores, np.float32), np.zeros((2, 3), np.float32))


def test_mask_is_the_union_and_boxes_are_half_open():
    objects = make()
    assert objects.mask.tolist() == [[True, True, False], [False, False, True]]
    assert objects.boxes_yxyx.tolist() == [[0, 0, 1, 2], [1, 2, 2, 3]]


def test_a_box_is_that_of_the_largest_component_which_touches_by_sides():
    mask = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]], bool)
    assert box_of_largest_component(mask).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize(
    ("masks", "scores", "problem"),
    [
        (TWO[:0], (), "at least one object"),
        (np.stack([TWO[0], TWO[0]]), (0.9, 0.5), "disjoint"),
        (np.stack([TWO[0], np.zeros((2, 3), bool)]), (0.9, 0.5), "none empty"),
    ],
)
def test_objects_that_overlap_are_empty_or_do_not_fit_are_refused(masks, scores, problem):
    with pytest.raises(InputError, match=problem):
        make(masks, scores)


def test_parts_with_a_gap_are_refused():
    labels = np.array([[0, 1, 3]], np.int32)
    with pytest.raises(InputError, match="every part"):
        Parts(labels, np.zeros(2, np.int32))
    Parts(np.array([[0, 1, 2]], np.int32), np.zeros(2, np.int32))


def test_an_empty_mask_has_no_box():
    with pytest.raises(InputError, match="empty"):
        box_of_largest_component(np.zeros((2, 2), bool))
