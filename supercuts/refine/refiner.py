"""The network of the Kanezaki family: convolution, ReLU, normalisation, and a last 1 x 1 convolution, normalised.

Kanezaki, "Unsupervised image segmentation by backpropagation", ICASSP 2018; Kim, Kanezaki & Tanaka, "Unsupervised
learning of image segmentation based on differentiable feature clustering", IEEE TIP 2020. Normalising the response
keeps several classes alive.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from supercuts.core.errors import FileFormatError
from supercuts.core.files import atomic_path
from supercuts.core.private_torch import fastest
from supercuts.core.threads import in_threads
from supercuts.networks.backbones.weights import check_extent
from supercuts.refine import _kernels
from supercuts.refine.refine_config import NetworkConfig, RefineConfig

Statistics = Literal["batch", "running"]
_ROWS = 8192


class Normalise(nn.BatchNorm2d):
    """Batch normalisation with a choice of statistics outside training."""

    statistics: Statistics = "batch"

    def forward(self, x: torch.Tensor, rectify: bool = False, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return x (B, C, H, W), or its ReLU, normalised; if dtype is None, in the type of x.

        In training, or with statistics "batch", x is normalised by its own mean and variance.
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
            # pass no running statistics: labelling an image must not change the network
            return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        return super().forward(x)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        """Update the running statistics as nn.BatchNorm2d does."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)


class _Fused(torch.autograd.Function):
    """ReLU and normalisation; the gradient is computed from the map before both."""

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
        # subtract the first pixel, then the mean, so that an almost constant channel keeps its digits
        first = np.maximum(x[0, :, 0, 0].float().numpy(), floor)
        sums = _sum(_kernels.moments, (rows,), floor, first) / len(rows)
        mean, variance = first + sums[0], np.maximum(sums[1] - sums[0] ** 2, 0)
        rate = 1 / np.sqrt(variance + eps)
        factor, center = weight.numpy() * rate, mean.astype(np.float32)
        y = torch.empty_like(x, dtype=dtype, memory_format=torch.channels_last)
        factors = center, factor, bias.numpy() - (mean - center) * factor
        _fill(_kernels.scale, (rows,), floor, factors, _rows(y))
        ctx.save_for_backward(x)
        ctx.known = floor, mean, rate, factor
        statistics = torch.from_numpy(mean).float(), torch.from_numpy(variance).float()
        ctx.mark_non_differentiable(*statistics)
        return y, *statistics

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        (x,), (floor, mean, rate, factor) = ctx.saved_tensors, ctx.known
        gradient, rows = _rows(gradients[0]), _rows(x)
        center = mean.astype(np.float32)
        to_bias, to_normal = _sum(_kernels.gradient_sums, (gradient, rows), floor, center)
        to_weight = (to_normal - (mean - center) * to_bias) * rate
        of_x = -factor * rate * to_weight / len(rows)
        offset = -factor * to_bias / len(rows) - of_x * (mean - center)
        out = torch.empty_like(x, memory_format=torch.channels_last)
        _fill(_kernels.differentiate_normalised, (gradient, rows), floor, (center, factor, of_x, offset), _rows(out))
        return out, torch.from_numpy(to_weight).float(), torch.from_numpy(to_bias).float(), None, None, None


def _rows(x: torch.Tensor) -> np.ndarray:
    """Return a map (B, C, H, W) as (pixels, C), a view if it is channels last in memory; bfloat16 as int16 bits."""
    rows = rearrange(x.detach(), "b c h w -> (b h w) c")
    array: np.ndarray = (rows.view(torch.int16) if x.dtype == torch.bfloat16 else rows).numpy()
    return array


def row_parts(count: int) -> list[slice]:
    """Return the parts of pixels that threads process; they, and so sums, do not depend on the number of threads.

    >>> row_parts(10000)
    [slice(0, 8192, None), slice(8192, 10000, None)]
    """
    return [slice(start, min(start + _ROWS, count)) for start in range(0, count, _ROWS)]


def _sum(kernel: Any, arrays: tuple[np.ndarray, ...], floor: np.float32, center: np.ndarray) -> np.ndarray:
    """Return the sums (2, C) that a kernel computes over rows."""
    parts = row_parts(len(arrays[0]))
    sums = np.empty((len(parts), 2, center.size))
    in_threads(lambda _, i: kernel(*(a[parts[i]] for a in arrays), floor, center, sums[i]), range(len(parts)))
    total: np.ndarray = sums.sum(axis=0)
    return total


def _fill(
    kernel: Any, arrays: tuple[np.ndarray, ...], floor: np.float32, factors: tuple[np.ndarray, ...], out: np.ndarray
) -> None:
    """Fill `out` with the rows that a kernel computes from `arrays` and from factors of each channel."""
    single = [factor.astype(np.float32) for factor in factors]
    in_threads(lambda _, part: kernel(*(a[part] for a in arrays), floor, *single, out[part]), row_parts(len(out)))


class KanezakiCNN(nn.Module):
    """[3 x 3 convolution, ReLU, normalisation] n_convolutions times, 1 x 1 convolution, normalisation."""

    def __init__(self, config: NetworkConfig, channels: int, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.precision = precision
        layers: list[nn.Module] = []
        kind: Any = {"dtype": torch.float32}  # whatever the host's default type
        for i in range(config.n_convolutions):
            width = config.n_features if i else channels
            layers += [
                nn.Conv2d(width, config.n_features, 3, padding=1, **kind),
                nn.ReLU(),
                Normalise(config.n_features, **kind),
            ]
        self.hidden = nn.Sequential(*layers)
        self.classify = nn.Conv2d(config.n_features, config.n_classes, 1, **kind)
        self.normalise = Normalise(config.n_classes, **kind)
        self.to(memory_format=torch.channels_last)

    @property
    def channels(self) -> int:
        """Number of channels of input images."""
        return int(self.hidden[0].in_channels)  # type: ignore[arg-type]

    def forward(self, x: Float[torch.Tensor, "batch channels height width"]) -> torch.Tensor:
        """Return the response (B, K, H, W), in float32 unless the network is of float64."""
        x = x.contiguous(memory_format=torch.channels_last)
        # no cache: inside a host's autocast, the cast weights of the first step would serve all others
        is_cast = self.precision != torch.float32
        with torch.autocast(x.device.type, self.precision, enabled=is_cast, cache_enabled=False):
            for convolution, normalise in zip(self.hidden[::3], self.hidden[2::3], strict=True):
                x = normalise(convolution(x), rectify=True)
            x = self.classify(x)
        response: torch.Tensor = self.normalise(x, dtype=torch.promote_types(x.dtype, torch.float32))
        return response.contiguous(memory_format=torch.channels_last)

    def use_statistics(self, statistics: Statistics) -> None:
        """Choose the statistics that normalise images outside training."""
        for module in self.modules():
            if isinstance(module, Normalise):
                module.statistics = statistics


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type of convolutions; "auto" gives bfloat16 only if the device has instructions for it."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    return fastest(device)


FORMAT_VERSION = "1"


def save_refiner(path: Path, network: KanezakiCNN, config: RefineConfig, images: Sequence[str] = ()) -> None:
    """Write the network with its settings and the names of the images it was fitted to."""
    metadata = {
        "format_version": FORMAT_VERSION,
        "kind": "refine",
        "config": config.model_dump_json(),
        "channels": str(network.channels),
        "images": json.dumps(list(images)),
    }
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_refiner(path: Path, device: torch.device | str = "cpu") -> tuple[KanezakiCNN, RefineConfig, list[str]]:
    """Return the network in eval mode, its settings and the names of the images it was fitted to."""
    device = torch.device(device)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path}: not a safetensors file ({error}). Was it copied completely?") from error
    if (metadata.get("kind"), metadata.get("format_version")) != ("refine", FORMAT_VERSION):
        raise FileFormatError(f"{path}: not a network of `supercuts refine` of this version. Fit one again.")
    try:
        config = RefineConfig.model_validate_json(metadata["config"])
        channels, precision = int(metadata["channels"]), choose_precision(config.precision, device)
        if config.n_convolutions > len(tensors):
            raise ValueError(f"n_convolutions={config.n_convolutions}, but {len(tensors)} arrays of weights")
        check_extent(lambda: KanezakiCNN(config, channels, precision), tensors)
        with torch.random.fork_rng(devices=[]), torch.device(device):
            network = KanezakiCNN(config, channels, precision)
        network.load_state_dict(tensors)
        images = [str(name) for name in json.loads(metadata["images"])]
    except (KeyError, ValueError, ValidationError, RuntimeError, TypeError, OverflowError) as error:
        raise FileFormatError(f"{path}: its weights and its settings do not fit: {error}. Fit it again.") from error
    network.use_statistics(config.statistics)
    return network.to(device).eval(), config, images
