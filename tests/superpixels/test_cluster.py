import heapq
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import TypeCheckError
from scipy import ndimage

from supercuts.core.errors import InputError
from supercuts.images.convert import lab_tables
from supercuts.networks import maps as maps_module
from supercuts.networks.maps import PixelMaps, color_maps
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels import grid as grid_module
from supercuts.superpixels._kernels import cluster as _kernels
from supercuts.superpixels.cluster import (
    ClusterConfig,
    Superpixels,
    adapted,
    cluster,
    moved_labels,
    shift_between,
)
from supercuts.superpixels.grid import Grid, cell_labels, make_grid

SSN_CONFIG = SSNConfig()
shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)


def components_by_scipy(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the 4-connected components of equal labels, numbered in scan order, and their number."""
    components, n = np.zeros(labels.shape, int), 0
    for value in np.unique(labels):
        actual, count = ndimage.label(labels == value)
        components[actual > 0] = actual[actual > 0] + n
        n += count
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(labels.shape), n


def random_maps(height: int, width: int, channels: int, seed: int) -> PixelMaps:
    rng = np.random.default_rng(seed)
    lab = rng.uniform(0, 100, (3, height, width)).astype(np.float32)
    boundary = rng.uniform(0, 1, (height, width)).astype(np.float32)
    return PixelMaps(lab, boundary, rng.normal(0, 1, (channels, height, width)).astype(np.float32))


def run(maps: PixelMaps, n_cells: int) -> Superpixels:
    return cluster(maps, n_cells, ClusterConfig(), SSN_CONFIG)


# the kernels


NO_MASK = np.zeros((0, 0), bool)


def flattest_near_centers(boundary, rows, cols, search):
    seeds = np.empty((rows * cols, 2), np.int64)
    _kernels.flattest_near_centers(boundary, 0, NO_MASK, boundary.shape, (rows, cols), (0, rows), search, seeds)
    return seeds


def keep_cores(labels, is_core, seeds, n_labels):
    cores = np.where(is_core, labels, -1 - labels).astype(np.int32)
    _kernels.keep_cores(cores, NO_MASK, seeds, n_labels)
    return cores


def grow(cores, step_cost, features, centers, weight, cap, highest):
    grown, (height, width) = cores.copy(), cores.shape
    placed = np.concatenate([np.zeros((len(centers), 2), np.float32), centers], axis=1)  # places are not compared
    maps = np.zeros((0, height, width), np.float32), np.zeros((height, width, 0), np.uint8), features
    scales = np.float32(1), np.float32(0), np.float32(1), 1
    _kernels.grow(grown, placed, maps, scales, lab_tables(), (step_cost, weight, cap, highest))
    return grown


@given(labels=hnp.arrays(np.int32, shapes, elements=st.integers(-2, 2)))
def test_components_match_scipy_in_scan_order(labels):
    components, n = _kernels.label_components(labels)
    expected, n_expected = components_by_scipy(labels)
    assert n == n_expected
    np.testing.assert_array_equal(components, expected)


def test_components_that_meet_late_are_one():
    labels = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]], np.int32)
    components, n = _kernels.label_components(labels)
    np.testing.assert_array_equal(components, [[0, 1, 0, 2, 0], [0, 1, 0, 2, 0], [0, 0, 0, 0, 0]])
    assert n == 3


@given(
    boundary=hnp.arrays(np.float32, shapes, elements=st.floats(0, 1, width=16)),
    search=st.integers(0, 3),
    data=st.data(),
)
def test_seeds_are_the_flattest_pixels_near_the_middle_of_their_cell(boundary, search, data):
    height, width = boundary.shape
    grid = Grid(height, width, data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    seeds = flattest_near_centers(boundary, grid.rows, grid.cols, search)
    cells = cell_labels(grid)
    for cell, (y, x) in enumerate(seeds):
        assert cells[y, x] == cell
        ys, xs = np.nonzero(cells == cell)
        middle_y, middle_x = (ys.min() + ys.max()) // 2, (xs.min() + xs.max()) // 2
        is_near = (np.abs(ys - middle_y) <= search) & (np.abs(xs - middle_x) <= search)
        assert boundary[y, x] == boundary[ys, xs][is_near].min()
        assert max(abs(y - middle_y), abs(x - middle_x)) <= search


def test_a_flat_cell_is_seeded_in_its_middle():
    seeds = flattest_near_centers(np.zeros((6, 10), np.float32), 2, 2, 5)
    assert seeds.tolist() == [[1, 2], [1, 7], [4, 2], [4, 7]]


def test_cores_match_hand_worked_map():
    labels = np.array([[0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [2, 2, 2, 2, 2]], np.int32)
    is_core = np.array([[1, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]], bool)
    cores = keep_cores(labels, is_core, np.array([[0, 0], [0, 4], [2, 2]]), 3)
    # label 0 keeps the left pair, label 1 the right three, label 2 has no core and keeps its seed
    np.testing.assert_array_equal(cores, [[0, -1, -1, 1, 1], [0, -1, -1, -1, 1], [-1, -1, 2, -1, -1]])


def test_a_seed_on_anothers_only_core_pixel_loses_neither():
    labels = np.array([[1, 1, 1, 0, 0, 0]], np.int32)
    is_core = np.array([[1, 0, 0, 1, 0, 0]], bool)
    # label 2 has no core, its seed takes the core of 1, whose seed takes the core of 0
    cores = keep_cores(labels, is_core, np.array([[0, 5], [0, 3], [0, 0]]), 3)
    np.testing.assert_array_equal(cores, [[2, -1, -1, 1, -1, 0]])


@given(data=st.data(), shape=shapes)
def test_no_label_loses_its_core(data, shape):
    n_pixels = shape[0] * shape[1]
    n_labels = data.draw(st.integers(1, n_pixels))
    labels = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, n_labels - 1)))
    is_core = data.draw(hnp.arrays(bool, shape))
    order = data.draw(st.permutations(range(n_pixels)))[:n_labels]
    seeds = np.stack(np.unravel_index(np.array(order), shape), axis=1)
    cores = keep_cores(labels, is_core, seeds, n_labels)
    assert set(np.unique(cores[cores >= 0])) == set(range(n_labels))
    is_seed = np.zeros(shape, bool)
    is_seed[seeds[:, 0], seeds[:, 1]] = True
    assert ((cores < 0) | (is_core & (cores == labels)) | is_seed).all()


def grow_slowly(cores, step_cost, features, centers, feature_weight, feature_cap):
    """Return Dijkstra's labels and distances on a binary heap."""
    height, width = cores.shape
    labels, distances, heap = cores.copy(), np.zeros(cores.shape, np.int64), []

    def offer_neighbours(y0, x0, label, base):
        for y, x in ((y0 - 1, x0), (y0 + 1, x0), (y0, x0 - 1), (y0, x0 + 1)):
            if 0 <= y < height and 0 <= x < width and labels[y, x] < 0:
                squared = sum((float(f) - float(s)) ** 2 for f, s in zip(features[y, x], centers[label], strict=True))
                cost = int(step_cost[y, x] + feature_weight * min(squared, feature_cap))
                heapq.heappush(heap, (base + cost, y, x, label))

    for y, x in np.argwhere(cores >= 0):
        offer_neighbours(y, x, cores[y, x], 0)
    while heap:
        distance, y, x, label = heapq.heappop(heap)
        if labels[y, x] < 0:
            labels[y, x], distances[y, x] = label, distance
            offer_neighbours(y, x, label, distance)
    return labels, distances


@pytest.mark.parametrize("seed", range(6))
def test_growth_matches_dijkstra_on_a_heap(seed):
    rng = np.random.default_rng(seed)
    height, width, n_labels = 11, 14, 6
    cores = np.full((height, width), -1, np.int32)
    cores.flat[rng.choice(cores.size, n_labels, replace=False)] = np.arange(n_labels)
    # costs so diverse that no two paths tie: the labels are then determined
    step_cost = rng.integers(1, 30_000, (height, width)).astype(np.int32)
    features = rng.integers(-3, 4, (height, width, 2)).astype(np.float32)
    centers = rng.integers(-3, 4, (n_labels, 2)).astype(np.float32)
    weight, cap = 500.0, 20.0
    grown = grow(cores, step_cost, features, centers, weight, cap, 30_000 + int(weight * cap))
    expected, _ = grow_slowly(cores, step_cost, features, centers, weight, cap)
    np.testing.assert_array_equal(grown, expected)


def test_growth_goes_round_a_wall_by_hand():
    cores = np.array([[0, -1, -1, -1, -1], [-1, -1, -1, -1, 1]], np.int32)
    step_cost = np.array([[1, 90, 1, 1, 1], [1, 1, 1, 1, 1]], np.int32)
    nothing = np.zeros((2, 5, 1), np.float32), np.zeros((2, 1), np.float32)
    grown = grow(cores, step_cost, *nothing, 0.0, 0.0, 100)
    # label 0 walks below the wall and meets label 1 two steps on; the wall itself is nearest from the corner
    np.testing.assert_array_equal(grown, [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1]])


def test_growth_prefers_the_label_whose_features_fit():
    cores = np.array([[0, -1, -1, -1, 1]], np.int32)
    features = np.array([[[0], [9], [9], [9], [9]]], np.float32)
    flat = np.ones((1, 5), np.int32)
    grown = grow(cores, flat, features, np.array([[0], [9]], np.float32), 1.0, 50.0, 51)
    np.testing.assert_array_equal(grown, [[0, 1, 1, 1, 1]])


@given(data=st.data(), shape=shapes)
def test_growth_labels_every_pixel_and_keeps_labels_connected(data, shape):
    n_pixels = shape[0] * shape[1]
    n_labels = data.draw(st.integers(1, min(n_pixels, 5)))
    cores = np.full(shape, -1, np.int32)
    cores.flat[data.draw(st.permutations(range(n_pixels)))[:n_labels]] = np.arange(n_labels)
    step_cost = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(1, 4)))  # many ties
    features, centers = np.zeros((*shape, 1), np.float32), np.zeros((n_labels, 1), np.float32)
    grown = grow(cores, step_cost, features, centers, 0.0, 0.0, 4)
    assert (grown[cores >= 0] == cores[cores >= 0]).all()
    assert (grown >= 0).all()
    assert components_by_scipy(grown)[1] == n_labels


# the superpixels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("height", "width", "channels", "n_cells"),
    [(1, 1, 0, 1), (1, 9, 2, 4), (13, 17, 0, 20), (13, 17, 4, 20), (6, 8, 3, 48), (20, 30, 3, 1)],
)
def test_superpixels_are_components_in_scan_order_at_least_one_a_cell(height, width, channels, n_cells, seed):
    superpixels = run(random_maps(height, width, channels, seed), n_cells)
    assert superpixels.labels.shape == (height, width)
    expected, n = components_by_scipy(superpixels.labels)
    np.testing.assert_array_equal(superpixels.labels, expected)
    assert superpixels.n == n
    assert n >= make_grid(height, width, n_cells).n_cells


def test_a_flat_image_gives_one_superpixel_a_cell_of_about_its_size():
    maps = PixelMaps(
        np.full((3, 40, 60), 50, np.float32), np.zeros((40, 60), np.float32), np.zeros((2, 40, 60), np.float32)
    )
    superpixels = run(maps, 24)
    assert superpixels.n == 24
    areas = np.bincount(superpixels.labels.ravel())
    assert areas.max() <= 2 * 100
    assert areas.min() >= 100 / 2


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("contrast", [0, 20])
def test_no_superpixel_crosses_a_strong_boundary(contrast, transposed):
    height, width, line = 40, 60, slice(27, 29)  # inside a column of cells, two pixels wide as the network draws it
    rng = np.random.default_rng(0)
    lab = rng.normal(50, 2, (3, height, width)).astype(np.float32)
    lab[0, :, 28:] += contrast
    boundary = np.full((height, width), 0.02, np.float32)
    boundary[:, line] = 1
    sides = np.repeat([0, -1, 1], [27, 2, width - 29])[None].repeat(height, 0)
    if transposed:
        lab, boundary, sides = lab.transpose(0, 2, 1).copy(), boundary.T.copy(), sides.T
    superpixels = run(PixelMaps(lab, boundary, np.zeros((0, *boundary.shape), np.float32)), 24)
    left, right = (set(superpixels.labels[sides == side]) for side in (0, 1))
    assert len(left) >= 8
    assert len(right) >= 8
    assert left.isdisjoint(right)


def test_the_result_is_the_same_at_every_run_and_number_of_threads():
    maps = random_maps(48, 64, 16, seed=0)
    before = torch.get_num_threads()
    results = []
    try:
        for n_threads in (1, 1, 2):
            torch.set_num_threads(n_threads)
            results.append(run(maps, 60).labels)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_a_callers_autocast_changes_nothing():
    maps = random_maps(24, 32, 8, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = run(maps, 20).labels
    np.testing.assert_array_equal(inside, run(maps, 20).labels)


def test_the_maps_are_not_written_to():
    maps = random_maps(13, 17, 2, seed=0)
    copies = [maps.color.copy(), maps.boundary.copy(), maps.embeddings.copy()]
    run(maps, 10)
    for one, copy in zip((maps.color, maps.boundary, maps.embeddings), copies, strict=True):
        np.testing.assert_array_equal(one, copy)


@pytest.mark.parametrize("n_cells", [0, 13])
def test_impossible_numbers_of_cells_are_refused(n_cells):
    with pytest.raises(
        InputError, match=r"n_cells=.* is outside 1\.\.12\. Ask for between one cell and one cell a pixel"
    ):
        run(random_maps(3, 4, 0, seed=0), n_cells)


def test_constant_bands_change_nothing():
    maps = random_maps(24, 32, 2, seed=0)
    five = PixelMaps(np.concatenate([maps.color, np.zeros((2, 24, 32), np.float32)]), maps.boundary, maps.embeddings)
    one = PixelMaps(maps.color[:1].copy(), maps.boundary, maps.embeddings)
    np.testing.assert_array_equal(run(five, 20).labels, run(maps, 20).labels)
    assert (run(one, 20).labels != run(maps, 20).labels).any()


# the same in strips, and however maps are stored


@pytest.fixture
def stored():
    rng = np.random.default_rng(3)
    rgb = np.kron(rng.integers(0, 256, (7, 9, 3)), np.ones((10, 10, 1))).astype(np.uint8)[:64, :83]
    rgb += rng.integers(0, 8, rgb.shape, dtype=np.uint8) // 2
    boundary = rng.random((64, 83)).astype(np.float32)
    return PixelMaps(rgb.transpose(2, 0, 1), boundary, rng.random((2, 64, 83)).astype(np.float16))


def as_floats(maps: PixelMaps) -> PixelMaps:
    return replace(maps, color=maps.color_rows(0, 64)[0], embeddings=maps.embeddings.astype(np.float32))


@pytest.fixture
def small_strips(monkeypatch):
    """Treat all images as large and their strips as long."""
    monkeypatch.setattr(maps_module, "_WHOLE_PIXELS", 0)
    monkeypatch.setattr(maps_module, "STRIP_PIXELS", 900)
    monkeypatch.setattr(grid_module, "_STRIP_PIXELS", 900)


@pytest.mark.parametrize("n_cells", [1, 7, 60, 900])
def test_strips_and_storage_change_nothing(stored, n_cells, request):
    expected = run(as_floats(stored), n_cells)
    request.getfixturevalue("small_strips")
    for maps in (stored, as_floats(stored)):
        actual = run(maps, n_cells)
        assert actual.n == expected.n
        np.testing.assert_array_equal(actual.labels, expected.labels)


@pytest.mark.parametrize("tolerance", [0.02, 0.2, 1e9])
def test_iterations_end_early_in_strips_too(stored, tolerance, request):
    """Centres of these maps move by 0.3, 0.1, 0.05, ... on average."""
    config, few = ClusterConfig(iterations=30, tolerance=tolerance), ClusterConfig(iterations=2)
    expected = cluster(as_floats(stored), 60, config, SSN_CONFIG).labels
    assert (expected == cluster(stored, 60, few, SSN_CONFIG).labels).all() == (tolerance == 1e9)
    request.getfixturevalue("small_strips")
    np.testing.assert_array_equal(cluster(stored, 60, config, SSN_CONFIG).labels, expected)


@pytest.mark.parametrize(("threads", "scratch"), [(1, 10**9), (3, 10**9), (3, 1)])
def test_threads_and_their_memory_change_nothing(stored, small_strips, monkeypatch, threads, scratch):
    expected = run(stored, 60).labels
    monkeypatch.setattr(grid_module, "thread_count", lambda: threads)
    monkeypatch.setattr(grid_module, "_SCRATCH_BYTES", scratch)
    np.testing.assert_array_equal(run(stored, 60).labels, expected)


@pytest.mark.parametrize("is_large", [False, True])
def test_valid_pixels_that_no_core_reaches_are_superpixels_of_their_own(stored, is_large, request):
    if is_large:
        request.getfixturevalue("small_strips")
    valid = np.zeros(stored.shape, bool)
    valid[5:9, 5:9] = valid[20, 30] = valid[21, 31] = True  # the last two touch at a corner alone
    actual = run(color_maps(np.ascontiguousarray(stored.color.transpose(1, 2, 0)), valid=valid), 4)
    np.testing.assert_array_equal(actual.labels >= 0, valid)
    assert actual.n == actual.labels.max() + 1 == 3
    assert np.unique(actual.labels[5:9, 5:9]).size == 1
    assert actual.labels[20, 30] != actual.labels[21, 31]


def test_more_offers_than_there_is_room_for_at_first(monkeypatch):
    rng = np.random.default_rng(0)
    shape = (600, 900)  # a core in the middle of flat pixels, with a long front
    cores = np.full(shape, -1, np.int32)
    cores[300, 450] = 0
    steps = rng.integers(1, 9, shape).astype(np.int32)
    grown = grow(cores, steps, np.zeros((*shape, 1), np.float32), np.zeros((1, 1), np.float32), 0.0, 0.0, 9)
    assert not grown.any()


def test_superpixels_are_frozen_int32_and_compare_by_identity():
    labels = np.zeros((2, 2), np.int32)
    superpixels = Superpixels(labels, 1)
    assert superpixels != Superpixels(labels, 1)
    with pytest.raises(FrozenInstanceError):
        superpixels.n = 2
    with pytest.raises(TypeCheckError):
        Superpixels(labels.astype(np.int64), 1)


@pytest.mark.parametrize("step", [(0, 0), (3, -2), (-4, 5)])
def test_labels_follow_the_shift_of_a_frame(step):
    picture = np.random.default_rng(0).random((40, 50, 2), np.float32)
    labels = np.arange(2000, dtype=np.int32).reshape(40, 50)
    before, now = picture[8:32, 8:40], picture[8 + step[0] : 32 + step[0], 8 + step[1] : 40 + step[1]]
    offset = shift_between(now, before)
    assert tuple(offset) == step
    moved = moved_labels(labels[8:32, 8:40], np.ones((24, 32), bool), offset)
    expected = labels[8 + step[0] : 32 + step[0], 8 + step[1] : 40 + step[1]]
    np.testing.assert_array_equal(moved[moved >= 0], expected[moved >= 0])
    assert (moved < 0).sum() == 24 * 32 - (24 - abs(step[0])) * (32 - abs(step[1]))


def test_frames_without_a_common_part_are_not_shifted():
    flat = np.full((6, 8, 1), 0.5, np.float32)
    assert shift_between(flat, flat).tolist() == [0, 0]
    assert shift_between(flat * 0, flat).tolist() == [0, 0]


def test_superpixels_adapt_to_values_and_fill_the_frame():
    values = np.zeros((6, 12, 1), np.float32)
    values[:, 8:] = 100
    labels = np.full((6, 12), -1, np.int32)
    labels[:, :6], labels[:, 7:11] = 0, 1  # the border is two columns too far left
    valid = np.ones((6, 12), bool)
    valid[0, 0] = False
    adapted_labels = adapted(labels, values, valid, scale=0.1, iterations=5)
    assert (adapted_labels[:, 8:] == 1).all()
    assert (adapted_labels[:, :8][valid[:, :8]] == 0).all()
    assert adapted_labels[0, 0] == -1
    assert adapted(np.full((2, 2), -1, np.int32), values[:2, :2], np.ones((2, 2), bool), 1.0, 1).max() == 0
