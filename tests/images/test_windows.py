import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from supercuts.core.errors import ImageError
from supercuts.images import windows
from supercuts.images.windows import read_tiff


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("n_bands", [1, 3, 6])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 32)}, {"rowsperstrip": 7}, {"compression": "zlib"}])
def test_values_are_those_of_the_whole_file(tmp_path, dtype, n_bands, layout):
    values = np.random.default_rng(0).integers(0, 200, (41, 53, n_bands)).astype(dtype)
    stored = values[..., 0] if n_bands == 1 else values
    kind = "rgb" if n_bands == 3 else "minisblack"
    planar = {} if n_bands == 1 else {"planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=kind, **planar, **layout)
    raster = read_tiff(tmp_path / "a.tif")
    assert raster.valid is None
    assert raster.values.dtype == dtype
    np.testing.assert_array_equal(raster.values, values)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}])
def test_bands_that_lie_one_after_the_other_are_put_together(tmp_path, layout):
    values = np.random.default_rng(0).integers(0, 60000, (5, 33, 40), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="separate", **layout)
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tif").values, values.transpose(1, 2, 0))


def test_pixels_without_data_are_not_valid(tmp_path):
    values = np.full((9, 8, 3), 5, np.uint8)
    values[2, 3] = values[7, 7] = 9
    values[4, 4, 0] = 9  # one band alone
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extratags=[(42113, 2, 2, "9", True)])
    assert np.argwhere(~read_tiff(tmp_path / "a.tif").valid).tolist() == [[2, 3], [7, 7]]
    floats = np.zeros((9, 8), np.float32)
    floats[1, 1] = np.nan
    tifffile.imwrite(tmp_path / "b.tif", floats, extratags=[(42113, 2, 4, "nan", True)])
    assert np.argwhere(~read_tiff(tmp_path / "b.tif").valid).tolist() == [[1, 1]]


def test_pictures_are_left_to_the_reader_of_pictures(tmp_path):
    rgba = np.zeros((9, 8, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb")
    assert read_tiff(tmp_path / "a.tif") is None
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((2, 9, 8), np.uint8), photometric="minisblack")
    assert read_tiff(tmp_path / "b.tif") is None


def test_refuses_what_is_too_large_or_damaged(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((90, 80), np.uint8))
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[:300])
    with pytest.raises(ImageError, match=r"cut\.tif"):
        read_tiff(tmp_path / "cut.tif")
    monkeypatch.setattr(windows, "MAX_PIXELS", 100)
    with pytest.raises(ImageError, match="Cut the image into parts"):
        read_tiff(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_packed_otherwise_are_unpacked_by_pillow(tmp_path, mode):
    values = np.random.default_rng(0).integers(1, 250, (20, 30, 3), dtype=np.uint8)
    values[3, 4] = 0
    values = values if mode == "RGB" else values[..., :1]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[42113] = "0"
    image = Image.fromarray(values if mode == "RGB" else values[..., 0])
    image.save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo=tags)
    raster = read_tiff(tmp_path / "a.tif")
    assert np.argwhere(~raster.valid).tolist() == [[3, 4]]
    np.testing.assert_array_equal(raster.values, np.broadcast_to(values, raster.values.shape))
