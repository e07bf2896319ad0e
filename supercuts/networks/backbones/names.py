"""The names of DINO's backbones.

In   nothing
Out  DINO: our name -> timm's name and the official file
Not  no networks (registry.py), no torch
"""

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
