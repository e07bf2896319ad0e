import dataclasses

import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.evaluate.superpixels import SuperpixelTable, evaluate_superpixels, score_superpixels

COLUMNS = np.repeat([[0, 1, 1, 1]], 4, axis=0).astype(np.int32)


def test_scores_are_kept_per_annotator(halves, whole):
    scores = score_superpixels(COLUMNS, [halves, whole])
    assert scores.asa.tolist() == [0.75, 1]
    assert scores.undersegmentation_error.tolist() == [0.5, 0]
    assert scores.undersegmentation_error_corrected.tolist() == [0.25, 0]
    # radius 0 at this size; columns 1 and 2 bound the halves, 0 and 1 the prediction
    assert scores.boundary_recall.tolist() == [0.5, 1]
    assert scores.boundary_recall_1px.tolist() == [1, 1]
    assert scores.boundary_precision.tolist() == [0.5, 0]
    assert scores.compactness == pytest.approx((4 * 16 * np.pi / 100 + 12 * 48 * np.pi / 196) / 16)
    assert np.isnan(scores.explained_variation)
    assert (scores.n_superpixels, scores.n_fragments) == (2, 0)


def test_boundary_recall_within_two_pixels():
    truth, labels = np.zeros((1, 8), np.int32), np.zeros((1, 8), np.int32)
    truth[:, 2:], labels[:, 5:] = 1, 1  # columns 1, 2 against 4, 5
    scores = score_superpixels(labels, [truth])
    assert (scores.boundary_recall_1px[0], scores.boundary_recall_2px[0]) == (0, 0.5)


def test_annotators_are_averaged_or_the_best_or_worst_is_taken(halves, whole):
    scores = score_superpixels(COLUMNS, [halves, whole])
    assert [scores.over(over).asa for over in ("mean", "best", "worst")] == [0.875, 1, 0.75]
    errors = [scores.over(over).undersegmentation_error for over in ("mean", "best", "worst")]
    assert errors == [0.25, 0, 0.5]
    assert [scores.over(over).n_superpixels for over in ("mean", "best", "worst")] == [2, 2, 2]
    with pytest.raises(InputError, match="annotators"):
        scores.over("median")


def test_ids_may_start_at_one(halves):
    scores = score_superpixels(halves + 1, [halves])
    assert (scores.n_superpixels, scores.asa[0]) == (2, 1)


def test_explained_variation_uses_the_image(halves, whole):
    image = np.repeat(halves[..., None] * 200, 3, axis=2).astype(np.uint8)
    assert score_superpixels(halves, [halves], image).explained_variation == pytest.approx(1)
    assert score_superpixels(whole, [halves], image).explained_variation == pytest.approx(0)


def test_function_and_list_of_label_maps_give_one_table(samples, halves):
    seen = []

    def segment(image):
        seen.append(image.shape)
        return (image[..., 0] > 127).astype(np.int32)

    table = evaluate_superpixels(segment, samples)
    assert seen == [(4, 4, 3)] * 2
    assert table.names == ("first", "second")
    assert table.mean() == evaluate_superpixels(iter([halves, halves]), samples).mean()
    assert table.mean().asa == 1
    assert table.mean().boundary_precision == (0.5 + 1) / 2  # the annotator of one region draws no boundary
    assert table.mean().explained_variation == pytest.approx(1)


def test_interval_holds_the_mean_and_widens_with_the_spread(samples, halves, whole):
    table = evaluate_superpixels([whole, halves], samples)
    low, high = table.interval_95()["asa"]
    assert (low, high) == (0.75, 1)  # half of all draws of two images contain only one of them
    assert np.isnan(SuperpixelTable(table.names[:1], table.scores[:1]).interval_95()["asa"]).all()
    assert set(table.interval_95()) == {field.name for field in dataclasses.fields(table.mean())}


def test_annotators_are_required(halves):
    with pytest.raises(InputError, match="at least one truth"):
        score_superpixels(halves, [])
