from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from supercuts.evaluate.hierarchies import score_segmentations
from supercuts.evaluate.methods import MethodResult, of_folder, of_model, score_methods, set_aside_uneven
from supercuts.evaluate.superpixels import SuperpixelScores, score_superpixels


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


def test_methods_are_scored_beside_each_other(folder, samples, tmp_path):
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
