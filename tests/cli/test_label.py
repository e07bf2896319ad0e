import numpy as np
import pytest
from PIL import Image

from supercuts.datasets.label_folder import LabelFolder


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in "ab":
        pixels = np.random.default_rng(ord(name)).integers(0, 255, (32, 48, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


def test_photographs_become_a_folder_to_train_on(run, photos, tmp_path):
    out = tmp_path / "out"
    result = run("label", photos, "-o", out, "--views", "one")
    assert (result.exit_code, result.stdout) == (0, f"{out}: 2 images segmented, 0 were there already\n")
    data = LabelFolder(out, "train+val")
    data.check()
    assert data.names == ("a", "b")
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(photos / "c.png")
    assert run("label", photos, "-o", out, "--views", "one").stdout.startswith(f"{out}: 1 images segmented, 2 were")


def test_an_image_that_fails_does_not_stop_the_others(run, photos, tmp_path):
    (photos / "a.png").write_bytes(b"nonsense")
    result = run("label", photos, "-o", tmp_path / "out", "--views", "one")
    assert result.exit_code == 1
    assert "a.png" in result.stderr
    assert "1 of 2 images failed" in result.stderr
    assert LabelFolder(tmp_path / "out", "train+val").names == ("b",)
