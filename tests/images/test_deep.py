import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from supercuts.images import deep
from supercuts.images.deep import read_deep
from supercuts.images.io import read_image

COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write(path, values, orientation=None, is_transparent=False):
    """Write (H, W, C) uint16 as the format says: rows of big-endian samples, every second one less that above."""
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
    found = read_deep(write(tmp_path / "a.png", values))
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.uint16
    assert found.flags.c_contiguous


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("is_filtered", [False, True])
def test_files_of_another_writer(tmp_path, channels, is_filtered):
    cv2 = pytest.importorskip("cv2")
    values = random_values(channels, 1)
    strategy = cv2.IMWRITE_PNG_STRATEGY_FILTERED if is_filtered else cv2.IMWRITE_PNG_STRATEGY_DEFAULT
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1], [cv2.IMWRITE_PNG_STRATEGY, strategy])
    np.testing.assert_array_equal(read_deep(tmp_path / "a.png"), values)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_those_of_8_bits(tmp_path, channels, orientation):
    path = write(tmp_path / "a.png", random_values(channels), orientation)
    found, expected = read_deep(path), read_image(path)
    assert found.shape[:2] == expected.shape[:2]
    np.testing.assert_allclose(found / 257, np.broadcast_to(expected[..., :channels], found.shape), atol=1)


def test_other_files_are_left_to_read_image(tmp_path, monkeypatch):
    for channels in (2, 4):
        assert read_deep(write(tmp_path / "alpha.png", random_values(channels))) is None
    assert read_deep(write(tmp_path / "key.png", random_values(3), is_transparent=True)) is None
    assert read_deep(write(tmp_path / "key.png", random_values(1), is_transparent=True)) is None
    for mode in ("L", "RGB", "RGBA", "P", "1"):
        Image.new(mode, (4, 3)).save(tmp_path / "a.png")
        assert read_deep(tmp_path / "a.png") is None
    Image.new("RGB", (4, 3)).save(tmp_path / "a.jpg")
    assert read_deep(tmp_path / "a.jpg") is None
    assert read_deep(tmp_path / "none.png") is None
    whole = write(tmp_path / "b.png", random_values(3)).read_bytes()
    for n in range(0, len(whole) - 40, 23):
        (tmp_path / "b.png").write_bytes(whole[:n])
        assert read_deep(tmp_path / "b.png") is None
    monkeypatch.setattr(deep, "MAX_PIXELS", 200)
    assert read_deep(write(tmp_path / "b.png", random_values(3))) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", [None, 6])
@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16), "compression": "zlib", "predictor": True}, {"planarconfig": 2}]
)
def test_tiffs_keep_all_bits(tmp_path, channels, orientation, options):
    values, path = random_values(channels), tmp_path / "a.tif"
    stored = values[..., 0] if channels == 1 else values
    if "planarconfig" in options:
        stored = stored if channels == 1 else np.moveaxis(stored, 2, 0)
        options = options if channels == 3 else {}
    kind = "minisblack" if channels == 1 else "rgb"
    tags = [] if orientation is None else [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, stored, photometric=kind, extratags=tags, **options)
    found = read_deep(path)
    np.testing.assert_array_equal(found, values if orientation is None else np.rot90(values, -1))
    grey = np.repeat(found, 3, axis=2) if channels == 1 else found
    np.testing.assert_array_equal(read_image(path), (grey.astype(np.uint32) + 128) // 257)


def test_other_tiffs_are_for_read_image(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    deep_values = random_values(3)
    for values, options in (
        (deep_values.astype(np.uint8), {"photometric": "rgb"}),
        (deep_values[..., 0], {"photometric": "miniswhite"}),
        (np.concatenate([deep_values, deep_values[..., :1]], axis=2), {"photometric": "rgb", "extrasamples": [2]}),
        (deep_values / np.float32(65535), {"photometric": "rgb"}),
    ):
        tifffile.imwrite(path, values, **options)
        assert read_deep(path) is None
        assert read_image(path).shape == (13, 17, 3)
    tifffile.imwrite(path, deep_values, photometric="rgb")
    monkeypatch.setattr(deep, "MAX_PIXELS", 200)
    assert read_deep(path) is None
    path.write_bytes(path.read_bytes()[:40])
    assert read_deep(path) is None
