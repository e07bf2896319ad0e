import struct
import sys
import zlib
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from PIL import BmpImagePlugin, Image

from supercuts.core.errors import ImageError, InputError
from supercuts.images.formats.pillow import is_known, read_inks, read_size
from supercuts.images.io import read_image
from supercuts.images.raster import ReadOptions, read_raster, read_shape

COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write(path, values, orientation=None, is_transparent=False):
    """Write (H, W, C) uint16 in the format's layout: rows of big-endian samples, every second row less that above."""
    height, width, channels = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    lines = [
        bytes([2]) + (rows[y] - rows[y - 1]).tobytes() if y % 2 else bytes([0]) + rows[y].tobytes()
        for y in range(height)
    ]
    header = struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[channels], 0, 0, 0)
    extra = b""
    if orientation is not None:
        exif = Image.Exif()
        exif[274] = orientation
        extra += chunk(b"eXIf", exif.tobytes()[6:])
    if is_transparent:
        extra += chunk(b"tRNS", values[0, 0].astype(">u2").tobytes())
    data = chunk(b"IDAT", zlib.compress(b"".join(lines)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b""))
    return path


def random_values(channels, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, (13, 17, channels)).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 3])
def test_all_bits_are_kept(tmp_path, channels):
    values = random_values(channels)
    actual = read_raster(write(tmp_path / "a.png", values)).values
    np.testing.assert_array_equal(actual, values)
    assert actual.dtype == np.uint16
    assert actual.flags.c_contiguous


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("is_filtered", [False, True])
def test_files_of_another_writer(tmp_path, channels, is_filtered):
    cv2 = pytest.importorskip("cv2")
    values = random_values(channels, 1)
    strategy = cv2.IMWRITE_PNG_STRATEGY_FILTERED if is_filtered else cv2.IMWRITE_PNG_STRATEGY_DEFAULT
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1], [cv2.IMWRITE_PNG_STRATEGY, strategy])
    np.testing.assert_array_equal(read_raster(tmp_path / "a.png").values, values)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_those_of_8_bits(tmp_path, channels, orientation):
    path = write(tmp_path / "a.png", random_values(channels), orientation)
    actual, expected = read_raster(path).values, read_image(path)
    assert read_size(path) == expected.shape[:2]
    assert actual.shape[:2] == expected.shape[:2]
    np.testing.assert_allclose(actual / 257, np.broadcast_to(expected[..., :channels], actual.shape), atol=1)


def test_transparent_and_other_pictures_are_bytes(tmp_path):
    for channels in (2, 4):
        raster = read_raster(write(tmp_path / "alpha.png", random_values(channels)))
        assert raster.alpha.dtype == raster.values.dtype == np.uint8
    assert read_raster(write(tmp_path / "key.png", random_values(3), is_transparent=True)).values.dtype == np.uint8
    for mode in ("L", "RGB", "RGBA", "P", "1"):
        Image.new(mode, (4, 3)).save(tmp_path / "a.png")
        raster = read_raster(tmp_path / "a.png")
        assert (raster.values.shape, raster.values.dtype, raster.is_picture) == ((3, 4, 3), np.uint8, True)


def test_files_that_were_cut_are_refused(tmp_path):
    whole = write(tmp_path / "b.png", random_values(3)).read_bytes()
    for n in range(0, len(whole) - 40, 23):
        (tmp_path / "b.png").write_bytes(whole[:n])
        with pytest.raises(ImageError, match=r"b\.png"):
            read_raster(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes(whole)
    with pytest.raises(ImageError, match="above the limit of 200"):
        read_raster(tmp_path / "b.png", max_pixels=200)


def test_inks_are_turned_into_light():
    inks = np.zeros((2, 2, 4), np.uint16)
    inks[..., 1:3] = 65535  # magenta and yellow
    assert (read_inks(inks, "a").values == (255, 0, 0)).all()


def test_pictures_are_known_by_how_they_start():
    assert is_known(b"\x89PNG\r\n\x1a\n")
    assert is_known(b"GIF89a")
    assert not is_known(b"%PDF-1.4")


def test_frames_are_chosen_by_number(tmp_path):
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        with Image.open(tmp_path / name) as file:
            for source in (tmp_path / name, file):
                for number, color in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255)), 1):
                    raster = read_raster(source, ReadOptions(page=number))
                    assert raster.values[0, 0].tolist() == list(color)
        np.testing.assert_array_equal(read_raster(tmp_path / name).values[0, 0], (255, 0, 0))
        with pytest.raises(InputError, match=r"page=4: .* has 3 page.* from 1 to 3"):
            read_raster(tmp_path / name, ReadOptions(page=4))
    frames[0].save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"page=2: .* has 1 page"):
        read_raster(tmp_path / "a.png", ReadOptions(page=2))


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(99)


@pytest.mark.parametrize("exif", [1, 6])
def test_avif_is_read_upright(tmp_path, exif):
    values = np.zeros((32, 48, 3), np.uint8)
    values[:, 24:] = (200, 40, 90)
    tag = Image.Exif()
    tag[0x0112] = exif
    Image.fromarray(values).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4", exif=tag)
    expected = values if exif == 1 else np.rot90(values, -1)
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - expected).max() <= 4
    assert read_shape(tmp_path / "a.avif") == expected.shape


@pytest.mark.parametrize("start", [b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51"])
def test_jpeg_2000_is_named(tmp_path, start):
    (tmp_path / "a.jp2").write_bytes(start + bytes(100))
    with pytest.raises(ImageError, match=r"a\.jp2: is JPEG 2000, which is not read: convert it to PNG"):
        read_image(tmp_path / "a.jp2")


def test_a_hierarchy_and_a_model_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", labels=np.zeros(3))
    (tmp_path / "m.safetensors").write_bytes(bytes(99))
    with pytest.raises(ImageError, match=r"a\.npz: is an \.npz file, not an image\. .* use supercuts info, cut, view"):
        read_image(tmp_path / "a.npz")
    with pytest.raises(ImageError, match=r"m\.safetensors: is a file of weights, not an image\. .*--model"):
        read_image(tmp_path / "m.safetensors")


def test_heic_without_its_package_is_refused_with_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(HEIC)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"a\.heic: HEIC needs another package: pip install pillow-heif"):
        read_image(tmp_path / "a.heic")
    with pytest.raises(ImageError, match=r"a\.heic.*pip install pillow-heif"):
        read_shape(tmp_path / "a.heic")


def test_heic_is_read_by_its_package(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(HEIC)  # whatever the name
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    plugin = ModuleType("pillow_heif.as_plugin")
    plugin.HeifImageFile = lambda _: BmpImagePlugin.BmpImageFile(tmp_path / "a.bmp")
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    package = ModuleType("pillow_heif")
    package.as_plugin = plugin
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), pixels)
    assert read_shape(tmp_path / "a.jpg") == pixels.shape


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_a_true_heic_is_upright_and_as_it_was(tmp_path):
    import pillow_heif

    y, x = np.mgrid[:40, :60]
    pixels = np.stack([x * 4, y * 6, 255 - x * 2], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    file = pillow_heif.from_pillow(Image.fromarray(pixels))
    file.save(tmp_path / "a.heic", quality=100, exif=exif.tobytes())
    image = read_image(tmp_path / "a.heic")
    assert read_shape(tmp_path / "a.heic") == image.shape == (60, 40, 3)
    assert np.abs(image.astype(int) - np.rot90(pixels, -1)).max() < 12
