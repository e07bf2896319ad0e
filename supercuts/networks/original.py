"""The network of the original SSN_DINO, so that its checkpoints reproduce their results.

Known faults of the original are reproduced if trained weights depend on them: colours reach the transformer without
normalisation, keys may be scrambled (OriginalConfig.scrambled), and if H or W is not a multiple of the patch size, keys
of the part that patches cover are stretched over the whole image.
"""

import itertools
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from supercuts.core.errors import InputError
from supercuts.networks.backbones.base import Features, conv_bn_relu
from supercuts.networks.backbones.pretrained import PretrainedViT
from supercuts.networks.layers import WholeImage
from supercuts.networks.ssn import rgb_to_lab
from supercuts.networks.ssn_config import OriginalConfig, PretrainedConfig, SSNConfig
from supercuts.networks.torch_network import PixelPrediction, TorchNetwork

NO_BOUNDARY = -1e3  # a logit whose sigmoid is exactly 0, in half precision too
_HIDDEN = (256, 64)  # channels of output_conv between the features and the embedding
_PREFIXES = {"backbone.": "backbone.vit.model.", "output_conv.": "output_conv."}  # original -> here


class OriginalViT(PretrainedViT):
    """A DINO v1 transformer that does not normalise colours and has no stem of its own."""

    def __init__(self, name: str, config: PretrainedConfig) -> None:
        super().__init__(name, config)
        self.stem, self.stem_channels = nn.Sequential(), 0

    def forward(self, images: torch.Tensor) -> Features:
        """Return `images` (B, 3, H, W) as the stem, and their patch features (B, C, h, w)."""
        return Features(stem=images, maps=(self.vit(images),))


class OriginalSSNDINO(TorchNetwork):
    """The original SSN_DINO, which has no boundary map.

    Runs in float32 even under autocast: colours and keys are not normalised, and bfloat16 would round them.
    """

    has_boundary = False

    def __init__(self, config: SSNConfig) -> None:
        super().__init__()
        if config.head != "original":
            raise InputError(f'head={config.head!r} is another network. Give SSNConfig(head="original", ...).')
        if not config.backbone.startswith("dino_vit"):
            raise InputError(
                f"backbone={config.backbone!r} does not fit head='original', which is made for transformers of DINO "
                'v1. Give backbone="dino_vits16".'
            )
        if config.channels != 3:
            raise InputError(
                f"channels={config.channels} does not fit head='original', which takes RGB. Give channels=3."
            )
        self.config = config
        self.backbone = OriginalViT(config.backbone, config.pretrained)
        widths = (3 + 2 + self.backbone.channels[0], *_HIDDEN, config.embedding_channels)
        self.output_conv = nn.Sequential(*(conv_bn_relu(n, m) for n, m in itertools.pairwise(widths)))

    def forward(self, images: torch.Tensor) -> PixelPrediction:
        """Return the learned channels, with the position scale of `nominal_superpixels`, and NO_BOUNDARY logits."""
        learned = self.pixel_features(images, self.config.original.nominal_superpixels)[:, 5:]
        return PixelPrediction(embeddings=learned, boundary_logits=torch.full_like(learned[:, :1], NO_BOUNDARY))

    def dense(self, padded: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Raise WholeImage, because the position of each pixel is an input of the original."""
        raise WholeImage("the network takes the position of each pixel as input")

    def pixel_features(self, images: torch.Tensor, n_superpixels: int) -> torch.Tensor:
        """Return the original's features (B, 3 + 2 + D, H, W): colour, (row, col), learned channels.

        The order is that of kmeans_torch.pixel_features. The original has the learned channels first, which does not
        affect distances. Its position scale counts floor(sqrt(n_superpixels)) cells along both axes.
        """
        height, width = images.shape[-2:]
        with torch.autocast(images.device.type, enabled=False):
            color = self.config.color_scale * self._color(images.float())
            n_cells = math.isqrt(n_superpixels)
            scale = self.config.position_scale * max(n_cells / height, n_cells / width)
            position = scale * _coordinates(color)
            keys = self.backbone(color).maps[0]
            if self.config.original.scrambled:
                keys = _scramble(keys)
            keys = F.interpolate(keys, size=(height, width), mode="bilinear", align_corners=False)
            inputs = torch.cat([color, position], dim=1)
            return torch.cat([inputs, self.output_conv(torch.cat([inputs, keys], dim=1))], dim=1)

    def _color(self, images: torch.Tensor) -> torch.Tensor:
        return rgb_to_lab(images) if self.config.original.color == "lab" else 255 * images


def config_of(tensors: Mapping[str, torch.Tensor], original: OriginalConfig) -> SSNConfig:
    """Return the config of a checkpoint's network; the names of `tensors` are those of `rename`."""
    last = tensors.get(f"output_conv.{len(_HIDDEN)}.0.weight")
    return SSNConfig(
        backbone="dino_vits16",
        pretrained=PretrainedConfig(interpolation="original"),
        head="original",
        original=original,
        embedding_channels=15 if last is None else len(last),  # 15 is the original's default
    )


def rename(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """Return the original's tensors under the names used here; None if they are not those of an SSN_DINO."""
    renamed = {name.removeprefix("module."): value for name, value in tensors.items()}
    if not all(any(name.startswith(prefix) for name in renamed) for prefix in _PREFIXES):
        return None
    for old, new in _PREFIXES.items():
        renamed = {new + name.removeprefix(old) if name.startswith(old) else name: v for name, v in renamed.items()}
    return renamed


def _scramble(keys: torch.Tensor) -> torch.Tensor:
    """Return keys laid out patch by patch, (B, N, C), reinterpreted as (B, C, h, w)."""
    return keys.flatten(2).transpose(1, 2).reshape(keys.shape)


def _coordinates(images: torch.Tensor) -> torch.Tensor:
    """Return the row and column of each pixel (B, 2, H, W)."""
    axes = (torch.arange(n, device=images.device, dtype=images.dtype) for n in images.shape[-2:])
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].expand(len(images), -1, -1, -1)
