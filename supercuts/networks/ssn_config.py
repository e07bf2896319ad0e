"""What defines a Superpixel Sampling Network.

In   values of a config file or of a network's metadata
Out  SSNConfig, validated
Not  no torch: what a network is can be read without it
"""

from typing import Literal

from pydantic import BaseModel, NonNegativeInt, PositiveFloat, PositiveInt

from supercuts.networks.backbones.config import PretrainedConfig


class OriginalConfig(BaseModel, frozen=True, extra="forbid"):
    """What a network of head="original" was trained with, beyond its weights; see networks/original.py."""

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
    context_channels: NonNegativeInt = 0  # of the wide view that the top-down path starts from; 0: none
    fuse_convolutions: PositiveInt = 2  # 3x3 convolutions at full resolution after the sum of stem and top-down path
    region_channels: NonNegativeInt = 0  # of the embedding that tells regions apart; 0: neither it nor the strength
    color_scale: PositiveFloat = 0.26  # of colour in the SSN features: Lab (Jampani et al.), or 100 times each band
    position_scale: PositiveFloat = 2.5  # of (y, x), in units of cells (Jampani et al.)
