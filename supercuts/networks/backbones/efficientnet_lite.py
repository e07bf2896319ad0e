"""EfficientNet-Lite as a backbone: a small trunk without squeeze-and-excitation, used by the embedded model.

Source: Tan & Le, EfficientNet, ICML 2019, and the Lite variants of the TensorFlow TPU repository.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from supercuts.core.errors import FileFormatError
from supercuts.networks.backbones.base import Backbone, Features, conv_bn_relu
from supercuts.networks.backbones.weights import efficientnet_layers, read_state_dict, rename_layers, weights_file

EPS = 1e-3  # epsilon of BatchNorm, as in TensorFlow
SHAPES = {  # factors of width and depth
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}


class Stage(NamedTuple):
    """A row of the architecture's table, before scaling."""

    n_blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STEM_CHANNELS = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
_TAPS = (0, 1, 2, 4, 6)  # indices of the last stage of each stride


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding, for inputs whose sides are multiples of the stride.

    At stride 2 this padding has one row more below than above. An extra row and column of zeros before the kernel, with
    equal padding on all sides, give the same result, so that inference needs only plain convolutions.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.n_zeros = 1 if stride == 2 else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map (B, C, h / stride, w / stride)."""
        return F.conv2d(x, self.kernel(), None, self.stride, self.padding, groups=self.groups)

    def convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Return the map for other weights, with the operations whose gradients are fastest."""
        before = (self.weight.shape[-1] - self.stride[0]) // 2
        after = before + self.n_zeros
        if self.groups == 1:
            return F.conv2d(F.pad(x, (before, after) * 2) if after else x, weight, bias, self.stride)
        # oneDNN has no fast gradient of depthwise convolutions in bfloat16, which would take 2 to 7 times as long
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(F.pad(x.float(), (before, after) * 2), weight, bias, self.stride, groups=self.groups)

    def kernel(self) -> torch.Tensor:
        """Return the weights that are applied with the same padding on all sides."""
        return F.pad(self.weight, (self.n_zeros, 0, self.n_zeros, 0)) if self.n_zeros else self.weight


def _conv_bn(conv: nn.Conv2d, is_rectified: bool = True) -> list[nn.Module]:
    norm = nn.BatchNorm2d(conv.out_channels, eps=EPS)
    return [conv, norm, nn.ReLU6(inplace=True)] if is_rectified else [conv, norm]


def _run(layers: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Return the output of the layers; in training mode, fold normalisation, which has fixed statistics, into weights.

    Folding saves three passes over each map, forward and backward.
    """
    if not layers.training:
        y: torch.Tensor = layers(x)
        return y
    i = 0
    while i < len(layers):
        conv, norm = layers[i], layers[i + 1]
        assert isinstance(conv, SameConv)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        x = conv.convolve(x, conv.weight * scale[:, None, None, None], shift)
        is_rectified = i + 2 < len(layers) and isinstance(layers[i + 2], nn.ReLU6)
        x = F.relu6(x, inplace=True) if is_rectified else x
        i += 3 if is_rectified else 2
    return x


class Block(nn.Module):
    """An inverted residual block: 1x1 expansion, depthwise convolution, 1x1 projection without a rectifier."""

    def __init__(self, n_in: int, n_out: int, stage: Stage, stride: int) -> None:
        super().__init__()
        n = n_in * stage.expansion
        expand = _conv_bn(SameConv(n_in, n, 1)) if stage.expansion > 1 else []
        depthwise = _conv_bn(SameConv(n, n, stage.kernel, stride, groups=n))
        self.layers = nn.Sequential(*expand, *depthwise, *_conv_bn(SameConv(n, n_out, 1), is_rectified=False))
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map (B, C, h / stride, w / stride)."""
        y = _run(self.layers, x)
        return x + y if self.is_residual else y


class Trunk(nn.Module):
    """The pretrained part: the first convolution, then stages of blocks."""

    def __init__(self, first: nn.Sequential, stages: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.first, self.stages = first, nn.ModuleList(stages)
        self.n_blocks = [len(stage) for stage in stages]


class EfficientNetLite(Backbone):
    """A pretrained trunk up to stride 32, and a full-resolution stem that is trained from scratch.

    BatchNorm of the trunk keeps the statistics of its pretraining, even while the trunk is trained.
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(self, name: str = "efficientnet_lite0", stem_channels: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        self.name = name
        width, depth = SHAPES[name]
        self.stem_channels = stem_channels
        self.stem = nn.Sequential(conv_bn_relu(in_channels, stem_channels), conv_bn_relu(stem_channels, stem_channels))
        stages, n_in = [], _STEM_CHANNELS  # not scaled, like the depths of the end stages
        for i, stage in enumerate(STAGES):
            n_out = _round_to_8(stage.channels * width)
            n_blocks = stage.n_blocks if i in (0, len(STAGES) - 1) else math.ceil(stage.n_blocks * depth)
            blocks = [
                Block(n_in if j == 0 else n_out, n_out, stage, stage.stride if j == 0 else 1) for j in range(n_blocks)
            ]
            stages.append(nn.Sequential(*blocks))
            n_in = n_out
        first = nn.Sequential(*_conv_bn(SameConv(in_channels, _STEM_CHANNELS, 3, 2)))
        self.pretrained = Trunk(first, stages)
        self.channels = tuple(_round_to_8(STAGES[i].channels * width) for i in _TAPS)

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Set the training mode; BatchNorm of the trunk stays in eval mode."""
        super().train(mode)
        for module in self.pretrained.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: torch.Tensor) -> Features:
        """Return the stem and the maps."""
        x = 2 * images - 1
        stem = self.stem(x)
        x, maps = _run(self.pretrained.first, x), []
        for i, stage in enumerate(self.pretrained.stages):
            x = stage(x)
            if i in _TAPS:
                maps.append(x)
        return Features(stem=stem, maps=tuple(maps))

    def load_pretrained(self, source: Path | str) -> None:
        """Set the trunk's weights from a file that uses the names of timm or of EfficientNet-PyTorch.

        source is the file's path, the name of an installed package that contains it, or "hub" for timm's hub.
        """
        path = self._from_hub() if source == "hub" else weights_file(source)
        state = read_state_dict(path)
        layers = efficientnet_layers(self.pretrained.n_blocks)
        if "_conv_stem.weight" in state:
            state = rename_layers(state, layers)
        names = [name for name, x in self.pretrained.named_modules() if isinstance(x, nn.Conv2d | nn.BatchNorm2d)]
        in_trunk = [name for name in layers.values() if name not in ("conv_head", "bn2")]
        try:
            self.pretrained.load_state_dict(rename_layers(state, dict(zip(in_trunk, names, strict=True))))
        except RuntimeError as error:
            raise FileFormatError(
                f"{path} does not fit {self.name}: {error}. Give the weights of tf_{self.name}."
            ) from error

    def _from_hub(self) -> Path:
        from supercuts.networks.backbones.pretrained import download  # imports timm

        return download(f"timm:tf_{self.name}")


def _round_to_8(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
