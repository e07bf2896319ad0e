import io
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from supercuts.core.errors import ImageError, InputError
from supercuts.core.files import is_own_picture
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images import io as image_io
from supercuts.images import scenes
from supercuts.images.georeference import Georeference
from supercuts.images.io import read_image, write_labels_png, write_png


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (23, 31, 3)).astype(np.uint8)
    pixels[5:15] = pixels[5]
    return pixels


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def tiff_bytes(values, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def saved(folder, data):
    path = folder / "photo.bin"  # the name must not matter
    path.write_bytes(data)
    return path


LOSSLESS = {
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff_lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff_deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_give_back_their_pixels(tmp_path, picture, kind):
    file_format, options = LOSSLESS[kind]
    path = saved(tmp_path, encoded(Image.fromarray(picture), file_format, **options))
    for source in (path, str(path)):
        np.testing.assert_array_equal(read_image(source), picture)


def test_jpeg_and_cmyk_jpeg_match_pillow(tmp_path, picture):
    for mode in ("RGB", "L", "CMYK"):
        path = saved(tmp_path, encoded(Image.fromarray(picture).convert(mode), "JPEG"))
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


def test_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 3), color) for color in ((255, 0, 0), (0, 0, 255))]
    path = saved(tmp_path, encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (read_image(path) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({}, lambda p: p.astype(np.uint16) * 257),
        ({"compression": "zlib", "predictor": True}, lambda p: p.astype(np.uint16) * 257),
        ({"byteorder": ">"}, lambda p: p.astype(">u2") * 257),
        ({}, lambda p: p.astype(np.float32) / 255),
        ({"tile": (16, 16)}, lambda p: p.astype(np.float64) / 255),
    ],
    ids=["uint16", "uint16 zlib", "uint16 big-endian", "float32", "float64 tiled"],
)
def test_deep_tiff_is_scaled(tmp_path, picture, options, values):
    path = saved(tmp_path, tiff_bytes(values(picture), photometric="rgb", **options))
    np.testing.assert_array_equal(read_image(path), picture)


def test_deep_tiff_variants(tmp_path, picture):
    deep = picture.astype(np.uint16) * 257
    path = saved(tmp_path, tiff_bytes(np.moveaxis(deep, 2, 0), photometric="rgb", planarconfig="separate"))
    np.testing.assert_array_equal(read_image(path), picture)
    path = saved(tmp_path, tiff_bytes(deep[..., 0], photometric="miniswhite"))
    np.testing.assert_array_equal(read_image(path)[..., 1], 255 - picture[..., 0])
    path = saved(tmp_path, tiff_bytes(deep, photometric="rgb", extratags=[(274, "H", 1, 6, False)]))
    np.testing.assert_array_equal(read_image(path), np.rot90(picture, -1))
    cmyk = np.zeros((2, 2, 4), np.uint16)
    cmyk[..., 1:3] = 65535  # magenta and yellow ink give red
    path = saved(tmp_path, tiff_bytes(cmyk, photometric="separated"))
    np.testing.assert_array_equal(read_image(path), np.broadcast_to(np.uint8([255, 0, 0]), (2, 2, 3)))


def test_tiff_whose_tile_exceeds_the_image_is_refused(tmp_path, picture):
    data = tiff_bytes(picture.astype(np.uint16), photometric="rgb", tile=(32, 32))
    widened = data
    for tag in (322, 323):  # tile width and length, stored as one LONG each
        entry = struct.pack("<HHII", tag, 4, 1, 32)
        assert entry in data
        widened = widened.replace(entry, struct.pack("<HHII", tag, 4, 1, 65504))
    with pytest.raises(ImageError, match=r"its tiles claim \(65504, 65504, 3\) values"):
        read_image(saved(tmp_path, widened), max_pixels=10**6)


def test_deep_tiff_refusals(tmp_path, picture):
    path = saved(tmp_path, tiff_bytes(picture.astype(np.float32), photometric="rgb"))
    with pytest.raises(ImageError, match=r"photo\.bin.*Divide by 255"):
        read_image(path)
    path = saved(tmp_path, tiff_bytes(np.zeros((4, 5, 7), np.uint16), photometric="minisblack", planarconfig="contig"))
    with pytest.raises(ImageError, match=r"7 samples a pixel.*Choose 1 .grey. or 3"):
        read_image(path)
    path = saved(tmp_path, tiff_bytes(picture.astype(np.uint16), photometric="rgb"))
    with pytest.raises(ImageError, match="above the limit of 700"):
        read_image(path, max_pixels=700)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_orientation_matches_pillow(tmp_path, picture, file_format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path, encoded(Image.fromarray(picture), file_format, exif=exif))
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(path), upright)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(image), upright)
        np.testing.assert_array_equal(read_image(image), upright)  # the first reading has not turned it


def test_orientation_6_turns_clockwise(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    data = encoded(Image.fromarray(np.uint8([[1, 2, 3], [4, 5, 6]])), "PNG", exif=exif)
    assert read_image(saved(tmp_path, data))[..., 0].tolist() == [[4, 1], [5, 2], [6, 3]]


def test_16_bit_png_is_scaled(tmp_path):
    path = saved(tmp_path, encoded(Image.fromarray(np.uint16([[0, 128, 129, 257, 65535]])), "PNG"))
    assert read_image(path)[0].tolist() == [[v] * 3 for v in (0, 0, 1, 1, 255)]


@pytest.mark.parametrize("color", [(0, 0, 0, 51), (255, 0, 10, 0), (7, 8, 9, 255), (10, 11, 12, 100)])
def test_alpha_is_laid_over_white(tmp_path, color):
    image = Image.new("RGBA", (2, 2), color)
    expected = [round((value * color[3] + 255 * (255 - color[3])) / 255) for value in color[:3]]
    array = np.asarray(image)
    for source in (image, array, array / 255, saved(tmp_path, encoded(image, "PNG"))):
        assert read_image(source)[0, 0].tolist() == expected


def test_palette_transparency_and_grey_alpha_are_laid_over_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert read_image(palette).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    path = saved(tmp_path, encoded(palette, "PNG", transparency=0))
    assert read_image(path).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    grey = Image.new("LA", (1, 1), (0, 204))
    for source in (grey, grey.convert("La"), saved(tmp_path, encoded(grey, "PNG"))):
        assert read_image(source).tolist() == [[[51, 51, 51]]]


def test_colour_key_becomes_white(tmp_path):
    path = saved(tmp_path, encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3)))
    assert read_image(path).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "RGBX", "RGBa", "PA"])
def test_pil_modes_give_the_same_white(mode):
    image = Image.new("RGBA", (3, 2), (255, 255, 255, 255))
    via = {"RGBX": "RGB", "HSV": "RGB", "1": "L", "CMYK": "RGB", "YCbCr": "RGB"}.get(mode)
    image = image.convert(via).convert(mode) if via else image.convert("P").convert("PA") if mode == "PA" else image
    image = image if image.mode == mode else image.convert(mode)
    result = read_image(image)
    assert result.shape == (2, 3, 3)
    assert result.min() >= 254  # YCbCr rounds


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool, np.float16, np.float32, np.float64, np.longdouble, ">u2"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4)])
def test_array_kinds_agree(dtype, shape):
    top = {"u": 255 if np.dtype(dtype).itemsize == 1 else 65535, "b": 1, "f": 1}[np.dtype(dtype).kind]
    array = np.full(shape, top).astype(dtype)
    array[0] = 0
    if shape[-1] == 4:
        array[..., 3] = top
    result = read_image(array)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert result.shape == (2, 3, 3)
    assert result[0].max() == 0
    assert result[1].min() == 255


def test_result_shares_no_memory(picture):
    for source in (picture, picture[::-1], np.ascontiguousarray(picture[..., :1])):
        result = read_image(source)
        assert not np.shares_memory(result, source)
        assert result.flags.writeable


def test_float_survives_the_round_trip():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for dtype in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(read_image((values / 255).astype(dtype))[..., 0], values)


def test_torch_tensors(picture):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)
    np.testing.assert_array_equal(read_image(tensor), picture)
    np.testing.assert_array_equal(read_image((tensor / 255).requires_grad_()), picture)
    np.testing.assert_array_equal(read_image(tensor[:1]), np.repeat(picture[..., :1], 3, axis=2))
    assert read_image(torch.ones(3, 2, 2, dtype=torch.bfloat16)).min() == 255
    with pytest.raises(ImageError, match=r"pass one image, tensor\[0\]"):
        read_image(tensor[None])
    with pytest.raises(ImageError, match=r"permute\(2, 0, 1\)"):
        read_image(tensor.permute(1, 2, 0))
    with pytest.raises(ImageError, match=r"tensor\[None\]"):
        read_image(tensor[0])
    with pytest.raises(ImageError, match="Divide by 255"):
        read_image(tensor.float())
    with pytest.raises(ImageError, match="dense, strided"):
        read_image(torch.zeros(3, 2, 2).to_sparse())


def test_import_leaves_torch_out():
    code = "import sys, supercuts.images.io, supercuts.images.draw; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


ARRAY_REFUSALS = [
    (np.zeros((0, 3, 3), np.uint8), "is empty .3x0 pixels"),
    (np.zeros((3, 0), np.uint8), "is empty .0x3 pixels"),
    (np.zeros(3, np.uint8), "1 axes.*H, W, C"),
    (np.zeros((1, 2, 2, 3), np.uint8), "4 axes.*pass one image"),
    (np.zeros((2, 2, 2), np.uint8), "2 channels; 1 .grey., 3"),
    (np.zeros((3, 8, 8), np.uint8), r"8 channels.*transpose\(1, 2, 0\)"),
    (np.zeros((8, 8, 7), np.uint8), "7 channels.*Choose 1 or 3"),
    (np.array([[0.0, np.nan]]), "NaN or infinite.*nan_to_num"),
    (np.array([[0.0, np.inf]]), "NaN or infinite.*nan_to_num"),
    (np.array([[[0, 0, 0, np.nan]]], np.float16), "transparency: holds NaN or infinite.*nan_to_num"),
    (np.array([[[0.2, 0.2, 0.2, np.inf]]]), "transparency: holds NaN or infinite.*nan_to_num"),
    (np.array([[0.0, 200.0]]), "span 0..200, accepted are 0..1. Divide by 255"),
    (np.array([[-2.0, 1.0]]), "normalisation"),
    (np.array([[1, 2]]), r"int64.*astype\(np.uint8\)"),
    (np.array([[1, 2]], np.int16), r"int16.*astype\(np.uint8\)"),
    (np.array([[1j, 2]]), "complex128 have no fixed range"),
    (np.array([["a", "b"]]), "have no fixed range"),
    (np.array([[None, "b"]]), "object have no fixed range"),
]


@pytest.mark.parametrize(("array", "message"), ARRAY_REFUSALS)
def test_array_refusals(array, message):
    with pytest.raises(ImageError, match=message) as caught:
        read_image(array)
    assert str(array.shape) in str(caught.value)


@pytest.mark.parametrize("source", [None, 3, b"abc", [[1, 2]], io.BytesIO(b""), np.uint8(1)])
def test_other_types_are_refused(source):
    with pytest.raises(ImageError, match=r"is not an image source. Pass one path, PIL image"):
        read_image(source)


def test_path_refusals(tmp_path):
    empty, text, pipe = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "\udcff.png"
    empty.write_bytes(b"")
    text.write_bytes(b"hello world, no picture here")
    for source, message in [
        (tmp_path / "none.png", "no such file. Check the path"),
        ("https://example.org/a.png", "Download it first"),
        (tmp_path, "is a folder"),
        (empty, r"is empty \(0 bytes\)"),
        (text, "is not PNG, JPEG, WebP.*starts with b'hello"),
        ("a\0b.png", r"not a usable path|no such file"),
        ("x" * 5000, "not a usable path|no such file"),
        ("", "is a folder|no such file"),
        (pipe, "no such file"),
        ("/dev/null", "not a regular file"),
    ]:
        with pytest.raises(ImageError, match=message):
            read_image(source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.CZI", b"ZISRAWFILE", "is CZI, which is not read: save it as OME-TIFF.*that Python's czifile reads"),
        ("a.nd2", b"\xda\xce\xbe\n", "is ND2, which is not read: save it as OME-TIFF.*that Python's nd2 reads"),
        ("a.psd", b"8BPS", "is PSD, which is not read: convert it to PNG, JPEG or TIFF"),
        ("a.dng", None, "is DNG, which is not read: convert it to PNG, JPEG or TIFF"),
        ("a.jpg", b"\0\0\0\x0cjP  \r\n\x87\n", "is JPEG 2000, which is not read: convert it"),
    ],
)
def test_formats_that_are_not_read_are_named_with_the_remedy(tmp_path, picture, name, content, message):
    path = tmp_path / name
    path.write_bytes(content or encoded(Image.fromarray(picture), "TIFF"))
    with pytest.raises(ImageError, match=message):
        read_image(path)
    path.with_suffix(".tif").write_bytes(encoded(Image.fromarray(picture), "TIFF"))
    assert read_image(path.with_suffix(".tif")).shape == picture.shape


def test_pil_refusals(tmp_path, picture):
    with pytest.raises(ImageError, match="is empty"):
        read_image(Image.new("RGB", (0, 5)))
    with pytest.raises(ImageError, match=r"astype\(np.uint8\)"):
        read_image(Image.new("I", (2, 2)))
    closed = Image.open(saved(tmp_path, encoded(Image.fromarray(picture), "PNG")))
    closed.close()
    with pytest.raises(ImageError, match=r"PIL image of mode RGB and size 31x23.*Pass an open image"):
        read_image(closed)
    with pytest.raises(ImageError, match="above the limit of 5"):
        read_image(Image.new("L", (2, 3)), max_pixels=5)
    with pytest.raises(InputError, match="max_pixels=0 is outside"):
        read_image(Image.new("L", (2, 3)), max_pixels=0)


def png_that_claims(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [12_300, 30_000])  # Pillow would warn of the first and refuse the second
def test_pixel_limit_comes_before_decoding(tmp_path, side):
    path = saved(tmp_path, png_that_claims(side, side))
    with pytest.raises(ImageError, match=f"{side}x{side} = {side * side} pixels, above the limit of 150000000"):
        read_image(path)
    with pytest.raises(ImageError, match="cannot be decoded"):  # with the limit raised, the data are missing
        read_image(saved(tmp_path, png_that_claims(13_000, 1)), max_pixels=10**9)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_pillows_own_limit_does_not_leak(tmp_path, picture, monkeypatch, file_format):
    options = {"save_all": True, "disposal": 2} if file_format == "GIF" else {}  # a fill as large as the frame
    path = saved(tmp_path, encoded(Image.fromarray(picture), file_format, **options))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # the picture has 713: a warning, which is an error in tests
    assert read_image(path).shape == picture.shape
    assert Image.MAX_IMAGE_PIXELS == 400
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    if file_format in ("WEBP", "GIF"):  # these plugins refuse by themselves
        with pytest.raises(ImageError, match=r"raise PIL\.Image.MAX_IMAGE_PIXELS"):
            read_image(path)
    else:
        assert read_image(path).shape == picture.shape


def test_threads_read_alike(tmp_path, picture):
    path = saved(tmp_path, encoded(Image.fromarray(picture), "GIF"))
    expected = read_image(path)
    barrier = threading.Barrier(4)

    def read():
        barrier.wait()
        return [read_image(path) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(read) for _ in range(4)]
    for job in jobs:
        for result in job.result():
            np.testing.assert_array_equal(result, expected)


def damaged_kinds(picture):
    image, deep = Image.fromarray(picture), picture.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[274], exif[271] = 6, "maker"
    yield from (encoded(image, file_format, **options) for file_format, options in LOSSLESS.values())
    yield from (encoded(image, file_format, exif=exif) for file_format in ("JPEG", "WEBP", "PNG", "TIFF"))
    yield from (encoded(image, "GIF"), encoded(image, "TIFF", compression="jpeg"))
    yield encoded(image.quantize(16), "PNG", transparency=3)
    yield tiff_bytes(deep, photometric="rgb")
    yield tiff_bytes(deep, photometric="rgb", compression="zlib", predictor=True)
    yield tiff_bytes(picture.astype(np.float32) / 255, photometric="rgb", tile=(16, 16))


@pytest.mark.filterwarnings("ignore")  # like users run it: Pillow warns of damaged metadata and then decodes
def test_damaged_files_raise_only_image_errors(tmp_path, picture):
    rng = np.random.default_rng(1)
    n_refused = 0
    for data in damaged_kinds(picture):
        flipped = []
        for _ in range(25):
            broken = bytearray(data)
            broken[rng.integers(min(len(data), 300)) * rng.choice([1, -1])] = rng.integers(256)
            flipped.append(bytes(broken))
        lengths = np.linspace(1, 0.9 * len(data), 25).astype(int)
        for broken in [data[:n] for n in lengths] + flipped:
            path = saved(tmp_path, broken)
            try:
                result = read_image(path, max_pixels=10**6)
            except ImageError:
                n_refused += 1
                continue
            assert len(broken) == len(data), "a file that lost a tenth or more is not an image"
            assert result.dtype == np.uint8
            assert result.shape[2] == 3
    assert n_refused > 16 * 25


def test_truncated_file_is_named_with_the_remedy(tmp_path, picture):
    path = saved(tmp_path, encoded(Image.fromarray(picture), "JPEG")[:-300])
    with pytest.raises(ImageError, match=r"photo\.bin: cannot be decoded .*truncated or damaged: copy or download"):
        read_image(path)
    with Image.open(path) as image, pytest.raises(ImageError, match=r"Pass an open image from an undamaged file"):
        read_image(image)


any_shape = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
any_dtype = st.one_of(hnp.scalar_dtypes(), st.sampled_from([np.dtype("u1"), np.dtype("u2"), np.dtype("f4")]))


@given(hnp.arrays(any_dtype, st.one_of(any_shape, st.sampled_from([(2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4)]))))
def test_any_array_gives_an_image_or_an_image_error(array):
    try:
        result = read_image(array)
    except ImageError:
        return
    assert result.dtype == np.uint8
    assert result.shape == (*array.shape[:2], 3)
    assert result.flags.c_contiguous


def test_write_png_round_trip(tmp_path, picture):
    path = tmp_path / "new" / "a.png"
    for image in (picture, picture[:, ::-1], picture[..., 0], picture[..., 0].astype(np.uint16) * 257):
        write_png(path, image)
        with Image.open(path) as stored:
            np.testing.assert_array_equal(np.asarray(stored), image)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8), np.zeros((2, 2, 3), "u2")]
)
def test_write_png_refuses_other_arrays_and_keeps_the_old_file(tmp_path, image):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="is not a PNG picture: give uint8"):
        write_png(path, image)
    assert path.read_bytes() == b"old"


def test_write_png_refuses_another_suffix(tmp_path):
    with pytest.raises(InputError, match=r"Name it a\.png"):
        write_png(tmp_path / "a.jpg", np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16, np.uint8])
def test_write_labels_png_keeps_ids(tmp_path, dtype):
    labels = np.array([[0, 1], [200, 255 if dtype == np.uint8 else 65535]]).astype(dtype)
    write_labels_png(tmp_path / "l.png", labels)
    with Image.open(tmp_path / "l.png") as stored:
        assert stored.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(stored), labels)


def test_write_labels_png_with_a_palette_keeps_ids_that_it_has_colours_for(tmp_path):
    labels = np.array([[0, 1, 2], [200, 254, 255]], np.int32)
    write_labels_png(tmp_path / "l.png", labels, palette=True)
    with Image.open(tmp_path / "l.png") as stored:
        assert stored.mode == "P"
        np.testing.assert_array_equal(np.asarray(stored), labels)
        colors = np.asarray(stored.convert("RGB")).reshape(-1, 3)
    assert (colors[0] == 0).all()
    assert len(np.unique(colors, axis=0)) == 6
    write_labels_png(tmp_path / "m.png", labels + 1, palette=True)
    with Image.open(tmp_path / "m.png") as stored:
        assert stored.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(stored), labels + 1)


@pytest.mark.parametrize("name", ["a.png", "l.png", "p.png", "l.tif", "g.tif", "m"])
def test_what_is_written_is_recognised(tmp_path, name):
    labels = np.zeros((40, 50), np.int32)
    tree = (np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32))
    h = Hierarchy(labels, *tree, levels={"part": 0.1}, georeference=Georeference((2, 0, 5, 0, -2, 7), "EPSG:32633"))
    write = {
        "a.png": lambda path: write_png(path, np.zeros((40, 50, 3), np.uint8)),
        "l.png": lambda path: write_labels_png(path, labels),
        "p.png": lambda path: write_labels_png(path, labels, palette=True),
        "l.tif": lambda path: h.export(path, "labels"),
        "g.tif": lambda path: h.export(path, "geotiff"),
        "m": lambda path: h.export(path, "masks"),
    }
    write[name](tmp_path / name)
    path = tmp_path / name if name != "m" else tmp_path / "m/part/0000.png"
    assert is_own_picture(path)
    if name == "g.tif":  # Pillow cannot read two bands of 16 bits
        return
    with Image.open(path) as image:
        image.save(tmp_path / f"other{path.suffix}", **({"tiffinfo": {305: "GIMP"}} if path.suffix == ".tif" else {}))
    assert not is_own_picture(tmp_path / f"other{path.suffix}")
    assert not is_own_picture(tmp_path / "missing.png")


@pytest.mark.parametrize("worst", [-1, 65536])
def test_write_labels_png_refuses_ids_beyond_16_bits(tmp_path, worst):
    with pytest.raises(InputError, match=r"do not fit a 16-bit PNG.*Cut fewer regions, or save"):
        write_labels_png(tmp_path / "l.png", np.array([[0, worst]]))
    assert not list(tmp_path.iterdir())


def test_an_image_without_enough_memory_is_refused_with_the_remedy(monkeypatch):
    def allocate(_):
        raise MemoryError("Unable to allocate 9 GiB")

    for module in (image_io, scenes):
        monkeypatch.setattr(module, "to_rgb", allocate)
    for read in (read_image, scenes.read_scene):
        with pytest.raises(ImageError, match=r"does not fit in memory \(MemoryError: Unable.*\)\. Shrink it, cut it"):
            read(np.zeros((4, 5, 3), np.uint8))
