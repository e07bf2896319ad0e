"""Batch normalisation that can take the ReLU before it along, so that nothing between them is written to memory.

In   (B, C, H, W), channels last in memory; bfloat16 on CPUs goes through kernels, all else through torch
Out  the same, normalised per channel over images and pixels
Not  no convolution, no loss

Ioffe & Szegedy, "Batch normalization", ICML 2015, of which this computes the same forward and backward equations. torch
passes over the map three times as often: in bfloat16 that takes longer than the convolutions do. In float32 sums are
torch's own: labels feed back on themselves, and runs shall follow those of the published programs.
"""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from supercuts.core.threads import in_threads
from supercuts.refine._kernels import normalise as kernels

Statistics = Literal["batch", "running"]
_ROWS = 8192


class Normalise(nn.BatchNorm2d):
    """Batch normalisation that says whose statistics it takes when it is not trained."""

    statistics: Statistics = "batch"

    def forward(self, x: torch.Tensor, rectify: bool = False, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return x (B, C, H, W), or its ReLU, normalised, in the type of x unless given.

        In training, or by "batch", x is normalised by its own mean and variance.
        """
        dtype = x.dtype if dtype is None else dtype
        by_itself = self.training or self.statistics == "batch"
        if by_itself and x.device.type == "cpu" and x.dtype == torch.bfloat16:
            y: torch.Tensor
            y, mean, variance = _Fused.apply(x, self.weight, self.bias, rectify, dtype, self.eps)
            if self.training:
                self._remember(mean, variance, x.numel() // x.shape[1])
            return y
        x = (F.relu(x) if rectify else x).to(dtype)
        if by_itself and not self.training:
            # no running statistics are handed over: labelling an image must not change the network
            return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        return super().forward(x)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        """Average the statistics as nn.BatchNorm2d does."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)


class _Fused(torch.autograd.Function):
    """ReLU and normalisation; the gradient is made from the map before both."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        rectify: bool,
        dtype: torch.dtype,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows, floor = _rows(x), np.float32(0 if rectify else -np.inf)
        # differences from the first pixel, then from the mean: a channel that is almost constant keeps its digits
        first = np.maximum(x[0, :, 0, 0].float().numpy(), floor)
        sums = _sum(kernels.moments, (rows,), floor, first) / len(rows)
        mean, variance = first + sums[0], np.maximum(sums[1] - sums[0] ** 2, 0)
        rate = 1 / np.sqrt(variance + eps)
        factor, center = weight.numpy() * rate, mean.astype(np.float32)
        y = torch.empty_like(x, dtype=dtype, memory_format=torch.channels_last)
        factors = center, factor, bias.numpy() - (mean - center) * factor
        _fill(kernels.scale, (rows,), floor, factors, _rows(y))
        ctx.save_for_backward(x)
        ctx.known = floor, mean, rate, factor
        statistics = torch.from_numpy(mean).float(), torch.from_numpy(variance).float()
        ctx.mark_non_differentiable(*statistics)
        return y, *statistics

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        (x,), (floor, mean, rate, factor) = ctx.saved_tensors, ctx.known
        given, rows = _rows(gradients[0]), _rows(x)
        center = mean.astype(np.float32)
        to_bias, to_normal = _sum(kernels.gradient_sums, (given, rows), floor, center)
        to_weight = (to_normal - (mean - center) * to_bias) * rate
        of_x = -factor * rate * to_weight / len(rows)
        offset = -factor * to_bias / len(rows) - of_x * (mean - center)
        out = torch.empty_like(x, memory_format=torch.channels_last)
        _fill(kernels.differentiate, (given, rows), floor, (center, factor, of_x, offset), _rows(out))
        return out, torch.from_numpy(to_weight).float(), torch.from_numpy(to_bias).float(), None, None, None


def _rows(x: torch.Tensor) -> np.ndarray:
    """Return a map (B, C, H, W) as (pixels, C), a view if it is channels last in memory; of bfloat16 the bits."""
    rows = x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    plain: np.ndarray = (rows.view(torch.int16) if x.dtype == torch.bfloat16 else rows).numpy()
    return plain


def row_parts(count: int) -> list[slice]:
    """Return the parts of pixels that threads work on: the same for any number of them, and so are sums.

    >>> row_parts(10000)
    [slice(0, 8192, None), slice(8192, 10000, None)]
    """
    return [slice(start, min(start + _ROWS, count)) for start in range(0, count, _ROWS)]


def _sum(kernel: Any, arrays: tuple[np.ndarray, ...], floor: np.float32, center: np.ndarray) -> np.ndarray:
    """Return the sums (2, C) that a kernel takes over rows."""
    parts = row_parts(len(arrays[0]))
    sums = np.empty((len(parts), 2, center.size))
    in_threads(lambda _, i: kernel(*(a[parts[i]] for a in arrays), floor, center, sums[i]), range(len(parts)))
    total: np.ndarray = sums.sum(axis=0)
    return total


def _fill(
    kernel: Any, arrays: tuple[np.ndarray, ...], floor: np.float32, factors: tuple[np.ndarray, ...], out: np.ndarray
) -> None:
    """Let a kernel write rows made from others and from factors of each channel."""
    single = [factor.astype(np.float32) for factor in factors]
    in_threads(lambda _, part: kernel(*(a[part] for a in arrays), floor, *single, out[part]), row_parts(len(out)))
