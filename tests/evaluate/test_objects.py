import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from supercuts.core.errors import InputError
from supercuts.datasets.annotations import ObjectTruth, PartTruth
from supercuts.evaluate.objects import (
    ObjectScores,
    PartScores,
    by_part,
    clipped_box,
    keypoint_labels,
    limits_of,
    mean,
    score_objects,
    score_parts,
    summarise_objects,
    summarise_parts,
)
from supercuts.evaluate.parallel import from_plain, to_plain
from supercuts.hierarchy.tree import Hierarchy
from supercuts.objects.result import Objects, Parts

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
    assert [score.box_iou for score in scores] == [0.5, 0.4, 0]
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


def test_a_mean_of_nothing_is_nan():
    assert np.isnan(mean([None]))


TRUTH = np.array([[0, 1, 1, 2], [0, 1, 1, 2]], np.int32)
NAMES = ("door", "wheel")


def columns():
    return Hierarchy(
        labels=np.repeat([[0, 1, 2, 3]], 2, axis=0).astype(np.int32),
        parents=np.array([5, 4, 4, 5, 6, 6, 6], np.int32),
        altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], np.float32),
        embeddings=np.zeros((4, 0), np.float32),
    )


def an_object(mask):
    return Objects(mask[None], np.ones(1, np.float32), mask.astype(np.float32))


def parts_of(labels):
    labels = np.array(labels, np.int32)
    return Parts(labels, np.zeros(labels.max(), np.int32))


def test_a_perfect_answer_scores_perfectly():
    scores = score_parts(parts_of(TRUTH), an_object(TRUTH > 0), PartTruth(NAMES, TRUTH), columns())
    assert scores.best_node.tolist() == scores.matched_iou.tolist() == [1, 1]
    assert (scores.object_iou, scores.nested, scores.n_parts) == (1, 1, 2)
    # columns 1 to 3: two nodes, 4 = {1, 2} and 3; the root alone covers 2 pixels too many
    assert (scores.object_limits.best_node, scores.object_limits.best_union) == (0.75, 1)


def test_a_part_is_matched_once_and_numbers_do_not_matter():
    pieces = parts_of([[0, 2, 1, 1], [0, 2, 1, 1]])  # the door in two, the second with the wheel
    scores = score_parts(pieces, an_object(TRUTH > 0), PartTruth(NAMES, TRUTH), columns())
    assert scores.matched_iou.tolist() == [0.5, 0.5]
    assert summarise_parts([scores])["matched_iou"] == 0.5


def test_only_visible_keypoints_count_and_the_box_moves_them():
    truth = PartTruth(
        ("beak", "back", "tail"),
        keypoints_yx=np.array([[0, 1], [0, 0], [1, 4]], float),  # the last one lies on the edge of 4 columns
        visible=np.array([True, False, True]),
        box_yxyx=np.array([0, 1, 2, 9]),
    )
    in_box = parts_of([[1, 2, 0], [0, 0, 2]])
    actual = keypoint_labels(parts_of([[0, 0, 1, 1], [0, 0, 1, 2]]), in_box, truth)
    assert actual.parts.tolist() == [0, 2]
    assert actual.full.tolist() == [0, 2]
    assert actual.fg.tolist() == [1, 2]
    scores = score_parts(parts_of(TRUTH), an_object(TRUTH > 0), truth, columns(), in_box)
    assert scores.best_node is None
    assert scores.keypoints.parts.tolist() == [0, 2]


def test_a_box_beyond_the_image_is_clipped():
    assert clipped_box(np.array([3, 9, 12, 20]), (5, 6, 3)).tolist() == [3, 5, 5, 6]


def test_keypoints_of_all_images_are_scored_together():
    rng = np.random.default_rng(1)
    truth = PartTruth(
        tuple("abcd"),
        keypoints_yx=np.array([[0, 0], [0, 3], [1, 0], [1, 3]], float),
        visible=np.ones(4, bool),
        box_yxyx=np.array([0, 0, 2, 4]),
    )
    scores = []
    for _ in range(5):
        labels = rng.integers(0, 3, (2, 4)).astype(np.int32)
        labels[0, 1:3] = 1, 2
        scores.append(score_parts(parts_of(labels), an_object(labels > 0), truth, columns(), parts_of(labels)))
    figures = summarise_parts(scores)
    true = np.concatenate([score.keypoints.parts for score in scores])
    for name in ("full", "fg"):
        labels = np.concatenate([getattr(score.keypoints, name) for score in scores])
        assert figures[f"nmi_{name}"] == pytest.approx(100 * normalized_mutual_info_score(true, labels))
        assert figures[f"ari_{name}"] == pytest.approx(100 * adjusted_rand_score(true, labels))
    alone = [normalized_mutual_info_score(score.keypoints.parts, score.keypoints.full) for score in scores]
    assert figures["nmi_per_image"] == pytest.approx(100 * np.mean(alone))
    assert np.isnan(figures["best_node"])


def test_scores_are_listed_by_the_name_of_the_part():
    one = score_parts(parts_of(TRUTH), an_object(TRUTH > 0), PartTruth(NAMES, TRUTH), columns())
    two = score_parts(parts_of(TRUTH > 0), an_object(TRUTH > 0), PartTruth(("wheel", "wheel"), TRUTH), columns())
    listed = by_part([one, two])
    assert list(listed) == ["door", "wheel"]
    assert listed["wheel"]["n"] == 3
    assert listed["wheel"]["matched_iou"] == pytest.approx((1 + 4 / 6 + 0) / 3)


def test_scores_survive_being_stored_parts():
    truth = PartTruth(NAMES, TRUTH, np.array([[0.0, 1], [1, 3]]), np.ones(2, bool), np.array([0, 0, 2, 4]))
    scores = score_parts(parts_of(TRUTH), an_object(TRUTH > 0), truth, columns(), parts_of(TRUTH))
    again = from_plain(PartScores, json.loads(json.dumps(to_plain(scores))))
    assert again.names == NAMES
    assert summarise_parts([again]) == summarise_parts([scores])


def test_an_annotation_of_another_size_is_refused_parts():
    with pytest.raises(InputError, match="unpack the dataset again"):
        score_parts(parts_of(TRUTH), an_object(TRUTH > 0), PartTruth(NAMES, TRUTH[:, :3].copy()), columns())
