import json

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

import supercuts
from supercuts.selftaught.learned import make_learned, save_learned
from supercuts.selftaught.wnet import WNetConfig

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


def test_it_starts_from_the_tree_by_default(run, quarters, photos, tmp_path, labels_of):
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
    assert "1 of 1 images were already finished" in result.stderr


def test_results_of_others_are_replaced_only_with_overwrite(run, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_labels.png").write_text("mine")
    command = ("refine", photos / "a.png", "-o", out, "--method", "st", *FEW)
    result = run(*command)
    assert result.exit_code == 2
    assert f"{out / 'a_labels.png'} exists: choose another path, or replace it with" in result.stderr
    assert (out / "a_labels.png").read_text() == "mine"
    assert run(*command, "--overwrite").exit_code == 0
    other = run(*command, "n_classes=5")
    assert "holds results of other settings" in other.stderr
    again = run(*command, "n_classes=5", "--overwrite")
    assert again.exit_code == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["n_classes"] == 5


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
        (("--scribbles", photos), "holds no scribbles for these images"),
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


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    save_learned(path, make_learned(WNetConfig(classes=3, widths=(2, 2))))
    return path


def test_writes_hierarchy_labels_and_colours(run, model, photos, tmp_path):
    out = tmp_path / "out"
    result = run("refine", "apply", model, photos, "-o", out, "--superpixels", 20, "--json")
    assert result.exit_code == 0, result.stderr
    assert [image["superpixels"] for image in result.json()["images"]] == [20, 20]
    assert supercuts.read(out / "a.npz").n_leaves == 20
    labels = np.array(Image.open(out / "a_labels.png"))
    assert labels.shape == (24, 32)
    assert labels.max() < 3
    again = ("refine", "apply", model, photos / "a.png", "-o", out, "--regions", 5)
    refused = run(*again)
    assert refused.exit_code == 2
    assert f"{out / 'a.npz'} exists: choose another path, or replace it with" in refused.stderr
    assert run(*again, "--overwrite").exit_code == 0
    labels = np.array(Image.open(out / "a_labels.png"))
    np.testing.assert_array_equal(labels, supercuts.read(out / "a.npz").cut(regions=5))


def test_a_file_that_is_not_a_model_fails(run, photos, tmp_path):
    result = run("refine", "apply", tmp_path / "none.safetensors", photos, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "Give the model.safetensors of a `supercuts refine train` run" in result.stderr


def test_a_bad_image_does_not_stop_the_others(run, model, photos, tmp_path):
    (photos / "b.png").write_bytes(b"no picture")
    result = run("refine", "apply", model, photos, "-o", tmp_path / "out", "--superpixels", 20)
    assert result.exit_code == 1
    assert "1 of 2 images failed" in result.stderr
    assert (tmp_path / "out/a_colors.png").is_file()


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "wnet.yaml"
    (tmp_path / "images").mkdir()
    for i in range(2):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(
            tmp_path / f"images/{i}.png"
        )
    path.write_text(
        f"out: {tmp_path / 'run'}\nmodel: {{method: wnet, classes: 2, widths: [2, 2]}}\nepochs: 1\nbatch_size: 2\n"
        f"data: {{dataset: folder, root: {tmp_path / 'images'}, side_px: 8}}\npictures: 1\n"
    )
    return path


def test_trains_and_prints_where_the_weights_are(run, config, tmp_path):
    result = run("refine", "train", config)
    assert result.exit_code == 0, result.stderr
    assert f"{tmp_path / 'run' / 'model.safetensors'}: trained weights" in result.stdout
    assert (tmp_path / "run/segmentations/0_labels.png").is_file()
    result = run("refine", "train", config, "--no-resume")
    assert result.exit_code == 2
    assert "already holds last.ckpt" in result.stderr


def test_wrong_settings_are_usage_errors(run, config):
    result = run("refine", "train", config, "model.clases=3")
    assert result.exit_code == 2
    assert "unknown key 'clases' under model; did you mean 'classes'?" in result.stderr
    result = run("refine", "train", config, "data.side_px=9")
    assert (result.exit_code, "data.side_px=9: wnet takes a multiple of 2" in result.stderr) == (2, True)
    result = run("refine", "train", config.with_name("none.yaml"))
    assert (result.exit_code, "no such file" in result.stderr) == (2, True)


def test_a_missing_trainer_names_the_extra(run, config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "lightning" else True)
    result = run("refine", "train", config)
    assert (result.exit_code, 'pip install "supercuts[train]"' in result.stderr) == (1, True)


def test_the_names_before_there_was_a_group_still_work(run, tmp_path):
    model = tmp_path / "none.safetensors"
    result = run("refine-apply", model, tmp_path, "-o", tmp_path / "out")
    assert result.stderr.splitlines()[0] == (
        "note: `supercuts refine-apply` is now `supercuts refine apply`: use that name."
    )
    result = run("refine-train", tmp_path / "none.yaml")
    assert "is now `supercuts refine train`" in result.stderr
    assert "refine-train" not in run("--help").stdout


def test_fit_is_the_command_unless_another_is_named(run, tmp_path):
    for i, arguments in enumerate((["fit", "none.png"], ["none.png"], ["--method", "st", "none.png"])):
        result = run("refine", *arguments, "-o", tmp_path / str(i))
        assert "error: 'none.png': no such file" in result.stderr
    for name in ("fit", "train", "apply"):
        assert name in run("refine", "--help").stdout
