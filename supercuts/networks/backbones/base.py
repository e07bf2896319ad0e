"""Interface of backbones, and a small residual encoder with five scales that is trained from random weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of photographs


@dataclass(frozen=True, slots=True)
class Features:
    """Features of a batch of images, each map at its own resolution.

    stem  (B, Cs, H, W)   shallow, at full resolution
    maps  tuple of (B, Ci, H / stride_i, W / stride_i), finest first
    """

    stem: torch.Tensor
    maps: tuple[torch.Tensor, ...]


class Backbone(nn.Module, ABC):
    """A network that describes an image at several strides; a head fuses its maps into pixel embeddings.

    Subclasses set `stem_channels` and the `channels` and `strides` of the maps, finest first. They normalise the image
    themselves, because each pretrained model has its own statistics.
    """

    stem_channels: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def transformer(self) -> Any:
        """The vision transformer whose keys describe patches: a PretrainedViT, or None."""
        return None

    @abstractmethod
    def forward(self, images: torch.Tensor) -> Features:
        """Return the features of `images` (B, C, H, W) in 0..1; H and W are multiples of `strides[-1]`."""


def conv_bn_relu(n_in: int, n_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return convolution, BatchNorm and ReLU; the convolution has no bias because BatchNorm has one."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with an identity shortcut (He et al. 2016), at the input's resolution."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(n_channels, n_channels)
        self.second = nn.Sequential(nn.Conv2d(n_channels, n_channels, 3, 1, 1, bias=False), nn.BatchNorm2d(n_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of the input's shape."""
        return torch.relu(x + self.second(self.first(x)))


class CompactCNN(Backbone):
    """A stem at stride 1, then one stage per stride: a strided convolution and residual blocks."""

    strides = (2, 4, 8, 16)
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        stem_channels: int = 16,
        channels: Sequence[int] = (32, 64, 96, 128),
        n_blocks: Sequence[int] = (1, 2, 2, 2),
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem_channels = stem_channels
        self.channels = tuple(channels)
        for name, statistic, default in zip(("mean", "std"), IMAGENET_STATISTICS, (0.5, 0.25), strict=True):
            values = torch.tensor(statistic, dtype=torch.float32)
            if in_channels != 3:
                values = torch.full((in_channels,), default, dtype=torch.float32)
            self.register_buffer(name, values.view(1, in_channels, 1, 1), persistent=False)
        self.stem = nn.Sequential(conv_bn_relu(in_channels, stem_channels), conv_bn_relu(stem_channels, stem_channels))
        widths = (stem_channels, *self.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(conv_bn_relu(n_in, n_out, stride=2), *(ResidualBlock(n_out) for _ in range(count)))
            for n_in, n_out, count in zip(widths[:-1], widths[1:], n_blocks, strict=True)
        )

    def forward(self, images: torch.Tensor) -> Features:
        """Return the stem and one map per stage."""
        x = stem = self.stem((images - self.mean) / self.std)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return Features(stem=stem, maps=tuple(maps))
