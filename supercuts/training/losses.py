"""The loss terms of an SSN.

In   network outputs, soft assignments in cell-major form, annotations
Out  scalar tensors
Not  no weights of the terms (LossConfig), no data
"""

import torch
import torch.nn.functional as F

from supercuts.superpixels.soft_kmeans import CellLayout, pool, spread


def boundary_loss(logits: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return class-balanced cross-entropy (Xie & Tu, HED, ICCV 2015, equation 2) of (B, 1, H, W) boundary logits.

    A pixel is positive with weight `share`, the share of annotators that draw a boundary there, and negative where
    nobody does; both classes weigh the same in every image.
    """
    negative = (share == 0).to(logits.dtype)
    n_positive = share.sum((1, 2, 3), keepdim=True)
    n_negative = negative.sum((1, 2, 3), keepdim=True)
    total = (n_positive + n_negative).clamp_min(1)
    positive_term = F.softplus(-logits) * share * (n_negative / total)
    negative_term = F.softplus(logits) * negative * (n_positive / total)
    # normalised by the balanced mass, so that an image with few boundaries weighs as much as any other
    mass = (2 * n_positive * n_negative / total).clamp_min(torch.finfo(logits.dtype).tiny)
    return ((positive_term + negative_term) / mass).sum((1, 2, 3)).mean()


def strength_loss(logits: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of (B, 1, h, w) logits with (B, 1, H, W) shares of annotators, averaged to h x w.

    Not balanced: the prediction is a probability, to be averaged over the borders between regions.
    """
    return F.binary_cross_entropy_with_logits(
        logits, F.adaptive_avg_pool2d(share, (logits.shape[-2], logits.shape[-1]))
    )


def pair_loss(
    embeddings: torch.Tensor, labels: torch.Tensor, n_pairs: int, distance_px: tuple[float, float], seed: int
) -> torch.Tensor:
    """Return the cross-entropy of pairs of pixels being of one region, with probability exp(-|x - y|^2).

    embeddings (B, R, h, w), labels (B, H, W). Pairs lie in any direction; the logarithm of their distance is uniform.
    """
    batch, _, rows, cols = embeddings.shape
    stride = labels.shape[-1] / cols
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(4, batch, n_pairs, generator=generator).to(embeddings.device)
    low, high = distance_px
    distance = low * (high / low) ** u[2]
    angle = 2 * torch.pi * u[3]
    first = torch.stack([u[0] * rows, u[1] * cols])
    second = first + torch.stack([angle.sin(), angle.cos()]) * distance / stride
    size = torch.tensor([rows, cols], device=u.device).view(2, 1, 1)
    inside = ((second >= 0) & (second < size)).all(0)
    one, other = (place.long().clamp_min(0).minimum(size - 1) for place in (first, second))
    image = torch.arange(batch, device=u.device)[:, None]
    squared = (embeddings[image, :, one[0], one[1]] - embeddings[image, :, other[0], other[1]]).square().sum(-1)
    one, other = (((place + 0.5) * stride).long() for place in (one, other))
    same = labels[image, one[0], one[1]] == labels[image, other[0], other[1]]
    # log(1 - exp(-d)), exact for small d; at d = 0 its slope is without bound
    apart = (-torch.expm1(-squared.clamp_min(1e-4))).log()
    return (torch.where(same, squared, -apart) * inside).sum() / inside.sum().clamp_min(1)


def reconstruction_loss(weights: torch.Tensor, labels: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return the cross-entropy of labels carried to superpixels by Q and back (Jampani et al., section 4.3).

    weights (B, N, 9, P) is Q, labels (B, N, P) int64 in cell-major form.
    """
    one_hot = F.one_hot(labels, int(labels.max()) + 1).to(weights.dtype).movedim(-1, 2)
    means, _ = pool(weights, one_hot, layout)
    carried = spread(weights, means, layout).gather(2, labels[:, :, None])[:, :, 0]
    return -(carried.clamp_min(1e-8).log() * layout.is_pixel).sum() / (layout.is_pixel.sum() * len(weights))


def compactness_loss(weights: torch.Tensor, positions: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return the mean squared distance of pixels to the soft centroid of their hard superpixel, in cell sides.

    positions (B, N, 2, P) are pixel coordinates in cell-major form, in pixels.
    """
    centroids, _ = pool(weights, positions, layout)
    largest = (weights == weights.amax(2, keepdim=True)).to(weights.dtype)
    chosen = spread(largest / largest.sum(2, keepdim=True), centroids, layout)  # argmax is slow along this axis
    squared = (positions - chosen).square().sum(2) / layout.grid.step_px**2
    return (squared * layout.is_pixel).sum() / (layout.is_pixel.sum() * len(weights))
