"""Settings of a Superpixel Sampling Network and of its backbone."""

from typing import Literal

from pydantic import BaseModel, NonNegativeInt, PositiveFloat, PositiveInt

Facet = Literal["key", "query", "value", "token"]
Interpolation = Literal["timm", "original"]


class PretrainedConfig(BaseModel, frozen=True, extra="forbid"):
    """Use of a pretrained model; convolutional networks ignore layer, facet, stride and interpolation."""

    layer: int = -1  # block of a transformer whose features are used: 0 is the first, -1 the last
    facet: Facet = "key"  # key, query or value of that block's attention, or token for the block's output
    stride: PositiveInt | None = None  # pixels between patches, a divisor of the patch size; None: the patch size
    interpolation: Interpolation = "timm"  # method for learned positions; "original" is that of DINO v1
    finetune_blocks: NonNegativeInt = 2  # number of last blocks (or stages) that are trained; others are frozen
    stem_channels: PositiveInt = 16  # channels of the new full-resolution stem


class OriginalConfig(BaseModel, frozen=True, extra="forbid"):
    """Training settings of a network with head="original"; see networks/original.py."""

    scrambled: bool = True  # reshape keys without a transpose, as in the training of released checkpoints
    color: Literal["lab", "rgb"] = "lab"  # input: Lab (the original's inference) or RGB 0..255 (its training)
    nominal_superpixels: PositiveInt = 100  # number of superpixels that sets the scale of the position input


class SSNConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings that define a network; stored with its weights."""

    channels: PositiveInt = 3  # channels of the images; 3 is RGB, other numbers need backbone="compact"
    backbone: str = "compact"  # a key of ssn.BACKBONES, a DINO name or timm:NAME
    pretrained: PretrainedConfig = PretrainedConfig()  # settings of a DINO or timm backbone
    head: Literal["topdown", "original"] = "topdown"  # original: the head of the original SSN_DINO
    original: OriginalConfig = OriginalConfig()  # used only with head="original"
    head_channels: tuple[PositiveInt, ...] = (24, 32, 48, 64)  # channels of the top-down path, finest first
    embedding_channels: PositiveInt = 16  # learned channels of the pixel embedding
    context_channels: NonNegativeInt = 0  # channels of the dilated block that starts the top-down path; 0: none
    fuse_convolutions: PositiveInt = 2  # 3x3 convolutions at full resolution after the sum of stem and top-down path
    region_channels: NonNegativeInt = 0  # channels of the region embedding; 0: neither it nor boundary strength
    color_scale: PositiveFloat = 0.26  # factor of colour in SSN features: Lab (Jampani et al.), or 100 times each band
    position_scale: PositiveFloat = 2.5  # factor of (y, x), in units of cells (Jampani et al.)


TIMM = "timm:"  # prefix that selects any other timm model
_V1 = "https://dl.fbaipublicfiles.com/dino"
_V2 = "https://dl.fbaipublicfiles.com/dinov2"
# name -> timm's name, and the official URL if it can be downloaded without an account
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
