import numpy as np
import pytest
import torch

from supercuts.core.errors import ImageError, ImageWarning, InputError
from supercuts.images.formats.arrays import (
    as_colors,
    check_axes,
    check_order,
    from_array,
    from_data_array,
    from_tensor,
    is_data_array,
    is_nodata,
    is_tensor,
    open_npy,
    read_npy,
    without_nan,
    without_sentinels,
)

xarray = pytest.importorskip("xarray")


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(1, 255, (20, 30, 5)).astype(np.uint8)


def test_axes_that_are_named_are_followed(values, tmp_path):
    chw = values.transpose(2, 0, 1)
    np.save(tmp_path / "a.npy", chw)
    for raster in (
        from_array(chw, "CHW"),
        from_array(values, "hwc"),
        from_tensor(torch.from_numpy(values), "HWC"),
        from_tensor(torch.from_numpy(chw.copy())),
        read_npy(tmp_path / "a.npy", "chw"),
    ):
        np.testing.assert_array_equal(raster.values, values)
    assert from_array(values[..., 0], "HW").values.shape == (20, 30, 1)
    with pytest.raises(InputError, match=r'axes="HW" names 2 axes'):
        from_array(values, "HW")
    with pytest.raises(InputError, match=r"axes"):
        check_axes("a", "WHC", 3)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 5, 12])
def test_unclear_axes_are_refused(n_channels):
    with pytest.raises(ImageError, match=r'pass array.transpose.*axes="CHW"'):
        check_order(from_array(np.zeros((n_channels, 40, 50))), False)
    check_order(from_array(np.zeros((40, 50, n_channels))), False)
    check_order(from_tensor(torch.zeros(n_channels, 40, 50)), True)
    if n_channels <= 4:
        with pytest.raises(ImageError, match=r'tensor.permute.*axes="HWC"'):
            check_order(from_tensor(torch.zeros(40, 50, n_channels)), True)


def test_masked_arrays_are_valid_where_a_band_is(values):
    masked = np.ma.masked_equal(values, 0)
    masked[2, 3] = np.ma.masked
    masked[4, 5, 0] = np.ma.masked
    assert np.argwhere(~from_array(masked).valid).tolist() == [[2, 3]]
    assert from_array(np.ma.array(values)).valid is None
    chw = from_array(np.moveaxis(masked, -1, 0), "CHW")
    assert np.argwhere(~chw.valid).tolist() == [[2, 3]]
    assert from_array(np.ones((1, 2), np.uint8).view(np.matrix)).values.tolist() == [[[1], [1]]]
    grey = np.ma.masked_greater(np.array([[0.5, 1e20]]), 1)
    assert from_array(grey).values[~from_array(grey).valid].tolist() == [[0]]


def test_missing_values_may_be_several_and_nodata_may_be_text():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    for notes, empty in (({"missing_value": np.array([3, 7, 99])}, [3, 7]), ({"_FillValue": "5"}, [5])):
        raster = from_data_array(xarray.DataArray(values, dims=("y", "x"), attrs=notes))
        assert values[~raster.valid].tolist() == empty
    assert from_data_array(xarray.DataArray(values, dims=("y", "x"), attrs={"nodata": "none"})).valid is None


@pytest.mark.parametrize("notes", ["attrs", "encoding"])
@pytest.mark.parametrize("key", ["_FillValue", "nodata", "missing_value", "nodatavals"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_fill_values_of_data_arrays_are_not_valid(values, notes, key, dtype):
    array = xarray.DataArray(values.astype(dtype), dims=("y", "x", "band"))
    fill = 0 if dtype == "uint8" else -9999
    array[3, 4] = fill
    array[5, 6, 0] = fill
    getattr(array, notes)[key] = (fill,) * 5 if key == "nodatavals" else fill
    raster = from_data_array(array.transpose("band", "y", "x"))
    assert np.argwhere(~raster.valid).tolist() == [[3, 4]]
    assert is_data_array(array)
    assert not is_data_array(values)


def test_nodata_that_a_type_cannot_hold_marks_no_pixel(values):
    for nodata in (-9999, 7.5, float("nan"), 1e300):
        assert not is_nodata(values, (nodata,) * 5).any()
    assert not is_nodata(values, (int(values[0, 0, 0]), None, None, None, None)).any()
    floats = np.full((1, 1, 1), -3.4028235e38, np.float32)
    assert is_nodata(floats, (-3.4028235e38,)).all()


def test_pixels_that_are_not_finite_are_not_valid():
    array = np.array([[0.5, np.nan, np.inf]])
    raster = without_nan(from_array(array))
    assert raster.valid.tolist() == [[True, False, False]]
    assert raster.values[..., 0].tolist() == [[0.5, 0, 0]]
    assert np.isnan(array[0, 1])
    assert without_nan(from_array(np.ones((2, 2)))).valid is None


def test_four_channels_are_rgb_and_transparency(values):
    raster = as_colors(from_array(values[..., :4]))
    np.testing.assert_array_equal(raster.alpha, values[..., 3])
    with pytest.raises(ImageError, match=r"5 channels; 1 .grey., 3"):
        as_colors(from_array(values))
    assert is_tensor(torch.zeros(1))
    assert not is_tensor(values)


def test_a_npy_is_mapped_and_its_claims_are_checked(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(open_npy(tmp_path / "a.npy"), values)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"size|mmap"):
        open_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 64, 200), "taken"),  # two equal sides are an image's
        ((145, 145, 200), "taken"),
        ((610, 340, 103), "taken"),
        ((40, 50, 20), "taken"),
        ((16, 640, 3), "taken"),
        ((512, 217, 204), "taken"),
        ((60, 80, 200), "warned"),
        ((5, 96, 128), "refused"),
        ((12, 64, 64), "refused"),
        ((200, 64, 64), "refused"),
        ((1, 20, 5), "refused"),
        ((30, 96, 128), "refused"),
    ],
)
def test_the_rule_of_axes_is_the_same_for_arrays_and_tensors(shape, expected):
    array = from_array(np.zeros(shape, np.uint8))
    tensor = from_tensor(torch.zeros(shape[::-1], dtype=torch.uint8))
    for raster, is_first, other in ((array, False, "CHW"), (tensor, True, "HWC")):
        if expected == "refused":
            with pytest.raises(ImageError, match=rf'axes="{other}" \(--axes {other}\)'):
                check_order(raster, is_first)
        elif expected == "warned":
            with pytest.warns(ImageWarning, match=rf'axes="{other}" \(--axes {other}\)'):
                check_order(raster, is_first)
        else:
            check_order(raster, is_first)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32"])
@pytest.mark.parametrize("fill", [-999, -9999, -32768, -2147483648, -3.4028234663852886e38, 1e20, 9.969209968386869e36])
def test_usual_nodata_values_are_not_valid_even_if_undeclared(dtype, fill):
    if dtype.startswith("int") and abs(fill) > np.iinfo(dtype).max + 1:
        return
    values = np.random.default_rng(0).integers(*(0, 900) if fill == -999 else (-400, 3000), (20, 30, 1)).astype(dtype)
    values[2:5, 3:9] = fill
    raster, note = without_sentinels(from_array(values))
    assert np.array_equal(~raster.valid, values[..., 0] == np.asarray(fill, dtype))
    assert "18 pixels of" in note
    assert (raster.values[~raster.valid] == 0).all()
    partly = values.copy()
    partly[0, 0] = -5000  # depths of a sea, of which -9999 may be one
    if fill == -9999:
        partly[0, 1:] = -7000
        assert without_sentinels(from_array(partly))[1] == ""
    plain = from_array(np.where(values == np.asarray(fill, dtype), 7, values).astype(dtype))
    assert without_sentinels(plain) == (plain, "")


@pytest.mark.parametrize("fill", [99, 9999, 32767, 2147483648, 1e10, -1e10, -99])
def test_usual_nodata_values_of_floats_lie_at_either_end(fill):
    values = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    values[2:5, 3:9] = fill
    raster, note = without_sentinels(from_array(values))
    np.testing.assert_array_equal(~raster.valid, values[..., 0] == fill)
    assert f"18 pixels of {fill:g} are treated as nodata" in note
    mask = from_array(np.where(values == fill, abs(fill), 0))
    assert without_sentinels(mask) == (mask, "")


@pytest.mark.parametrize(
    ("attrs", "n_valid"),
    [
        ({"valid_min": 5}, 15),
        ({"valid_max": np.int16(5)}, 6),
        ({"valid_range": [5, 11]}, 7),
        ({"valid_range": np.array([5, 11], np.int16), "valid_min": 9}, 7),
        ({"valid_range": "5, 11"}, 20),
        ({"valid_range": [5]}, 20),
        ({"valid_min": "5.0", "valid_max": (11,)}, 7),
    ],
    ids=str,
)
def test_values_outside_the_valid_range_of_a_data_array_are_not_valid(attrs, n_valid):
    array = xarray.DataArray(np.arange(20, dtype=np.int16).reshape(4, 5), dims=("y", "x"), attrs=attrs)
    valid = from_data_array(array).valid
    assert (20 if valid is None else valid.sum()) == n_valid
    array.encoding["scale_factor"] = 2  # the range is one of packed numbers
    assert from_data_array(array).valid is None


def test_fill_values_of_packed_numbers_are_not_looked_for(values):
    array = xarray.DataArray(values.astype(np.float32), dims=("y", "x", "band"))
    array[0, 0] = 0
    array.encoding.update(_FillValue=0, scale_factor=0.1, add_offset=5.0)
    assert from_data_array(array).valid is None
