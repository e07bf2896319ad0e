"""The objective of one image, with its gradient, without the copies that autograd would make.

On CPUs one kernel computes all terms and the gradient from the softmax, which it overwrites. On other devices torch
computes them with similarity, continuity and area_terms.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Float32, Int, Int32

from supercuts.core.threads import in_threads
from supercuts.refine import _kernels
from supercuts.refine.refine_config import ObjectiveConfig
from supercuts.refine.refiner import row_parts

Response = Float[torch.Tensor, "classes height width"]


def similarity(
    response: Response, targets: Int[torch.Tensor, "height width"], weights: Float[torch.Tensor, "height width"]
) -> torch.Tensor:
    """Return the sum over pixels of weight times cross-entropy of the softmaxed response with the target class."""
    entropy = F.cross_entropy(response[None], targets[None].long(), reduction="none")[0]
    return (weights * entropy).sum()


def continuity(response: Response) -> tuple[torch.Tensor, torch.Tensor]:
    """Return L_y and L_x: the mean absolute difference of vertical and of horizontal neighbours, over all classes.

    L_y is 0 for an image of one row, which has no vertical neighbours.

    >>> [round(float(term), 2) for term in continuity(torch.tensor([[[0.0, 1.0], [3.0, 3.0]]]))]
    [2.5, 0.5]
    """
    vertical, horizontal = response.diff(dim=1), response.diff(dim=2)
    return vertical.abs().sum() / max(1, vertical.numel()), horizontal.abs().sum() / max(1, horizontal.numel())


def area_terms(response: Response, is_alive: Bool[torch.Tensor, " classes"]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return L_max, the soft area of the largest class, and L_min, 1 - the soft area of the smallest class alive.

    The soft area of a class is its mean probability over the pixels. A class is alive if it labels a pixel.
    """
    areas = response.softmax(dim=0).mean(dim=(1, 2))
    return areas.max(), 1 - areas[is_alive].min()


class Classified(NamedTuple):
    """Labels and probabilities of a response, detached from it.

    labels  (H, W) int32      class of highest response; ties go to the first
    soft    (H * W, K) float  probabilities, or None if autograd computes them; overwritten by `objective`
    counts  (K,) int64        number of pixels of each label
    """

    labels: Int32[np.ndarray, "height width"]
    soft: torch.Tensor | None
    counts: np.ndarray

    @property
    def n_labels(self) -> int:
        """Number of classes that label a pixel."""
        return int(np.count_nonzero(self.counts))


class Terms(NamedTuple):
    """The terms before weighting by nu, nu_y, nu_x, M and m; similarity includes the weights of its pixels.

    On CPUs, continuity without weight is not computed, and is 0.
    """

    similarity: float
    continuity_y: float
    continuity_x: float
    area_max: float
    area_min: float


def classify(
    response: Float[torch.Tensor, "1 classes height width"], scratch: torch.Tensor | None = None
) -> Classified:
    """Return labels and probabilities of a response; probabilities use `scratch` (H * W * K or more,) if given.

    The system maps a new array of this size page by page, which took longer than filling it.
    """
    _, n_classes, height, width = response.shape
    rows = _rows(response.detach())
    soft: torch.Tensor | None
    if response.device.type == "cpu" and response.dtype == torch.float32:
        soft = torch.empty_like(rows) if scratch is None else scratch[: rows.numel()].view(rows.shape)
        labels = np.empty(len(rows), np.int32)
        arrays = rows.numpy(), rows.view(torch.int32).numpy(), soft.numpy(), labels
        in_threads(lambda _, part: _kernels.classify(*(a[part] for a in arrays)), row_parts(len(rows)))
    else:
        soft = rows.softmax(dim=1) if response.device.type == "cpu" else None
        labels = rows.argmax(dim=1).to("cpu", torch.int32).numpy()
    return Classified(labels.reshape(height, width), soft, np.bincount(labels, minlength=n_classes))


def objective(
    response: Float[torch.Tensor, "1 classes height width"],
    classified: Classified,
    targets: Int32[np.ndarray, "height width"],
    weights: Float32[np.ndarray, "height width"],
    config: ObjectiveConfig,
) -> tuple[torch.Tensor, Terms]:
    """Return the loss, which can be differentiated once, and its terms.

    weights are the weights of the pixels' cross-entropy, from pixel_weights.
    """
    if classified.soft is not None:
        loss, terms = _Fused.apply(response, classified, targets, weights, config)
        return loss, terms
    device = response.device
    parts = (
        similarity(response[0], torch.from_numpy(targets).to(device), torch.from_numpy(weights).to(device)),
        *continuity(response[0]),
        *area_terms(response[0], torch.from_numpy(classified.counts > 0).to(device)),
    )
    loss = sum((c * part for c, part in zip(_coefficients(config), parts, strict=True) if c), response.new_zeros(()))
    return loss, Terms(*(float(part.detach()) for part in parts))


def pixel_weights(
    scribbles: Int32[np.ndarray, "height width"], config: ObjectiveConfig
) -> Float32[np.ndarray, "height width"]:
    """Return mu / (number of unmarked pixels) on unmarked pixels (-1), scribble / (number of marked ones) on marked.

    So each of the two cross-entropies is a mean; if no pixel or every pixel is marked, there is only one of them.

    >>> pixel_weights(np.array([[-1, -1, -1, 7]], np.int32), ObjectiveConfig(mu=3, scribble=0.5)).tolist()
    [[1.0, 1.0, 1.0, 0.5]]
    """
    is_marked = scribbles >= 0
    n_marked = int(is_marked.sum())
    free, marked = config.mu / max(1, is_marked.size - n_marked), config.scribble / max(1, n_marked)
    return np.where(is_marked, marked, free).astype(np.float32)


class _Fused(torch.autograd.Function):
    """Loss whose gradient is computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        response: torch.Tensor,
        classified: Classified,
        targets: np.ndarray,
        weights: np.ndarray,
        config: ObjectiveConfig,
    ) -> tuple[torch.Tensor, Terms]:
        assert classified.soft is not None
        _, n_classes, height, width = response.shape
        n_pixels, rows, soft = height * width, _rows(response.detach()), classified.soft.numpy()
        areas = np.ones(n_pixels, soft.dtype) @ soft / n_pixels  # ten times as fast as a mean along this axis
        largest = int(areas.argmax())
        smallest = int(np.where(classified.counts > 0, areas, np.inf).argmin())
        n_y, n_x = max(1, n_classes * (height - 1) * width), max(1, n_classes * height * (width - 1))
        _, c_y, c_x, c_max, c_min = _coefficients(config)
        kind = soft.dtype.type
        arrays = rows.numpy(), soft, classified.labels.ravel(), targets.ravel(), weights.ravel()
        numbers = (
            height, width,
            kind(c_y / n_y), kind(c_x / n_x), largest, smallest, kind(c_max / n_pixels), kind(c_min / n_pixels),
        )  # fmt: skip
        parts = row_parts(n_pixels)
        sums = np.empty((len(parts), 3))

        def differentiate(_: int, i: int) -> None:
            sums[i] = _kernels.differentiate(*arrays, *numbers, (parts[i].start, parts[i].stop))

        in_threads(differentiate, range(len(parts)))
        entropy, sum_y, sum_x = sums.sum(axis=0)
        terms = Terms(float(entropy), sum_y / n_y, sum_x / n_x, float(areas[largest]), float(1 - areas[smallest]))
        ctx.gradient = rearrange(classified.soft, "(h w) c -> 1 c h w", h=height)
        total = sum(c * term for c, term in zip(_coefficients(config), terms, strict=True))
        return response.new_tensor(total), terms

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor, None, None, None, None]:
        factor = float(gradients[0])
        return (ctx.gradient if factor == 1 else ctx.gradient * factor), None, None, None, None


def _coefficients(config: ObjectiveConfig) -> tuple[float, ...]:
    """Return the factors of Terms; the weights of the pixels include mu and scribble."""
    return 1.0, config.nu * config.nu_y, config.nu * config.nu_x, config.M, config.m


def _rows(response: torch.Tensor) -> torch.Tensor:
    """Return (1, K, H, W) as (H * W, K), without a copy if its memory is channels last."""
    return rearrange(response, "b c h w -> (b h w) c")
