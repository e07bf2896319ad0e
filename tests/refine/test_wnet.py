import pytest
import torch
from torch import nn

from supercuts.core.errors import InputError
from supercuts.refine.wnet import UNet, WNet, WNetConfig

SMALL = WNetConfig(classes=4, widths=(4, 6, 8), dropout=0.0, radius_px=3.0, sigma_intensity=40.0)


def convolutions(network) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def test_published_network_has_46_convolutions_in_18_modules():
    with torch.device("meta"):  # 2 x 10 million weights are not needed to count layers
        network = WNet(WNetConfig())
    layers = convolutions(network)
    depthwise = [layer for layer in layers if layer.groups > 1]
    # a separable convolution is a depthwise and a pointwise layer, counted as one
    assert len(layers) - len(depthwise) == 46
    assert len(depthwise) == 2 * 14  # all modules but 1, 9, 10 and 18
    modules = [*network.encoder.down, *network.encoder.up, *network.decoder.down, *network.decoder.up]
    plain = [i for i, module in enumerate(modules, start=1) if all(c.groups == 1 for c in convolutions(module))]
    assert (len(modules), plain) == (18, [1, 9, 10, 18])
    kinds = [type(layer).__name__ for layer in modules[0]]
    assert kinds == ["Conv2d", "ReLU", "BatchNorm2d", "Conv2d", "ReLU", "BatchNorm2d", "Dropout"]
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.ConvTranspose2d)] == 2 * [512, 256, 128, 64]


def test_shapes():
    network = WNet(SMALL).eval()
    images = torch.rand(2, 3, 8, 12)
    found = network.probabilities(images)
    assert found.shape == (2, 4, 8, 12)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 8, 12))
    assert network.decoder(found).shape == images.shape
    assert SMALL.stride == 4


def test_the_cut_trains_the_encoder_alone_and_the_reconstruction_both():
    network = WNet(SMALL)
    images = torch.rand(1, 3, 8, 8)
    torch.autograd.backward(network.ncut_loss(images))
    assert all(p.grad is not None for p in network.encoder.parameters())
    assert all(p.grad is None for p in network.decoder.parameters())
    network.zero_grad()
    torch.autograd.backward(network.reconstruction_loss(images))
    assert all(p.grad is not None for p in network.parameters())


def test_reconstruction_loss_is_the_mean_of_squares_and_its_gradient_is_right():
    torch.manual_seed(0)
    network = WNet(WNetConfig(classes=2, widths=(2, 2), dropout=0.0)).double().eval()
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    redrawn = network.decoder(network.probabilities(images))
    naive = sum((a - b) ** 2 for a, b in zip(redrawn.flatten().tolist(), images.flatten().tolist(), strict=True)) / 48
    assert network.reconstruction_loss(images).item() == pytest.approx(naive, rel=1e-12)
    assert torch.autograd.gradcheck(network.reconstruction_loss, images.requires_grad_())


def test_a_side_that_cannot_be_halved_is_refused():
    with pytest.raises(InputError, match="6 x 8 pixels: pad both sides to a multiple of 4"):
        UNet(3, 2, (2, 2, 2), 0.0)(torch.zeros(1, 3, 6, 8))
