"""Configuration of a Superpixel Sampling Network and of its backbone."""

from typing import Literal

from pydantic import BaseModel, NonNegativeInt, PositiveFloat, PositiveInt

Facet = Literal["key", "query", "value", "token"]
Interpolation = Literal["timm", "original"]


class PretrainedConfig(BaseModel, frozen=True, extra="forbid"):
    """How a pretrained model is used; the fields of transformers mean nothing to convolutional networks."""

    layer: int = -1  # of a transformer: 0 is the first block, -1 the last
    facet: Facet = "key"  # of that layer: key, query, value, or token for the block's output
    stride: PositiveInt | None = None  # of the patches: a divisor of their size; None: their size
    interpolation: Interpolation = "timm"  # of learned positions; "original" reproduces DINO v1's own
    finetune_blocks: NonNegativeInt = 2  # the last so many blocks (or stages) are trained, the others frozen
    stem_channels: PositiveInt = 16  # of the new full-resolution stem


class OriginalConfig(BaseModel, frozen=True, extra="forbid"):
    """What a network of head="original" was trained with, beyond its weights; see networks/original.py."""

    scrambled: bool = True  # keys in the order of a reshape without a transpose: released checkpoints were trained so
    color: Literal["lab", "rgb"] = "lab"  # what the network sees: Lab (as in its inference) or RGB 0..255 (training)
    nominal_superpixels: PositiveInt = 100  # the number that scales the position the network sees


class SSNConfig(BaseModel, frozen=True, extra="forbid"):
    """What defines a network; stored beside its weights."""

    channels: PositiveInt = 3  # of the images: 3 are RGB; other numbers need backbone="compact"
    backbone: str = "compact"  # a key of ssn.BACKBONES, a DINO name or timm:NAME
    pretrained: PretrainedConfig = PretrainedConfig()  # how a backbone is used whose weights others trained
    head: Literal["topdown", "original"] = "topdown"  # original: that of the original SSN_DINO
    original: OriginalConfig = OriginalConfig()  # of head="original" alone
    head_channels: tuple[PositiveInt, ...] = (24, 32, 48, 64)  # of the top-down path, finest first
    embedding_channels: PositiveInt = 16  # learned channels of the pixel embedding
    context_channels: NonNegativeInt = 0  # of the wide view that the top-down path starts from; 0: none
    fuse_convolutions: PositiveInt = 2  # 3x3 convolutions at full resolution after the sum of stem and top-down path
    region_channels: NonNegativeInt = 0  # of the embedding that tells regions apart; 0: neither it nor the strength
    color_scale: PositiveFloat = 0.26  # of colour in the SSN features: Lab (Jampani et al.), or 100 times each band
    position_scale: PositiveFloat = 2.5  # of (y, x), in units of cells (Jampani et al.)


TIMM = "timm:"  # prefix of any other model of timm
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
