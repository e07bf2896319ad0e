import numpy as np
import pytest
from PIL import Image

from supercuts.datasets.label_folder import LabelFolder
from supercuts.pipeline import Model
from supercuts.training.self_training import ALTITUDES, segment_for_training


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 50, (40, 80, 3))
    pixels[:, 30:] += 60
    pixels[:, 60:] += 60
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_a_photograph_becomes_a_training_image_with_several_segmentations(photo, tmp_path):
    folder, model = tmp_path / "out", Model(None)
    assert segment_for_training(photo, folder, "one", model, longest_px=500)
    data = LabelFolder(folder, "train+val")
    data.check()
    (sample,) = data
    assert sample.name == "one"
    np.testing.assert_array_equal(np.asarray(Image.open(sample.image_path)), np.asarray(Image.open(photo)))
    h = model.segment(photo)
    assert len(sample.truths) == len(ALTITUDES)
    for truth, altitude in zip(sample.truths, ALTITUDES, strict=True):
        np.testing.assert_array_equal(truth, h.cut(altitude=altitude))


def test_large_photographs_are_shrunk(photo, tmp_path):
    segment_for_training(photo, tmp_path / "out", "one", Model(None), longest_px=40)
    (sample,) = LabelFolder(tmp_path / "out", "train+val")
    assert sample.truths[0].shape == (20, 40)


def test_what_is_there_is_kept_and_what_is_broken_is_made_again(photo, tmp_path):
    folder = tmp_path / "out"
    assert segment_for_training(photo, folder, "one", Model(None), 500)
    assert not segment_for_training(photo, folder, "one", Model(None), 500)
    (folder / "images" / "one.png").unlink()  # as a run leaves it that is killed between the two
    assert segment_for_training(photo, folder, "one", Model(None), 500)
    assert sorted(path.name for path in folder.rglob("*.png")) == [*(f"{a:.2f}.png" for a in ALTITUDES), "one.png"]
