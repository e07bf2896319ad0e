import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.selftaught.autoencoder import Autoencoder, AutoencoderConfig


def widths(network) -> list[int]:
    kinds = torch.nn.Conv2d | torch.nn.ConvTranspose2d
    return [m.out_channels for m in network.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize(
    ("layout", "expected"), [("cifar10", [64, 32, 64, 32]), ("stl10", [64, 32]), ("voc", [64, 128, 256, 96])]
)
def test_layouts(layout, expected):
    network = Autoencoder(AutoencoderConfig(layout=layout)).eval()
    assert widths(network.segmenter) == expected
    assert widths(network.redraw) == [12, 24, 48, 96, 48, 24, 12, 3]
    with torch.no_grad():
        responses, redrawn = network(torch.rand(2, 3, 32, 48))
    assert responses.shape == (2, expected[-1], 32, 48)
    assert redrawn.shape == (2, 3, 32, 48)
    assert 0 <= redrawn.min() <= redrawn.max() <= 1


def test_loss_terms_are_those_of_loops_and_the_gradient_is_right():
    torch.manual_seed(0)
    network = Autoencoder(AutoencoderConfig(classes=3)).double().eval()
    images = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    superpixels = torch.arange(256).view(1, 16, 16) // 8
    terms = network.loss_terms(images, superpixels)
    responses, redrawn = network(images)
    squares = [(a - b) ** 2 for a, b in zip(redrawn.flatten().tolist(), images.flatten().tolist(), strict=True)]
    assert terms["reconstruction"].item() == pytest.approx(sum(squares) / len(squares), rel=1e-9)
    target = responses.argmax(1).view(1, 32, 8).mode(2).values.repeat_interleave(8, 1).view(1, 16, 16)
    chosen = responses.softmax(1).gather(1, target[:, None])
    assert terms["segmentation"].item() == pytest.approx(-chosen.log().mean().item(), rel=1e-9)
    assert torch.autograd.gradcheck(  # fast_mode: along one random direction
        lambda x: tuple(network.loss_terms(x, superpixels).values()), images.requires_grad_(), eps=1e-7, fast_mode=True
    )


def test_a_side_that_cannot_be_halved_is_refused():
    with pytest.raises(InputError, match="give sides divisible by 16"):
        Autoencoder(AutoencoderConfig())(torch.rand(1, 3, 24, 32))


def test_any_size_can_be_segmented():
    found = Autoencoder(AutoencoderConfig()).eval().probabilities(torch.rand(1, 3, 13, 7))
    torch.testing.assert_close(found.sum(1), torch.ones(1, 13, 7))
