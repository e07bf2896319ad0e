import numpy as np
import pytest
from skimage.color import rgb2lab

from supercuts.core.errors import InputError
from supercuts.images.color import color_features, oklch_to_rgb, rgb_to_lab


def test_lab_matches_scikit_image_on_a_grid_and_in_the_dark():
    axis = np.arange(0, 256, 5)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(1, -1, 3)
    dark = np.random.default_rng(0).integers(0, 40, (1, 20_000, 3))  # the curve bends most here
    image = np.concatenate([grid, dark], axis=1).astype(np.uint8)
    np.testing.assert_allclose(rgb_to_lab(image), rgb2lab(image), atol=1e-2, rtol=0)


def test_lab_of_known_colours():
    image = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], dtype=np.uint8)
    published = [[[0, 0, 0], [100, 0, 0], [53.24, 80.09, 67.20]]]
    np.testing.assert_allclose(rgb_to_lab(image), published, atol=0.02)


def test_grey_has_no_hue_and_rises_in_lightness():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    lab = rgb_to_lab(ramp)[0]
    assert np.abs(lab[:, 1:]).max() < 0.02
    assert (np.diff(lab[:, 0]) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (0, 4, 3)])
def test_lab_keeps_shape(shape):
    lab = rgb_to_lab(np.zeros(shape, np.uint8))
    assert lab.shape == shape
    assert lab.dtype == np.float32


def test_lab_reads_strided_views():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(rgb_to_lab(image[::2, ::-1]), rgb_to_lab(image)[::2, ::-1])


@pytest.mark.parametrize("image", [np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8)])
def test_lab_refuses_other_arrays(image):
    # the shape checker of the tests refuses first; without it the function does
    with pytest.raises((InputError, TypeError)):
        rgb_to_lab(image)
    with pytest.raises(InputError, match="convert with read_image"):
        getattr(rgb_to_lab, "__wrapped__", rgb_to_lab)(image)


def test_oklch_of_known_colours():
    # white, sRGB red and sRGB blue as published with the colour space; a grey of linear light 0.125 has lightness 0.5
    lch = np.array(
        [[1.0, 0.0, 0.3], [0.5, 0.0, 0.0], [0.62796, 0.25768, 29.234 / 360], [0.45201, 0.31321, 264.052 / 360]]
    )
    grey = round(255 * (1.055 * 0.125 ** (1 / 2.4) - 0.055))
    expected = [[255, 255, 255], [grey, grey, grey], [255, 0, 0], [0, 0, 255]]
    assert grey == 99
    assert np.abs(oklch_to_rgb(lch).astype(int) - expected).max() <= 1


def test_oklch_beyond_srgb_is_clipped():
    colors = oklch_to_rgb(np.array([[0.7, 0.5, 0.1], [1.5, 0.0, 0.0], [-0.1, 0.0, 0.0]]))
    assert colors.shape == (3, 3)
    assert colors[1].tolist() == [255, 255, 255]
    assert colors[2].tolist() == [0, 0, 0]


def test_rgb_is_compared_as_lab():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    features = color_features(image)
    assert features.flags.c_contiguous
    np.testing.assert_array_equal(features, rgb_to_lab(image).transpose(2, 0, 1))


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 7])
def test_bands_are_on_the_scale_of_lightness(bands):
    image = np.random.default_rng(0).random((3, 4, bands)).astype(np.float32)
    features = color_features(image)
    assert features.flags.c_contiguous
    np.testing.assert_allclose(features, 100 * image.transpose(2, 0, 1), rtol=1e-6)
