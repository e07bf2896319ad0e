"""Every layout of TIFF that GDAL reads, compared with what rasterio, tifffile and Pillow read themselves."""

import itertools
import struct
import warnings

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image, TiffImagePlugin
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from supercuts.core.errors import ImageError, ImageWarning, InputError
from supercuts.images.formats import stored, tiff
from supercuts.images.georeference import Georeference
from supercuts.images.io import read_bands, read_image
from supercuts.images.raster import ReadOptions, read_raster, read_shape

H, W = 70, 90
UTM = rasterio.Affine(10, 0, 600_000, 0, -10, 5_200_000)
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
LAYOUTS = {
    "strips": {},
    "tiles": {"tiled": True, "blockxsize": 32, "blockysize": 16},
    "bands apart": {"interleave": "band"},
    "LZW": {"compress": "lzw", "predictor": 2},
    "ZSTD": {"compress": "zstd"},
    "LERC": {"compress": "lerc"},
    "BigTIFF": {"BIGTIFF": "YES"},
    "overviews": {"overviews": [2, 4], "tiled": True, "blockxsize": 16, "blockysize": 16},
}


def some_values(dtype, n_bands=3, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random((n_bands, H, W)).astype(dtype)
    return rng.integers(1, 100, (n_bands, H, W)).astype(dtype)


def write(path, values, overviews=None, mask=None, **options):
    profile = {"driver": "GTiff", "height": values.shape[1], "width": values.shape[2], "count": len(values)}
    profile |= {"dtype": values.dtype, "crs": "EPSG:32633", "transform": UTM} | options
    # rasterio warns of images without a map, which is not tested here
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            file.write(values)
            if mask is not None:
                file.write_mask(mask)
            if overviews:
                file.build_overviews(overviews)
    return path


def of_rasterio(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return np.moveaxis(file.read(), 0, -1), file.dataset_mask() != 0, file.transform, file.crs


def check(path):
    """Compare with what rasterio reads; return the raster."""
    raster = read_raster(path)
    values, valid, transform, crs = of_rasterio(path)
    if values.dtype.kind == "f":
        valid = valid & np.isfinite(values).all(axis=2)
    np.testing.assert_array_equal(raster.valid if raster.valid is not None else np.ones((H, W), bool), valid)
    assert raster.valid is None or not raster.valid.all()
    np.testing.assert_array_equal(raster.values[valid], values[valid])
    assert raster.georeference.transform == tuple(transform)[:6]
    assert raster.georeference.crs == (crs.to_string() if crs else None)
    return raster


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_valid_pixels_and_place_are_those_of_gdal(tmp_path, layout, dtype):
    options = dict(LAYOUTS[layout])
    if layout == "LZW" and np.dtype(dtype).kind == "f":
        options["predictor"] = 3
    for nodata in (None, 7, np.nan if np.dtype(dtype).kind == "f" else 0):
        values = some_values(dtype)
        if nodata is not None:
            values[:, 10:20, 5:40] = nodata
            values[0, 30, :] = 7  # one band alone
        raster = check(write(tmp_path / "a.tif", values, nodata=nodata, **options))
        assert (raster.valid is None) == (nodata is None)
        assert raster.values.dtype == dtype


HOLES = ("none", "nodata", "NaN", "mask", "alpha", "left out")
PLACES = {
    "none": (None, rasterio.Affine.identity()),
    "map": ("EPSG:32633", UTM),
    "map without a system": (None, UTM),
    "turned": ("EPSG:4326", rasterio.Affine(0.3, 0.02, 5, 0.01, -0.3, 54)),
    "points": (None, None),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_layouts_types_holes_and_places_together_are_those_of_gdal(tmp_path):
    """Compare with rasterio, tifffile and Pillow: every layout, type and hole together, each pair with every place."""
    path = tmp_path / "a.tif"
    height, width = 20, 36
    hole = np.s_[:16, :16]  # the first tile
    seen = np.zeros((height, width), np.uint8)
    seen[hole] = 255
    points = [GroundControlPoint(r, c, 100 + 2 * c, 50 - 2 * r) for r in (0, height) for c in (0, width)]
    for n, (layout, dtype, kind) in enumerate(itertools.product(LAYOUTS, DTYPES, HOLES)):
        is_float = np.dtype(dtype).kind == "f"
        if kind == "NaN" and not is_float:
            continue
        options = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": dtype} | LAYOUTS[layout]
        overviews = options.pop("overviews", None)
        if layout == "LZW" and is_float:
            options["predictor"] = 3
        options |= {"nodata": {"nodata": 7, "NaN": np.nan}.get(kind), "SPARSE_OK": kind == "left out"}
        options |= {"tiled": True, "blockxsize": 16, "blockysize": 16} if kind == "left out" else {}
        values = some_values(dtype, 4 if kind == "alpha" else 3, n)[:, :height, :width]
        if kind == "alpha":
            top = np.iinfo(dtype).max if not is_float else 1
            values[3] = np.where(seen, 0, top)
            options |= {"count": 4, "photometric": "RGB", "ALPHA": "YES"}
        elif kind in ("nodata", "NaN"):
            values[:, *hole] = options["nodata"]
        name = list(PLACES)[n % len(PLACES)]
        crs, transform = PLACES[name]
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", crs=crs, transform=transform, **options) as file,
        ):
            for window in [Window(16, 0, 20, 16), Window(0, 16, 36, 4)] if kind == "left out" else [None]:
                file.write(values[:, *window.toslices()] if window else values, window=window)
            if kind == "mask":
                file.write_mask(255 - seen)
            if name == "points":
                file.gcps = (points, rasterio.crs.CRS.from_epsg(32633))
            if overviews:
                file.build_overviews(overviews)
        raster = read_raster(path)
        what = (layout, dtype, kind, name)
        with rasterio.open(path) as file:
            expected, mask = np.moveaxis(file.read(), 0, -1), file.dataset_mask() != 0
        valid = raster.valid if raster.valid is not None else np.ones((height, width), bool)
        assert (raster.valid is None) == (kind == "none"), what
        # GDAL takes sparse tiles for zeros, and alpha of other types for 0 to 255
        is_of_gdal = kind != "left out" and (kind != "alpha" or dtype in ("uint8", "uint16"))
        assert np.array_equal(valid, mask if is_of_gdal else seen == 0), what
        assert np.array_equal(raster.values[valid], expected[valid][:, : raster.values.shape[2]]), what
        assert raster.values.dtype == dtype, what
        place = raster.georeference
        if name == "none":
            assert place is None, what
        elif name == "points":
            np.testing.assert_allclose(place.transform, (2, 0, 100, 0, -2, 50), atol=1e-9, err_msg=str(what))
            assert place.crs == "EPSG:32633", what
        else:
            assert (place.transform, place.crs) == (tuple(transform)[:6], crs), what
        if layout != "LERC":  # tifffile reads it with three samples only
            page = tifffile.imread(path, key=0)
            page = np.moveaxis(page, 0, -1) if page.shape[-1] > 4 else page
            assert np.array_equal(page[valid], expected[valid]), what
        if dtype == "uint8" and layout in ("strips", "tiles", "LZW", "overviews") and kind not in ("mask", "left out"):
            with Image.open(path) as picture:
                assert np.array_equal(np.asarray(picture)[valid], expected[valid]), what


@pytest.mark.parametrize("nodata", [-9999.0, -1.0, -3.4028234663852886e38, 1e20, 0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_bands", [1, 3, 5])
def test_sentinels_of_floats_are_not_valid_and_do_not_count(tmp_path, nodata, dtype, n_bands):
    values = some_values(dtype, n_bands)
    values[:, :9] = nodata
    raster = check(write(tmp_path / "a.tif", values, nodata=nodata))
    assert not raster.valid[:9].any()
    assert (raster.values[:9] == 0).all()
    if n_bands in (1, 3):
        expected = read_image(np.moveaxis(values, 0, -1)[9:])
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[9:], expected)


@pytest.mark.parametrize("n_bands", [1, 3, 4, 6])
@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16, "overviews": [2]}])
def test_mask_bands_mark_valid_pixels(tmp_path, n_bands, options):
    mask = np.zeros((H, W), np.uint8)
    mask[20:60, 30:80] = 255
    path = write(tmp_path / "a.tif", some_values("uint8", n_bands), mask=mask, photometric="MINISBLACK", **options)
    np.testing.assert_array_equal(check(path).valid, mask > 0)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        other = np.flipud(mask)
        file.write_mask(other)
    check(path)


def test_windows_that_a_file_leaves_out_hold_no_data(tmp_path):
    for nodata in (255, None):
        profile = {"driver": "GTiff", "height": 128, "width": 200, "count": 3, "dtype": "uint8", "nodata": nodata}
        profile |= {"crs": "EPSG:32633", "transform": UTM, "tiled": True, "blockxsize": 64, "blockysize": 64}
        with rasterio.open(tmp_path / "a.tif", "w", **profile, SPARSE_OK="TRUE") as file:
            file.write(some_values("uint8")[:, :64, :64], window=Window(64, 0, 64, 64))
        valid = read_raster(tmp_path / "a.tif").valid
        assert valid[:64, 64:128].all()
        assert valid.sum() == 64 * 64


def test_alpha_is_transparency_only_where_the_file_calls_it_so(tmp_path):
    for dtype in ("uint8", "uint16"):
        values = some_values(dtype, 4)
        values[3] = np.iinfo(dtype).max
        values[3, :5] = 0
        path = write(tmp_path / "alpha.tif", values, photometric="RGB", ALPHA="YES")
        raster = read_raster(path)
        np.testing.assert_array_equal(raster.alpha, values[3])
        assert np.argwhere(~raster.valid[:, 0]).ravel().tolist() == [0, 1, 2, 3, 4]
        assert (read_image(path)[:5] == 255).all()
        assert read_bands(path).shape == read_shape(path) == (H, W, 4)
        raster = read_raster(write(tmp_path / "infrared.tif", values, photometric="RGB", ALPHA="NO"))
        assert (raster.alpha, raster.valid, raster.is_rgb) == (None, None, True)
        np.testing.assert_array_equal(raster.values, np.moveaxis(values, 0, -1))
        np.testing.assert_array_equal(read_image(tmp_path / "infrared.tif"), read_image(np.moveaxis(values[:3], 0, -1)))


def test_premultiplied_transparency_is_divided_out(tmp_path):
    rgba = np.zeros((4, 5, 4), np.uint8)
    rgba[...] = (100, 50, 20, 200)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["assocalpha"])
    expected = np.rint(np.array([100, 50, 20]) * 255 / 200 * (200 / 255) + 55)
    assert np.abs(read_image(tmp_path / "a.tif")[0, 0] - expected).max() <= 1


def test_grey_with_alpha(tmp_path):
    image = Image.fromarray(np.dstack([np.full((4, 5), 40, np.uint8), np.full((4, 5), 51, np.uint8)]), "LA")
    image.save(tmp_path / "a.tif")
    assert (read_image(tmp_path / "a.tif") == 212).all()


@pytest.mark.parametrize("quality", [30, 95])
def test_ycbcr_jpeg_is_rgb(tmp_path, quality):
    options = {"compress": "jpeg", "photometric": "YCBCR", "interleave": "pixel", "JPEG_QUALITY": quality}
    path = write(tmp_path / "a.tif", some_values("uint8"), nodata=0, **options)
    assert read_raster(path).is_rgb
    check(path)


def test_palettes_are_colours_and_nodata_is_an_index(tmp_path):
    picture = Image.fromarray(np.moveaxis(some_values("uint8"), 0, -1)).quantize(16)
    picture.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.asarray(picture.convert("RGB")))
    indices = np.zeros((1, H, W), np.uint8)
    indices[0, :5] = 3
    path = write(tmp_path / "b.tif", indices, photometric="PALETTE", nodata=3)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (1, 2, 3, 255), 3: (9, 9, 9, 255)})
    raster = read_raster(path)
    assert not raster.valid[:5].any()
    assert (raster.values[5:] == (1, 2, 3)).all()
    assert read_shape(path) == (H, W, 3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_white_may_be_the_lowest_value(tmp_path, dtype):
    values = some_values(dtype, 1)
    values[:, :5] = 0
    raster = read_raster(write(tmp_path / "a.tif", values, photometric="MINISWHITE", nodata=0))
    assert not raster.valid[:5].any()
    np.testing.assert_array_equal(raster.values[5:, :, 0], np.iinfo(dtype).max - values[0, 5:])


@pytest.mark.parametrize("n_bits", [1, 2, 4, 7, 12])
def test_fewer_bits_than_bytes_have_their_full_range(tmp_path, n_bits):
    dtype = "uint8" if n_bits < 8 else "uint16"
    values = (np.arange(H * W).reshape(1, H, W) % (1 << n_bits)).astype(dtype)
    raster = read_raster(write(tmp_path / "a.tif", values, NBITS=n_bits))
    assert raster.values.min() == 0
    assert raster.values.max() == np.iinfo(dtype).max
    np.testing.assert_array_equal(np.unique(raster.values, return_inverse=True)[1].ravel(), values.ravel())


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "1", "L", "RGB"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "packbits", "tiff_deflate"])
def test_pictures_are_as_pillow_reads_them(tmp_path, mode, compression):
    rgb = Image.fromarray(np.moveaxis(some_values("uint8"), 0, -1))
    image = rgb.convert(mode) if mode != "LAB" else Image.fromarray(np.asarray(rgb), "LAB")
    image.save(tmp_path / "a.tif", compression=compression)
    with Image.open(tmp_path / "a.tif") as opened:
        expected = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("photometric", [0, 2, 3, 4, 5, 6, 8, 9, 10, 32803])
def test_the_shape_from_the_header_is_the_shape_that_is_read(tmp_path, photometric):
    path = tmp_path / "a.tif"
    for dtype in ("uint8", "uint16", "float32"):
        for n_bands in range(1, 7):
            values = np.ascontiguousarray(np.moveaxis(some_values(dtype, n_bands), 0, -1))
            tifffile.imwrite(path, values.squeeze(), photometric="minisblack", planarconfig="contig", metadata=None)
            with tifffile.TiffFile(path, mode="r+") as file:
                file.pages.first.tags["PhotometricInterpretation"].overwrite(photometric)
            try:
                shape = read_bands(path).shape
            except ImageError:
                continue
            assert read_shape(path) == shape


@pytest.mark.parametrize("alpha", [None, "unassalpha", "unspecified"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("scale", [1, 257])
def test_inks_are_read_as_pillow_converts_them(tmp_path, alpha, planes, scale):
    inks = np.moveaxis(some_values("uint8", 4 if alpha is None else 5), 0, -1)
    values = np.moveaxis(inks, -1, 0) if planes == "separate" else inks
    extra = {} if alpha is None else {"extrasamples": [alpha]}
    values = values * np.array(scale, "uint8" if scale == 1 else "uint16")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="separated", planarconfig=planes, metadata=None, **extra)
    raster = read_raster(tmp_path / "a.tif")
    expected = np.asarray(Image.fromarray(np.ascontiguousarray(inks[..., :4]), "CMYK").convert("RGB"))
    np.testing.assert_array_equal(raster.values, expected)
    assert (raster.alpha is not None) == (alpha == "unassalpha")
    assert alpha != "unassalpha" or np.array_equal(raster.alpha, inks[..., 4])


@pytest.mark.parametrize("kind", ["cielab", "icclab"])
def test_lab_that_is_not_converted_is_refused(tmp_path, kind):
    values = np.moveaxis(some_values("uint16"), 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=kind, metadata=None)
    with pytest.raises(ImageError, match=r"a\.tif: CIE Lab of 3 samples of type uint16 is not read. Save it as RGB"):
        read_raster(tmp_path / "a.tif")
    planes = some_values("uint8")
    tifffile.imwrite(tmp_path / "b.tif", planes, photometric=kind, planarconfig="separate", metadata=None)
    with pytest.raises(ImageError, match=r"b\.tif: "):
        read_raster(tmp_path / "b.tif")


def test_palettes_and_white_zeros_are_resolved_in_any_codec(tmp_path):
    indices = some_values("uint8", 1)[0]
    table = np.random.default_rng(1).integers(0, 256, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=table * 257, compression="png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), table.T[indices])
    assert read_shape(tmp_path / "a.tif") == (H, W, 3)
    tifffile.imwrite(tmp_path / "b.tif", indices, photometric="miniswhite", compression="png")
    np.testing.assert_array_equal(read_raster(tmp_path / "b.tif").values[..., 0], 255 - indices)


def test_a_tag_of_nodata_counts_in_files_of_any_program(tmp_path):
    values = np.full((9, 8, 3), 5, np.uint8)
    values[2, 3] = values[7, 7] = 9
    values[4, 4, 0] = 9  # one band alone
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extratags=[(42113, 2, 2, "9", True)])
    assert np.argwhere(~read_raster(tmp_path / "a.tif").valid).tolist() == [[2, 3], [7, 7]]
    floats = np.zeros((9, 8), np.float32)
    floats[1, 1] = np.nan
    tifffile.imwrite(tmp_path / "b.tif", floats, extratags=[(42113, 2, 4, "nan", True)])
    assert np.argwhere(~read_raster(tmp_path / "b.tif").valid).tolist() == [[1, 1]]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[42113] = "0"
    image = np.random.default_rng(0).integers(1, 250, (20, 30, 3), dtype=np.uint8)
    image[3, 4] = 0
    Image.fromarray(image).save(tmp_path / "c.tif", compression="tiff_lzw", tiffinfo=tags)
    assert np.argwhere(~read_raster(tmp_path / "c.tif").valid).tolist() == [[3, 4]]


def test_infinite_values_are_not_valid(tmp_path):
    values = some_values("float32")
    values[1, 3, 4], values[2, 5, 6] = np.inf, -np.inf
    raster = read_raster(write(tmp_path / "a.tif", values))
    assert np.argwhere(~raster.valid).tolist() == [[3, 4], [5, 6]]
    assert (raster.values[~raster.valid] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("n_bands", [1, 3, 6])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 32)}, {"rowsperstrip": 7}, {"compression": "zlib"}])
def test_files_of_tifffile_are_read_alike(tmp_path, monkeypatch, dtype, n_bands, layout):
    monkeypatch.setattr(tiff, "_STRIP_BYTES", 2000)  # several strips
    values = np.random.default_rng(0).integers(0, 200, (41, 53, n_bands)).astype(dtype)
    kept = values[..., 0] if n_bands == 1 else values
    kind = "rgb" if n_bands == 3 else "minisblack"
    planar = {} if n_bands == 1 else {"planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", kept, photometric=kind, **planar, **layout)
    raster = read_raster(tmp_path / "a.tif")
    assert (raster.valid, raster.georeference) == (None, None)
    assert raster.values.dtype == dtype
    np.testing.assert_array_equal(raster.values, values)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}])
def test_bands_that_lie_one_after_the_other_are_put_together(tmp_path, layout):
    values = np.random.default_rng(0).integers(0, 60000, (5, 33, 40), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="separate", **layout)
    np.testing.assert_array_equal(read_raster(tmp_path / "a.tif").values, values.transpose(1, 2, 0))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_images_turn_their_mask_and_lose_their_map(tmp_path, orientation):
    values = np.random.default_rng(0).integers(1, 200, (9, 14, 5)).astype(np.uint16)
    values[1, 2] = 0
    tags = [(274, "H", 1, orientation, True), (42113, 2, 2, "0", True)]
    tags += [(33550, "d", 3, (1.0, 1.0, 0.0)), (33922, "d", 6, (0.0, 0.0, 0.0, 9.0, 8.0, 0.0))]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig", extratags=tags)
    raster = read_raster(tmp_path / "a.tif")
    np.testing.assert_array_equal(raster.values, stored.upright(values, orientation))
    np.testing.assert_array_equal(raster.valid, raster.values.any(axis=2))
    assert raster.georeference is None
    assert read_shape(tmp_path / "a.tif") == raster.values.shape


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", None, "+proj=laea +lat_0=12 +lon_0=34 +datum=WGS84"])
@pytest.mark.parametrize(
    "transform", [UTM, rasterio.Affine(0.3, 0.02, 5e5, 0.01, -0.3, 5.4e6), rasterio.Affine.identity()]
)
def test_transforms_are_kept_with_and_without_a_reference_system(tmp_path, crs, transform):
    path = write(tmp_path / "a.tif", some_values("uint8"), crs=crs, transform=transform)
    if crs is None and transform.is_identity:
        assert read_raster(path).georeference is None
    else:
        check(path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("n_pages", [2, 120, 300])
def test_images_whose_pages_come_round_again_are_refused(tmp_path, n_pages):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((n_pages, 8, 8), np.uint8), photometric="minisblack", metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[-1].offset
    n_tags = struct.unpack_from("<H", content, last)[0]
    struct.pack_into("<I", content, last + 2 + 12 * n_tags, first)
    path.write_bytes(content)
    with pytest.raises(ImageError, match="pages repeat"):
        read_raster(path)


# a mask as a file that refers to another
VRT = f"""<VRTDataset rasterXSize="{W}" rasterYSize="{H}"><Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>
<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">black.tif</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
BESIDE = {
    "a.tif.aux.xml": "<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>9,1,0,9,0,-1</GeoTransform></PAMDataset>",
    "a.tfw": "2\n0\n0\n-2\n101\n49\n",
    "a.tif.msk": VRT,
    "a.tif.ovr": VRT,
}


@pytest.mark.parametrize("name", BESIDE)
def test_files_beside_the_image_are_not_read(tmp_path, name):
    path = tmp_path / "a.tif"
    values = np.moveaxis(some_values("uint8"), 0, -1)
    tifffile.imwrite(path, values, photometric="rgb")
    tifffile.imwrite(tmp_path / "black.tif", np.zeros((H, W), np.uint8))
    (tmp_path / name).write_text(BESIDE[name])
    raster = read_raster(path)
    assert (raster.georeference, raster.valid) == (None, None)
    np.testing.assert_array_equal(raster.values, values)
    shape = raster.values.shape[:2]
    transform = (2, 0, 100, 0, -2, 50)
    # like= reads a world file
    assert tiff.read_map(path) == (Georeference(transform) if name == "a.tfw" else None, shape)


def test_ground_control_points_give_the_transform_or_are_named(tmp_path):
    def with_points(bend):
        places = [(0, 0), (0, W), (H, 0), (H, W), (H / 2, W / 2)]
        points = [
            GroundControlPoint(r, c, 100 + 2 * c, 50 - 2 * r + bend * (i == 4)) for i, (r, c) in enumerate(places)
        ]
        path = write(tmp_path / "a.tif", some_values("uint8"), crs=None, transform=rasterio.Affine.identity())
        with rasterio.open(path, "r+") as file:
            file.gcps = (points, rasterio.crs.CRS.from_epsg(32633))
        return read_raster(path).georeference

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        actual = with_points(0)
        np.testing.assert_allclose(actual.transform, (2, 0, 100, 0, -2, 50), atol=1e-9)
        assert actual.crs == "EPSG:32633"
        with pytest.warns(ImageWarning, match=r"misses its ground control points by up to \d+\.\d pixels. Rectify"):
            with_points(30)
        path = write(tmp_path / "a.tif", some_values("uint8"), transform=rasterio.Affine(0, 1, 3, 0, 1, 4))
        with pytest.warns(ImageWarning, match=r"a\.tif: its transform .* places no pixels"):
            assert read_raster(path).georeference is None


@pytest.mark.parametrize(
    "name", ["a.gtiff", "a", "a.TIF", "a.dat", "caf\udce9.tif", "[a] ~ b!.tif", "-a.tif", "a:b.tif"]
)
def test_any_name_will_do(tmp_path, name):
    write(tmp_path / "plain.tif", some_values("uint8", 5), nodata=1).rename(tmp_path / name)
    raster = read_raster(tmp_path / name)
    assert raster.values.shape == (H, W, 5)
    assert raster.georeference.crs == "EPSG:32633"


def test_libraries_neither_warn_nor_write_files(tmp_path, caplog):
    path = write(tmp_path / "a.tif", some_values("uint8"), crs=None, transform=rasterio.Affine.identity())
    before = warnings.filters[:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_raster(path)
    assert warnings.filters[:] == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_complex_numbers_are_refused(tmp_path):
    write(tmp_path / "a.tif", some_values("float32", 1).astype("complex64"))
    with pytest.raises(ImageError, match=r"complex numbers. Save their magnitude"):
        read_raster(tmp_path / "a.tif")


def test_pages_are_chosen_and_the_rest_is_named(tmp_path):
    pages = some_values("uint8", 3)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, photometric="minisblack", contiguous=False, metadata=None)
    with pytest.warns(ImageWarning, match=r"several pages; the first is read\. page=2 \(--page 2\)"):
        np.testing.assert_array_equal(read_raster(tmp_path / "a.tif").values[..., 0], pages[0])
    np.testing.assert_array_equal(read_raster(tmp_path / "a.tif", ReadOptions(page=3)).values[..., 0], pages[2])
    with pytest.raises(InputError, match=r"page=9: .*a\.tif has 3 pages. Give a number from 1 to 3"):
        read_raster(tmp_path / "a.tif", ReadOptions(page=9))


def test_refuses_files_that_are_too_large_or_damaged(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((90, 80), np.uint8))
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[:300])
    with pytest.raises(ImageError, match=r"cut\.tif"):
        read_raster(tmp_path / "cut.tif")
    with pytest.raises(ImageError, match=r"above the limit of 100"):
        read_raster(tmp_path / "a.tif", max_pixels=100)


def test_damaged_tags_of_a_map_give_an_image_or_an_image_error(tmp_path):
    whole = write(tmp_path / "a.tif", some_values("uint8"), nodata=0, compress="lzw").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for position in rng.integers(4, 400, 3).tolist():
            damaged[position] = int(rng.integers(256))
        (tmp_path / "b.tif").write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read_raster(tmp_path / "b.tif", max_pixels=10**6).values.size
            except ImageError:
                continue


def test_where_a_file_lies_is_read_alone(tmp_path):
    path = write(tmp_path / "a.tif", some_values("uint8"))
    actual, shape = tiff.read_map(path)
    assert (actual.transform, actual.crs, shape) == (tuple(UTM)[:6], "EPSG:32633", (H, W))


def test_colour_interpretation_is_read_from_the_file(tmp_path):
    path = write(tmp_path / "a.tif", some_values("uint8", 5), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 3, ColorInterp.alpha]
    assert read_raster(path).values.shape == (H, W, 4)


def test_pages_are_counted_without_their_smaller_copies(tmp_path):
    pages = [some_values("uint8"), 255 - some_values("uint8"), some_values("uint8", 1)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            options = {"photometric": "rgb" if len(page) == 3 else "miniswhite", "metadata": None, "contiguous": False}
            file.write(np.moveaxis(page, 0, -1).squeeze(), **options)
            file.write(np.ascontiguousarray(np.moveaxis(page, 0, -1).squeeze()[::2, ::2]), subfiletype=1, **options)
    for number, page in enumerate(pages, 1):
        raster = read_raster(tmp_path / "a.tif", ReadOptions(page=number))
        expected = page if len(page) == 3 else 255 - page
        np.testing.assert_array_equal(raster.values, np.moveaxis(expected, 0, -1))
        assert raster.is_rgb == (len(page) == 3)
    with pytest.raises(InputError, match=r"has 3 pages"):
        read_raster(tmp_path / "a.tif", ReadOptions(page=4))


@pytest.mark.parametrize("compression", ["jpeg2000", "jpegxl"])
def test_codecs_that_gdal_lacks_are_those_of_imagecodecs(tmp_path, compression):
    values = np.moveaxis(some_values("uint8"), 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", values, compression=compression, photometric="rgb", tile=(32, 32))
    np.testing.assert_array_equal(read_raster(tmp_path / "a.tif").values, tifffile.imread(tmp_path / "a.tif"))
    assert read_shape(tmp_path / "a.tif") == (H, W, 3)


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("n_channels", [2, 5, 12])
def test_arrays_with_channels_last_are_never_pages_of_a_few_columns(tmp_path, truncate, n_channels):
    values = np.random.default_rng(0).integers(0, 255, (H, W, n_channels), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", truncate=truncate)
    np.testing.assert_array_equal(read_raster(tmp_path / "a.tif").values, values)
    np.testing.assert_array_equal(read_raster(tmp_path / "a.tif", ReadOptions(as_bands=True)).values, values)
    tifffile.imwrite(tmp_path / "b.tif", values.transpose(2, 0, 1), photometric="minisblack", truncate=truncate)
    np.testing.assert_array_equal(read_raster(tmp_path / "b.tif", ReadOptions("chw")).values, values)
