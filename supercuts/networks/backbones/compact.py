"""The embedded backbone: a small residual encoder over five scales."""

from collections.abc import Sequence

import torch
from torch import nn

from supercuts.networks.backbones.base import IMAGENET_STATISTICS, Backbone, Features


def conv_bn_relu(n_in: int, n_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return convolution, BatchNorm, ReLU; the convolution has no bias because BatchNorm has one."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity (He et al. 2016), both at the input's resolution."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(n_channels, n_channels)
        self.second = nn.Sequential(nn.Conv2d(n_channels, n_channels, 3, 1, 1, bias=False), nn.BatchNorm2d(n_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of the input's shape."""
        return torch.relu(x + self.second(self.first(x)))


class CompactCNN(Backbone):
    """Stem at stride 1, then one stage a stride: a strided convolution and residual blocks."""

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
        for name, known, other in zip(("mean", "std"), IMAGENET_STATISTICS, (0.5, 0.25), strict=True):
            values = torch.tensor(known) if in_channels == 3 else torch.full((in_channels,), other)
            self.register_buffer(name, values.view(1, in_channels, 1, 1), persistent=False)
        self.stem = nn.Sequential(conv_bn_relu(in_channels, stem_channels), conv_bn_relu(stem_channels, stem_channels))
        widths = (stem_channels, *self.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(conv_bn_relu(n_in, n_out, stride=2), *(ResidualBlock(n_out) for _ in range(count)))
            for n_in, n_out, count in zip(widths[:-1], widths[1:], n_blocks, strict=True)
        )

    def forward(self, images: torch.Tensor) -> Features:
        """Return the stem and one map a stage."""
        x = stem = self.stem((images - self.mean) / self.std)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return Features(stem=stem, maps=tuple(maps))
