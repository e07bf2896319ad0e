import numpy as np
import pytest
import torch

import supercuts
from supercuts.networks.network import VIEWS, ViewsConfig
from supercuts.networks.predict import predict, predict_many
from supercuts.networks.ssn import SSN, SSNConfig


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


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_images_seen_together_are_seen_as_alone(device):
    model = supercuts.load("compact")
    model.network.to(device)
    rng = np.random.default_rng(0)
    shapes = [(20, 30), (30, 20), (20, 30), (7, 9), (20, 30), (30, 20)]
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    images.append(images[0].astype(np.float32) / 255)
    seen = {number: maps for number, _, maps in predict_many(images, model.network, VIEWS["flip"])}
    assert sorted(seen) == list(range(len(images)))
    for number, image in enumerate(images):
        alone = predict(image, model.network, VIEWS["flip"])
        for name in ("color", "boundary", "embeddings", "strength", "regions"):
            # equal on the CPU; on a GPU within the rounding of bfloat16
            one, other = getattr(seen[number], name), getattr(alone, name)
            np.testing.assert_allclose(one, other, rtol=0, atol=0 if device == "cpu" else 0.1)


def test_the_network_sees_a_batch_at_once(monkeypatch):
    model = supercuts.load("compact")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (20, 30, 3), np.uint8) for _ in range(11)]
    monkeypatch.setattr("supercuts.networks.predict.is_on_gpu", lambda _: True)
    sizes = []
    model.network.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    seen = list(predict_many(images, model.network))
    assert sizes == [8, 3]
    for number, image, maps in seen:
        assert image is images[number]
        alone = predict(images[number], model.network)
        np.testing.assert_allclose(maps.boundary, alone.boundary, atol=0.05)
        np.testing.assert_allclose(maps.embeddings, alone.embeddings, atol=0.1)
        assert abs(maps.boundary - predict(images[number - 1], model.network).boundary).max() > 0.2


def test_few_images_wait_for_others_of_their_size():
    drawn = []

    def images():
        for i in range(100):
            drawn.append(i)
            yield np.zeros((4, 5 + i, 3), np.uint8)

    done = 0
    for number, image, maps in predict_many(images(), None):
        assert maps.boundary.shape == image.shape[:2] == (4, 5 + number)
        done += 1
        assert len(drawn) - done <= 33
    assert done == 100
