import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    """Two pictures of a thing with a red upper and a blue lower part, at different places."""
    for name, (y, x) in {"one": (15, 20), "two": (25, 45)}.items():
        image = np.full((70, 100, 3), 205, np.uint8)
        image[y : y + 14, x : x + 30] = (190, 30, 40)
        image[y + 14 : y + 34, x : x + 30] = (40, 60, 160)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    return tmp_path


def labels_in(path):
    with Image.open(path) as image:
        return np.array(image, dtype=np.int32)


@pytest.mark.parametrize("method", ["tree", "spectral", "deepcut"])
def test_parts_lie_in_their_object(run, photos, method):
    command = ("parts", photos / "one.png", "-o", photos / "out", "--superpixels", 60, "--parts", 2, "--method", method)
    result = run(*command, "--json")
    assert result.exit_code == 0, result.stderr
    (document,) = json.loads(result.stdout)["images"]
    labels = labels_in(photos / "out" / "one_parts.png")
    assert [part["area"] for part in document["parts"]] == np.bincount(labels.ravel())[1:].tolist()
    assert sum(part["area"] for part in document["parts"]) == document["objects"][0]["area"]
    assert {path.name for path in (photos / "out").iterdir()} == {
        "one_parts.json",
        "one_parts.png",
        "one_parts_panel.png",
    }


def test_shared_numbers_mean_the_same_in_all_images(run, photos):
    command = ("parts", photos / "one.png", photos / "two.png", "-o", photos / "out", "--superpixels", 60, "-k", 2)
    result = run(*command, "--shared", "--kinds", 2)
    assert result.exit_code == 0, result.stderr
    one, two = (labels_in(photos / "out" / f"{name}_parts.png") for name in ("one", "two"))
    assert one[20, 30] == two[30, 55] != one[40, 30] == two[50, 55]
    document = json.loads((photos / "out" / "one_parts.json").read_text())
    assert sorted(part["shared"] for part in document["parts"]) == [1, 2]


def test_wrong_methods_are_refused(run, photos):
    result = run("parts", photos / "one.png", "-o", photos / "out", "--method", "lost")
    assert result.exit_code == 2
    assert "Choose one of: tree, spectral, deepcut" in result.stderr
