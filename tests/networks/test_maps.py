import numpy as np
import pytest
from jaxtyping import TypeCheckError

from supercuts.core.errors import InputError
from supercuts.images.convert import color_features
from supercuts.networks import maps as module
from supercuts.networks.maps import PixelMaps, as_half, check_valid, color_maps, precision


def make_maps(**changes: np.ndarray) -> PixelMaps:
    maps = {
        "color": np.zeros((3, 4, 6), np.float32),
        "boundary": np.zeros((4, 6), np.float32),
        "embeddings": np.zeros((5, 4, 6), np.float32),
    }
    return PixelMaps(**(maps | changes))


def test_shape_is_height_and_width():
    assert make_maps().shape == (4, 6)
    assert make_maps(embeddings=np.zeros((0, 4, 6), np.float32)).shape == (4, 6)
    assert make_maps(color=np.zeros((7, 4, 6), np.float32)).shape == (4, 6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"boundary": np.zeros((4, 6))},
        {"boundary": np.zeros((6, 4), np.float32)},
        {"color": np.zeros((4, 6, 3), np.float32)},
        {"embeddings": np.zeros((5, 4, 7), np.float32)},
    ],
    ids=["float64", "transposed", "channels last", "another width"],
)
def test_maps_of_another_kind_or_size_are_refused(wrong):
    with pytest.raises((TypeCheckError, InputError)):
        make_maps(**wrong)


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (37, 20, 3), dtype=np.uint8)


@pytest.fixture
def large(monkeypatch):
    """Treat all images as large."""
    monkeypatch.setattr(module, "_WHOLE_PIXELS", 0)


def test_an_image_is_one_strip_unless_it_is_large(rgb, monkeypatch):
    monkeypatch.setattr(module, "STRIP_PIXELS", 200)
    maps = PixelMaps(rgb.transpose(2, 0, 1), np.zeros((1, 1), np.float32), np.zeros((0, 37, 20), np.float32))
    assert list(maps.strips()) == [(0, 37)]
    monkeypatch.setattr(module, "_WHOLE_PIXELS", 0)
    assert list(maps.strips()) == [(0, 8), (8, 16), (16, 24), (24, 32), (32, 37)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_rows_equal_those_of_the_whole_image(rgb, large, dtype):
    rng = np.random.default_rng(1)
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    bands = (rng.random((37, 20, 2)) * scale).astype(dtype)
    boundary = rng.random((37, 20)).astype(np.float16)
    nothing = np.zeros((0, 37, 20), np.float32)
    maps = PixelMaps(rgb.transpose(2, 0, 1), boundary, nothing, bands=bands.transpose(2, 0, 1))
    assert (maps.n_colors, maps.n_bands) == (5, 2)
    color, first = maps.color_rows(8, 16)
    assert (first, color.shape) == (8, (5, 8, 20))
    np.testing.assert_array_equal(color[:3], color_features(rgb)[:, 8:16])
    np.testing.assert_allclose(color[3:], bands.transpose(2, 0, 1)[:, 8:16] * (100 / scale), rtol=1e-6)
    rows, first = maps.boundary_rows(8, 16)
    np.testing.assert_array_equal(rows, boundary[8 - first : 16 - first] if first == 0 else boundary[8:16])
    of_floats = PixelMaps(color_features(rgb), boundary.astype(np.float32), nothing)
    assert [of_floats.color_rows(8, 16)[1], of_floats.boundary_rows(8, 16)[1]] == [0, 0]
    assert np.shares_memory(of_floats.color_rows(8, 16)[0], of_floats.color)


def test_kernels_look_up_stored_values(rgb):
    embeddings = np.random.default_rng(0).random((19, 10, 4)).astype(np.float16)
    flat = np.zeros((1, 1), np.float32)
    maps = PixelMaps(rgb.transpose(2, 0, 1), flat, embeddings.transpose(2, 0, 1), embedding_stride=2)
    color, bands, bits = maps.looked_up()
    assert np.shares_memory(color, rgb)
    assert np.shares_memory(bits, embeddings)
    assert (bands.shape, bits.dtype) == ((37, 20, 0), np.int16)


def test_without_a_network_there_is_colour_alone(rgb, monkeypatch):
    maps = color_maps(rgb)
    assert (maps.n_valid, maps.n_colors, maps.color.dtype) == (37 * 20, 3, np.float32)
    np.testing.assert_array_equal(maps.color, color_features(rgb))
    assert not maps.boundary_rows(3, 9)[0].any()
    monkeypatch.setattr(module, "_WHOLE_PIXELS", 0)
    stored = color_maps(rgb, rgb[..., :1])
    assert (stored.color.dtype, stored.bands.shape) == (np.uint8, (1, 37, 20))
    np.testing.assert_array_equal(stored.color_rows(0, 37)[0][:3], maps.color)


@pytest.mark.parametrize("whole_pixels", [0, 10**6])
def test_bands_without_rgb_are_colour_in_any_size(monkeypatch, whole_pixels):
    monkeypatch.setattr(module, "_WHOLE_PIXELS", whole_pixels)
    unit = np.random.default_rng(0).random((5, 6, 2), np.float32)
    further = np.full((5, 6, 1), 51, np.uint8)
    maps = color_maps(unit, further)
    assert (maps.n_colors, maps.n_bands if whole_pixels == 0 else 3) == (3, 3)
    color, _ = maps.color_rows(0, 5)
    np.testing.assert_allclose(color[:2], 100 * unit.transpose(2, 0, 1), rtol=1e-6)
    np.testing.assert_allclose(color[2], 20, rtol=1e-6)


def test_size_alone_decides_how_pixels_are_stored():
    assert precision((1000, 2000)) == (1, np.float32, np.float32)
    assert precision((1001, 2000)) == (1, np.float16, np.float32)
    assert precision((5000, 8000)) == (2, np.float16, np.float16)
    assert precision((10000, 8000)) == (4, np.float16, np.float16)


def test_a_mask_of_all_pixels_is_dropped():
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
        between = ((exact[:-1].astype(np.float64) + exact[1:]) / 2).astype(np.float32)  # equally near to both
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
