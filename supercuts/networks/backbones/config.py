"""How a backbone is used whose weights others trained.

In   values of a config file or of a network's metadata
Out  PretrainedConfig, validated
Not  no torch: what a network is can be read without it
"""

from typing import Literal

from pydantic import BaseModel, NonNegativeInt, PositiveInt

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
