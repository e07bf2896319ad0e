"""The backbones by name.

In   a name, how a pretrained model is used, the channels of the images
Out  a Backbone with random weights
Not  no weights are read or downloaded here; timm is imported only when one of its models is asked for
"""

from collections.abc import Callable
from functools import partial

from supercuts.networks.backbones.base import Backbone, PretrainedConfig
from supercuts.networks.backbones.compact import CompactCNN
from supercuts.networks.backbones.efficientnet_lite import SHAPES, EfficientNetLite
from supercuts.networks.backbones.names import DINO as DINO

TIMM = "timm:"  # prefix of any other model of timm

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "compact": CompactCNN,
    **{name: partial(EfficientNetLite, name) for name in SHAPES},
}


def make_backbone(name: str, config: PretrainedConfig | None = None, channels: int = 3) -> Backbone:
    """Return a new backbone for images of so many channels: compact; only for 3, one of DINO, or timm:NAME."""
    if name in BACKBONES:
        return BACKBONES[name](in_channels=channels)
    from supercuts.networks.backbones.pretrained import make_pretrained

    return make_pretrained(name, config, channels)
