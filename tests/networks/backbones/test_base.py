import pytest
import torch

from supercuts.networks.backbones.base import Backbone
from supercuts.networks.backbones.registry import BACKBONES, make_backbone


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
