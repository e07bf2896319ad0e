import numpy as np
import pytest

from supercuts.core.errors import ImageError, InputError
from supercuts.images.convert import as_stored, check_range, preview, stretched, to_bands, to_bytes, to_rgb, to_unit
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
