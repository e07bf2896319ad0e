import pytest

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.voc import VOC, read_boxes

PART = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"


def an_object(corners, difficult=0, truncated=0, part=""):
    sides = "".join(f"<{n}>{v}</{n}>" for n, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    flags = f"<truncated>{truncated}</truncated><difficult>{difficult}</difficult>"
    return f"<object><name>dog</name>{flags}{part}<bndbox>{sides}</bndbox></object>"


def write(folder, images, split="trainval"):
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, objects in images.items():
        (folder / f"JPEGImages/{name}.jpg").touch()
        (folder / f"Annotations/{name}.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")
    (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join(images) + "\n")


@pytest.mark.parametrize(
    "folder", ["voc2007trainval/VOCdevkit/VOC2007", "VOCdevkit/VOC2007", "VOC2007", ".", "voc2007/VOCdevkit/VOC2007"]
)
def test_every_layout_is_found(tmp_path, folder):
    write(tmp_path / folder, {"000005": [an_object((1, 1, 2, 2))]})
    data = VOC(tmp_path, 2007)
    data.check()
    assert data.names == ("000005",)


def test_boxes_count_from_one_and_hold_their_last_pixel(tmp_path):
    """A box of the whole image of 4 columns and 3 rows: 1, 1, 4, 3."""
    write(tmp_path / "VOC2012", {"a": [an_object((1, 1, 4, 3)), an_object((2, 3, 2, 3))]})
    assert VOC(tmp_path, 2012)[0].truth.boxes_yxyx.tolist() == [[0, 0, 3, 4], [2, 1, 3, 2]]


def test_fractions_are_rounded_and_boxes_of_parts_are_not_objects(tmp_path):
    write(tmp_path / "VOC2012", {"a": [an_object((45.7, 10.2, 60.5, 20), part=PART)]})
    assert VOC(tmp_path, 2012)[0].truth.boxes_yxyx.tolist() == [[9, 45, 20, 61]]


def test_hard_objects_count_by_default(tmp_path):
    """Without its hard objects an image may have none left: then it is left out, and not scored as a failure."""
    easy, difficult, truncated = an_object((1, 1, 2, 2)), an_object((1, 1, 3, 3), 1), an_object((1, 1, 4, 4), 0, 1)
    write(tmp_path, {"both": [difficult, easy, truncated], "hard": [difficult], "none": []})
    everything = VOC(tmp_path, 2007)
    assert everything.names == ("both", "hard", "none")
    assert [len(sample.truth.boxes_yxyx) for sample in everything] == [3, 1, 0]
    kept = VOC(tmp_path, 2007, no_hard=True)
    assert kept.names == ("both",)
    assert kept[0].truth.boxes_yxyx.tolist() == [[0, 0, 2, 2]]


def test_files_without_an_annotation_are_refused(tmp_path):
    write(tmp_path, {"a": ["<object><name>dog</name></object>"], "b": ["<object>"]})
    for index, why in enumerate(("an object without bndbox/ymin", "mismatched tag")):
        with pytest.raises(FileFormatError, match=rf"(?s)xml is not a VOC annotation \({why}.*unpack"):
            _ = VOC(tmp_path, 2007)[index].truth


def test_missing_files_are_refused_with_the_expected_layout(tmp_path):
    with pytest.raises(FileFormatError, match=r"(?s)No VOC2007 in .*ROOT/VOCdevkit/VOC2007.*ImageSets/Main/test\.txt"):
        VOC(tmp_path, 2007, "test")
    with pytest.raises(InputError, match="year=2008"):
        VOC(tmp_path, 2008)
    write(tmp_path, {"a": []})
    (tmp_path / "JPEGImages/a.jpg").unlink()
    with pytest.raises(FileFormatError, match=r"a\.jpg"):
        VOC(tmp_path, 2007).check()


@pytest.mark.parametrize("corner", ["nan", "inf", "1e400", "-1e30"])
def test_a_corner_that_no_image_has_is_refused(tmp_path, corner):
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation>{an_object((1, corner, 5, 6))}</annotation>")
    with pytest.raises(FileFormatError, match="a corner out of range"):
        read_boxes(path)
