from dataclasses import fields, replace

import jaxtyping
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.graph.rag import (
    LIMITS,
    N_BINS,
    RegionGraph,
    build_rag,
    contract,
    contract_statistics,
    graph_and_statistics,
    graph_of_maps,
    grouped_means,
    region_means,
)
from supercuts.images.convert import color_features
from supercuts.networks import maps as maps_module
from supercuts.networks.maps import PixelMaps
from supercuts.superpixels._kernels import cluster as _kernels

FIELDS = [field.name for field in fields(RegionGraph)]


def maps_of(shape, n_channels=2, seed=0, n_bands=3):
    """Return random boundary, colour and embedding maps."""
    rng = np.random.default_rng(seed)
    boundary = rng.random(shape, np.float32)
    color = 100 * rng.random((n_bands, *shape), np.float32)
    return boundary, color, rng.random((n_channels, *shape), np.float32)


def in_order(boundary, color, embeddings, **more):
    return PixelMaps(color, boundary, embeddings, **more)


@st.composite
def pictures(draw):
    """Draw labels whose ids are all present, in any order and in any number of pieces, and their maps."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=7))
    labels, _ = relabel_consecutive(draw(arrays(np.int64, shape, elements=st.integers(0, 7))))
    return labels, *maps_of(shape, draw(st.integers(0, 3)), draw(st.integers(0, 99)), draw(st.integers(1, 5)))


def neighbor_pairs(labels):
    height, width = labels.shape
    for y, x in np.ndindex(labels.shape):
        if x + 1 < width:
            yield (y, x), (y, x + 1)
        if y + 1 < height:
            yield (y, x), (y + 1, x)


def slow_rag(labels, boundary, lab, embeddings):
    """Return every field, pixel pair by pixel pair and region by region."""
    crossings = {}
    for p, q in neighbor_pairs(labels):
        if labels[p] != labels[q]:
            pair = tuple(sorted((int(labels[p]), int(labels[q]))))
            crossings.setdefault(pair, []).append((float(boundary[p]) + float(boundary[q])) / 2)
    edges = sorted(crossings)
    pixels = [np.nonzero(labels == i) for i in range(labels.max() + 1)]
    color = np.array([lab[:, ys, xs].mean(axis=1, dtype=float) for ys, xs in pixels])
    embedding = np.array([embeddings[:, ys, xs].mean(axis=1, dtype=float) for ys, xs in pixels])
    return {
        "edges": np.array(edges, int).reshape(-1, 2),
        "border_length": [len(crossings[pair]) for pair in edges],
        "boundary": [np.mean(crossings[pair]) for pair in edges],
        "color_distance": [np.linalg.norm(color[i] - color[j]) for i, j in edges],
        "embedding_distance": [np.linalg.norm(embedding[i] - embedding[j]) for i, j in edges],
        "area": [ys.size for ys, _ in pixels],
        "centroid_yx": [(ys.mean(), xs.mean()) for ys, xs in pixels],
        "bbox": [(ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) for ys, xs in pixels],
        "color": color,
        "embedding": embedding,
        "embedding_variance": [embeddings[:, ys, xs].astype(float).var(axis=1).sum() for ys, xs in pixels],
    }


def assert_same(graph, expected, message=""):
    assert expected.keys() == set(FIELDS)
    for name, values in expected.items():
        got = getattr(graph, name)
        assert got.shape == np.shape(values) or np.size(values) == 0 == got.size, name
        np.testing.assert_allclose(got, np.reshape(values, got.shape), rtol=1e-5, atol=1e-4, err_msg=message + name)


def as_dict(graph):
    return {name: getattr(graph, name) for name in FIELDS}


@pytest.fixture
def as_installed():
    """Switch the array annotations off, as outside the tests, to reach our own error messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_hand_worked_picture():
    labels = np.array([[0, 0, 1], [2, 2, 1]], np.int32)
    boundary = np.array([[0.0, 0.2, 0.6], [0.4, 0.8, 1.0]], np.float32)
    lab = np.zeros((3, 2, 3), np.float32)
    lab[0] = [[10, 30, 50], [20, 20, 70]]
    graph = build_rag(labels, boundary, lab, np.zeros((0, 2, 3), np.float32))
    assert graph.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert graph.border_length.tolist() == [1, 2, 1]
    np.testing.assert_allclose(graph.boundary, [0.4, (0.2 + 0.5) / 2, 0.9])
    np.testing.assert_allclose(graph.color_distance, [40, 0, 40])
    np.testing.assert_allclose(graph.centroid_yx, [[0, 0.5], [0.5, 2], [1, 0.5]])
    assert graph.bbox.tolist() == [[0, 0, 1, 2], [0, 2, 2, 3], [1, 0, 2, 2]]


@given(pictures())
def test_every_field_matches_brute_force(picture):
    assert_same(build_rag(*picture), slow_rag(*picture))


def test_many_regions_in_shuffled_order_match_brute_force():
    grid = np.arange(24)[:, None] // 2 * 18 + np.arange(36)[None, :] // 2
    labels = np.random.default_rng(0).permutation(grid.max() + 1)[grid].astype(np.int32)
    picture = (labels, *maps_of(labels.shape))
    assert_same(build_rag(*picture), slow_rag(*picture))


def test_one_region_per_pixel_is_the_grid_graph():
    labels = np.random.default_rng(1).permutation(48 * 40).reshape(48, 40).astype(np.int32)
    graph = build_rag(labels, *maps_of(labels.shape))
    grid = {tuple(sorted((labels[p], labels[q]))) for p, q in nx.grid_2d_graph(48, 40).edges}
    assert list(map(tuple, graph.edges.tolist())) == sorted(grid)
    assert (graph.border_length == 1).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 3)])
def test_one_region_has_no_edges(shape):
    labels = np.zeros(shape, np.int32)
    graph = build_rag(labels, *maps_of(shape))
    assert graph.n_nodes == 1
    assert graph.n_edges == 0
    assert graph.edges.shape == (0, 2)
    assert graph.bbox.tolist() == [[0, 0, *shape]]
    assert_same(contract(graph, np.zeros(1, np.int32)), as_dict(graph))


def test_diagonal_contact_is_not_a_border():
    labels = np.array([[0, 1], [2, 0]], np.int32)
    assert build_rag(labels, *maps_of((2, 2))).edges.tolist() == [[0, 1], [0, 2]]


def test_checkerboard_has_one_edge_of_all_pairs():
    labels = (np.indices((4, 6)).sum(axis=0) % 2).astype(np.int32)
    graph = build_rag(labels, *maps_of((4, 6)))
    assert graph.edges.tolist() == [[0, 1]]
    assert graph.border_length.tolist() == [4 * 5 + 3 * 6]
    assert graph.area.tolist() == [12, 12]


@given(pictures())
def test_transposing_swaps_only_coordinates(picture):
    graph = build_rag(*picture)
    turned = build_rag(*(np.ascontiguousarray(np.swapaxes(values, -1, -2)) for values in picture))
    expected = as_dict(graph) | {"centroid_yx": graph.centroid_yx[:, ::-1], "bbox": graph.bbox[:, [1, 0, 3, 2]]}
    assert_same(turned, expected)


@given(pictures(), st.randoms(use_true_random=False))
def test_contract_equals_the_graph_of_the_merged_labels(picture, random):
    labels, *maps = picture
    graph = build_rag(labels, *maps)
    region, n_regions = relabel_consecutive(np.array([random.randrange(4) for _ in range(graph.n_nodes)]))
    contracted = contract(graph, region)
    assert contracted.n_nodes == n_regions
    assert_same(contracted, as_dict(build_rag(region[labels], *maps)))
    for name in FIELDS:
        assert getattr(contracted, name).dtype == getattr(graph, name).dtype, name


@given(pictures())
def test_contracting_nothing_changes_nothing(picture):
    graph = build_rag(*picture)
    assert_same(contract(graph, np.arange(graph.n_nodes, dtype=np.int32)), as_dict(graph))


@given(pictures(), st.randoms(use_true_random=False))
def test_means_are_those_of_the_graphs(picture, random):
    labels, *maps = picture
    graph = build_rag(*picture)
    region, _ = relabel_consecutive(np.array([random.randrange(4) for _ in range(graph.n_nodes)]))
    for actual, of_graph in (
        (region_means(labels, in_order(*maps)), graph),
        (grouped_means(graph, region), contract(graph, region)),
    ):
        for means, expected in zip(actual, (of_graph.color, of_graph.embedding), strict=True):
            assert means.dtype == np.float32
            np.testing.assert_array_equal(means, expected)


@pytest.mark.parametrize("n_threads", ["1", "2", "4"])
def test_threads_change_nothing(monkeypatch, n_threads):
    picture = np.random.default_rng(0).integers(0, 9, (40, 50)).astype(np.int32), *maps_of((40, 50))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    expected = as_dict(build_rag(*picture))
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    actual = build_rag(*picture)
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(actual, name), values, err_msg=name)


@given(pictures())
def test_neighbors_match_networkx(picture):
    graph = build_rag(*picture)
    starts, ids = graph.neighbors()
    reference = nx.Graph()
    reference.add_nodes_from(range(graph.n_nodes))
    reference.add_edges_from(graph.edges.tolist())
    assert starts[-1] == ids.size == 2 * graph.n_edges
    for i in range(graph.n_nodes):
        assert ids[starts[i] : starts[i + 1]].tolist() == sorted(reference[i])


def test_networkx_graph_carries_every_field():
    labels = np.array([[0, 0, 1], [2, 2, 1], [2, 2, 1]], np.int32)
    graph = build_rag(labels, *maps_of(labels.shape))
    exported = graph.to_networkx()
    assert sorted(exported.nodes) == [0, 1, 2]
    assert sorted(exported.edges) == [(0, 1), (0, 2), (1, 2)]
    for name in ("border_length", "boundary", "color_distance", "embedding_distance"):
        for (i, j), value in zip(graph.edges.tolist(), getattr(graph, name).tolist(), strict=True):
            assert exported.edges[i, j][name] == value
    for node, attributes in exported.nodes(data=True):
        assert attributes.keys() == {"area", "centroid_yx", "bbox", "color", "embedding", "embedding_variance"}
        for name, value in attributes.items():
            np.testing.assert_array_equal(value, getattr(graph, name)[node])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 2]], r"label 1 has no pixel; ids must be 0\.\.2, all present: use relabel_consecutive"),
        ([[0, -1]], "start at -1; expected ids 0"),
        ([[]], "start at none; expected ids 0"),
    ],
)
def test_labels_with_gaps_negative_or_empty_are_refused(labels, message):
    labels = np.array(labels, np.int32)
    maps = maps_of(labels.shape)
    with pytest.raises(InputError, match=message):
        build_rag(labels, *maps)
    with pytest.raises(InputError, match=message):
        region_means(labels, in_order(*maps))


@pytest.mark.parametrize("wrong", range(3))
def test_map_of_another_size_is_refused(as_installed, wrong):
    maps = list(maps_of((2, 3)))
    maps[wrong] = maps[wrong][..., :2]
    with pytest.raises(InputError, match=r"do not fit labels \(2, 3\): give"):
        build_rag(np.zeros((2, 3), np.int32), *maps)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ([0, 2, 2], r"region 1 has no node; ids must be 0\.\.2"),
        ([0, -1, 0], r"must name a region 0\.\.R-1 for each of the 3 nodes"),
        ([0, 1], r"region \(2,\) must name a region"),
    ],
)
def test_contract_refuses_regions_that_do_not_fit(region, message):
    graph = build_rag(np.array([[0, 1, 2]], np.int32), *maps_of((1, 3)))
    with pytest.raises(InputError, match=message):
        contract(graph, np.array(region, np.int32))


def stored_as(maps, kind):
    """Return large maps in another form, and the float32 values that they hold."""
    boundary, _, embeddings = maps
    rgb = np.random.default_rng(1).integers(0, 256, (3, *boundary.shape), dtype=np.uint8)
    half = embeddings.astype(np.float16)
    whole = in_order(boundary, color_features(rgb.transpose(1, 2, 0)), half.astype(np.float32))
    if kind == "coarse":
        half = half[:, ::2, ::2].copy()
        whole = replace(whole, embeddings=half.repeat(2, 1).repeat(2, 2)[:, : len(boundary)].astype(np.float32))
    return PixelMaps(rgb, boundary, half, embedding_stride=2 if kind == "coarse" else 1), whole


def pieces_of(shape):
    coarse = np.random.default_rng(1).integers(0, 3, (11, 8)).astype(np.int32)
    return _kernels.label_components(np.kron(coarse, np.ones((4, 4), np.int32))[: shape[0], : shape[1]])[0]


@pytest.mark.parametrize("kind", ["bytes and halves", "coarse"])
def test_strips_and_storage_change_nothing(monkeypatch, kind):
    stored, whole = stored_as(maps_of((41, 30), 5), kind)
    labels = pieces_of((41, 30))
    expected = graph_of_maps(labels, whole)
    assert_same(expected, as_dict(build_rag(labels, whole.boundary, whole.color, whole.embeddings)))
    monkeypatch.setattr(maps_module, "_WHOLE_PIXELS", 0)
    monkeypatch.setattr(maps_module, "STRIP_PIXELS", 300)
    graph = graph_of_maps(labels, stored)
    for name in FIELDS:
        if kind == "coarse" and name.startswith("embedding"):  # several pixels are added at once
            np.testing.assert_allclose(getattr(graph, name), getattr(expected, name), rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(getattr(graph, name), getattr(expected, name), err_msg=name)
    for actual, of_graph in zip(region_means(labels, stored), (graph.color, graph.embedding), strict=True):
        np.testing.assert_array_equal(actual, of_graph)


def test_masked_pixels_do_not_count():
    part = pieces_of((41, 30)).copy()
    part[16:20, 3:27] = -1
    ids, inverse = np.unique(part, return_inverse=True)
    part = (inverse.reshape(part.shape) - 1).astype(np.int32)
    graph = graph_of_maps(part, in_order(*maps_of((41, 30)), valid=part >= 0), is_connected=False)
    assert graph.n_nodes == ids.size - 1
    assert graph.area.sum() == (part >= 0).sum()
    pairs = np.concatenate(
        [np.stack([part[:, :-1], part[:, 1:]]).reshape(2, -1), np.stack([part[:-1], part[1:]]).reshape(2, -1)], 1
    )
    pairs = np.sort(pairs[:, (pairs[0] != pairs[1]) & (pairs >= 0).all(0)], axis=0)
    edges, length = np.unique(pairs, axis=1, return_counts=True)
    np.testing.assert_array_equal(graph.edges, edges.T)
    np.testing.assert_array_equal(graph.border_length, length)


def test_labels_and_maps_of_different_images_are_refused():
    with pytest.raises(InputError, match="differ in size"):
        graph_of_maps(np.zeros((2, 3), np.int32), in_order(*maps_of((2, 4))))


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
    return graph_and_statistics(labels, maps, is_connected=False)[1]


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
    pairs = [[((0, 1), (0, 2))], [((0, 0), (1, 0)), ((0, 1), (1, 1))], [((1, 1), (1, 2))]]  # edges 01, 02, 12
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
    with pytest.raises(InputError, match=r"labels \(4, 4\) and maps \(4, 5\) differ in size"):
        graph_and_statistics(labels, some_maps((4, 5)))


@pytest.mark.parametrize("seed", range(4))
def test_contracted_statistics_are_those_of_the_contracted_labels(seed):
    rng = np.random.default_rng(seed)
    labels = relabel_consecutive(rng.integers(0, 30, (9, 12)))[0]
    maps = some_maps(labels.shape)
    graph, statistics = graph_and_statistics(labels, maps, is_connected=False)
    region = relabel_consecutive(rng.integers(0, 7, labels.max() + 1))[0]
    contracted = contract_statistics(statistics, graph, region)
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
    _, expected = graph_and_statistics(labels, whole)
    monkeypatch.setattr(maps_module, "_WHOLE_PIXELS", 0)
    monkeypatch.setattr(maps_module, "STRIP_PIXELS", 300)
    _, actual = graph_and_statistics(labels, stored)
    for name in ("nodes", "edges", "bbox", "sizes"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-9, err_msg=name)


def test_masked_pixels_count_as_frame_only():
    rng = np.random.default_rng(0)
    coarse = np.arange(30, dtype=np.int32).reshape(6, 5)
    part = np.kron(coarse, np.ones((5, 6), np.int32)).astype(np.int32)
    part[12:14, 7:25] = -1
    boundary, empty = rng.random(part.shape, np.float32), np.zeros((0, *part.shape), np.float32)
    maps = PixelMaps(rng.random((3, *part.shape), np.float32), boundary, empty, valid=part >= 0)
    padded = np.pad(part, 1, constant_values=-1)
    sides = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    perimeter = sum(np.bincount(part[(side != part) & (part >= 0)], minlength=30) for side in sides)
    nodes = graph_and_statistics(part, maps, is_connected=False)[1].nodes
    np.testing.assert_array_equal(nodes[:, 1], perimeter)
    np.testing.assert_array_equal(nodes[:, 0], np.bincount(part[part >= 0]))
