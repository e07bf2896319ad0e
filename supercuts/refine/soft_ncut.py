"""The soft normalised cut of W-Net, by shifted maps: never a matrix of all pairs of pixels.

In   images (B, C, H, W), soft assignments of the pixels to classes (B, K, H, W)
Out  NcutGraph, which depends on the image alone; the loss as a scalar, differentiable in the assignments
Not  no network, no optimiser
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

from supercuts.core.checks import check_in_range

_Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class NcutGraph:
    """Affinities between the pixels of a batch that are closer than a radius; a pixel's affinity to itself is 1.

    windows   one pair per offset of half the disc: where the first and where the second pixel of its pairs lie
    affinity  one (B, h, w) per offset, of all its pairs
    degree    (B, 1, H, W), sum of a pixel's affinities
    """

    windows: tuple[tuple[_Window, _Window], ...]
    affinity: tuple[torch.Tensor, ...]
    degree: torch.Tensor


def ncut_graph(
    images: Float[torch.Tensor, "batch channels height width"],
    radius_px: float = 5.0,
    sigma_intensity: float = 10.0,
    sigma_space_px: float = 4.0,
) -> NcutGraph:
    """Return exp(-|I_u - I_v|^2 / sigma_I^2) exp(-|x_u - x_v|^2 / sigma_X^2) for |x_u - x_v| < r, else 0.

    Xia and Kulis, W-Net (arXiv 1711.08506), section on the soft n-cut loss. Images are in 0..1 and the difference of
    two colours is their Euclidean distance, while sigma_intensity is on the scale 0..255, as published.
    """
    check_in_range("radius_px", radius_px, 1, 64, remedy="Pairs of pixels closer than this are compared: about 5.")
    for name, sigma in (("sigma_intensity", sigma_intensity), ("sigma_space_px", sigma_space_px)):
        check_in_range(name, sigma, 1e-6, float("inf"), remedy="Give the width of a Gaussian, above 0.")
    height, width = images.shape[-2:]
    offsets = _half_disc(radius_px, height, width)
    windows = tuple(_windows(offset, height, width) for offset in offsets)
    affinity = []
    for (dy, dx), (one, other) in zip(offsets, windows, strict=True):
        squared = (images[..., *one] - images[..., *other]).square().sum(1) * (255 / sigma_intensity) ** 2
        affinity.append(torch.exp(-squared - (dy * dy + dx * dx) / sigma_space_px**2))
    ones = torch.ones_like(images[:, :1])
    return NcutGraph(windows, tuple(affinity), _sum_neighbours(ones, windows, tuple(affinity)))


def soft_ncut_loss(
    assignment: Float[torch.Tensor, "batch classes height width"], graph: NcutGraph
) -> Float[torch.Tensor, ""]:
    """Return J = K - sum_k sum_uv p_u w_uv p_v / sum_u p_u d_u, each image's own, averaged over the batch.

    assignment sums to 1 over the classes. 0 <= J <= K: hard classes that cut no affinity give K less the classes used.
    """
    summed: torch.Tensor = _Neighbours.apply(assignment, graph)
    inside = (assignment * summed).sum((2, 3))
    total = (assignment * graph.degree).sum((2, 3))
    # a class that softmax has rounded to nothing has no pixels: its ratio is 0 / 0
    share = inside / total.clamp_min(torch.finfo(total.dtype).tiny)
    return (assignment.shape[1] - share.sum(1)).mean()


class _Neighbours(torch.autograd.Function):
    """The sum over neighbours weighted by affinity; affinities are symmetric, and so is its own gradient.

    Left to autograd, each offset would keep maps of all classes for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, graph: NcutGraph) -> torch.Tensor:
        ctx.graph = graph
        return _sum_neighbours(values, graph.windows, graph.affinity)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        summed: torch.Tensor = _Neighbours.apply(gradient, ctx.graph)
        return summed, None


def _sum_neighbours(
    values: torch.Tensor, windows: tuple[tuple[_Window, _Window], ...], affinity: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    total = values.clone()  # each pixel's affinity to itself is 1
    for (one, other), weight in zip(windows, affinity, strict=True):
        total[..., *one].addcmul_(weight[:, None], values[..., *other])
        total[..., *other].addcmul_(weight[:, None], values[..., *one])
    return total


def _half_disc(radius: float, height: int, width: int) -> list[tuple[int, int]]:
    """Return one of each two opposite offsets (dy, dx) that are shorter than the radius and fit the image."""
    reach = range(-int(radius), int(radius) + 1)
    return [
        (dy, dx)
        for dy in reach
        for dx in reach
        if (dy, dx) > (0, 0) and dy * dy + dx * dx < radius * radius and dy < height and abs(dx) < width
    ]


def _windows(offset: tuple[int, int], height: int, width: int) -> tuple[_Window, _Window]:
    dy, dx = offset
    first = slice(0, height - dy), slice(max(-dx, 0), width - max(dx, 0))
    second = slice(dy, height), slice(max(dx, 0), width - max(-dx, 0))
    return first, second
