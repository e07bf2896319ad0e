import numpy as np
import pytest

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.graph.rag import build_rag, contract, graph_of_maps
from supercuts.graph.statistics import LIMITS, N_BINS, contract_statistics, region_statistics
from supercuts.images.convert import color_features
from supercuts.networks import maps as maps_module
from supercuts.networks.maps import PixelMaps


def some_maps(shape, n_bands=3, n_regions=2, stride=2):
    rng = np.random.default_rng(0)
    small = tuple(-(-side // stride) for side in shape)
    return PixelMaps(
        color=(rng.random((n_bands, *shape), np.float32) * 140 - 45).astype(np.float32),
        boundary=rng.random(shape, np.float32),
        embeddings=rng.standard_normal((2, *shape), np.float32),
        strength=rng.random(small, np.float32) if n_regions else None,
        regions=rng.standard_normal((n_regions, *small), np.float32) if n_regions else None,
        region_stride=stride if n_regions else 1,
    )


def statistics_of(labels, maps):
    return region_statistics(labels, build_rag(labels, maps.boundary, maps.color, maps.embeddings), maps)


@pytest.mark.parametrize("n_bands", [1, 3, 4])
@pytest.mark.parametrize("n_regions", [0, 2])
def test_nodes_are_sums_over_their_pixels(n_bands, n_regions):
    labels = np.array([[0, 0, 1, 1, 1], [0, 2, 2, 1, 1], [0, 2, 2, 2, 2]], np.int32)
    maps = some_maps(labels.shape, n_bands, n_regions)
    low, high = ([0, -40, -40], [100, 40, 40]) if n_bands == 3 else ([0] * n_bands, [100] * n_bands)
    strength, regions, stride = (maps.strength, maps.regions, 2) if n_regions else (maps.boundary, [], 1)
    nodes = statistics_of(labels, maps).nodes
    for i in range(3):
        ys, xs = np.nonzero(labels == i)
        colors, learned = maps.color[:, ys, xs].astype(float), maps.embeddings[:, ys, xs].astype(float)
        wide = np.array([x[ys // stride, xs // stride] for x in regions], float).reshape(n_regions, len(ys))
        bins = [
            np.histogram(np.clip(band, a, b - 1e-3), N_BINS, (a, b))[0]
            for band, a, b in zip(colors, low, high, strict=True)
        ]
        sides = [(y + dy, x + dx) for y, x in zip(ys, xs, strict=True) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        outside = [s for s in sides if not (0 <= s[0] < 3 and 0 <= s[1] < 5)]
        perimeter = len(outside) + sum(labels[s] != i for s in sides if s not in outside)
        expected = [
            len(ys),
            perimeter,
            nodes[i, 2],  # below
            maps.boundary[ys, xs].sum(),
            strength[ys // stride, xs // stride].sum(),
            *colors.sum(1),
            *(colors**2).sum(1),
            *np.concatenate(bins),
            *learned.sum(1),
            (learned**2).sum(),
            *wide.sum(1),
            (wide**2).sum(),
        ]
        np.testing.assert_allclose(nodes[i], expected, rtol=1e-6)


def test_borders_are_sums_over_pixel_pairs():
    labels = np.array([[0, 0, 1], [2, 2, 1]], np.int32)
    maps = some_maps(labels.shape)
    statistics = statistics_of(labels, maps)
    b, s = maps.boundary.astype(float), np.repeat(np.repeat(maps.strength, 2, 0), 2, 1).astype(float)
    pairs = [[((0, 1), (0, 2))], [((0, 0), (1, 0)), ((0, 1), (1, 1))], [((1, 1), (1, 2))]]  # of edges 01, 02, 12
    for row, of_edge in zip(statistics.edges, pairs, strict=True):
        means = np.array([(b[p] + b[q]) / 2 for p, q in of_edge])
        highest = sum(max(b[p], b[q]) for p, q in of_edge)
        strength = sum((s[p] + s[q]) / 2 for p, q in of_edge)
        above = [(means > limit).sum() for limit in LIMITS]
        np.testing.assert_allclose(row, [len(means), means.sum(), (means**2).sum(), highest, strength, *above], 1e-6)
    along = statistics.edges[:, 1]
    np.testing.assert_allclose(statistics.nodes[:, 2], [along[0] + along[1], along[0] + along[2], along[1] + along[2]])


def test_maps_of_another_image_are_refused():
    labels = np.zeros((4, 4), np.int32)
    maps = some_maps((4, 4))
    graph = build_rag(labels, maps.boundary, maps.color, maps.embeddings)
    with pytest.raises(InputError, match=r"labels \(4, 4\) and maps \(4, 5\) differ in size"):
        region_statistics(labels, graph, some_maps((4, 5)))


@pytest.mark.parametrize("seed", range(4))
def test_contracted_statistics_are_those_of_the_contracted_labels(seed):
    rng = np.random.default_rng(seed)
    labels = relabel_consecutive(rng.integers(0, 30, (9, 12)))[0]
    maps = some_maps(labels.shape)
    graph = build_rag(labels, maps.boundary, maps.color, maps.embeddings)
    region = relabel_consecutive(rng.integers(0, 7, labels.max() + 1))[0]
    contracted = contract_statistics(region_statistics(labels, graph, maps), graph, region)
    expected = statistics_of(region[labels], maps)
    assert len(contracted.edges) == contract(graph, region).n_edges
    for name in ("nodes", "edges", "bbox"):
        np.testing.assert_allclose(getattr(contracted, name), getattr(expected, name), rtol=1e-5, atol=1e-4)


def test_strips_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.arange(41 * 30, dtype=np.int32).reshape(41, 30) // (30 * 6) * 3 + np.arange(30, dtype=np.int32) // 10
    rgb = rng.integers(0, 256, (3, 41, 30), dtype=np.uint8)
    boundary, embeddings = rng.random((41, 30), np.float32), rng.random((5, 41, 30)).astype(np.float16)
    coarse = rng.random((21, 15), np.float32), rng.random((3, 21, 15), np.float32), 2
    stored = PixelMaps(rgb, boundary, embeddings, *coarse)
    color = color_features(np.ascontiguousarray(rgb.transpose(1, 2, 0)))
    whole = PixelMaps(color, boundary, embeddings.astype(np.float32), *coarse)
    expected = region_statistics(labels, graph_of_maps(labels, whole), whole)
    monkeypatch.setattr(maps_module, "_WHOLE_PIXELS", 0)
    monkeypatch.setattr(maps_module, "STRIP_PIXELS", 300)
    found = region_statistics(labels, graph_of_maps(labels, stored), stored)
    for name in ("nodes", "edges", "bbox", "sizes"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, err_msg=name)


def test_what_is_not_valid_is_frame_and_nothing_else():
    rng = np.random.default_rng(0)
    coarse = np.arange(30, dtype=np.int32).reshape(6, 5)
    part = np.kron(coarse, np.ones((5, 6), np.int32)).astype(np.int32)
    part[12:14, 7:25] = -1
    boundary, empty = rng.random(part.shape, np.float32), np.zeros((0, *part.shape), np.float32)
    maps = PixelMaps(rng.random((3, *part.shape), np.float32), boundary, empty, valid=part >= 0)
    padded = np.pad(part, 1, constant_values=-1)
    sides = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    perimeter = sum(np.bincount(part[(side != part) & (part >= 0)], minlength=30) for side in sides)
    graph = graph_of_maps(part, maps, is_connected=False)
    nodes = region_statistics(part, graph, maps).nodes
    np.testing.assert_array_equal(nodes[:, 1], perimeter)
    np.testing.assert_array_equal(nodes[:, 0], np.bincount(part[part >= 0]))
