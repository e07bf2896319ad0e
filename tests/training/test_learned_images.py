from functools import partial

import numpy as np
import pytest
import torch

from supercuts.datasets.labelled_images import LabelledImage, LabelledImages
from supercuts.selftaught.slic_targets import TargetConfig
from supercuts.training.learned_images import ImageStream, LearnedDataConfig, open_images, read_square, vary


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    return LabelledImages(tuple(LabelledImage(str(i), i, partial(np.array, one)) for i, one in enumerate(pixels)))


def test_every_epoch_visits_each_image_once_and_items_repeat(images):
    stream = ImageStream(images, LearnedDataConfig(), TargetConfig(), seed=3)
    for epoch in range(3):
        assert sorted(stream[5 * epoch + i].label.item() for i in range(5)) == list(range(5))
    for one, again in zip(stream[7], stream[7], strict=True):
        torch.testing.assert_close(one, again)
    assert not torch.equal(stream[0].image, stream[5].image)


def test_a_sample_is_the_flipped_image_with_its_own_superpixels(images):
    stream = ImageStream(images, LearnedDataConfig(), TargetConfig(), seed=0)
    is_flipped = set()
    for i in range(10):
        image, label, superpixels = stream[i]
        pixels = (255 * image).permute(1, 2, 0).numpy().round()
        original = images.samples[label].read()
        is_flipped.add(bool((pixels == original[:, ::-1]).all()))
        assert (pixels == original).all() or (pixels == original[:, ::-1]).all()
        assert superpixels.dtype == torch.int64
        assert 40 < superpixels.max() < 80  # about 64 of 16 pixels
    assert is_flipped == {True, False}
    assert not ImageStream(images, LearnedDataConfig(), None, seed=0)[0].superpixels.any()


def test_rotation_keeps_the_middle_and_brings_in_no_black():
    bright = np.full((20, 20, 3), 200, np.uint8)
    turned = vary(bright, LearnedDataConfig(rotation_deg=45), np.random.default_rng(0))
    np.testing.assert_array_equal(turned, bright)
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 20, axis=0).repeat(3, axis=2)
    turned = vary(ramp, LearnedDataConfig(rotation_deg=5, flip=False), np.random.default_rng(1))
    assert turned.shape == ramp.shape
    assert np.abs(turned[8:12, 8:12].astype(int) - ramp[8:12, 8:12]).max() <= 10


def test_images_are_made_square(images):
    wide = LabelledImage("wide", 0, lambda: np.zeros((8, 24, 3), np.uint8))
    assert read_square(wide, 16).shape == (16, 16, 3)
    assert read_square(images.samples[0], 32).shape == (32, 32, 3)


def test_a_limit_takes_images_of_every_class(images, monkeypatch):
    monkeypatch.setattr("supercuts.training.learned_images.open_labelled", lambda *_: images)
    config = LearnedDataConfig()
    assert [one.label for one in open_images(config, "train", 2).samples] == [0, 2]
    assert open_images(config, "train", None) is images
    assert open_images(config, "train", 9) is images
