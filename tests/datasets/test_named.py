import pytest

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.named import OBJECTS, PARTS, open_objects, open_parts


@pytest.mark.parametrize(("open_one", "name"), [(open_objects, n) for n in OBJECTS] + [(open_parts, n) for n in PARTS])
def test_every_dataset_names_its_expected_layout(tmp_path, open_one, name):
    with pytest.raises(FileFormatError, match=r"(?s)No .* in .*Expected.*ROOT/"):
        open_one(name, tmp_path)


def test_unknown_names_are_refused_with_those_that_exist(tmp_path):
    with pytest.raises(InputError, match="Choose one of: ecssd, duts, omron, voc07, voc12, coco20k, cub"):
        open_objects("ccp", tmp_path)
    with pytest.raises(InputError, match="Choose one of: ccp, carparts, cub, coco"):
        open_parts("voc07", tmp_path)


def test_only_voc_marks_hard_objects(tmp_path):
    with pytest.raises(InputError, match="only VOC marks"):
        open_objects("coco20k", tmp_path, no_hard=True)
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/trainval.txt").write_text("a\n")
    (tmp_path / "Annotations/a.xml").write_text("<annotation/>")
    assert len(open_objects("voc12", tmp_path)) == 1
    assert len(open_objects("voc12", tmp_path, no_hard=True)) == 0
