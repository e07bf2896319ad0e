import numpy as np
import pytest
import torch

import supercuts
from supercuts.networks import rows as streaming
from supercuts.networks.network import ViewsConfig
from supercuts.networks.rows import predict_rows
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig


@pytest.fixture(scope="module")
def compact():
    return supercuts.load("compact").network


def picture(height, width, channels=3):
    coarse = np.random.default_rng(height).integers(0, 256, (height // 16 + 1, width // 16 + 1, channels), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width])


def check(image, network, atol=2e-3):
    whole = network.maps([image], ViewsConfig())[0]
    seen = [np.full(one.shape, np.nan, np.float32) for one in whole]
    at = 0
    for tile, maps in predict_rows(image, network):
        assert (tile.top % 16, tile.top, tile.left, tile.right) == (0, at, 0, image.shape[1])
        at = tile.bottom
        for target, values, stride in zip(seen, maps, (1, 1, 2, 2)[: len(maps)], strict=True):
            target[..., tile.top // stride : -(-tile.bottom // stride), :] = values
    assert at == image.shape[0]
    for values, wanted in zip(seen, whole, strict=True):
        np.testing.assert_allclose(values, wanted, atol=atol)


SHAPES = [(200, 331), (401, 33), (255, 257), (16, 16), (1, 50), (50, 1), (17, 40)]


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_say_what_the_whole_image_says(monkeypatch, shape, rows):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # float32, where nothing is rounded away
    monkeypatch.setattr(streaming, "_BLOCK_PIXELS", 16 * rows * shape[1])
    check(picture(*shape), supercuts.load("compact").network, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_say_what_the_whole_image_says_in_the_fastest_type(compact, monkeypatch, shape, rows):
    monkeypatch.setattr(streaming, "_BLOCK_PIXELS", 16 * rows * shape[1])
    check(picture(*shape), compact)


@pytest.mark.parametrize(("context", "regions"), [(0, 2), (3, 0), (0, 0)])
def test_networks_with_and_without_context_and_regions(monkeypatch, context, regions):
    monkeypatch.setattr(streaming, "_BLOCK_PIXELS", 16 * 90)
    torch.manual_seed(0)
    config = SSNConfig(
        channels=5, head_channels=(3, 4, 5, 6), embedding_channels=2, context_channels=context, region_channels=regions
    )
    check(picture(100, 90, 5).astype(np.float32) / 255, SSN(config).eval())


def test_what_it_yields_for_is_no_inference_mode(compact):
    for _ in predict_rows(picture(300, 40), compact):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")


def test_long_rows_do_not_wait_for_others(compact, monkeypatch):
    image = picture(480, 8200)
    monkeypatch.setattr(streaming, "_BLOCK_PIXELS", 16 * image.shape[1])
    block, blocks = streaming._block, []
    monkeypatch.setattr(streaming, "_block", lambda *given: blocks.append(0) or block(*given))
    check(image[:96], compact)
    blocks.clear()
    next(predict_rows(image, compact))
    at_once = len(blocks)
    monkeypatch.setattr(streaming, "_LONG_ROW", image.shape[1] + 1)
    blocks.clear()
    next(predict_rows(image, compact))
    assert at_once < len(blocks)
