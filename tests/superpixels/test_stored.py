import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.images.color import color_features
from supercuts.superpixels import stored
from supercuts.superpixels.stored import StoredMaps, as_half, check_valid, without_network


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (37, 20, 3), dtype=np.uint8)


def test_strips_hold_what_the_whole_image_holds(rgb, monkeypatch):
    monkeypatch.setattr(stored, "STRIP_PIXELS", 200)
    rng = np.random.default_rng(1)
    maps = StoredMaps(
        rgb,
        rng.integers(0, 65536, (37, 20, 2), dtype=np.uint16),
        rng.random((37, 20)).astype(np.float32),
        rng.random((4, 19, 10)).astype(np.float16),
        2,
        rng.random((19, 10)).astype(np.float32),
        rng.random((3, 19, 10)).astype(np.float32),
        2,
    )
    strips = list(maps.strips())
    assert [top for top, _ in strips] == [0, 8, 16, 24, 32]
    parts = [maps.rows(top, bottom) for top, bottom in strips]
    color = np.concatenate([part.color for part in parts], axis=1)
    np.testing.assert_array_equal(color[:3], color_features(rgb))
    np.testing.assert_allclose(color[3:], maps.bands.transpose(2, 0, 1) / 655.35, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate([part.boundary for part in parts]), maps.boundary)
    np.testing.assert_array_equal(np.concatenate([part.regions for part in parts], axis=1), maps.regions)
    embeddings = np.concatenate([part.embeddings for part in parts], axis=1)
    expected = maps.embeddings.repeat(2, 1).repeat(2, 2)[:, :37].astype(np.float32)
    np.testing.assert_array_equal(embeddings, expected)
    assert maps.rows(8, 16, n_embedding=0).embeddings.shape == (0, 8, 20)
    np.testing.assert_array_equal(maps.embedding_rows(8, 16, 3), expected[:3, 8:16])


def test_without_a_network_there_is_colour_alone(rgb):
    maps = without_network(rgb)
    assert (maps.n_valid, maps.n_colors) == (37 * 20, 3)
    assert not maps.boundary_rows(3, 9).any()
    assert maps.embedding_rows(3, 9).shape == (0, 6, 20)


def test_a_mask_that_leaves_nothing_out_is_none():
    assert check_valid(None, (2, 2)) is None
    assert check_valid(np.ones((2, 2), bool), (2, 2)) is None
    with pytest.raises(InputError, match=r"mask is bool \(3, 2\); expected bool \(2, 2\)"):
        check_valid(np.ones((3, 2), bool), (2, 2))
    with pytest.raises(InputError, match="nothing to segment"):
        check_valid(np.zeros((2, 2), bool), (2, 2))


def test_as_half_is_numpys_conversion():  # oracle
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):  # infinities and NaN are among them
        exact = every.astype(np.float32)
        between = ((exact[:-1].astype(np.float64) + exact[1:]) / 2).astype(np.float32)  # as near to both
        bits = rng.integers(0, 1 << 32, 300_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
        beside = [np.nextafter(between, np.float32(end)) for end in (-np.inf, np.inf)]
        values = np.concatenate([exact, between, *beside, bits])
        expected = values.astype(np.float16)
    result = as_half(values)
    np.testing.assert_array_equal(result, expected)  # NaN where NaN
    is_number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(result[is_number]), np.signbit(expected[is_number]))


def test_as_half_takes_parts_of_arrays():
    values = np.random.default_rng(0).random((3, 7, 9), dtype=np.float32)[:, 1:6:2, ::2]
    result = as_half(values)
    np.testing.assert_array_equal(result, values.astype(np.float16))
