import numpy as np
import pytest
import torch

from supercuts.superpixels.predict import ViewsConfig, predict
from supercuts.superpixels.ssn import SSN, SSNConfig


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_without_a_network_there_is_colour_alone(photo):
    maps = predict(photo, None)
    assert maps.color.shape == (3, 40, 60)
    assert maps.embeddings.shape == (0, 40, 60)
    assert not maps.boundary.any()


@pytest.mark.parametrize("regions", [0, 3])
def test_maps_of_several_views_are_averaged(photo, regions):
    torch.manual_seed(0)
    config = SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=2, region_channels=regions)
    network = SSN(config).eval()
    image = photo[:33, :48]  # mirrored, cells of two columns fall on cells again
    views = [ViewsConfig(), ViewsConfig(scales=(0.5,)), ViewsConfig(scales=(1.0, 0.5), flip=True)]
    one, half, all_of_them = (predict(image, network, view) for view in views)
    mirrored = [predict(np.ascontiguousarray(image[:, ::-1]), network, view) for view in views[:2]]
    for name in ("boundary", "embeddings", "strength", "regions") if regions else ("boundary", "embeddings"):
        parts = [getattr(one, name), getattr(half, name), *(getattr(maps, name)[..., ::-1] for maps in mirrored)]
        assert parts[0].shape == parts[1].shape
        np.testing.assert_allclose(getattr(all_of_them, name), np.mean(parts, axis=0), rtol=1e-4, atol=1e-5)
    assert not np.allclose(one.boundary, half.boundary)
