"""Batch normalisation over all processes of a run without GPUs.

In   a model with BatchNorm2d layers
Out  the same model, whose training statistics are those of the whole batch
Not  not for GPUs: torch.nn.SyncBatchNorm does it there, and only there
"""

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import nn


class GlooBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose statistics cover the batches of all processes, of equal size, gradients included."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        wide = x.float()  # half precision would lose the variance
        n = wide.numel() / wide.shape[1] * dist.get_world_size()
        mean = _sum(wide.sum((0, 2, 3))) / n
        centred = wide - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / n
        self._keep(mean.detach(), variance.detach() * n / max(n - 1, 1))
        scale = (variance + self.eps).rsqrt() * self.weight
        normalised: torch.Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _keep(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each of them gets the gradients of all."""

    @staticmethod
    def forward(_: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum(values: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Sum.apply(values)
    return total


class GlooSync(LayerSync):
    """Puts GlooBatchNorm in the place of BatchNorm2d while a run goes on."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Return the model with synchronised layers."""
        return _replace(model, nn.BatchNorm2d, GlooBatchNorm)

    def revert(self, model: nn.Module) -> nn.Module:
        """Return the model as it was."""
        return _replace(model, GlooBatchNorm, nn.BatchNorm2d)


def _replace(model: nn.Module, old: type[nn.BatchNorm2d], new: type[nn.BatchNorm2d]) -> nn.Module:
    """Replace layers by ones of another class with the same parameters and buffers."""
    replaced: dict[nn.Module, nn.Module] = {}  # a layer may be part of several modules
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if type(layer) is old:  # timm's subclasses have a forward of their own
                if layer not in replaced:
                    replaced[layer] = _as(layer, new)
                setattr(module, name, replaced[layer])
    return model


def _as(layer: nn.BatchNorm2d, kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    other = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats, device="meta")
    for name, value in (*layer.named_parameters(), *layer.named_buffers()):
        setattr(other, name, value)
    return other.train(layer.training)
