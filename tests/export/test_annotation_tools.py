import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from supercuts.export.annotation_tools import altitude_spans, brush_rle, full_mask, marked_regions
from supercuts.merging.priors import read_priors

ROOT = Path(__file__).resolve().parents[2]
TOOLS = os.environ.get("SUPERCUTS_TOOLS_PYTHON")
SUFFIXES = {"labelme": ".json", "cvat": ".xml", "label-studio": ".json", "label-studio-polygons": ".json"}


def masks_of(h, regions):
    return np.array([full_mask(region, h.shape) for region in regions])


def test_regions_are_listed_once_below_the_smallest_region_around(holed):
    regions = list(marked_regions(holed, None))
    nodes = [region.node for region in regions]
    assert len(set(nodes)) == len(nodes)
    assert set(nodes) == {*range(holed.n_leaves), *(n for level in holed.levels for n in holed.cut_nodes(level=level))}
    masks = dict(zip(nodes, masks_of(holed, regions), strict=True))
    for region in regions:
        np.testing.assert_array_equal(masks[region.node], np.isin(holed.labels, holed.leaves_of(region.node)))
        around = [node for node in nodes if node > region.node and (masks[node] >= masks[region.node]).all()]
        smallest = min(around, key=lambda node: masks[node].sum(), default=-1)
        assert region.parent == smallest or masks[region.parent].sum() == masks[smallest].sum()


@pytest.mark.parametrize("format", ["labelme", "cvat", "label-studio"])
def test_masks_come_back_as_priors(holed, tmp_path, format):
    path = tmp_path / f"a{SUFFIXES[format]}"
    holed.export(path, format)
    np.testing.assert_array_equal(read_priors(path, holed.shape), masks_of(holed, marked_regions(holed, None)))


def test_polygons_come_back_as_the_pieces_of_regions_with_their_holes_filled(holed, tmp_path):
    from scipy.ndimage import binary_fill_holes, label

    holed.export(tmp_path / "a.json", "label-studio-polygons", level="object")
    pieces = []
    for node in holed.cut_nodes(level="object").tolist():
        numbered, n = label(np.isin(holed.labels, holed.leaves_of(node)))
        pieces += [binary_fill_holes(numbered == k + 1) for k in range(n)]
    got = read_priors(tmp_path / "a.json", holed.shape)
    assert sorted(mask.tobytes() for mask in got) == sorted(mask.tobytes() for mask in pieces)


def test_labelme_has_polygons_where_one_ring_is_the_region(holed, tmp_path):
    holed.export(tmp_path / "a.json", "labelme")
    document = json.loads((tmp_path / "a.json").read_text())
    assert {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"} == document.keys()
    keys = {"label", "points", "group_id", "description", "shape_type", "flags", "mask", "node", "parent", "altitude"}
    assert all(shape.keys() == keys for shape in document["shapes"])
    assert document["imageData"] is not None  # a hierarchy of an array has no file to point to
    kinds = {shape["shape_type"]: (len(shape["points"]) == 2, shape["mask"] is None) for shape in document["shapes"]}
    assert kinds == {"polygon": (False, True), "mask": (True, False)}


def test_cvat_has_the_attributes_of_its_own_export(small, tmp_path):
    small.export(tmp_path / "a.xml", "cvat", regions=2)
    root = ET.parse(tmp_path / "a.xml").getroot()
    assert [root.findtext("version"), root.findtext(".//label/name"), root.findtext(".//label/type")] == [
        "1.1", "cut", "mask"
    ]  # fmt: skip
    assert root.find("image").attrib == {"id": "0", "name": "a", "width": "3", "height": "2"}
    first, second = root.iter("mask")
    # by hand: leaf 2 is the lower row, node 3 the upper one
    assert second.attrib | first.attrib == first.attrib
    assert {mask.findtext("attribute[@name='node']"): mask.attrib["rle"] for mask in root.iter("mask")} == {
        "2": "0, 3", "3": "0, 3"
    }  # fmt: skip
    assert {mask.attrib["top"] for mask in root.iter("mask")} == {"0", "1"}


def test_names_that_xml_cannot_hold_are_replaced(small, tmp_path):
    replace(small, source_name="a\x01<&\ud800.png").export(tmp_path / "a.xml", "cvat")
    assert ET.parse(tmp_path / "a.xml").find("image").attrib["name"] == "a\ufffd<&\ufffd.png"


def rle_step_by_step(mask):
    """Encode as Label Studio documents it, one run after the other."""
    bits = f"{4 * mask.size:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    runs = []
    for value in np.repeat(255 * mask.ravel(), 4).tolist():
        if runs and runs[-1][0] == value and runs[-1][1] < 2**16:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    for value, length in runs:
        index = next(k for k, size in enumerate((3, 4, 8, 16)) if length <= 2**size)
        bits += f"1{index:02b}{length - 1:0{(3, 4, 8, 16)[index]}b}{value:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (150, 230)])
def test_brush_masks_are_runs_of_four_values_a_pixel(shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    mask[shape[0] // 3 :] = True  # a run longer than 2 ** 16 values
    assert brush_rle(mask) == rle_step_by_step(mask)


@pytest.mark.parametrize("tool", ["label-studio", "label-studio-polygons", "labelme", "cvat", "coco", "fiftyone"])
@pytest.mark.timeout(600)  # some take minutes to import on a busy machine
@pytest.mark.parametrize("ragged", [0], indirect=True)
@pytest.mark.skipif(TOOLS is None, reason="SUPERCUTS_TOOLS_PYTHON names no Python with the tools: nox -s tools")
def test_the_tools_own_libraries_read_the_same_regions(ragged, tmp_path, tool):
    format = "coco" if tool == "fiftyone" else tool
    h = replace(ragged, source_name="photo.png")
    path = tmp_path / f"photo{SUFFIXES.get(format, '.json')}"
    (tmp_path / "images").mkdir()
    Image.fromarray(h.image).save(tmp_path / "images/photo.png")
    h.export(path, format)
    script = ROOT / "tests/export/read_by_tools.py"
    subprocess.run(
        [TOOLS, script, tool, path, tmp_path / "images/photo.png", tmp_path / "read.npz"],
        check=True,
        capture_output=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    read = np.load(tmp_path / "read.npz")
    if format == "coco":
        parent = dict(enumerate(h.parents.tolist())) | {h.root: -1}
    else:
        parent = {region.node: region.parent for region in marked_regions(h, None)}
    listed = list(parent)
    if tool == "label-studio-polygons":  # each piece of a region is a polygon of its node
        listed = [region.node for region in marked_regions(h, None) for _ in region.polygons]
    assert sorted(read["nodes"].tolist()) == sorted(listed)
    if tool != "coco":
        assert dict(zip(read["nodes"].tolist(), read["parents"].tolist(), strict=True)) == parent
    for node, mask in zip(read["nodes"].tolist(), read["masks"], strict=len(read["masks"]) > 0):
        if mask.any() or tool != "labelme":  # its library leaves polygons as they are
            np.testing.assert_array_equal(mask, np.isin(h.labels, h.leaves_of(node)))


def test_the_backend_answers_clicks_and_boxes_with_brush_masks(voronoi, monkeypatch):
    base = ModuleType("label_studio_ml.model")
    base.LabelStudioMLBase = type("LabelStudioMLBase", (), {"get_local_path": lambda self, address, task_id: address})
    monkeypatch.setitem(sys.modules, "label_studio_ml", ModuleType("label_studio_ml"))
    monkeypatch.setitem(sys.modules, "label_studio_ml.model", base)
    module = runpy.run_path(str(ROOT / "contrib/label_studio/model.py"))
    h = voronoi()
    module["SuperCuts"].predict.__globals__["hierarchy"] = lambda path: h
    at = {"x": 30, "y": 20, "keypointlabels": ["cup"]}
    beside = {"x": 100, "y": 100, "keypointlabels": ["cup"]}
    drawn = [
        {"type": "keypointlabels", "value": at, "is_positive": 1},
        {"type": "keypointlabels", "value": beside, "is_positive": 0},
    ]
    (prediction,) = module["SuperCuts"]().predict([{"id": 1, "data": {"image": "a.png"}}], {"result": drawn})
    (result,) = prediction["result"]
    assert (result["type"], result["value"]["brushlabels"]) == ("brushlabels", ["cup"])
    expected = h.select(points={1: [(8, 15)], 2: [(39, 49)]})
    assert result["value"]["rle"] == brush_rle(expected)
    box = {"x": 20, "y": 25, "width": 50, "height": 50, "rectanglelabels": ["cup"]}
    (result,) = module["answer"](h, [{"type": "rectanglelabels", "value": box}])
    assert result["value"]["rle"] == brush_rle(h.select(box=(10, 10, 30, 35)))
    assert module["SuperCuts"]().predict([{"data": {"image": "a.png"}}]) == [
        {"model_version": "SuperCuts", "result": []}
    ]


def test_pycocotools_reads_an_annotation_for_every_node(ragged, tmp_path):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    ragged.export(tmp_path / "photo.json", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "photo.json"))
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [annotation["id"] for annotation in annotations] == list(range(1, ragged.n_nodes + 1))
    assert coco.loadImgs(1)[0]["file_name"] == "photo"
    table = ragged.region_table()
    for node, annotation in enumerate(annotations):
        mask = coco.annToMask(annotation)
        np.testing.assert_array_equal(mask, np.isin(ragged.labels, ragged.leaves_of(node)))
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (annotation["area"], annotation["level"]) == (mask.sum(), table.level[node])
        if node != ragged.root:
            assert annotation["parent_id"] == ragged.parent(node) + 1
    assert annotations[-1]["parent_id"] is None


def test_score_is_the_range_of_altitudes_at_which_it_is_a_region(small, tmp_path):
    pytest.importorskip("pycocotools")
    np.testing.assert_array_equal(altitude_spans(small), [0.25, 0.25, 0.75, 0.5, 0.25])
    small.export(tmp_path / "a.json", "coco")
    annotations = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert [annotation["score"] for annotation in annotations] == [0.25, 0.25, 0.75, 0.5, 0.25]
