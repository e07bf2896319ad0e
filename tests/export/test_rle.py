import numpy as np
import pytest

from supercuts.core.errors import MissingDependencyError
from supercuts.export.annotation_tools import node_rles
from supercuts.hierarchy.tree import Hierarchy


def test_pycocotools_decodes_every_node(ragged):
    mask = pytest.importorskip("pycocotools.mask")
    for node, rle in enumerate(node_rles(ragged)):
        expected = np.isin(ragged.labels, ragged.leaves_of(node))
        np.testing.assert_array_equal(mask.decode(rle), expected)


def test_without_pycocotools_the_extra_is_named(small, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'^pycocotools not .*: pip install "supercuts\[export\]"$'):
        node_rles(small)


def test_pixels_in_no_leaf_are_in_no_run():
    mask = pytest.importorskip("pycocotools.mask")
    labels = np.array([[0, -1, 1], [-1, -1, 1]], np.int32)
    arrays = np.array([2, 2, 2], np.int32), np.array([0, 0, 0.5], np.float32), np.zeros((2, 0), np.float32)
    decoded = [mask.decode({**rle, "counts": rle["counts"].encode()}) for rle in node_rles(Hierarchy(labels, *arrays))]
    np.testing.assert_array_equal(decoded, [labels == 0, labels == 1, labels >= 0])
