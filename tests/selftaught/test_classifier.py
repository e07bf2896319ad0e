import pytest
import torch
from torch import nn

from supercuts.core.errors import InputError
from supercuts.selftaught.classifier import Classifier, ClassifierConfig, initialise, response_layers
from supercuts.selftaught.slic_targets import TargetConfig


def layers(network) -> list[tuple[int, int]]:
    return [(m.out_channels, m.kernel_size[0]) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]


@pytest.mark.parametrize(
    ("layout", "side", "expected"),
    [
        ("cifar10", 32, [(64, 3), (128, 3), (64, 1), (96, 1)]),
        ("stl10", 96, [(64, 3), (128, 3), (256, 3), (96, 1)]),
        ("voc", 64, [(64, 3), (128, 3), (256, 3), (96, 1)]),
    ],
)
def test_layouts(layout, side, expected):
    network = Classifier(ClassifierConfig(layout=layout, resnet="random", image_classes=7)).eval()
    assert layers(network.segmenter) == expected
    with torch.no_grad():
        responses, logits = network(torch.rand(2, 3, side, side))
    assert responses.shape == (2, 96, side, side)
    assert logits.shape == (2, 7)
    with torch.no_grad():
        torch.testing.assert_close(network.probabilities(torch.rand(1, 3, 9, 11)).sum(1), torch.ones(1, 9, 11))


@pytest.mark.parametrize("kind", ["voted", "thesis"])
def test_loss_terms_are_those_of_loops_and_both_train_the_segmentation(kind):
    torch.manual_seed(0)
    network = Classifier(ClassifierConfig(classes=12, target=TargetConfig(kind=kind))).double().eval()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    labels, superpixels = torch.tensor([3, 8]), torch.arange(1024).view(1, 32, 32).expand(2, 32, 32) // 16
    terms = network.loss_terms(images, labels, superpixels)
    responses, logits = network(images)
    naive = -sum(one.softmax(0)[label].log().item() for one, label in zip(logits, labels, strict=True)) / 2
    assert terms["classification"].item() == pytest.approx(naive, rel=1e-9)
    if kind == "voted":
        target = responses.argmax(1).view(2, 64, 16).mode(2).values.repeat_interleave(16, 1).view(2, 32, 32)
        chosen = responses.softmax(1).gather(1, target[:, None])
        assert terms["segmentation"].item() == pytest.approx(-chosen.log().mean().item(), rel=1e-9)
    for term in terms.values():
        network.zero_grad()
        torch.autograd.backward(term, retain_graph=True)
        assert network.segmenter[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["voted", "thesis"])
def test_gradients_of_the_losses(kind):
    torch.manual_seed(0)
    network = Classifier(ClassifierConfig(classes=16, target=TargetConfig(kind=kind))).double().eval()
    superpixels = torch.arange(1024).view(1, 32, 32) // 16
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)

    def losses(x):
        return tuple(network.loss_terms(x, torch.tensor([3]), superpixels).values())

    # fast_mode: along one random direction, not along each of the 3072
    assert torch.autograd.gradcheck(losses, images, eps=1e-7, fast_mode=True)


def test_images_of_another_size_are_refused():
    network = Classifier(ClassifierConfig())
    with pytest.raises(InputError, match=r"takes 32 x 32 \(data\.side_px\)"):
        network.loss_terms(torch.rand(1, 3, 48, 48), torch.tensor([0]), torch.zeros(1, 48, 48, dtype=torch.long))


def test_weights_that_cannot_be_downloaded_name_the_remedy(monkeypatch):
    def refuse(**_):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models.resnet50", refuse)
    with pytest.raises(InputError, match=r"no route to host.*model\.resnet=random"):
        Classifier(ClassifierConfig(layout="voc"))


def test_layers_keep_the_size_and_end_in_relu():
    network = response_layers(((4, 3), (6, 1)))
    assert [type(layer).__name__ for layer in network] == 2 * ["Conv2d", "BatchNorm2d", "ReLU"]
    found = network(torch.rand(2, 3, 5, 7))
    assert found.shape == (2, 6, 5, 7)
    assert found.min() >= 0


def test_initialise_sets_biases_to_zero():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2, bias=False))
    initialise(network, nn.init.ones_)
    assert (network[0].bias == 0).all()
    assert (network[0].weight == 1).all()
    assert (network[2].weight == 1).all()
