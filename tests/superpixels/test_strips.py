import numpy as np
import pytest

from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels import stored, strips
from supercuts.superpixels.cluster import ClusterConfig, cluster
from supercuts.superpixels.result import PixelMaps
from supercuts.superpixels.smooth import SmoothConfig, smooth
from supercuts.superpixels.stored import StoredMaps, without_network
from supercuts.superpixels.strips import cluster_strips, smooth_strips


@pytest.fixture(autouse=True)
def small_strips(monkeypatch):
    monkeypatch.setattr(stored, "STRIP_PIXELS", 900)
    monkeypatch.setattr(strips, "_STRIP_PIXELS", 900)


@pytest.fixture
def maps():
    rng = np.random.default_rng(3)
    rgb = np.kron(rng.integers(0, 256, (7, 9, 3)), np.ones((10, 10, 1))).astype(np.uint8)[:64, :83]
    rgb += rng.integers(0, 8, rgb.shape, dtype=np.uint8) // 2
    boundary = rng.random((64, 83)).astype(np.float32)
    return StoredMaps(rgb, rgb[..., :0], boundary, rng.random((2, 64, 83)).astype(np.float16))


def whole(maps: StoredMaps) -> PixelMaps:
    return maps.rows(0, maps.shape[0])


@pytest.mark.parametrize("n_cells", [1, 7, 60, 900])
def test_superpixels_are_those_of_the_whole_image(maps, n_cells):
    expected = cluster(whole(maps), n_cells, ClusterConfig(), SSNConfig())
    labels, n = cluster_strips(maps, n_cells, ClusterConfig(), SSNConfig())
    assert n == expected.n
    np.testing.assert_array_equal(labels, expected.labels)


@pytest.mark.parametrize("tolerance", [0.02, 0.2, 1e9])
def test_iterations_end_early_in_both(maps, tolerance):
    """Centres of these maps move by 0.3, 0.1, 0.05, ... in the mean."""
    config, few = ClusterConfig(iterations=30, tolerance=tolerance), ClusterConfig(iterations=1)
    expected = cluster(whole(maps), 60, config, SSNConfig()).labels
    np.testing.assert_array_equal(cluster_strips(maps, 60, config, SSNConfig())[0], expected)
    assert (expected == cluster(whole(maps), 60, few, SSNConfig()).labels).all() == (tolerance == 1e9)


@pytest.mark.parametrize(("threads", "scratch"), [(1, 10**9), (3, 10**9), (3, 1)])
def test_threads_and_their_memory_change_nothing(maps, monkeypatch, threads, scratch):
    expected, _ = cluster_strips(maps, 60, ClusterConfig(), SSNConfig())
    monkeypatch.setattr(strips, "thread_count", lambda: threads)
    monkeypatch.setattr(strips, "_SCRATCH_BYTES", scratch)
    np.testing.assert_array_equal(cluster_strips(maps, 60, ClusterConfig(), SSNConfig())[0], expected)


def test_borders_are_smoothed_as_in_the_whole_image(maps):
    labels = cluster(whole(maps), 60, ClusterConfig(), SSNConfig()).labels
    rng = np.random.default_rng(0)
    color, embedding = (rng.random((labels.max() + 1, n), np.float32) for n in (3, 2))
    expected = smooth(labels, whole(maps), color, embedding, SmoothConfig())
    assert (expected != labels).any()
    smooth_strips(labels, maps, color, embedding, SmoothConfig())
    np.testing.assert_array_equal(labels, expected)


def test_valid_pixels_that_no_core_reaches_are_superpixels_of_their_own(maps):
    valid = np.zeros(maps.shape, bool)
    valid[5:9, 5:9] = valid[20, 30] = valid[21, 31] = True  # the last two touch at a corner alone
    labels, n = cluster_strips(without_network(maps.rgb, valid=valid), 4, ClusterConfig(), SSNConfig())
    np.testing.assert_array_equal(labels >= 0, valid)
    assert n == labels.max() + 1 == 3
    assert np.unique(labels[5:9, 5:9]).size == 1
    assert labels[20, 30] != labels[21, 31]
