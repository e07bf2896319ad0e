"""Keys of a vision transformer's last attention, which objects are told apart by.

In   an image (H, W, 3) uint8, a backbone, network or model with a vision transformer
Out  PatchFeatures
Not  no pooling over superpixels (features.py), no graph
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8

from supercuts.core.errors import InputError
from supercuts.networks.backbones.base import PretrainedConfig
from supercuts.networks.backbones.pretrained import PretrainedViT, make_pretrained
from supercuts.networks.backbones.vit import ViTFeatures
from supercuts.objects.features import PatchFeatures


def load_vit(name: str, weights: Path | Literal["hub"], config: PretrainedConfig | None = None) -> PretrainedViT:
    """Return a vision transformer such as "dino_vits16" with its weights: a file, or "hub" (cached, or downloaded)."""
    backbone = make_pretrained(name, config)
    if not isinstance(backbone, PretrainedViT):
        raise InputError(f"backbone={name!r} is no vision transformer: give one, such as dino_vits16.")
    backbone.load_pretrained(weights)
    backbone.eval()
    return backbone


def dino_keys(source: object, image: UInt8[np.ndarray, "height width 3"]) -> PatchFeatures:
    """Return the keys of the last block's attention, heads one after the other, without the class token.

    `source` is a PretrainedViT, or a model or network with one. The image is RGB; it is normalised as the transformer
    was trained, and repeated beyond its right and lower borders up to a multiple of the stride, so every patch shows
    some of it.
    """
    backbone = vit_of(source)
    vit = backbone.vit
    keys = ViTFeatures(vit.model, -1, "key", vit.stride_px, vit.interpolation)
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None].to(backbone.mean.device) / 255
    height, width = image.shape[:2]
    down, right = (_missing(size, vit.patch_px, vit.stride_px) for size in (height, width))
    padded = F.pad((pixels - backbone.mean) / backbone.std, (0, right, 0, down), mode="replicate")
    with torch.inference_mode():
        values = keys(padded)[0].float().cpu().numpy()
    return PatchFeatures(values, vit.stride_px, vit.patch_px / 2)


def vit_of(source: object) -> PretrainedViT:
    """Return the vision transformer of a backbone, a network or a model.

    That of an original SSN_DINO was trained on colours that were not normalised: its authors took the keys of a second
    one, with the weights of DINO.
    """
    network = getattr(source, "network", source)
    backbone = getattr(network, "backbone", network)
    if not isinstance(backbone, PretrainedViT):
        raise InputError(
            f"{type(source).__name__} has no vision transformer, but {type(backbone).__name__}: load one with "
            'load_vit("dino_vits16", weights), or use the superpixels\' own embeddings.'
        )
    return backbone


def _missing(size: int, patch: int, stride: int) -> int:
    """Return how many pixels a side lacks until patches cover it without a remainder."""
    return patch - size if size < patch else -(size - patch) % stride
