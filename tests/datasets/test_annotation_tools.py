import json

import numpy as np
import pytest

from supercuts.core.errors import FileFormatError
from supercuts.datasets.annotation_tools import decode_brush, entries_of_tool, read_annotation_file
from supercuts.merging.priors import read_priors

SHAPE = (4, 6)
SQUARE = np.zeros(SHAPE, bool)
SQUARE[1:3, 2:5] = True
MASK = {"label": "a", "left": "2", "top": "1", "width": "3", "height": "2", "rle": "0, 6"}


def xml(*shapes):
    elements = "".join(
        f"<{tag} " + " ".join(f'{key}="{value}"' for key, value in attributes.items()) + "/>"
        for tag, attributes in shapes
    )
    return f'<annotations><image id="0" name="a.png" width="6" height="4">{elements}</image></annotations>'


def task(kind, value, name="a.png", key="annotations"):
    return {"data": {"image": name}, key: [{"result": [{"type": kind, "value": value}, {"type": "choices"}]}]}


SOURCES = {
    "cvat mask": xml(("mask", MASK)),
    "cvat polygon": xml(("polygon", {"points": "2,1;5,1;5,3;2,3"}), ("tag", {"label": "x"})),
    "cvat box": xml(("box", {"xtl": "2.0", "ytl": "1.0", "xbr": "5.0", "ybr": "3.0"})),
    "labelme polygon": {"shapes": [{"points": [[2, 1], [5, 1], [5, 3], [2, 3]], "shape_type": "polygon"}]},
    "labelme rectangle": {"shapes": [{"points": [[5, 3], [2, 1]], "shape_type": "rectangle"}]},
    "polygon in percent": [
        task("polygonlabels", {"points": [[100 / 3, 25], [250 / 3, 25], [250 / 3, 75], [100 / 3, 75]]})
    ],
    "box in percent": [task("rectanglelabels", {"x": 100 / 3, "y": 25, "width": 50, "height": 50}, key="predictions")],
    "one of two tasks": [
        task("rectanglelabels", {"x": 0, "y": 0, "width": 50, "height": 50}, name="/data/b.png"),
        task("rectanglelabels", {"x": 100 / 3, "y": 25, "width": 50, "height": 50}, name="/data/local/?d=up/a.png"),
    ],
}


@pytest.mark.parametrize("name", SOURCES)
def test_each_kind_of_shape_is_the_mask(tmp_path, name):
    source = SOURCES[name]
    path = tmp_path / ("a.xml" if isinstance(source, str) else "a.json")
    path.write_text(source if isinstance(source, str) else json.dumps(source))
    (mask,) = read_priors(path, SHAPE, name="a.png")
    np.testing.assert_array_equal(mask, SQUARE)


@pytest.mark.parametrize(
    "source",
    [
        xml(("mask", MASK | {"rle": "0, 7"})),
        xml(("mask", MASK | {"rle": "8, -2"})),
        xml(("mask", MASK | {"left": "4"})),
        xml(("mask", {"label": "a"})),
        xml(("polygon", {"points": "2,1;x"})),
        "<annotations/>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><annotations>&b;</annotations>",
        "<annotations>",
        {"shapes": [{"points": [[2, 1], [5, 1]], "shape_type": "circle"}]},
        {"shapes": [{"points": [[2, 1], [5, 1]], "shape_type": "mask", "mask": "no picture"}]},
        {"shapes": [None]},
        [task("brushlabels", {"rle": [0, 0, 0, 8, 57, 27, 252, 127]})],
        [task("brushlabels", {"rle": [0, 0, 0, 96, 57, 27, 252]})],
        [{"data": {}}],
    ],
    ids=str,
)
def test_damaged_files_are_refused(tmp_path, source):
    path = tmp_path / ("a.xml" if isinstance(source, str) else "a.json")
    path.write_text(source if isinstance(source, str) else json.dumps(source))
    with pytest.raises(FileFormatError, match=r"priors hold|is not a XML file"):
        read_priors(path, SHAPE, name="a.png")


def test_single_values_between_runs_are_read():
    # 1 pixel of values 1, 2, 3, 4, one after the other, then a run of four 9s; sizes of 3 bits
    bits = f"{8:032b}{7:05b}" + "0010" * 4 + "000" + "011" + "".join(f"{value:08b}" for value in (1, 2, 3, 0))
    bits += "100" + "011" + f"{9:08b}"
    data = [int(bits[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(bits), 8)]
    assert decode_brush(data, (1, 2)).tolist() == [[False, True]]


def test_documents_of_other_programs_are_left_to_others(tmp_path):
    (tmp_path / "a.json").write_text('{"images": []}')
    assert entries_of_tool(read_annotation_file(tmp_path / "a.json"), SHAPE, None) is None
    assert entries_of_tool([SQUARE], SHAPE, None) is None
