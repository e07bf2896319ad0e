"""The segmentation network that the data-set-trained extensions share: convolutions at full resolution.

In   images (B, 3, H, W) in 0..1 of any size, a list of layers
Out  responses (B, C, H, W), not below 0
Not  no loss, no target, no classifier or decoder on top
"""

from collections.abc import Callable
from typing import Any, Literal

from torch import nn

Layout = Literal["cifar10", "stl10", "voc"]
SIDE_PX: dict[str, int] = {"cifar10": 32, "stl10": 96, "voc": 224}  # of the images that a layout was made for


def response_layers(layers: tuple[tuple[int, int], ...], n_in: int = 3) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU for each (channels, kernel side), the last one too."""
    parts: list[nn.Module] = []
    for n_out, kernel in layers:
        parts += [nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2), nn.BatchNorm2d(n_out), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*parts)


def initialise(network: nn.Module, fill: Callable[..., Any] = nn.init.xavier_uniform_) -> None:
    """Fill the weights of convolutions and linear layers, and set their biases to 0; batch normalisation starts so."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
