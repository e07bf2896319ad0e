import numpy as np
import pytest

from supercuts.core.errors import MissingDependencyError
from supercuts.export.rle import node_rles


def test_pycocotools_decodes_every_node(ragged):
    mask = pytest.importorskip("pycocotools.mask")
    for node, rle in enumerate(node_rles(ragged)):
        expected = np.isin(ragged.labels, ragged.leaves_of(node))
        np.testing.assert_array_equal(mask.decode(rle), expected)


def test_without_pycocotools_the_extra_is_named(small, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'^pycocotools not .*: pip install "supercuts\[export\]"$'):
        node_rles(small)
