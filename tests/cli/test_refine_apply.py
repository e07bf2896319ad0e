import numpy as np
import pytest
from PIL import Image

import supercuts
from supercuts.selftaught.learned import make_learned, save_learned
from supercuts.selftaught.wnet import WNetConfig


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    save_learned(path, make_learned(WNetConfig(classes=3, widths=(2, 2))))
    return path


def test_writes_hierarchy_labels_and_colours(run, model, photos, tmp_path):
    out = tmp_path / "out"
    result = run("refine-apply", model, photos, "-o", out, "--superpixels", 20, "--json")
    assert result.exit_code == 0, result.stderr
    assert [one["superpixels"] for one in result.json()["images"]] == [20, 20]
    assert supercuts.read(out / "a.npz").n_leaves == 20
    labels = np.array(Image.open(out / "a_labels.png"))
    assert labels.shape == (24, 32)
    assert labels.max() < 3
    run("refine-apply", model, photos / "a.png", "-o", out, "--regions", 5)
    labels = np.array(Image.open(out / "a_labels.png"))
    np.testing.assert_array_equal(labels, supercuts.read(out / "a.npz").cut(regions=5))


def test_a_file_that_is_no_model_fails(run, photos, tmp_path):
    result = run("refine-apply", tmp_path / "none.safetensors", photos, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "Give the model.safetensors of a `supercuts refine-train` run" in result.stderr


def test_a_bad_image_does_not_stop_the_others(run, model, photos, tmp_path):
    (photos / "b.png").write_bytes(b"no picture")
    result = run("refine-apply", model, photos, "-o", tmp_path / "out", "--superpixels", 20)
    assert result.exit_code == 1
    assert "1 of 2 images failed" in result.stderr
    assert (tmp_path / "out/a_colors.png").is_file()
