import functools
from dataclasses import astuple, dataclass

import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.datasets.base import Sample
from supercuts.evaluate import evaluate_hierarchies, evaluate_superpixels, score_hierarchy, score_superpixels

HALVES = np.repeat([[0, 0, 1, 1]], 4, axis=0).astype(np.int32)
WHOLE = np.zeros((4, 4), np.int32)


@dataclass(frozen=True)
class Tree:
    labels: np.ndarray
    parents: np.ndarray
    altitudes: np.ndarray


TREE = Tree(HALVES, np.array([2, 2, 2], np.int32), np.array([0, 0, 0.5], np.float32))


def stored(truths, _path):
    return truths


@pytest.fixture
def samples(tmp_path):
    made = []
    for name, truths in {"first": [HALVES, WHOLE], "second": [HALVES]}.items():
        path = tmp_path / f"{name}.png"
        Image.fromarray(np.repeat(HALVES[..., None] * 255, 3, axis=2).astype(np.uint8)).save(path)
        made.append(Sample(name, path, path, functools.partial(stored, truths)))
    return made


def test_superpixel_scores_are_means_over_annotators():
    columns = np.repeat([[0, 1, 1, 1]], 4, axis=0).astype(np.int32)
    scores = score_superpixels(columns, [HALVES, WHOLE])
    assert scores.asa == (0.75 + 1) / 2
    assert scores.undersegmentation_error == (0.5 + 0) / 2
    # radius 0 at this size; columns 1 and 2 bound the halves, 0 and 1 the prediction
    assert scores.boundary_recall == (0.5 + 1) / 2
    assert scores.boundary_precision == (0.5 + 0) / 2
    assert scores.compactness == pytest.approx((4 * 16 * np.pi / 100 + 12 * 48 * np.pi / 196) / 16)
    assert np.isnan(scores.explained_variation)
    assert (scores.n_superpixels, scores.n_fragments) == (2, 0)


def test_ids_may_start_at_one():
    assert score_superpixels(HALVES + 1, [HALVES]).n_superpixels == 2
    assert score_superpixels(HALVES + 1, [HALVES]).asa == 1


def test_explained_variation_uses_the_image():
    image = np.repeat(HALVES[..., None] * 200, 3, axis=2).astype(np.uint8)
    assert score_superpixels(HALVES, [HALVES], image).explained_variation == pytest.approx(1)
    assert score_superpixels(WHOLE, [HALVES], image).explained_variation == pytest.approx(0)


def test_function_and_list_of_label_maps_give_one_table(samples):
    seen = []

    def segment(image):
        seen.append(image.shape)
        return (image[..., 0] > 127).astype(np.int32)

    table = evaluate_superpixels(segment, samples)
    assert seen == [(4, 4, 3)] * 2
    assert table.names == ("first", "second")
    assert table.scores == evaluate_superpixels(iter([HALVES, HALVES]), samples).scores
    assert table.mean.asa == 1
    assert table.mean.boundary_precision == (0.5 + 1) / 2  # the annotator of one region draws no boundary
    assert table.mean.explained_variation == pytest.approx(1)


def test_margin_is_the_normal_confidence_interval(samples):
    table = evaluate_superpixels([WHOLE, HALVES], samples)
    asa = [scores.asa for scores in table.scores]
    assert asa == [0.75, 1.0]
    assert table.margin_95.asa == pytest.approx(1.96 * np.std(asa, ddof=1) / np.sqrt(2))
    assert np.isnan(astuple(evaluate_superpixels([WHOLE], samples[:1]).margin_95)).all()


def test_hierarchy_scores_at_the_99_thresholds():
    scores = score_hierarchy(TREE, [HALVES, WHOLE])
    np.testing.assert_allclose(scores.thresholds, np.arange(1, 100) / 100)
    assert scores.n_regions.tolist() == [2] * 49 + [1] * 50
    np.testing.assert_allclose(scores.covering, 0.75)
    assert scores.best_overlap == scores.area == 32


def test_hierarchies_are_aggregated_over_images(samples):
    table = evaluate_hierarchies(lambda image: TREE, samples)
    assert table.names == ("first", "second")
    # first: 24 of 32 everywhere; second: 16 of 16, then 8
    assert table.summary.covering_ods == pytest.approx(40 / 48)
    assert table.summary.covering_threshold == pytest.approx(0.01)
    assert table.summary.vi_ods == pytest.approx((0.5 + 0) / 2)
    again = evaluate_hierarchies([TREE, TREE], samples, np.array([0.2, 0.8]))
    assert again.summary.covering_ods == pytest.approx(40 / 48)


@pytest.mark.parametrize("evaluate", [evaluate_superpixels, evaluate_hierarchies])
def test_counts_must_match(samples, evaluate):
    prediction = HALVES if evaluate is evaluate_superpixels else TREE
    with pytest.raises(InputError, match="1 predictions for 2 samples: give one for each"):
        evaluate([prediction], samples)
    with pytest.raises(InputError, match="more predictions than the 2 samples: give one for each"):
        evaluate([prediction] * 3, samples)
    with pytest.raises(InputError, match="give a dataset"):
        evaluate([], [])


def test_errors_name_the_image(samples):
    with pytest.raises(InputError, match="score label maps of one image") as caught:
        evaluate_hierarchies([TREE, Tree(HALVES[:2], TREE.parents, TREE.altitudes)], samples)
    assert caught.value.__notes__ == ["while scoring image second"]
    with pytest.raises(InputError, match="relabel_consecutive") as caught:
        evaluate_hierarchies(lambda image: Tree(HALVES - 1, TREE.parents, TREE.altitudes), samples)
    assert caught.value.__notes__ == ["while scoring image first"]


def test_annotators_are_required():
    with pytest.raises(InputError, match="at least one truth"):
        score_superpixels(HALVES, [])
