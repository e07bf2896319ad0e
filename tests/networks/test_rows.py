import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import supercuts
from supercuts.core.errors import InputError
from supercuts.networks import rows as row_pass
from supercuts.networks.network import ViewsConfig
from supercuts.networks.predict import predict_tiles
from supercuts.networks.rows import derive, predict_rows
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig


@pytest.fixture(scope="module")
def compact():
    return supercuts.load("compact", engine="torch").network


def picture(height, width, channels=3):
    coarse = np.random.default_rng(height).integers(0, 256, (height // 16 + 1, width // 16 + 1, channels), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width])


def check(image, network, atol=2e-3):
    whole, multiple = network.maps([image], ViewsConfig())[0], network.multiple
    seen = [np.full(item.shape, np.nan, np.float32) for item in whole]
    at = 0
    for tile, maps in network.rows(image):
        assert (tile.top % multiple, tile.top, tile.left, tile.right) == (0, at, 0, image.shape[1])
        at = tile.bottom
        for target, values, stride in zip(seen, maps, (1, 1, network.stride, network.stride)[: len(maps)], strict=True):
            target[..., tile.top // stride : -(-tile.bottom // stride), :] = values
    assert at == image.shape[0]
    for values, wanted in zip(seen, whole, strict=True):
        np.testing.assert_allclose(values, wanted, rtol=0, atol=atol * max(1, np.abs(wanted).max()))


SHAPES = [(200, 331), (401, 33), (255, 257), (16, 16), (1, 50), (50, 1), (17, 40)]


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_predict_what_the_whole_image_predicts(monkeypatch, shape, rows):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # float32, where nothing is rounded away
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 16 * rows * shape[1])
    check(picture(*shape), supercuts.load("compact", engine="torch").network, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_predict_what_the_whole_image_predicts_in_the_fastest_type(compact, monkeypatch, shape, rows):
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 16 * rows * shape[1])
    check(picture(*shape), compact)


def test_rows_that_wait_for_the_end_of_the_image_leave_in_groups(compact, monkeypatch):
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 1)
    image = picture(1500, 64)
    heights = [tile.bottom - tile.top for tile, _ in compact.rows(image)]
    assert sum(heights) == 1500
    assert max(heights) <= 2 * 4 * compact.multiple  # four rows of the coarsest map, or fewer than twice as many
    check(image, compact)


@pytest.mark.parametrize(("context", "regions"), [(0, 2), (3, 0), (0, 0)])
def test_networks_with_and_without_context_and_regions(monkeypatch, context, regions):
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 16 * 90)
    torch.manual_seed(0)
    config = SSNConfig(
        channels=5, head_channels=(3, 4, 5, 6), embedding_channels=2, context_channels=context, region_channels=regions
    )
    check(picture(100, 90, 5).astype(np.float32) / 255, SSN(config).eval())


def test_callers_do_not_run_in_inference_mode(compact):
    for _ in compact.rows(picture(300, 40)):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")


def test_long_rows_do_not_wait_for_others(compact, monkeypatch):
    image = picture(960, 640)  # higher than the receptive field
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 16 * image.shape[1])
    block, blocks = row_pass._block, []
    monkeypatch.setattr(row_pass, "_block", lambda *given: blocks.append(0) or block(*given))
    monkeypatch.setattr(row_pass, "_LONG_ROW", image.shape[1] // compact.multiple)  # those of the coarsest map are long
    next(compact.rows(image))
    at_once = len(blocks)
    monkeypatch.setattr(row_pass, "_LONG_ROW", image.shape[1] + 1)
    blocks.clear()
    next(compact.rows(image))
    assert at_once < len(blocks)


def test_long_rows_equal_the_whole_image(compact, monkeypatch):
    image = picture(96, 8200)
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 16 * image.shape[1])
    check(image, compact)


def with_statistics(config):
    """Return a network with random weights and statistics as after training."""
    torch.manual_seed(0)
    network = SSN(config).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


@pytest.mark.parametrize("dtype", ["float32", "fastest"])
@pytest.mark.parametrize(
    ("backbone", "n_maps"),
    [("compact", 4), ("timm:resnet18", 5), ("timm:tf_efficientnet_lite0", 5), ("timm:convnext_atto", 4)],
)
def test_rows_of_any_convolutional_backbone(monkeypatch, backbone, n_maps, dtype):
    if dtype == "float32":
        monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 1)
    network = with_statistics(
        SSNConfig(backbone=backbone, head_channels=(4,) * n_maps, embedding_channels=2, region_channels=2)
    )
    check(picture(229, 150), network, atol=1e-4 if dtype == "float32" else 2e-3)


@pytest.fixture
def threads():
    n_threads = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(n_threads)


def pieces(network, image, side):
    """Return the maps of an image assembled from tiles, or from rows if the side is None."""
    maps = [np.full(item.shape, np.nan, np.float32) for item in network.maps([image], ViewsConfig())[0]]
    for tile, part in network.rows(image) if side is None else predict_tiles(image, network, side):
        for target, values, stride in zip(maps, part, (1, 1, 2, 2), strict=True):
            rows = slice(tile.top // stride, -(-tile.bottom // stride))
            target[..., rows, tile.left // stride : -(-tile.right // stride)] = values
    return maps


def test_maps_are_the_same_to_the_last_bit_in_float32(monkeypatch, threads):
    """The whole image, its tiles and its rows, in any number of threads: labels depend on all bits."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 16 * 259)
    network, image = supercuts.load("compact", engine="torch").network, picture(173, 259)
    expected = network.maps([image], ViewsConfig())[0]
    for n in (1, 2):
        threads(n)
        for maps in (network.maps([image], ViewsConfig())[0], pieces(network, image, 96), pieces(network, image, None)):
            for values, wanted in zip(maps, expected, strict=True):
                np.testing.assert_array_equal(values, wanted)


class Zoo(nn.Module):
    """One layer of each kind that is missing in the networks above."""

    config, channels, device, multiple = SSNConfig(), 3, "cpu", 8

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, (5, 3))
        self.grouped = nn.Conv2d(4, 8, 3, 1, padding="same", dilation=3, groups=2)
        self.sparse = nn.Conv2d(8, 8, 1, 2)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)
        self.last = nn.Conv2d(29, 3, 4)

    def dense(self, x):
        x = F.pad(x, (1, 0, 2, 0))
        x = F.conv2d(x, self.first.weight, self.first.bias, stride=2, padding=(1, 0))[:, :4]
        x = F.relu6(self.grouped(x), inplace=True)
        pooled = F.max_pool2d(x, 3, 2, ceil_mode=True)
        mean = F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)
        coarse = torch.cat([pooled, mean, self.sparse(x)], 1)
        y = self.linear(self.norm(coarse[:, :8].permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        y += self.upsample(F.max_pool2d(y, 2))
        finer = F.interpolate(torch.cat([coarse, y.sigmoid_() * 2], 1), scale_factor=4, mode="bilinear")
        return (self.last(F.pad(finer[:, :29], (1, 2, 2, 1))),)


def test_rows_of_every_kind_of_layer(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(row_pass, "_BLOCK_PIXELS", 1)
    torch.manual_seed(0)
    zoo, image = Zoo().eval(), picture(87, 40)
    layers = derive(zoo)
    seen = [maps for _, maps in predict_rows(image, zoo, layers)]
    with torch.inference_mode():
        (whole,) = zoo.dense(
            F.pad(torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None], (0, 0, 0, 1), "replicate")
        )
    assert len(seen) > 1
    np.testing.assert_allclose(np.concatenate([maps[1] for maps in seen], 1), whole[0, :-1, :87], atol=1e-5)


class Whole(Zoo):
    def __init__(self, function):
        super().__init__()
        self.dense = lambda x: (function(x),)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: x - x.mean((2, 3), keepdim=True), "mean"),
        (lambda x: F.adaptive_avg_pool2d(x, 1) + x, "adaptive_avg_pool2d"),
        (lambda x: F.group_norm(x, 1), "group_norm"),
        (lambda x: F.pad(x, (1, 1, 1, 1), "reflect")[..., 1:-1, 1:-1], "getitem"),
        (lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), torch.ones(1, 3, 3, 3)), "pad"),
        (lambda x: F.conv2d(x, torch.ones(1, 3, 3, 3)), "conv2d"),
        (lambda x: F.interpolate(x[..., ::2, ::2], scale_factor=2, mode="bicubic"), "getitem"),
        (lambda x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="bicubic"), "interpolate"),
        (lambda x: x + torch.arange(x.shape[-1]), "add"),
        (lambda x: x.flip(2), "flip"),
        (lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), "avg_pool2d"),
        (lambda x: x * x.shape[-1], "its layers depend on the size"),
    ],
)
def test_networks_that_depend_on_the_whole_image_are_refused(function, name):
    with pytest.raises(InputError, match=f"works only on whole images: {name}"):
        derive(Whole(function))
