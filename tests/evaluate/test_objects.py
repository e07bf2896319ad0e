import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.datasets.annotations import ObjectTruth
from supercuts.evaluate.objects import ObjectScores, limits_of, mean, score_objects, summarise_objects
from supercuts.evaluate.run import from_plain, to_plain
from supercuts.hierarchy.tree import Hierarchy
from supercuts.objects.result import Objects

LEFT = np.repeat([[True, True, False, False]], 4, axis=0)


def quarters():
    return Hierarchy(
        labels=np.kron([[0, 1], [2, 3]], np.ones((2, 2))).astype(np.int32),
        parents=np.array([4, 4, 5, 5, 6, 6, 6], np.int32),  # rows merge first
        altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], np.float32),
        embeddings=np.zeros((4, 0), np.float32),
    )


def found(mask, saliency=None):
    saliency = mask.astype(np.float32) if saliency is None else saliency
    return Objects(mask[None], np.ones(1, np.float32), saliency)


def test_a_perfect_mask_scores_perfectly_and_limits_are_of_the_tree():
    scores = score_objects(found(LEFT), ObjectTruth(LEFT[None]), quarters())
    assert (scores.iou, scores.accuracy, scores.box_iou, scores.n_objects) == (1, 1, None, 1)
    np.testing.assert_array_equal(scores.f_beta_curve, np.ones(255))
    # half of each row of quarters is the object: one node covers 8 of 16 pixels at best, two leaves are it
    assert (scores.limits.best_node, scores.limits.best_union) == (0.5, 1)


def test_objects_of_a_truth_count_together_and_soft_masks_at_their_best_threshold():
    masks = np.stack([LEFT & (np.arange(4)[:, None] < 2), LEFT & (np.arange(4)[:, None] >= 2)])
    soft = np.where(LEFT, 0.6, 0.3).astype(np.float32)
    scores = score_objects(found(~LEFT, soft), ObjectTruth(masks), quarters())
    assert (scores.iou, scores.accuracy) == (0, 0)
    assert summarise_objects([scores])["max_f_beta"] == 1


def test_boxes_alone_give_corloc_alone():
    half = ObjectTruth(boxes_yxyx=np.array([[0, 0, 1, 1], [0, 0, 4, 4]]))
    less = ObjectTruth(boxes_yxyx=np.array([[0, 0, 4, 4]]) + np.array([0, 0, 0, 1]))
    nothing = ObjectTruth(boxes_yxyx=np.zeros((0, 4), np.int64))
    scores = [score_objects(found(LEFT), truth, quarters()) for truth in (half, less, nothing)]
    assert [one.box_iou for one in scores] == [0.5, 0.4, 0]
    figures = summarise_objects(scores)
    assert figures["corloc"] == pytest.approx(1 / 3)
    assert all(np.isnan(figures[name]) for name in ("iou", "accuracy", "max_f_beta", "best_node", "best_union"))


def test_the_box_is_that_of_the_first_object():
    masks = np.stack([LEFT, ~LEFT])
    both = Objects(masks, np.array([1, 0.5], np.float32), np.ones((4, 4), np.float32))
    truth = ObjectTruth(boxes_yxyx=np.array([[0, 2, 4, 4]]))
    assert score_objects(both, truth, quarters()).box_iou == 0


def test_an_image_without_a_true_object_has_no_limits():
    scores = score_objects(found(LEFT), ObjectTruth(np.zeros((0, 4, 4), bool)), quarters())
    assert (scores.iou, scores.limits) == (0, None)


def test_an_annotation_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"the annotation is \(2, 4\), the image \(4, 4\).*unpack"):
        score_objects(found(LEFT), ObjectTruth(LEFT[None, :2]), quarters())
    with pytest.raises(InputError, match="unpack"):
        limits_of(quarters(), LEFT[:2])


def test_scores_survive_being_stored():
    scores = score_objects(found(LEFT), ObjectTruth(LEFT[None], np.array([[0, 0, 4, 2]])), quarters())
    again = from_plain(ObjectScores, to_plain(scores))
    assert summarise_objects([again]) == summarise_objects([scores])


def test_a_mean_of_nothing_is_no_number():
    assert np.isnan(mean([None]))
