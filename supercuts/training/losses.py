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
