import numpy as np
import pytest
import tifffile

from supercuts.core.errors import ImageError, InputError
from supercuts.images.formats.arrays import image_axes
from supercuts.images.io import read_image, write_png
from supercuts.images.scenes import read_mask, read_scene

xarray = pytest.importorskip("xarray")


@pytest.fixture
def bands():
    return np.random.default_rng(0).integers(0, 256, (11, 13, 5), dtype=np.uint8)


def test_pictures_are_read_as_before(bands, tmp_path):
    write_png(tmp_path / "a.png", np.ascontiguousarray(bands[..., :3]))
    tifffile.imwrite(tmp_path / "a.tif", bands[..., :3], photometric="rgb")
    for source in (bands[..., :3], bands[..., 0], bands[..., :4], tmp_path / "a.png", tmp_path / "a.tif"):
        scene = read_scene(source)
        assert scene.is_plain
        np.testing.assert_array_equal(scene.pixels, read_image(source))


def test_bands_are_shared_out(bands):
    scene = read_scene(bands, bands=(4, 2, 1))
    np.testing.assert_array_equal(scene.pixels, bands[..., [3, 1, 0]])
    np.testing.assert_array_equal(scene.bands, bands[..., [2, 4]])
    np.testing.assert_array_equal(read_scene(bands).pixels, bands[..., :3])
    assert read_scene(bands, channels=5).is_plain
    with pytest.raises(ImageError, match=r"transpose\(1, 2, 0\)"):
        read_scene(bands.transpose(2, 0, 1)[:3])
    with pytest.raises(InputError, match="expected 3 different numbers from 1 to 5"):
        read_scene(bands, bands=(1, 1, 2))


@pytest.mark.parametrize("order", [("y", "x", "band"), ("band", "y", "x")])
def test_data_arrays_are_read_whatever_the_order_of_their_axes(bands, order):
    array = xarray.DataArray(bands, dims=("y", "x", "band")).transpose(*order)
    scene = read_scene(array)
    np.testing.assert_array_equal(scene.pixels, bands[..., :3])
    np.testing.assert_array_equal(scene.bands, bands[..., 3:])
    assert image_axes(array) == ("y", "x")


def test_nan_and_nodata_of_data_arrays_are_not_valid(bands):
    unit = bands[..., :3].astype(np.float32) / 255
    unit[2, 3, 1] = np.nan
    scene = read_scene(xarray.DataArray(unit, dims=("lat", "lon", "band")))
    assert np.argwhere(~scene.valid).tolist() == [[2, 3]]
    bands[4, 5] = 7
    scene = read_scene(xarray.DataArray(bands, dims=("y", "x", "band"), attrs={"_FillValue": 7}))
    assert np.argwhere(~scene.valid).tolist() == [[4, 5]]
    with pytest.raises(InputError, match="is no image"):
        read_scene(xarray.DataArray(bands, dims=("time", "x", "y")))


def test_masks_come_as_files_and_are_joined_with_nodata(bands, tmp_path):
    bands[4, 5] = 0
    tifffile.imwrite(
        tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig", extratags=[(42113, 2, 2, "0", True)]
    )
    mask = np.full((11, 13), 255, np.uint8)
    mask[0] = 0
    write_png(tmp_path / "mask.png", mask)
    assert not read_mask(tmp_path / "mask.png")[0].any()
    valid = read_scene(tmp_path / "a.tif", mask=tmp_path / "mask.png").valid
    assert np.argwhere(~valid).tolist() == [*([0, x] for x in range(13)), [4, 5]]
    with pytest.raises(InputError, match="no valid pixel"):
        read_scene(bands, mask=np.zeros((11, 13), bool))
    with pytest.raises(ImageError, match="no such file"):
        read_scene(tmp_path / "none.tif")
