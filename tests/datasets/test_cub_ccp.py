import pickle

import numpy as np
import pytest
import scipy.io
from PIL import Image

from supercuts.core.errors import FileFormatError
from supercuts.datasets.cub_ccp import CCP, CUBObjects, CUBParts
from supercuts.images.io import read_image

LISTS = {
    "images.txt": "1 001.Finch/a.b.jpg\n2 001.Finch/c.jpg\n3 002.Gull/d.jpg\n",
    "train_test_split.txt": "1 0\n2 1\n3 0\n",
    "bounding_boxes.txt": "1 1.0 0.0 3.0 2.0\n2 0.0 0.0 1.0 1.0\n3 0.0 1.0 2.0 1.0\n",
    "parts/parts.txt": "1 back\n2 left eye\n",
    # x before y; the second keypoint of image 3 is not visible
    "parts/part_locs.txt": "1 1 3.0 1.0 1\n1 2 4.0 2.0 1\n2 1 0 0 1\n2 2 0 0 1\n3 1 0.0 1.0 1\n3 2 0.0 0.0 0\n",
}


def write(root, folder="CUB/CUB_200_2011", masks="segmentations", changed=None):
    base = root / folder
    for name, text in {**LISTS, **(changed or {})}.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    for name in ("001.Finch/a.b", "001.Finch/c", "002.Gull/d"):
        for part, suffix in ((base / "images", ".jpg"), (base / masks, ".png")):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            graded = np.array([[0, 51, 102, 153], [204, 255, 0, 0]], np.uint8)
            Image.fromarray(graded).save(part / f"{name}{suffix}")


@pytest.mark.parametrize(
    ("folder", "masks"),
    [("CUB/CUB_200_2011", "segmentations"), ("CUB_200_2011", "../segmentations"), (".", "segmentations")],
)
def test_every_layout_is_found_and_flag_0_is_the_test_split(tmp_path, folder, masks):
    write(tmp_path, folder, masks)
    for data in (CUBObjects(tmp_path), CUBParts(tmp_path)):
        data.check()
        assert data.names == ("001.Finch/a.b", "002.Gull/d")
    assert CUBParts(tmp_path, "train").names == ("001.Finch/c",)
    assert len(CUBObjects(tmp_path, "train+test")) == 3


def test_a_pixel_that_most_annotators_drew_is_object(tmp_path):
    write(tmp_path)
    truth = CUBObjects(tmp_path)[0].truth
    np.testing.assert_array_equal(truth.masks, [[[0, 0, 0, 1], [1, 1, 0, 0]]])
    assert truth.boxes_yxyx.tolist() == [[0, 1, 2, 4]]  # x 1, y 0, width 3, height 2


def test_keypoints_are_x_before_y_in_the_file_and_rows_before_columns_here(tmp_path):
    write(tmp_path)
    data = CUBParts(tmp_path)
    truth = pickle.loads(pickle.dumps(data[0])).truth
    assert truth.names == ("back", "left eye")
    assert truth.keypoints_yx.tolist() == [[1, 3], [2, 4]]
    assert truth.box_yxyx.tolist() == [0, 1, 2, 4]
    assert truth.visible.tolist() == [True, True]
    assert data[1].truth.visible.tolist() == [True, False]


def test_rows_in_another_order_give_the_same_keypoints(tmp_path):
    write(tmp_path)
    expected = CUBParts(tmp_path)[0].truth.keypoints_yx
    rows = LISTS["parts/part_locs.txt"].splitlines()[::-1]
    write(tmp_path, changed={"parts/part_locs.txt": "\n".join(rows)})
    np.testing.assert_array_equal(CUBParts(tmp_path)[0].truth.keypoints_yx, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parts/part_locs.txt": "1 1 3.0 1.0 1\n3 1 0 0 1\n3 2 0 0 1\n"}, "one row for each part of image 1"),
        ({"parts/part_locs.txt": "1 1 3.0 1.0\n"}, "has 4 columns, expected 5"),
        ({"bounding_boxes.txt": "1 a b c d\n"}, "is not a table of numbers"),
        ({"bounding_boxes.txt": "1 1 1 1 1\n"}, "has no box of image 3"),
        ({"train_test_split.txt": "1 1\n2 1\n3 1\n"}, "name no image of split test"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, changed, message):
    write(tmp_path, changed=changed)
    with pytest.raises(FileFormatError, match=rf"(?s){message}.*segmentations/CLASS/NAME\.png"):
        CUBParts(tmp_path)


def test_missing_files_are_refused_with_the_expected_layout(tmp_path):
    for dataset in (CUBObjects, CUBParts):
        with pytest.raises(FileFormatError, match=r"(?s)No CUB-200-2011 with .*parts/part_locs\.txt"):
            dataset(tmp_path)


CLOTHES = ("null", "bag", "hair", "skin")


@pytest.fixture
def ccp_root(tmp_path):
    folder = tmp_path / "CCP"
    for name in ("photos", "annotations/pixel-level"):
        (folder / name).mkdir(parents=True)
    cells = np.empty((1, 4), object)
    cells[0] = CLOTHES
    scipy.io.savemat(folder / "label_list.mat", {"label_list": cells})
    for name in ("0001", "x.y", "tags_only"):
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / f"photos/{name}.jpg")
    for name in ("0001", "x.y"):
        write_clothes(folder, name, [[0, 3], [1, 3]])
    return tmp_path


def write_clothes(folder, name, labels, key="groundtruth"):
    scipy.io.savemat(folder / f"annotations/pixel-level/{name}.mat", {key: np.array(labels, np.uint8)})


@pytest.mark.parametrize("below", ["", "CCP"])
def test_labels_present_are_the_parts(ccp_root, below):
    data = CCP(ccp_root / below)
    data.check()
    assert data.names == ("0001", "x.y")  # dots stay in a name; photographs without pixel labels are left out
    truth = data[0].truth
    assert truth.names == ("bag", "skin")
    np.testing.assert_array_equal(truth.labels, [[0, 2], [1, 2]])


@pytest.mark.parametrize(("labels", "key"), [([[0, 4]], "groundtruth"), ([[0, 1]], "other")])
def test_files_without_an_annotation_are_refused(ccp_root, labels, key):
    write_clothes(ccp_root / "CCP", "0001", labels, key)
    with pytest.raises(FileFormatError, match=r"0001\.mat .*unpack the dataset again"):
        _ = CCP(ccp_root)[0].truth


def test_missing_clothes_are_refused_with_the_expected_layout(ccp_root, tmp_path):
    with pytest.raises(FileFormatError, match=r"(?s)No CCP in .*annotations/pixel-level/NAME\.mat"):
        CCP(tmp_path / "CCP/photos")
    for path in (ccp_root / "CCP/annotations/pixel-level").iterdir():
        path.unlink()
    with pytest.raises(FileFormatError, match=r"(?s)No photograph of .* has labels"):
        CCP(ccp_root)


@pytest.mark.dataset
def test_ccp_sample(data_root):
    data = CCP(data_root)
    data.check()
    assert len(data) == 120
    for sample in data[:10]:
        truth = sample.truth
        assert truth.labels.shape == read_image(sample.image_path).shape[:2]
        assert set(np.unique(truth.labels)) == set(range(len(truth.names) + 1))
        assert {"hair", "skin"} & set(truth.names)
