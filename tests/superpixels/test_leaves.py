from dataclasses import replace

import numpy as np
import pytest

from supercuts.graph.rag import graph_and_statistics
from supercuts.merging.affinity import AffinityConfig, feature_names
from supercuts.merging.agglomerative import LinkageConfig
from supercuts.networks.maps import PixelMaps, color_maps, halved_pixels
from supercuts.networks.predict import predict
from supercuts.settings import PIXEL_CONFIG
from supercuts.superpixels.leaves import doubled, halved, is_halved, make_leaves
from supercuts.training.affinity import by_boundary


@pytest.fixture
def maps():
    image = np.random.default_rng(0).integers(0, 40, (30, 44, 3)).astype(np.uint8)
    image[:, 22:] += 180
    return predict(image, None)


@pytest.mark.parametrize("n_leaves", [1, 7, 60, 30 * 44])
def test_exactly_the_requested_number_of_leaves(maps, n_leaves):
    labels = make_leaves(maps, n_leaves, None, PIXEL_CONFIG)
    assert np.array_equal(np.unique(labels), np.arange(n_leaves))


def test_no_leaf_leaves_its_cell(maps):
    cells = (np.arange(30)[:, None] // 15 * 2 + np.arange(44) // 11 % 2).astype(np.int32)
    labels = make_leaves(maps, 40, None, PIXEL_CONFIG, cells)
    assert labels.max() == 39
    assert all(np.unique(cells[labels == i]).size == 1 for i in range(40))


@pytest.mark.parametrize("is_in_cells", [False, True])
def test_the_affinity_decides_which_superpixels_merge(maps, is_in_cells):
    boundary = np.full(maps.shape, 0.05, np.float32)
    boundary[14:16] = 0.95  # only the affinity sees this border: both sides have the same colour
    maps = replace(maps, color=np.zeros_like(maps.color), boundary=boundary)
    cells = np.repeat([[0] * 40 + [1] * 4], 30, axis=0).astype(np.int32) if is_in_cells else None
    blind = LinkageConfig(boundary=0.0, color=1.0)
    config = PIXEL_CONFIG.model_copy(update={"leaves": blind, "affinity": AffinityConfig(small_exponent=0)})
    statistics = graph_and_statistics(make_leaves(maps, 9, None, config), maps)[1]
    affinity = by_boundary(len(feature_names(statistics)))
    labels = make_leaves(maps, 9, None, config, cells, affinity)
    assert labels.max() + 1 == 9
    assert np.intersect1d(labels[:13], labels[17:]).size == 0
    if cells is not None:
        assert all(np.unique(cells[labels == i]).size == 1 for i in range(9))


def means(values, valid=None):
    """The mean of each 2 x 2 pixels that count, 0 of none, as float64; the last line of an odd side counts twice."""
    height, width = values.shape[:2]
    valid = np.ones((height, width), bool) if valid is None else valid
    ends = (0, height % 2), (0, width % 2)
    padded = np.pad(values.astype(np.float64) * valid[..., None], (*ends, (0, 0)), mode="edge")
    counts = np.pad(valid.astype(int), ends, mode="edge")
    total, n = (sum(item[y::2, x::2] for y in (0, 1) for x in (0, 1)) for item in (padded, counts))
    return total / np.maximum(n, 1)[..., None]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(6, 8, 3), (7, 5, 2), (1, 1, 1), (4, 3, 0)])
@pytest.mark.parametrize("is_masked", [False, True])
def test_pixels_are_means_of_valid_ones(dtype, shape, is_masked):
    rng = np.random.default_rng(0)
    largest = 1 if dtype == np.float32 else np.iinfo(dtype).max
    values = (rng.random(shape) * largest).round(0 if largest > 1 else 9).astype(dtype)
    valid = rng.random(shape[:2]) > 0.6 if is_masked else None
    half = halved_pixels(values, valid)
    assert half.dtype == dtype
    expected = means(values, valid)
    np.testing.assert_allclose(half, expected if largest == 1 else np.floor(expected + 0.5), rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_maps_of_half_the_size(stride, dtype):
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (601, 37, 3), np.uint8)  # more rows than are worked on at once
    valid = rng.random((601, 37)) > 0.8
    embeddings = rng.random((4, -(-601 // stride), -(-37 // stride))).astype(np.float16)
    boundary = rng.random((601, 37)).astype(dtype)
    strength = np.zeros((301, 19), np.float32)
    stored = rgb.transpose(2, 0, 1)
    maps = PixelMaps(stored, boundary, embeddings, strength, strength[None], 2, stride, stored[:1], valid)
    half = halved(maps)
    assert half.shape == (301, 19)
    assert half.boundary.dtype == dtype
    np.testing.assert_array_equal(half.color.transpose(1, 2, 0), np.floor(means(rgb, valid) + 0.5))
    np.testing.assert_array_equal(half.bands[0], half.color[0])
    np.testing.assert_allclose(
        half.boundary, means(boundary[..., None])[..., 0], atol=1e-3 if dtype == np.float16 else 0, rtol=1e-6
    )
    np.testing.assert_array_equal(half.valid, means(valid[..., None])[..., 0] > 0)
    assert half.embedding_stride == 1
    if stride == 2:
        assert half.embeddings is embeddings
    else:
        expected = means(embeddings.transpose(1, 2, 0)).transpose(2, 0, 1)
        np.testing.assert_allclose(half.embeddings, expected, atol=1e-3)
    np.testing.assert_array_equal(half.strength, maps.strength)  # one value for 2 x 2 pixels: as it is
    assert (half.region_stride, half.regions.shape) == (1, (1, 301, 19))
    assert (halved(half).region_stride, halved(half).regions.shape) == (1, (1, 151, 10))


def test_a_boundary_that_is_the_same_everywhere_stays_so():
    maps = color_maps(np.zeros((5, 6, 3), np.uint8))
    assert halved(maps).boundary.shape == (1, 1)
    assert halved(maps).valid is None


@pytest.mark.parametrize("shape", [(5, 8), (6, 7), (1, 1)])
def test_labels_cover_four_pixels(shape):
    labels = np.arange(-(-shape[0] // 2) * -(-shape[1] // 2), dtype=np.int32).reshape(-(-shape[0] // 2), -1)
    np.testing.assert_array_equal(doubled(labels, shape), labels.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]])


def test_large_images_alone_are_halved_while_cells_keep_pixels():
    assert not is_halved((1000, 2000), 1)
    assert is_halved((1001, 2000), 1955)
    assert not is_halved((1001, 2000), 1956)
