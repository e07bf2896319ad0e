"""A network for inference: batch normalisation folded into the convolutions before it, ReLUs done by them.

In   a network of torch in eval mode
Out  a copy without those layers, whose convolutions have the fastest type of the device
Not  no training; what it says differs from the network's own by rounding

Each map is written once, where convolution, normalisation and ReLU write it three times.
"""

import copy
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from supercuts.core.precision import fastest

# what torch's own compiler calls; without it a ReLU passes over the map again
_HAS_ONEDNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_POINTWISE = getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if _HAS_ONEDNN else None


Network = TypeVar("Network", bound="Foldable")


class _Folded(NamedTuple):
    tensors: Sequence[torch.Tensor]
    state: tuple[object, ...]
    run: Any


class Foldable(nn.Module):
    """A network that holds the folded copy it is run as."""

    _folded: _Folded | None = None  # no module: neither trained nor saved

    def folded(self: Network) -> Network:
        """Return the network as it is run; itself while it is trained, or where hooks watch its layers.

        It is made once, and again when weights have changed or moved.
        """
        modules = list(self.modules())
        if self.training or any(one._forward_hooks or one._forward_pre_hooks for one in modules):
            return self
        # kept, so that no others can take the addresses by which changes are seen
        tensors = _tensors(modules)
        state = _state(tensors)
        known = self._folded
        if known is None or known.state != state or not all(map(operator.is_, known.tensors, tensors)):
            known = self._folded = _Folded(tensors, state, _fold(self))
        run: Network = known.run
        return run

    def __getstate__(self) -> dict[str, Any]:
        """Leave the folded copy out of copies and pickles."""
        return {name: value for name, value in self.__dict__.items() if name != "_folded"}


class FoldedConv(nn.Conv2d):
    """A convolution, with the batch normalisation that followed it and on request the ReLU after that."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, rectify: bool) -> None:
        """Take the weights of layers in eval mode."""
        nn.Module.__init__(self)
        self.__dict__.update(fuse_conv_bn_eval(conv, norm).__dict__)
        self.to(fastest(conv.weight.device)).to(memory_format=torch.channels_last).requires_grad_(False)
        self.rectify = rectify

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map (B, C, h, w)."""
        return self.convolve(x, self.padding)

    def convolve(self, x: torch.Tensor, padding: str | tuple[int, ...]) -> torch.Tensor:
        """Return the same with another padding than the layer's."""
        x = x.to(self.weight.dtype)
        if self.rectify and _POINTWISE is not None and x.device.type == "cpu":
            fused: torch.Tensor = _POINTWISE(
                x, self.weight, self.bias, padding, self.stride, self.dilation, self.groups, "relu", [], ""
            )
            return fused
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return y.relu_() if self.rectify else y


def _tensors(modules: Sequence[nn.Module]) -> list[torch.Tensor]:
    """Return parameters and buffers, sooner than nn.Module does: it is asked at every image."""
    held = (one for module in modules for one in (*module._parameters.values(), *module._buffers.values()))
    return [tensor for tensor in held if tensor is not None]


def _state(tensors: Sequence[torch.Tensor]) -> tuple[object, ...]:
    """Return what changes with each change of the weights, and the type they are to be run in."""
    versions = (0 if tensor.is_inference() else tensor._version for tensor in tensors)
    kind = fastest(tensors[0].device) if tensors else None
    return kind, *zip((tensor.data_ptr() for tensor in tensors), versions, strict=True)


def _fold(network: nn.Module) -> nn.Module:
    # weights of layers that stay are shared with the network
    shared = {id(tensor): tensor for tensor in _tensors(list(network.modules()))}
    run = copy.deepcopy(network, dict[int, Any](shared))
    for module in list(run.modules()):
        if isinstance(module, nn.Sequential):
            _fold_layers(module)
    return run


def _fold_layers(layers: nn.Sequential) -> None:
    """Replace each convolution that a normalisation follows; what is folded into it becomes an identity."""
    for i in range(len(layers) - 1):
        conv, norm = layers[i], layers[i + 1]
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and not norm.training:
            rectify = i + 2 < len(layers) and isinstance(layers[i + 2], nn.ReLU)
            layers[i], layers[i + 1] = FoldedConv(conv, norm, rectify), nn.Identity()
            if rectify:
                layers[i + 2] = nn.Identity()
