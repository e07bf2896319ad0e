import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from supercuts.core.errors import ImageError
from supercuts.images.convert import preview, to_unit
from supercuts.images.formats.stored import upright
from supercuts.images.io import read_bands, read_channels, read_image, read_pixels
from supercuts.images.raster import read_shape
from supercuts.images.scenes import read_scene

SHAPE = (6, 9, 5)
CONTIG = {"photometric": "minisblack", "planarconfig": "contig"}
SEPARATE = {"photometric": "minisblack", "planarconfig": "separate"}


def some_bands(dtype, shape=SHAPE) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def expected(values: np.ndarray) -> np.ndarray:
    full = {"u": float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else 1, "f": 1}[values.dtype.kind]
    return values.astype(np.float64) / full


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("shape", [SHAPE, (6, 9), (6, 9, 1), (1, 1, 4)])
def test_arrays_npy_and_tensors_give_the_same_values_in_0_to_1(tmp_path, dtype, shape):
    values = some_bands(dtype, shape)
    np.save(tmp_path / "a.npy", values)
    channels_last = values.reshape((*shape, 1)[:3])
    for source in (values, np.asfortranarray(values), tmp_path / "a.npy", str(tmp_path / "a.npy")):
        bands = read_bands(source)
        assert bands.dtype == np.float32
        assert bands.flags.c_contiguous
        np.testing.assert_allclose(bands, expected(channels_last), atol=1e-7)
    native = channels_last.astype(values.dtype.newbyteorder("="))
    tensor = torch.from_numpy(native.copy()).permute(2, 0, 1)
    np.testing.assert_array_equal(read_bands(tensor), read_bands(values))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("bands_first", "options"),
    [
        (False, CONTIG),
        (True, SEPARATE),
        (True, {"photometric": "minisblack"}),  # one page a band
        (False, {"photometric": "minisblack"}),  # one page a row, which is what imwrite makes of (H, W, C)
        (False, {"photometric": "rgb"}),
        (True, {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
    ],
)
def test_tiffs_of_any_layout_give_their_bands_last(tmp_path, dtype, bands_first, options):
    values = some_bands(dtype)
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(values, -1, 0) if bands_first else values, **options)
    np.testing.assert_allclose(read_bands(tmp_path / "a.tif"), expected(values), atol=1e-7)
    assert read_shape(tmp_path / "a.tif") == SHAPE


def test_a_cube_of_named_axes_is_not_turned(tmp_path):
    values = some_bands("uint8", (5, 5, 5))
    tifffile.imwrite(tmp_path / "last.tif", values, **CONTIG)
    tifffile.imwrite(tmp_path / "first.tiff", values, **SEPARATE)
    np.testing.assert_array_equal(read_pixels(tmp_path / "last.tif"), values)
    np.testing.assert_array_equal(read_pixels(tmp_path / "first.tiff"), values.transpose(1, 2, 0))


def test_a_grey_tiff_has_one_band_and_an_alpha_counts(tmp_path):
    tifffile.imwrite(tmp_path / "grey.tif", some_bands("uint16", (6, 9)))
    tifffile.imwrite(tmp_path / "rgba.tif", some_bands("uint8", (6, 9, 4)), photometric="rgb")
    assert read_bands(tmp_path / "grey.tif").shape == read_shape(tmp_path / "grey.tif") == (6, 9, 1)
    np.testing.assert_array_equal(read_pixels(tmp_path / "rgba.tif"), some_bands("uint8", (6, 9, 4)))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif", "rgb.tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_are_rgb_as_read_image_reads_them(tmp_path, name, mode):
    if name == "rgb.tif":
        mode = "RGB"  # a grey one has one band
    picture = Image.fromarray(some_bands("uint8", (6, 9, 3))).convert(mode)
    picture.save(tmp_path / name)
    rgb = read_image(tmp_path / name)
    np.testing.assert_array_equal(read_pixels(tmp_path / name), rgb)
    np.testing.assert_allclose(read_bands(tmp_path / name), rgb / 255, atol=1e-7)
    np.testing.assert_array_equal(read_pixels(picture), read_image(picture))
    assert read_shape(tmp_path / name) == (6, 9, 3)


def test_a_palette_tiff_is_a_picture(tmp_path):
    colors = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", some_bands("uint8", (6, 9)), photometric="palette", colormap=colors)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), read_image(tmp_path / "a.tif"))
    assert read_shape(tmp_path / "a.tif") == (6, 9, 3)


def test_the_shape_of_a_turned_photograph_is_the_turned_one(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    for name in ("a.jpg", "a.png"):
        Image.fromarray(some_bands("uint8", (6, 9, 3))).save(tmp_path / name, exif=exif)
        assert read_shape(tmp_path / name) == read_image(tmp_path / name).shape == (9, 6, 3)


def test_pixels_keep_their_type_unless_they_are_rgb(tmp_path):
    for dtype, kept in {"uint8": "uint8", "uint16": "uint16", "float64": "float32", "bool": "uint8"}.items():
        values = some_bands("uint8") > 100 if dtype == "bool" else some_bands(dtype)
        pixels = read_pixels(values)
        assert pixels.dtype == kept
        np.testing.assert_allclose(to_unit(pixels), read_bands(values))
    rgb = some_bands("float32", (6, 9, 3))
    np.testing.assert_array_equal(read_pixels(rgb), read_image(rgb))


@given(arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))))
def test_rasters_share_no_memory_and_lose_nothing(values):
    bands = read_bands(values)
    np.testing.assert_array_equal(np.rint(bands * 255), values)
    pixels = read_pixels(values)
    assert not np.shares_memory(pixels, values)
    np.testing.assert_array_equal(pixels, values)


def test_preview_shows_the_first_three_bands_or_grey():
    five, two = some_bands("uint16"), some_bands("float32", (6, 9, 2))
    np.testing.assert_array_equal(preview(five), read_image(five[..., :3]))
    np.testing.assert_array_equal(preview(two), np.repeat(np.rint(two[..., :1] * 255).astype(np.uint8), 3, axis=2))
    rgb = some_bands("uint8", (6, 9, 3))
    assert preview(rgb) is rgb


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 4, 5), np.int16), r"values of type int16 have no fixed range; accepted are uint8.*float32"),
        (np.full((4, 4, 5), 3.0), r"float values span 3\.\.3, accepted are 0\.\.1\. Save values divided by"),
        (np.full((4, 4, 5), np.nan, np.float32), r"holds NaN or infinite values\. Replace them"),
        (np.zeros((2, 4, 4, 5)), r"4 axes\. Give \(H, W\) or \(H, W, C\)"),
        (np.zeros((0, 4, 5)), r"is empty \(4x0 pixels\)\. Give at least one pixel"),
        (np.zeros((4, 4, 0)), r"is empty"),
    ],
)
def test_arrays_without_a_range_or_form_are_refused_by_name(tmp_path, values, message):
    with pytest.raises(ImageError, match=rf"^array of shape .*{message}"):
        read_bands(values)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ImageError, match=message) as caught:
        read_bands(tmp_path / "a.npy")
    assert str(tmp_path / "a.npy") in str(caught.value)
    if "NaN" in message or "span" in message:
        assert read_shape(tmp_path / "a.npy") == (4, 4, 5)  # the header holds no values
    else:
        with pytest.raises(ImageError, match=message):
            read_shape(tmp_path / "a.npy")


@pytest.mark.parametrize("read", [read_bands, read_pixels, read_shape])
@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.png", "a.jpg"])
def test_files_that_are_missing_or_damaged_are_refused_by_name(tmp_path, read, name):
    with pytest.raises(ImageError, match=name):
        read(tmp_path / name)
    for content in (b"", b"neither a picture nor an array" * 9):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.png"])
def test_a_file_that_was_cut_is_found_without_decoding(tmp_path, name):
    path = tmp_path / name
    values = some_bands("uint8", (40, 40, 3))
    writers = {"a.npy": np.save, "a.tif": tifffile.imwrite, "a.png": lambda p, v: Image.fromarray(v).save(p)}
    writers[name](path, values)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if name != "a.tif":  # only the header of a TIFF is read
        with pytest.raises(ImageError, match=name):
            read_shape(path)
    with pytest.raises(ImageError, match=name):
        read_bands(path)


def test_a_tiff_of_several_images_or_axes_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as tiff:
        tiff.write(some_bands("uint8", (6, 9)))
        tiff.write(some_bands("uint8", (7, 9)))
    with pytest.raises(ImageError, match=r"two\.tif: holds 2 images \(\(6, 9\), \(7, 9\)\)\. Save the intended"):
        read_bands(tmp_path / "two.tif")
    tifffile.imwrite(tmp_path / "video.tif", some_bands("uint8", (2, 6, 9, 5)), photometric="minisblack")
    with pytest.raises(ImageError, match=r"video\.tif: 4 axes"):
        read_shape(tmp_path / "video.tif")


def test_tensors_of_another_form_and_other_sources_are_refused():
    with pytest.raises(ImageError, match=r"tensors are \(C, H, W\)"):
        read_bands(torch.zeros(1, 5, 4, 4))
    with pytest.raises(ImageError, match="is not an image source"):
        read_bands(7)
    with pytest.raises(ImageError, match="no such file"):
        read_bands(Path("nowhere.webp"))


@pytest.mark.parametrize("place", ["before the pixels", "after the pixels"])
def test_the_shape_of_a_png_is_that_of_the_upright_picture(tmp_path, place):
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.new("RGB", (5, 3)).save(file, "PNG", exif=exif)
    content, parts, at = file.getvalue(), {}, 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4])
        parts[content[at + 4 : at + 8]] = content[at : at + 12 + length]
        at += 12 + length
    if place == "after the pixels":
        parts[b"eXIf"] = parts.pop(b"eXIf")
        parts[b"IEND"] = parts.pop(b"IEND")
    path = tmp_path / "a.png"
    path.write_bytes(content[:8] + b"".join(parts.values()))
    assert read_bands(path).shape == (5, 3, 3)
    assert read_shape(path) == (5, 3, 3)


def test_log_lines_of_readers_do_not_reach_stderr(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 6), np.uint8))
    content = bytearray((tmp_path / "a.tif").read_bytes())
    at = content.index(b"\x31\x01\x02\0")  # the tag Software, whose text lies beyond the file now
    content[at + 4 : at + 12] = b"\xff\xff\0\0\xff\xff\xff\x7f"
    (tmp_path / "a.tif").write_bytes(content)
    assert read_image(tmp_path / "a.tif").shape == (4, 6, 3)
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=b"Exif\0\0no block")
    assert read_image(tmp_path / "a.jpg").shape == (4, 6, 3)
    assert capfd.readouterr().err == ""


LAYOUTS = {
    "grey": ((6, 9), {}),
    "RGB": ((6, 9, 3), {"photometric": "rgb"}),
    "RGBA": ((6, 9, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "planes": ((3, 6, 9), {"photometric": "rgb", "planarconfig": "separate"}),
    "inks": ((6, 9, 4), {"photometric": "separated"}),
    "palette": ((6, 9), {"photometric": "palette", "colormap": np.arange(768, dtype=np.uint16).reshape(3, 256)}),
    "pages": ((3, 6, 9), {"photometric": "minisblack"}),
    "five bands": ((6, 9, 5), CONTIG),
    "a codec that GDAL lacks": ((6, 9, 3), {"photometric": "rgb", "compression": "jpeg2000"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_training_and_segmentation_read_alike_and_as_the_header_declares(tmp_path, layout, orientation):
    shape, options = LAYOUTS[layout]
    path = tmp_path / "a.tif"
    values = some_bands("uint8", shape)
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, values, metadata=None, extratags=tags, **options)
    tifffile.imwrite(tmp_path / "flat.tif", values, metadata=None, **options)
    pixels = read_pixels(path)
    np.testing.assert_array_equal(pixels, upright(read_pixels(tmp_path / "flat.tif"), orientation))
    assert read_shape(path) == read_channels(path).shape == pixels.shape
    n_bands = pixels.shape[2]
    scene = read_scene(path, channels=n_bands, bands=range(1, n_bands + 1))
    np.testing.assert_array_equal(to_unit(scene.pixels), to_unit(pixels))
