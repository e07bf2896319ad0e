import numpy as np
import pytest
import torch
from torch import nn

from supercuts.core.errors import InputError
from supercuts.selftaught.wnet import UNet, WNet, WNetConfig, ncut_graph, soft_ncut_loss

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
    actual = network.probabilities(images)
    assert actual.shape == (2, 4, 8, 12)
    torch.testing.assert_close(actual.sum(1), torch.ones(2, 8, 12))
    assert network.decoder(actual).shape == images.shape
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


RADIUS, SIGMA_I, SIGMA_X = 3.0, 150.0, 2.0


def draw(height=6, width=5, classes=3, batch=2):
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, height, width, generator=rng, dtype=torch.float64)
    logits = torch.randn(batch, classes, height, width, generator=rng, dtype=torch.float64)
    return images, logits


def dense_affinity(image: np.ndarray) -> np.ndarray:
    """Return the N x N matrix of the published formula."""
    channels, height, width = image.shape
    place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).reshape(-1, 2)
    color = 255 * image.reshape(channels, -1).T
    apart = np.sqrt(((place[:, None] - place[None]) ** 2).sum(-1))
    unlike = ((color[:, None] - color[None]) ** 2).sum(-1)
    return np.exp(-unlike / SIGMA_I**2) * np.exp(-(apart**2) / SIGMA_X**2) * (apart < RADIUS)


def dense_loss(images: torch.Tensor, assignment: torch.Tensor) -> float:
    losses = []
    for image, p in zip(images.numpy(), assignment.detach().numpy(), strict=True):
        w = dense_affinity(image)
        q = p.reshape(len(p), -1)
        losses.append(len(p) - sum((segment @ w @ segment) / (segment @ w.sum(1)) for segment in q))
    return float(np.mean(losses))


@pytest.mark.parametrize("size", [(6, 5), (2, 7), (1, 1)])
def test_loss_is_that_of_the_dense_formula(size):
    images, logits = draw(*size)
    actual = soft_ncut_loss(logits.softmax(1), ncut_graph(images, RADIUS, SIGMA_I, SIGMA_X))
    assert actual.item() == pytest.approx(dense_loss(images, logits.softmax(1)), rel=1e-12)


def test_published_radius_looks_at_neighbours_nearer_than_five():
    image = torch.zeros(1, 3, 11, 11, dtype=torch.float64)
    graph = ncut_graph(image)
    assert 2 * len(graph.windows) + 1 == sum(y * y + x * x < 25 for y in range(-5, 6) for x in range(-5, 6))
    near = [np.exp(-(y * y + x * x) / 16) for y in range(-4, 5) for x in range(-4, 5) if y * y + x * x < 25]
    assert graph.degree[0, 0, 5, 5].item() == pytest.approx(sum(near))


def test_gradient():
    images, logits = draw(4, 5, batch=1)
    graph = ncut_graph(images, RADIUS, SIGMA_I, SIGMA_X)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_ncut_loss(x.softmax(1), graph), logits)
    assert torch.autograd.gradgradcheck(lambda x: soft_ncut_loss(x.softmax(1), graph), logits)


def test_images_of_a_batch_do_not_mix():
    images, logits = draw()
    one_by_one = [
        soft_ncut_loss(logits[i : i + 1].softmax(1), ncut_graph(images[i : i + 1], RADIUS, SIGMA_I, SIGMA_X))
        for i in range(2)
    ]
    both = soft_ncut_loss(logits.softmax(1), ncut_graph(images, RADIUS, SIGMA_I, SIGMA_X))
    assert both.item() == pytest.approx(torch.stack(one_by_one).mean().item(), rel=1e-12)


def test_a_cut_along_the_edge_is_the_best_of_hard_ones():
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1
    columns = torch.arange(8).expand(8, 8)

    def loss(cut):
        hard = torch.stack([columns < cut, columns >= cut]).float()[None]
        return soft_ncut_loss(hard, ncut_graph(image)).item()

    assert loss(4) == pytest.approx(0, abs=1e-6)  # two regions that share no affinity
    assert min(loss(cut) for cut in (1, 2, 3, 5, 6, 7)) > 0.05
    assert loss(0) == pytest.approx(1, abs=1e-6)  # one class of two used


def test_a_class_that_vanished_does_no_harm():
    images, logits = draw()
    logits = logits.float()
    logits[:, 0] = -1e4
    logits.requires_grad_()
    loss = soft_ncut_loss(logits.softmax(1), ncut_graph(images.float()))
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_senseless_widths_are_refused():
    images, _ = draw()
    with pytest.raises(InputError, match=r"radius_px=0.* is outside 1\.\.64"):
        ncut_graph(images, radius_px=0.0)
    with pytest.raises(InputError, match="sigma_intensity=0"):
        ncut_graph(images, sigma_intensity=0.0)
