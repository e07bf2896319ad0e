import numpy as np
import pytest
import rasterio
import tifffile
import torch

from supercuts.core.errors import ImageError, ImageWarning, InputError
from supercuts.images.formats.arrays import image_axes
from supercuts.images.io import read_image, write_png
from supercuts.images.raster import ReadOptions
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
    turned = xarray.DataArray(bands[..., 0].T, dims=("lon", "lat"))
    assert read_scene(turned).shape == bands.shape[:2]


def test_nan_and_nodata_of_data_arrays_are_not_valid(bands):
    unit = bands[..., :3].astype(np.float32) / 255
    unit[2, 3, 1] = np.nan
    scene = read_scene(xarray.DataArray(unit, dims=("lat", "lon", "band")))
    assert np.argwhere(~scene.valid).tolist() == [[2, 3]]
    bands[4, 5] = 7
    scene = read_scene(xarray.DataArray(bands, dims=("y", "x", "band"), attrs={"_FillValue": 7}))
    assert np.argwhere(~scene.valid).tolist() == [[4, 5]]
    with pytest.raises(InputError, match="is not an image"):
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
    for kind in (torch.from_numpy, np.ndarray.tolist):
        np.testing.assert_array_equal(read_scene(tmp_path / "a.tif", mask=kind(mask > 0)).valid, valid)
    with pytest.raises(InputError, match="no valid pixel"):
        read_scene(bands, mask=np.zeros((11, 13), bool))
    with pytest.raises(ImageError, match="no such file"):
        read_scene(tmp_path / "none.tif")


H, W = 40, 56
HOLE = np.zeros((H, W), bool)
HOLE[4:20, 7:30] = True
SOURCES = ("array", "tensor", "masked", "npy", "xarray", "tif")


def as_source(kind, values, path, nodata=None):
    """Return (H, W, C) as each kind of source holds it."""
    if kind == "tensor":
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    if kind == "masked":
        return np.ma.masked_array(values, np.broadcast_to(HOLE[..., None], values.shape))
    if kind == "xarray":
        attrs = {} if nodata is None else {"_FillValue": nodata}
        return xarray.DataArray(values.transpose(2, 0, 1), dims=("band", "y", "x"), attrs=attrs)
    if kind == "npy":
        np.save(path / "a.npy", values)
        return path / "a.npy"
    if kind == "tif":
        place = rasterio.Affine(10, 0, 600_000, 0, -10, 5_200_000)
        profile = {"driver": "GTiff", "height": H, "width": W, "count": values.shape[2], "dtype": values.dtype}
        options = profile | {"nodata": nodata, "transform": place, "photometric": "MINISBLACK", "ALPHA": "NO"}
        with rasterio.open(path / "a.tif", "w", **options) as file:
            file.write(values.transpose(2, 0, 1))
        return path / "a.tif"
    return values


@pytest.mark.parametrize("n_bands", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.filterwarnings("ignore::supercuts.core.errors.ImageWarning")
def test_valid_pixels_mean_the_same_whatever_holds_them(tmp_path, kind, dtype, n_bands):
    rng = np.random.default_rng(0)
    is_float = dtype.startswith("float")
    values = (rng.random((H, W, n_bands)) * (0.9 if is_float else 200) + (0.1 if is_float else 20)).astype(dtype)
    fills = {"float": [np.nan, -9999.0, -3.4028234663852886e38, 1e20, 0.0], "int": [-9999], "uint": [0]}
    for fill in fills[dtype.rstrip("0123456789")]:
        holed = np.where(HOLE[..., None], np.asarray(fill, dtype), values)
        is_declared = kind in ("masked", "xarray", "tif")
        scene = read_scene(as_source(kind, holed, tmp_path, fill))
        if fill == 0 and not is_declared:
            assert scene.valid is None
            continue
        np.testing.assert_array_equal(scene.valid, ~HOLE)
        assert (scene.georeference is not None) == (kind == "tif")
        # the hole has no influence: the same pixels as those of an image with other values there
        there = np.where(HOLE[..., None], values[~HOLE].reshape(-1, n_bands)[0], values).astype(dtype)
        expected = read_scene(as_source("array", there, tmp_path), mask=~HOLE)
        np.testing.assert_array_equal(scene.pixels[~HOLE], expected.pixels[~HOLE])
        np.testing.assert_array_equal(scene.bands[~HOLE], expected.bands[~HOLE])


@pytest.mark.parametrize("kind", SOURCES)
def test_photographs_are_never_stretched_and_elevations_always(tmp_path, kind, recwarn):
    dark = np.random.default_rng(0).integers(0, 20, (H, W, 3), dtype=np.uint8)
    scene = read_scene(as_source(kind, dark, tmp_path) if kind != "tif" else dark)
    valid = np.ones((H, W), bool) if scene.valid is None else scene.valid
    np.testing.assert_array_equal(scene.pixels[valid], dark[valid])
    assert not recwarn.list
    meters = np.linspace(200, 2900, H * W).reshape(H, W, 1).astype(np.int16)
    with pytest.warns(ImageWarning, match=r"stretched from \S+ to the full range; stretch=\"none\""):
        scene = read_scene(as_source(kind, meters, tmp_path))
    assert np.unique(scene.pixels[scene.valid] if scene.valid is not None else scene.pixels).size > 200
    with pytest.raises(ImageError, match=r"int16 have no fixed range.*--stretch percentile"):
        read_scene(as_source(kind, meters, tmp_path), options=ReadOptions(stretch="none"))


def test_networks_of_other_channels_get_values_as_in_their_training():
    values = np.random.default_rng(0).integers(0, 4096, (H, W, 5), dtype=np.uint16)
    np.testing.assert_allclose(read_scene(values, 5).pixels, values / 65535, atol=1e-6)
    assert read_scene(values, 5, options=ReadOptions(stretch="minmax")).pixels.max() == 1
