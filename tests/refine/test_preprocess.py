import numpy as np
import pytest
import tifffile
from PIL import Image

from supercuts.core.errors import FileFormatError, ImageError, InputError
from supercuts.images.io import read_image
from supercuts.refine.config import PreprocessConfig
from supercuts.refine.preprocess import mark, prepare, prepare_labels, read_input, read_scribbles


@pytest.fixture
def image():
    return np.random.default_rng(0).random((70, 101, 3), dtype=np.float32)


def test_nothing_is_done_unless_asked(image):
    np.testing.assert_array_equal(prepare(image, PreprocessConfig()), image)


def test_a_crop_then_a_multiple(image):
    config = PreprocessConfig(crop_px=(2, 3, 0, 1), multiple=32)
    assert prepare(image, config).shape == (64, 96, 3)
    np.testing.assert_array_equal(prepare(image, PreprocessConfig(crop_px=(2, 3, 0, 1))), image[2:-3, :-1])


def test_the_median_takes_away_specks_of_each_channel():
    image = np.full((9, 9, 2), 0.5, np.float32)
    image[4, 4, 1] = 1
    np.testing.assert_array_equal(prepare(image, PreprocessConfig(median_px=3)), 0.5)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_equalisation_stretches_contrast(channels):
    image = np.random.default_rng(0).random((40, 48, channels), dtype=np.float32) * 0.1 + 0.4
    equalised = prepare(image, PreprocessConfig(clahe_clip=0.5))
    assert equalised.std() > 2 * image.std()
    assert equalised.dtype == np.float32
    assert equalised.shape == image.shape


def test_labels_move_with_the_image_and_none_is_new(image):
    config = PreprocessConfig(crop_px=(1, 1, 1, 1), size=(30, 40))
    labels = np.random.default_rng(1).choice([-1, 3, 77], (70, 101)).astype(np.int32)
    moved = prepare_labels(labels, config)
    assert moved.shape == prepare(image, config).shape[:2]
    assert set(np.unique(moved)) == {-1, 3, 77}


def test_a_crop_of_everything_is_refused(image):
    with pytest.raises(InputError, match="crop less"):
        prepare(image, PreprocessConfig(crop_px=(40, 30, 0, 0)))


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


@pytest.mark.parametrize("channels", [1, 3, None])
def test_a_16_bit_rgb_tiff(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 65536, (6, 10, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "rgb.tif", values, photometric="rgb")
    expected = (values / 65535) @ [[0.299], [0.587], [0.114]] if channels == 1 else values / 65535
    np.testing.assert_allclose(read_input(tmp_path / "rgb.tif", channels), expected, atol=2e-7)


@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize("channels", [1, 3, None])
def test_a_16_bit_png_keeps_steps_that_8_bits_do_not(tmp_path, stored, channels):
    """A gradient of 1000 values within four steps of 8 bits, one of 257 values within one of them."""
    cv2 = pytest.importorskip("cv2")
    for n in (1000, 257):
        grey = (30_000 - n // 2 + np.arange(n)).astype(np.uint16).reshape(1, -1)
        picture = grey if stored == 1 else np.stack([grey, grey[:, ::-1], grey], axis=2)  # in the order blue green red
        cv2.imwrite(str(tmp_path / "deep.png"), picture)
        found = read_input(tmp_path / "deep.png", channels)
        rgb = grey[..., None] if stored == 1 else picture[..., ::-1]
        if channels == 1 and stored == 3:
            expected = (rgb / 65535) @ [[0.299], [0.587], [0.114]]
        else:
            expected = np.broadcast_to(rgb, (*grey.shape, channels or stored)) / 65535
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=2e-7)
        assert np.unique(found[..., 0]).size >= (n if (channels, stored) != (1, 3) else n // 2)
        assert np.unique(np.rint(255 * found[..., 0])).size <= 1 + n // 200


@pytest.mark.parametrize("channels", [1, 3])
def test_npy_files_of_three_bands_keep_16_bits(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 3)).astype(np.uint16)
    np.save(tmp_path / "a.npy", values)
    expected = values / 65535 if channels == 3 else (values / 65535) @ [[0.299], [0.587], [0.114]]
    np.testing.assert_allclose(read_input(tmp_path / "a.npy", channels), expected, atol=2e-7)


def test_a_transparent_16_bit_png_is_laid_over_white(tmp_path):
    cv2 = pytest.importorskip("cv2")
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 4)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    np.testing.assert_array_equal(read_input(tmp_path / "a.png", 3), read_image(tmp_path / "a.png") / np.float32(255))


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
