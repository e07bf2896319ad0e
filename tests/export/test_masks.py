import json

import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.export import masks
from supercuts.hierarchy.tree import Hierarchy


def test_masks_tile_the_image_at_every_level(small, tmp_path):
    small.export(tmp_path / "out", format="masks")
    index = json.loads((tmp_path / "out/index.json").read_text())
    assert index["shape"] == [2, 3]
    assert index["levels"] == small.levels
    for level, n_regions in (("scene", 1), ("object", 2), ("part", 3)):
        entries = [entry for entry in index["masks"] if entry["level"] == level]
        assert len(entries) == n_regions
        labels = small.cut(level=level)
        for entry in entries:
            mask = np.array(Image.open(tmp_path / "out" / entry["file"]))
            np.testing.assert_array_equal(mask, np.where(labels == entry["region"], 255, 0))
            ys, xs = np.nonzero(mask)
            assert entry["bbox_yxyx"] == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
            assert (entry["area"], entry["centroid_yx"]) == (ys.size, [ys.mean(), xs.mean()])
    assert [entry["node"] for entry in index["masks"]] == [4, 3, 2, 0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_filled_and_a_full_one_refused(small, tmp_path):
    (tmp_path / "out").mkdir()
    masks.write(tmp_path / "out", small)
    with pytest.raises(
        InputError, match=r"exists and is not an empty folder: choose another path, or replace it with force"
    ):
        masks.write(tmp_path / "out", small)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"not an empty folder"):
        masks.write(tmp_path / "file", small)


def test_a_failed_write_leaves_nothing(small, tmp_path, monkeypatch):
    monkeypatch.setattr(masks.json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        masks.write(tmp_path / "out", small)
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_hierarchy_without_levels(small, tmp_path):
    without = Hierarchy(small.labels, small.parents, small.altitudes, small.embeddings)
    with pytest.raises(InputError, match=r"has none: segment with a model that carries levels"):
        masks.write(tmp_path / "out", without)
