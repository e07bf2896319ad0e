import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.refine.config import PreprocessConfig
from supercuts.refine.preprocess import prepare, prepare_labels


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
