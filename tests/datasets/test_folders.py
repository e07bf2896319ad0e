import pytest

from supercuts.core.errors import FileFormatError
from supercuts.datasets.folders import find_layout, find_partner, list_images, read_lines

TREES = "Expected\n  ROOT/a"


def test_the_first_layout_that_is_complete_is_taken(tmp_path):
    for name in ("x/img", "y/img", "y/gt"):
        (tmp_path / name).mkdir(parents=True)
    found = find_layout(tmp_path, [("x/img", "x/gt"), ("y/img", "y/gt")], "Set", TREES)
    assert found == (tmp_path / "y/img", tmp_path / "y/gt")
    with pytest.raises(FileFormatError, match=r"(?s)No Set in .*Expected\n  ROOT/a"):
        find_layout(tmp_path, [("z",)], "Set", TREES)


def test_pictures_are_listed_by_name_and_the_rest_left_alone(tmp_path):
    with pytest.raises(FileFormatError, match=r"(?s)No picture in .*ROOT/a"):
        list_images(tmp_path, TREES)
    for name in ("b.JPG", "a.b.jpg", "._a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path, TREES)] == ["a.b.jpg", "b.JPG"]


def test_a_partner_has_the_whole_name_dots_included(tmp_path):
    (tmp_path / "a.b.bmp").touch()
    (tmp_path / "a.png").touch()
    assert find_partner(tmp_path / "a.b.jpg", tmp_path, (".png", ".bmp")) == tmp_path / "a.b.bmp"
    assert find_partner(tmp_path / "c.jpg", tmp_path, (".png", ".bmp")) == tmp_path / "c.png"


def test_blank_lines_are_skipped_and_bytes_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(" a \n\nb\r\n")
    assert read_lines(path) == ["a", "b"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="cannot be read as text"):
        read_lines(path)
