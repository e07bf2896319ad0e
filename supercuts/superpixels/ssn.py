"""The Superpixel Sampling Network: backbone, top-down head, pixel embedding and boundary map.

In   images (B, C, H, W) float in 0..1, any size
Out  PixelPrediction: embeddings (B, D, H, W) and boundary logits (B, 1, H, W)
Not  no clustering (soft_kmeans), no hard labels (leaves), no files

Deep maps are projected at their own resolution, then upsampled and fused with the shallow full-resolution stem.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, PositiveFloat, PositiveInt
from torch import nn

from supercuts.backbones.base import Backbone, PretrainedConfig
from supercuts.backbones.compact_cnn import conv_bn_relu
from supercuts.backbones.registry import make_backbone
from supercuts.core.errors import InputError
from supercuts.superpixels.grid import Grid


class OriginalConfig(BaseModel, frozen=True, extra="forbid"):
    """What a network of head="original" was trained with, beyond its weights; see superpixels/original.py."""

    scrambled: bool = True  # keys in the order of a reshape without a transpose: released checkpoints were trained so
    color: Literal["lab", "rgb"] = "lab"  # what the network sees: Lab (as in its inference) or RGB 0..255 (training)
    nominal_superpixels: PositiveInt = 100  # the number that scales the position the network sees


class SSNConfig(BaseModel, frozen=True, extra="forbid"):
    """What defines a network; stored beside its weights."""

    channels: PositiveInt = 3  # of the images: 3 are RGB; other numbers need backbone="compact"
    backbone: str = "compact"  # a name of backbones.registry
    pretrained: PretrainedConfig = PretrainedConfig()  # how a backbone is used whose weights others trained
    head: Literal["topdown", "original"] = "topdown"  # original: that of the original SSN_DINO
    original: OriginalConfig = OriginalConfig()  # of head="original" alone
    head_channels: tuple[PositiveInt, ...] = (24, 32, 48, 64)  # of the top-down path, finest first
    embedding_channels: PositiveInt = 16  # learned channels of the pixel embedding
    color_scale: PositiveFloat = 0.26  # of colour in the SSN features: Lab (Jampani et al.), or 100 times each band
    position_scale: PositiveFloat = 2.5  # of (y, x), in units of cells (Jampani et al.)


@dataclass(frozen=True, slots=True)
class PixelPrediction:
    """What the network says of each pixel.

    embeddings       (B, D, H, W)
    boundary_logits  (B, 1, H, W)   sigmoid gives the probability that people draw a boundary here
    """

    embeddings: torch.Tensor
    boundary_logits: torch.Tensor


class TopDownHead(nn.Module):
    """Fuse maps from the coarsest to the stem, each projected at its own resolution (as in feature pyramids)."""

    def __init__(self, backbone: Backbone, head_channels: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        widths = tuple(head_channels)
        if len(widths) != len(backbone.channels):
            raise InputError(
                f"head_channels={widths} does not fit a backbone whose maps have {backbone.channels} channels. "
                "Give one width for each map."
            )
        self.lateral = nn.ModuleList(
            conv_bn_relu(n, width, 1) for n, width in zip(backbone.channels, widths, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(n, m, 1, bias=False) for n, m in zip(widths[1:], widths[:-1], strict=True))
        self.refine = nn.ModuleList(conv_bn_relu(width, width) for width in widths)
        stem = backbone.stem_channels
        self.to_stem = nn.Conv2d(widths[0], stem, 1, bias=False)
        self.fuse = nn.Sequential(conv_bn_relu(stem, stem), conv_bn_relu(stem, stem))
        self.output = nn.Conv2d(stem, n_outputs, 1)

    def forward(self, stem: torch.Tensor, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (B, n_outputs, H, W)."""
        x = self.refine[-1](self.lateral[-1](maps[-1]))
        for lateral, down, refine, finer in zip(
            self.lateral[-2::-1], self.down[::-1], self.refine[-2::-1], maps[-2::-1], strict=True
        ):
            x = refine(lateral(finer) + _resize(down(x), finer))
        output: torch.Tensor = self.output(self.fuse(stem + _resize(self.to_stem(x), stem)))
        return output


def _resize(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class SSN(nn.Module):
    """A Superpixel Sampling Network; `config` rebuilds it.

    SSN(config) builds the network of every config: that of head="original" is an OriginalSSNDINO.
    """

    def __new__(cls, config: SSNConfig | None = None) -> "SSN":
        """Return a network of the class that `config.head` names; copying a network gives no config."""
        if cls is SSN and config is not None and config.head == "original":
            from supercuts.superpixels.original import OriginalSSNDINO  # imports timm, and this module

            return super().__new__(OriginalSSNDINO)
        return super().__new__(cls)

    def __init__(self, config: SSNConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = make_backbone(config.backbone, config.pretrained, config.channels)
        self.head = TopDownHead(self.backbone, config.head_channels, config.embedding_channels + 1)

    def forward(self, images: torch.Tensor) -> PixelPrediction:
        """Return embeddings and boundary logits of `images` (B, C, H, W) in 0..1, any H and W."""
        if images.shape[1] != self.config.channels:
            raise InputError(
                f"images of {images.shape[1]} channels do not fit a network for {self.config.channels}. Give images of "
                f"{self.config.channels} channels, or train with model.channels={images.shape[1]}."
            )
        height, width = images.shape[-2:]
        multiple = self.backbone.strides[-1]
        # replicated borders look like neither an object nor a boundary; the crop undoes them
        padded = F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        features = self.backbone(padded)
        output = self.head(features.stem, features.maps)[..., :height, :width].float()
        return PixelPrediction(embeddings=output[:, :-1], boundary_logits=output[:, -1:])


def pixel_features(color: torch.Tensor, embeddings: torch.Tensor | None, grid: Grid, config: SSNConfig) -> torch.Tensor:
    """Return the SSN features (B, C + 2 + D, H, W): scaled colour, scaled (row, col), learned channels.

    `color` (B, C, H, W) is what images.color.color_features gives.
    The position scale is `position_scale * max(rows / H, cols / W)`, so one model serves any number of superpixels
    (Jampani et al.). Without embeddings this is SSN_pix.
    """
    b, _, height, width = color.shape
    scale = config.position_scale * max(grid.rows / height, grid.cols / width)
    ys = torch.arange(height, device=color.device, dtype=color.dtype).view(1, 1, height, 1) * scale
    xs = torch.arange(width, device=color.device, dtype=color.dtype).view(1, 1, 1, width) * scale
    parts = [config.color_scale * color, ys.expand(b, 1, height, width), xs.expand(b, 1, height, width)]
    return torch.cat(parts if embeddings is None else [*parts, embeddings], dim=1)
