"""The Superpixel Sampling Network: backbone, top-down head, pixel embedding and boundary map.

In   images (B, 3, H, W) float in 0..1, any size
Out  PixelPrediction: embeddings (B, D, H, W) and boundary logits (B, 1, H, W)
Not  no clustering (soft_kmeans), no hard labels (leaves), no files

Deep maps are projected at their own resolution, then upsampled and fused with the shallow full-resolution stem.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import BaseModel, PositiveFloat, PositiveInt
from torch import nn

from supercuts.backbones.base import Backbone, PretrainedConfig
from supercuts.backbones.compact_cnn import conv_bn_relu
from supercuts.backbones.registry import make_backbone
from supercuts.core.errors import InputError
from supercuts.superpixels.grid import Grid


class SSNConfig(BaseModel, frozen=True, extra="forbid"):
    """What defines a network; stored beside its weights."""

    backbone: str = "compact"  # a name of backbones.registry
    pretrained: PretrainedConfig = PretrainedConfig()  # how a backbone is used whose weights others trained
    head_channels: tuple[PositiveInt, ...] = (24, 32, 48, 64)  # of the top-down path, finest first
    embedding_channels: PositiveInt = 16  # learned channels of the pixel embedding
    color_scale: PositiveFloat = 0.26  # of Lab in the SSN features (Jampani et al.)
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
    """A Superpixel Sampling Network; `config` rebuilds it."""

    def __init__(self, config: SSNConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = make_backbone(config.backbone, config.pretrained)
        self.head = TopDownHead(self.backbone, config.head_channels, config.embedding_channels + 1)

    def forward(self, images: torch.Tensor) -> PixelPrediction:
        """Return embeddings and boundary logits of `images` (B, 3, H, W) in 0..1, any H and W."""
        height, width = images.shape[-2:]
        multiple = self.backbone.strides[-1]
        # replicated borders look like neither an object nor a boundary; the crop undoes them
        padded = F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        features = self.backbone(padded)
        output = self.head(features.stem, features.maps)[..., :height, :width].float()
        return PixelPrediction(embeddings=output[:, :-1], boundary_logits=output[:, -1:])


def pixel_features(lab: torch.Tensor, embeddings: torch.Tensor | None, grid: Grid, config: SSNConfig) -> torch.Tensor:
    """Return the SSN features (B, 3 + 2 + D, H, W): scaled Lab, scaled (row, col), learned channels.

    The position scale is `position_scale * max(rows / H, cols / W)`, so one model serves any number of superpixels
    (Jampani et al.). Without embeddings this is SSN_pix.
    """
    b, _, height, width = lab.shape
    scale = config.position_scale * max(grid.rows / height, grid.cols / width)
    ys = torch.arange(height, device=lab.device, dtype=lab.dtype).view(1, 1, height, 1) * scale
    xs = torch.arange(width, device=lab.device, dtype=lab.dtype).view(1, 1, 1, width) * scale
    parts = [config.color_scale * lab, ys.expand(b, 1, height, width), xs.expand(b, 1, height, width)]
    return torch.cat(parts if embeddings is None else [*parts, embeddings], dim=1)
