import numpy as np
import pytest
import torch

from supercuts.datasets.bsds500 import BSDS500
from supercuts.evaluate.superpixels import score_superpixels
from supercuts.model import Model
from supercuts.networks.ssn import SSN, SSNConfig
from supercuts.training.validation import Judged, ValidationImages, judge, picture


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)).eval()


def test_the_scores_are_those_of_the_superpixels_that_users_get(network, training_root):
    image, truths = ValidationImages(BSDS500(training_root, "val"))[0]
    judged = judge(network, image, truths, (5, 20))
    expected = [score_superpixels(Model(network).segment(image, n).labels, truths).over("mean") for n in (5, 20)]
    assert judged.scores["val_asa_5"] == expected[0].asa
    assert judged.scores["val_boundary_recall_20"] == expected[1].boundary_recall
    assert judged.scores["val_undersegmentation_error_20"] == expected[1].undersegmentation_error
    assert judged.asa == pytest.approx((expected[0].asa + expected[1].asa) / 2)


def test_a_callers_autocast_changes_nothing(network, training_root):
    image, truths = ValidationImages(BSDS500(training_root, "val"))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = judge(network, image, truths, (20,))
    assert np.array_equal(inside.labels, judge(network, image, truths, (20,)).labels)


def test_an_image_with_fewer_pixels_than_superpixels(network):
    labels = np.zeros((4, 4), np.int32)
    judged = judge(network, np.zeros((4, 4, 3), np.uint8), [labels], (600,))
    assert judged.asa == 1.0


def test_images_of_other_bands_are_judged_too():
    torch.manual_seed(0)
    network = SSN(SSNConfig(channels=5, head_channels=(4, 4, 4, 4), embedding_channels=3)).eval()
    image = np.random.default_rng(0).random((32, 32, 5), dtype=np.float32)
    judged = judge(network, image, [np.repeat(np.arange(2, dtype=np.int32), 16)[None].repeat(32, 0)], (8,))
    assert 0.5 <= judged.asa <= 1
    assert picture([judged]).shape == (32, 32, 3)


def test_pictures_of_any_width_are_stacked():
    small, wide = (Judged(np.full((6, n, 3), 90, np.uint8), np.zeros((6, n), np.int32), {}, 1.0) for n in (5, 9))
    sheet = picture([small, wide])
    assert sheet.shape == (12, 9, 3)
    assert (sheet[:6, 5:] == 0).all()
    assert (sheet[6:] == 90).all()
