import functools
import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import supercuts
from supercuts.core.errors import FileFormatError
from supercuts.datasets.annotations import AnnotatedSample, ObjectTruth, PartTruth
from supercuts.datasets.sample import Sample
from supercuts.evaluate import scorers
from supercuts.evaluate.hierarchies import score_segmentations
from supercuts.evaluate.scorers import (
    HierarchyFiles,
    HierarchyOfModel,
    MethodResult,
    ObjectsOfModel,
    PartsOfModel,
    SuperpixelsOfFile,
    SuperpixelsOfModel,
    of_folder,
    of_model,
    score_methods,
    set_aside_uneven,
)
from supercuts.evaluate.superpixels import SuperpixelScores, score_superpixels

SHAPE = (32, 48)


def stored(truths, _path):
    return truths


@pytest.fixture
def sample(tmp_path):
    truth = np.zeros(SHAPE, np.int32)
    truth[:, 24:] = 1
    path = tmp_path / "image.png"
    Image.fromarray(np.repeat(truth[..., None] * 200, 3, axis=2).astype(np.uint8)).save(path)
    return Sample("image", path, path, functools.partial(stored, [truth]))


def test_superpixels_of_the_embedded_model(sample):
    scores = pickle.loads(pickle.dumps(SuperpixelsOfModel("compact", 12)))(sample)
    assert scores.n_superpixels == 12
    assert scores.asa[0] == pytest.approx(1)
    assert 0 < scores.explained_variation <= 1
    assert SuperpixelsOfModel("compact", 12, 5)(sample).n_superpixels == 5


def test_hierarchy_of_the_embedded_model(sample):
    scores = pickle.loads(pickle.dumps(HierarchyOfModel("compact", 12, True)))(sample)
    assert scores.regions.covering.max() == pytest.approx(1)
    assert scores.boundaries.f.max() > 0.9
    assert HierarchyOfModel("compact", None, False)(sample).boundaries is None


def test_merger_and_views_reach_the_model(monkeypatch):
    monkeypatch.setattr("supercuts.model.load", lambda model, **how: (model, how))
    scorer = HierarchyOfModel("of_this_test", 12, False, "spectral", "many")
    scorer.check()
    assert scorers.load_once("of_this_test", "spectral", "many")[1] == {"merging": "spectral", "views": "many"}


def test_label_files(sample, tmp_path):
    Image.fromarray(sample.truths[0].astype(np.uint8)).save(tmp_path / "labels.png")
    assert SuperpixelsOfFile(tmp_path / "labels.png")(sample).asa.tolist() == [1]
    np.save(tmp_path / "small.npy", np.zeros((4, 4), np.int32))
    with pytest.raises(FileFormatError, match="small"):
        SuperpixelsOfFile(tmp_path / "small.npy")(sample)


def test_every_form_of_hierarchy_file(sample, tmp_path):
    truth = sample.truths[0]
    ucm = np.zeros((2 * SHAPE[0] + 1, 2 * SHAPE[1] + 1))
    ucm[:, 48] = 0.5
    np.save(tmp_path / "ucm.npy", ucm)
    np.save(tmp_path / "segmentations.npy", np.stack([truth, truth * 0]))
    np.save(tmp_path / "soft.npy", ucm[2::2, 2::2])
    supercuts.load().segment(sample.image_path, superpixels=9).save(tmp_path / "tree.npz")
    of_file = pickle.loads(pickle.dumps(HierarchyFiles("auto", True, False)))
    scores = {
        name: of_file(tmp_path / name)(sample) for name in ("ucm.npy", "segmentations.npy", "soft.npy", "tree.npz")
    }
    assert all(score.boundaries.f.max() > 0.9 for score in scores.values())
    assert {name: score.nodes is not None for name, score in scores.items()} == {
        "ucm.npy": True,
        "segmentations.npy": False,
        "soft.npy": False,
        "tree.npz": True,
    }
    assert scores["ucm.npy"].regions.covering.max() == 1
    suppressed = HierarchyFiles("soft", True, True)(tmp_path / "soft.npy")(sample)
    assert suppressed.boundaries.n_predicted[0] > 0


MASK = np.zeros((8, 8), bool)
MASK[2:6, 1:7] = True
PARTS = MASK * np.repeat([1, 2], 4).astype(np.int32)


def constant(_path, value):
    return value


@pytest.fixture
def annotated(tmp_path):
    def make(truth, mode="RGB"):
        path = tmp_path / "a.b.png"
        Image.fromarray(MASK.astype(np.uint8) * 255).convert(mode).save(path)
        return AnnotatedSample("a.b", path, path, partial(constant, value=truth))

    return make


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_object_of_a_colour_or_grey_image_is_scored(finder, annotated, mode):
    truth = ObjectTruth(MASK[None], np.array([[2, 1, 6, 7]]))
    scorer = pickle.loads(pickle.dumps(ObjectsOfModel(finder, "bright")))
    scores = scorer(annotated(truth, mode))
    assert (scores.iou, scores.box_iou) == (1, 1)
    assert scores.limits.best_node == 24 / 64


def test_parts_are_scored_by_regions(finder, annotated):
    scores = PartsOfModel(finder)(annotated(PartTruth(("left", "right"), PARTS)))
    assert scores.matched_iou.tolist() == [1, 1]
    assert (scores.nested, scores.keypoints) == (1, None)


def test_parts_are_scored_by_keypoints_also_within_the_box(finder, annotated):
    """Cropped to columns 1..6 the halves are those of the whole image; the corner of the image is background."""
    truth = PartTruth(
        ("left", "right", "corner"),
        keypoints_yx=np.array([[3, 1], [3, 6], [0, 0]], float),
        visible=np.array([True, True, True]),
        box_yxyx=np.array([2, 1, 6, 7]),
    )
    scores = PartsOfModel(finder, k=2)(annotated(truth))
    assert scores.keypoints.full.tolist() == [1, 2, 0]
    assert scores.keypoints.fg.tolist() == [1, 2, 1]


def test_cases_show_the_prediction_next_to_the_truth(finder, annotated):
    boxes = np.array([[0, 0, 2, 2]])
    case = ObjectsOfModel(finder).case(annotated(ObjectTruth(boxes_yxyx=boxes)), "IoU 0.1")
    assert not case.truth.any()
    np.testing.assert_array_equal(case.found, MASK)
    assert case.found_boxes_yxyx.tolist() == [[2, 1, 6, 7]]
    case = ObjectsOfModel(finder).case(annotated(ObjectTruth(MASK[None])), "IoU 0.1")
    np.testing.assert_array_equal(case.truth, MASK)
    assert len(case.found_boxes_yxyx) == 0
    points = PartTruth(("a", "b"), None, np.array([[0.0, 1], [2, 3]]), np.array([False, True]))
    case = PartsOfModel(finder).case(annotated(points), "NMI 3")
    assert case.true_points_yx.tolist() == [[2, 3]]
    np.testing.assert_array_equal(case.found, PARTS)


@dataclass(frozen=True)
class OfFile:
    path: Path

    def __call__(self, sample):
        return score_superpixels(np.load(self.path), sample.truths)


def of_image(sample):
    return score_superpixels(sample.truths[0], sample.truths)


@pytest.fixture
def folder(tmp_path, halves):
    made = tmp_path / "results"
    made.mkdir()
    np.save(made / "second.npy", halves)
    np.save(made / "stranger.npy", halves)
    return made


def test_a_folder_is_scored_as_far_as_it_goes(folder, samples):
    method = of_folder(folder, samples, OfFile)
    assert [task.sample.name for task in method.tasks] == ["second"]
    assert method.tasks[0].inputs == (folder / "second.npy",)
    assert "no file for image first" in method.failures["first"]
    assert method.notes == (f"{folder / 'stranger.npy'}: no image of this split has that name; not scored",)
    (result,) = score_methods([method], 1)
    assert result.method == str(folder)
    assert (list(result.scores), list(result.failures), result.n_images) == (["second"], ["first"], 2)
    assert result.scores["second"].asa.tolist() == [1]


def test_files_that_cannot_be_scored_are_failures(folder, samples):
    (folder / "second.npy").write_bytes(b"nonsense")
    np.save(folder / "first.npy", np.zeros((2, 2), np.int32))
    (result,) = score_methods([of_folder(folder, samples, OfFile)], 1)
    assert result.scores == {}
    assert list(result.failures) == ["first", "second"]  # in the order of the dataset
    assert "score label maps of one image" in result.failures["first"]


def test_methods_are_scored_side_by_side(folder, samples, tmp_path):
    weights = tmp_path / "weights"
    weights.write_text("w")
    methods = [of_model("model", samples, of_image, weights), of_folder(folder, samples, OfFile)]
    seen = []
    model, files = score_methods(methods, 1, on_done=seen.append)
    assert len(seen) == 3
    assert (model.method, list(model.scores), model.failures) == ("model", ["first", "second"], {})
    assert isinstance(model.scores["first"], SuperpixelScores)
    assert list(files.scores) == ["second"]
    assert methods[0].tasks[0].inputs == (weights,)


def test_images_with_another_number_of_segmentations_are_set_aside(halves, whole):
    two = score_segmentations([halves, whole], [halves])
    one = score_segmentations([halves], [halves])
    result = MethodResult("m", {"a": two, "b": one, "c": two}, {"d": "missing"})
    kept = set_aside_uneven(result)
    assert list(kept.scores) == ["a", "c"]
    assert kept.failures == {
        "d": "missing",
        "b": "holds 1 segmentations, most images 2: curves need as many for each image",
    }
    even = MethodResult("m", {"a": two, "c": two}, {})
    assert set_aside_uneven(even) is even
    assert set_aside_uneven(MethodResult("m", {}, {"d": "missing"})).scores == {}
