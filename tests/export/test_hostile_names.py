"""Names that are programs: the only foreign text in exports is the file's name, since levels have fixed names."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from supercuts.core.errors import FileFormatError, InputError
from supercuts.export import html_viewer, npz
from supercuts.hierarchy.tree import Hierarchy

HOSTILE = "</script><script>alert(1)<!--'\"&lt;\u2028]]>${7*7}<img src=x onerror=alert(2)>"


def tree(levels=None) -> Hierarchy:
    return Hierarchy(
        labels=np.array([[0, 1]], np.int32),
        parents=np.array([2, 2, 2], np.int32),
        altitudes=np.array([0, 0, 0.5], np.float32),
        embeddings=np.zeros((2, 0), np.float32),
        image=np.zeros((1, 2, 3), np.uint8),
        levels=levels or {"object": 0.2},
    )


class Page(HTMLParser):
    """Collects the elements of a page, and attributes that would run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.handlers, self.title, self.inside = [], [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "title":
            self.title += data

    def handle_endtag(self, tag):
        self.inside = None


def test_a_name_is_text_in_the_page_and_ends_no_element():
    usual, hostile = Page(html_viewer.page(tree(), "photo")), Page(html_viewer.page(tree(), HOSTILE))
    assert hostile.tags == usual.tags
    assert hostile.handlers == usual.handlers
    assert hostile.title == usual.title.replace("photo", HOSTILE)


def test_a_name_is_text_in_the_frame_of_a_notebook(monkeypatch):
    text = html_viewer.frame(tree())
    assert Page(text).tags == ["iframe"]


@pytest.mark.parametrize("name", ["x'><script>.svg", "a&b<c>.svg"])
def test_a_drawing_holds_no_name_of_others(tmp_path, name):
    tree().export(tmp_path / name, "svg")
    text = (tmp_path / name).read_text()
    assert "script" not in text
    assert set(re.findall(r"<(\w+)", text)) == {"svg", "g", "path"}


def test_json_formats_escape_the_name_of_their_file(tmp_path):
    pytest.importorskip("pycocotools")
    path = tmp_path / "a\"b\\u{'<script>.json"
    tree().export(path, "coco")
    assert json.loads(path.read_text())["images"][0]["file_name"] == path.stem
    tree().export(path.with_suffix(".geojson"), "geojson")
    assert json.loads(path.with_suffix(".geojson").read_text())["type"] == "FeatureCollection"


@pytest.mark.parametrize("name", [HOSTILE, 'object" onload="x', "<object>", "Object"])
def test_other_level_names_are_refused_in_memory_and_in_files(tmp_path, name):
    with pytest.raises(InputError, match="level name"):
        tree({name: 0.2})
    good = tree()
    object.__setattr__(good, "levels", {name: 0.2})
    npz.write_npz(tmp_path / "a.npz", good)
    with pytest.raises(FileFormatError, match="level name"):
        npz.read(tmp_path / "a.npz")
