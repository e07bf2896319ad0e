import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.networks.backbones.base import Backbone, CompactCNN, ResidualBlock, conv_bn_relu
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
    assert [tuple(values.shape) for values in features.maps] == expected


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


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return CompactCNN(stem_channels=4, channels=(4, 6, 8, 10), n_blocks=(1, 1, 0, 2)).eval()


def test_maps_have_the_given_channels(backbone):
    features = backbone(torch.rand(1, 3, 16, 48))
    assert features.stem.shape == (1, 4, 16, 48)
    assert [tuple(values.shape) for values in features.maps] == [
        (1, 4, 8, 24),
        (1, 6, 4, 12),
        (1, 8, 2, 6),
        (1, 10, 1, 3),
    ]


def test_the_image_is_normalised_inside(backbone):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    seen = []
    handle = backbone.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone(mean.expand(1, 3, 16, 16))
    handle.remove()
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 16, 16))


def test_normalisation_is_not_among_the_weights(backbone):
    assert not {"mean", "std"} & backbone.state_dict().keys()


def test_a_pixel_changes_the_stem_near_it_alone(backbone):
    image = torch.rand(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 16, 16] = 1 - changed[..., 16, 16]
    difference = (backbone(image).stem - backbone(changed).stem).abs().amax((0, 1))
    ys, xs = difference.nonzero().unbind(1)
    assert difference[16, 16] > 0
    assert ys.min() >= 14  # two 3x3 convolutions
    assert ys.max() <= 18
    assert xs.min() >= 14
    assert xs.max() <= 18


def test_a_residual_block_whose_branch_is_zero_is_the_identity():
    block = ResidualBlock(3).eval()
    torch.nn.init.zeros_(block.second[0].weight)
    x = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 1, 8), (1, 1, 8), (3, 2, 4)])
def test_convolutions_keep_or_halve_the_size_and_are_never_negative(kernel, stride, size):
    output = conv_bn_relu(2, 5, kernel, stride)(torch.randn(2, 2, 8, 8))
    assert output.shape == (2, 5, size, size)
    assert output.min() >= 0


def test_another_number_of_stages_than_widths_is_refused():
    with pytest.raises(ValueError, match="zip"):
        CompactCNN(channels=(4, 4), n_blocks=(1,))


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_normalised_around_one_half(channels):
    backbone = CompactCNN(4, (4, 6, 8, 10), (1, 1, 0, 2), in_channels=channels).eval()
    seen = []
    backbone.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = backbone(torch.full((1, channels, 16, 16), 0.75))
    torch.testing.assert_close(seen[0], torch.ones(1, channels, 16, 16))
    assert features.stem.shape == (1, 4, 16, 16)
