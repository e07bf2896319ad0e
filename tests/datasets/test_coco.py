import json
import pickle

import numpy as np
import pytest
from scipy import ndimage

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.coco import COCO20k, CocoParts
from supercuts.datasets.coco_masks import decode_segmentation

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


def test_files_that_are_none_are_refused(tmp_path):
    write(tmp_path, "images", "annotations.json", [1])
    with pytest.raises(FileFormatError, match="has no lists images, annotations, categories"):
        CocoParts(tmp_path)
    (tmp_path / "annotations.json").write_text("{")
    with pytest.raises(FileFormatError, match="is no JSON file"):
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


def test_what_is_not_there_is_refused_with_the_tree(tmp_path):
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
        for area, segmentation in areas[image["id"]]:  # of the tool that drew them, which counts pixels too
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
