import numpy as np
import pytest
import torch
import torch.nn.functional as F

from supercuts.core.errors import InputError
from supercuts.objects.features import color_and_place, pool_features

TINY = "timm:vit_tiny_patch16_224"


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_labels(shape, n, seed=0):
    labels = np.random.default_rng(seed).integers(0, n, shape, dtype=np.int32)
    labels.flat[:n] = np.arange(n)
    return labels


@pytest.mark.parametrize("is_tensor", [False, True])
def test_means_are_those_of_the_upsampled_map(is_tensor):
    maps, labels = np.random.default_rng(0).standard_normal((5, 4, 6)).astype(np.float32), random_labels((64, 96), 20)
    up = F.interpolate(torch.from_numpy(maps)[None], (64, 96), mode="bilinear", align_corners=False)[0].numpy()
    expected = np.stack([up[:, labels == i].mean(1) for i in range(20)])
    found = pool_features(torch.from_numpy(maps) if is_tensor else maps, labels, 20, 16)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_padding_takes_no_part():
    """An image that ends within a patch: only its own pixels are counted, at the places they have in the padded one."""
    maps = np.random.default_rng(0).standard_normal((3, 3, 3)).astype(np.float32)
    labels = random_labels((40, 35), 6)
    up = F.interpolate(torch.from_numpy(maps)[None], (48, 48), mode="bilinear", align_corners=False)[0].numpy()
    expected = np.stack([up[:, :40, :35][:, labels == i].mean(1) for i in range(6)])
    np.testing.assert_allclose(pool_features(maps, labels, 6, 16), expected, atol=1e-5)


def test_overlapping_patches_are_centred_where_they_look():
    # values that are the patches' own centres come back as the mean place of each superpixel
    centers = 8.0 + 4 * np.arange(9)
    maps = np.stack(np.meshgrid(centers, centers, indexing="ij")).astype(np.float32)
    labels = np.full((48, 48), 2, np.int32)
    labels[10:14, 20:30], labels[20:32, 9:11] = 0, 1
    found = pool_features(maps, labels, 3, 4, 8)
    np.testing.assert_allclose(found[:2], [[12, 25], [26, 10]], atol=1e-4)


def test_maps_that_do_not_fit_are_refused():
    maps = np.zeros((2, 3, 3), np.float32)
    with pytest.raises(InputError, match=r"must lie in 0\.\.1"):
        pool_features(maps, np.full((4, 4), 2, np.int32), 2, 16)
    with pytest.raises(InputError, match="label 0 has no pixel"):
        pool_features(maps, np.ones((4, 4), np.int32), 2, 16)


def test_colors_and_places_are_means_over_pixels():
    image, labels = picture(5, 9), random_labels((5, 9), 4)
    found = color_and_place(image, labels, 4)
    for i in range(4):
        ys, xs = np.nonzero(labels == i)
        np.testing.assert_allclose(found[i], [*image[ys, xs].mean(0) / 255, ys.mean() / 4, xs.mean() / 8])


def test_pixels_in_no_superpixel_are_not_summed():
    maps, labels = np.random.default_rng(0).standard_normal((5, 4, 6)).astype(np.float32), random_labels((64, 96), 20)
    labels[10:30, 5:40] = -1
    up = F.interpolate(torch.from_numpy(maps)[None], (64, 96), mode="bilinear", align_corners=False)[0].numpy()
    expected = np.stack([up[:, labels == i].mean(1) for i in range(20)])
    np.testing.assert_allclose(pool_features(maps, labels, 20, 16), expected, atol=1e-5)
    with pytest.raises(InputError, match="-1: none"):
        pool_features(maps, np.where(labels < 0, np.int32(-2), labels), 20, 16)
