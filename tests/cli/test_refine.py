import json

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

FEW = ("n_features=8", "n_classes=6", "epochs=3", "min_classes=0")


@pytest.fixture
def labels_of():
    def read(path):
        with Image.open(path) as image:
            return np.array(image, dtype=np.int32)

    return read


def test_images_of_a_folder_each_have_a_network(run, photos, tmp_path, labels_of):
    result = run("refine", photos, "-o", tmp_path / "out", "--method", "st", *FEW, "--show", 1)
    assert result.exit_code == 0, result.stderr
    assert "labels" in result.stdout
    for name in "ab":
        assert labels_of(tmp_path / "out" / f"{name}_labels.png").shape == (24, 32)
        assert (tmp_path / "out" / f"{name}_model.safetensors").is_file()
        assert (tmp_path / "out" / f"{name}_steps.gif").is_file()


def test_sp_takes_the_superpixels_of_the_model(run, quarters, photos, tmp_path, labels_of):
    result = run("refine", photos / "a.png", "-o", tmp_path / "out", "--method", "sp", *FEW, "partition.n_segments=7")
    assert result.exit_code == 0, result.stderr
    assert quarters.asked == [7]
    labels = labels_of(tmp_path / "out" / "a_labels.png")
    assert np.unique(labels[:12, :16]).size == np.unique(labels[12:, 16:]).size == 1


def test_unless_told_otherwise_it_starts_from_the_tree(run, quarters, photos, tmp_path, labels_of):
    result = run("refine", photos / "a.png", "-o", tmp_path / "out", *FEW)
    assert result.exit_code == 0, result.stderr
    assert quarters.asked == [1000]
    settings = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert (settings["method"], settings["initial_regions"], settings["connected"]) == ("sp", 100, True)
    assert labels_of(tmp_path / "out" / "a_labels.png").max() < 4


def test_a_train_folder_and_other_images(run, photos, tmp_path):
    (photos / "broken.png").write_bytes(b"no picture")
    test = tmp_path / "test"
    test.mkdir()
    (photos / "b.png").rename(test / "b.png")
    result = run("refine", test, "-o", tmp_path / "out", "--train", photos, *FEW, "--json")
    assert result.exit_code == 1  # broken.png
    first, second = json.loads(result.stdout)["images"]
    assert first["image"] == str(test / "b.png")
    assert "broken.png" in second["error"]
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "a_labels.png").exists()


def test_scribbles_five_channels_and_going_on(run, tmp_path, labels_of):
    values = np.random.default_rng(0).integers(0, 60000, (20, 24, 5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack")
    marks = np.full((20, 24), 255, np.uint8)
    marks[2, 2:8], marks[12, 2:8] = 4, 1
    Image.fromarray(marks).save(tmp_path / "x_scribble.png")
    arguments = ("refine", tmp_path / "x.tif", "-o", tmp_path / "out", *FEW, "channels=5", "--scribbles")
    result = run(*arguments, tmp_path / "x_scribble.png")
    assert result.exit_code == 0, result.stderr
    labels = labels_of(tmp_path / "out" / "x_labels.png")
    np.testing.assert_array_equal(labels[marks != 255], marks[marks != 255])
    result = run(*arguments, tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "1 of 1 images were finished before" in result.stderr


def test_an_image_that_fails_does_not_stop_the_others(run, photos, tmp_path):
    (photos / "aa.png").write_bytes(b"no picture")
    result = run("refine", photos, "-o", tmp_path / "out", "--method", "st", *FEW)
    assert result.exit_code == 1
    assert "1 of 3 images failed" in result.stderr
    assert (tmp_path / "out" / "b_labels.png").is_file()


def test_wrong_settings_are_refused_before_any_work(run, photos, tmp_path):
    for wrong, said in (
        (("epoch=3",), "did you mean 'epochs'"),
        (("--method", "crf"), "'sp' or 'st'"),
        (("--scribbles", photos / "a.png"), "give a folder of NAME_scribble.png"),
        (("--scribbles", photos), "holds no scribbles of these images"),
    ):
        result = run("refine", photos, "-o", tmp_path / "out", *wrong)
        assert result.exit_code == 2
        assert said in result.stderr
    result = run("refine", "epochs=3", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "no IMAGE given" in result.stderr


def test_help_has_an_example(run):
    result = run("refine", "--help")
    assert result.exit_code == 0
    assert "supercuts refine photo.jpg" in result.stdout
