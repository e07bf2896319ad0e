import csv
import json

import numpy as np
import pytest
import scipy.io
import timm
import torch
from PIL import Image

NAMES = ("a.b", "c", "d")


def bright(shape, rows, columns):
    pixels = np.zeros(shape, np.uint8)
    pixels[rows, columns] = 255
    return pixels


@pytest.fixture
def ecssd(tmp_path):
    """Three images whose bright square is the object; the annotation of the last one is another region."""
    for folder in ("img", "gt"):
        (tmp_path / "ECSSD" / folder).mkdir(parents=True)
    for name in NAMES:
        photo = bright((16, 24), slice(4, 12), slice(4, 20))
        truth = photo if name != "d" else bright((16, 24), slice(0, 4), slice(0, 24))
        Image.fromarray(photo).save(tmp_path / f"ECSSD/img/{name}.png")
        Image.fromarray(truth).save(tmp_path / f"ECSSD/gt/{name}.png")
    return tmp_path


@pytest.fixture
def ccp(tmp_path):
    """Two photos of a person in a blouse, left, and a skirt, right."""
    folder = tmp_path / "CCP"
    for name in ("photos", "annotations/pixel-level"):
        (folder / name).mkdir(parents=True)
    cells = np.empty((1, 3), object)
    cells[0] = ("null", "blouse", "skirt")
    scipy.io.savemat(folder / "label_list.mat", {"label_list": cells})
    photo = bright((16, 24), slice(4, 12), slice(4, 20))
    for name in ("0001", "0002"):
        Image.fromarray(photo).save(folder / f"photos/{name}.png")
        labels = (photo > 0) * np.repeat([1, 2], 12)
        labels = np.roll(labels, 4, axis=1) if name == "0002" else labels
        scipy.io.savemat(folder / f"annotations/pixel-level/{name}.mat", {"groundtruth": labels.astype(np.uint8)})
    return tmp_path


def test_objects_are_scored_and_the_worst_drawn(run, finder, ecssd, tmp_path):
    out, sheet = tmp_path / "out.json", tmp_path / "worst.jpg"
    options = ["--dataset", "ecssd", "--data", ecssd, "--model", finder, "--method", "lost", "--workers", 1]
    result = run("evaluate", "objects", *options, "-o", out, "--sheet", sheet)
    assert result.exit_code == 0
    for line in ("3 of 3", "mean IoU", "max F-beta", "best three nodes"):
        assert line in result.stdout
    assert "CorLoc" not in result.stdout  # a mask of several objects has no box
    document = json.loads(out.read_text())
    entry = document["methods"][0]
    assert document["task"] == "objects"
    assert entry["method"] == f"{finder}, lost"
    assert entry["figures"]["iou"] == pytest.approx(2 / 3)
    assert entry["interval_95"].keys() == entry["figures"].keys()
    rows = list(csv.DictReader(out.with_suffix(".images.csv").read_text().splitlines()))
    assert [(row["image"], float(row["iou"])) for row in rows] == [("a.b", 1), ("c", 1), ("d", 0)]
    with Image.open(sheet) as picture:
        assert picture.width > 6 * 320
    assert not out.with_suffix(".parts").exists()


def test_boxes_are_scored_by_corloc(run, finder, tmp_path):
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    Image.fromarray(bright((16, 24), slice(4, 12), slice(4, 20))).save(tmp_path / "JPEGImages/a.jpg", quality=100)
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>12</ymax></bndbox>"
    hard = "<difficult>1</difficult>"
    (tmp_path / "Annotations/a.xml").write_text(f"<annotation><object>{box}{hard}</object></annotation>")
    (tmp_path / "ImageSets/Main/trainval.txt").write_text("a\n")
    options = ["--dataset", "voc07", "--data", tmp_path, "--model", finder, "--workers", 1]
    result = run("evaluate", "objects", *options, "--sheet", tmp_path / "worst.png")
    assert result.exit_code == 0
    assert "CorLoc" in result.stdout
    assert "mean IoU" not in result.stdout
    assert (tmp_path / "worst.png").is_file()
    result = run("evaluate", "objects", *options, "--no-hard")
    assert result.exit_code == 1
    assert "has no image with an object or part that counts" in " ".join(result.stderr.split())


def test_parts_are_scored_by_name_too(run, finder, ccp, tmp_path):
    out = tmp_path / "out.json"
    options = ["--dataset", "ccp", "--data", ccp, "--model", finder, "--parts", 2, "--workers", 1]
    result = run("evaluate", "parts", *options, "-o", out, "--sheet", tmp_path / "worst.png")
    assert result.exit_code == 0
    assert "parts within the object" in result.stdout
    assert "NMI" not in result.stdout
    entry = json.loads(out.read_text())["methods"][0]
    assert entry["method"] == f"{finder}, 2 parts"
    assert list(entry["by_part"]) == ["blouse", "skirt"]
    assert entry["by_part"]["skirt"]["n"] == 2
    assert entry["images"]["0001"]["matched_iou"] == 1
    assert entry["images"]["0001"]["nested"] == 1
    assert entry["images"]["0002"]["matched_iou"] < 1


def test_an_image_that_fails_is_named_and_the_others_are_scored(run, finder, ecssd, tmp_path):
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(ecssd / "ECSSD/gt/c.png")
    result = run("evaluate", "objects", "--dataset", "ecssd", "--data", ecssd, "--model", finder, "--workers", 1)
    assert result.exit_code == 1
    assert "image c: the annotation is (3, 3), the image (16, 24)" in " ".join(result.stderr.split())
    assert "2 of 3" in result.stdout


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--dataset", "ecsdd"], 2, "Choose one of: ecssd, duts"),
        (["--dataset", "ecssd", "-o", "out.txt"], 2, "does not end in .json"),
        (["--dataset", "ecssd", "--sheet", "out.gif"], 2, "does not end in .png"),
        (["--dataset", "ecssd", "--no-hard"], 2, "only VOC marks"),
        (["--dataset", "duts"], 1, "Expected one of"),
    ],
)
def test_wrong_options_are_refused_before_any_work(run, tmp_path, options, code, message):
    result = run("evaluate", "objects", "--data", tmp_path, *options)
    assert result.exit_code == code
    assert message in result.stderr


@pytest.mark.parametrize("task", ["objects", "parts"])
def test_help_shows_an_example(run, task):
    result = run("evaluate", task, "--help")
    assert result.exit_code == 0
    assert f"supercuts evaluate {task} --dataset" in " ".join(result.stdout.split())


def test_scores_kept_of_an_interrupted_run_are_not_those_of_other_objects(run, finder, tmp_path):
    """The model finds the hard object and not the easy one; a third image fails, so that scores are kept."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    boxes = [f"<bndbox><xmin>{x}</xmin><ymin>5</ymin><xmax>{x + 9}</xmax><ymax>12</ymax></bndbox>" for x in (1, 15)]
    hard = f"<object>{boxes[0]}<truncated>1</truncated></object><object>{boxes[1]}</object>"
    for name, pixels in {"a": bright((16, 24), slice(4, 12), slice(0, 10)), "bad": None}.items():
        image = tmp_path / f"JPEGImages/{name}.jpg"
        image.write_bytes(b"no image") if pixels is None else Image.fromarray(pixels).save(image, quality=100)
        (tmp_path / f"Annotations/{name}.xml").write_text(f"<annotation>{hard}</annotation>")
    (tmp_path / "ImageSets/Main/trainval.txt").write_text("a\nbad\n")
    options = ["--dataset", "voc07", "--data", tmp_path, "--model", finder, "--workers", 1]
    out = tmp_path / "out.json"
    actual = []
    for more in ([], ["--no-hard"], []):
        assert run("evaluate", "objects", *options, "-o", out, *more).exit_code == 1
        actual.append(json.loads(out.read_text())["methods"][0]["figures"]["corloc"])
    assert actual == [1, 0, 1]


def test_published_methods_run_on_the_patches_of_a_transformer(run, ecssd, tmp_path):
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0)
    torch.save({"teacher": {f"backbone.{name}": x for name, x in vit.state_dict().items()}}, tmp_path / "dino.pth")
    model = ["--model", "timm:vit_tiny_patch16_224", "--weights", tmp_path / "dino.pth"]
    options = ["--dataset", "ecssd", "--data", ecssd, "--workers", 1, "-o", tmp_path / "out.json"]
    result = run("evaluate", "objects", *options, *model, "--method", "tokencut", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.stderr
    figures = json.loads((tmp_path / "out.json").read_text())["methods"][0]["figures"]
    assert {"iou", "max_f_beta"} < figures.keys()
    assert np.isnan(figures.get("best_node", np.nan))  # there is no tree
    assert (tmp_path / "sheet.png").exists()


def test_unknown_methods_and_missing_weights_are_refused(run, ecssd, tmp_path):
    result = run("evaluate", "objects", "--dataset", "ecssd", "--data", ecssd, "--method", "magic")
    assert result.exit_code == 2
    assert "Choose one of: tree, tokencut" in result.stderr
    options = ["--model", "dino_vits16", "--weights", tmp_path / "none.pth"]
    result = run("evaluate", "objects", "--dataset", "ecssd", "--data", ecssd, *options)
    assert result.exit_code != 0
    assert "none.pth" in result.stderr
