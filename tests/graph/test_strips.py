from dataclasses import fields

import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.graph.rag import build_rag
from supercuts.graph.statistics import region_statistics
from supercuts.graph.strips import build_rag_strips, region_statistics_strips
from supercuts.superpixels import _kernels, stored
from supercuts.superpixels.stored import StoredMaps


@pytest.fixture
def maps(monkeypatch):
    monkeypatch.setattr(stored, "STRIP_PIXELS", 300)
    rng = np.random.default_rng(0)
    return StoredMaps(
        rng.integers(0, 256, (41, 30, 3), dtype=np.uint8),
        np.zeros((41, 30, 0), np.uint8),
        rng.random((41, 30)).astype(np.float32),
        rng.random((5, 41, 30)).astype(np.float16),
        1,
        rng.random((21, 15)).astype(np.float32),
        rng.random((3, 21, 15)).astype(np.float32),
        2,
    )


@pytest.fixture
def labels():
    coarse = np.random.default_rng(1).integers(0, 3, (11, 8)).astype(np.int32)
    return _kernels.label_components(np.kron(coarse, np.ones((4, 4), np.int32))[:41, :30])[0]


def test_graph_and_statistics_are_those_of_the_whole_image(maps, labels):
    whole = maps.rows(0, 41)
    expected = build_rag(labels, whole.boundary, whole.color, whole.embeddings)
    graph = build_rag_strips(labels, maps, int(labels.max()) + 1)
    for field in fields(graph):
        np.testing.assert_array_equal(getattr(graph, field.name), getattr(expected, field.name), err_msg=field.name)
    statistics = region_statistics(labels, expected, whole)
    found = region_statistics_strips(labels, graph, maps)
    for name in ("nodes", "edges", "bbox", "sizes"):
        np.testing.assert_allclose(getattr(found, name), getattr(statistics, name), rtol=1e-9, err_msg=name)


def test_what_is_not_valid_is_frame_and_nothing_else(maps, labels):
    masked = labels.copy()
    masked[16:20, 3:27] = -1
    masked = np.where(masked < 0, -1, np.unique(masked[masked >= 0], return_inverse=True)[1].max() + 1)
    pieces, _ = _kernels.label_components(np.where(masked < 0, -1, labels).astype(np.int32))
    ids = np.unique(pieces[masked >= 0])
    part = np.where(masked < 0, -1, np.searchsorted(ids, pieces)).astype(np.int32)
    graph = build_rag_strips(part, maps, ids.size)
    assert graph.area.sum() == (part >= 0).sum()
    pairs = np.concatenate(
        [np.stack([part[:, :-1], part[:, 1:]]).reshape(2, -1), np.stack([part[:-1], part[1:]]).reshape(2, -1)], 1
    )
    pairs = np.sort(pairs[:, (pairs[0] != pairs[1]) & (pairs >= 0).all(0)], axis=0)
    edges, length = np.unique(pairs, axis=1, return_counts=True)
    np.testing.assert_array_equal(graph.edges, edges.T)
    np.testing.assert_array_equal(graph.border_length, length)
    padded = np.pad(part, 1, constant_values=-1)
    sides = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    perimeter = sum(np.bincount(part[(side != part) & (part >= 0)], minlength=ids.size) for side in sides)
    np.testing.assert_array_equal(region_statistics_strips(part, graph, maps).nodes[:, 1], perimeter)


def test_refuses_labels_that_do_not_fit(maps, labels):
    with pytest.raises(InputError, match="differ in size"):
        build_rag_strips(labels[1:], maps, 5)
    with pytest.raises(InputError, match="has no pixel"):
        build_rag_strips(labels, maps, int(labels.max()) + 2)
