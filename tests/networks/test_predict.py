import numpy as np
import pytest
import torch

import supercuts
from supercuts.core.errors import InputError
from supercuts.networks.network import VIEWS, ViewsConfig
from supercuts.networks.predict import (
    choose_tile,
    filled,
    predict,
    predict_many,
    predict_stored,
    predict_tiles,
    tiles_of,
)
from supercuts.networks.rows import derive
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig


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
def test_images_of_a_batch_do_not_influence_each_other(device):
    model = supercuts.load("compact", engine="torch")
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
            first, second = getattr(seen[number], name), getattr(alone, name)
            np.testing.assert_allclose(first, second, rtol=0, atol=0 if device == "cpu" else 0.1)


def test_the_network_runs_on_a_batch_at_once(monkeypatch):
    model = supercuts.load("compact", engine="torch")
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


@pytest.fixture(scope="module")
def network():
    return supercuts.load("compact", engine="torch").network


@pytest.fixture(scope="module")
def onnx():
    return supercuts.load("compact", engine="onnx").network


def picture(height, width):
    coarse = np.random.default_rng(height).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width])


@pytest.mark.parametrize(
    ("shape", "tile"), [((200, 331), 64), ((97, 450), 96), ((401, 33), 128), ((255, 257), 100), ((16, 16), 7)]
)
@pytest.mark.parametrize("engine", ["network", "onnx"])
def test_tiles_predict_what_the_whole_image_predicts(shape, tile, engine, request):
    network, image = request.getfixturevalue(engine), picture(*shape)
    whole = predict(image, network)
    expected = (whole.boundary, whole.embeddings, whole.strength, whole.regions)
    seen = [np.full(item.shape, np.nan, np.float32) for item in expected]
    for one, maps in predict_tiles(image, network, tile):
        for target, values, stride in zip(seen, maps, (1, 1, 2, 2), strict=True):
            at = slice(one.top // stride, -(-one.bottom // stride)), slice(one.left // stride, -(-one.right // stride))
            target[..., *at] = values
    for values, wanted in zip(seen, expected, strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-3)


@pytest.mark.parametrize("context", [0, 4])
def test_receptive_field_holds_all_that_gradients_reach(context):
    torch.manual_seed(0)
    config = SSNConfig(head_channels=(3, 3, 3, 3), embedding_channels=1, context_channels=context, region_channels=2)
    network = SSN(config).eval()
    for module in network.modules():  # no gradient may vanish: every weight is positive, nothing is cut off
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data = module.weight.data.abs() + 0.1
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    field = derive(network).reach
    network.double()
    reached = 0
    for shape, axis in (((768, 64), 0), ((64, 768), 1)):  # strips: the field is the same along both axes
        image = torch.rand(1, 3, *shape).double().requires_grad_()
        prediction = network(image)
        for along, across in ((380, 33), (391, 30), (399, 29), (384, 32)):
            y, x = (along, across) if axis == 0 else (across, along)
            outputs = prediction.boundary_logits[0, 0, y, x] + prediction.embeddings[0, 0, y, x]
            (gradient,) = torch.autograd.grad(outputs, image, retain_graph=True)
            touched = np.nonzero(gradient.abs().sum((0, 1)).numpy())[axis]
            reached = max(reached, np.abs(touched - along).max())
    assert field - 40 <= reached <= field


def test_tiles_of_another_backbone_predict_what_the_whole_image_predicts(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    torch.manual_seed(0)
    config = SSNConfig(backbone="timm:resnet18", head_channels=(4, 4, 4, 4, 4), embedding_channels=2)
    network, image = SSN(config).eval(), picture(40, 1700)
    margin, multiple = network.window()
    assert (multiple, margin % 32) == (32, 0)
    assert margin < 700
    (_, embeddings) = network.maps([image], ViewsConfig())[0]
    for one, maps in predict_tiles(image, network, 800):
        np.testing.assert_allclose(maps[1], embeddings[..., one.left : one.right], atol=1e-4)


def test_tiles_cover_every_pixel_once():
    count = np.zeros((70, 101), int)
    for tile in tiles_of(count.shape, 32):
        count[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert (count == 1).all()


def test_large_images_are_predicted_row_by_row_by_default(network, onnx):
    assert choose_tile(None, (1000, 1000), network) is None
    assert choose_tile(None, (3000, 3000), network) == "rows"
    assert choose_tile(None, (3000, 3000), onnx) == "rows"
    assert choose_tile(None, (3000, 3000), None) == "rows"
    assert choose_tile(0, (3000, 3000), network) is None
    assert choose_tile(64, (10, 10), network) == 64


def test_refuses_networks_that_depend_on_the_whole_image(network):
    transformer = SSN(SSNConfig(backbone="dino_vits16", head_channels=(4,))).eval()
    with pytest.raises(InputError, match="dino_vits16 works only on whole images"):
        choose_tile(64, (10, 10), transformer)
    with pytest.raises(InputError, match="tile=-1"):
        choose_tile(-1, (10, 10), network)


@pytest.mark.parametrize("views", ["flip", "many"])
def test_views_in_rows_and_tiles_give_the_maps_of_the_whole_image(network, onnx, views):
    image = picture(81, 67)
    for seeing in (network, onnx):
        of_way = [predict_stored(image, image[..., :0], seeing, way, VIEWS[views]) for way in (None, 32, "rows")]
        for name in ("boundary", "embeddings", "strength", "regions"):
            whole, *others = (getattr(maps, name) for maps in of_way)
            for actual in others:
                assert (actual.shape, actual.dtype) == (whole.shape, np.float32)
                # bfloat16 rounds what is resized in another order
                np.testing.assert_allclose(actual, whole, atol=0.02 * max(1, float(np.abs(whole).max())))
                assert np.abs(actual - whole).mean() < 2e-3 * max(1, float(np.abs(whole).max()))


@pytest.mark.parametrize("stride", [2, 4])
def test_rows_and_tiles_of_huge_images_are_stored_alike(network, monkeypatch, stride):
    image = picture(81, 63)
    monkeypatch.setattr("supercuts.networks.maps._FINE_PIXELS", {2: 3000, 4: 2000}[stride])
    monkeypatch.setattr("supercuts.networks.rows._BLOCK_PIXELS", 1)
    nothing = np.zeros((81, 63, 0), np.uint8)
    monkeypatch.setattr("supercuts.networks.maps._WHOLE_PIXELS", 0)
    rows, tiles = (predict_stored(image, nothing, network, way) for way in ("rows", 32))
    assert rows.embedding_stride == stride
    for name in ("boundary", "embeddings", "strength", "regions"):
        np.testing.assert_allclose(getattr(rows, name), getattr(tiles, name), atol=0.01)


def test_embeddings_of_huge_images_are_means_of_four_pixels(network, monkeypatch):
    image = picture(49, 63)
    nothing = np.zeros((49, 63, 0), np.uint8)
    fine = predict_stored(image, nothing, network, 32)
    monkeypatch.setattr("supercuts.networks.maps._FINE_PIXELS", 2000)
    monkeypatch.setattr("supercuts.networks.maps._WHOLE_PIXELS", 0)
    coarse = predict_stored(image, nothing, network, 32)
    assert coarse.embeddings.shape == (16, 25, 32)
    expected = fine.embeddings[:, :48, :62].astype(np.float32).reshape(16, 24, 2, 31, 2).mean((2, 4))
    np.testing.assert_allclose(coarse.embeddings[:, :24, :31], expected, atol=0.02)


def test_filled_takes_the_mean_of_valid_pixels():
    image = np.array([[[10], [20], [99]]], np.uint8)
    np.testing.assert_array_equal(filled(image, np.array([[True, True, False]]))[0, :, 0], [10, 20, 15])
