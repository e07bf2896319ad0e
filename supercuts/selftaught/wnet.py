"""W-Net: two U-Nets in series, an encoder from the image to a soft segmentation and a decoder back to the image.

Xia and Kulis, "W-Net: A Deep Model for Fully Unsupervised Image Segmentation" (arXiv 1711.08506).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from torch import nn

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError

_Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class NcutGraph:
    """Affinities between the pixels of a batch that are closer than a radius; a pixel's affinity to itself is 1.

    windows   one pair per offset of half the disc: the windows of the first and of the second pixels of its pairs
    affinity  one (B, h, w) per offset, the affinities of its pairs
    degree    (B, 1, H, W), sum of a pixel's affinities
    """

    windows: tuple[tuple[_Window, _Window], ...]
    affinity: tuple[torch.Tensor, ...]
    degree: torch.Tensor


def ncut_graph(
    images: Float[torch.Tensor, "batch channels height width"],
    radius_px: float = 5.0,
    sigma_intensity: float = 10.0,
    sigma_space_px: float = 4.0,
) -> NcutGraph:
    """Return exp(-|I_u - I_v|^2 / sigma_I^2) exp(-|x_u - x_v|^2 / sigma_X^2) for |x_u - x_v| < r, else 0.

    Xia and Kulis, W-Net (arXiv 1711.08506), section on the soft n-cut loss. Images are in 0..1 and the difference of
    two colours is their Euclidean distance, while sigma_intensity is on the scale 0..255, as published.
    """
    check_in_range("radius_px", radius_px, 1, 64, remedy="Pairs of pixels closer than this are compared: about 5.")
    for name, sigma in (("sigma_intensity", sigma_intensity), ("sigma_space_px", sigma_space_px)):
        check_in_range(name, sigma, 1e-6, float("inf"), remedy="Give the width of a Gaussian, above 0.")
    height, width = images.shape[-2:]
    offsets = _half_disc(radius_px, height, width)
    windows = tuple(_windows(offset, height, width) for offset in offsets)
    affinity = []
    for (dy, dx), (first, second) in zip(offsets, windows, strict=True):
        squared = (images[..., *first] - images[..., *second]).square().sum(1) * (255 / sigma_intensity) ** 2
        affinity.append(torch.exp(-squared - (dy * dy + dx * dx) / sigma_space_px**2))
    ones = torch.ones_like(images[:, :1])
    return NcutGraph(windows, tuple(affinity), _sum_neighbours(ones, windows, tuple(affinity)))


def soft_ncut_loss(
    assignment: Float[torch.Tensor, "batch classes height width"], graph: NcutGraph
) -> Float[torch.Tensor, ""]:
    """Return J = K - sum_k sum_uv p_u w_uv p_v / sum_u p_u d_u, computed per image and averaged over the batch.

    assignment sums to 1 over the classes. 0 <= J <= K: hard classes that cut no affinity give K minus the classes used.
    """
    summed: torch.Tensor = _Neighbours.apply(assignment, graph)
    inside = (assignment * summed).sum((2, 3))
    total = (assignment * graph.degree).sum((2, 3))
    # a class that softmax has rounded to 0 everywhere has the ratio 0 / 0
    share = inside / total.clamp_min(torch.finfo(total.dtype).tiny)
    return (assignment.shape[1] - share.sum(1)).mean()


class _Neighbours(torch.autograd.Function):
    """Sum over neighbours weighted by affinity; affinities are symmetric, so its gradient is the same sum.

    With autograd, each offset would keep maps of all classes for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, graph: NcutGraph) -> torch.Tensor:
        ctx.graph = graph
        return _sum_neighbours(values, graph.windows, graph.affinity)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        summed: torch.Tensor = _Neighbours.apply(gradient, ctx.graph)
        return summed, None


def _sum_neighbours(
    values: torch.Tensor, windows: tuple[tuple[_Window, _Window], ...], affinity: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    total = values.clone()  # each pixel's affinity to itself is 1
    for (first, second), weight in zip(windows, affinity, strict=True):
        total[..., *first].addcmul_(weight[:, None], values[..., *second])
        total[..., *second].addcmul_(weight[:, None], values[..., *first])
    return total


def _half_disc(radius: float, height: int, width: int) -> list[tuple[int, int]]:
    """Return one of every two opposite offsets (dy, dx) that are shorter than the radius and fit the image."""
    reach = range(-int(radius), int(radius) + 1)
    return [
        (dy, dx)
        for dy in reach
        for dx in reach
        if (dy, dx) > (0, 0) and dy * dy + dx * dx < radius * radius and dy < height and abs(dx) < width
    ]


def _windows(offset: tuple[int, int], height: int, width: int) -> tuple[_Window, _Window]:
    dy, dx = offset
    first = slice(0, height - dy), slice(max(-dx, 0), width - max(dx, 0))
    second = slice(dy, height), slice(max(dx, 0), width - max(-dx, 0))
    return first, second


class WNetConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of the network and its loss, as published; configs/wnet_small.yaml has smaller ones for CPUs."""

    method: Literal["wnet"] = "wnet"
    classes: int = Field(default=20, ge=2)  # K, classes of the segmentation
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)] = (64, 128, 256, 512, 1024)  # down path channels
    dropout: float = Field(default=0.65, ge=0, lt=1)
    radius_px: float = Field(default=5.0, ge=1, le=64)  # pairs of pixels closer than this count in the soft n-cut
    sigma_intensity: PositiveFloat = 10.0  # on intensities 0..255
    sigma_space_px: PositiveFloat = 4.0

    @property
    def stride(self) -> int:
        """Number of pixels that image sides must be a multiple of."""
        return int(2 ** (len(self.widths) - 1))


class WNet(nn.Module):
    """The two U-Nets; with the five published widths, 18 modules and 46 convolutions."""

    def __init__(self, config: WNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = UNet(3, config.classes, config.widths, config.dropout)
        self.decoder = UNet(config.classes, 3, config.widths, config.dropout)

    def probabilities(
        self, images: Float[torch.Tensor, "batch 3 height width"]
    ) -> Float[torch.Tensor, "batch classes height width"]:
        """Return the encoder's soft segmentation, which sums to 1 over the classes."""
        logits: torch.Tensor = self.encoder(images)
        return logits.softmax(1)

    def ncut_loss(self, images: Float[torch.Tensor, "batch 3 height width"]) -> Float[torch.Tensor, ""]:
        """Return the soft normalised cut of the encoder's segmentation; it does not depend on the decoder."""
        config = self.config
        graph = ncut_graph(images, config.radius_px, config.sigma_intensity, config.sigma_space_px)
        return soft_ncut_loss(self.probabilities(images), graph)

    def reconstruction_loss(self, images: Float[torch.Tensor, "batch 3 height width"]) -> Float[torch.Tensor, ""]:
        """Return |X - decoder(encoder(X))|^2, averaged; the paper's sum ties the learning rate to the image size."""
        return F.mse_loss(self.decoder(self.probabilities(images)), images)


class UNet(nn.Module):
    """A U-Net: modules of two 3x3 convolutions, max pooling down, transposed convolutions up, skips by concatenation.

    All modules except the first and the last are depthwise separable.
    """

    def __init__(self, n_in: int, n_out: int, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        first = _module(n_in, widths[0], dropout, is_separable=False)
        self.down = nn.ModuleList([first, *(_module(a, b, dropout) for a, b in pairs)])
        self.rise = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(pairs)])
        ups = [_module(2 * a, a, dropout, is_separable=level > 0) for level, (a, _) in enumerate(pairs)]
        self.up = nn.ModuleList(ups[::-1])
        self.head = nn.Conv2d(widths[0], n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output (B, n_out, H, W), without an activation."""
        stride = 2 ** len(self.rise)
        if x.shape[-2] % stride or x.shape[-1] % stride:
            raise InputError(
                f"an image of {x.shape[-2]} x {x.shape[-1]} pixels: pad both sides to a multiple of {stride}."
            )
        skips = []
        for i, module in enumerate(self.down):
            x = module(F.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for rise, module, skip in zip(self.rise, self.up, skips[-2::-1], strict=True):
            x = module(torch.cat([skip, rise(x)], dim=1))
        out: torch.Tensor = self.head(x)
        return out


def _module(n_in: int, n_out: int, dropout: float, is_separable: bool = True) -> nn.Sequential:
    """Return two 3x3 convolutions, each followed by ReLU, then batch normalisation; then dropout."""
    layers: list[nn.Module] = []
    for channels in (n_in, n_out):
        layers += _convolution(channels, n_out, is_separable)
        layers += [nn.ReLU(inplace=True), nn.BatchNorm2d(n_out)]
    return nn.Sequential(*layers, nn.Dropout(dropout))


def _convolution(n_in: int, n_out: int, is_separable: bool) -> list[nn.Module]:
    if not is_separable:
        return [nn.Conv2d(n_in, n_out, 3, padding=1)]
    return [nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in, bias=False), nn.Conv2d(n_in, n_out, 1)]
