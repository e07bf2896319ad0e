import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.evaluate.sheet import _FOUND, _TRUE, Case, draw_cases, worst, write_sheet

GREY = np.full((40, 80, 3), 100, np.uint8)
BLOB = np.zeros((40, 80), np.int32)
BLOB[10:30, 20:60] = 1


def a_case(**changed):
    fields = {"truth": BLOB, "found": np.zeros_like(BLOB), **changed}
    return Case("a.b", "found: IoU 0.000", GREY, **fields)


def tiles(sheet, n=3):
    return np.array_split(sheet[:180], n, axis=1)


def near(picture, color):
    return (np.abs(picture.astype(int) - color).max(axis=2) < 30).sum()


def test_the_lowest_come_first_and_ties_go_by_name():
    assert worst({"c": 0.1, "b": 0.1, "a": 0.9}, 2) == ["b", "c"]


def test_a_case_is_three_tiles_the_truth_outlined_in_its_colour():
    image, truth, found = tiles(draw_cases([a_case()]))
    assert near(truth, _TRUE) > 200
    assert near(image, _TRUE) == near(found, _TRUE) == near(found, _FOUND) == 0
    _, truth, found = tiles(draw_cases([a_case(truth=BLOB * 0, found=BLOB)]))
    assert near(found, _FOUND) > 200
    assert near(truth, _TRUE) == 0


def test_boxes_and_keypoints_are_drawn_up_to_the_edge():
    case = a_case(
        truth=BLOB * 0,
        true_boxes_yxyx=np.array([[0, 0, 40, 80]]),
        found_boxes_yxyx=np.array([[5, 5, 20, 20]]),
    )
    _, truth, found = tiles(draw_cases([case]))
    assert near(truth, _TRUE) > 500
    assert near(found, _FOUND) > 100
    image, truth, found = tiles(draw_cases([a_case(truth=BLOB * 0, true_points_yx=np.array([[20.0, 40], [39, 79]]))]))
    assert near(truth, _TRUE) == near(found, _TRUE) > 20
    assert near(image, _TRUE) == 0


def test_parts_are_tinted_and_the_rest_is_left_alone():
    labels = BLOB.copy()
    labels[10:30, 40:60] = 2
    image, truth, _ = tiles(draw_cases([a_case(truth=labels)]))
    changed = (image != truth).any(axis=2)
    assert changed.mean() > 0.1
    assert near(truth, (100, 100, 100)) > near(image, (100, 100, 100)) / 2


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_sheet_is_written_two_cases_a_row(tmp_path, suffix):
    path = tmp_path / "new" / f"worst.{suffix}"
    write_sheet(path, [a_case()] * 3)
    with Image.open(path) as sheet:
        assert sheet.format == {"png": "PNG", "jpg": "JPEG"}[suffix]
        assert sheet.width > 6 * 320 > 3 * sheet.height
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_cases_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match="give at least one"):
        draw_cases([])
    with pytest.raises(InputError, match=r"worst\.gif does not end in \.png, \.jpg"):
        write_sheet(tmp_path / "worst.gif", [a_case()])
