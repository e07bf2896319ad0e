from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.metrics.superpixel import compactness, n_fragments
from supercuts.networks.maps import PixelMaps
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels._kernels.cluster import label_components
from supercuts.superpixels.cluster import ClusterConfig, SmoothConfig, cluster, smooth


def grid(*rows):
    return np.array([[int(character) for character in row] for row in rows], np.int32)


def flat_maps(shape, lab=None, boundary=None):
    return PixelMaps(
        np.zeros((3, *shape), np.float32) if lab is None else lab.astype(np.float32),
        np.zeros(shape, np.float32) if boundary is None else boundary.astype(np.float32),
        np.zeros((0, *shape), np.float32),
    )


def means(labels, maps):
    ids = np.arange(labels.max() + 1)
    color = np.stack([scipy.ndimage.mean(channel, labels, ids) for channel in maps.color], axis=1).astype(np.float32)
    return color, np.zeros((len(ids), maps.embeddings.shape[0]), np.float32)


def smoothed(labels, maps=None, **config):
    maps = maps or flat_maps(labels.shape)
    return smooth(labels, maps, *means(labels, maps), SmoothConfig(**config))


def energy(labels, maps, color, config):
    """Return the energy that smoothing lowers, from all pairs of neighbours."""
    height, width = labels.shape
    pull = (1 - maps.boundary.astype(float)) ** config.boundary_power
    total = config.color * ((maps.color - color[labels].transpose(2, 0, 1)) ** 2).sum()
    for dy, dx, weight in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, config.diagonal), (1, -1, config.diagonal)):
        for y in range(height - dy):
            for x in range(max(0, -dx), width - max(0, dx)):
                if labels[y, x] != labels[y + dy, x + dx]:
                    total += weight * min(pull[y, x], pull[y + dy, x + dx])
    return total


def test_a_spike_is_cut_off():
    labels = grid("000111", "000111", "001111", "000111", "000111")
    np.testing.assert_array_equal(smoothed(labels), grid(*["000111"] * 5))


@pytest.mark.parametrize("turns", range(4))
def test_colour_moves_a_straight_border_to_either_side(turns):  # its pixels touch the other region on one side alone
    labels = np.rot90(np.repeat([0, 0, 0, 0, 1, 1, 1], 6).reshape(7, 6).astype(np.int32), turns)
    true = np.rot90(np.repeat([0, 0, 0, 1, 1, 1, 1], 6).reshape(7, 6).astype(np.int32), turns)
    maps = flat_maps(labels.shape, np.repeat(true[None] * 60.0, 3, axis=0))
    np.testing.assert_array_equal(smoothed(np.ascontiguousarray(labels), maps), true)


def test_colour_holds_a_spike():
    labels = grid("000111", "000111", "001111", "000111", "000111")
    lab = np.repeat(labels[None] * 60.0, 3, axis=0)
    np.testing.assert_array_equal(smoothed(labels, flat_maps(labels.shape, lab)), labels)


def test_a_boundary_holds_a_spike():
    labels = grid("000111", "000111", "001111", "000111", "000111")
    lab = np.repeat(labels[None] * 6.0, 3, axis=0)  # too alike to hold it alone
    boundary = np.zeros(labels.shape)
    assert smoothed(labels, flat_maps(labels.shape, lab, boundary))[2, 2] == 0
    boundary[1:4, 1:4] = 0.98
    assert smoothed(labels, flat_maps(labels.shape, lab, boundary))[2, 2] == 1


def test_no_superpixel_is_lost_or_broken():
    labels = grid("00000", "02020", "00000", "00100", "00000")
    labels = label_components(labels)[0]
    after = smoothed(labels)
    assert set(after.ravel()) == set(labels.ravel())
    assert n_fragments(after) == 0
    bridge = grid("00100", "00100", "11111", "22122", "22122")  # 1 must stay in one piece
    assert n_fragments(smoothed(label_components(bridge)[0])) == 0


@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.integers(3, 12))
def test_energy_falls_and_superpixels_stay(seed, height, width):
    rng = np.random.default_rng(seed)
    labels = label_components(rng.integers(0, 3, (height, width)).astype(np.int32))[0]
    maps = flat_maps(labels.shape, rng.normal(0, 20, (3, height, width)), rng.random((height, width)))
    color, embedding = means(labels, maps)
    config = SmoothConfig()
    before = labels.copy()
    after = smooth(labels, maps, color, embedding, config)
    np.testing.assert_array_equal(labels, before)
    assert set(after.ravel()) == set(labels.ravel())
    assert n_fragments(after) == 0
    assert energy(after, maps, color, config) <= energy(labels, maps, color, config) + 1e-3
    again = smooth(after, maps, color, embedding, config)
    assert energy(again, maps, color, config) == pytest.approx(energy(after, maps, color, config), abs=1e-3)


def test_embeddings_hold_like_colours():
    labels = grid("000111", "000111", "001111", "000111", "000111")
    embeddings = np.repeat(labels[None] * 20.0, 2, axis=0).astype(np.float32)
    maps = PixelMaps(np.zeros((3, 5, 6), np.float32), np.zeros((5, 6), np.float32), embeddings)
    embedding = np.array([[0, 0], [20, 20]], np.float32)
    color = np.zeros((2, 3), np.float32)
    assert smooth(labels, maps, color, embedding, SmoothConfig())[2, 2] == 1
    assert smooth(labels, maps, color, embedding, SmoothConfig(embedding=0))[2, 2] == 0


def test_borders_become_compact():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:60, :60] + rng.normal(0, 1.5, (2, 60, 60)).round().astype(int)
    labels = label_components((rows.clip(0, 59) // 15 * 4 + columns.clip(0, 59) // 15).astype(np.int32))[0]
    assert compactness(smoothed(labels)) > compactness(labels) + 0.02


def test_no_sweeps_change_nothing():
    labels = grid("001", "011", "001")
    np.testing.assert_array_equal(smoothed(labels, sweeps=0), labels)


def test_inputs_must_fit():
    labels = grid("01", "01")
    maps = flat_maps((2, 2))
    color, embedding = means(labels, maps)
    with pytest.raises(InputError, match="maps of one image"):
        smooth(labels, flat_maps((2, 3)), color, embedding, SmoothConfig())
    with pytest.raises(InputError, match="for every label"):
        smooth(labels, maps, color[:1], embedding[:1], SmoothConfig())
    with pytest.raises(InputError, match="for every label"):
        smooth(labels - 1, maps, color, embedding, SmoothConfig())


def test_constant_bands_change_nothing():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(np.arange(6, dtype=np.int32).reshape(2, 3), 6, axis=0), 6, axis=1)
    edge = 60 * (np.arange(18) >= 8) * np.ones((3, *labels.shape))  # two pixels beside a border of labels
    three = flat_maps(labels.shape, edge + 10 * rng.random((3, *labels.shape)))
    five = flat_maps(labels.shape, np.concatenate([np.full((2, *labels.shape), 7), three.color]))
    expected = smoothed(labels, three)
    assert (expected != labels).any()
    np.testing.assert_array_equal(smoothed(labels, five), expected)


@pytest.mark.parametrize("width", [90, 133, 700])  # one piece of each part in the first sweep, two, eight
def test_threads_change_nothing(monkeypatch, width):
    rng = np.random.default_rng(0)
    shape = (700, width)  # rows for several threads
    maps = flat_maps(shape, 20 * rng.normal(size=(3, *shape)), rng.random(shape))
    labels = cluster(maps, 600, ClusterConfig(), SSNConfig()).labels
    actual = {}
    for n_threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
        actual[n_threads] = smoothed(labels, maps)
    assert (actual["1"] != labels).mean() > 0.02
    np.testing.assert_array_equal(actual["2"], actual["1"])
    np.testing.assert_array_equal(actual["5"], actual["1"])


def test_storage_changes_nothing_and_labels_may_be_written_to(monkeypatch):
    rng = np.random.default_rng(3)
    rgb = np.kron(rng.integers(0, 256, (3, 7, 9)), np.ones((10, 10))).astype(np.uint8)[:, :64, :83]
    boundary, half = rng.random((64, 83), np.float32), rng.random((2, 64, 83)).astype(np.float16)
    stored = PixelMaps(rgb, boundary.astype(np.float16).astype(np.float32), half)
    whole = replace(stored, color=stored.color_rows(0, 64)[0], embeddings=half.astype(np.float32))
    labels = cluster(whole, 60, ClusterConfig(), SSNConfig()).labels
    color, embedding = (rng.random((labels.max() + 1, n), np.float32) for n in (3, 2))
    expected = smooth(labels, whole, color, embedding, SmoothConfig())
    assert (expected != labels).any()
    monkeypatch.setattr("supercuts.networks.maps._WHOLE_PIXELS", 0)
    for maps in (stored, replace(stored, boundary=stored.boundary.astype(np.float16))):
        np.testing.assert_array_equal(smooth(labels, maps, color, embedding, SmoothConfig()), expected)
    actual = smooth(labels, stored, color, embedding, SmoothConfig(), in_place=True)
    assert actual is labels
    np.testing.assert_array_equal(labels, expected)


def test_pixels_that_are_not_valid_stay_so():
    labels = grid("000111", "000111", "001111", "000111", "000111")
    valid = np.ones(labels.shape, bool)
    valid[:2, 2:4] = False
    labels[~valid] = -1
    maps = replace(flat_maps(labels.shape), valid=valid)
    color, embedding = np.zeros((2, 3), np.float32), np.zeros((2, 0), np.float32)
    after = smooth(labels, maps, color, embedding, SmoothConfig())
    np.testing.assert_array_equal(after < 0, ~valid)
    assert after[2, 2] == 0  # the spike is cut off
