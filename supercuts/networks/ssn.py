"""The Superpixel Sampling Network: backbone, top-down head, pixel embedding and boundary map.

In   images (B, C, H, W) float in 0..1, any size
Out  PixelPrediction: embeddings (B, D, H, W) and boundary logits (B, 1, H, W)
Not  clustering (soft_kmeans), hard labels (leaves), files

Deep maps are projected at their own resolution, then upsampled and fused with the shallow full-resolution stem.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from supercuts.core.errors import InputError
from supercuts.networks.backbones.base import Backbone, CompactCNN, conv_bn_relu
from supercuts.networks.backbones.efficientnet_lite import SHAPES, EfficientNetLite
from supercuts.networks.ssn_config import PretrainedConfig, SSNConfig
from supercuts.networks.torch_network import PixelPrediction, TorchNetwork

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "compact": CompactCNN,
    **{name: partial(EfficientNetLite, name) for name in SHAPES},
}


def make_backbone(name: str, config: PretrainedConfig | None = None, channels: int = 3) -> Backbone:
    """Return a new backbone for images of `channels` channels; DINO and timm:NAME take only 3."""
    if name in BACKBONES:
        return BACKBONES[name](in_channels=channels)
    from supercuts.networks.backbones.pretrained import make_pretrained

    return make_pretrained(name, config, channels)


class Context(nn.Module):
    """Dilated convolutions next to an identity: a wide view for few weights (Su et al., PiDiNet, ICCV 2021)."""

    dilations = (2, 4, 6, 8)

    def __init__(self, n_channels: int, n_hidden: int) -> None:
        super().__init__()
        self.reduce = conv_bn_relu(n_channels, n_hidden, 1)
        self.wide = nn.ModuleList(nn.Conv2d(n_hidden, n_hidden, 3, 1, d, d, bias=False) for d in self.dilations)
        self.expand = nn.Conv2d(n_hidden, n_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(n_channels)
        nn.init.zeros_(self.norm.weight)  # the block starts as the identity

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of the input's shape."""
        reduced = self.reduce(x)
        wide: torch.Tensor = sum(conv(reduced) for conv in self.wide)
        return torch.relu(x + self.norm(self.expand(torch.relu(wide))))


class RegionHead(nn.Module):
    """Predict boundary strength and region embeddings from the two finest maps of the top-down path."""

    def __init__(self, head_channels: Sequence[int], n_channels: int) -> None:
        super().__init__()
        self.strength = nn.Conv2d(head_channels[0], 1, 1)
        self.embedding = nn.Conv2d(head_channels[min(1, len(head_channels) - 1)], n_channels, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return strength logits (B, 1, h, w) and embeddings (B, R, h, w) at the size of the finest map."""
        finest = maps[0]
        return self.strength(finest), _resize(self.embedding(maps[min(1, len(maps) - 1)]), finest)


class TopDownHead(nn.Module):
    """Fuse maps from the coarsest to the stem, each projected at its own resolution (as in feature pyramids)."""

    def __init__(self, backbone: Backbone, config: SSNConfig) -> None:
        super().__init__()
        widths = tuple(config.head_channels)
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
        self.context = Context(widths[-1], config.context_channels) if config.context_channels else nn.Identity()
        stem = backbone.stem_channels
        self.to_stem = nn.Conv2d(widths[0], stem, 1, bias=False)
        self.fuse = nn.Sequential(*(conv_bn_relu(stem, stem) for _ in range(config.fuse_convolutions)))
        self.output = nn.Conv2d(stem, config.embedding_channels + 1, 1)  # + 1: the boundary

    def forward(self, stem: torch.Tensor, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return (B, n_outputs, H, W) and the maps of the path, finest first."""
        x = self.refine[-1](self.context(self.lateral[-1](maps[-1])))
        path = [x]
        for lateral, down, refine, finer in zip(
            self.lateral[-2::-1], self.down[::-1], self.refine[-2::-1], maps[-2::-1], strict=True
        ):
            x = refine(lateral(finer) + _resize(down(x), finer))
            path.insert(0, x)
        output: torch.Tensor = self.output(self.fuse(stem + _resize(self.to_stem(x), stem)))
        return output, path


def _resize(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=target.shape[-2:], mode="bilinear", align_corners=False)


class SSN(TorchNetwork):
    """A Superpixel Sampling Network; `config` rebuilds it."""

    def __init__(self, config: SSNConfig) -> None:
        super().__init__()
        if config.head != "topdown":
            raise InputError(f"head={config.head!r} is another network: make_ssn(config) returns it.")
        self.config = config
        self.backbone = make_backbone(config.backbone, config.pretrained, config.channels)
        widths = config.head_channels
        self.head = TopDownHead(self.backbone, config)
        self.regions = RegionHead(widths, config.region_channels) if config.region_channels else None

    def forward(self, images: torch.Tensor) -> PixelPrediction:
        """Return embeddings and boundary logits of `images` (B, C, H, W) in 0..1, any H and W."""
        if images.shape[1] != self.config.channels:
            raise InputError(
                f"images of {images.shape[1]} channels do not fit a network for {self.config.channels}. Give images of "
                f"{self.config.channels} channels, or train with model.channels={images.shape[1]}."
            )
        height, width = images.shape[-2:]
        # replicated borders look neither like an object nor like a boundary; the result is cropped below
        padded = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        output, *of_regions = self.dense(padded)
        output = output[..., :height, :width]
        strength, regions = self._shown(of_regions, images) if of_regions else (None, None)
        # two tensors, so that the embeddings of a pixel are contiguous in memory
        return PixelPrediction(output[:, :-1].float(), output[:, -1:].float(), strength, regions)

    def dense(self, padded: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the embeddings with the boundary logit as the last channel, and strength logits and regions if any."""
        features = self.backbone(padded)
        output, path = self.head(features.stem, features.maps)
        return (output,) if self.regions is None else (output, *self.regions(path))

    def _shown(self, of_regions: list[torch.Tensor], images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = images.shape[-2:]  # symbols instead of numbers during ONNX export
        stride = self.stride
        # rounded up; the dividend is positive because ONNX rounds a quotient towards zero
        visible = (..., slice((height + stride - 1) // stride), slice((width + stride - 1) // stride))
        strength, regions = (x[visible].float() for x in of_regions)
        return strength, regions


# IEC 61966-2-1: linear sRGB to XYZ, relative to the D65 white
_XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


def rgb_to_lab(images: torch.Tensor) -> torch.Tensor:
    """Return CIE Lab under D65 (B, 3, H, W) for sRGB in 0..1, on the device of the images.

    >>> rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten().round().abs().tolist()
    [100.0, 0.0, 0.0]
    """
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    mix = images.new_tensor(_XYZ_FROM_RGB) / images.new_tensor(_WHITE)[:, None]
    x, y, z = (torch.einsum("c,bchw->bhw", row, linear) for row in mix)
    x, y, z = (torch.where(v > 0.008856, v ** (1 / 3), 7.787 * v + 16 / 116) for v in (x, y, z))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def color_features(images: torch.Tensor) -> torch.Tensor:
    """Return the colour features of images.convert.color_features: Lab for RGB, 100 times each band otherwise."""
    return rgb_to_lab(images) if images.shape[1] == 3 else 100 * images
