import json
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import supercuts

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a script as if from the project's root and return what it prints; in this process: imports take seconds."""
    monkeypatch.chdir(ROOT)

    def invoke(script, *arguments):
        monkeypatch.setattr("sys.argv", [script, *map(str, arguments)])
        runpy.run_path(f"examples/{script}", run_name="__main__")
        return capsys.readouterr().out

    return invoke


def test_node_classification_is_short_and_beats_chance(run):
    assert len((ROOT / "examples/node_classification.py").read_text().splitlines()) < 40
    printed = run("node_classification.py")
    accuracy, chance = (float(re.search(rf"{words} (\S+)", printed)[1]) for words in ("the others", "would give"))
    assert accuracy > 0.8 > chance + 0.2


def test_statistics_table_has_a_row_for_every_object(run, tmp_path):
    pandas = pytest.importorskip("pandas")
    assert "red_mean" in run("statistics_table.py", "examples/photo.jpg", tmp_path / "a.csv")
    table = pandas.read_csv(tmp_path / "a.csv")
    assert table["area"].sum() == 400 * 600
    assert table["share"].sum() == pytest.approx(1)
    assert table["node"].is_unique


def test_superpixel_features_in_a_pipeline(run, monkeypatch):
    segment, known = supercuts.Model.segment, {}

    def segment_once(model, image, superpixels):  # the folds repeat the images
        key = image.tobytes(), superpixels
        if key not in known:
            known[key] = segment(model, image, superpixels=superpixels)
        return known[key]

    monkeypatch.setattr(supercuts.Model, "segment", segment_once)
    accuracy = float(re.search(r"accuracy (\S+)", run("sklearn_pipeline.py"))[1])
    assert accuracy > 0.8


def test_superpixel_features_follow_the_rules_of_scikit_learn():
    module = runpy.run_path(str(ROOT / "examples/sklearn_pipeline.py"))
    transformer = clone(module["SuperpixelFeatures"](superpixels=9))
    assert transformer.get_params() == {"model": "compact", "superpixels": 9}
    images = [np.zeros((20, 30, 3), np.uint8), np.full((25, 25, 3), 200, np.uint8)]
    rows = transformer.fit_transform(images)
    assert rows.shape[0] == 2
    assert np.isfinite(rows).all()


@pytest.fixture
def marked_in_the_viewer(tmp_path):
    """Mark images in the page itself: return the files that it saves, and the masks that Python has for the same."""
    sync_api = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("pycocotools")
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    h = supercuts.load("compact").segment(ROOT / "examples/photo.jpg", superpixels=150)
    h.save(tmp_path / "photo.npz")

    def saved(page, name):
        with page.expect_download() as download:
            page.click("#save-coco")
        download.value.save_as(tmp_path / name)
        return tmp_path / name

    def at(page, y, x):
        box = page.locator("#overlay").bounding_box()
        view, ratio = page.evaluate("[supercuts.view, supercuts.ratio]")
        place = [((p + 0.5) * view["scale"] + view[axis]) / ratio for p, axis in ((x, "x"), (y, "y"))]
        return box["x"] + place[0], box["y"] + place[1]

    def rename(page, label, name):
        box = page.get_by_role("textbox", name=f"Name of label {label}")
        box.fill(name)
        box.press("Enter")

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(accept_downloads=True, viewport={"width": 1100, "height": 760})
        for name in ("photo", "other"):
            replace(h, source_name=f"{name}.jpg").export(tmp_path / f"{name}.html", format="html")
        page.goto((tmp_path / "photo.html").as_uri())
        page.wait_for_selector("#labels input")
        page.fill("#regions", "12")
        page.press("#regions", "Enter")
        page.mouse.click(*at(page, 60, 40))  # a region of label 1 ...
        page.get_by_role("radio", name="Use label 2").click()
        page.keyboard.down("Control")
        page.mouse.click(*at(page, 210, 290))  # ... and another of label 2, the coffee
        page.keyboard.up("Control")
        rename(page, 1, "table")
        rename(page, 2, "coffee")
        clicked = saved(page, "photo_coco.json")
        page.goto((tmp_path / "other.html").as_uri())
        page.wait_for_selector("#labels input")
        page.click("#tool-scribble")
        for label, stroke in ((1, [(200, 250), (215, 320)]), (2, [(30, 30), (40, 550)])):
            page.get_by_role("radio", name=f"Use label {label}").click()
            page.mouse.move(*at(page, *stroke[0]))
            page.mouse.down()
            page.mouse.move(*at(page, *stroke[1]), steps=4)
            page.mouse.up()
        rename(page, 1, "coffee")
        scribbles = np.reshape(page.evaluate("Array.from(supercuts.scribbleMap())"), h.shape)
        scribbled = saved(page, "other_coco.json")
        browser.close()
    regions = [h.select(point=point, regions=12) for point in ((60, 40), (210, 290))]
    return h, clicked, scribbled, regions, h.segment_scribbles(scribbles)


def test_annotations_of_the_viewer_join_those_of_a_data_set(run, tmp_path, marked_in_the_viewer):
    h, clicked, scribbled, regions, spread = marked_in_the_viewer
    from pycocotools.coco import COCO

    hierarchy, target = tmp_path / "photo.npz", tmp_path / "dataset.json"
    assert "coffee: 1 annotations" in run("annotation_handover.py", clicked, hierarchy, target)
    for _ in range(2):  # handed over again, an image replaces its annotations
        printed = run("annotation_handover.py", scribbled, hierarchy, target)
    assert "coffee: 2 annotations" in printed
    assert "table: 1 annotations" in printed
    coco = COCO(target)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["photo.jpg", "other.jpg"]
    assert sorted(category["name"] for category in coco.cats.values()) == ["background", "coffee", "table"]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len({annotation["id"] for annotation in annotations}) == len(annotations) == 4
    masks = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
    for mask, expected in zip(masks, [*regions, spread == 1, spread == 2], strict=True):
        np.testing.assert_array_equal(mask, expected)
    for annotation, mask in zip(annotations, masks, strict=True):
        assert annotation["superpixels"] == np.unique(h.labels[mask]).size
        if annotation["node"] is not None:
            np.testing.assert_array_equal(np.isin(h.labels, h.leaves_of(annotation["node"])), mask)
    assert None not in [annotation["node"] for annotation in annotations[:2]]  # clicked regions are nodes


def test_annotations_of_another_hierarchy_are_refused(run, tmp_path):
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(0)
    model = supercuts.load("compact")
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for name, n in (("a", 6), ("b", 9)):
        model.segment(image, superpixels=n).save(tmp_path / f"{name}.npz")
    mask = model.segment(image, superpixels=6).cut(regions=2) == 1
    runs = np.flatnonzero(np.diff(np.r_[0, mask.T.ravel(), 0])).tolist()
    counts = np.diff([0, *runs, mask.size]).tolist()
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "area": int(mask.sum()), "iscrowd": 0}
    annotation |= {"bbox": [0, 0, 30, 20], "segmentation": {"size": [20, 30], "counts": counts}}
    images = [{"id": 1, "file_name": "a", "width": 30, "height": 20}]
    document = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "m.json").write_text(json.dumps(document))
    arguments = (tmp_path / "m.json", tmp_path / "a.npz", tmp_path / "d.json")
    assert "x: 1 annotations" in run("annotation_handover.py", *arguments)
    (tmp_path / "d.json").unlink()
    with pytest.raises(SystemExit, match=r"Annotation 1 cuts superpixels"):
        run("annotation_handover.py", tmp_path / "m.json", tmp_path / "b.npz", tmp_path / "d.json")
    model.segment(image[:10], superpixels=6).save(tmp_path / "c.npz")
    with pytest.raises(SystemExit, match=r"are of 30x20 pixels, the hierarchy Hierarchy\(10x30"):
        run("annotation_handover.py", tmp_path / "m.json", tmp_path / "c.npz", tmp_path / "d.json")
    assert not (tmp_path / "d.json").exists()
