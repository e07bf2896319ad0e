"""The autoencoder approach: a segmentation network whose responses must also let an autoencoder redraw the image.

In   images (B, 3, S, S) in 0..1, their superpixels
Out  responses (B, C, S, S), reconstructions (B, 3, S, S), the two loss terms
Not  no image labels, no optimiser, no data

The second of two extensions of Kanezaki's method that are trained on a data set, after the published code of an MSc
thesis. There, targets of the test were made from the reconstruction's channels; here they always come from responses.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import BaseModel, Field
from torch import nn

from supercuts.core.errors import InputError
from supercuts.selftaught.classifier import Layout, TargetConfig, initialise, response_layers, slic_targets

_LAYERS: dict[str, tuple[tuple[int, int], ...]] = {  # (channels, kernel); of the last one only the kernel
    "cifar10": ((64, 3), (32, 1), (64, 3), (32, 1)),
    "stl10": ((64, 3), (32, 1)),
    "voc": ((64, 3), (128, 3), (256, 3), (96, 1)),
}
_WIDTHS = (12, 24, 48, 96)  # each halves the sides


class AutoencoderConfig(BaseModel, frozen=True, extra="forbid"):
    """The networks of one of three data sets."""

    method: Literal["autoencoder"] = "autoencoder"
    layout: Layout = "cifar10"
    classes: int | None = Field(default=None, ge=2)  # C, of the segmentation; None: as published, 32, of voc 96
    target: TargetConfig = TargetConfig()

    @property
    def stride(self) -> int:
        """What image sides must be divisible by."""
        return 1  # to segment; what is redrawn needs 16


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
        """Return the softmax of the responses, of images of any size."""
        responses: torch.Tensor = self.segmenter(images)
        return responses.softmax(1)

    def loss_terms(
        self,
        images: Float[torch.Tensor, "batch 3 height width"],
        superpixels: Int64[torch.Tensor, "batch height width"],
    ) -> dict[str, torch.Tensor]:
        """Return the cross-entropy with the SLIC targets and the squared error of the redrawn image, to be added."""
        responses, redrawn = self(images)
        targets = slic_targets(responses, superpixels, self.config.target.kind)
        return {"segmentation": F.cross_entropy(responses, targets), "reconstruction": F.mse_loss(redrawn, images)}


def _redraw(n_in: int) -> nn.Sequential:
    """Return 4x4 convolutions of stride 2 down and their mirror image up, batch normalisation and ReLU between."""
    layers: list[nn.Module] = []
    for n_out in _WIDTHS:
        layers += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
        n_in = n_out
    for n_out in _WIDTHS[-2::-1]:
        layers += [nn.ConvTranspose2d(n_in, n_out, 4, 2, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*layers, nn.ConvTranspose2d(n_in, 3, 4, 2, 1), nn.Sigmoid())
