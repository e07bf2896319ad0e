"""The classifier approach: a segmentation network whose responses must also let a classifier name the image.

The first of two extensions of Kanezaki's method that are trained on a data set, after the published code of an MSc
thesis. The thesis used two optimisers with the same settings, both stepping after one backward pass; one is equivalent.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32, Int64, UInt8
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from skimage.segmentation import slic
from torch import nn

from supercuts.core.errors import InputError

# SLIC settings of the thesis, for the label map
_THESIS_SEGMENTS, _THESIS_COMPACTNESS, _THESIS_STEPS, _THESIS_SIGMA = 7, 1e-4, 100, 1.1


class TargetConfig(BaseModel, frozen=True, extra="forbid"):
    """Kind of targets, and the superpixels of the voted kind."""

    kind: Literal["voted", "thesis"] = "voted"
    superpixel_area_px: PositiveFloat = 16.0  # mean area of the superpixels that vote; about that of Kanezaki 2018
    compactness: PositiveFloat = 20.0  # for SLIC in Lab; least colour variance on CIFAR10 at 16 px, among 5 to 100


def image_superpixels(
    image: UInt8[np.ndarray, "height width 3"], config: TargetConfig
) -> Int32[np.ndarray, "height width"]:
    """Return SLIC superpixels of the image, 0..N-1; all 0 if the targets do not use them."""
    if config.kind == "thesis":
        return np.zeros(image.shape[:2], np.int32)
    n_superpixels = max(round(image.shape[0] * image.shape[1] / config.superpixel_area_px), 1)
    labels: np.ndarray = slic(image, n_superpixels, config.compactness, start_label=0)
    return labels.astype(np.int32)


def slic_targets(
    responses: Float[torch.Tensor, "batch channels height width"],
    superpixels: Int64[torch.Tensor, "batch height width"],
    kind: str,
) -> Int64[torch.Tensor, "batch height width"]:
    """Return the target class of each pixel for targets of this kind; no gradient flows through it."""
    winners = responses.detach().argmax(1)
    if kind == "voted":
        return voted_targets(winners, superpixels)
    targets = thesis_targets(winners)
    if (highest := int(targets.max())) >= responses.shape[1]:  # SLIC returns a few segments more than requested
        raise InputError(f"classes={responses.shape[1]} are fewer than the segment ids 1..{highest}: give 16 or more.")
    return targets


def voted_targets(
    winners: Int64[torch.Tensor, "batch height width"], superpixels: Int64[torch.Tensor, "batch height width"]
) -> Int64[torch.Tensor, "batch height width"]:
    """Return the most frequent class in each pixel's superpixel; ties go to the lowest class.

    >>> winners = torch.tensor([[[5, 5, 2, 7]]])
    >>> voted_targets(winners, torch.tensor([[[0, 0, 0, 1]]])).tolist()
    [[[5, 5, 5, 7]]]
    """
    n_classes, n_superpixels = int(winners.max()) + 1, int(superpixels.max()) + 1
    image = torch.arange(len(winners), device=winners.device)[:, None, None]
    region = image * n_superpixels + superpixels
    votes = torch.bincount((region * n_classes + winners).flatten(), minlength=len(winners) * n_superpixels * n_classes)
    return votes.view(-1, n_classes).argmax(1)[region]


def thesis_targets(winners: Int64[torch.Tensor, "batch height width"]) -> Int64[torch.Tensor, "batch height width"]:
    """Return the ids 1.. of SLIC on each map of winning classes, treated as a volume of grey values one pixel deep."""
    targets = [_slic_of_labels(labels) for labels in winners.cpu().numpy()]
    return torch.from_numpy(np.stack(targets)).to(winners.device)


def _slic_of_labels(labels: Int64[np.ndarray, "height width"]) -> Int64[np.ndarray, "height width"]:
    # scikit-image >= 0.19 scales values to 0..1, and 0.17, used in the thesis, did not: compactness compensates for it
    spread = max(float(np.ptp(labels)), 1.0)
    segments: np.ndarray = slic(
        labels[..., None].astype(np.float64),
        n_segments=_THESIS_SEGMENTS,
        compactness=_THESIS_COMPACTNESS / spread,
        max_num_iter=_THESIS_STEPS,
        sigma=_THESIS_SIGMA,
        spacing=(1.1, 1.1, 1.1),
        convert2lab=False,
        enforce_connectivity=False,
        min_size_factor=0.25,
        max_size_factor=3,
        start_label=1,
        channel_axis=None,
    )
    return segments[..., 0].astype(np.int64)


Layout = Literal["cifar10", "stl10", "voc"]
SIDE_PX: dict[str, int] = {"cifar10": 32, "stl10": 96, "voc": 224}  # image side of each layout


def response_layers(layers: tuple[tuple[int, int], ...], n_in: int = 3) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU for each (channels, kernel side), including the last."""
    parts: list[nn.Module] = []
    for n_out, kernel in layers:
        parts += [nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2), nn.BatchNorm2d(n_out), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*parts)


def initialise(network: nn.Module, fill: Callable[..., Any] = nn.init.xavier_uniform_) -> None:
    """Initialise convolutions and linear layers: weights by `fill`, biases 0. Batch normalisation needs no change."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


_HIDDEN: dict[str, tuple[tuple[int, int], ...]] = {  # (channels, kernel) before the last layer
    "cifar10": ((64, 3), (128, 3), (64, 1)),
    "stl10": ((64, 3), (128, 3), (256, 3)),
    "voc": ((64, 3), (128, 3), (256, 3)),
}


class ClassifierConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of the networks for one of three data sets."""

    method: Literal["classifier"] = "classifier"
    layout: Layout = "cifar10"
    classes: int = Field(default=96, ge=2)  # C, classes of the segmentation
    image_classes: PositiveInt = 10  # image classes of the data set
    target: TargetConfig = TargetConfig()
    resnet: Literal["imagenet", "random"] = "imagenet"  # initial weights of the ResNet-50 of layout voc

    @property
    def stride(self) -> int:
        """Number of pixels that image sides must be a multiple of."""
        return 1


class Classifier(nn.Module):
    """The segmentation network and the classifier on its responses."""

    def __init__(self, config: ClassifierConfig, is_pretrained: bool = True) -> None:
        """Build the networks; with is_pretrained=False, for weights that are loaded later, nothing is downloaded."""
        super().__init__()
        self.config = config
        self.segmenter = response_layers((*_HIDDEN[config.layout], (config.classes, 1)))
        self.head = _HEADS[config.layout](config.classes, config.image_classes)
        initialise(self)
        if config.layout == "voc":
            self.backbone = _resnet50(config.image_classes, is_pretrained and config.resnet == "imagenet")

    def forward(
        self, images: Float[torch.Tensor, "batch 3 height width"]
    ) -> tuple[Float[torch.Tensor, "batch channels height width"], Float[torch.Tensor, "batch classes"]]:
        """Return the responses and the class logits."""
        responses = self.segmenter(images)
        logits = self.head(responses)
        return responses, self.backbone(logits) if self.config.layout == "voc" else logits

    def probabilities(
        self, images: Float[torch.Tensor, "batch 3 height width"]
    ) -> Float[torch.Tensor, "batch channels height width"]:
        """Return the softmax of the responses."""
        responses: torch.Tensor = self.segmenter(images)
        return responses.softmax(1)

    def loss_terms(
        self,
        images: Float[torch.Tensor, "batch 3 height width"],
        labels: Int64[torch.Tensor, " batch"],
        superpixels: Int64[torch.Tensor, "batch height width"],
    ) -> dict[str, torch.Tensor]:
        """Return two terms to add: the cross-entropy with the SLIC targets, and with the images' classes."""
        side = SIDE_PX[self.config.layout]
        if self.config.layout != "voc" and images.shape[-2:] != (side, side):
            raise InputError(
                f"images are {tuple(images.shape[-2:])}: the classifier takes {side} x {side} (data.side_px)."
            )
        responses, logits = self(images)
        targets = slic_targets(responses, superpixels, self.config.target.kind)
        return {"segmentation": F.cross_entropy(responses, targets), "classification": F.cross_entropy(logits, labels)}


def _cifar10_head(n_in: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(
        *_conv_relu_norm(n_in, 12),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *_conv_relu_norm(12, 24),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Flatten(),
        nn.Linear(16 * 16 * 24, n_classes),
    )


def _stl10_head(n_in: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(
        *response_layers(((32, 3), (64, 3)), n_in),
        nn.MaxPool2d(2),
        *response_layers(((128, 3),), 64),
        nn.Dropout2d(0.05),
        *response_layers(((128, 3),), 128),
        nn.MaxPool2d(2),
        *response_layers(((256, 3), (256, 3)), 128),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(12 * 12 * 256, n_classes),
    )


def _voc_head(n_in: int, _: int) -> nn.Sequential:
    """Return layers that turn responses into the three input channels of a ResNet."""
    layers: list[nn.Module] = []
    for a, b in ((n_in, 64), (64, 32), (32, 3)):
        layers += [*response_layers(((b, 1),), a), nn.Dropout2d(0.05)]
    return nn.Sequential(*layers)


_HEADS = {"cifar10": _cifar10_head, "stl10": _stl10_head, "voc": _voc_head}


def _conv_relu_norm(n_in: int, n_out: int) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(n_out)]


def _resnet50(n_classes: int, is_pretrained: bool) -> nn.Module:
    from torchvision.models import ResNet50_Weights, resnet50  # slow to import (a second), and only VOC needs it

    try:
        network: nn.Module = resnet50(weights=ResNet50_Weights.IMAGENET1K_V1 if is_pretrained else None)
    except OSError as error:
        raise InputError(
            f"the ImageNet weights of ResNet-50 cannot be downloaded ({error}). Connect once, or train with "
            "model.resnet=random."
        ) from error
    network.fc = nn.Linear(2048, n_classes)
    return network


_LAYERS: dict[str, tuple[tuple[int, int], ...]] = {  # (channels, kernel); the last number of channels is a default
    "cifar10": ((64, 3), (32, 1), (64, 3), (32, 1)),
    "stl10": ((64, 3), (32, 1)),
    "voc": ((64, 3), (128, 3), (256, 3), (96, 1)),
}
_WIDTHS = (12, 24, 48, 96)  # channels; each layer halves the sides


class AutoencoderConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of the networks for one of three data sets."""

    method: Literal["autoencoder"] = "autoencoder"
    layout: Layout = "cifar10"
    classes: int | None = Field(default=None, ge=2)  # C; None: as published, 32, or 96 for voc
    target: TargetConfig = TargetConfig()

    @property
    def stride(self) -> int:
        """Number of pixels that image sides must be a multiple of."""
        return 1  # for segmenting; redrawing needs 16


class Autoencoder(nn.Module):
    """The segmentation network, and the autoencoder on its responses."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        *hidden, (width, kernel) = _LAYERS[config.layout]
        n_classes = config.classes or width
        self.segmenter = response_layers((*hidden, (n_classes, kernel)))
        self.redraw = _redraw(n_classes)
        initialise(self, nn.init.kaiming_uniform_ if config.layout == "cifar10" else nn.init.xavier_uniform_)

    def forward(
        self, images: Float[torch.Tensor, "batch 3 height width"]
    ) -> tuple[Float[torch.Tensor, "batch channels height width"], Float[torch.Tensor, "batch 3 height width"]]:
        """Return the responses and the image redrawn from them."""
        stride = 2 ** len(_WIDTHS)
        if images.shape[-2] % stride or images.shape[-1] % stride:
            raise InputError(f"images are {tuple(images.shape[-2:])}: give sides divisible by {stride} (data.side_px).")
        responses = self.segmenter(images)
        return responses, self.redraw(responses)

    def probabilities(
        self, images: Float[torch.Tensor, "batch 3 height width"]
    ) -> Float[torch.Tensor, "batch channels height width"]:
        """Return the softmax of the responses, for images of any size."""
        responses: torch.Tensor = self.segmenter(images)
        return responses.softmax(1)

    def loss_terms(
        self,
        images: Float[torch.Tensor, "batch 3 height width"],
        superpixels: Int64[torch.Tensor, "batch height width"],
    ) -> dict[str, torch.Tensor]:
        """Return two terms to add: the cross-entropy with the SLIC targets, and the redrawn image's squared error."""
        responses, redrawn = self(images)
        targets = slic_targets(responses, superpixels, self.config.target.kind)
        return {"segmentation": F.cross_entropy(responses, targets), "reconstruction": F.mse_loss(redrawn, images)}


def _redraw(n_in: int) -> nn.Sequential:
    """Return 4x4 convolutions of stride 2 and their transposed mirror, with batch normalisation and ReLU between."""
    layers: list[nn.Module] = []
    for n_out in _WIDTHS:
        layers += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
        n_in = n_out
    for n_out in _WIDTHS[-2::-1]:
        layers += [nn.ConvTranspose2d(n_in, n_out, 4, 2, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*layers, nn.ConvTranspose2d(n_in, 3, 4, 2, 1), nn.Sigmoid())
