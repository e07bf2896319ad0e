import numpy as np
import torch
from skimage.color import rgb2lab

from supercuts.networks.lab import rgb_to_lab


def test_lab_is_that_of_skimage():
    pixels = np.random.default_rng(0).random((1, 40, 50, 3))
    pixels[0, :2] = np.linspace(0, 0.06, 100).reshape(2, 50, 1)  # the straight part of both curves
    lab = rgb_to_lab(torch.from_numpy(pixels).float().permute(0, 3, 1, 2))
    np.testing.assert_allclose(lab.permute(0, 2, 3, 1), rgb2lab(pixels), atol=5e-4)
