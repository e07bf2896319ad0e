from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from supercuts.core.errors import InputError
from supercuts.selftaught.classifier import (
    Autoencoder,
    AutoencoderConfig,
    Classifier,
    ClassifierConfig,
    TargetConfig,
    image_superpixels,
    initialise,
    response_layers,
    slic_targets,
    thesis_targets,
    voted_targets,
)


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
    naive = -sum(logit.softmax(0)[label].log().item() for logit, label in zip(logits, labels, strict=True)) / 2
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
    actual = network(torch.rand(2, 3, 5, 7))
    assert actual.shape == (2, 6, 5, 7)
    assert actual.min() >= 0


def test_initialise_sets_biases_to_zero():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2, bias=False))
    initialise(network, nn.init.ones_)
    assert (network[0].bias == 0).all()
    assert (network[0].weight == 1).all()
    assert (network[2].weight == 1).all()


def naive_vote(winners: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    voted = np.empty_like(winners)
    for one, cells, out in zip(winners, superpixels, voted, strict=True):
        for cell in np.unique(cells):
            counts = Counter(one[cells == cell].tolist())
            most = max(counts.values())
            out[cells == cell] = min(label for label, n in counts.items() if n == most)
    return voted


def test_votes_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    winners, superpixels = rng.integers(0, 4, (3, 9, 7)), rng.integers(0, 12, (3, 9, 7))
    actual = voted_targets(torch.from_numpy(winners), torch.from_numpy(superpixels))
    np.testing.assert_array_equal(actual, naive_vote(winners, superpixels))


def test_targets_carry_no_gradient():
    responses = torch.rand(2, 16, 8, 8, requires_grad=True)
    superpixels = torch.zeros(2, 8, 8, dtype=torch.long)
    for kind in ("voted", "thesis"):
        assert not slic_targets(responses, superpixels, kind).requires_grad
    assert slic_targets(responses, superpixels, "voted").unique().numel() <= 2  # one superpixel an image


def test_superpixels_follow_the_image():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    labels = image_superpixels(image, TargetConfig(superpixel_area_px=64))
    assert 8 <= labels.max() + 1 <= 24
    assert labels.min() == 0
    assert set(labels[:, :16].ravel()).isdisjoint(labels[:, 16:].ravel())
    assert not image_superpixels(image, TargetConfig(kind="thesis")).any()


def test_thesis_targets_are_segment_ids_of_the_label_map():
    winners = torch.zeros(2, 32, 32, dtype=torch.long)
    winners[:, :, 16:] = 60
    targets = thesis_targets(winners)
    assert targets.shape == winners.shape
    assert targets.min() == 1  # channel 0 is never a target
    assert targets.max() <= 12
    # at so low a compactness, ids follow the grey value of the class number
    left, right = set(targets[0, :, :14].unique().tolist()), set(targets[0, :, 18:].unique().tolist())
    assert left.isdisjoint(right)


def test_thesis_targets_do_not_depend_on_the_scaling_of_new_releases():
    """Without rescaling, doubling the class numbers halves the compactness in effect: both are near 0 here."""
    winners = torch.zeros(1, 16, 16, dtype=torch.long)
    winners[:, 8:] = 3
    torch.testing.assert_close(thesis_targets(winners), thesis_targets(2 * winners))


def test_one_class_everywhere_has_thesis_targets():
    assert thesis_targets(torch.full((1, 16, 16), 7)).min() == 1


def test_too_few_channels_for_the_segment_ids_are_refused():
    responses, superpixels = torch.rand(1, 4, 32, 32), torch.zeros(1, 32, 32, dtype=torch.long)
    with pytest.raises(InputError, match=r"classes=4 are fewer than the segment ids 1\.\.\d+: give 16 or more"):
        slic_targets(responses, superpixels, "thesis")
    assert slic_targets(responses, superpixels, "voted").max() < 4


def test_config_refuses_an_unknown_form():
    with pytest.raises(ValueError, match="'voted' or 'thesis'"):
        TargetConfig(kind="vote")


def widths(network) -> list[int]:
    kinds = torch.nn.Conv2d | torch.nn.ConvTranspose2d
    return [m.out_channels for m in network.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize(
    ("layout", "expected"), [("cifar10", [64, 32, 64, 32]), ("stl10", [64, 32]), ("voc", [64, 128, 256, 96])]
)
def test_layouts_autoencoder(layout, expected):
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
    actual = Autoencoder(AutoencoderConfig()).eval().probabilities(torch.rand(1, 3, 13, 7))
    torch.testing.assert_close(actual.sum(1), torch.ones(1, 13, 7))
