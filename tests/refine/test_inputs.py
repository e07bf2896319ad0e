import numpy as np
import pytest
import tifffile
from PIL import Image

from supercuts.core.errors import FileFormatError, ImageError, InputError
from supercuts.refine.inputs import mark, read_input, read_scribbles


def test_grey_files_have_one_channel_or_three(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(np.array([[0, 255], [51, 102]], np.uint8)).save(path)
    np.testing.assert_allclose(read_input(path, 1)[..., 0], [[0, 1], [0.2, 0.4]], atol=1e-6)
    assert read_input(path, 3).shape == (2, 2, 3)


@pytest.mark.parametrize("channels", [5, None])
def test_tiffs_keep_16_bits_and_five_channels(tmp_path, channels):
    path = tmp_path / "five.tif"
    values = np.random.default_rng(0).integers(0, 65536, (8, 9, 5)).astype(np.uint16)
    tifffile.imwrite(path, values, photometric="minisblack")
    np.testing.assert_allclose(read_input(path, channels), values / 65535, atol=1e-6)


def test_a_16_bit_grey_tiff(tmp_path):
    values = np.arange(0, 60000, 1000, dtype=np.uint16).reshape(6, 10)
    tifffile.imwrite(tmp_path / "grey.tif", values)
    np.testing.assert_allclose(read_input(tmp_path / "grey.tif", 1)[..., 0], values / 65535, atol=1e-6)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ImageError, match="Set channels=4"):
        read_input(np.zeros((3, 3, 4), np.uint8), 5)


def test_scribbles_are_classes_and_255_none(tmp_path):
    Image.fromarray(np.array([[0, 8, 255]], np.uint8)).save(tmp_path / "s.png")
    np.testing.assert_array_equal(read_scribbles(tmp_path / "s.png"), [[0, 8, -1]])
    np.testing.assert_array_equal(mark(np.array([[-1, 255, 300]])), [[-1, -1, 300]])
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(FileFormatError, match="Save the map itself"):
        read_scribbles(tmp_path / "rgb.png")
    np.save(tmp_path / "three.npy", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ImageError, match="grey picture of classes"):
        read_scribbles(tmp_path / "three.npy")
    with pytest.raises(InputError, match="give integers"):
        mark.__wrapped__(np.zeros((2, 2)))  # around the check of annotations
