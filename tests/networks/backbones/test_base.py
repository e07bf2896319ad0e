import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.networks.backbones.base import Backbone
from supercuts.networks.ssn import BACKBONES, make_backbone
from supercuts.networks.ssn_config import PretrainedConfig


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_gives_the_maps_it_declares(name):
    backbone = make_backbone(name).eval()
    height, width = 2 * backbone.strides[-1], 3 * backbone.strides[-1]
    with torch.inference_mode():
        features = backbone(torch.rand(2, 3, height, width))
    assert features.stem.shape == (2, backbone.stem_channels, height, width)
    assert list(backbone.strides) == sorted(backbone.strides), "finest first"
    expected = [(2, n, height // s, width // s) for n, s in zip(backbone.channels, backbone.strides, strict=True)]
    assert [tuple(one.shape) for one in features.maps] == expected


def test_a_backbone_without_forward_cannot_be_made():
    with pytest.raises(TypeError, match="forward"):
        Backbone()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_name_gives_a_backbone(name):
    assert isinstance(make_backbone(name), Backbone)


def test_settings_reach_a_pretrained_backbone():
    backbone = make_backbone("timm:resnet18", PretrainedConfig(stem_channels=8))
    assert backbone.stem_channels == 8
    assert backbone.strides == (2, 4, 8, 16, 32)


def test_each_call_gives_a_network_of_its_own():
    assert make_backbone("compact") is not make_backbone("compact")


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match=r"backbone='huge' is unknown\. Choose compact, one of dino_vits16, .* or timm:NAME"
    ):
        make_backbone("huge")


def test_compact_takes_any_number_of_channels():
    assert make_backbone("compact", channels=5).eval()(torch.zeros(1, 5, 16, 16)).stem.shape[-2:] == (16, 16)


@pytest.mark.parametrize("name", ["dino_vits16", "timm:resnet18"])
def test_pretrained_backbones_take_rgb_alone(name):
    with pytest.raises(InputError, match=rf"channels=5 does not fit backbone='{name}', which was .* takes 3\. Give"):
        make_backbone(name, channels=5)
    with pytest.raises(InputError, match="backbone='huge' is unknown"):
        make_backbone("huge", channels=5)
