import numpy as np
import pytest
from skimage.color import rgb2lab

from supercuts.core.errors import ImageError, InputError
from supercuts.images.convert import (
    as_stored,
    check_range,
    color_features,
    oklch_to_rgb,
    preview,
    rgb_to_lab,
    stretched,
    to_bands,
    to_bytes,
    to_rgb,
    to_unit,
)
from supercuts.images.raster import Raster


def ramp(dtype, low, high, n_bands=1):
    values = np.linspace(low, high, 40 * 50 * n_bands).reshape(n_bands, 40, 50).transpose(1, 2, 0)
    return Raster(values.astype(dtype))


@pytest.mark.parametrize(
    ("dtype", "low", "high", "is_stretched"),
    [
        ("uint8", 0, 255, False),
        ("uint8", 100, 130, False),
        ("uint8", 100, 120, True),
        ("uint16", 0, 65535, False),
        ("uint16", 0, 4095, True),  # 12 bits
        ("uint16", 0, 7000, False),
        ("int16", 200, 3000, True),  # metres
        ("int16", -20000, 20000, True),
        ("int32", 0, 10, True),
        ("uint32", 0, 2**31, True),
        ("float32", 0, 1, False),
        ("float32", 0.2, 0.25, True),
        ("float32", -11, 8848, True),
        ("float64", 0, 255, True),
        ("float16", 0, 1, False),
    ],
)
def test_values_are_stretched_where_little_of_their_range_is_used(dtype, low, high, is_stretched):
    raster = ramp(dtype, low, high)
    result, note = stretched(raster)
    assert (note != "") == is_stretched
    if not is_stretched:
        assert result is raster
        return
    assert "--stretch none" in note
    assert "\n" not in note
    ends = np.percentile(raster.values.astype(np.float64), (0.1, 99.9))
    expected = np.clip((raster.values.astype(np.float64) - ends[0]) / (ends[1] - ends[0]), 0, 1)
    np.testing.assert_allclose(result.values / 65535, expected, atol=1e-5)
    assert to_rgb(result).min() == 0
    assert to_rgb(result).max() == 255


def test_stretching_is_switched_off_or_chosen():
    raster = ramp("uint16", 0, 4095)
    assert stretched(raster, "none") == (raster, "")
    wide = ramp("uint8", 50, 200)
    np.testing.assert_allclose(stretched(wide, "minmax")[0].values / 65535, (wide.values - 50.0) / 150, atol=1e-5)
    assert stretched(wide, "percentile")[0].values.max() == 65535
    with pytest.raises(InputError, match=r"stretch"):
        stretched(raster, "gamma")


@pytest.mark.parametrize("value", [0, 7, 255])
def test_one_value_alone_is_left_as_it_is(value):
    raster = Raster(np.full((4, 5, 3), value, np.uint8))
    assert stretched(raster) == (raster, "")
    assert stretched(Raster(np.full((4, 5, 1), 300.0)))[0].values.max() == 0
    around = np.full((4, 5, 1), 300.0)
    around[0] = 0  # nodata
    with np.errstate(all="raise"):
        assert stretched(Raster(around, around[..., 0] > 0))[0].values.max() == 0


def test_only_valid_values_decide():
    values = np.linspace(0, 1, 2000).reshape(40, 50, 1).astype(np.float32)
    values[:5] = -9999
    valid = np.ones((40, 50), bool)
    valid[:5] = False
    raster = Raster(values, valid)
    assert stretched(raster)[1] == ""
    check_range(raster)
    with pytest.raises(ImageError, match=r"-9999.*normalisation"):
        check_range(Raster(values))
    meters = Raster(np.where(valid[..., None], values * 3000, -9999), valid)
    result, _ = stretched(meters)
    assert to_rgb(result)[valid].max() == 255
    assert to_rgb(result)[valid].min() == 0


def test_colours_keep_their_balance_and_bands_do_not():
    values = np.stack([np.linspace(0, top, 2000).reshape(40, 50) for top in (4000, 2000, 1000)], axis=2).astype("u2")
    joint = stretched(Raster(values, is_rgb=True))[0].values
    np.testing.assert_allclose(joint[-1, -1] / joint[-1, -1, 0], (1, 0.5, 0.25), atol=0.01)
    apart = stretched(Raster(values))[0].values
    assert apart.max(axis=(0, 1)).tolist() == [65535] * 3


@pytest.mark.parametrize("convert", [to_rgb, to_bands, check_range, lambda raster: stretched(raster, "minmax")])
def test_transparency_without_numbers_is_an_error(convert):
    alpha = np.array([[1, np.nan]], np.float32)
    with pytest.raises(ImageError, match="transparency: holds NaN"):
        convert(Raster(np.full((1, 2, 3), 0.5, np.float32), alpha=alpha))


def test_transparency_is_not_stretched():
    raster = Raster(ramp("uint16", 0, 4095).values, alpha=np.full((40, 50), 65535, np.uint16))
    assert (stretched(raster)[0].alpha == 65535).all()
    eight = Raster(ramp("uint8", 0, 9).values, alpha=np.full((40, 50), 51, np.uint8))
    assert (stretched(eight)[0].alpha == 51 * 257).all()


def test_a_few_outliers_do_not_flatten_an_image():
    values = ramp("uint16", 0, 1000).values.copy()
    values[0, 0] = 5000
    result, _ = stretched(Raster(values))
    assert np.median(result.values) > 20_000


def test_bands_and_bytes():
    raster = Raster(np.full((1, 2, 2), 51, np.uint8), alpha=np.full((1, 2), 255, np.uint8))
    assert to_bands(raster).shape == (1, 2, 3)
    assert to_unit(to_bands(raster))[0, 0].tolist() == pytest.approx([0.2, 0.2, 1])
    assert to_bytes(np.array([257, 65535], np.uint16)).tolist() == [1, 255]
    assert as_stored(np.array([[[True]]])).tolist() == [[[255]]]
    assert preview(np.zeros((2, 2, 5), np.float32)).shape == (2, 2, 3)
    with pytest.raises(ImageError, match=r"2 samples a pixel.*Choose 1 .grey. or 3"):
        to_rgb(Raster(np.zeros((2, 2, 2), np.uint8)))


def test_lab_matches_scikit_image_on_a_grid_and_in_the_dark():
    axis = np.arange(0, 256, 5)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(1, -1, 3)
    dark = np.random.default_rng(0).integers(0, 40, (1, 20_000, 3))  # the curve bends most here
    image = np.concatenate([grid, dark], axis=1).astype(np.uint8)
    np.testing.assert_allclose(rgb_to_lab(image), rgb2lab(image), atol=1e-2, rtol=0)


def test_lab_of_known_colours():
    image = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], dtype=np.uint8)
    published = [[[0, 0, 0], [100, 0, 0], [53.24, 80.09, 67.20]]]
    np.testing.assert_allclose(rgb_to_lab(image), published, atol=0.02)


def test_grey_has_no_hue_and_rises_in_lightness():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    lab = rgb_to_lab(ramp)[0]
    assert np.abs(lab[:, 1:]).max() < 0.02
    assert (np.diff(lab[:, 0]) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (0, 4, 3)])
def test_lab_keeps_shape(shape):
    lab = rgb_to_lab(np.zeros(shape, np.uint8))
    assert lab.shape == shape
    assert lab.dtype == np.float32


def test_lab_reads_strided_views():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(rgb_to_lab(image[::2, ::-1]), rgb_to_lab(image)[::2, ::-1])


@pytest.mark.parametrize("image", [np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8)])
def test_lab_refuses_other_arrays(image):
    # the shape checker of the tests refuses first; without it the function does
    with pytest.raises((InputError, TypeError)):
        rgb_to_lab(image)
    with pytest.raises(InputError, match="convert with read_image"):
        getattr(rgb_to_lab, "__wrapped__", rgb_to_lab)(image)


def test_oklch_of_known_colours():
    # white, sRGB red and sRGB blue as published with the colour space; a grey of linear light 0.125 has lightness 0.5
    lch = np.array(
        [[1.0, 0.0, 0.3], [0.5, 0.0, 0.0], [0.62796, 0.25768, 29.234 / 360], [0.45201, 0.31321, 264.052 / 360]]
    )
    grey = round(255 * (1.055 * 0.125 ** (1 / 2.4) - 0.055))
    expected = [[255, 255, 255], [grey, grey, grey], [255, 0, 0], [0, 0, 255]]
    assert grey == 99
    assert np.abs(oklch_to_rgb(lch).astype(int) - expected).max() <= 1


def test_oklch_beyond_srgb_is_clipped():
    colors = oklch_to_rgb(np.array([[0.7, 0.5, 0.1], [1.5, 0.0, 0.0], [-0.1, 0.0, 0.0]]))
    assert colors.shape == (3, 3)
    assert colors[1].tolist() == [255, 255, 255]
    assert colors[2].tolist() == [0, 0, 0]


def test_rgb_is_compared_as_lab():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    features = color_features(image)
    assert features.flags.c_contiguous
    np.testing.assert_array_equal(features, rgb_to_lab(image).transpose(2, 0, 1))


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 7])
def test_bands_are_on_the_scale_of_lightness(bands):
    image = np.random.default_rng(0).random((3, 4, bands)).astype(np.float32)
    features = color_features(image)
    assert features.flags.c_contiguous
    np.testing.assert_allclose(features, 100 * image.transpose(2, 0, 1), rtol=1e-6)
