import contextlib
import io
import json

import numpy as np
import pytest

from supercuts.export.coco import altitude_spans

pytest.importorskip("pycocotools")


def test_pycocotools_reads_an_annotation_for_every_node(ragged, tmp_path):
    from pycocotools.coco import COCO

    ragged.export(tmp_path / "photo.json", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "photo.json"))
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [annotation["id"] for annotation in annotations] == list(range(1, ragged.n_nodes + 1))
    assert coco.loadImgs(1)[0]["file_name"] == "photo"
    table = ragged.region_table()
    for node, annotation in enumerate(annotations):
        mask = coco.annToMask(annotation)
        np.testing.assert_array_equal(mask, np.isin(ragged.labels, ragged.leaves_of(node)))
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (annotation["area"], annotation["level"]) == (mask.sum(), table.level[node])
        if node != ragged.root:
            assert annotation["parent_id"] == ragged.parent(node) + 1
    assert annotations[-1]["parent_id"] is None


def test_score_is_the_range_of_altitudes_at_which_it_is_a_region(small, tmp_path):
    np.testing.assert_array_equal(altitude_spans(small), [0.25, 0.25, 0.75, 0.5, 0.25])
    small.export(tmp_path / "a.json", "coco")
    annotations = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert [annotation["score"] for annotation in annotations] == [0.25, 0.25, 0.75, 0.5, 0.25]
