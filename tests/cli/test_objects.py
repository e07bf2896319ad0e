import json

import numpy as np
import pytest
from PIL import Image

import supercuts


@pytest.fixture
def photo(tmp_path):
    image = np.full((60, 90, 3), 205, np.uint8)
    image[20:45, 30:60] = (40, 60, 160)
    Image.fromarray(image).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def labels_in(path):
    with Image.open(path) as image:
        return np.array(image, dtype=np.int32)


def test_masks_boxes_panel_and_document_are_written(run, photo, tmp_path):
    result = run("objects", photo, "-o", tmp_path / "out", "--superpixels", 60)
    assert result.exit_code == 0, result.stderr
    assert "photo" in result.stdout
    labels = labels_in(tmp_path / "out" / "photo_objects.png")
    truth = np.zeros((60, 90), bool)
    truth[20:45, 30:60] = True
    assert set(np.unique(labels)) == {0, 1}
    assert (truth & (labels == 1)).sum() > 0.9 * (truth | (labels == 1)).sum()
    document = json.loads((tmp_path / "out" / "photo_objects.json").read_text())
    (actual,) = document["objects"]
    assert actual["area"] == (labels == 1).sum()
    assert np.abs(np.array(actual["box_yxyx"]) - [20, 30, 45, 60]).max() <= 3
    assert sorted(document["files"]) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    with Image.open(tmp_path / "out" / "photo_objects_panel.png") as panel:
        assert panel.width > 3 * 90


def test_a_hierarchy_and_its_image_give_the_same(run, photo, tmp_path):
    h = supercuts.load("compact").segment(photo, superpixels=60)
    h.save(tmp_path / "saved.npz")
    run("objects", photo, "-o", tmp_path / "a", "--superpixels", 60)
    run("objects", tmp_path / "saved.npz", "-o", tmp_path / "b")
    first, second = (labels_in(tmp_path / folder) for folder in ("a/photo_objects.png", "b/saved_objects.png"))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("method", ["tokencut", "deepcut"])
def test_other_methods_are_asked_by_name(run, photo, tmp_path, method):
    result = run("objects", photo, "-o", tmp_path / "out", "--superpixels", 30, "--method", method, "-n", 2, "--json")
    assert result.exit_code == 0, result.stderr
    (document,) = json.loads(result.stdout)["images"]
    assert 1 <= len(document["objects"]) <= 2
    assert labels_in(tmp_path / "out" / "photo_objects.png").max() == len(document["objects"])


def test_an_image_that_fails_does_not_stop_the_others(run, photo, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = run("objects", tmp_path / "broken.png", photo, "-o", tmp_path / "out", "--superpixels", 30)
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    assert "1 of 2 images failed" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "photo_objects.json", "photo_objects.png", "photo_objects_panel.png"
    ]  # fmt: skip


def test_wrong_options_are_refused_before_any_work(run, photo, tmp_path):
    result = run("objects", photo, "-o", tmp_path / "out", "--method", "magic")
    assert result.exit_code == 2
    assert "Choose one of: tree, tokencut" in result.stderr
    photo.rename(tmp_path / "x_objects.png")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "x.png")
    result = run("objects", tmp_path / "x.png", tmp_path / "x_objects.png", "-o", tmp_path)
    assert result.exit_code == 2
    assert "would be overwritten" in result.stderr


def test_pixels_that_a_mask_left_out_are_in_no_object_and_no_share(run, photo, tmp_path):
    valid = np.ones((60, 90), bool)
    valid[:12], valid[25:30, 40:45] = False, False
    supercuts.load("compact").segment(photo, superpixels=60, mask=valid).save(tmp_path / "photo.npz")
    result = run("objects", tmp_path / "photo.npz", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    labels = labels_in(tmp_path / "out" / "photo_objects.png")
    assert not labels[~valid].any()
    (actual,) = json.loads((tmp_path / "out" / "photo_objects.json").read_text())["objects"]
    assert actual["area"] == (labels == 1).sum() > 0
    assert actual["share"] == round(actual["area"] / int(valid.sum()), 4)
    result = run("parts", tmp_path / "photo.npz", "-o", tmp_path / "parts", "--shared")
    assert result.exit_code == 0, result.stderr
    parts = labels_in(tmp_path / "parts" / "photo_parts.png")
    np.testing.assert_array_equal(parts > 0, labels > 0)


@pytest.fixture
def photos(tmp_path):
    """Two pictures of a thing with a red upper and a blue lower part, at different places."""
    for name, (y, x) in {"one": (15, 20), "two": (25, 45)}.items():
        image = np.full((70, 100, 3), 205, np.uint8)
        image[y : y + 14, x : x + 30] = (190, 30, 40)
        image[y + 14 : y + 34, x : x + 30] = (40, 60, 160)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    return tmp_path


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
