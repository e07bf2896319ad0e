"""Interface of backbones: deep features at their own strides and a shallow full-resolution stem."""

from abc import ABC, abstractmethod
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
    """A network that describes an image at several strides; a head fuses what it gives into pixel embeddings.

    Subclasses set `stem_channels`, and `channels` and `strides` of the maps, finest first, and normalise the image
    themselves (each pretrained model has its own statistics).
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
