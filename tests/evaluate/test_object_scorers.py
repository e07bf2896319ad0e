import pickle
from functools import partial

import numpy as np
import pytest
from PIL import Image

from supercuts.datasets.annotations import AnnotatedSample, ObjectTruth, PartTruth
from supercuts.evaluate.object_scorers import ObjectsOfModel, PartsOfModel

MASK = np.zeros((8, 8), bool)
MASK[2:6, 1:7] = True
PARTS = MASK * np.repeat([1, 2], 4).astype(np.int32)


def constant(_path, value):
    return value


@pytest.fixture
def sample(tmp_path):
    def make(truth, mode="RGB"):
        path = tmp_path / "a.b.png"
        Image.fromarray(MASK.astype(np.uint8) * 255).convert(mode).save(path)
        return AnnotatedSample("a.b", path, path, partial(constant, value=truth))

    return make


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_object_of_a_colour_or_grey_image_is_scored(finder, sample, mode):
    truth = ObjectTruth(MASK[None], np.array([[2, 1, 6, 7]]))
    scorer = pickle.loads(pickle.dumps(ObjectsOfModel(finder, "bright")))
    scores = scorer(sample(truth, mode))
    assert (scores.iou, scores.box_iou) == (1, 1)
    assert scores.limits.best_node == 24 / 64


def test_parts_are_scored_by_regions(finder, sample):
    scores = PartsOfModel(finder)(sample(PartTruth(("left", "right"), PARTS)))
    assert scores.matched_iou.tolist() == [1, 1]
    assert (scores.nested, scores.keypoints) == (1, None)


def test_parts_are_scored_by_keypoints_also_within_the_box(finder, sample):
    """Cropped to columns 1..6 the halves are those of the whole image; the corner of the image is background."""
    truth = PartTruth(
        ("left", "right", "corner"),
        keypoints_yx=np.array([[3, 1], [3, 6], [0, 0]], float),
        visible=np.array([True, True, True]),
        box_yxyx=np.array([2, 1, 6, 7]),
    )
    scores = PartsOfModel(finder, k=2)(sample(truth))
    assert scores.keypoints.full.tolist() == [1, 2, 0]
    assert scores.keypoints.fg.tolist() == [1, 2, 1]


def test_cases_show_what_was_found_beside_the_truth(finder, sample):
    boxes = np.array([[0, 0, 2, 2]])
    case = ObjectsOfModel(finder).case(sample(ObjectTruth(boxes_yxyx=boxes)), "IoU 0.1")
    assert not case.truth.any()
    np.testing.assert_array_equal(case.found, MASK)
    assert case.found_boxes_yxyx.tolist() == [[2, 1, 6, 7]]
    case = ObjectsOfModel(finder).case(sample(ObjectTruth(MASK[None])), "IoU 0.1")
    np.testing.assert_array_equal(case.truth, MASK)
    assert len(case.found_boxes_yxyx) == 0
    points = PartTruth(("a", "b"), None, np.array([[0.0, 1], [2, 3]]), np.array([False, True]))
    case = PartsOfModel(finder).case(sample(points), "NMI 3")
    assert case.true_points_yx.tolist() == [[2, 3]]
    np.testing.assert_array_equal(case.found, PARTS)
