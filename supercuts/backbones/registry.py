"""The backbones by name.

In   a name, how a pretrained model is used, the channels of the images
Out  a Backbone with random weights
Not  no weights are read or downloaded here; timm is imported only when one of its models is asked for
"""

from collections.abc import Callable

from supercuts.backbones.base import Backbone, PretrainedConfig
from supercuts.backbones.compact_cnn import CompactCNN

_V1 = "https://dl.fbaipublicfiles.com/dino"
_V2 = "https://dl.fbaipublicfiles.com/dinov2"
# name -> timm's name, and the official file where it can be downloaded without an account
DINO: dict[str, tuple[str, str]] = {
    "dino_vits16": ("vit_small_patch16_224.dino", f"{_V1}/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth"),
    "dino_vits8": ("vit_small_patch8_224.dino", f"{_V1}/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth"),
    "dino_vitb16": ("vit_base_patch16_224.dino", f"{_V1}/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"),
    "dino_vitb8": ("vit_base_patch8_224.dino", f"{_V1}/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth"),
    "dino_resnet50": ("resnet50", f"{_V1}/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"),
    **{
        f"dinov2_vit{size[0]}14{suffix}": (
            f"vit_{size}_patch14_{registers}dinov2.lvd142m",
            f"{_V2}/dinov2_vit{size[0]}14/dinov2_vit{size[0]}14{file}_pretrain.pth",
        )
        for size in ("small", "base", "large", "giant")
        for suffix, registers, file in (("", "", ""), ("_reg", "reg4_", "_reg4"))
    },
    "dinov3_vits16": ("vit_small_patch16_dinov3.lvd1689m", ""),
    "dinov3_vits16plus": ("vit_small_plus_patch16_dinov3.lvd1689m", ""),
    "dinov3_vitb16": ("vit_base_patch16_dinov3.lvd1689m", ""),
    "dinov3_vitl16": ("vit_large_patch16_dinov3.lvd1689m", ""),
}
TIMM = "timm:"  # prefix of any other model of timm

BACKBONES: dict[str, Callable[..., Backbone]] = {"compact": CompactCNN}


def make_backbone(name: str, config: PretrainedConfig | None = None, channels: int = 3) -> Backbone:
    """Return a new backbone for images of so many channels: compact; only for 3, one of DINO, or timm:NAME."""
    if name in BACKBONES:
        return BACKBONES[name](in_channels=channels)
    from supercuts.backbones.pretrained import make_pretrained

    return make_pretrained(name, config, channels)
