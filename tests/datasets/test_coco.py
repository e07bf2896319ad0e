import json
import pickle

import numpy as np
import pytest
from scipy import ndimage

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.coco import COCO20k, CocoParts, decode_segmentation

SQUARE = [[0, 0, 2, 0, 2, 2, 0, 2]]
LIST = "train2014/COCO_train2014_000000000009.jpg\nCOCO_train2014_000000000025.jpg\n"


def annotation(image, category=1, segmentation=SQUARE, iscrowd=0, bbox=(0, 0, 1, 1)):
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": iscrowd,
        "bbox": list(bbox),
    }


def document(names, annotations, categories=("wheel",)):
    return {
        "images": [{"id": i, "file_name": n, "height": 3, "width": 4} for i, n in enumerate(names)],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
    }


def write(folder, images, path, content):
    (folder / images).mkdir(parents=True, exist_ok=True)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(json.dumps(content))


def coco20k(folder, annotations, images="images/train2014"):
    names = [f"COCO_train2014_0000000000{n}.jpg" for n in ("09", "25", "30")]
    write(folder, images, "annotations/instances_train2014.json", document(names, annotations))
    (folder / "coco_20k_filenames.txt").write_text(LIST)
    for name in names:
        (folder / images / name).touch()


@pytest.mark.parametrize(("below", "images"), [("COCO", "images/train2014"), (".", "train2014")])
def test_the_list_decides_crowds_do_not_count_and_corners_are_rounded(tmp_path, below, images):
    crowd = annotation(1, iscrowd=1, bbox=(0, 0, 9, 9))
    boxes = [annotation(0, bbox=(1.2, 2.6, 3.0, 4.2)), annotation(0, iscrowd=1), annotation(2), crowd]
    coco20k(tmp_path / below, boxes, images)
    data = COCO20k(tmp_path)
    data.check()
    assert data.names == ("COCO_train2014_000000000009",)  # image 25 holds a crowd only, 30 is not in the list
    # x, y, width, height 1.2, 2.6, 3.0, 4.2: rows 2.6 to 6.8, columns 1.2 to 4.2
    assert pickle.loads(pickle.dumps(data[0])).truth.boxes_yxyx.tolist() == [[3, 1, 7, 4]]


def test_a_list_of_other_images_is_refused(tmp_path):
    coco20k(tmp_path, [annotation(0)])
    (tmp_path / "coco_20k_filenames.txt").write_text("COCO_train2014_000000000001.jpg\n")
    with pytest.raises(FileFormatError, match=r"1 images of .* such as COCO_train2014_000000000001"):
        COCO20k(tmp_path)
    with pytest.raises(FileFormatError, match=r"(?s)No COCO20k in .*instances_train2014\.json"):
        COCO20k(tmp_path / "images")


@pytest.mark.parametrize(
    ("dataset", "images", "path"),
    [
        ("carparts", "CarParts/testset/JPEGImages", "CarParts/testset/annotations.json"),
        ("carparts", "JPEGImages", "annotations.json"),
        ("coco", "PartImageNet/images/test", "PartImageNet/annotations/test.json"),
        ("coco", "images/test", "annotations/test.json"),
        ("coco", "test", "test.json"),
        ("coco", "JPEGImages", "annotations.json"),
    ],
)
def test_every_layout_is_found(tmp_path, dataset, images, path):
    write(tmp_path, images, path, document(["b.x.JPEG", "sub/a.jpg"], [annotation(0), annotation(1)]))
    (tmp_path / images / "b.x.JPEG").touch()
    (tmp_path / images / "a.jpg").touch()  # archives differ in whether they keep the folder
    data = CocoParts(tmp_path, dataset)
    data.check()
    assert data.names == ("b.x", "sub/a")


def test_each_annotation_is_a_part_and_smaller_ones_lie_on_top(tmp_path):
    records = [
        annotation(0, 1, [[0, 0, 4, 0, 4, 3, 0, 3]]),  # the background does not count
        annotation(0, 2, [[2, 1, 4, 1, 4, 2, 2, 2]]),
        annotation(0, 2),
        annotation(0, 3, [[1, 0, 4, 0, 4, 3, 1, 3]]),
        annotation(0, 3, [[1, 1, 2, 1, 2, 2, 1, 2]]),
        annotation(0, 2, [[1, 1, 2, 1, 2, 2, 1, 2]]),  # covers the one before
        annotation(0, 2, {"size": [3, 4], "counts": [11, 1]}),
        annotation(0, 3, SQUARE, iscrowd=1),
    ]
    content = document(["a.jpg", "empty.jpg"], records, ("_background_", "wheel", "door"))
    write(tmp_path, "images", "annotations.json", content)
    data = CocoParts(tmp_path)
    assert data.names == ("a",)
    truth = pickle.loads(pickle.dumps(data[0])).truth
    assert truth.names == ("wheel", "wheel", "door", "wheel", "wheel")
    np.testing.assert_array_equal(truth.labels, [[2, 2, 3, 3], [2, 4, 1, 1], [0, 3, 3, 5]])


@pytest.mark.parametrize("file_name", ["a.jpg", "images/a.jpg", "images\\a.jpg", "C:\\data\\images\\a.jpg"])
def test_file_names_may_hold_folders_of_any_system(tmp_path, file_name):
    write(tmp_path, "images", "annotations.json", document([file_name], [annotation(0)]))
    (tmp_path / "images" / "a.jpg").touch()
    data = CocoParts(tmp_path)
    data.check()
    assert (data.names[0].rpartition("/")[2], data[0].image_path) == ("a", tmp_path / "images" / "a.jpg")


def test_invalid_files_are_refused(tmp_path):
    write(tmp_path, "images", "annotations.json", [1])
    with pytest.raises(FileFormatError, match="has no lists images, annotations, categories"):
        CocoParts(tmp_path)
    (tmp_path / "annotations.json").write_text("{")
    with pytest.raises(FileFormatError, match="is not a JSON file"):
        CocoParts(tmp_path)
    content = document(["a.jpg"], [annotation(0)])
    del content["annotations"][0]["segmentation"]
    write(tmp_path, "images", "annotations.json", content)
    with pytest.raises(FileFormatError, match="an entry of annotations has no segmentation"):
        CocoParts(tmp_path)
    write(tmp_path, "images", "annotations.json", document(["a.jpg"], [annotation(0, 7)]))
    with pytest.raises(FileFormatError, match="category 7, which its categories do not name"):
        CocoParts(tmp_path)
    write(tmp_path, "images", "annotations.json", document(["a.jpg"], []))
    with pytest.raises(FileFormatError, match="no image with a part"):
        CocoParts(tmp_path)
    write(tmp_path, "images", "annotations.json", document(["../a.jpg"], [annotation(0)]))
    with pytest.raises(FileFormatError, match=r"'\.\./a\.jpg'. Expected a path below"):
        CocoParts(tmp_path)


def test_missing_files_are_refused_with_the_expected_layout(tmp_path):
    with pytest.raises(FileFormatError, match=r"(?s)No CarParts in .*CarParts/testset/annotations\.json"):
        CocoParts(tmp_path, "carparts")
    with pytest.raises(InputError, match="split='val'"):
        CocoParts(tmp_path, "carparts", "val")


@pytest.mark.dataset
def test_carparts_sample(data_root):
    data = CocoParts(data_root, "carparts")
    data.check()
    assert len(data) == 100
    document = json.loads((data_root / "CarParts/testset/annotations.json").read_text())
    areas = {}
    for record in document["annotations"]:
        areas.setdefault(record["image_id"], []).append((record["area"], record["segmentation"]))
    for image in document["images"][:20]:
        for area, segmentation in areas[image["id"]]:  # counts of the tool that drew them
            mask = decode_segmentation(segmentation, image["height"], image["width"])
            assert mask.sum() == pytest.approx(area, rel=0.03)
    truth = data[0].truth
    assert truth.labels.shape == (861, 1024)
    inside = ndimage.binary_fill_holes(truth.labels > 0)
    assert inside.sum() > (truth.labels > 0).sum()  # the car is the union of its parts, holes and all


@pytest.mark.parametrize(
    "change",
    [{"height": 10**9, "width": 10**9}, {"height": -8}, {"height": 0.5}, {"file_name": ["a"]}, {"file_name": "../a"}],
    ids=str,
)
def test_images_that_cannot_be_are_refused(tmp_path, change):
    content = document(["a.jpg"], [annotation(0)])
    content["images"][0].update(change)
    write(tmp_path, "JPEGImages", "annotations.json", content)
    with pytest.raises(FileFormatError, match=r"annotations\.json"):
        CocoParts(tmp_path)


def pack(runs):
    """Write runs as pycocotools' rleToString does."""
    text = ""
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr((bits | 32 if more else bits) + 48)
    return text


def runs_of(mask):
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    return np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()


def test_a_pixel_belongs_to_a_polygon_when_its_centre_does():
    mask = decode_segmentation([[1, 1, 3.6, 1, 3.6, 3, 1, 3]], 4, 5)
    expected = np.zeros((4, 5), bool)
    expected[1:3, 1:4] = True  # centres 1.5, 2.5 and 3.5 lie inside
    np.testing.assert_array_equal(mask, expected)


def test_polygons_are_joined_reach_over_the_edge_and_may_be_stray_clicks():
    mask = decode_segmentation([[-5, -5, 1, -5, 1, 9, -5, 9], [2, 0, 9, 0, 9, 1, 2, 1], [0, 0, 1, 1]], 2, 4)
    np.testing.assert_array_equal(mask, [[1, 0, 1, 1], [1, 0, 0, 0]])


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 300)])
@pytest.mark.parametrize("form", ["list", "str", "bytes"])
def test_runs_give_their_mask_back(shape, form):
    rng = np.random.default_rng(3)
    mask = np.kron(rng.random((shape[0], -(-shape[1] // 60))) < 0.5, np.ones((1, 60), bool))[:, : shape[1]]
    runs = runs_of(mask)
    counts = runs if form == "list" else pack(runs) if form == "str" else pack(runs).encode()
    encoding = {"size": list(shape), "counts": counts}
    np.testing.assert_array_equal(decode_segmentation(encoding, *shape), mask)


def test_known_text_is_unpacked():
    """COCO's encoding of runs 4, 3, 2: one character each, 48 + the run."""
    mask = decode_segmentation({"size": [3, 3], "counts": "432"}, 3, 3)
    assert np.flatnonzero(mask.T.ravel()).tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [2, 2], "counts": [3, 3]},
        {"size": [2, 3], "counts": [5]},
        {"size": [2, 3], "counts": [9, -3]},
        {"counts": [6]},
        [[0, 0, 1]],
        [["a", "b"]],
        7,
    ],
)
def test_invalid_segmentations_are_refused(segmentation):
    with pytest.raises(FileFormatError, match=r"of 2 rows and 3 columns cannot be drawn .*Expected polygons"):
        decode_segmentation(segmentation, 2, 3)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [2, 3], "counts": "o" * 300_000},
        {"size": [2, 3], "counts": [2**63 - 1, 2**63 - 1, 8]},
        {"size": [2, 3], "counts": "\u65e5"},
        [[float("inf")] * 6],
    ],
    ids=["no end", "overflow", "other characters", "infinite"],
)
def test_runs_and_corners_that_no_image_has_are_refused(segmentation):
    with pytest.raises(FileFormatError, match="cannot be drawn"):
        decode_segmentation(segmentation, 2, 3)
