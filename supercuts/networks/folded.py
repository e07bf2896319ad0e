"""Fold a network for inference: convolutions also perform the batch normalisation and the ReLU that follow them.

Each map is then written once; separate convolution, normalisation and ReLU would write it three times.
"""

import copy
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import handle_torch_function, has_torch_function

from supercuts.core.private_torch import autocast, fastest, is_watched, stable_conv2d, tensors_of, version_of
from supercuts.networks.backbones.base import Backbone
from supercuts.networks.recording import RecordedStep, convolution, record, users

Rectifier = Literal["none", "relu", "relu6"]
_FUNCTIONS: dict[Rectifier, tuple[str, tuple[float, ...]]] = {
    "none": ("none", ()),
    "relu": ("relu", ()),
    "relu6": ("hardtanh", (0.0, 6.0)),
}

Network = TypeVar("Network", bound="Foldable")


class _Folded(NamedTuple):
    tensors: Sequence[torch.Tensor]
    state: tuple[object, ...]
    run: Any


class Foldable(nn.Module):
    """A network that caches a folded copy of itself for inference."""

    _folded: _Folded | None = None  # not a submodule, so that it is neither trained nor saved

    def folded(self: Network) -> Network:
        """Return the folded copy, or the network itself in training mode or if hooks watch its layers.

        The copy is made once, and again when weights have changed or moved.
        """
        modules = list(self.modules())
        if self.training or any(map(is_watched, modules)):
            return self
        # the copy keeps the tensors, so that no others can take the addresses that reveal changes
        tensors = tensors_of(modules)
        state = _state(tensors)
        cached = self._folded
        if cached is None or cached.state != state or not all(map(operator.is_, cached.tensors, tensors)):
            cached = self._folded = _Folded(tensors, state, fold(self))
        run: Network = cached.run
        return run

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the folded copy, for copies and pickles."""
        return {name: value for name, value in self.__dict__.items() if name != "_folded"}


class StableConv(nn.Conv2d):
    """A convolution whose sums do not depend on the number of threads or the size of the map."""

    rectifier: Rectifier = "none"

    def __init__(self, conv: nn.Conv2d) -> None:
        """Create a layer that shares the weights of `conv`."""
        nn.Module.__init__(self)
        self.__dict__.update(conv.__dict__)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map (B, C, h, w)."""
        if has_torch_function((x,)):  # recorded as one step
            recorded: torch.Tensor = handle_torch_function(self.forward, (x,), x)
            return recorded
        return self.convolve(x, self.padding)

    def convolve(self, x: torch.Tensor, padding: str | tuple[int, ...]) -> torch.Tensor:
        """Return the result of the layer with another padding."""
        return stable_conv2d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, *_FUNCTIONS[self.rectifier]
        )


class FoldedConv(StableConv):
    """A convolution that includes the following batch normalisation and optionally the ReLU or ReLU6 after it."""

    norm: nn.BatchNorm2d

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, rectifier: Rectifier, dtype: torch.dtype) -> None:
        """Create a layer from the weights of layers in eval mode."""
        super().__init__(fuse_conv_bn_eval(conv, norm))
        self.to(dtype).to(memory_format=torch.channels_last).requires_grad_(False)
        self.rectifier = rectifier
        self.__dict__["norm"] = norm  # not a submodule: its weights are part of the convolution's

    def convolve(self, x: torch.Tensor, padding: str | tuple[int, ...]) -> torch.Tensor:
        """Return the result of the layer with another padding."""
        return super().convolve(x.to(self.weight.dtype), padding)


def _state(tensors: Sequence[torch.Tensor]) -> tuple[object, ...]:
    """Return a value that changes with each change of the weights or of the type that they run in."""
    kind = fastest(tensors[0].device) if tensors else None
    return kind, *((tensor.data_ptr(), version_of(tensor)) for tensor in tensors)


def fold(network: Network, dtype: torch.dtype | None = None) -> Network:
    """Return a folded copy whose convolutions compute in `dtype`; if None, in the fastest type of the device.

    Layers that are not folded share their weights with the network.
    """
    tensors = tensors_of(list(network.modules()))
    dtype = dtype or fastest(tensors[0].device if tensors else torch.device("cpu"))
    shared = {id(tensor): tensor for tensor in tensors}
    run = copy.deepcopy(network, dict[int, Any](shared))
    for module in list(run.modules()):
        if isinstance(module, nn.Sequential):
            _fold_layers(module, dtype)
    for module in list(run.modules()):
        if isinstance(module, Backbone):
            fold_recorded(module, dtype)
    for module in list(run.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and child.padding_mode == "zeros":
                setattr(module, name, StableConv(child))
    return run


def _fold_layers(layers: nn.Sequential, dtype: torch.dtype) -> None:
    """Replace each convolution that a normalisation follows; layers folded into it become identities."""
    for i in range(len(layers) - 1):
        conv, norm = layers[i], layers[i + 1]
        if isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d and not norm.training:
            bare = _plain(conv)
            if bare is None:
                continue
            rectifier = _rectifier(layers[i + 2]) if i + 2 < len(layers) else "none"
            layers[i], layers[i + 1] = FoldedConv(bare, norm, rectifier, dtype), nn.Identity()
            if rectifier != "none":
                layers[i + 2] = nn.Identity()


def _plain(conv: nn.Conv2d) -> nn.Conv2d | None:
    """Return `conv` as a plain nn.Conv2d, without a subclass's forward pass; None if that is not possible."""
    if type(conv) is nn.Conv2d:
        return conv
    side = 8 * max(conv.stride) * max(conv.dilation)
    steps, outputs = record(conv, conv.weight.new_zeros(1, conv.in_channels, side, side))
    inner = [step for step in steps[1:-1] if step.name != "pad"]
    return None if inner or outputs != steps[-1:] else convolution(steps[-1])


def _rectifier(module: nn.Module | None) -> Rectifier:
    if isinstance(module, nn.ReLU6):
        return "relu6"
    return "relu" if isinstance(module, nn.ReLU) else "none"


def fold_recorded(backbone: Backbone, dtype: torch.dtype) -> None:
    """Fold the layers of a backbone outside of sequences, in the order that a recorded run reveals.

    They are attributes of their blocks (in timm: conv, bn, act), so only a run reveals their order.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()):
        return
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    device, side = first.weight.device, 2 * backbone.strides[-1]
    with autocast(device):
        steps, _ = record(backbone, first.weight.new_zeros(1, first.in_channels, side, side), backbone)
    users_of, calls = users(steps), Counter((step.module, step.name) for step in steps)
    for step in steps:
        norm, act = _only(users_of[step]), None
        if norm is None or (step.name, norm.name) != ("conv2d", "batch_norm"):
            continue
        if calls[step.module, step.name] + calls[norm.module, norm.name] > 2:
            continue  # the layers are also used elsewhere
        act = _only(users_of[norm])
        if act is not None and calls[act.module, act.name] > 1:
            act = None
        _fold_found(backbone, step, norm, act, dtype)


def _fold_found(
    backbone: Backbone, conv: RecordedStep, norm: RecordedStep, act: RecordedStep | None, dtype: torch.dtype
) -> None:
    bare, layer = convolution(conv), norm.module
    if bare is None or not isinstance(conv.module, nn.Conv2d) or not isinstance(layer, nn.BatchNorm2d):
        return
    if layer.training:
        return
    rectifier = _rectifier(None if act is None else act.module)
    changes: dict[nn.Module, nn.Module] = {conv.module: FoldedConv(bare, layer, rectifier, dtype)}
    if rectifier != "none" and act is not None and act.module is not None:
        changes[act.module] = nn.Identity()
    # timm's normalisations contain their activation
    changes[layer] = nn.Sequential(*(changes.get(inner, inner) for inner in layer.children()))
    for module in list(backbone.modules()):
        for name, child in list(module.named_children()):
            if child in changes:
                setattr(module, name, changes[child])


def _only(steps: Sequence[RecordedStep]) -> RecordedStep | None:
    return steps[0] if len(steps) == 1 else None
